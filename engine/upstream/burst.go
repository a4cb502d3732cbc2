package upstream

import (
	"bufio"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// A connection has buffers only while there is something in them: of a thousand streams most wait for the next token at any moment.
//
// A head, and the whole of a buffered answer, come through a reader of readBuffer bytes. The body of a stream goes through a small one. What has come by then is read, up to
// readBuffer bytes at once, into a buffer that is taken when there is something to read, and given back when it is used up.

const (
	readBuffer = 16 << 10 // bytes that are read at once, and that a head may have
	slimBuffer = 1 << 10
)

var (
	wideReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}
	slimReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, slimBuffer) }}
	bursts      = sync.Pool{New: func() any { return new([readBuffer]byte) }}
)

// burst is what was read of a stream at once.
type burst struct {
	socket syscall.RawConn // nil for TLS, which has buffers of its own
	take   func(fd uintptr) (done bool)
	buf    *[readBuffer]byte
	rest   []byte // of buf: what nobody has read yet
	err    error  // of the last read
}

// open prepares bursts of a connection.
func (b *burst) open(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		b.socket, _ = tcp.SyscallConn() // it fails for connections that are none
		b.take = b.receive
	}
}

// receive reads what the socket has; false if it has nothing yet.
func (b *burst) receive(fd uintptr) (done bool) {
	b.hold(nil)
	n, err := syscall.Read(int(fd), b.buf[:])
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), b.buf[:])
	}
	switch {
	case n > 0:
		b.rest = b.buf[:n]
		return true
	case err == nil:
		b.err = io.EOF
	default:
		b.err = os.NewSyscallError("read", err)
	}
	b.release()
	return err != syscall.EAGAIN
}

// hold takes a buffer with a copy of some bytes.
func (b *burst) hold(p []byte) {
	b.buf = bursts.Get().(*[readBuffer]byte)
	b.rest = b.buf[:copy(b.buf[:], p)]
}

func (b *burst) release() {
	bursts.Put(b.buf)
	b.buf, b.rest = nil, nil
}

// read gives what is left of a burst.
func (b *burst) read(p []byte) int {
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; len(b.rest) == 0 {
		b.release()
	}
	return n
}

// wait is a read of the connection that needs no memory meanwhile.
func (b *burst) wait(p []byte) (int, error) {
	b.err = nil
	if err := b.socket.Read(b.take); err != nil {
		return 0, err
	}
	if len(b.rest) == 0 {
		return 0, b.err
	}
	return b.read(p), nil
}

// widen gives the connection the reader for a head.
func (c *conn) widen() {
	c.r = wideReaders.Get().(*bufio.Reader)
	c.r.Reset(c)
}

// slim tells that the reader is the small one.
func (c *conn) slim() bool { return c.r.Size() == slimBuffer }

// slimDown exchanges the reader, after the head of a stream, for a small one, which is still c.r to whoever has that.
func (c *conn) slimDown() {
	if ahead, _ := c.r.Peek(c.r.Buffered()); len(ahead) > 0 {
		c.burst.hold(ahead)
	}
	other := slimReaders.Get().(*bufio.Reader)
	*c.r, *other = *other, *c.r
	c.r.Reset(c)
	other.Reset(nil)
	wideReaders.Put(other)
}

// unread tells that bytes are left which belong to no answer.
func (c *conn) unread() bool { return c.r.Buffered() > 0 || len(c.burst.rest) > 0 }

// letGo gives the reader back; nobody has it any more.
func (c *conn) letGo() {
	c.r.Reset(nil)
	if c.slim() {
		slimReaders.Put(c.r)
	} else {
		wideReaders.Put(c.r)
	}
	c.r = nil
}
