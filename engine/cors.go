package engine

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

// preflightSeconds is how long a browser may go by what it was told.
const preflightSeconds = "600"

// cors lets web pages from some origins use the API. It never allows credentials: a browser then sends no cookies, and a
// page has to hold a key of its own.
type cors struct {
	origins []string // nil: any
	routes  Routes
	next    fasthttp.RequestHandler
}

func newCORS(origins []string, routes Routes, next fasthttp.RequestHandler) *cors {
	if slices.Contains(origins, "*") {
		origins = nil
	}
	return &cors{origins, routes, next}
}

// allowed is what to answer to an origin, "" if pages from there get nothing.
func (c *cors) allowed(origin string) string {
	switch {
	case origin == "":
		return ""
	case c.origins == nil:
		return "*"
	case slices.Contains(c.origins, origin):
		return origin
	}
	return ""
}

func (c *cors) handle(ctx *fasthttp.RequestCtx) {
	h := &ctx.Request.Header
	origin := c.allowed(string(h.Peek(fasthttp.HeaderOrigin)))
	if c.origins != nil {
		ctx.Response.Header.Add(fasthttp.HeaderVary, "Origin")
	}
	if origin != "" { // before the handler: a ping may send the head of a stream while it waits
		ctx.Response.Header.Set(fasthttp.HeaderAccessControlAllowOrigin, origin)
	}
	if origin == "" || !ctx.IsOptions() || len(h.Peek(fasthttp.HeaderAccessControlRequestMethod)) == 0 || !c.preflight(ctx) {
		c.next(ctx)
		if origin != "" {
			ctx.Response.Header.Set(fasthttp.HeaderAccessControlExposeHeaders, exposed(&ctx.Response.Header))
		}
	}
}

// originFields are the header fields that let a page read an answer whose head is not fasthttp's, "" for none.
func originFields(h *fasthttp.ResponseHeader) string {
	origin := h.Peek(fasthttp.HeaderAccessControlAllowOrigin)
	if len(origin) == 0 {
		return ""
	}
	fields := "Access-Control-Allow-Origin: " + string(origin) + "\r\nAccess-Control-Expose-Headers: X-Request-Id\r\n"
	if string(origin) != "*" {
		fields += "Vary: Origin\r\n"
	}
	return fields
}

// preflight answers a browser that asks before it sends a request; false if there is no such path.
func (c *cors) preflight(ctx *fasthttp.RequestCtx) bool {
	path, _, _ := bytes.Cut(ctx.Request.Header.RequestURI(), []byte("?"))
	methods := c.routes[string(path)]
	if methods == nil {
		methods = c.routes.matchPart(ctx, string(path))
	}
	if methods == nil {
		return false
	}
	h := &ctx.Response.Header
	h.Set("X-Request-Id", requestIDText(ctx))
	h.Set(fasthttp.HeaderAccessControlAllowMethods, strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
	h.Set(fasthttp.HeaderAccessControlMaxAge, preflightSeconds)
	h.Add(fasthttp.HeaderVary, "Access-Control-Request-Headers")
	if names := sendable(string(ctx.Request.Header.Peek(fasthttp.HeaderAccessControlRequestHeaders))); names != "" {
		h.Set(fasthttp.HeaderAccessControlAllowHeaders, names)
	}
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return true
}

// sendable are those of the header fields a page asks for that clients of the API send. The list is the page's, as names
// with a common beginning can be allowed only by name.
func sendable(asked string) string {
	var names []string
	for name := range strings.SplitSeq(asked, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		known := slices.Contains([]string{
			"accept", "authorization", "content-type", "content-encoding", "x-api-key", "api-key", "x-request-id", "idempotency-key", "user-agent",
			"openai-organization", "openai-project", "openai-beta",
		}, name)
		known = known || slices.ContainsFunc([]string{"anthropic-", "x-stainless-", "x-pointsman-"}, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if known && len(name) <= 64 && len(names) < maxHeaders {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// exposed are the names of an answer's header fields that pages may read beside the common ones.
func exposed(h *fasthttp.ResponseHeader) string {
	names := []string{"X-Request-Id", "Retry-After"}
	for key := range h.All() {
		if bytes.HasPrefix(key, []byte("X-Pointsman-")) || isLimitHeader(key) {
			names = append(names, string(key))
		}
	}
	return strings.Join(slices.Compact(names), ", ")
}
