//go:build !linux

package badgerdb

import "os"

// syncContent makes the content of a file durable.
func syncContent(f *os.File) error { return f.Sync() }
