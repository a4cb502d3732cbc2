// Package snapshot turns the outcomes of traffic into facts a policy can decide on: health, latency, speed, error rate
// and load of every deployment, published as immutable generations.
//
// Writers update atomic counters and never wait for each other. A new generation is made by the first request that asks
// for one when something changed and the last one is at least [Interval] old, or at once when a deployment's health
// changed; with no traffic nothing runs. Moving averages are exponential; latencies and rates are published with five
// significant bits, so that a wobble of a few per cent makes no new generation.
//
// Each deployment has a circuit breaker: five failures in a row, or one that says the key or the model is wrong, open it
// for 2 seconds, doubling to 60; then one request at a time may probe it until one succeeds.
package snapshot

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

const (
	// Interval is the least time between two generations unless a deployment's health changed.
	Interval = 50 * time.Millisecond

	latencyWeight = 0.2  // of the newest sample in the latency and speed averages
	errorWeight   = 0.05 // of the newest sample in the error rate
	degradedAbove = 0.2  // error rate
	openAfter     = 5    // failures in a row
	firstOpen     = 2 * time.Second
	longestOpen   = 60 * time.Second
)

// Verdict says how an attempt bears on its deployment's health.
type Verdict uint8

// The verdicts.
const (
	Neutral Verdict = iota // the caller's fault, or the caller left: says nothing of the deployment
	Success
	Failure
	Broken // the key or the model is refused: trying again at once is pointless
)

// Outcome is the end of one attempt.
type Outcome struct {
	Verdict      Verdict
	TTFT         time.Duration // 0 if no content came
	Duration     time.Duration // of the whole attempt
	OutputTokens int64
}

// Live collects outcomes. It is safe for concurrent use.
type Live struct {
	now     func() time.Time
	publish func(previous, next *policy.Published) // called under the publishing lock, in order of generation
	static  []policy.Candidate
	live    []deployment

	current atomic.Pointer[policy.Published]
	changed atomic.Bool
	urgent  atomic.Bool
	due     atomic.Int64 // Unix nanoseconds before which no ordinary generation is made
	mu      sync.Mutex
}

type deployment struct {
	inflight  atomic.Int32
	samples   atomic.Uint32
	ttft      atomic.Uint32 // float32 bits, milliseconds
	speed     atomic.Uint32 // float32 bits, tokens per second
	errorRate atomic.Uint32 // float32 bits
	failures  atomic.Uint32 // in a row
	openUntil atomic.Int64  // Unix nanoseconds; 0: closed
	openFor   atomic.Int64  // the last opening's length
	probing   atomic.Bool   // one probe is under way in the half-open state
}

// New starts with every deployment unknown. Generations count up from the clock's microseconds, so that they are never
// repeated after a restart. publish may be nil.
func New(candidates []policy.Candidate, now func() time.Time, publish func(previous, next *policy.Published)) *Live {
	l := &Live{now: now, publish: publish, static: candidates, live: make([]deployment, len(candidates))}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next(uint64(now().UnixMicro()))
	return l
}

// Current returns the newest generation, making one first if it is due.
func (l *Live) Current() *policy.Published {
	if l.urgent.Load() || l.changed.Load() && l.now().UnixNano() >= l.due.Load() {
		if l.mu.TryLock() { // whoever loses takes the generation before
			defer l.mu.Unlock()
			if l.urgent.Swap(false) || l.changed.Load() {
				l.next(l.current.Load().Generation + 1)
			}
		}
	}
	return l.current.Load()
}

// Usable tells whether requests may go to deployment i: its circuit is closed, or open long enough that it may be
// probed.
func (l *Live) Usable(i int) bool {
	d := &l.live[i]
	until := d.openUntil.Load()
	return until == 0 || until <= l.now().UnixNano() && !d.probing.Load()
}

// Inflight is the number of attempts under way at deployment i, saturating.
func (l *Live) Inflight(i int) uint16 { return uint16(min(l.live[i].inflight.Load(), math.MaxUint16)) }

