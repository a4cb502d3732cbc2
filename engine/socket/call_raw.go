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

func write(fd uintptr, parts *Parts) (n int, err error) {
	var all [len(parts)]syscall.Iovec
	last := 0 // how many have something
	for i := range parts {
		if len(parts[i]) > 0 {
			all[last].Base = unsafe.SliceData(parts[i])
			all[last].SetLen(len(parts[i]))
			last++
		}
	}
	if last == 1 {
		return call(syscall.SYS_SENDTO, fd, unsafe.Pointer(all[0].Base), int(all[0].Len), syscall.MSG_NOSIGNAL)
	}
	return call(syscall.SYS_WRITEV, fd, unsafe.Pointer(&all), last, 0)
}

func call(number, fd uintptr, p unsafe.Pointer, n, flags int) (int, error) {
	done, _, errno := syscall.RawSyscall6(number, fd, uintptr(p), uintptr(n), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(done), nil
}
