//go:build unix && (!linux || (!amd64 && !arm64) || race)

package socket

import "syscall"

func read(fd uintptr, p []byte) (n int, err error) { return syscall.Read(int(fd), p) }

func write(fd uintptr, p, then []byte) (n int, err error) {
	if len(p) == 0 {
		p = then
	}
	return syscall.Write(int(fd), p)
}
