//go:build linux && (amd64 || arm64) && !race

package socket

import (
	"syscall"
	"unsafe"
)

// read and write are recv and send, which know that they have a socket: that takes 0.1 us less than what can be done to any file.

func read(fd uintptr, p []byte) (n int, err error) {
	return call(syscall.SYS_RECVFROM, fd, unsafe.Pointer(unsafe.SliceData(p)), len(p), 0)
}

func write(fd uintptr, p, then []byte) (n int, err error) {
	if len(then) == 0 {
		return call(syscall.SYS_SENDTO, fd, unsafe.Pointer(unsafe.SliceData(p)), len(p), syscall.MSG_NOSIGNAL)
	}
	both := [2]syscall.Iovec{{Base: unsafe.SliceData(p)}, {Base: unsafe.SliceData(then)}}
	both[0].SetLen(len(p))
	both[1].SetLen(len(then))
	return call(syscall.SYS_WRITEV, fd, unsafe.Pointer(&both), len(both), 0)
}

func call(number, fd uintptr, p unsafe.Pointer, n, flags int) (int, error) {
	done, _, errno := syscall.RawSyscall6(number, fd, uintptr(p), uintptr(n), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(done), nil
}
