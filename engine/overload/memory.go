package overload

import (
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// Shares of the memory limit, in percent: at the lower one no more large bodies are taken, at the higher one no requests.
const (
	bodiesUpTo   = 92
	requestsUpTo = 95
)

// SmallBody is up to which size a request's body is not counted, in bytes.
const SmallBody = 64 << 10

// perBody is how much memory a byte of a body takes on its way: the server's buffer, which is rounded up to a power of two, and
// the copy that goes to a provider, which grows while it is made.
const perBody = 4

const (
	memoryInterval = 50 * time.Millisecond
	staleAfter     = 500 * time.Millisecond // that a collection is asked for again, while something is refused
)

// memory compares what the process uses with what it may. Garbage does not count: Go lets it grow up to the limit, and
// takes it away when that is reached.
type memory struct {
	limit   int64        // bytes; 0: none
	used    atomic.Int64 // at the last look: what lived at the last collection, and what is no heap
	other   atomic.Int64 // of that, what is no body
	bodies  atomic.Int64 // bytes of large bodies of requests under way
	refused atomic.Bool  // since the last look
	done    chan struct{}
}

func (m *memory) start(limit int64) {
	if m.limit = limit; limit > 0 {
		m.done = make(chan struct{})
		r := newReading()
		m.look(r)
		go m.run(r)
	}
}

func (m *memory) stop() {
	if m.done != nil {
		close(m.done)
	}
}

func (m *memory) run(r *reading) {
	tick := time.NewTicker(memoryInterval)
	defer tick.Stop()
	for {
		select {
		case <-m.done:
			return
		case <-tick.C:
			m.look(r)
		}
	}
}

// look reads the figures. Those of the heap are as old as the last collection, so one is asked for if they make us refuse.
func (m *memory) look(r *reading) {
	used, collections := r.read()
	now := time.Now()
	if collections != r.collections {
		r.collections, r.collected = collections, now
	} else if (m.refused.Load() || m.full()) && now.Sub(r.collected) > staleAfter {
		runtime.GC()
		used, r.collections = r.read()
		r.collected = time.Now()
	}
	m.refused.Store(false)
	m.used.Store(used)
	m.other.Store(max(used-m.bodies.Load(), 0))
}

// full tells that no request is taken.
func (m *memory) full() bool { return m.limit > 0 && m.used.Load() > m.limit/100*requestsUpTo }

// reading is a set of the runtime's metrics.
type reading struct {
	samples     []metrics.Sample
	collections uint64
	collected   time.Time
}

func newReading() *reading {
	names := []string{
		"/memory/classes/total:bytes", "/memory/classes/heap/released:bytes", "/memory/classes/heap/objects:bytes",
		"/memory/classes/heap/free:bytes", "/gc/heap/live:bytes", "/gc/cycles/total:gc-cycles",
	}
	r := &reading{samples: make([]metrics.Sample, len(names)), collected: time.Now()}
	for i, name := range names {
		r.samples[i].Name = name
	}
	return r
}

// read is what lives on the heap and what is no heap, in bytes, and the number of collections so far.
func (r *reading) read() (used int64, collections uint64) {
	metrics.Read(r.samples)
	value := func(i int) int64 { return int64(r.samples[i].Value.Uint64()) }
	return value(0) - value(1) - value(2) - value(3) + value(4), uint64(value(5))
}

// Hold takes memory for n more bytes of a large body; nil if there is some. What was taken must be given back by Free.
func (g *Guard) Hold(n int64) *Shed {
	if g == nil || g.memory.limit == 0 {
		return nil
	}
	m := &g.memory
	if m.other.Load()+perBody*m.bodies.Add(n) <= m.limit/100*bodiesUpTo {
		return nil
	}
	m.bodies.Add(-n)
	m.refused.Store(true)
	return g.refuse(Body, leastRetry)
}

// Free gives back what Hold took.
func (g *Guard) Free(n int64) {
	if g != nil && g.memory.limit > 0 {
		g.memory.bodies.Add(-n)
	}
}
