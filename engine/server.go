package engine

import (
	"cmp"
	"errors"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/overload"
)

const (
	lingerTime  = 2 * time.Second
	lingerMost  = 30 * time.Second
	lingerBytes = 64 << 20
	lingerPiece = 64 << 10                                // that the client must send in lingerTime
	readBuffer  = maxRequestLine + maxHeaderBytes + 1<<10 // bytes: a request's head must fit
)

// Server is a fasthttp server that reads its clients through gates.
type Server struct {
	*fasthttp.Server
	Guard *overload.Guard // of its connections and their bodies; nil: none
}

// NewServer returns a server with the gateway's limits: request lines of 8 KiB, header fields of 32 KiB and 100 in number, bodies
// of maxBody bytes, 30 seconds to send a request. The handler sees only requests that every parser of HTTP/1.1 reads alike.
func NewServer(handler fasthttp.RequestHandler, maxBody int) *Server {
	return &Server{Server: &fasthttp.Server{
		Name:                         "pointsman",
		Handler:                      handler,
		ErrorHandler:                 protocolError,
		HeaderReceived:               lend,
		MaxRequestBodySize:           maxBody,
		ReadBufferSize:               readBuffer,
		ReadTimeout:                  30 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		NoDefaultContentType:         true,
		NoDefaultServerHeader:        true,
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
		CloseOnShutdown:              true,
		ReduceMemoryUsage:            true, // no buffers for connections that wait, nor for streams
		Logger:                       quiet{},
	}}
}

// Serve takes connections, of TCP or TLS, until the listener is closed.
func (s *Server) Serve(ln net.Listener) error {
	return s.Server.Serve(gates{s.Guard.Listen(ln), s.MaxRequestBodySize, s.Guard, newBuffers()})
}

// protocolError answers what could not be read as a request, in the shape of the path's dialect if the request came that far.
func protocolError(ctx *fasthttp.RequestCtx, err error) {
	f := badFraming("the request is not valid HTTP/1.1")
	var timeout interface{ Timeout() bool }
	below := ctx.Conn()
	g, gated := below.(*gate)
	if gated {
		below = plainConn(cmp.Or(g.spoken, g.Conn))
	}
	switch {
	case gated && g.fault != nil:
		if f = g.fault; len(g.path) > 0 {
			ctx.Request.Header.SetRequestURIBytes(g.path)
		}
	case errors.As(err, &timeout) && timeout.Timeout():
		f.Status, f.Code, f.Message = fasthttp.StatusRequestTimeout, "request_timeout", "the request was not sent in time"
	}
	ctx.Response.Header.Set("X-Request-Id", requestIDText(ctx))
	f.Write(ctx)
	linger(ctx, below)
}

// linger sends the answer at once and then reads what the client is still sending, within bounds. Closing with bytes unread
// would reset the connection, and the client would see that instead of the answer. What fasthttp writes after it goes
// nowhere.
func linger(ctx *fasthttp.RequestCtx, below net.Conn) {
	conn, ok := below.(interface {
		net.Conn
		CloseWrite() error
	})
	if !ok {
		return
	}
	ctx.SetConnectionClose()
	conn.SetDeadline(time.Now().Add(lingerTime)) //nolint:errcheck // the connection ends here either way
	if _, err := ctx.Response.WriteTo(conn); err == nil && conn.CloseWrite() == nil {
		until := time.Now().Add(lingerMost)
		for n := 0; err == nil && n < lingerBytes && time.Now().Before(until); n += lingerPiece {
			conn.SetDeadline(time.Now().Add(lingerTime)) //nolint:errcheck // likewise
			_, err = io.CopyN(io.Discard, conn, lingerPiece)
		}
	}
}

// quiet drops fasthttp's own log lines: they are about clients that broke off, and may quote what they sent.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