// Start notes that an attempt at deployment i begins. Exactly one Done must follow.
func (l *Live) Start(i int) {
	d := &l.live[i]
	d.inflight.Add(1)
	if d.openUntil.Load() != 0 {
		d.probing.Store(true)
	}
}

// Done notes the end of an attempt at deployment i.
func (l *Live) Done(i int, o Outcome) {
	d := &l.live[i]
	d.inflight.Add(-1)
	d.probing.Store(false)
	switch o.Verdict {
	case Neutral:
		return
	case Success:
		d.failures.Store(0)
		if d.openUntil.Swap(0) != 0 {
			d.openFor.Store(0)
			l.urgent.Store(true)
		}
		average(&d.errorRate, 0, errorWeight, true)
		if o.TTFT > 0 {
			average(&d.ttft, float32(o.TTFT.Seconds()*1000), latencyWeight, false)
		}
		if writing := o.Duration - o.TTFT; o.OutputTokens > 1 && writing > 0 {
			average(&d.speed, float32(float64(o.OutputTokens)/writing.Seconds()), latencyWeight, false)
		}
	case Failure, Broken:
		average(&d.errorRate, 1, errorWeight, true)
		if n := d.failures.Add(1); n >= openAfter || o.Verdict == Broken || d.openUntil.Load() != 0 {
			l.open(d)
		}
	}
	if d.samples.Load() < math.MaxUint32 {
		d.samples.Add(1)
	}
	l.changed.Store(true)
}

func (l *Live) open(d *deployment) {
	length := min(max(2*time.Duration(d.openFor.Load()), firstOpen), longestOpen)
	now := l.now()
	if until := d.openUntil.Load(); until > now.UnixNano() {
		return // attempts that began before it opened
	}
	d.openFor.Store(int64(length))
	d.openUntil.Store(now.Add(length).UnixNano())
	l.urgent.Store(true)
}

// next publishes a generation; l.mu is held.
func (l *Live) next(generation uint64) {
	l.changed.Store(false)
	now := l.now()
	l.due.Store(now.Add(Interval).UnixNano())
	s := policy.Snapshot{Generation: generation, WallMillis: now.UnixMilli()}
	s.Candidates = append(make([]policy.Candidate, 0, len(l.static)), l.static...)
	for i := range s.Candidates {
		l.live[i].describe(&s.Candidates[i], now)
	}
	p := policy.Publish(s)
	if l.publish != nil {
		l.publish(l.current.Load(), p)
	}
	l.current.Store(p)
}

func (d *deployment) describe(c *policy.Candidate, now time.Time) {
	c.Samples = d.samples.Load()
	c.TTFT = coarse(math.Float32frombits(d.ttft.Load()))
	c.TokensPerSec = coarse(math.Float32frombits(d.speed.Load()))
	c.ErrorRate = coarse(math.Float32frombits(d.errorRate.Load()))
	until := d.openUntil.Load()
	switch {
	case until > now.UnixNano():
		c.Health = abi.HealthDown
	case until != 0 || c.ErrorRate > degradedAbove:
		c.Health = abi.HealthDegraded
	case c.Samples > 0:
		c.Health = abi.HealthHealthy
	default:
		c.Health = abi.HealthUnknown
	}
}

// average folds sample into an exponential moving average; the first sample stands for itself unless fromZero.
func average(at *atomic.Uint32, sample, weight float32, fromZero bool) {
	for {
		old := at.Load()
		mean := math.Float32frombits(old)
		if mean == 0 && !fromZero {
			mean = sample
		}
		if at.CompareAndSwap(old, math.Float32bits(mean+weight*(sample-mean))) {
			return
		}
	}
}

// coarse keeps five significant bits of a number.
func coarse(f float32) float32 {
	const drop = 23 - 4
	return math.Float32frombits((math.Float32bits(f) + 1<<(drop-1)) &^ (1<<drop - 1))
}
