package badgerdb

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syncContent makes the content of a file durable, and of its metadata only what is needed to read it.
//
// Where the kernel takes such orders (io_submit(2) with IOCB_CMD_FDSYNC, Linux 4.18) no thread waits in it: the Go runtime would take the
// thread's processor away after a while, for which it looks every 20 us, wake another thread for it and find the first a processor in the end, and
// that took three times what the disk does (RATIONALE.md, "Nobody waits for the disk in the kernel").
func syncContent(f *os.File) error {
	s := takeSyncer()
	if s == nil {
		return syncWaiting(f)
	}
	if !s.order(f) {
		s.giveBack()
		return syncWaiting(f)
	}
	if err := s.await(); err != nil {
		s.close() // the order may still be under way
		return err
	}
	s.giveBack()
	return nil
}

// syncWaiting is syncContent that waits in the kernel.
func syncWaiting(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// syncsByOrder tells that the kernel takes orders to synchronize, so that nobody waits in it.
func syncsByOrder() bool {
	s := takeSyncer()
	if s == nil {
		return false
	}
	s.giveBack()
	return true
}

// syncer gives the kernel orders to synchronize, one at a time.
type syncer struct {
	context uintptr  // the kernel's name of its queue
	done    *os.File // an eventfd, which the network poller watches
	control struct { // struct iocb of linux/aio_abi.h
		Data            uint64
		Key, RWFlags    uint32
		Operation       uint16
		Priority        int16
		FD              uint32
		Buf, Size       uint64
		Offset          int64
		_               uint64
		Flags, ResultFD uint32
	}
	event struct { // struct io_event
		Data, Control   uint64
		Result, Result2 int64
	}
	count [8]byte // of an eventfd
}

const (
	aioSync     = 3 // IOCB_CMD_FDSYNC
	aioTellFile = 1 // IOCB_FLAG_RESFD
)

// idleSyncers are open and used again. There are as many as files are synchronized at the same time: the ledger's journal and its pages, the log's.
var idleSyncers = make(chan *syncer, 4)

// takeSyncer returns nil where the kernel has no such queues, or no more of them.
func takeSyncer() *syncer {
	select {
	case s := <-idleSyncers:
		return s
	default:
	}
	s := new(syncer)
	if _, _, errno := unix.RawSyscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&s.context)), 0); errno != 0 {
		return nil
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		s.destroy()
		return nil
	}
	s.done = os.NewFile(uintptr(fd), "eventfd")
	s.control.Operation, s.control.Flags, s.control.ResultFD = aioSync, aioTellFile, uint32(fd)
	return s
}

func (s *syncer) giveBack() {
	select {
	case idleSyncers <- s:
	default:
		s.close()
	}
}

// close waits for an order under way.
func (s *syncer) close() {
	s.destroy()
	s.done.Close() //nolint:errcheck // nothing is written to it
}

func (s *syncer) destroy() { unix.Syscall(unix.SYS_IO_DESTROY, s.context, 0, 0) } //nolint:errcheck // it is ours

// order begins to synchronize a file; false: the kernel does not do that, or not for this file.
func (s *syncer) order(f *os.File) bool {
	s.control.FD = uint32(f.Fd())
	orders := [1]unsafe.Pointer{unsafe.Pointer(&s.control)}
	n, _, errno := unix.RawSyscall(unix.SYS_IO_SUBMIT, s.context, 1, uintptr(unsafe.Pointer(&orders)))
	return errno == 0 && n == 1
}

// await returns when the order is done, and what became of it.
func (s *syncer) await() error {
	s.done.Read(s.count[:]) //nolint:errcheck // what counts is the event, which is waited for in the kernel if need be
	for {
		n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, s.context, 1, 1, uintptr(unsafe.Pointer(&s.event)), 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return os.NewSyscallError("io_getevents", errno)
		case n == 1 && s.event.Result < 0:
			return os.NewSyscallError("fdatasync", unix.Errno(-s.event.Result))
		case n == 1:
			return nil
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
