//go:build unix

package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// Wrap returns a connection over the same socket, or the connection itself if it is not a TCP one.
func Wrap(conn net.Conn) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return conn
	}
	c := &Conn{TCPConn: tcp, raw: raw}
	c.in.attempt, c.out.attempt = c.tryRead, c.tryWrite
	return c
}

// Conn is a TCP connection. As of any, its methods may be called by several goroutines at once.
type Conn struct {
	*net.TCPConn
	raw     syscall.RawConn
	in, out transfer
}

// transfer is a read or a write under way.
type transfer struct {
	mu      sync.Mutex
	p       []byte // what is read into
	parts   Parts  // of a write
	n       int    // bytes that were transferred
	err     error
	attempt func(fd uintptr) (done bool) // made once, for it is kept by the connection
}

// do makes attempts, each when the poller says that it may succeed.
func (t *transfer) do(op string, c *Conn, wait func(func(uintptr) bool) error) (int, error) {
	t.n, t.err = 0, nil
	if err := wait(t.attempt); err != nil { // the deadline, or closed
		t.err = err
	}
	n, err := t.n, t.err
	t.err = nil
	if err == nil || err == io.EOF {
		return n, err
	}
	told := &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
	var raw *net.OpError
	var errno syscall.Errno
	switch {
	case errors.As(err, &raw): // "raw-read"
		told.Err = raw.Err
	case errors.As(err, &errno):
		told.Err = os.NewSyscallError(op, errno)
	}
	return n, told
}

// Read reads what is there, or waits for something.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	t := &c.in
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p = p
	n, err := t.do("read", c, c.raw.Read)
	t.p = nil
	return n, err
}

// Write writes all of p.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.writeParts(Parts{p})
	return int(n), err
}

func (c *Conn) writeParts(parts Parts) (int64, error) {
	t := &c.out
	t.mu.Lock()
	defer t.mu.Unlock()
	t.parts = parts
	n, err := t.do("write", c, c.raw.Write)
	t.parts = Parts{}
	return int64(n), err
}

func (c *Conn) tryRead(fd uintptr) (done bool) {
	c.in.n, c.in.err = Read(fd, c.in.p)
	return c.in.err != syscall.EAGAIN
}

func (c *Conn) tryWrite(fd uintptr) (done bool) {
	for t := &c.out; !t.parts.empty(); {
		n, err := write(fd, &t.parts)
		switch err {
		case nil:
			t.n += n
			t.parts.advance(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			t.err = err
			return true
		}
	}
	return true
}

// Read reads what has come to a socket that does not block, into p, which has room for something. It is syscall.EAGAIN if nothing has, io.EOF at the end.
func Read(fd uintptr, p []byte) (n int, err error) {
	for {
		n, err = read(fd, p)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
