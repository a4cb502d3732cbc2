//go:build linux && !race

package socket

import (
	"syscall"
	"unsafe"
)

func read(fd uintptr, p []byte) (n int, err error) {
	return call(syscall.SYS_READ, fd, unsafe.Pointer(unsafe.SliceData(p)), len(p))
}

func write(fd uintptr, p, then []byte) (n int, err error) {
	if len(then) == 0 {
		return call(syscall.SYS_WRITE, fd, unsafe.Pointer(unsafe.SliceData(p)), len(p))
	}
	both := [2]syscall.Iovec{{Base: unsafe.SliceData(p)}, {Base: unsafe.SliceData(then)}}
	both[0].SetLen(len(p))
	both[1].SetLen(len(then))
	return call(syscall.SYS_WRITEV, fd, unsafe.Pointer(&both), len(both))
}

func call(number, fd uintptr, p unsafe.Pointer, n int) (int, error) {
	done, _, errno := syscall.RawSyscall(number, fd, uintptr(p), uintptr(n))
	if errno != 0 {
		return 0, errno
	}
	return int(done), nil
}
