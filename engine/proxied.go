package engine

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pointsman/pointsman/engine/sse"
	adapter "github.com/pointsman/pointsman/sdk/provider"
)

// maxAnswer bounds a buffered answer of a plugin, in bytes; a stream has no end that would have to fit.
const maxAnswer = 32 << 20

var errAnswerTooLarge = errors.New("the plugin's answer is larger than 32 MiB")

// proxied lets the provider's plugin make the call and takes the answer from it: a buffered one whole, a streamed one
// through a pipe that holds the plugin back when the client is slow.
func (e *Engine) proxied(c *call, a *answer, p *endpoint, desc *adapter.Endpoint, key string) *failure {
	if f := e.edit(c, a, desc); f != nil {
		return f
	}
	ctx, cancel := context.WithCancel(context.Background())
	if !c.cutWith(cancel) {
		cancel()
		return transportFailure(context.Canceled)
	}
	req := &adapter.CallRequest{
		Provider: p.Name, Operation: "chat", Model: a.deployment.Upstream, Stream: c.env.Stream, Body: c.scratch,
		Credential: key, BaseURL: p.BaseURL, Settings: p.Settings, RequestID: c.id.String(),
		AllowPrivate: p.AllowPrivate,
	}
	w := &pluginAnswer{head: make(chan int, 1), first: time.AfterFunc(p.FirstByte, cancel), stream: c.env.Stream}
	if !c.env.Stream {
		defer cancel()
		err := e.Adapters.Call(ctx, p.Adapter, req, w)
		w.first.Stop()
		if err != nil {
			return transportFailure(err)
		}
		if status := <-w.head; status != http.StatusOK {
			f := a.failure(status, w.body)
			f.retryAfter = w.retryAfter
			return f
		}
		a.close = func(bool) {}
		return a.take(w.body, adapter.DialectOpenAI, c, e)
	}
	reader, writer := io.Pipe()
	w.pipe = writer
	go func() {
		err := e.Adapters.Call(ctx, p.Adapter, req, w)
		w.first.Stop()
		writer.CloseWithError(err) // nil becomes io.EOF, the clean end
		close(w.head)
	}()
	a.close = func(bool) {
		cancel()
		reader.Close()
	}
	status, ok := <-w.head
	switch {
	case !ok:
		defer a.close(false)
		_, err := reader.Read(make([]byte, 1))
		return transportFailure(err)
	case status != http.StatusOK:
		defer a.close(false)
		body, _ := io.ReadAll(io.LimitReader(reader, maxErrorBody)) // what can be read of it will do
		f := a.failure(status, body)
		f.retryAfter = w.retryAfter
		return f
	}
	a.events = sse.NewReader(reader, 0)
	return nil
}

// pluginAnswer receives a plugin's answer: into a buffer, or as server-sent events into a pipe.
type pluginAnswer struct {
	head   chan int // the status, once
	first  *time.Timer
	stream bool
	failed bool // the status is an error: parts are its body, not events
	// retryAfter is set before the status is sent on head.
	retryAfter time.Duration
	body       []byte
	pipe       *io.PipeWriter
}

// Head takes the status.
func (w *pluginAnswer) Head(status int, header map[string]string) error {
	w.first.Stop()
	w.failed = status != http.StatusOK
	for name, value := range header {
		if strings.EqualFold(name, "retry-after") {
			w.retryAfter = retryAfter([]byte(value))
		}
	}
	w.head <- status
	return nil
}

// Part takes a piece of the body, or one event.
func (w *pluginAnswer) Part(data []byte) error {
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
		w.body = sse.AppendEvent(w.body[:0], "", data)
		_, err := w.pipe.Write(w.body)
		return err
	}
}
