package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// deaf is a connection that has received everything it will ever get. What is written to it goes nowhere.
type deaf struct {
	pieces
	once   sync.Once
	closed chan struct{}
}

func newDeaf(data []byte) *deaf {
	return &deaf{pieces: pieces{rest: data, size: 1 << 20}, closed: make(chan struct{})}
}

func (c *deaf) Write(p []byte) (int, error) { return len(p), nil }
func (c *deaf) Close() error                { c.once.Do(func() { close(c.closed) }); return nil }

// CloseWrite is what net/http does before it waits a while and closes: it reads no more requests then.
func (c *deaf) CloseWrite() error { return c.Close() }

func (c *deaf) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (c *deaf) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2} }
func (c *deaf) SetDeadline(time.Time) error      { return nil }
func (c *deaf) SetReadDeadline(time.Time) error  { return nil }
func (c *deaf) SetWriteDeadline(time.Time) error { return nil }

// single is a listener of one connection.
type single struct {
	conn  chan net.Conn
	ended chan struct{}
}

func (l single) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conn:
		return conn, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}
func (l single) Close() error   { return nil }
func (l single) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// reference is net/http's server, which counts the requests it sees and reads their bodies.
type reference struct {
	http.Server
	single
	mu   sync.Mutex
	seen []string
}

func newReference(t testing.TB) *reference {
	t.Helper()
	r := &reference{single: single{make(chan net.Conn), make(chan struct{})}}
	r.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.seen = append(r.seen, req.Method+" "+req.RequestURI)
		r.mu.Unlock()
		io.Copy(io.Discard, req.Body) //nolint:errcheck // the server closes the connection then
		w.Header().Set("Content-Length", "0")
		if !req.ProtoAtLeast(1, 1) && !req.Close {
			w.Header().Set("Connection", "keep-alive")
		}
	})
	r.DisableGeneralOptionsHandler = true
	go r.Server.Serve(r.single) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { close(r.single.ended) })
	return r
}

// requests are those that the reference sees in data.
func (r *reference) requests(data []byte) []string {
	r.mu.Lock()
	r.seen = nil
	r.mu.Unlock()
	conn := newDeaf(data)
	r.single.conn <- conn
	<-conn.closed
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// FuzzRawHTTP sends the same bytes to our server and to net/http's: ours must not call its handler more often.
func FuzzRawHTTP(f *testing.F) {
	for _, p := range loadProbes(f) {
		if len(p.send) < 50_000 {
			f.Add(p.send)
		}
	}
	theirs := newReference(f)
	handler := &tally{}
	ours := NewServer(handler.handle, probedBody)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 50_000 {
			return
		}
		before := handler.calls.Load()
		ours.ServeConn(gates{maxBody: probedBody, buffers: newBuffers()}.gate(newDeaf(data))) //nolint:errcheck // what it answered does not matter
		calls := handler.calls.Load() - before
		if seen := theirs.requests(data); calls > int64(len(seen)) {
			t.Errorf("%d calls of the handler where net/http sees %q", calls, seen)
		}
	})
}

// FuzzGatePieces reads the same bytes whole and in pieces: what passes and what is refused must not depend on it.
func FuzzGatePieces(f *testing.F) {
	for i, p := range loadProbes(f) {
		if len(p.send) < 5_000 {
			f.Add(p.send, uint8(i))
		}
	}
	f.Add([]byte("GET /\n0"), uint8(0))
	f.Add([]byte("GET\n H"), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		whole, parts := passes(data, 1<<20), passes(data, int(size)+1)
		if whole != parts {
			t.Errorf("whole:\n%s\nin pieces of %d:\n%s", whole, int(size)+1, parts)
		}
	})
}

// passes is what a gate lets through, as far as whole requests go, and why it stops.
func passes(data []byte, size int) string {
	g := &gate{Conn: &pieces{rest: data, size: size}, maxBody: 1000}
	var out, request bytes.Buffer
	p := make([]byte, readBuffer)
	for {
		n, err := g.Read(p)
		if err != nil {
			reason := "the end"
			if errors.Is(err, errRefused) {
				reason = fmt.Sprintf("%d %s for %q", g.fault.Status, g.fault.Message, g.path)
			}
			return out.String() + reason
		}
		request.Write(p[:n])
		if !g.passed && g.fault == nil {
			fmt.Fprintf(&out, "%q\n", request.Bytes())
			request.Reset()
		}
	}
}
