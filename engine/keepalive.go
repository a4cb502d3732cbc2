package engine

import (
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// KeepAlive says when a silent stream is kept alive. What stands between us and the client cuts a connection that is silent,
// often after a minute.
type KeepAlive struct {
	// After is how long a stream may wait for its answer to begin before the first ping. The first ping commits the status
	// 200, so it comes late enough that quick failures keep theirs. 0: 10 s.
	After time.Duration
	// Every is how long a stream may then be silent. 0: 15 s.
	Every time.Duration
}

func (k KeepAlive) orDefault() KeepAlive {
	if k.After <= 0 {
		k.After = 10 * time.Second
	}
	if k.Every <= 0 {
		k.Every = 15 * time.Second
	}
	return k
}

// pingTime is how long a ping may take to be taken by the client's side.
const pingTime = 30 * time.Second

// pulse keeps one stream alive. While the stream waits, for its answer to begin or for the next event, nobody else writes to
// the client's connection, and a ping goes there directly. The watcher finds out when one is due, so that a stream that is
// never silent costs two uncontended locks an event.
type pulse struct {
	every time.Duration
	conn  net.Conn
	id    string // of the request, for the head
	more  string // header fields for the head

	mu      sync.Mutex // held while a ping is written
	waiting bool
	due     time.Time
	headed  bool // the head was sent, or the server sends it
	begun   bool // by us: the rest must be too
	pinging bool
}

func newPulse(ctx *fasthttp.RequestCtx, k KeepAlive, began time.Time) *pulse {
	if !ctx.Request.Header.IsHTTP11() {
		return nil // has no chunks that could carry a ping
	}
	return &pulse{
		every: k.Every, conn: ctx.Conn(), id: string(ctx.Response.Header.Peek("X-Request-Id")), waiting: true, due: began.Add(k.After),
		more: originFields(&ctx.Response.Header) + limitFields(&ctx.Response.Header),
	}
}

// look sends a ping if one is due, on a goroutine of its own, for a slow client may not take it at once. It never waits, for whoever looks has others to look after.
func (p *pulse) look(now time.Time) {
	if !p.mu.TryLock() {
		return // a ping is on its way, or the stream goes on
	}
	defer p.mu.Unlock()
	if p.waiting && !p.pinging && now.After(p.due) {
		p.pinging = true
		go p.ping()
	}
}

func (p *pulse) ping() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pinging = false
	if !p.waiting { // the answer was faster
		return
	}
	var out []byte
	if !p.headed {
		out = append(out, "HTTP/1.1 200 OK\r\nServer: pointsman\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"+
			"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nX-Request-Id: "...)
		out = append(append(append(append(out, p.id...), "\r\n"...), p.more...), "\r\n"...)
	}
	p.conn.SetWriteDeadline(time.Now().Add(pingTime)) //nolint:errcheck // the write tells
	if _, err := p.conn.Write(appendChunk(out, []byte(": ping\n\n"))); err != nil {
		p.conn.Close() // nothing can follow what was not written whole
	}
	p.conn.SetWriteDeadline(time.Time{}) //nolint:errcheck // the next write tells
	p.headed, p.begun = true, p.begun || !p.headed
	p.due = time.Now().Add(p.every)
}

// wait says that the stream waits for its next event from now on.
func (p *pulse) wait() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting, p.due = true, time.Now().Add(p.every)
}

// stop says that it waits no more. begun tells that the head was sent with a ping.
func (p *pulse) stop() (begun bool) {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = false
	return p.begun
}

// begin stops, for the answer begins: unless pings have begun it, the server sends the head, and what pings come later go behind that.
func (p *pulse) begin() (begun bool) {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting, p.headed = false, true
	return p.begun
}

// carry sends the rest of a stream whose head was sent with a ping, and ends the connection.
func carry(conn net.Conn, body io.ReadCloser) {
	defer body.Close() //nolint:errcheck // settles what has not been read to its end
	buf, out := make([]byte, relayBatch), []byte(nil)
	for {
		n, err := body.Read(buf)
		if out = out[:0]; n > 0 {
			out = appendChunk(out, buf[:n])
		}
		if errors.Is(err, io.EOF) {
			out = append(out, "0\r\n\r\n"...)
		}
		if len(out) > 0 {
			if _, failed := conn.Write(out); failed != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// appendChunk appends data as a chunk of a chunked body.
func appendChunk(dst, data []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(data)), 16)
	dst = append(dst, "\r\n"...)
	return append(append(dst, data...), "\r\n"...)
}

// faultBody is the body of a stream that ends in an error before its answer has begun.
type faultBody struct {
	event []byte
	sent  bool
}

func (b *faultBody) Read(p []byte) (int, error) {
	if b.sent {
		return 0, errCut
	}
	n := copy(p, b.event)
	b.event = b.event[n:]
	b.sent = len(b.event) == 0
	return n, nil
}

func (b *faultBody) Close() error { return nil }
