//go:build !linux

package overload

import "net"

// boundUnsent does nothing here.
func boundUnsent(net.Conn) {}
