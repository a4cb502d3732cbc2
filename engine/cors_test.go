package engine

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// The head of a stream that is kept alive is sent before its handler returns.
func TestCORSBeforeTheHandler(t *testing.T) {
	for origins, want := range map[string]string{
		"*":                   "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-Request-Id\r\n",
		"https://app.example": "Access-Control-Allow-Origin: https://app.example\r\nAccess-Control-Expose-Headers: X-Request-Id\r\nVary: Origin\r\n",
		"https://a.example":   "",
	} {
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.Set("Origin", "https://app.example")
		newCORS([]string{origins}, nil, func(ctx *fasthttp.RequestCtx) {
			if got := originFields(&ctx.Response.Header); got != want {
				t.Errorf("%s: %q, want %q", origins, got, want)
			}
		}).handle(&ctx)
	}
}

func TestCORS(t *testing.T) {
	routes := Routes{
		"/v1/messages": {"POST": func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.Set("X-Pointsman-Model", "m")
			ctx.Response.Header.Set("X-Ratelimit-Remaining", "1")
			ctx.Response.Header.Set("Cache-Control", "no-cache")
		}},
		"/v1/models/": {"GET": func(*fasthttp.RequestCtx) {}, "DELETE": func(*fasthttp.RequestCtx) {}},
	}
	const app, other = "https://app.example", "https://evil.example"
	type header = map[string]string
	preflight := func(origin, headers string) header {
		return header{"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": headers}
	}
	for _, c := range []struct {
		name, origins, method, path string
		send                        header
		status                      int
		want                        header // "" for a header that must not be there
	}{
		{"a page's request", app, "POST", "/v1/messages", header{"Origin": app}, 200, header{
			"Access-Control-Allow-Origin": app, "Vary": "Origin", "Access-Control-Allow-Credentials": "",
			"Access-Control-Expose-Headers": "X-Request-Id, Retry-After, X-Pointsman-Model, X-Ratelimit-Remaining",
		}},
		{"the second origin", "https://a.example " + app, "POST", "/v1/messages", header{"Origin": app}, 200, header{"Access-Control-Allow-Origin": app}},
		{"another page's request", app, "POST", "/v1/messages", header{"Origin": other}, 200, header{"Access-Control-Allow-Origin": "", "Vary": "Origin", "Access-Control-Expose-Headers": ""}},
		{"no page", app, "POST", "/v1/messages", nil, 200, header{"Access-Control-Allow-Origin": "", "Vary": "Origin"}},
		{"part of an origin", app, "POST", "/v1/messages", header{"Origin": app + ".evil.example"}, 200, header{"Access-Control-Allow-Origin": ""}},
		{"null", app, "POST", "/v1/messages", header{"Origin": "null"}, 200, header{"Access-Control-Allow-Origin": ""}},
		{"any page", "*", "POST", "/v1/messages", header{"Origin": other}, 200, header{"Access-Control-Allow-Origin": "*", "Vary": "", "Access-Control-Allow-Credentials": ""}},
		{"a page sees errors", app, "GET", "/nothing", header{"Origin": app}, 404, header{"Access-Control-Allow-Origin": app}},
		{
			"preflight", app, "OPTIONS", "/v1/messages",
			preflight(app, "Authorization, content-type,x-api-key, anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access, x-stainless-os, x-stainless-retry-count, x-request-id"),
			204,
			header{
				"Access-Control-Allow-Origin": app, "Access-Control-Allow-Methods": "POST", "Access-Control-Max-Age": "600",
				"Access-Control-Allow-Headers":     "authorization, content-type, x-api-key, anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access, x-stainless-os, x-stainless-retry-count, x-request-id",
				"Access-Control-Allow-Credentials": "",
			},
		},
		{"preflight for a path with a part", app, "OPTIONS", "/v1/models/a/b?x", preflight(app, ""), 204, header{"Access-Control-Allow-Methods": "DELETE, GET", "Access-Control-Allow-Headers": ""}},
		{"preflight for odd headers", app, "OPTIONS", "/v1/messages", preflight(app, "cookie, x-api-key, x-anything, x-forwarded-for"), 204, header{"Access-Control-Allow-Headers": "x-api-key"}},
		{"preflight of another page", app, "OPTIONS", "/v1/messages", preflight(other, "x-api-key"), 405, header{"Access-Control-Allow-Origin": "", "Access-Control-Allow-Methods": ""}},
		{"preflight for no path", app, "OPTIONS", "/nothing", preflight(app, "x-api-key"), 404, header{"Access-Control-Allow-Methods": ""}},
		{"OPTIONS without a method", app, "OPTIONS", "/v1/messages", header{"Origin": app}, 405, header{"Access-Control-Allow-Methods": ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ctx fasthttp.RequestCtx
			ctx.Request.Header.SetMethod(c.method)
			ctx.Request.SetRequestURI(c.path)
			for name, value := range c.send {
				ctx.Request.Header.Set(name, value)
			}
			newCORS(strings.Fields(c.origins), routes, routes.Handler(slog.Default())).handle(&ctx)
			if got := ctx.Response.StatusCode(); got != c.status {
				t.Errorf("status %d, want %d", got, c.status)
			}
			if len(ctx.Response.Header.Peek("X-Request-Id")) == 0 {
				t.Error("no x-request-id")
			}
			for name, want := range c.want {
				if got := string(ctx.Response.Header.Peek(name)); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}
