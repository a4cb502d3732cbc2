package engine

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/engine/cache"
)

// A flight is an answer on its way: that of the request which leads it, for all the same requests that follow. A buffered answer
// is theirs when it is there. A stream is read by a goroutine of its own at the provider's pace, and each of its clients, the
// leader's too, takes it from its beginning at its own: nobody waits for a client that reads slowly. What is kept for the slowest
// is bounded by a window.

// flights are the answers on their way that others may follow. The zero value is ready; they are safe for concurrent use.
type flights struct {
	shards [64]struct {
		sync.Mutex
		byKey map[cache.Key]*flight
	}
	held      atomic.Int64 // bytes of all streams
	following atomic.Int64 // requests that follow
}

// flight is one of them. It is safe for concurrent use. Its lock is taken before those of its leader's call, and after that of a
// follower's cut.
type flight struct {
	flights *flights
	key     cache.Key
	tenant  cache.Tenant

	mu        sync.Mutex
	changed   sync.Cond
	leader    *call // nil once that is over
	left      bool  // the leader's client is gone
	followers int   // requests but the leader
	state     flightState
	fault     *Fault       // why there is no answer, if others would not get one either
	answer    cachedAnswer // of a stream, without its body
	stream    window
}

// flightState is how far an answer is.
type flightState uint8

const (
	flightWaits  flightState = iota // nothing is known yet
	flightStream                    // a stream has begun
	flightWhole                     // all is there
	flightOver                      // there is no answer, or none that others may have
)

// window is what is kept of a stream.
type window struct {
	body    []byte
	from    int   // of the stream, where body begins
	ends    []int // of the stream, where the events in body end
	passed  int   // events before those
	readers []*follower
	full    bool // the stream waits for its readers
}

const (
	// leastWindow is the smallest window, in bytes: an event or two of any kind.
	leastWindow = 64 << 10
	// laggardTime is how long a stream waits for who is a window behind, if others follow too.
	laggardTime = time.Second
)

// join follows the flight of a request, or else, if it may lead one, begins a flight that it leads.
func (s *flights) join(c *call, mayLead bool, most int) (w *follower, leads *flight) {
	shard := &s.shards[int(c.cache.key[0])%len(s.shards)]
	shard.Lock()
	defer shard.Unlock()
	if f := shard.byKey[c.cache.key]; f != nil && f.tenant == c.cache.tenant {
		if w = f.follow(most); w != nil {
			return w, nil
		}
	}
	if !mayLead {
		return nil, nil
	}
	f := &flight{flights: s, key: c.cache.key, tenant: c.cache.tenant, leader: c}
	f.changed.L = &f.mu
	if shard.byKey == nil {
		shard.byKey = map[cache.Key]*flight{}
	}
	shard.byKey[f.key] = f
	return nil, f
}

// follow adds a follower, unless the beginning of the answer is gone or there will be none.
func (f *flight) follow(most int) *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state >= flightWhole || f.stream.from > 0 || len(f.stream.body) > most {
		return nil
	}
	w := &follower{flight: f}
	f.followers++
	f.flights.following.Add(1)
	f.stream.readers = append(f.stream.readers, w)
	return w
}

// hide lets nobody follow any more who does not yet.
func (f *flight) hide() {
	shard := &f.flights.shards[int(f.key[0])%len(f.flights.shards)]
	shard.Lock()
	defer shard.Unlock()
	if shard.byKey[f.key] == f {
		delete(shard.byKey, f.key)
	}
}

// turn goes on to a state with a change, and tells those who wait; false if the flight is over.
func (f *flight) turn(to flightState, change func()) bool {
	f.mu.Lock()
	turned := f.state < flightWhole
	if turned {
		change()
		f.state = to
		f.tidy()
	}
	f.mu.Unlock()
	if to >= flightWhole {
		f.hide()
	}
	return turned
}

// fail ends a flight without an answer for others. Those who wait go on without it; one that is whole stays so. The fault is why,
// if another leader would most likely fail in the same way, else nil.
func (f *flight) fail(fault *Fault) {
	if f != nil {
		f.turn(flightOver, func() { f.fault = fault })
	}
}

// release ends what the flight has to do with its leader's call, which is used again.
func (f *flight) release() {
	if f == nil {
		return
	}
	f.fail(nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader = nil
}

// goesOn tells, when the leader's client is gone, whether others want the answer. If not, nobody will.
func (f *flight) goesOn() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = true
	f.tidy()
	return f.followers > 0 && f.state < flightWhole
}

// alone ends the flight if nobody follows, and tells whether that is so.
func (f *flight) alone() bool {
	if f == nil {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers == 0 && f.state < flightWhole {
		f.state = flightOver
	}
	return f.followers == 0
}

// tidy follows a change: an answer that nobody wants is not made, and what nobody reads is not kept.
func (f *flight) tidy() {
	if f.left && f.followers == 0 && f.state < flightWhole {
		f.state = flightOver
		if f.leader != nil {
			f.leader.quit()
		}
	}
	if s := &f.stream; len(s.readers) == 0 && f.state >= flightWhole {
		f.flights.held.Add(-int64(len(s.body)))
		s.from += len(s.body)
		s.passed += len(s.ends)
		s.body, s.ends = nil, nil
	}
	f.changed.Broadcast()
}

// lead makes the leader's client one that reads the stream.
func (f *flight) lead() *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &follower{flight: f, leads: true}
	f.stream.readers = append(f.stream.readers, w)
	return w
}

