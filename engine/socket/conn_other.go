//go:build !unix

package socket

import "net"

// Wrap returns the connection itself.
func Wrap(conn net.Conn) net.Conn { return conn }
