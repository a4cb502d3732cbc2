// Package faultproxy is a TCP proxy for tests that does to a connection what networks and failing machines do.
//
// It stands between the gateway and a provider's scripted server, and knows bytes alone. Each exchange has a [Fault] of its
// own: the first bytes of the answer pass, then the connection is reset, ended, held, slowed down, or goes on with garbage. An
// exchange begins with the client's first byte after a connection was made or an answer has begun, so connections may be kept
// alive. A whole proxy can refuse connections, as a machine does whose server is not running. What a machine does that is
// not there, or has no room for one more connection, is [Blackhole].
package faultproxy

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Kind is what happens to an exchange.
type Kind int

// The kinds.
const (
	Pass    Kind = iota // nothing
	RST                 // the connection is reset
	FIN                 // the connection is closed as at its end
	Hold                // no byte comes any more, and the connection stays
	Garbage             // Fault.Bytes come in the place of the rest, and then the end
)

// Fault is what happens to one exchange, and when.
type Fault struct {
	Kind  Kind
	After int           // bytes of the answer that pass before
	Delay time.Duration // before the first byte of the answer
	Rate  int           // bytes of the answer a second, in pieces of a tenth of a second; 0: as fast as they come
	Bytes []byte        // of Garbage
	Reset bool          // Garbage ends with a reset
}

// Proxy is a running proxy. It is safe for concurrent use.
type Proxy struct {
	upstream string
	address  string
	script   atomic.Pointer[func(n int64) Fault]
	count    atomic.Int64 // exchanges
	done     chan struct{}

	mu       sync.Mutex
	listener net.Listener // nil while connections are refused
	conns    map[net.Conn]struct{}
	closed   bool
	working  sync.WaitGroup
}

// Start returns a proxy on a free port of 127.0.0.1 for a server at upstream, "host:port".
func Start(upstream string) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{upstream: upstream, address: ln.Addr().String(), done: make(chan struct{}), listener: ln, conns: map[net.Conn]struct{}{}}
	p.working.Go(func() { p.accept(ln) })
	return p, nil
}

// Address is where it listens, "127.0.0.1:port".
func (p *Proxy) Address() string { return p.address }

// Script sets what decides about an exchange; n counts them from 1. Without one everything passes.
func (p *Proxy) Script(fault func(n int64) Fault) { p.script.Store(&fault) }

// Always sets the same fault for every exchange.
func (p *Proxy) Always(f Fault) { p.Script(func(int64) Fault { return f }) }

// Count is how many exchanges have begun.
func (p *Proxy) Count() int64 { return p.count.Load() }

// Refuse closes the port: connections are refused, and those that were made are reset.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	for c := range p.conns {
		reset(c)
	}
}

// Restore ends Refuse. It fails if another process took the port meanwhile.
func (p *Proxy) Restore() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.closed {
		return nil
	}
	ln, err := net.Listen("tcp", p.address)
	if err != nil {
		return err
	}
	p.listener = ln
	p.working.Go(func() { p.accept(ln) })
	return nil
}

// Close ends the proxy and everything that goes through it.
func (p *Proxy) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.done)
	}
	p.mu.Unlock()
	p.Refuse()
	p.working.Wait()
}

func (p *Proxy) accept(ln net.Listener) {
	for {
		client, err := ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // the process has no descriptors left for a moment
			time.Sleep(time.Millisecond)
			continue
		}
		if p.keep(client) {
			p.working.Go(func() { p.carry(client) })
		}
	}
}

// keep remembers a connection, so that it can be cut.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.listener == nil {
		reset(c)
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

// end closes a connection and forgets it.
func (p *Proxy) end(c net.Conn) {
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
	c.Close()
}

// carry is the life of a connection: requests go up in a goroutine of their own, answers come down here.
func (p *Proxy) carry(client net.Conn) {
	defer p.end(client)
	server, err := net.Dial("tcp", p.upstream)
	if err != nil {
		reset(client)
		return
	}
	if !p.keep(server) {
		return
	}
	defer p.end(server)
	x := &exchanges{proxy: p, client: client, server: server, left: make(chan struct{})}
	p.working.Go(x.up)
	x.down()
}

// exchanges are those of one connection, one after the other.
type exchanges struct {
	proxy          *Proxy
	client, server net.Conn
	left           chan struct{} // closed when the client has left

	mu       sync.Mutex
	fault    Fault
	passed   int  // bytes of the answer
	underway bool // the request has begun, its answer not
}

// up passes requests on until the client leaves, whatever becomes of the server.
func (x *exchanges) up() {
	defer close(x.left)
	defer x.server.Close() // and down ends
	for buf := make([]byte, 32<<10); ; {
		n, err := x.client.Read(buf)
		if n > 0 {
			x.begin()
			x.server.Write(buf[:n]) //nolint:errcheck // down sees that the server has left
		}
		if err != nil {
			return
		}
	}
}

// begin asks for the fault of an exchange whose first byte came.
func (x *exchanges) begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.underway {
		return
	}
	x.underway, x.passed, x.fault = true, 0, Fault{}
	n := x.proxy.count.Add(1)
	if script := x.proxy.script.Load(); script != nil {
		x.fault = (*script)(n)
	}
}

// down passes answers on until the connection or a fault ends them.
func (x *exchanges) down() {
	for buf := make([]byte, 32<<10); ; {
		n, err := x.server.Read(buf)
		if n > 0 && !x.pass(buf[:n]) {
			return
		}
		switch {
		case err == nil:
			continue
		case x.holds():
			x.hold()
		case errors.Is(err, syscall.ECONNRESET):
			reset(x.client)
		}
		return
	}
}

// holds tells whether the client of the exchange under way is to wait for ever, also when the server ends the connection.
func (x *exchanges) holds() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.fault.Kind == Hold
}

// hold waits until the client leaves.
func (x *exchanges) hold() {
	select {
	case <-x.left:
	case <-x.proxy.done:
	}
}

// pass hands a piece of the answer on as far as the fault lets it; false once the fault has come.
func (x *exchanges) pass(piece []byte) bool {
	x.mu.Lock()
	f, passed := x.fault, x.passed
	first := x.underway
	x.underway = false
	x.passed += len(piece)
	x.mu.Unlock()
	if first && f.Delay > 0 && !x.wait(f.Delay) {
		return false
	}
	room := len(piece)
	if f.Kind != Pass {
		room = min(room, f.After-passed)
	}
	if !x.send(piece[:room], f.Rate) {
		return false
	}
	if f.Kind == Pass || passed+len(piece) < f.After {
		return true
	}
	switch f.Kind {
	case RST:
		reset(x.client)
	case Hold:
		x.hold()
	case Garbage:
		x.client.Write(f.Bytes) //nolint:errcheck // the end comes either way
		if f.Reset {
			reset(x.client)
		}
	}
	return false
}

// send writes at a rate; false if the client has left.
func (x *exchanges) send(data []byte, rate int) bool {
	for len(data) > 0 {
		n := len(data)
		if rate > 0 {
			n = min(n, max(1, rate/10))
		}
		if _, err := x.client.Write(data[:n]); err != nil {
			return false
		}
		if data = data[n:]; rate > 0 && !x.wait(100*time.Millisecond) {
			return false
		}
	}
	return true
}

// wait lets time pass; false if the proxy ended meanwhile.
func (x *exchanges) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-x.proxy.done:
		return false
	}
}

// reset closes a connection so that its peer sees a reset.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // then it is a plain end
	}
	c.Close()
}
