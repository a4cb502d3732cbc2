// Package upstream is the pooled HTTP/1.1 transport to providers.
//
// It owns its connections, because a gateway needs three things a general client does not give: cutting an exchange from
// another goroutine at any moment (the client left), one deadline per stage instead of one for everything, and a check
// of the address at the moment of the dial (a name that resolves to the inside). Parsing and serialising of messages are
// fasthttp's, but for the requests' heads, which are few lines. Redirects are never followed.
//
// A [Transport] and its [Target]s are safe for concurrent use; an [Exchange] belongs to one goroutine, but for Cancel.
package upstream

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/kept"
	"github.com/pointsman/pointsman/engine/socket"
)

// Errors of an exchange; decide with errors.Is.
var (
	// ErrConnect: no connection could be made; nothing was sent. It is ErrTimeout too if that took too long.
	ErrConnect = errors.New("cannot connect to the provider")
	// ErrTimeout: a stage took longer than allowed.
	ErrTimeout = errors.New("the provider did not answer in time")
	// ErrBroken: the connection broke, or the answer was not HTTP.
	ErrBroken = errors.New("the connection to the provider broke")
	// ErrTooLarge: the buffered answer is over the limit.
	ErrTooLarge = errors.New("the provider's answer is too large")
	// ErrCancelled: Cancel was called.
	ErrCancelled = errors.New("cancelled")
	// ErrAddress: the provider's name resolves to an address that is not allowed.
	ErrAddress = errors.New("the provider's address is not allowed")
)

// Config bounds the transport. The zero value of a field takes its default.
type Config struct {
	Timeouts Timeouts      // of targets that say nothing else
	KeepIdle time.Duration // 30 s: how long an unused connection is kept
	MaxIdle  int           // 256 connections kept per target
	MaxBody  int           // 32 MiB of a buffered answer
	TLS      *tls.Config   // nil for the system's roots
	Resolver *net.Resolver // nil for the system's
}

// Timeouts bound the stages of an exchange, each by itself. The zero value of a field takes its default.
type Timeouts struct {
	Connect   time.Duration // 5 s, the lookup of the name included
	TLS       time.Duration // 5 s, the handshake
	FirstByte time.Duration // 60 s, from the request sent to the first byte of the answer; also for sending it
	Idle      time.Duration // 60 s between two pieces of the answer
	Total     time.Duration // 30 min, from the beginning to the last byte
}

// Or fills in from other what is zero.
func (t Timeouts) Or(other Timeouts) Timeouts {
	return Timeouts{
		Connect: cmp.Or(t.Connect, other.Connect), TLS: cmp.Or(t.TLS, other.TLS), FirstByte: cmp.Or(t.FirstByte, other.FirstByte),
		Idle: cmp.Or(t.Idle, other.Idle), Total: cmp.Or(t.Total, other.Total),
	}
}

// DefaultTimeouts are what holds where nothing else is said.
func DefaultTimeouts() Timeouts {
	return Timeouts{Connect: 5 * time.Second, TLS: 5 * time.Second, FirstByte: time.Minute, Idle: time.Minute, Total: 30 * time.Minute}
}

// Transport makes targets.
type Transport struct{ cfg Config }

// New returns a transport.
func New(cfg Config) *Transport {
	cfg.Timeouts = cfg.Timeouts.Or(DefaultTimeouts())
	if cfg.KeepIdle == 0 {
		cfg.KeepIdle = 30 * time.Second
	}
	if cfg.MaxIdle == 0 {
		cfg.MaxIdle = 256
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 32 << 20
	}
	return &Transport{cfg}
}

// Target is one provider's base URL with its pool of connections.
type Target struct {
	cfg      Config
	timeouts Timeouts
	address  string // host:port
	host     string // for the Host header
	prefix   string // path prefix without a trailing slash
	tls      *tls.Config
	dialer   net.Dialer

	mu      sync.Mutex
	idle    []*conn // most recently used last
	retired bool
}

