package engine

import (
	"cmp"
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
func (e *Engine) direct(c *call, a *answer, desc *adapter.Endpoint, target *upstream.Target, key adapter.Secret) *failure {
	speaks, path, ok := c.way(desc)
	if !ok {
		return c.lacking()
	}
	body, f := e.upstreamBody(c, a, desc, speaks)
	if f != nil {
		return f
	}
	if strings.Contains(path, "{model}") {
		path = strings.ReplaceAll(path, "{model}", url.PathEscape(a.deployment.Upstream))
	}
	x := target.Begin(path)
	x.Request.Set(fasthttp.HeaderContentType, cmp.Or(c.contentType, "application/json"))
	for name, value := range desc.Headers {
		x.Request.Set(name, value)
	}
	if speaks == dialect.Messages && c.beta != "" { // the client's own wish for features, beside the operator's
		x.Request.Set("anthropic-beta", joinBetas(desc.Headers["anthropic-beta"], c.beta))
	}
	if desc.Auth.Header != "" && key.IsSet() {
		x.Request.Set(desc.Auth.Header, desc.Auth.Prefix+key.Reveal())
	}
	x.Request.SetBody(body)
	if !c.cutWith(x) {
		x.Close(false)
		return transportFailure(upstream.ErrCancelled)
	}
	x.Timeouts = a.deployment.waits
	x.Timeouts.FirstByte, x.Timeouts.Total = a.firstByte, a.total
	stream := c.env.Stream || c.op == opSpeech
	if err := x.Do(stream); err != nil {
		x.Close(false)
		return transportFailure(err)
	}
	x.Response.Header.DisableNormalizing() // it was read: the names in it are canonical, and so are those that are looked for
	header := func(name string) string { return string(x.Response.Header.Peek(name)) }
	e.noteLimits(a, desc.RateLimits, header)
	if status := x.Response.StatusCode(); status != fasthttp.StatusOK {
		f := a.failure(status, errorBody(x, stream))
		f.retryAfter = retryAfter(header, e.Now())
		x.Close(!stream)
		return f
	}
	a.source = x
	switch {
	case c.env.Stream:
		a.read(x.Stream(), speaks, c)
		return nil
	case stream:
		return a.listen(x.Stream(), string(x.Response.Header.ContentType()), c, e)
	}
	return a.take(x.Response.Body(), string(x.Response.Header.ContentType()), speaks, c, e)
}

// joinBetas joins two lists of beta features.
func joinBetas(operator, client string) string {
	if operator == "" {
		return client
	}
	return operator + "," + client
}

// take makes a buffered answer of a provider's body.
func (a *answer) take(body []byte, contentType string, upstream dialect.Dialect, c *call, e *Engine) *failure {
	a.took = e.Now().Sub(a.began)
	a.ttft = a.took
	if c.op != opChat {
		return a.takeResult(body, contentType, c)
	}
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
	a.usage, _ = upstream.InspectedUsage(body, &info)
	if upstream != c.dialect {
		translated, _, err := dialect.TranslateAnswer(upstream, c.dialect, nil, body, c.answerOptions(a))
		if err != nil {
			a.close(false)
			return &failure{class: adapter.ClassServer, err: err}
		}
		body, info = translated, dialect.Chunk{}
	}
	a.body, a.inspected = body, info
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
