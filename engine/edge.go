package engine

import "github.com/valyala/fasthttp"

// Handler serves the API to clients by the newest configuration: the routes, for compressed bodies too and, if the configuration
// has origins, for web pages from there.
func (e *Engine) Handler() fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		defer recovered(ctx, e.Logger)
		e.Current().edge(ctx)
	}
}

// edgeOf makes the handler of one configuration.
func edgeOf(e *Engine) fasthttp.RequestHandler {
	routes := e.Routes()
	handler := e.decoded(routes.Handler(e.Logger))
	if len(e.Origins) > 0 {
		handler = newCORS(e.Origins, routes, handler).handle
	}
	return handler
}

// reject answers with a fault before a route is reached.
func reject(ctx *fasthttp.RequestCtx, f *Fault) {
	ctx.Response.Header.Set("X-Request-Id", requestIDText(ctx))
	f.Write(ctx)
}