// conn is a connection whose every read has a deadline of its own: until the first byte of an answer, then between its
// pieces, and never beyond the end of the exchange or what Until says.
type conn struct {
	net.Conn
	r     *bufio.Reader // for a head; nil while there is nothing in it, see body.go
	since time.Time     // when it became idle

	began time.Time
	waits Timeouts
	until time.Time // see Exchange.Until
	room  int       // bytes that may still come
	first bool      // the answer has begun
	stage string    // what the read under way waits for, for the error

	readBy, writeBy socket.Deadline
}

// late is until when a wait from now until at may last, so that one deadline serves those who come soon after: every read of a stream has its own.
func late(now, at time.Time) time.Time { return at.Add(at.Sub(now) / 128) }

// begin starts an exchange on the connection; it began before, if one had to be made.
func (c *conn) begin(began, now time.Time, waits Timeouts, room int) error {
	c.began, c.waits, c.until, c.room, c.first = began, waits, time.Time{}, room, false
	c.stage = "sending the request"
	c.widen()
	at := earlier(now.Add(waits.FirstByte), began.Add(waits.Total))
	if to := late(now, at); c.writeBy.Moves(at, to) {
		return c.SetWriteDeadline(to)
	}
	return nil
}

// Read reads what is there, or waits as long as the stage allows.
func (c *conn) Read(p []byte) (int, error) {
	wait := c.waits.FirstByte
	c.stage = "waiting for the first byte"
	if c.first {
		wait, c.stage = c.waits.Idle, "waiting for more of the answer"
	}
	now := time.Now()
	at, end := now.Add(wait), c.began.Add(c.waits.Total)
	if end.Before(at) {
		at, c.stage = end, "at the end of the total time"
	}
	if !c.until.IsZero() && c.until.Before(at) {
		at, c.stage = c.until, "waiting for the first content"
	}
	if to := late(now, at); c.readBy.Moves(at, to) {
		if err := c.SetReadDeadline(to); err != nil {
			return 0, err
		}
	}
	if c.room <= 0 {
		return 0, ErrTooLarge
	}
	n, err := c.Conn.Read(p[:min(len(p), c.room)])
	c.first = c.first || n > 0
	c.room -= n
	return n, err
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// TargetOptions are what an operator says about one provider.
type TargetOptions struct {
	// AllowPrivate: without it, connections to loopback, private, link-local and other special addresses are refused when
	// dialled, whatever the name resolves to.
	AllowPrivate bool
	Timeouts     Timeouts // zero: the transport's
}

// Target returns the target of a base URL such as "https://api.openai.com/v1".
func (t *Transport) Target(baseURL string, opt TargetOptions) (*Target, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("base URL %.100q must be scheme://host[:port][/path]", baseURL)
	}
	g := &Target{cfg: t.cfg, timeouts: opt.Timeouts.Or(t.cfg.Timeouts), host: u.Host, prefix: strings.TrimRight(u.EscapedPath(), "/")}
	port := u.Port()
	switch u.Scheme {
	case "https":
		g.tls = &tls.Config{}
		if t.cfg.TLS != nil {
			g.tls = t.cfg.TLS.Clone()
		}
		g.tls.ServerName, g.tls.NextProtos = u.Hostname(), []string{"http/1.1"}
		if port == "" {
			port = "443"
		}
	case "http":
		if port == "" {
			port = "80"
		}
	default:
		return nil, fmt.Errorf("base URL %.100q must be http or https", baseURL)
	}
	g.address = net.JoinHostPort(u.Hostname(), port)
	g.dialer.Resolver = t.cfg.Resolver
	if !opt.AllowPrivate {
		g.dialer.Control = refuseSpecial
	}
	return g, nil
}

// Exchange is one request and its answer. Request is valid until Do, Response after Do and until Close.
type Exchange struct {
	Request  *Request
	Response *fasthttp.Response
	Timeouts Timeouts // the target's; may be changed before Do
	target   *Target
	began    time.Time
	body     body
	memory   *kept.Memory // which a gathered body has, nil if it is small

	mu        sync.Mutex // guards what follows against Cancel
	conn      *conn
	dialling  context.CancelFunc
	cancelled bool
}

// Begin returns an exchange with an empty POST request for path, which is appended to the base URL's own path.
func (g *Target) Begin(path string) *Exchange {
	// Not pooled: a late Cancel must never reach another request's exchange.
	return &Exchange{Request: newRequest(g, path), Response: fasthttp.AcquireResponse(), Timeouts: g.timeouts, target: g}
}

