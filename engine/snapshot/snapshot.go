// Package snapshot turns the outcomes of traffic into facts a policy can decide on: health, latency, speed, error rate
// and load of every deployment, published as immutable generations.
//
// Writers update atomic counters and never wait for each other. A new generation is made by the first request that asks
// for one when something changed and the last one is at least [Interval] old, or at once when a deployment's health
// changed; with no traffic nothing runs. Moving averages are exponential; latencies and rates are published with five
// significant bits, so that a wobble of a few per cent makes no new generation.
//
// Each deployment has a circuit breaker: five failures in a row, or one that says that the provider does not know the model, open
// it for 2 seconds, doubling to 60; then one request at a time may probe it until one succeeds. A refused key says nothing of the
// deployment: keys have circuits of their own, which the engine keeps.
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

	// A deployment is degraded if so much of at least so many attempts in the window failed, or all of fewer.
	degradedShare = 0.2
	degradedLeast = 5
)

// Verdict says how an attempt bears on its deployment's health.
type Verdict uint8

// The verdicts.
const (
	Neutral Verdict = iota // the caller's fault, or the caller left: says nothing of the deployment
	Success
	Failure
	Broken  // the model is refused: trying again at once is pointless
	Refused // the platform's key is refused or limited: a failed attempt, which says nothing of the deployment
)

// Outcome is the end of one attempt.
type Outcome struct {
	Verdict      Verdict
	Failure      uint8         // abi.Failure*, of one that failed
	End          time.Time     // zero: now, which costs a look at the clock
	TTFT         time.Duration // 0 if no content came
	Duration     time.Duration // of the whole attempt
	OutputTokens int64
	Trial        bool // it is the trial that Start told of, and Answers did not end
}

// Live collects outcomes. It is safe for concurrent use.
type Live struct {
	*shared
	now     func() time.Time
	publish func(previous, next *policy.Published) // called under the publishing lock, in order of generation
	static  []policy.Candidate
	live    []*deployment

	current atomic.Pointer[policy.Published]
	due     atomic.Int64 // Unix nanoseconds before which no ordinary generation is made
	stale   atomic.Int64 // Unix nanoseconds at which the current generation is no longer true by itself; 0: never
	over    atomic.Bool  // it has a successor: no further generation is made
}

// shared is what a Live has in common with its successor, as outcomes of the same deployments come to both for a while.
type shared struct {
	mu      sync.Mutex
	changed atomic.Bool
	urgent  atomic.Bool
}

type deployment struct {
	inflight  atomic.Int32
	samples   atomic.Uint32
	ttft      atomic.Uint32 // float32 bits, milliseconds
	speed     atomic.Uint32 // float32 bits, tokens per second
	errorRate atomic.Uint32 // float32 bits
	cause     atomic.Uint32 // abi.Failure* of the last failed attempt
	circuit   Circuit
	window    window

	health uint8     // as last seen; guarded by shared.mu
	since  time.Time // guarded by shared.mu
}

