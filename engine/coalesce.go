package engine

import (
	"bytes"
	"sync"
	"time"

	"github.com/pointsman/pointsman/engine/cache"
	"github.com/pointsman/pointsman/storage"
)

// maxFollowed is how many answers that fail a request waits for, one after the other, before it asks by itself.
const maxFollowed = 2

// flights are the answers on their way that others may wait for.
type flights struct {
	shards [64]struct {
		sync.Mutex
		byKey map[cache.Key]*flight
	}
}

// flight is the answer to one request, its leader's, while it is made. The same requests of the same tenant follow it. It is
// safe for concurrent use. Its lock is taken after that of a call, never before.
type flight struct {
	flights *flights
	key     cache.Key
	tenant  cache.Tenant
	leader  *call

	mu        sync.Mutex
	changed   sync.Cond
	state     flightState
	answer    cachedAnswer // its body grows while a stream comes
	events    int          // of the stream so far
	followers int
	left      bool // the leader's client is gone
}

// flightState is how far an answer is.
type flightState uint8

const (
	flightWaits  flightState = iota // nothing is known yet
	flightStream                    // a stream has begun, and the answer's body is what came of it
	flightWhole                     // all is there
	flightOver                      // there is no answer, or none that others may have
)

// join finds the flight of a request and follows it, or begins one that the request leads.
func (s *flights) join(c *call) (f *flight, leads bool) {
	shard := &s.shards[int(c.cache.key[0])%len(s.shards)]
	shard.Lock()
	defer shard.Unlock()
	if f = shard.byKey[c.cache.key]; f != nil && f.tenant == c.cache.tenant && f.follow() {
		return f, false
	}
	f = &flight{flights: s, key: c.cache.key, tenant: c.cache.tenant, leader: c}
	f.changed.L = &f.mu
	if shard.byKey == nil {
		shard.byKey = map[cache.Key]*flight{}
	}
	shard.byKey[c.cache.key] = f
	return f, true
}

// close lets nobody follow any more who does not yet.
func (f *flight) close() {
	shard := &f.flights.shards[int(f.key[0])%len(f.flights.shards)]
	shard.Lock()
	defer shard.Unlock()
	if shard.byKey[f.key] == f {
		delete(shard.byKey, f.key)
	}
}

func (f *flight) follow() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == flightOver {
		return false
	}
	f.followers++
	return true
}

// part ends the following of one. If the leader's client is gone too, nobody is there for the answer.
func (f *flight) part() {
	f.mu.Lock()
	f.followers--
	nobody := f.followers == 0 && f.left
	f.mu.Unlock()
	if nobody {
		f.leader.leave()
	}
}

// wanted tells, when the leader's client is gone, whether there are others who wait for its answer. If not, nobody will.
func (f *flight) wanted() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	f.left = true
	nobody := f.followers == 0
	f.mu.Unlock()
	if nobody {
		f.fail()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state != flightOver
}

// turn goes on to a state, if there is a way to it, and tells those who wait.
func (f *flight) turn(to flightState, change func()) {
	if f == nil {
		return
	}
	f.mu.Lock()
	ends := f.state < flightWhole
	if ends {
		if change != nil {
			change()
		}
		f.state = to
		f.changed.Broadcast()
	}
	f.mu.Unlock()
	if ends && to >= flightWhole {
		f.close()
	}
}

// fail ends a flight whose leader has no answer for others; those who wait go on without it. One that is whole stays so.
func (f *flight) fail() { f.turn(flightOver, nil) }

// add hands on a piece of the stream. What is too long to be kept is not kept for those who might still come.
func (f *flight) add(piece []byte, most int) {
	if f == nil || len(piece) == 0 {
		return
	}
	f.mu.Lock()
	if f.state == flightStream {
		f.answer.body = append(f.answer.body, piece...)
		f.events++
		f.changed.Broadcast()
	}
	long, alone := len(f.answer.body) > most, f.followers == 0
	f.mu.Unlock()
	switch {
	case long && alone:
		f.fail()
	case long:
		f.close()
	}
}

// follower is a request that follows a flight.
type follower struct {
	flight  *flight
	taken   int // bytes of the stream
	timer   *time.Timer
	cut     bool // its client is gone; guarded by the flight, as is late
	late    bool // its client's own limit has passed
	parting sync.Once
}

// newFollower makes one of a request that has joined. It must part.
func newFollower(c *call, f *flight, now time.Time) *follower {
	w := &follower{flight: f}
	if !c.cutWith(w) {
		w.Cancel()
	}
	if !c.deadline.IsZero() {
		w.timer = time.AfterFunc(c.deadline.Sub(now), func() { w.note(&w.late) })
	}
	return w
}

