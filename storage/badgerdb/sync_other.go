//go:build !linux

package badgerdb

import "os"

// syncContent makes the content of a file durable.
func syncContent(f *os.File) error { return f.Sync() }

// syncsByOrder tells that nobody waits in the kernel for a file to be synchronized.
func syncsByOrder() bool { return false }

// beginSync sends a part of a file on its way to the disk, where the system knows such a thing.
func beginSync(*os.File, int64, int64) {}

// writeOut has no equivalent everywhere.
func writeOut(*os.File, int64, int64) {}
