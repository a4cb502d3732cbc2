package overload

import (
	"math"
	"time"
)

// waiter is a request that waits for room.
type waiter struct {
	ready      chan bool // true: it is let in; false: another one took its place in the queue
	queued     bool      // guarded by the guard's lock
	prev, next *waiter
}

// list holds waiters in the order in which they came.
type list struct {
	first, last *waiter
	n           int
}

func (l *list) push(w *waiter) {
	if w.prev = l.last; w.prev != nil {
		w.prev.next = w
	} else {
		l.first = w
	}
	l.last, w.queued = w, true
	l.n++
}

func (l *list) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.last = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	l.n--
}

// paceTime is how far back the pace looks.
const paceTime = time.Second

// pace is how fast those who wait are let in. What is longer ago counts less; time in which nobody waited does not count, but lets what was seen be forgotten, or
// a stall would be expected to go on that nobody waits any more to see the end of.
type pace struct {
	served float64 // fading
	time   float64 // that was watched, in seconds, fading
	at     time.Time
}

// age lets what was fade until now.
func (p *pace) age(now time.Time) {
	passed := max(now.Sub(p.at), 0).Seconds()
	fade := math.Exp(-passed / paceTime.Seconds())
	p.served, p.time, p.at = p.served*fade, p.time*fade+(1-fade)*paceTime.Seconds(), now
}

// forget lets what was fade until now, while nobody waited.
func (p *pace) forget(now time.Time) {
	fade := math.Exp(-max(now.Sub(p.at), 0).Seconds() / paceTime.Seconds())
	p.served, p.time, p.at = p.served*fade, p.time*fade, now
}

// leastWatched is how much of the time must have been watched before the pace says anything.
const leastWatched = 0.05 // seconds

// expect is how long the n-th of those who wait will, 0 if nothing is known.
func (p *pace) expect(n int) time.Duration {
	if p.time < leastWatched {
		return 0
	}
	return time.Duration(min(float64(n)*p.time/max(p.served, 0.01), mostRetry.Seconds()) * float64(time.Second))
}

// wait queues a request until it is let in, its time has come, or one of a higher priority takes its place. It refuses at once
// what would not be served in its time.
func (g *Guard) wait(class Priority, deadline time.Time) *Shed {
	now := g.cfg.Now()
	most := g.cfg.Wait
	if !deadline.IsZero() {
		most = min(most, deadline.Sub(now))
	}
	g.mu.Lock()
	if g.waiting.Load() == 0 {
		if g.take() { // there is room again
			g.mu.Unlock()
			return nil
		}
		g.pace.forget(now)
	}
	g.pace.age(now)
	ahead := 0
	for c := class; c < Priorities; c++ {
		ahead += g.queue[c].n
	}
	expected := g.pace.expect(ahead + 1)
	if expected >= most || int(g.waiting.Load()) >= g.cfg.Queue && !g.displace(class) {
		g.mu.Unlock()
		return g.refuse(NoRoom, expected)
	}
	w := &waiter{ready: make(chan bool, 1)}
	g.queue[class].push(w)
	g.waiting.Add(1)
	g.mu.Unlock()
	g.fill() // somebody may have left before this one was seen to wait

	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case in := <-w.ready:
		if in {
			return nil
		}
		return g.refuse(NoRoom, expected)
	case <-timer.C:
	}
	g.mu.Lock()
	if w.queued {
		g.queue[class].remove(w)
		g.waiting.Add(-1)
	}
	g.mu.Unlock()
	select {
	case in := <-w.ready: // at the same moment
		if in {
			return nil
		}
	default:
	}
	return g.refuse(Waited, expected)
}

// displace sends the last to come of the lowest priority away, if that is below class.
func (g *Guard) displace(class Priority) bool {
	for c := range class {
		if w := g.queue[c].last; w != nil {
			g.queue[c].remove(w)
			g.waiting.Add(-1)
			w.ready <- false
			return true
		}
	}
	return false
}

// handOver gives the room of a request that leaves to the first of those who wait; false if nobody does.
func (g *Guard) handOver() bool {
	if g.running.Load() > g.limit || g.cfg.Descriptors > 0 && g.running.Load()+g.connections.Load() > int64(g.cfg.Descriptors) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.letIn()
}

// fill lets in whom there is room for.
func (g *Guard) fill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.waiting.Load() > 0 && g.take() {
		if !g.letIn() {
			g.running.Add(-1)
		}
	}
}

// letIn gives room that was taken to the first of the highest priority; false if nobody waits.
func (g *Guard) letIn() bool {
	for c := Priorities - 1; c >= 0; c-- {
		if w := g.queue[c].first; w != nil {
			g.queue[c].remove(w)
			g.waiting.Add(-1)
			g.pace.age(g.cfg.Now())
			g.pace.served++
			w.ready <- true
			return true
		}
	}
	return false
}
