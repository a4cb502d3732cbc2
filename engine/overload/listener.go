package overload

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Listener is a listener that neither ends nor spins when descriptors run out, and keeps the connections of clients below the
// guard's limits: the longest idle ones make room, else those that come are told to come again.
type Listener struct {
	net.Listener
	guard *Guard // nil: only descriptors running out is seen to

	freed  chan struct{} // a connection was closed
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	open    map[*Conn]struct{}
	evicted time.Time // when idle connections were last looked for

	refusing atomic.Int64
}

// Listen makes a listener out of one.
func (g *Guard) Listen(ln net.Listener) *Listener {
	return &Listener{Listener: ln, guard: g, freed: make(chan struct{}, 1), closed: make(chan struct{}), open: map[*Conn]struct{}{}}
}

const (
	firstPause = 5 * time.Millisecond
	longPause  = time.Second
	// idleFor is how long a connection has waited for its next request before it may be closed to make room.
	idleFor = time.Second
	// evictEvery is how often idle connections are looked for.
	evictEvery = 50 * time.Millisecond
	// maxRefusing is how many connections are being told at once that there is no room.
	maxRefusing = 16
	refuseTime  = time.Second
)

// noRoom is what a connection beyond the limit is told, before anything is read of it.
const noRoom = "HTTP/1.1 503 Service Unavailable\r\nServer: pointsman\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 157\r\n\r\n" +
	`{"error":{"message":"the gateway has no room for another connection at the moment; come again later","type":"server_error","param":null,"code":"overloaded"}}`

// Accept waits for the next connection there is room for.
func (l *Listener) Accept() (net.Conn, error) {
	pause := firstPause
	for {
		conn, err := l.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed), err != nil && !passing(err):
			return nil, err
		case err != nil: // mostly too many open files: the connection waits in the kernel
			l.guard.noteConnections()
			if !l.wait(pause) {
				return nil, net.ErrClosed
			}
			pause = min(2*pause, longPause)
			continue
		}
		pause = firstPause
		if l.guard.hasConnection(l.guard.connect()) || l.evict() {
			boundUnsent(conn)
			c := &Conn{Conn: conn, listener: l}
			l.mu.Lock()
			l.open[c] = struct{}{}
			l.mu.Unlock()
			return c, nil
		}
		l.guard.disconnect()
		l.guard.noteConnections()
		l.refuse(conn)
	}
}

// wait lets a pause pass, or waits for a connection to be closed; false if the listener is.
func (l *Listener) wait(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.freed:
	case <-l.closed:
		return false
	}
	return true
}

// Close ends Accept. Connections stay open.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// plain is a connection of TCP without TLS, whose two directions can be closed apart.
type plain interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
}

// refuse tells a connection that there is no room. Few are told at once; more are closed without a word, and so are those with TLS,
// which could be told nothing before they have shaken hands.
func (l *Listener) refuse(conn net.Conn) {
	tcp, ok := conn.(plain)
	if !ok || l.refusing.Add(1) > maxRefusing {
		if ok {
			l.refusing.Add(-1)
		}
		conn.Close()
		return
	}
	go func() {
		defer l.refusing.Add(-1)
		defer tcp.Close()
		tcp.SetDeadline(time.Now().Add(refuseTime)) //nolint:errcheck // it is closed either way
		if _, err := io.WriteString(tcp, noRoom); err == nil && tcp.CloseWrite() == nil {
			io.Copy(io.Discard, tcp) //nolint:errcheck // closing with bytes unread would take the answer back
		}
	}()
}

// evict ends the connections that have waited longest for a request, one in sixteen; false if there are none.
func (l *Listener) evict() bool {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.evicted) < evictEvery {
		return false
	}
	l.evicted = now
	before, oldest, idle := now.Add(-idleFor).UnixNano(), now.UnixNano(), 0
	for c := range l.open {
		if since := c.idle.Load(); since > 0 && since < before {
			idle++
			oldest = min(oldest, since)
		}
	}
	if idle == 0 {
		return false
	}
	// The times are nearly even, so that a span of them holds about its share of the connections.
	until := oldest + (before-oldest)/16
	for c := range l.open {
		if since := c.idle.Load(); since > 0 && since <= until {
			c.Conn.SetReadDeadline(now) //nolint:errcheck // a connection that is gone needs none
		}
	}
	return true
}

// passing tells an error of Accept after which the next one may do.
func passing(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary() || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// Conn is a client's connection that is counted.
type Conn struct {
	net.Conn
	listener *Listener
	idle     atomic.Int64 // nanoseconds since 1970 since when it waits for a request; 0: it does not
	gone     atomic.Bool
}

// NetConn is the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Idle says that the connection waits for a request from now on, or that it does not. Of nil it says nothing.
func (c *Conn) Idle(waits bool) {
	switch {
	case c == nil:
	case waits:
		c.idle.Store(time.Now().UnixNano())
	default:
		c.idle.Store(0)
	}
}

// Close gives its place to another one.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	if c.gone.Swap(true) {
		return err
	}
	l := c.listener
	l.mu.Lock()
	delete(l.open, c)
	l.mu.Unlock()
	l.guard.disconnect()
	select {
	case l.freed <- struct{}{}:
	default:
	}
	return err
}

// connect counts a connection and returns how many there are.
func (g *Guard) connect() int64 {
	if g == nil {
		return 0
	}
	return g.connections.Add(1)
}

func (g *Guard) disconnect() {
	if g == nil {
		return
	}
	g.connections.Add(-1)
	if g.cfg.Descriptors > 0 && g.waiting.Load() > 0 { // what it held may be what a request waits for
		g.fill()
	}
}

// hasConnection tells whether the n-th connection is within the limits.
func (g *Guard) hasConnection(n int64) bool {
	return g == nil || (g.cfg.Connections == 0 || n <= int64(g.cfg.Connections)) && (g.cfg.Descriptors == 0 || n+g.running.Load() <= int64(g.cfg.Descriptors))
}

func (g *Guard) noteConnections() {
	if g != nil {
		g.refuse(Connections, leastRetry)
	}
}
