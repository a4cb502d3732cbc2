package badgerdb

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncContent makes the content of a file durable, and of its metadata only what is needed to read it.
func syncContent(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
