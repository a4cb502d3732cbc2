//go:build !unix

package socket

import "net"

// Wrap returns the connection itself.
func Wrap(conn net.Conn) net.Conn { return conn }

// WriteBoth writes all of p, and then all of what is behind it.
func WriteBoth(conn net.Conn, p, then []byte) (n int64, err error) {
	parts := net.Buffers{p, then}
	return parts.WriteTo(conn)
}
