package overload

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"
)

// What the kernel takes for a client is bounded on every connection, also below TLS.
func TestUnsentIsBounded(t *testing.T) {
	for name, over := range map[string]func(net.Listener) net.Listener{
		"plain": func(ln net.Listener) net.Listener { return ln },
		"TLS":   func(ln net.Listener) net.Listener { return tls.NewListener(ln, &tls.Config{}) },
	} {
		t.Run(name, func(t *testing.T) {
			under := listen(t)
			client, err := net.Dial("tcp", under.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			conn, err := New(Config{}).Listen(over(under)).Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			below := conn
			for wrapped, ok := below.(interface{ NetConn() net.Conn }); ok; wrapped, ok = below.(interface{ NetConn() net.Conn }) {
				below = wrapped.NetConn()
			}
			raw, err := below.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var most int
			var failed error
			if err := raw.Control(func(fd uintptr) { most, failed = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, notSentLowat) }); err != nil || failed != nil {
				t.Fatal(err, failed)
			}
			if most != maxUnsent {
				t.Errorf("the kernel takes %d bytes", most)
			}
		})
	}
}
