//go:build !linux

package powerloss

import "errors"

// Watched fails: processes are recorded on Linux only.
func Watched() error { return errors.ErrUnsupported }
