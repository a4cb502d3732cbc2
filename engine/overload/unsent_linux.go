package overload

import (
	"crypto/tls"
	"net"
	"syscall"
)

const (
	notSentLowat = 25       // TCP_NOTSENT_LOWAT, which package syscall does not name
	maxUnsent    = 64 << 10 // bytes
)

// boundUnsent has the kernel take no more for a client than it is sending: else it keeps megabytes for one that does not read.
// What is on its way is not bounded by it.
func boundUnsent(conn net.Conn) {
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	below, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := below.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { //nolint:errcheck // without it only more memory is used
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, notSentLowat, maxUnsent) //nolint:errcheck // likewise
		})
	}
}
