package engine

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	maxHeaderBytes = 16 << 10 // of a request's header fields
	maxHeaders     = 100
	lingerTime     = 2 * time.Second
	lingerBytes    = 64 << 20
	readBuffer     = 32 << 10 // bytes: a request's head beyond it cannot even be read
)

// NewServer returns a fasthttp server with the gateway's limits: header fields of 16 KiB and 100 in number, bodies of maxBody bytes,
// 30 seconds to send a request. Errors below the handler get OpenAI's shape.
func NewServer(handler fasthttp.RequestHandler, maxBody int) *fasthttp.Server {
	return &fasthttp.Server{
		Name:                         "pointsman",
		Handler:                      limitHeaders(handler),
		ErrorHandler:                 protocolError,
		MaxRequestBodySize:           maxBody,
		ReadBufferSize:               readBuffer,
		ReadTimeout:                  30 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		NoDefaultContentType:         true,
		NoDefaultServerHeader:        true,
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
		CloseOnShutdown:              true,
		Logger:                       quiet{},
	}
}

func limitHeaders(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		var f *Fault
		switch {
		case len(ctx.Request.Header.RawHeaders()) > maxHeaderBytes:
			f = headersTooLarge("headers_too_large", "the header fields exceed 16 KiB")
		case ctx.Request.Header.Len() > maxHeaders:
			f = headersTooLarge("too_many_headers", "more than 100 header fields")
		default:
			next(ctx)
			return
		}
		f.Write(ctx)
		ctx.Response.Header.Set("X-Request-Id", requestIDText(ctx))
		ctx.SetConnectionClose()
	}
}

func headersTooLarge(code, message string) *Fault {
	return &Fault{Status: fasthttp.StatusRequestHeaderFieldsTooLarge, Type: typeRequest, Code: code, Message: message}
}

// protocolError answers what could not be read as a request.
func protocolError(ctx *fasthttp.RequestCtx, err error) {
	f := badRequest("invalid_http", "", "the request is not valid HTTP/1.1")
	var small *fasthttp.ErrSmallBuffer
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &small):
		f = headersTooLarge("headers_too_large", "the header fields exceed 16 KiB")
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		f.Status, f.Code, f.Message = fasthttp.StatusRequestEntityTooLarge, "request_too_large", "the request's body exceeds the limit of this gateway"
	case errors.As(err, &timeout) && timeout.Timeout():
		f.Status, f.Code, f.Message = fasthttp.StatusRequestTimeout, "request_timeout", "the request was not sent in time"
	}
	f.Write(ctx)
	ctx.Response.Header.Set("X-Request-Id", requestIDText(ctx))
	linger(ctx)
}

// linger sends the answer at once and then reads what the client is still sending, within bounds. Closing with bytes unread
// would reset the connection, and the client would see that instead of the answer. What fasthttp writes after it goes
// nowhere.
func linger(ctx *fasthttp.RequestCtx) {
	conn, ok := ctx.Conn().(interface {
		net.Conn
		CloseWrite() error
	})
	if !ok {
		return
	}
	ctx.SetConnectionClose()
	conn.SetDeadline(time.Now().Add(lingerTime)) //nolint:errcheck // the connection ends here either way
	if _, err := ctx.Response.WriteTo(conn); err == nil && conn.CloseWrite() == nil {
		io.CopyN(io.Discard, conn, lingerBytes) //nolint:errcheck // likewise
	}
}

// quiet drops fasthttp's own log lines: they are about clients that broke off, and may quote what they sent.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