// Do sends the request and reads the answer's head, and its body unless stream is set, then Stream gives the body. A
// connection taken from the pool that turns out closed before one byte of the answer is replaced by a fresh one, once.
func (x *Exchange) Do(stream bool) error {
	x.began = time.Now()
	for fresh := false; ; fresh = true {
		c, pooled, err := x.connect(fresh)
		if err != nil {
			return err
		}
		now := x.began
		if !pooled {
			now = time.Now()
		}
		err = x.roundTrip(c, now, stream)
		if err == nil {
			return nil
		}
		x.drop()
		if x.isCancelled() {
			return ErrCancelled
		}
		if pooled && !fresh && !c.first && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
			continue
		}
		return classify(err, c)
	}
}

func (x *Exchange) roundTrip(c *conn, now time.Time, stream bool) error {
	room := math.MaxInt // a stream is read as its events come
	if !stream {
		room = x.target.cfg.MaxBody + 64<<10 // with its head and what chunks add, of small ones without end too
	}
	if err := c.begin(x.began, now, x.Timeouts, room); err != nil {
		return err
	}
	if err := x.Request.send(c); err != nil {
		return err
	}
	x.Response.SkipBody = true // the head first
	err := x.Response.ReadLimitBody(c.r, x.target.cfg.MaxBody)
	x.Response.SkipBody = false
	if err != nil {
		return err
	}
	x.body = newBody(x.Response)
	if !stream {
		x.memory, err = x.body.gather(x.Response, c, x.target.cfg.MaxBody)
		return err
	}
	x.Request.release() // the answer may take minutes
	x.Request = nil
	return nil
}

// Until bounds what Stream waits for, beside Timeouts, until it is called again; the zero time ends that. It is for content
// that has to come by then, for other bytes may come before it. Call it after Do, from the goroutine that reads.
func (x *Exchange) Until(at time.Time) {
	if c := x.conn; c != nil {
		c.until = at
	}
}

// Stream reads the body of a streamed answer.
func (x *Exchange) Stream() io.Reader { return (*streamReader)(x) }

type streamReader Exchange

func (s *streamReader) Read(p []byte) (int, error) {
	x := (*Exchange)(s)
	c := x.conn
	if c == nil {
		return 0, ErrCancelled
	}
	n, err := x.body.read(c, p)
	if err == nil || err == io.EOF {
		return n, err
	}
	if x.isCancelled() {
		return n, ErrCancelled
	}
	return n, classify(err, c)
}

// Cancel cuts the exchange from any goroutine: whoever waits in Do or Stream gets ErrCancelled at once.
func (x *Exchange) Cancel() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cancelled = true
	if x.dialling != nil {
		x.dialling()
	}
	if x.conn != nil {
		x.conn.Conn.Close()
	}
}

// EndTime is how long the end of an answer is waited for once all that matters of it was read.
const EndTime = 50 * time.Millisecond

// Close ends the exchange. With reuse the connection goes back to the pool if the answer ends within EndTime, which is right only
// after all that matters of it was read.
func (x *Exchange) Close(reuse bool) {
	if reuse {
		x.readToEnd()
	}
	x.mu.Lock()
	c := x.conn
	x.conn = nil
	reuse = reuse && !x.cancelled && c != nil && !x.Response.ConnectionClose()
	x.mu.Unlock()
	if c != nil {
		if reuse && !x.body.unsure && !c.unread() {
			c.letGo()
			x.target.release(c)
		} else {
			c.Close()
		}
	}
	if x.Request != nil {
		x.Request.release()
	}
	fasthttp.ReleaseResponse(x.Response)
	x.memory.Give()
	x.Request, x.Response, x.target, x.memory = nil, nil, nil, nil
}

// readToEnd reads what is left of a streamed answer: mostly the end of its last chunk.
func (x *Exchange) readToEnd() {
	c, b := x.conn, &x.body
	if c == nil || !b.unsure || b.end != nil || b.left == lengthUnknown || x.Response.ConnectionClose() {
		return
	}
	x.Until(time.Now().Add(EndTime))
	for rest := make([]byte, 512); b.end == nil; {
		b.read(c, rest) //nolint:errcheck // b tells whether the end came
	}
}

