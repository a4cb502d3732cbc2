// Package overload keeps the gateway standing when it is asked for more than it can do: it bounds what is under way, and
// says no, at once and cheaply, to what is beyond that.
//
// A [Guard] counts requests, memory, connections and slow senders. Requests beyond the limit wait in a bounded queue, those
// of higher priority first, and none waits that would not be served in its time. What is refused is a [Shed], which says why
// and when to come again.
//
// While nothing is short, a request costs two atomic additions, and nobody waits for anybody.
package overload

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// perProcessor is how many requests are under way for each processor where the operator does not say. Most of them wait for
// a provider; so many live streams keep a processor busy.
const perProcessor = 2048

// Config are the limits. The zero value of a limit is none, unless it says otherwise.
type Config struct {
	Requests    int              // under way at once; 0: 2,048 for each processor
	Queue       int              // of requests that wait for room
	Wait        time.Duration    // that a request waits at most
	Memory      int64            // of the process, in bytes
	Connections int              // of clients
	Senders     int              // of one address that take long to send a request
	WriteWithin time.Duration    // in which a client takes what is written to it, at least half of it
	Descriptors int              // that connections and requests under way may use together
	Now         func() time.Time // nil: time.Now
}

// Priority is a class of requests: those of a higher one are served first. There are four.
type Priority = uint8

// Priorities is the number of classes.
const Priorities = 4

// Reason is what was short.
type Reason uint8

// The reasons.
const (
	NoRoom      Reason = iota // so many requests are under way, and too many wait
	Waited                    // its time came while it waited
	Memory                    // the process's memory
	Body                      // memory for the request's body
	Connections               // connections or descriptors
	SlowSender                // its address has too many of them
	reasons
)

// String is the reason's name in metrics.
func (r Reason) String() string {
	return [reasons]string{"requests", "waited", "memory", "body", "connections", "slow_senders"}[r]
}

// Shed is a refusal.
type Shed struct {
	Reason     Reason
	RetryAfter time.Duration // when to come again
}

const (
	leastRetry = time.Second
	mostRetry  = 30 * time.Second
)

// Guard keeps the limits. A nil Guard has none. It is safe for concurrent use.
type Guard struct {
	cfg    Config
	limit  int64
	memory memory

	_           [64]byte // what every request writes has a cache line of its own
	running     atomic.Int64
	_           [64]byte
	waiting     atomic.Int64
	connections atomic.Int64
	shed        [reasons]atomic.Uint64
	lastShed    [reasons]atomic.Int64 // nanoseconds since 1970

	mu    sync.Mutex // guards the queue
	queue [Priorities]list
	pace  pace

	senders senders
}

// New returns a guard, which watches the memory until Close.
func New(cfg Config) *Guard {
	if cfg.Requests == 0 {
		cfg.Requests = perProcessor * runtime.GOMAXPROCS(0)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	g := &Guard{cfg: cfg, limit: int64(cfg.Requests)}
	g.senders.counts = map[string]int{}
	g.memory.start(cfg.Memory)
	return g
}

// Close ends the watching.
func (g *Guard) Close() {
	if g != nil {
		g.memory.stop()
	}
}

// Enter lets a request in, waits until there is room for it, or refuses it. One that was let in must Leave. deadline is when
// its client gives up; zero: not soon.
func (g *Guard) Enter(p Priority, deadline time.Time) (waited bool, refused *Shed) {
	switch {
	case g == nil:
		return false, nil
	case g.memory.full():
		return false, g.refuse(Memory, leastRetry)
	case g.waiting.Load() == 0 && g.take():
		return false, nil
	}
	return true, g.wait(min(p, Priorities-1), deadline)
}

// Leave ends a request that was let in.
func (g *Guard) Leave() {
	switch {
	case g == nil, g.waiting.Load() > 0 && g.handOver():
		return
	}
	g.running.Add(-1)
	if g.waiting.Load() > 0 { // one came meanwhile and did not see the room
		g.fill()
	}
}

// take takes room for one request if there is some.
func (g *Guard) take() bool {
	n := g.running.Add(1)
	if n <= g.limit && (g.cfg.Descriptors == 0 || n+g.connections.Load() <= int64(g.cfg.Descriptors)) {
		return true
	}
	g.running.Add(-1)
	return false
}

// refuse counts a refusal.
func (g *Guard) refuse(why Reason, retry time.Duration) *Shed {
	g.shed[why].Add(1)
	g.lastShed[why].Store(g.cfg.Now().UnixNano())
	return &Shed{Reason: why, RetryAfter: min(max(retry, leastRetry), mostRetry)}
}

// Stats are figures of the moment, and refusals since the start by reason.
type Stats struct {
	Running, Waiting, Connections int
	Limit                         int // of requests under way
	Memory, MemoryLimit           int64
	Shed                          map[string]uint64
}

// Stats tells how things stand.
func (g *Guard) Stats() Stats {
	s := Stats{Shed: map[string]uint64{}}
	if g == nil {
		return s
	}
	s.Running, s.Waiting, s.Connections = int(g.running.Load()), int(g.waiting.Load()), int(g.connections.Load())
	s.Limit, s.Memory, s.MemoryLimit = g.cfg.Requests, g.memory.used.Load(), g.memory.limit
	for r := range reasons {
		s.Shed[r.String()] = g.shed[r].Load()
	}
	return s
}

// sheddingFor is how long after a refusal the guard says that it refuses.
const sheddingFor = 10 * time.Second

// Shedding lists why requests were refused in the last ten seconds.
func (g *Guard) Shedding() (why []string) {
	if g == nil {
		return nil
	}
	since := g.cfg.Now().Add(-sheddingFor).UnixNano()
	for r := range reasons {
		if g.lastShed[r].Load() > since {
			why = append(why, r.String())
		}
	}
	return why
}

// WriteWithin is the configured time in which a client must take what is written to it; 0: any.
func (g *Guard) WriteWithin() time.Duration {
	if g == nil {
		return 0
	}
	return g.cfg.WriteWithin
}
