package engine

import (
	"bytes"
	"errors"
	"io"
	"net"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/engine/sse"
	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/storage"
)

// relayBatch is how many bytes of ready events are gathered before they are handed on. Events that are not there yet are
// never waited for.
const relayBatch = 16 << 10

// relayPiece is how much is one chunk of the answer: with its framing it fills the 4 KiB that fasthttp writes at once.
const relayPiece = 4<<10 - 16

// errCut ends a stream that must not look complete: fasthttp then closes the connection without a final chunk.
var errCut = errors.New("stream cut")

// relay streams an answer. Fasthttp pulls from it after the handler has returned, on the connection's own goroutine, so
// there is neither a goroutine nor a pipe between the provider's socket and the client's; nothing of the request's
// context is touched any more. One reader, one writer: events and errors cannot interleave.
func (e *Engine) relay(ctx *fasthttp.RequestCtx, c *call, a *answer) {
	if err := c.held.Wait(); err != nil { // no byte reaches the client before its hold is durable
		if !a.measured {
			e.live.Done(a.deployment.Index, snapshot.Outcome{})
		}
		a.close(false)
		e.fail(ctx, c, storageUnavailable())
		return
	}
	e.describeAnswer(ctx, c, a)
	setInt(ctx, "X-Pointsman-Overhead-Us", c.dispatched.Sub(c.began).Microseconds())
	ctx.SetContentType("text/event-stream; charset=utf-8")
	ctx.Response.Header.Set("Cache-Control", "no-cache")
	ctx.Response.Header.Set("X-Accel-Buffering", "no")
	if c.pulse.stop() { // the request's buffers do not outlive the handler then
		c.body = bytes.Clone(c.body)
	}
	r, p, k := &relay{engine: e, call: c, answer: a, copied: c.copied}, c.pulse, c.claim
	c.copied = nil // the last bytes come after the call's end
	switch {
	case a.stored != nil:
		r.repeat(a.stored)
	case a.followed != nil: // what there is comes with the first read
	case e.openStream(c, a):
		r = r.lead()
	default:
		r.replay(a.held)
	}
	r.copied.hear(r.out)
	ctx.Response.ImmediateHeaderFlush = len(r.out) == 0 // a ping may come before the first byte
	stream(ctx, p, k.record(ctx, r))
}

// stream makes body the answer. If pings have begun it already, the rest follows them.
func stream(ctx *fasthttp.RequestCtx, p *pulse, body io.ReadCloser) {
	if !p.begin() {
		ctx.SetBodyStream(body, -1)
		return
	}
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(conn net.Conn) { carry(conn, body) })
}

// relay is the body of a streamed answer.
type relay struct {
	engine *Engine
	call   *call
	answer *answer

	out      []byte // ready for the client
	sent     int    // of out
	passed   int    // events handed on
	finished bool   // the reason why the answer ends came
	cut      []byte // an event without its usage
	last     []byte // the event with the usage as it came, to be sent with the price in it
	copied   *keptBody
	end      error  // nil while the stream runs; then what Read returns after out
	source   source // of a stream that is over, which is closed when its client has all of it; else nil

	// Of one whose stream others may follow; see coalesce.go.
	leads bool          // a goroutine makes it
	maker *relay        // of the client's: what the goroutine has
	made  chan struct{} // closed when that is over
}

// wait has bytes for the client in out, or the end: what is ready, or one event and those that are there with it, until they are enough.
func (r *relay) wait(enough int) {
	defer r.recovered()
	left := copy(r.out, r.out[r.sent:])
	r.out, r.sent = r.out[:left], 0
	for r.end == nil && (len(r.out) == 0 || r.answer.ready() && len(r.out) < enough) {
		r.next()
	}
	r.copied.hear(r.out[left:])
	if r.end != nil {
		r.copied.hand()
	}
}

// Read hands on what is ready, or waits.
func (r *relay) Read(p []byte) (int, error) {
	if r.sent == len(r.out) {
		r.wait(relayBatch)
	}
	if r.sent == len(r.out) {
		return 0, r.end
	}
	n := copy(p, r.out[r.sent:])
	r.sent += n
	return n, nil
}

