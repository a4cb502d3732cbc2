package engine

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/openapi"
)

// Methods are the handlers of one path by HTTP method.
type Methods map[string]fasthttp.RequestHandler

// Routes are the handlers of a server by path. A path that ends in a slash takes one more part, which may itself hold
// slashes: see Part.
type Routes map[string]Methods

// Routes are all paths of the API as e serves them. The families /v1, /api/v1 and /api/v1/llm share their handlers.
func (e *Engine) Routes() Routes {
	models, model := Methods{"GET": e.listModels}, Methods{"GET": e.showModel}
	in := func(d dialect.Dialect) Methods {
		return Methods{"POST": func(ctx *fasthttp.RequestCtx) { e.serve(ctx, d, opChat) }}
	}
	table := Routes{
		"/openapi.json":               {"GET": openapi.Handler(openapi.API)},
		"/health":                     {"GET": e.health},
		"/health/live":                {"GET": e.alive},
		"/health/liveliness":          {"GET": e.alive},
		"/health/ready":               {"GET": e.ready},
		"/health/readiness":           {"GET": e.ready},
		"/api/v1/llm/health":          {"GET": e.health},
		"/api/v1/llm/credits/balance": {"GET": e.balance},
		"/api/v1/llm/usage":           {"GET": e.listUsage},
		"/api/v1/llm/decisions/":      {"GET": e.showDecision},
		"/api/v1/llm/byok":            {"GET": e.listOwnKeys},
		"/api/v1/llm/byok/":           {"PUT": e.putOwnKey, "GET": e.showOwnKey, "DELETE": e.deleteOwnKey, "POST": e.testOwnKey},
	}
	for _, family := range []string{"/v1", "/api/v1", "/api/v1/llm"} {
		table[family+"/chat/completions"] = in(dialect.Chat)
		table[family+"/completions"] = in(dialect.Completions)
		table[family+"/messages"] = in(dialect.Messages)
		table[family+"/messages/count_tokens"] = Methods{"POST": e.countTokens}
		table[family+"/responses"] = in(dialect.Responses)
		table[family+"/responses/"] = Methods{"GET": e.noResponse, "DELETE": e.noResponse, "POST": e.noResponse}
		for op := opEmbeddings; int(op) < len(operations); op++ {
			table[family+operations[op].path] = Methods{"POST": func(ctx *fasthttp.RequestCtx) { e.serve(ctx, dialect.Chat, op) }}
		}
		table[family+"/models"] = models
		table[family+"/models/"] = model
	}
	return table
}

// Handler serves the routes. Paths match byte for byte: nothing is decoded or cleaned first, so that no spelling of a path
// reaches a handler past its own route.
func (table Routes) Handler(log *slog.Logger) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		defer recovered(ctx, log)
		ctx.Request.Header.DisableNormalizing() // it was read: the names in it are canonical, and so are those that the routes look for
		path, _, _ := bytes.Cut(ctx.Request.Header.RequestURI(), []byte("?"))
		methods, known := table[string(path)]
		if !known {
			methods = table.matchPart(ctx, string(path))
		}
		handler := methods[string(ctx.Method())]
		switch {
		case len(path) == 0 || path[0] != '/':
			badRequest("invalid_http", "", "the request target must be a path").Write(ctx)
		case methods == nil:
			notFound("not_found", "", fmt.Sprintf("no such path: %.64q", path)).Write(ctx)
		case handler == nil:
			allow := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
			(&Fault{Status: fasthttp.StatusMethodNotAllowed, Type: typeRequest, Code: "method_not_allowed", Message: "this path takes " + allow}).Write(ctx)
			ctx.Response.Header.Set("Allow", allow)
		default:
			handler(ctx)
		}
		if len(ctx.Response.Header.Peek("X-Request-Id")) == 0 {
			ctx.Response.Header.Set("X-Request-Id", requestIDText(ctx))
		}
	}
}

type pathPart struct{}

// Part is what the varying end of the path holds, decoded once; "" if the path has none.
func Part(ctx *fasthttp.RequestCtx) string {
	p, _ := ctx.UserValue(pathPart{}).(string)
	return p
}

// matchPart finds the route whose path is the longest prefix ending in a slash.
func (table Routes) matchPart(ctx *fasthttp.RequestCtx, path string) Methods {
	for i := len(path) - 2; i > 0; i-- {
		if path[i] != '/' {
			continue
		}
		if methods := table[path[:i+1]]; methods != nil {
			part, err := url.PathUnescape(path[i+1:])
			if err != nil || len(part) > 256 {
				return nil
			}
			ctx.SetUserValue(pathPart{}, part)
			return methods
		}
	}
	return nil
}

// recovered turns a panic of a handler into a 500, so that one request cannot end the process.
func recovered(ctx *fasthttp.RequestCtx, log *slog.Logger) {
	if cause := recover(); cause != nil {
		notePanic(log, cause, "path", clip(string(ctx.Path()), 128))
		internalError().Write(ctx)
	}
}

// notePanic logs a panic, from where it was caught, with what it was about.
func notePanic(log *slog.Logger, cause any, about ...any) {
	log.Error("panic while serving a request", append(about, "cause", cause, "stack", string(debug.Stack()))...)
}

// internalError is what a request gets that panicked.
func internalError() *Fault {
	return &Fault{Status: fasthttp.StatusInternalServerError, Type: typeServer, Code: "internal_error", Message: "the gateway failed on this request; the operator finds the cause in its log"}
}

func unsupportedMedia(message string) *Fault {
	return &Fault{Status: fasthttp.StatusUnsupportedMediaType, Type: typeRequest, Code: "unsupported_media_type", Message: message}
}

// checkMedia refuses bodies that are not plain JSON.
func checkMedia(ctx *fasthttp.RequestCtx) *Fault {
	if kind, _, _ := bytes.Cut(ctx.Request.Header.ContentType(), []byte(";")); len(kind) > 0 &&
		!bytes.EqualFold(bytes.TrimSpace(kind), []byte("application/json")) {
		return unsupportedMedia("the body must be application/json")
	}
	if encoding := ctx.Request.Header.Peek(fasthttp.HeaderContentEncoding); len(encoding) > 0 && string(encoding) != "identity" {
		return unsupportedMedia("compressed bodies are not accepted")
	}
	return nil
}