// add hands on an event of the stream. If the slowest reader is more than most bytes behind, or less when all streams
// together have more than room, it waits: as long as it takes if there is no other, else a second, after which who is that far
// behind gets no more.
func (f *flight) add(event []byte, most, room int) {
	if f == nil || len(event) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != flightStream {
		return
	}
	s := &f.stream
	s.body = append(s.body, event...)
	s.ends = append(s.ends, s.from+len(s.body))
	f.changed.Broadcast()
	if f.flights.held.Add(int64(len(event))) > int64(room) {
		most = 0
	}
	most = max(most, leastWindow)
	var timer *time.Timer
	overdue := false // not of the loop, whose variables are new each time
	for len(s.body) > most && f.state == flightStream && !f.drop(most/2) {
		if overdue && len(s.readers) > 1 {
			for _, w := range s.readers {
				if w.taken < s.from+most/2 {
					w.leave(tooSlow)
				}
			}
			s.readers = slices.DeleteFunc(s.readers, func(w *follower) bool { return w.why == tooSlow })
			continue
		}
		if timer == nil {
			timer = time.AfterFunc(laggardTime, func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				overdue = true
				f.changed.Broadcast()
			})
		}
		s.full = true
		f.changed.Wait()
	}
	s.full = false
	if timer != nil {
		timer.Stop()
	}
}

// drop lets go of what all have taken; false if that is less than least.
func (f *flight) drop(least int) bool {
	s := &f.stream
	slowest := s.from + len(s.body)
	for _, w := range s.readers {
		slowest = min(slowest, w.taken)
	}
	n := slowest - s.from
	if n < least {
		return false
	}
	events, _ := slices.BinarySearch(s.ends, slowest)
	events++                                                     // the one that ends there
	s.body = append(make([]byte, 0, len(s.body)), s.body[n:]...) // anew: a reader may still copy from the old one
	s.ends = append(make([]int, 0, len(s.ends)), s.ends[events:]...)
	s.from, s.passed = slowest, s.passed+events
	f.flights.held.Add(-int64(n))
	return true
}

// follower is a client that follows a flight.
type follower struct {
	flight *flight
	leads  bool // it is the leader's own
	timer  *time.Timer

	// Guarded by the flight.
	taken  int // bytes of the stream
	passed int // events of it
	why    leaving
	over   bool
}

// leaving is why a follower gets no more.
type leaving uint8

const (
	stays leaving = iota
	cutOff
	tooLate // its client's own limit has passed
	tooSlow // in reading
)

// follows ties a follower to its request.
func (w *follower) follows(c *call, now time.Time) {
	if !c.cutWith(w) {
		w.Cancel()
	}
	if !c.deadline.IsZero() {
		w.timer = time.AfterFunc(c.deadline.Sub(now), func() { w.note(tooLate) })
	}
}

// Cancel ends the following of one whose client is gone.
func (w *follower) Cancel() { w.note(cutOff) }

func (w *follower) note(why leaving) {
	w.flight.mu.Lock()
	defer w.flight.mu.Unlock()
	w.leave(why)
	w.flight.changed.Broadcast()
}

// leave has a follower get no more; the flight's lock is held.
func (w *follower) leave(why leaving) {
	if w.why == stays {
		w.why = why
	}
}

// answered is the answer as far as it is known.
func (f *flight) answered() cachedAnswer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answer
}

// begun waits until the answer begins, or is whole or over.
func (w *follower) begun() (flightState, leaving) {
	f := w.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	for w.why == stays && f.state == flightWaits {
		f.changed.Wait()
	}
	return f.state, w.why
}

// next waits for more of the stream and takes a batch of whole events, which is not changed any more. The state is that after
// these events.
func (w *follower) next() ([]byte, flightState, leaving) {
	f, s := w.flight, &w.flight.stream
	f.mu.Lock()
	defer f.mu.Unlock()
	for w.why == stays && f.state == flightStream && w.passed == s.passed+len(s.ends) {
		f.changed.Wait()
	}
	if w.why != stays {
		return nil, f.state, w.why
	}
	i, until := w.passed-s.passed, w.taken
	for ; i < len(s.ends) && (until == w.taken || s.ends[i]-w.taken <= relayBatch); i++ {
		until = s.ends[i]
	}
	piece := s.body[w.taken-s.from : until-s.from]
	w.taken, w.passed = until, s.passed+i
	if s.full {
		f.changed.Broadcast()
	}
	if i < len(s.ends) {
		return piece, flightStream, stays
	}
	return piece, f.state, stays
}

// Close ends the following. If the leader's client is gone too, nobody is there for the answer.
func (w *follower) Close() {
	if w.timer != nil {
		w.timer.Stop()
	}
	f := w.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stream.readers = slices.DeleteFunc(f.stream.readers, func(r *follower) bool { return r == w })
	switch {
	case w.over:
		return
	case w.leads:
		f.left = true
	default:
		f.followers--
		f.flights.following.Add(-1)
	}
	w.over = true
	f.tidy()
}
