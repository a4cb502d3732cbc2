package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/sse"
	"github.com/pointsman/pointsman/engine/upstream"
	adapter "github.com/pointsman/pointsman/sdk/provider"
)

// maxAnswer bounds a buffered answer of a plugin, in bytes; a stream has no end that would have to fit.
const maxAnswer = 32 << 20

var (
	errAnswerTooLarge = errors.New("the plugin's answer is larger than 32 MiB")
	errPanicked       = errors.New("the gateway panicked")
)

// proxied lets the provider's plugin make the call and takes the answer from it: a buffered one whole, a streamed one
// through a pipe that holds the plugin back when the client is slow.
func (e *Engine) proxied(c *call, a *answer, p *endpoint, desc *adapter.Endpoint, key adapter.Secret) *failure {
	speaks, _, ok := c.way(desc)
	if !ok {
		return c.lacking()
	}
	body, f := e.upstreamBody(c, a, desc, speaks)
	if f != nil {
		return f
	}
	ctx, stop := context.WithTimeoutCause(context.Background(), a.total, fmt.Errorf("%w: at the end of the total time", upstream.ErrTimeout))
	ctx, cut := context.WithCancelCause(ctx)
	calling := &pluginCall{cut: cut, stop: stop}
	if !c.cutWith(calling) {
		calling.Cancel()
		return transportFailure(context.Canceled)
	}
	req := &adapter.CallRequest{
		Provider: p.Name, Operation: c.op.name(), Model: a.deployment.Upstream, Stream: c.env.Stream, Body: body.Whole(),
		Credential: key, BaseURL: p.BaseURL, Settings: p.Settings, RequestID: c.id.String(),
		AllowPrivate: p.AllowPrivate,
	}
	asked := *a // the plugin may come to its header when the call is over
	w := &pluginAnswer{head: make(chan int, 1), idle: a.deployment.waits.Idle, stream: c.env.Stream, speaks: speaks, noteHeader: func(header map[string]string) {
		e.noteLimits(&asked, desc.RateLimits, func(name string) string { return header[name] })
	}}
	w.silence = time.AfterFunc(a.firstByte, func() { cut(fmt.Errorf("%w: the plugin was silent", upstream.ErrTimeout)) })
	if !c.env.Stream {
		defer calling.Cancel()
		err := e.Adapters.Call(ctx, p.Adapter, req, w)
		w.silence.Stop()
		if err != nil {
			return transportFailure(ended(ctx, err))
		}
		if status := <-w.head; status != http.StatusOK {
			return a.pluginFailure(status, w.body, w.retryAfter)
		}
		return a.take(w.body, w.contentType, speaks, c, e)
	}
	reader, writer := io.Pipe()
	w.pipe = writer
	go func() {
		err := e.callBeside(ctx, p.Adapter, req, w)
		w.silence.Stop()
		writer.CloseWithError(ended(ctx, err)) // nil becomes io.EOF, the clean end
		close(w.head)
	}()
	calling.reader, a.source = reader, calling
	status, ok := <-w.head
	switch {
	case !ok:
		defer a.close(false)
		_, err := reader.Read(make([]byte, 1))
		return transportFailure(err)
	case status != http.StatusOK:
		defer a.close(false)
		body, _ := io.ReadAll(io.LimitReader(reader, maxErrorBody)) // what can be read of it will do
		return a.pluginFailure(status, body, w.retryAfter)
	}
	a.read(reader, speaks, c)
	return nil
}

// pluginFailure is failure for the answer of a plugin, which may be the adapter's own.
func (a *answer) pluginFailure(status int, body []byte, retryAfter time.Duration) *failure {
	f := a.failure(status, body)
	f.retryAfter = retryAfter
	if detail, _ := dialect.ReadError(body); status == http.StatusBadRequest && detail.Code == adapter.CodeInexpressible {
		f.inexpressible, f.param = true, detail.Param
	}
	return f
}

// callBeside is Call on a goroutine of its own, where nobody else would catch a panic.
func (e *Engine) callBeside(ctx context.Context, name string, req *adapter.CallRequest, answer adapter.AnswerWriter) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			notePanic(e.Logger, cause, "request", req.RequestID)
			err = errPanicked
		}
	}()
	return e.Adapters.Call(ctx, name, req, answer)
}

// pluginCall is a call under way, which can be cut, and whose streamed answer comes through a pipe.
type pluginCall struct {
	cut    context.CancelCauseFunc
	stop   context.CancelFunc
	reader *io.PipeReader
	until  *time.Timer
}

// Cancel cuts the call.
func (p *pluginCall) Cancel() {
	p.cut(nil)
	p.stop()
}

// Close ends the call. One whose answer was read has a moment to end by itself.
func (p *pluginCall) Close(read bool) {
	if read {
		timer := time.AfterFunc(upstream.EndTime, func() { p.reader.Close() })
		io.Copy(io.Discard, p.reader) //nolint:errcheck // nothing that matters comes any more
		timer.Stop()
	}
	p.Cancel()
	p.reader.Close()
}

// Until cuts the call at a time, but not before another.
func (p *pluginCall) Until(at time.Time) {
	if p.until != nil {
		p.until.Stop()
	}
	if !at.IsZero() {
		p.until = time.AfterFunc(time.Until(at), func() { p.cut(fmt.Errorf("%w: waiting for the first content", upstream.ErrTimeout)) })
	}
}

// ended is why a call ended: the time limit that cut it, if one did, for the plugin only knows that it was cut.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, upstream.ErrTimeout) {
		return cause
	}
	return err
}

// pluginAnswer receives a plugin's answer: into a buffer, or as server-sent events into a pipe.
type pluginAnswer struct {
	head    chan int    // the status, once
	silence *time.Timer // cuts the call unless something comes
	idle    time.Duration
	stream  bool
	failed  bool // the status is an error: parts are its body, not events
	speaks  dialect.Dialect
	// noteHeader is given the answer's header, with canonical names, before the status is sent on head.
	noteHeader func(map[string]string)
	// retryAfter is set before the status is sent on head.
	retryAfter  time.Duration
	contentType string
	body        []byte
	pipe        *io.PipeWriter
}

// Head takes the status.
func (w *pluginAnswer) Head(status int, header map[string]string) error {
	w.silence.Reset(w.idle)
	w.failed = status != http.StatusOK
	canonical := make(map[string]string, len(header))
	for name, value := range header {
		canonical[http.CanonicalHeaderKey(name)] = value
	}
	w.retryAfter = retryAfter(func(name string) string { return canonical[name] }, time.Now())
	w.contentType = canonical["Content-Type"]
	w.noteHeader(canonical)
	w.head <- status
	return nil
}

// Part takes a piece of the body, or one event.
func (w *pluginAnswer) Part(data []byte) error {
	w.silence.Stop() // while the client is slow the plugin waits for us
	defer w.silence.Reset(w.idle)
	switch {
	case !w.stream && len(w.body)+len(data) > maxAnswer:
		return errAnswerTooLarge
	case !w.stream:
		w.body = append(w.body, data...)
		return nil
	case w.failed:
		_, err := w.pipe.Write(data)
		return err
	default:
		w.body = sse.AppendEvent(w.body[:0], w.speaks.EventName(data), data)
		_, err := w.pipe.Write(w.body)
		return err
	}
}
