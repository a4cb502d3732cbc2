// Package socket reads and writes TCP sockets without leaving the processor to others meanwhile.
//
// The runtime takes the place of a goroutine that has been in a call to the system for 20 us and gives it to another thread, for the call may wait. A write to a
// socket often takes that long, for the kernel does the receiver's work in it, and never waits, for sockets of Go do not block: what cannot be done at once is told, and
// waited for in the runtime's poller. So the threads that change places are for nothing. Here reads and writes are calls that the runtime does not know of.
//
// Where that is not to be had, or for the race detector, which orders what goroutines do by their calls, the same connections make ordinary calls; where there are no
// such sockets, connections stay as they are.
package socket

import "net"

// Listen makes a listener whose connections are wrapped out of one.
func Listen(ln net.Listener) net.Listener { return listener{ln} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Wrap(conn), nil
}

// Parts are pieces of memory that are written one behind the other; some may be empty.
type Parts [4][]byte

// WriteParts writes all parts, in one call to the system where that can be.
func WriteParts(conn net.Conn, parts Parts) (n int64, err error) {
	if c, ok := conn.(interface {
		writeParts(parts Parts) (int64, error)
	}); ok {
		return c.writeParts(parts)
	}
	buffers := net.Buffers(parts[:])
	return buffers.WriteTo(conn)
}

// advance cuts n bytes off the beginning.
func (p *Parts) advance(n int) {
	for i := range p {
		of := min(n, len(p[i]))
		p[i], n = p[i][of:], n-of
	}
}

func (p *Parts) empty() bool {
	for i := range p {
		if len(p[i]) > 0 {
			return false
		}
	}
	return true
}
