//go:build unix

package engine

import (
	"crypto/tls"
	"net"
	"syscall"
)

// peekedRecords is how many bytes of TLS records are looked through for an alert.
const peekedRecords = 4 << 10

// peerGone peeks at a connection's socket. Only TCP and Unix sockets can tell; others count as there.
func peerGone(conn net.Conn) bool {
	encrypted := false
	for {
		wrapped, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		if _, ok := conn.(*tls.Conn); ok {
			encrypted = true
		}
		conn = wrapped.NetConn()
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		if encrypted {
			gone = peekRecords(int(fd))
		} else {
			var one [1]byte
			_, gone = peek(int(fd), one[:])
		}
	})
	return gone || err != nil
}

// peek looks at what a socket has received; gone says that it received the end or an error.
func peek(fd int, p []byte) (n int, gone bool) {
	n, _, err := syscall.Recvfrom(fd, p, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return max(n, 0), n == 0 && err == nil || err != nil && err != syscall.EAGAIN && err != syscall.EINTR
}

// peekRecords is peek for a socket with TLS, where a client says that it leaves before it closes. No client half-closes such a
// connection to send requests and wait for the answers.
func peekRecords(fd int) bool {
	var head [peekedRecords]byte
	n, gone := peek(fd, head[:])
	return gone || n > 0 && (holdsAlert(head[:n]) || halfClosed(fd))
}

// holdsAlert says whether there is an alert among TLS records, complete or not. Up to TLS 1.2 the type of a record says so;
// in TLS 1.3 alerts pass for data, but nothing else a client sends in the middle of a connection has their length: two bytes,
// their type and the cipher's tag. A request, also a part of one, is longer.
func holdsAlert(records []byte) bool {
	const (
		headerLength = 5
		typeAlert    = 21
		typeData     = 23
		sealedAlert  = 2 + 1 + 16
	)
	for len(records) >= headerLength {
		kind, length := records[0], int(records[3])<<8|int(records[4])
		switch {
		case records[1] != 3 || kind < 20 || kind > typeData:
			return false // the rest of a record that was read in part
		case kind == typeAlert || kind == typeData && length == sealedAlert:
			return true
		}
		records = records[min(len(records), headerLength+length):]
	}
	return false
}
