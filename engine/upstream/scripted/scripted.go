// Package scripted is an upstream that answers as it is told: it stands in for providers in tests, demonstrations and
// benchmarks. It speaks enough of OpenAI's API (chat completions, responses, embeddings, models) and of Anthropic's
// (messages) on one port, buffered and streamed, with fixed texts and counts of tokens; a script may replace or bend any single
// answer: hold it, pace it, cut it short in every way a network can. It records the requests it gets and the moment a
// peer leaves while its answer is being held.
//
// It is HTTP/1.1 with keep-alive written straight onto the connection, as no server library lets one reset a connection
// in the middle of a chunk, and it costs little next to what it measures. It is not for the open network: it listens on
// the loopback interface and knows no TLS.
package scripted

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	defaultKeep = 1000
	maxBody     = 64 << 20
	bufferSize  = 16 << 10
)

// Options say how a server starts; the zero value will do.
type Options struct {
	Addr string // "" means a free port of 127.0.0.1
	// Keep is how many of the latest requests are recorded; 0 means 1000, a negative number none.
	Keep int
	// Text is the answer, a chunk for each element when streamed; nil means a short greeting.
	Text []string
	// Interval is the pause between the chunks of the default streamed answers.
	Interval time.Duration
	// Models are the ids that the list of models has; nil means "scripted-model".
	Models []string
}

// Server is a running upstream. Its methods may be called concurrently.
type Server struct {
	opt      Options
	listener net.Listener
	script   atomic.Pointer[func(*Request) *Reply]
	count    atomic.Int64
	done     chan struct{}
	running  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
	ring   []*Request // the latest, of which ring[next] is the oldest once it is full
	next   int
}

// Start starts a server.
func Start(opt Options) (*Server, error) {
	if opt.Addr == "" {
		opt.Addr = "127.0.0.1:0"
	}
	if opt.Keep == 0 {
		opt.Keep = defaultKeep
	}
	if opt.Text == nil {
		opt.Text = []string{"Hello", " from", " the", " scripted", " upstream."}
	}
	if opt.Models == nil {
		opt.Models = []string{"scripted-model"}
	}
	listener, err := net.Listen("tcp", opt.Addr)
	if err != nil {
		return nil, fmt.Errorf("starting the scripted upstream: %w", err)
	}
	s := &Server{opt: opt, listener: listener, done: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	s.running.Add(1)
	go s.accept()
	return s, nil
}

// URL is the base URL without a slash at its end. The paths are told by their ends: /chat/completions, /responses,
// /messages, /embeddings, /models; whatever comes before them does not matter.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Script sets the function that is asked for every answer from now on, concurrently. If it is nil or returns nil the
// answer is the default one, see [Request.Default].
func (s *Server) Script(f func(*Request) *Reply) {
	if f == nil {
		s.script.Store(nil)
		return
	}
	s.script.Store(&f)
}

// Count is how many requests have come, recorded or not.
func (s *Server) Count() int64 { return s.count.Load() }

// Requests returns the recorded requests, the oldest first.
func (s *Server) Requests() []*Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Request, 0, len(s.ring))
	out = append(out, s.ring[s.next:]...)
	return append(out, s.ring[:s.next]...)
}

// Close stops the server: it closes all connections, ends all holds, and returns when nothing of it runs any more.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	close(s.done)
	s.listener.Close()
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

func (s *Server) accept() {
	defer s.running.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.running.Add(1)
		s.mu.Unlock()
		go s.serve(conn)
	}
}

// serve answers the requests of one connection, one after the other.
func (s *Server) serve(conn net.Conn) {
	defer s.running.Done()
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	x := exchange{server: s, conn: conn, in: bufio.NewReaderSize(conn, bufferSize), out: bufio.NewWriterSize(conn, bufferSize)}
	var raw fasthttp.Request
	for {
		if err := raw.ReadLimitBody(x.in, maxBody); err != nil {
			return
		}
		if raw.MayContinue() {
			x.out.WriteString("HTTP/1.1 100 Continue\r\n\r\n")
			if x.out.Flush() != nil || raw.ContinueReadBody(x.in, maxBody) != nil {
				return
			}
		}
		script := s.script.Load()
		req := s.request(&raw, script != nil || s.opt.Keep > 0)
		var reply *Reply
		if script != nil {
			reply = (*script)(req)
		}
		if reply == nil {
			reply = req.Default()
		}
		if !x.answer(req, reply) || raw.ConnectionClose() {
			return
		}
	}
}

// record keeps a request in the ring.
func (s *Server) record(req *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ring) < s.opt.Keep {
		s.ring = append(s.ring, req)
		return
	}
	s.ring[s.next] = req
	s.next = (s.next + 1) % len(s.ring)
}