// connect attaches a connection, from the pool unless fresh is set.
func (x *Exchange) connect(fresh bool) (c *conn, pooled bool, err error) {
	if !fresh {
		c = x.target.takeIdle()
	}
	if pooled = c != nil; !pooled {
		ctx, cancel := context.WithDeadline(context.Background(), x.began.Add(x.Timeouts.Total))
		defer cancel()
		x.mu.Lock()
		x.dialling = cancel
		x.mu.Unlock()
		if x.isCancelled() {
			return nil, false, ErrCancelled
		}
		if c, err = x.target.dial(ctx, x.Timeouts); err != nil {
			if x.isCancelled() {
				return nil, false, ErrCancelled
			}
			return nil, false, err
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cancelled {
		c.Close()
		return nil, false, ErrCancelled
	}
	x.conn, x.dialling = c, nil
	return c, pooled, nil
}

func (x *Exchange) drop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn.Close()
	x.conn = nil
}

func (x *Exchange) isCancelled() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.cancelled
}

// dial makes a connection, on a goroutine of its own: looking up a name and shaking hands take a deep stack, which the request's goroutine would
// keep for as long as its answer comes.
func (g *Target) dial(ctx context.Context, waits Timeouts) (c *conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err = g.connect(ctx, waits)
	}()
	<-done
	return c, err
}

// connect makes a connection, each of its two stages within its own limit.
func (g *Target) connect(ctx context.Context, waits Timeouts) (*conn, error) {
	connecting, cancel := context.WithTimeout(ctx, waits.Connect)
	defer cancel()
	raw, err := g.dialer.DialContext(connecting, "tcp", g.address)
	if err != nil {
		return nil, unconnected("connecting", err)
	}
	raw = socket.Wrap(raw)
	if g.tls != nil {
		shaking, cancel := context.WithTimeout(ctx, waits.TLS)
		defer cancel()
		secured := tls.Client(raw, g.tls)
		if err := secured.HandshakeContext(shaking); err != nil {
			raw.Close()
			return nil, unconnected("at the TLS handshake", err)
		}
		raw = secured
	}
	return &conn{Conn: raw}, nil
}

// unconnected is the error of a stage before there was a connection. It is ErrConnect, and ErrTimeout too if time ran out.
func unconnected(stage string, err error) error {
	switch {
	case errors.Is(err, ErrAddress):
		return err
	case isTimeout(err):
		return fmt.Errorf("%w: %w: %s: %w", ErrConnect, ErrTimeout, stage, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrConnect, stage, err)
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, fasthttp.ErrTimeout) || errors.As(err, &timeout) && timeout.Timeout()
}

func (g *Target) takeIdle() *conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.idle)
	if n == 0 {
		return nil
	}
	c := g.idle[n-1]
	g.idle[n-1] = nil
	g.idle = g.idle[:n-1]
	if time.Since(c.since) < g.cfg.KeepIdle {
		return c
	}
	c.Close()
	for i, old := range g.idle { // the rest were idle even longer
		old.Close()
		g.idle[i] = nil
	}
	g.idle = g.idle[:0]
	return nil
}

func (g *Target) release(c *conn) {
	c.since = time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.retired || len(g.idle) >= g.cfg.MaxIdle {
		c.Close()
		return
	}
	g.idle = append(g.idle, c)
}

// Retire closes the connections that nobody uses, and those in use when they would be kept. The target works on.
func (g *Target) Retire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.retired = true
	for _, c := range g.idle {
		c.Close()
	}
	g.idle = nil
}

func classify(err error, c *conn) error {
	switch {
	case isTimeout(err):
		return fmt.Errorf("%w: %s: %w", ErrTimeout, c.stage, err)
	case errors.Is(err, fasthttp.ErrBodyTooLarge), errors.Is(err, ErrTooLarge):
		return ErrTooLarge
	default:
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
}

// Reach makes a connection and keeps it for the first request. Errors are those of Exchange.Do.
func (g *Target) Reach(ctx context.Context) error {
	c, err := g.dial(ctx, g.timeouts)
	if err != nil {
		return err
	}
	g.release(c)
	return nil
}
