package engine

import (
	"io"

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
func (e *Engine) direct(c *call, a *answer, p *endpoint, desc *adapter.Endpoint, target *upstream.Target, key string) *failure {
	path, ok := desc.Paths["chat"]
	if !ok {
		return &failure{class: adapter.ClassNotFound, message: "the provider cannot chat"}
	}
	body, f := e.upstreamBody(c, a, desc)
	if f != nil {
		return f
	}
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
	if err := x.Do(p.FirstByte, c.env.Stream); err != nil {
		x.Close(false)
		return transportFailure(err)
	}
	if status := x.Response.StatusCode(); status != fasthttp.StatusOK {
		f := errorAnswer(status, errorBody(x, c.env.Stream), desc.Errors, key)
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
	c.scratch = c.env.Splice(c.scratch[:0], c.body, envelope.Edits{
		Model:          a.deployment.Upstream,
		IncludeUsage:   c.env.Stream && desc.Body.StreamUsage,
		MaxTokensField: desc.Body.MaxTokensField,
		MaxTokens:      e.outputLimit(c, a),
		Drop:           desc.Body.Drop,
	})
	if desc.Dialect != adapter.DialectAnthropic {
		return c.scratch, nil
	}
	body, dropped, err := dialect.RequestOpenAIToAnthropic(nil, c.scratch, dialect.RequestOptions{
		Model: a.deployment.Upstream, DefaultMaxTokens: desc.Body.DefaultMaxTokens,
	})
	if err != nil {
		return nil, &failure{class: adapter.ClassBadRequest, status: fasthttp.StatusBadRequest, message: err.Error()}
	}
	a.dropped = dropped
	return body, nil
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
	if info := dialect.ChunkInfo(body); info.Malformed || info.Error || info.NoChoices {
		a.close(false)
		return &failure{class: adapter.ClassServer, message: "the provider's answer is not a chat completion"}
	}
	a.body = body
	if d != adapter.DialectAnthropic {
		a.usage, _ = dialect.OpenAIUsage(body)
	}
	return nil
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
