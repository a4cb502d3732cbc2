package engine

import "golang.org/x/sys/unix"

// halfClosed says whether a socket has received the end of the connection, also behind bytes that were not read yet.
func halfClosed(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}
