//go:build unix && (!linux || (!amd64 && !arm64) || race)

package socket

import "syscall"

func read(fd uintptr, p []byte) (n int, err error) { return syscall.Read(int(fd), p) }

func write(fd uintptr, parts *Parts) (n int, err error) {
	for _, p := range parts {
		if len(p) > 0 {
			return syscall.Write(int(fd), p)
		}
	}
	return 0, nil
}
