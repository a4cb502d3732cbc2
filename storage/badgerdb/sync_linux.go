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

// beginSync sends a part of a file on its way to the disk, so that syncContent has less to do later. Nothing is durable by it.
func beginSync(f *os.File, offset, length int64) {
	unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE) //nolint:errcheck // syncContent tells
}

// writeOut is beginSync that waits for the disk, so that a large file does not stand in the way of what others wait for.
func writeOut(f *os.File, offset, length int64) {
	unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER) //nolint:errcheck // Sync tells
}
