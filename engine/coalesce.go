package engine

import (
	"bytes"

	"github.com/pointsman/pointsman/storage"
)

// maxFollowed is how many answers that fail a request waits for, one after the other.
const maxFollowed = 2

// coalesced makes a request that is being answered already wait for that answer, and pay for it as for one from the cache. Neither
// an answer nor a fault means that it asks by itself, perhaps for others too.
func (e *Engine) coalesced(c *call) (*answer, *Fault) {
	mayLead := !c.env.Stream || c.deadline.IsZero() // a stream with a limit of its client's own would end for all then
	for n := range maxFollowed {
		w, leads := e.flights.join(c, mayLead, e.Cache.MaxEntry)
		if w == nil {
			c.mu.Lock() // the watcher may look at it
			c.flight = leads
			c.mu.Unlock()
			return nil, nil
		}
		a, fault, failed := e.follow(c, w)
		if !failed || n+1 == maxFollowed {
			c.cache.failed = fault != nil && failed
			return a, fault
		} // else one of those who waited leads the others now
	}
	return nil, nil
}

// follow waits for the answer of a flight to begin. A fault is that of the flight if it has failed.
func (e *Engine) follow(c *call, w *follower) (a *answer, fault *Fault, failed bool) {
	if c.dispatched.IsZero() {
		c.dispatched = e.Now() // waiting for the provider begins
	}
	w.follows(c, e.Now())
	defer func() {
		if a == nil || a.followed == nil {
			c.cutWith(nil)
			w.Close()
		}
	}()
	state, why := w.begun()
	switch {
	case why == cutOff:
		return nil, clientGone, false
	case why == tooLate:
		return nil, deadlineExceeded(), false
	case state == flightOver:
		return nil, w.flight.fault, true
	}
	k := w.flight.answered()
	if a = e.repeated(c, &k); a == nil {
		return nil, nil, false
	}
	a.took = e.Now().Sub(c.dispatched)
	if c.env.Stream {
		a.stored, a.followed = nil, w
		a.credits, c.usage.Credits = 0, 0 // not known before the end
	}
	return a, nil, false
}

// shareable tells that the same request would be answered by the same model again: the policy works, and so does what the
// request names.
func (c *call) shareable(a *answer) bool {
	return c.failed == nil && (c.model == nil || c.model == a.deployment.Model) && (c.wish == nil || c.wish.tries == 0)
}

// openStream lets others have the stream that begins, if it is for them.
func (e *Engine) openStream(c *call, a *answer) bool {
	if c.flight == nil {
		return false
	}
	if !c.shareable(a) || e.outputLimit(c, a) > 0 { // our own limit, by the account's credits
		c.flight.fail(nil)
		return false
	}
	k := c.keptOf(a, cachedAnswer{})
	k.credits = c.hold // at most, for all that is known
	return c.flight.turn(flightStream, func() { c.flight.answer = k })
}

// closeStream gives followers how the stream ends.
func (c *call) closeStream(a *answer, last, done []byte) {
	if c.flight != nil {
		k := c.keptOf(a, cachedAnswer{last: bytes.Clone(last), done: bytes.Clone(done)})
		c.flight.turn(flightWhole, func() { c.flight.answer = k })
	}
}

// share gives followers a buffered answer.
func (e *Engine) share(c *call, a *answer) {
	f := c.flight
	if f.alone() {
		return
	}
	if !c.shareable(a) || c.op == opChat && e.outputLimit(c, a) > 0 {
		f.fail(nil)
		return
	}
	k := c.keptOf(a, cachedAnswer{body: bytes.Clone(a.body)})
	f.turn(flightWhole, func() { f.answer = k })
}

// lead has a goroutine read the answer, and makes a relay through which the leader's client follows it.
func (r *relay) lead() *relay {
	r.leads = true
	w := r.call.flight.lead()
	reader := &relay{engine: r.engine, call: r.call, answer: &answer{followed: w}, copied: r.copied, made: make(chan struct{}), maker: r}
	r.copied = nil
	go r.make(reader.made)
	return reader
}

// make reads the answer to its end, for those who follow. What is left in out is for the leader's client alone.
func (r *relay) make(made chan<- struct{}) {
	defer r.giveBack()
	defer close(made)
	defer r.recovered()
	r.replay(r.answer.held)
	for r.end == nil {
		r.out = r.out[:0]
		r.next()
	}
	r.call.flight.fail(nil) // unless it is whole
}

// follow takes what there is of a stream that another request leads, or a goroutine for this one.
func (r *relay) follow() {
	a, w := r.answer, r.answer.followed
	r.call.pulse.wait() // whatever came before is with the client
	piece, state, why := w.next()
	r.call.pulse.stop()
	r.out, r.passed = append(r.out, piece...), w.passed
	if state < flightWhole && why == stays {
		return
	}
	if r.maker != nil {
		<-r.made // and settled
	}
	switch {
	case r.maker != nil && why == tooSlow:
		r.finish(errCut)
	case r.maker != nil:
		r.out = append(r.out, r.maker.out...)
		r.finish(r.maker.end)
	case why == cutOff && r.call.wasStopped():
		r.settle(storage.OutcomeInterrupted)
		r.fault(shuttingDown())
	case why == cutOff, why == tooSlow:
		r.settle(storage.OutcomeClientAbort)
		r.finish(errCut)
	case why == tooLate:
		r.tooLate()
	case state == flightWhole:
		k := w.flight.answered()
		a.usage, a.estimated, a.credits = k.usage, k.estimated, shareOf(k.credits, r.engine.Cache.HitShare)
		r.last = k.last
		r.complete(k.done)
	default:
		r.breakOff("the provider broke off the answer")
	}
}

// keptOf is an answer as it is kept.
func (c *call) keptOf(a *answer, k cachedAnswer) cachedAnswer {
	k.deployment, k.own, k.simulated, k.estimated = a.deployment.Index, a.own, a.simulated, a.estimated
	k.usage, k.credits, k.origin, k.dropped = a.usage, c.usage.Credits, c.usage.Request.String(), a.dropped
	k.usage.CostUSD = ""
	return k
}
