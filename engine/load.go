package engine

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/overload"
	"github.com/pointsman/pointsman/engine/socket"
)

// load is what a connection and its request are to the guard: memory for a large body, a slow sender, a client that does not
// read what is written to it.
type load struct {
	guard    *overload.Guard // nil: none
	held     atomic.Int64    // bytes of the body that it knows of
	timed    bool            // this request is watched for being slow
	slow     bool            // and is
	counted  atomic.Bool     // as a slow sender
	readBy   time.Time       // until when the server waits for the request; zero: for ever
	patience time.Duration   // with clients that do not read; 0: any

	waits, writes socket.Deadline // of the connection
	given         bool            // by somebody else, for what is written
}

// overloaded is what a client gets that the guard refused.
func overloaded(s *overload.Shed) *Fault {
	message := map[overload.Reason]string{
		overload.Memory:     "the gateway is short of memory at the moment; come again later",
		overload.Body:       "the gateway has no memory for so large a body at the moment; come again later, or with less",
		overload.SlowSender: "too many requests from your address take long to be sent; come again later",
	}[s.Reason]
	if message == "" {
		message = "the gateway has as many requests as it can take at the moment; come again later"
	}
	return &Fault{Status: fasthttp.StatusServiceUnavailable, Type: typeServer, Code: "overloaded", Message: message, RetryAfter: s.RetryAfter}
}

// hold has the guard know of a body of so many bytes, or of so many that have come.
func (g *gate) hold(body int64) *Fault {
	more := body - g.held.Load()
	if g.guard == nil || body <= overload.SmallBody || more <= 0 {
		return nil
	}
	if shed := g.guard.Hold(more); shed != nil {
		return overloaded(shed)
	}
	g.held.Add(more)
	return nil
}

// letGo takes back what the guard knows of a request.
func (g *gate) letGo() {
	if n := g.held.Swap(0); n > 0 {
		g.guard.Free(n)
	}
	g.sentAll()
	g.timed, g.slow = false, false
}

// sentAll says that the client is through with a request, or gone.
func (g *gate) sentAll() {
	if g.counted.Swap(false) {
		g.guard.SentAll(g.RemoteAddr())
	}
}

// readOn reads more of a request. One that is not all there in time is counted as slow, and may then take as long as the
// server waits.
func (g *gate) readOn(p []byte, midway bool) (int, error) {
	switch {
	case !midway:
		g.waitUntil(g.readBy, idleEarly)
		return g.Conn.Read(p)
	case g.guard == nil || g.slow:
		g.waitUntil(g.readBy, 0)
		return g.Conn.Read(p)
	case !g.timed:
		g.timed = true
		by := time.Now().Add(overload.SlowAfter)
		if !g.readBy.IsZero() && g.readBy.Before(by) {
			by = g.readBy
		}
		g.waitUntil(by, 0)
	}
	n, err := g.Conn.Read(p)
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !g.readBy.IsZero() && !time.Now().Before(g.readBy) {
		return n, err
	}
	if shed := g.guard.SlowSender(g.RemoteAddr()); shed != nil {
		g.fault = overloaded(shed)
		return 0, nil
	}
	g.slow = true
	g.counted.Store(true)
	g.waitUntil(g.readBy, 0)
	return g.Conn.Read(p)
}

// Write writes on, and gives a client up that does not read. The deadline is set anew only when half of it has passed, for a
// stream writes often.
func (g *gate) Write(p []byte) (int, error) {
	if g.patience > 0 && !g.given {
		now := time.Now()
		if by := now.Add(g.patience); g.writes.Moves(now.Add(g.patience/2), by) {
			g.Conn.SetWriteDeadline(by) //nolint:errcheck // the write tells
		}
	}
	return g.Conn.Write(p)
}

// SetReadDeadline is how the server says how long it waits, for a request and then for the rest of it. The connection is told by what reads: of most requests there
// is no rest.
func (g *gate) SetReadDeadline(t time.Time) error {
	g.readBy = t
	return nil
}

// idleEarly is how much sooner than the server says a connection may be closed that waits for a request: of many in a second, the first alone tells the connection.
const idleEarly = 250 * time.Millisecond

// waitUntil has the connection wait for bytes until then, or until at most so much before.
func (g *gate) waitUntil(t time.Time, early time.Duration) {
	if g.waits.Moves(t.Add(-early), t) {
		g.Conn.SetReadDeadline(t) //nolint:errcheck // the read tells
	}
}

// SetWriteDeadline holds in the place of the gate's own until it is called with the zero time.
func (g *gate) SetWriteDeadline(t time.Time) error {
	g.writes.Moves(t, t)
	g.given = !t.IsZero()
	return g.Conn.SetWriteDeadline(t)
}

// SetDeadline is both. Of a connection that is closed the next read or write tells: the server would drop what is to take it over, and with it a stream that nobody
// would settle.
func (g *gate) SetDeadline(t time.Time) error {
	g.readBy = t
	g.waits.Moves(t, t)
	g.Conn.SetReadDeadline(t) //nolint:errcheck // the read tells
	g.SetWriteDeadline(t)     //nolint:errcheck // the write tells
	return nil
}

// Close ends the connection.
func (g *gate) Close() error {
	if n := g.held.Swap(0); n > 0 {
		g.guard.Free(n)
	}
	g.sentAll()
	return g.Conn.Close()
}
