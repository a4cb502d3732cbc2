package engine

import (
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/sse"
	"github.com/pointsman/pointsman/engine/upstream"
	adapter "github.com/pointsman/pointsman/sdk/provider"
)

// maxErrorBody is how much of an error answer is read, in bytes.
const maxErrorBody = 64 << 10

// direct calls a provider over HTTP as its descriptor says. The client's bytes go out as they came, but for what is spliced
// in or out; a provider of another dialect gets a translation, see wire.go.
func (e *Engine) direct(c *call, a *answer, desc *adapter.Endpoint, target *upstream.Target, key string) *failure {
	speaks, path, ok := spoken(c.dialect, desc)
	if !ok {
		return &failure{class: adapter.ClassNotFound, message: "the provider cannot chat"}
	}
	body, f := e.upstreamBody(c, a, desc, speaks)
	if f != nil {
		return f
	}
	path = strings.ReplaceAll(path, "{model}", url.PathEscape(a.deployment.Upstream))
	x := target.Begin(path)
	x.Request.Header.SetContentType("application/json")
	for name, value := range desc.Headers {
		x.Request.Header.Set(name, value)
	}
	if speaks == dialect.Messages && c.beta != "" { // the client's own wish for features, beside the operator's
		x.Request.Header.Set("anthropic-beta", joinBetas(desc.Headers["anthropic-beta"], c.beta))
	}
	if desc.Auth.Header != "" && key != "" {
		x.Request.Header.Set(desc.Auth.Header, desc.Auth.Prefix+key)
	}
	x.Request.SetBodyRaw(body)
	if !c.cutWith(x.Cancel) {
		x.Close(false)
		return transportFailure(upstream.ErrCancelled)
	}
	x.Timeouts.FirstByte = a.firstByte
	if err := x.Do(c.env.Stream); err != nil {
		x.Close(false)
		return transportFailure(err)
	}
	e.noteLimits(a, desc.RateLimits, func(name string) string { return string(x.Response.Header.Peek(name)) })
	if status := x.Response.StatusCode(); status != fasthttp.StatusOK {
		f := a.failure(status, errorBody(x, c.env.Stream))
		f.retryAfter = retryAfter(x.Response.Header.Peek(fasthttp.HeaderRetryAfter))
		x.Close(!c.env.Stream)
		return f
	}
	a.close = x.Close
	if c.env.Stream {
		a.read(x.Stream(), speaks, c)
		return nil
	}
	return a.take(x.Response.Body(), speaks, c, e)
}

// joinBetas joins two lists of beta features.
func joinBetas(operator, client string) string {
	if operator == "" {
		return client
	}
	return operator + "," + client
}

// take makes a buffered answer of a provider's body.
func (a *answer) take(body []byte, upstream dialect.Dialect, c *call, e *Engine) *failure {
	a.took = e.Now().Sub(a.began)
	a.ttft = a.took
	info := upstream.InspectAnswer(body)
	if info.Error { // some providers find out after they have sent 200
		f := a.failure(errorStatus(body), body)
		a.close(false)
		return f
	}
	if info.Malformed || info.NoChoices {
		a.close(false)
		return &failure{class: adapter.ClassServer, message: "the provider's answer holds no answer"}
	}
	a.usage, _ = upstream.Usage(body)
	if upstream != c.dialect {
		translated, _, err := dialect.TranslateAnswer(upstream, c.dialect, nil, body, c.answerOptions(a))
		if err != nil {
			a.close(false)
			return &failure{class: adapter.ClassServer, err: err}
		}
		body = translated
	}
	a.body = body
	return nil
}

// read makes a streamed answer of a provider's events.
func (a *answer) read(source io.Reader, upstream dialect.Dialect, c *call) {
	if upstream != c.dialect {
		translated := dialect.TranslateStream(upstream, c.dialect, source, c.answerOptions(a))
		source, a.partial = translated, translated.Usage
	}
	a.events = sse.NewReader(source, 0)
}

// errorStatus is the status that an error object names as its code, or 502.
func errorStatus(body []byte) int {
	detail, _ := dialect.ReadError(body)
	if n, err := strconv.Atoi(detail.Code); err == nil && n >= 400 && n <= 599 {
		return n
	}
	return fasthttp.StatusBadGateway
}

// errorBody reads what an error answer says.
func errorBody(x *upstream.Exchange, stream bool) []byte {
	if !stream {
		body := x.Response.Body()
		return body[:min(len(body), maxErrorBody)]
	}
	body, _ := io.ReadAll(io.LimitReader(x.Stream(), maxErrorBody)) // what can be read of it will do
	return body
}
