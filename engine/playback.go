package engine

import (
	"errors"
	"io"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/storage"
)

// soundHead is how much of a sound is read before it counts as an answer, in bytes at most.
const soundHead = 4 << 10

// listen makes an answer of a sound that is still coming. It counts as one once its first bytes are there, so that falling
// back is possible until then.
func (a *answer) listen(sound io.Reader, contentType string, c *call, e *Engine) *failure {
	if isMedia(contentType, "application/json") || isMedia(contentType, "text/html") {
		body, _ := io.ReadAll(io.LimitReader(sound, maxErrorBody)) // what can be read of it will do
		return a.takeResult(body, contentType, c)
	}
	head := make([]byte, soundHead)
	n, err := sound.Read(head)
	for n == 0 && err == nil {
		n, err = sound.Read(head)
	}
	if n == 0 {
		a.close(false)
		if errors.Is(err, io.EOF) {
			return transportFailure(errors.New("the provider's answer is empty"))
		}
		return transportFailure(err)
	}
	a.ttft = e.Now().Sub(a.began)
	a.held, a.sound, a.contentType = head[:n], sound, contentType
	return nil
}

// play passes a sound on while it comes. Its price is known from the start; it is settled at the end.
func (e *Engine) play(ctx *fasthttp.RequestCtx, c *call, a *answer) {
	if err := c.held.Wait(); err != nil { // no byte reaches the client before its hold is durable
		e.live.Done(a.deployment.Index, snapshot.Outcome{})
		a.close(false)
		e.fail(ctx, c, storageUnavailable())
		return
	}
	a.usage.Input = int64(c.env.InputTokens)
	e.price(c, a)
	c.usage.Credits, c.usage.CostUSD = c.spent+a.credits, sum(c.cost.billed, a.cost.billed)
	e.describeAnswer(ctx, c, a)
	setInt(ctx, "X-Pointsman-Overhead-Us", c.dispatched.Sub(c.began).Microseconds())
	a.setContentType(ctx)
	ctx.SetBodyStream(c.claim.record(ctx, &playback{engine: e, call: c, answer: a}), -1)
}

// playback is the body of an answer that is a sound.
type playback struct {
	engine *Engine
	call   *call
	answer *answer
	sent   int   // of the answer's head
	end    error // nil while the sound comes
}

// Read hands on what is there, and settles before it tells the end.
func (p *playback) Read(b []byte) (int, error) {
	if p.end != nil {
		return 0, p.end
	}
	if p.sent < len(p.answer.held) {
		n := copy(b, p.answer.held[p.sent:])
		p.sent += n
		return n, nil
	}
	n, err := p.answer.sound.Read(b)
	switch {
	case n > 0 || err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		p.finish(storage.OutcomeOK)
	case p.call.wasStopped():
		p.finish(storage.OutcomeInterrupted)
	case p.call.clientLeft():
		p.finish(storage.OutcomeClientAbort)
	default:
		p.answer.late = errors.Is(err, upstream.ErrTimeout) && p.call.late(p.engine.Now)
		p.finish(storage.OutcomeUpstreamAbort)
	}
	return 0, p.end
}

// Close settles a sound that was not read to its end: the client left.
func (p *playback) Close() error {
	if p.end == nil {
		p.finish(storage.OutcomeClientAbort)
	}
	return nil
}

// finish settles the call and lets go of it. Nobody can tell how much of a sound came that the provider, or a gateway that stops,
// broke off, so it is not charged; a client that left has had it made and is.
func (p *playback) finish(outcome storage.Outcome) {
	e, c, a := p.engine, p.call, p.answer
	a.took = e.Now().Sub(a.began)
	e.measure(c, a, c.ended(a, outcome))
	if outcome == storage.OutcomeUpstreamAbort || outcome == storage.OutcomeInterrupted {
		a.credits = 0
	}
	c.bill(a)
	p.end = errCut
	if e.settle(c, outcome, fasthttp.StatusOK) == nil && outcome == storage.OutcomeOK {
		p.end = io.EOF
	}
	a.close(p.end == io.EOF)
	e.finish(c)
	p.call = nil
}
