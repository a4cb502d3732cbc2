// Package upstream is the pooled HTTP/1.1 transport to providers.
//
// It owns its connections, because a gateway needs three things a general client does not give: cutting an exchange from
// another goroutine at any moment (the client left), one deadline per stage instead of one for everything, and a check
// of the address at the moment of the dial (a name that resolves to the inside). Parsing and serialising of messages are
// fasthttp's. Redirects are never followed.
//
// A [Transport] and its [Target]s are safe for concurrent use; an [Exchange] belongs to one goroutine, but for Cancel.
package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// Errors of an exchange; decide with errors.Is.
var (
	// ErrConnect: no connection could be made; nothing was sent.
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
	ConnectTimeout time.Duration // 5 s, TLS handshake included
	IdleTimeout    time.Duration // 30 s: how long an unused connection is kept, and how long a stream may pause
	MaxIdle        int           // 256 connections kept per target
	MaxBody        int           // 32 MiB of a buffered answer
	TLS            *tls.Config   // nil for the system's roots
}

// Transport makes targets.
type Transport struct{ cfg Config }

// New returns a transport.
func New(cfg Config) *Transport {
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = 30 * time.Second
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
	cfg     Config
	address string // host:port
	host    string // for the Host header
	prefix  string // path prefix without a trailing slash
	tls     *tls.Config
	dialer  net.Dialer

	mu   sync.Mutex
	idle []*conn // most recently used last
}

type conn struct {
	net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	since time.Time // when it became idle
}

// Target returns the target of a base URL such as "https://api.openai.com/v1". Without allowPrivate, connections to
// loopback, private, link-local and other special addresses are refused when dialled, whatever the name resolves to.
func (t *Transport) Target(baseURL string, allowPrivate bool) (*Target, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("base URL %.100q must be scheme://host[:port][/path]", baseURL)
	}
	g := &Target{cfg: t.cfg, host: u.Host, prefix: strings.TrimRight(u.EscapedPath(), "/")}
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
	g.dialer.Timeout = t.cfg.ConnectTimeout
	if !allowPrivate {
		g.dialer.Control = refuseSpecial
	}
	return g, nil
}

// Exchange is one request and its answer. Response is valid after Do and until Close.
type Exchange struct {
	Request  *fasthttp.Request
	Response *fasthttp.Response
	target   *Target
	body     io.Reader

	mu        sync.Mutex // guards what follows against Cancel
	conn      *conn
	dialling  context.CancelFunc
	cancelled bool
}

// Begin returns an exchange with an empty POST request for path, which is appended to the base URL's own path.
func (g *Target) Begin(path string) *Exchange {
	// Not pooled: a late Cancel must never reach another request's exchange.
	x := &Exchange{Request: fasthttp.AcquireRequest(), Response: fasthttp.AcquireResponse(), target: g}
	x.Request.Header.SetMethod(fasthttp.MethodPost)
	x.Request.Header.SetHost(g.host)
	x.Request.SetRequestURI(g.prefix + path)
	x.Request.URI().SetScheme("http") // fasthttp derives the request line from the URI; TLS is the connection's
	x.Request.URI().SetHost(g.host)
	x.Request.Header.SetNoDefaultContentType(true)
	return x
}

// Do sends the request and reads the answer's head, and its body unless stream is set, then Stream gives the body. firstByte
// bounds the wait for the head. A connection taken from the pool that turns out closed before one byte of the answer is
// replaced by a fresh one, once.
func (x *Exchange) Do(firstByte time.Duration, stream bool) error {
	for fresh := false; ; fresh = true {
		c, pooled, err := x.connect(fresh)
		if err != nil {
			return err
		}
		err = x.roundTrip(c, firstByte, stream)
		if err == nil {
			return nil
		}
		x.drop()
		if x.isCancelled() {
			return ErrCancelled
		}
		if pooled && !fresh && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
			continue
		}
		return classify(err)
	}
}

