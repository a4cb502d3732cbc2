package engine

import (
	"log/slog"

	"github.com/valyala/fasthttp"
)

// Handler serves the API to clients: the routes, for compressed bodies too and, if origins are given, for web pages from
// there. An origin is scheme://host[:port] as browsers send it; "*" stands for any.
func (e *Engine) Handler(log *slog.Logger, origins []string) fasthttp.RequestHandler {
	routes := e.Routes()
	handler := e.decoded(routes.Handler(log))
	if len(origins) > 0 {
		handler = newCORS(origins, routes, handler).handle
	}
	return func(ctx *fasthttp.RequestCtx) {
		defer recovered(ctx, log)
		handler(ctx)
	}
}

// reject answers with a fault before a route is reached.
func reject(ctx *fasthttp.RequestCtx, f *Fault) {
	ctx.Response.Header.Set("X-Request-Id", requestIDText(ctx))
	f.Write(ctx)
}
