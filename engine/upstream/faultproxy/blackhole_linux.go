package faultproxy

import (
	"fmt"
	"net"
	"syscall"
	"time"
)

// Blackhole returns an address at which connecting neither succeeds nor fails, for its queue of connections is full and
// Linux then drops what would open one more. It lasts until close is called.
func Blackhole() (address string, close func(), err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("making a socket: %w", err)
	}
	var fill []net.Conn
	close = func() {
		for _, c := range fill {
			c.Close()
		}
		syscall.Close(fd)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		close()
		return "", nil, fmt.Errorf("binding: %w", err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		close()
		return "", nil, fmt.Errorf("listening: %w", err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		close()
		return "", nil, fmt.Errorf("asking for the port: %w", err)
	}
	address = fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 16 { // one fits; the first that does not shows that the queue is full
		c, err := net.DialTimeout("tcp", address, 300*time.Millisecond)
		if err != nil {
			return address, close, nil
		}
		fill = append(fill, c)
	}
	close()
	return "", nil, fmt.Errorf("the queue of %s does not fill", address)
}