func (x *Exchange) roundTrip(c *conn, firstByte time.Duration, stream bool) error {
	now := time.Now()
	if err := c.SetDeadline(now.Add(firstByte)); err != nil {
		return err
	}
	if err := x.Request.Write(c.w); err != nil {
		return err
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	x.Response.StreamBody = stream
	if err := x.Response.ReadLimitBody(c.r, x.target.cfg.MaxBody); err != nil {
		return err
	}
	if stream {
		x.body = x.Response.BodyStream()
	}
	return nil
}

// Stream reads the body of a streamed answer. Each read may take as long as the transport's idle timeout.
func (x *Exchange) Stream() io.Reader { return (*streamReader)(x) }

type streamReader Exchange

func (s *streamReader) Read(p []byte) (int, error) {
	x := (*Exchange)(s)
	c := x.conn
	if c == nil {
		return 0, ErrCancelled
	}
	if c.r.Buffered() == 0 {
		if err := c.SetReadDeadline(time.Now().Add(x.target.cfg.IdleTimeout)); err != nil {
			return 0, classify(err)
		}
	}
	n, err := x.body.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	if x.isCancelled() {
		return n, ErrCancelled
	}
	return n, classify(err)
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

// Close ends the exchange. With reuse the connection goes back to the pool, which is right only after the whole answer
// was read.
func (x *Exchange) Close(reuse bool) {
	x.mu.Lock()
	c := x.conn
	x.conn = nil
	reuse = reuse && !x.cancelled && c != nil && !x.Response.ConnectionClose()
	x.mu.Unlock()
	if x.body != nil {
		if !reuse && c != nil {
			c.Close() // before the body: its Close would otherwise read on to the end
			c = nil
		}
		x.Response.CloseBodyStream() //nolint:errcheck // the answer is over either way
	}
	if c != nil {
		if reuse && c.r.Buffered() == 0 {
			x.target.release(c)
		} else {
			c.Close()
		}
	}
	fasthttp.ReleaseRequest(x.Request)
	fasthttp.ReleaseResponse(x.Response)
	x.Request, x.Response, x.target, x.body = nil, nil, nil, nil
}

// connect attaches a connection, from the pool unless fresh is set.
func (x *Exchange) connect(fresh bool) (c *conn, pooled bool, err error) {
	if !fresh {
		c = x.target.takeIdle()
	}
	if pooled = c != nil; !pooled {
		ctx, cancel := context.WithTimeout(context.Background(), x.target.cfg.ConnectTimeout)
		defer cancel()
		x.mu.Lock()
		x.dialling = cancel
		x.mu.Unlock()
		if x.isCancelled() {
			return nil, false, ErrCancelled
		}
		if c, err = x.target.dial(ctx); err != nil {
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

func (g *Target) dial(ctx context.Context) (*conn, error) {
	raw, err := g.dialer.DialContext(ctx, "tcp", g.address)
	if err != nil {
		if errors.Is(err, ErrAddress) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrConnect, err)
	}
	if g.tls != nil {
		secured := tls.Client(raw, g.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, fmt.Errorf("%w: %w", ErrConnect, err)
		}
		raw = secured
	}
	return &conn{Conn: raw, r: bufio.NewReaderSize(raw, 16<<10), w: bufio.NewWriterSize(raw, 4<<10)}, nil
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
	if time.Since(c.since) < g.cfg.IdleTimeout {
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
	if len(g.idle) >= g.cfg.MaxIdle {
		c.Close()
		return
	}
	g.idle = append(g.idle, c)
}

func classify(err error) error {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, fasthttp.ErrTimeout), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return ErrTooLarge
	default:
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
}

// Reach makes a connection and keeps it for the first request. Errors are those of Exchange.Do.
func (g *Target) Reach(ctx context.Context) error {
	c, err := g.dial(ctx)
	if err != nil {
		return err
	}
	g.release(c)
	return nil
}
