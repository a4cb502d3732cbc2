//go:build unix

package engine

import (
	"io"
	"syscall"
)

const canAttempt = true

// tryRead reads what is there; false if nothing is.
func (f *first) tryRead(fd uintptr) bool {
	f.buffer = f.pool.Get().(*[firstRead]byte)
	for {
		n, err := syscall.Read(int(fd), f.buffer[:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			f.release()
			return false
		case n == 0 && err == nil:
			err = io.EOF
		}
		f.n, f.failed = max(n, 0), err
		return true
	}
}
