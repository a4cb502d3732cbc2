//go:build unix

package engine

import (
	"syscall"

	"github.com/pointsman/pointsman/engine/socket"
)

const canAttempt = true

// tryRead reads what is there; false if nothing is.
func (f *first) tryRead(fd uintptr) bool {
	f.buffer = f.pool.Get().(*[firstRead]byte)
	if f.n, f.failed = socket.Read(fd, f.buffer[:]); f.failed == syscall.EAGAIN {
		f.release()
		return false
	}
	return true
}