// WriteTo hands on the whole stream, a piece at a time: a client that does not read leaves no more than that here. Fasthttp prefers it to
// Read, which would need a buffer for as long as the stream lasts.
func (r *relay) WriteTo(w io.Writer) (int64, error) {
	written := int64(0)
	for {
		if len(r.out)-r.sent < relayPiece {
			r.wait(relayPiece)
		}
		switch {
		case r.sent < len(r.out):
		case r.end == io.EOF:
			return written, nil
		default:
			return written, r.end
		}
		n, err := w.Write(r.out[r.sent:min(len(r.out), r.sent+relayPiece)])
		r.sent += n
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
}

// SupportsBodyWriteTo tells fasthttp that WriteTo is as good as Read.
func (r *relay) SupportsBodyWriteTo() bool { return true }

// Close settles a stream that was not read to its end: the client left.
func (r *relay) Close() error {
	switch {
	case r.end != nil:
	case r.maker != nil:
		r.answer.close(false)
		<-r.made // at once, unless others want all of it
		r.finish(errCut)
	default:
		r.settle(storage.OutcomeClientAbort)
		r.finish(errCut)
	}
	r.copied.hand()
	r.giveBack()
	return nil
}

// giveBack gives the provider's connection back, to be used again.
func (r *relay) giveBack() {
	if r.source != nil {
		r.source.Close(true)
		r.source = nil
	}
}

// next takes one event from the provider.
func (r *relay) next() {
	if r.answer.followed != nil {
		r.follow()
		return
	}
	idle := !r.leads && len(r.out) == 0 && !r.answer.events.Buffered()
	if idle { // whatever came before is with the client
		r.call.pulse.wait()
	}
	event, err := r.answer.events.Next()
	if idle {
		r.call.pulse.stop()
	}
	switch {
	case err == nil && event.Data == nil: // a keep-alive
		if !event.Unterminated { // else it would run into what follows
			r.out = append(r.out, event.Raw...)
		}
	case errors.Is(err, io.EOF) && r.finished:
		r.complete(nil)
	case err == nil:
		r.event(&event)
	case r.call.wasStopped():
		r.settle(storage.OutcomeInterrupted)
		r.fault(shuttingDown())
	case r.call.clientLeft():
		r.settle(storage.OutcomeClientAbort)
		r.finish(errCut)
	case errors.Is(err, upstream.ErrTimeout) && r.call.late(r.engine.Now):
		r.tooLate()
	default:
		r.answer.tooLarge = tooLarge(err)
		r.breakOff("the provider broke off the answer")
	}
}

// replay passes on the events that were read ahead while falling back was still possible.
func (r *relay) replay(held []byte) {
	if !r.answer.measured {
		r.answer.text.forget() // it is heard again
	}
	events := sse.NewReader(bytes.NewReader(held), len(held)+1)
	for {
		event, err := events.Next()
		switch {
		case err != nil:
			return
		case event.Data != nil:
			r.event(&event)
		}
	}
}

// repeat gives a stream again that the cache has.
func (r *relay) repeat(k *cachedAnswer) {
	r.out, r.last = append(r.out, k.body...), k.last
	r.complete(k.done)
}

// event passes one event on, byte for byte, unless it is about usage the client did not ask for.
func (r *relay) event(event *sse.Event) {
	d, data, raw := r.call.dialect, event.Data, event.Raw
	info := d.Inspect(data)
	if event.Unterminated { // more follows it here
		if info.Malformed {
			return // it was cut
		}
		raw = sse.AppendEvent(nil, string(event.Name), data)
	}
	if info.Error {
		r.breakOff(r.answer.failure(errorStatus(data), data).aboutRequest("the provider broke off the answer"))
		return
	}
	r.finished = r.finished || len(info.Finish) > 0
	if !r.answer.measured {
		r.answer.text.hear(r.answer, d, info, data)
	}
	r.engine.noteSigned(r.answer, d, &info, data)
	r.passed++
	from := len(r.out)
	switch {
	case info.Done:
		r.complete(data)
		return
	case info.Last:
		r.last = append(r.last[:0], data...)
	case (info.Usage || info.UsageNull) && r.call.usageHidden():
		r.cut = info.StripUsage(r.cut[:0], data)
		r.out = sse.AppendEvent(r.out, "", r.cut)
	default:
		r.out = append(r.out, raw...)
	}
	r.engine.gather(r.call, data, r.out[from:])
	if r.leads { // its client follows, too
		r.out = r.out[:from]
	}
}

// complete settles and then ends the stream: with the usage and its price, and the event that ends it. done is that event as
// the provider sent it, nil if it sent none.
func (r *relay) complete(done []byte) {
	if !r.settle(storage.OutcomeOK) {
		r.fault(storageUnavailable())
		return
	}
	c := r.call
	r.engine.keepStream(c, r.answer, r.last, done)
	r.out = c.dialect.AppendEnd(r.out, &dialect.End{
		Last: r.last, Done: done, Usage: r.answer.usage, Extra: c.extra(), Hidden: c.usageHidden(),
		ID: c.answerID(), Model: c.usage.Model, Created: c.began.Unix(),
	})
	r.finish(io.EOF)
}

// usageHidden says that a stream does not tell its usage: OpenAI's do so only for clients that asked for it.
func (c *call) usageHidden() bool {
	return (c.dialect == dialect.Chat || c.dialect == dialect.Completions) && !c.env.IncludeUsage
}

// breakOff ends a stream that went wrong after content was sent.
func (r *relay) breakOff(why string) {
	r.settle(storage.OutcomeUpstreamAbort)
	r.fault(&Fault{
		Status: fasthttp.StatusBadGateway, Type: typeProvider, Code: "provider_stream_error",
		Message: "the answer is incomplete: " + clip(why, 256),
	})
}

// tooLate ends a stream at its client's own limit.
func (r *relay) tooLate() {
	r.answer.late = true
	r.settle(storage.OutcomeUpstreamAbort)
	r.fault(deadlineExceeded())
}

// fault ends a stream with an error event, nothing that looks like an end, and a connection that does not end like a success.
func (r *relay) fault(f *Fault) {
	r.out = r.call.dialect.AppendErrorEvent(r.out, f.Status, f.detail(), r.passed)
	r.finish(errCut)
}

// recovered, deferred, ends a stream that panicked with an error event, so that one request cannot end the process.
func (r *relay) recovered() {
	cause := recover()
	if cause == nil {
		return
	}
	notePanic(r.engine.Logger, cause)
	if r.end != nil { // it was over
		return
	}
	r.call.flight.fail(nil)
	r.settle(storage.OutcomeInterrupted)
	r.engine.forgo(r.call) // if it panicked over that
	if r.leads {
		r.out = r.out[:0]
	}
	r.fault(internalError())
}

// settle ends the call's accounts; false says that the charge could not be secured.
func (r *relay) settle(outcome storage.Outcome) bool {
	e, c, a := r.engine, r.call, r.answer
	if !a.whole {
		a.took = e.Now().Sub(a.began)
	}
	e.measure(c, a, c.ended(a, outcome))
	c.bill(a)
	return e.settle(c, outcome, fasthttp.StatusOK) == nil
}

// ended notes how an answer ended that was passed on while it came, and tells what that says of its provider.
func (c *call) ended(a *answer, outcome storage.Outcome) snapshot.Verdict {
	if outcome == storage.OutcomeOK {
		return snapshot.Success
	}
	c.usage.ErrorCode = string(outcome)
	if a.late {
		c.usage.ErrorCode = deadlineExceeded().Code
	} else if outcome == storage.OutcomeUpstreamAbort && !a.tooLarge {
		return snapshot.Failure
	}
	return snapshot.Neutral
}

// ready tells that an event is there already.
func (a *answer) ready() bool { return a.followed == nil && a.events.Buffered() }

// finish ends the stream with what Read returns last, lets go of the provider and lets go of the call, unless its client's relay
// does that. The end of the provider's answer may take a moment more: nobody waits for it with the last events.
func (r *relay) finish(end error) {
	if r.end = end; end == io.EOF {
		r.source, r.answer.source = r.answer.source, nil
	}
	r.answer.close(false)
	if r.leads {
		return
	}
	r.engine.finish(r.call)
	r.call = nil
}