// New starts with every deployment unknown. Generations count up from the clock's microseconds, so that they are never
// repeated after a restart. publish may be nil.
func New(candidates []policy.Candidate, now func() time.Time, publish func(previous, next *policy.Published)) *Live {
	l := &Live{shared: new(shared), now: now, publish: publish, static: candidates, live: make([]*deployment, len(candidates))}
	for i := range l.live {
		l.live[i] = new(deployment)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next(uint64(now().UnixMicro()))
	return l
}

// Succeed returns the Live of other candidates, whose generations follow those of l; l publishes no more. What is known of
// candidate was[i] of l is known of candidate i too, in both of them, whichever is told of an outcome; of -1 nothing is.
func (l *Live) Succeed(candidates []policy.Candidate, was []int) *Live {
	next := &Live{shared: l.shared, now: l.now, publish: l.publish, static: candidates, live: make([]*deployment, len(candidates))}
	for i := range next.live {
		if was[i] < 0 {
			next.live[i] = new(deployment)
		} else {
			next.live[i] = l.live[was[i]]
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over.Store(true)
	next.next(l.current.Load().Generation + 1)
	return next
}

// Current returns the newest generation, making one first if it is due. The caller gives the time, as of its request: asking
// for it would cost more than the rest.
func (l *Live) Current(at time.Time) *policy.Published {
	stale := l.stale.Load()
	if l.urgent.Load() || l.changed.Load() || stale != 0 {
		now := nanos(at)
		over := stale != 0 && now >= stale
		if (l.urgent.Load() || over || l.changed.Load() && now >= l.due.Load()) && !l.over.Load() && l.mu.TryLock() { // whoever loses takes the one before
			defer l.mu.Unlock()
			if !l.over.Load() && (l.urgent.Swap(false) || l.changed.Load() || l.stale.Load() == stale && over) {
				l.next(l.current.Load().Generation + 1)
			}
		}
	}
	return l.current.Load()
}

// Usable tells whether requests may go to deployment i: its circuit lets one through.
func (l *Live) Usable(i int, now time.Time) bool { return l.live[i].circuit.Allows(now) }

// Inflight is the number of attempts under way at deployment i, saturating.
func (l *Live) Inflight(i int) uint16 { return uint16(min(l.live[i].inflight.Load(), math.MaxUint16)) }

// Start notes that an attempt at deployment i begins; exactly one Done must follow. A trial is one that tries whether an open
// circuit may close. Not ok means that it must not begin, for another attempt is the trial; then no Done follows.
func (l *Live) Start(i int) (trial, ok bool) {
	d := l.live[i]
	if trial, ok = d.circuit.Start(); ok {
		d.inflight.Add(1)
	}
	return trial, ok
}

// Answers ends a trial at deployment i when its answer has begun: others need not wait until it is over.
func (l *Live) Answers(i int) {
	d := l.live[i]
	l.close(d, l.now())
	d.circuit.End()
}

// close notes a success with a deployment's circuit. If that was open, the deployment is well again: what was before counts no more.
func (l *Live) close(d *deployment, now time.Time) {
	if !d.circuit.Succeed() {
		return
	}
	d.window.forgive(now)
	d.errorRate.Store(0)
	l.urgent.Store(true)
}

// Done notes the end of an attempt at deployment i.
func (l *Live) Done(i int, o Outcome) {
	d := l.live[i]
	d.inflight.Add(-1)
	if o.Trial {
		defer d.circuit.End()
	}
	if o.Verdict == Neutral {
		return
	}
	now := o.End
	if now.IsZero() {
		now = l.now()
	}
	switch o.Verdict {
	case Success:
		l.close(d, now)
		average(&d.errorRate, 0, errorWeight, true)
		if o.TTFT > 0 {
			average(&d.ttft, float32(o.TTFT.Seconds()*1000), latencyWeight, false)
		}
		if writing := o.Duration - o.TTFT; o.OutputTokens > 1 && writing > 0 {
			average(&d.speed, float32(float64(o.OutputTokens)/writing.Seconds()), latencyWeight, false)
		}
		d.window.success(now, &o)
	case Refused:
		d.window.refusal(now)
		return
	default:
		average(&d.errorRate, 1, errorWeight, true)
		d.cause.Store(uint32(o.Failure))
		if d.circuit.Fail(now, o.Failure, o.Verdict == Broken) {
			l.urgent.Store(true)
		}
		d.window.failure(now)
	}
	if d.samples.Load() < math.MaxUint32 {
		d.samples.Add(1)
	}
	if !l.changed.Load() {
		l.changed.Store(true)
	}
}

// Retry lets the next request try deployment i although its circuit is open: something says that it is well again.
func (l *Live) Retry(i int) {
	if l.live[i].circuit.Retry(l.now()) {
		l.urgent.Store(true)
	}
}

// next publishes a generation; l.mu is held.
func (l *Live) next(generation uint64) {
	l.changed.Store(false)
	now := l.now()
	l.due.Store(nanos(now.Add(Interval)))
	s := policy.Snapshot{Generation: generation, WallMillis: now.UnixMilli()}
	s.Candidates = append(make([]policy.Candidate, 0, len(l.static)), l.static...)
	stale := int64(0)
	for i := range s.Candidates {
		d := l.live[i]
		d.describe(&s.Candidates[i], now)
		until := d.circuit.openUntil.Load()
		if until <= nanos(now) { // nothing of the circuit changes by itself, but the window moves on
			if until = 0; d.health != abi.HealthUnknown {
				until = nanos(now.Add(slotLength))
			}
		}
		if until != 0 && (stale == 0 || until < stale) {
			stale = until
		}
	}
	l.stale.Store(stale)
	p := policy.Publish(s)
	if l.publish != nil {
		l.publish(l.current.Load(), p)
	}
	l.current.Store(p)
}

// describe fills in the live facts; shared.mu is held.
func (d *deployment) describe(c *policy.Candidate, now time.Time) {
	c.Samples = d.samples.Load()
	c.TTFT = coarse(math.Float32frombits(d.ttft.Load()))
	c.TokensPerSec = coarse(math.Float32frombits(d.speed.Load()))
	c.ErrorRate = coarse(math.Float32frombits(d.errorRate.Load()))
	c.Health = d.judge(now)
	// A policy that ranked it by its failures would never let it be tried while there are others. The circuit lets one
	// request at a time find out. What is older than the window is forgotten.
	if c.Health == abi.HealthUnknown || c.Health == abi.HealthDegraded && d.circuit.openUntil.Load() != 0 {
		c.Health, c.ErrorRate = abi.HealthUnknown, 0
	}
}

// judge decides the state of a deployment, and notes since when it is in it; shared.mu is held.
func (d *deployment) judge(now time.Time) uint8 {
	health, since := uint8(abi.HealthUnknown), now
	ok, failed := d.window.counts(now)
	switch opened, until, _, open := d.circuit.Open(); {
	case open && until.After(now):
		health, since = abi.HealthDown, opened
	case open:
		health, since = abi.HealthDegraded, until
	case failed > 0 && (ok == 0 || ok+failed >= degradedLeast && float64(failed) > degradedShare*float64(ok+failed)):
		health = abi.HealthDegraded
	case ok > 0:
		health = abi.HealthHealthy
	}
	if health != d.health || d.since.IsZero() {
		d.health, d.since = health, since
	}
	return health
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
