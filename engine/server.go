package engine

import (
	"errors"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	maxHeader  = 32 << 10 // bytes of a request's head
	maxHeaders = 100
)

// NewServer returns a fasthttp server with the gateway's limits: heads of 32 KiB and 100 fields, bodies of maxBody bytes,
// 30 seconds to send a request. Errors below the handler get OpenAI's shape.
func NewServer(handler fasthttp.RequestHandler, maxBody int) *fasthttp.Server {
	return &fasthttp.Server{
		Name:                         "pointsman",
		Handler:                      limitHeaders(handler),
		ErrorHandler:                 protocolError,
		MaxRequestBodySize:           maxBody,
		ReadBufferSize:               maxHeader,
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
		if ctx.Request.Header.Len() > maxHeaders {
			(&Fault{Status: fasthttp.StatusRequestHeaderFieldsTooLarge, Type: typeRequest, Code: "too_many_headers", Message: "more than 100 header fields"}).Write(ctx)
			ctx.SetConnectionClose()
			return
		}
		next(ctx)
	}
}

// protocolError answers what could not be read as a request.
func protocolError(ctx *fasthttp.RequestCtx, err error) {
	f := badRequest("invalid_http", "", "the request is not valid HTTP/1.1")
	var small *fasthttp.ErrSmallBuffer
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &small):
		f.Status, f.Code, f.Message = fasthttp.StatusRequestHeaderFieldsTooLarge, "headers_too_large", "the request's line and headers exceed 32 KiB"
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		f.Status, f.Code, f.Message = fasthttp.StatusRequestEntityTooLarge, "request_too_large", "the request's body exceeds the limit of this gateway"
	case errors.As(err, &timeout) && timeout.Timeout():
		f.Status, f.Code, f.Message = fasthttp.StatusRequestTimeout, "request_timeout", "the request was not sent in time"
	}
	f.Write(ctx)
	ctx.Response.Header.Set("X-Request-Id", requestIDText(ctx))
}

// quiet drops fasthttp's own log lines: they are about clients that broke off, and may quote what they sent.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
