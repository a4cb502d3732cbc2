package engine

import (
	"net"
	"sync"
	"syscall"

	"github.com/pointsman/pointsman/engine/overload"
)

// firstRead is how much is read of a request at first, in bytes: most are not longer.
const firstRead = 8 << 10

// first reads the first bytes of requests. A connection that waits for its next request has no buffer meanwhile, where the
// system can tell that something came.
type first struct {
	pool    *sync.Pool
	buffer  *[firstRead]byte // with what was read, nil while there is nothing
	ready   []byte           // of it, what the server does not have yet
	raw     syscall.RawConn  // nil: the connection cannot tell
	attempt func(fd uintptr) (done bool)
	n       int // what the attempt read
	failed  error
}

func newFirst(conn net.Conn, pool *sync.Pool) first {
	f := first{pool: pool}
	if plain, ok := plainConn(conn).(syscall.Conn); ok {
		f.raw, _ = plain.SyscallConn() // it says so when it is used that it was closed
	}
	return f
}

// plainConn is the connection that is counted.
func plainConn(conn net.Conn) net.Conn {
	if c, ok := conn.(*overload.Conn); ok {
		return c.Conn
	}
	return conn
}

// await waits for the first bytes of a request. They are in the buffer until release.
func (g *gate) await() (b []byte, n int, err error) {
	counted, _ := g.Conn.(*overload.Conn)
	counted.Idle(true)
	defer counted.Idle(false)
	g.waitUntil(g.readBy, idleEarly)
	if g.raw == nil || !canAttempt {
		g.buffer = g.pool.Get().(*[firstRead]byte)
		n, err = g.Conn.Read(g.buffer[:])
		return g.buffer[:], n, err
	}
	if g.attempt == nil {
		g.attempt = g.tryRead
	}
	if err = g.raw.Read(g.attempt); err != nil {
		return nil, 0, err
	}
	return g.buffer[:], g.n, g.failed
}

// release gives the buffer back.
func (f *first) release() {
	if f.buffer != nil {
		f.pool.Put(f.buffer)
		f.buffer = nil
	}
}