// Cancel ends the following of one whose client is gone.
func (w *follower) Cancel() { w.note(&w.cut) }

func (w *follower) note(what *bool) {
	w.flight.mu.Lock()
	defer w.flight.mu.Unlock()
	*what = true
	w.flight.changed.Broadcast()
}

// Close ends the following.
func (w *follower) Close(bool) { w.part() }

func (w *follower) part() {
	w.parting.Do(func() {
		if w.timer != nil {
			w.timer.Stop()
		}
		w.flight.part()
	})
}

// next waits for more of the stream, or for the answer to begin or end. The piece is not changed any more.
func (w *follower) next() (piece []byte, state flightState, gone bool) {
	f := w.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	for !w.cut && !w.late && (f.state == flightWaits || f.state == flightStream && w.taken == len(f.answer.body)) {
		f.changed.Wait()
	}
	piece = f.answer.body[w.taken:len(f.answer.body):len(f.answer.body)]
	return piece, f.state, w.cut || w.late
}

// coalesced makes a request that is being answered already wait for that answer, and pay for it as for one from the cache. Neither
// an answer nor a fault means that it asks by itself, perhaps for others too.
func (e *Engine) coalesced(c *call) (*answer, *Fault) {
	if c.dispatched.IsZero() {
		c.dispatched = e.Now() // waiting for the provider begins
	}
	for range maxFollowed {
		f, leads := e.flights.join(c)
		if leads {
			c.mu.Lock() // the watcher may look at it
			c.flight = f
			c.mu.Unlock()
			return nil, nil
		}
		w := newFollower(c, f, e.Now())
		_, state, gone := w.next()
		switch {
		case gone && w.cut:
			w.part()
			return nil, clientGone
		case gone:
			w.part()
			return nil, deadlineExceeded()
		case state == flightOver:
			w.part()
			continue
		}
		f.mu.Lock()
		k := f.answer
		f.mu.Unlock()
		a := e.repeated(c, &k)
		if a == nil || state == flightWhole {
			w.part()
			return a, nil
		}
		a.stored, a.followed, a.source = nil, w, w
		a.credits, c.usage.Credits = 0, 0 // not known before the end
		return a, nil
	}
	return nil, nil
}

// shareable tells that the same request would be answered by the same model again: the policy works, and so does what the
// request names.
func (c *call) shareable(a *answer) bool {
	return c.failed == nil && (c.model == nil || c.model == a.deployment.Model) && (c.wish == nil || c.wish.tries == 0)
}

// beginStream lets followers have the stream that begins.
func (e *Engine) beginStream(c *call, a *answer) {
	switch {
	case c.flight == nil:
	case !c.shareable(a) || e.outputLimit(c, a) > 0: // our own limit, by the account's credits
		c.flight.fail()
	default:
		k := c.keptOf(a, cachedAnswer{})
		k.credits = c.hold // at most, for all that is known
		c.flight.turn(flightStream, func() { c.flight.answer = k })
	}
}

// endStream gives followers how the stream ends.
func (c *call) endStream(a *answer, last, done []byte) {
	f := c.flight
	if f == nil {
		return
	}
	k := c.keptOf(a, cachedAnswer{last: bytes.Clone(last), done: bytes.Clone(done)})
	f.turn(flightWhole, func() {
		k.body = f.answer.body
		f.answer = k
	})
}

// share gives followers a buffered answer.
func (e *Engine) share(c *call, a *answer) {
	switch f := c.flight; {
	case f == nil:
	case !c.shareable(a) || c.op == opChat && e.outputLimit(c, a) > 0:
		f.fail()
	default:
		k := c.keptOf(a, cachedAnswer{body: bytes.Clone(a.body)})
		f.turn(flightWhole, func() { f.answer = k })
	}
}

// follow takes what there is of a stream that another request leads.
func (r *relay) follow() {
	a, w := r.answer, r.answer.followed
	idle := len(r.out) == 0
	if idle {
		r.call.pulse.wait()
	}
	piece, state, gone := w.next()
	if idle {
		r.call.pulse.stop()
	}
	r.out = append(r.out, piece...)
	w.taken += len(piece)
	f := w.flight
	f.mu.Lock()
	r.passed = f.events
	k := f.answer
	f.mu.Unlock()
	switch {
	case gone && w.cut:
		r.settle(storage.OutcomeClientAbort)
		r.finish(errCut)
	case gone:
		r.breakOff("the request's own limit, " + headerTimeout + ", has passed")
	case state == flightWhole:
		a.usage, a.estimated, a.credits = k.usage, k.estimated, shareOf(k.credits, r.engine.Cache.HitShare)
		r.last = k.last
		r.complete(k.done)
	case state == flightOver:
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
