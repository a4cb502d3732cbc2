package engine

import (
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/engine/sse"
	"github.com/pointsman/pointsman/engine/upstream"
	adapter "github.com/pointsman/pointsman/sdk/provider"
)

// maxErrorBody is how much of an error answer is read, in bytes.
const maxErrorBody = 64 << 10

// direct calls a provider over HTTP as its descriptor says. The client's bytes go out as they came, but for what is spliced
// in or out; a provider of another dialect gets a translation.
func (e *Engine) direct(c *call, a *answer, desc *adapter.Endpoint, target *upstream.Target, key string) *failure {
	path, ok := desc.Paths["chat"]
	if !ok {
		return &failure{class: adapter.ClassNotFound, message: "the provider cannot chat"}
	}
	body, f := e.upstreamBody(c, a, desc)
	if f != nil {
		return f
	}
	path = strings.ReplaceAll(path, "{model}", url.PathEscape(a.deployment.Upstream))
	x := target.Begin(path)
	x.Request.Header.SetContentType("application/json")
	for name, value := range desc.Headers {
		x.Request.Header.Set(name, value)
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
		var source io.Reader = x.Stream()
		if desc.Dialect == adapter.DialectAnthropic {
			translated := dialect.NewAnthropicStream(source, a.deployment.Model.Name, "chatcmpl-"+c.id.String(), c.began.Unix())
			source, a.partial = translated, translated.Usage
		}
		a.events = sse.NewReader(source, 0)
		return nil
	}
	return a.take(x.Response.Body(), desc.Dialect, c, e)
}

// upstreamBody is the request body for the provider.
func (e *Engine) upstreamBody(c *call, a *answer, desc *adapter.Endpoint) ([]byte, *failure) {
	if f := e.edit(c, a, desc); f != nil || desc.Dialect != adapter.DialectAnthropic {
		return c.scratch, f
	}
	body, dropped, err := dialect.RequestOpenAIToAnthropic(nil, c.scratch, dialect.RequestOptions{
		Model: a.deployment.Upstream, DefaultMaxTokens: desc.Body.DefaultMaxTokens,
	})
	if err != nil {
		return nil, &failure{class: adapter.ClassBadRequest, status: fasthttp.StatusBadRequest, message: err.Error()}
	}
	a.dropped = append(a.dropped, dropped...)
	return body, nil
}

// edit makes the request as the provider takes it, in the client's dialect. What is left out or replaced is noted, to be
// named to the client; a field that the provider must not be asked without is a failure.
func (e *Engine) edit(c *call, a *answer, desc *adapter.Endpoint) *failure {
	rules := &desc.Body
	drop := rules.Drop
	if len(rules.Refuse) > 0 {
		if refused := c.env.Given(nil, c.body, rules.Refuse); len(refused) > 0 {
			return &failure{class: adapter.ClassBadRequest, status: fasthttp.StatusBadRequest, unserved: refused[0]}
		}
		drop = slices.Concat(drop, rules.Refuse) // those that are null
	}
	a.dropped = c.env.Given(a.dropped, c.body, rules.Drop)
	var set []envelope.Member
	if len(rules.Set) > 0 {
		for _, name := range slices.Sorted(maps.Keys(rules.Set)) {
			set = append(set, envelope.Member{Name: name, Value: rules.Set[name]})
			a.dropped = c.env.Given(a.dropped, c.body, []string{name})
		}
	}
	c.scratch = c.env.Splice(c.scratch[:0], c.body, envelope.Edits{
		Model:          a.deployment.Upstream,
		IncludeUsage:   c.env.Stream && rules.StreamUsage,
		MaxTokensField: rules.MaxTokensField,
		MaxTokens:      e.outputLimit(c, a),
		Drop:           drop,
		Set:            set,
	})
	return nil
}

// take makes a buffered answer of a provider's body.
func (a *answer) take(body []byte, d adapter.Dialect, c *call, e *Engine) *failure {
	a.took = e.Now().Sub(a.began)
	a.ttft = a.took
	if d == adapter.DialectAnthropic {
		translated, usage, err := dialect.ResponseAnthropicToOpenAI(nil, body, a.deployment.Model.Name, "chatcmpl-"+c.id.String(), c.began.Unix())
		if err != nil {
			a.close(false)
			return &failure{class: adapter.ClassServer, err: err}
		}
		body, a.usage = translated, usage
	}
	info := dialect.ChunkInfo(body)
	if info.Error { // some providers find out after they have sent 200
		f := a.failure(errorStatus(body), body)
		a.close(false)
		return f
	}
	if info.Malformed || info.NoChoices {
		a.close(false)
		return &failure{class: adapter.ClassServer, message: "the provider's answer is not a chat completion"}
	}
	a.body = body
	if d != adapter.DialectAnthropic {
		a.usage, _ = dialect.OpenAIUsage(body)
	}
	return nil
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
