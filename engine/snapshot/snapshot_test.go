package snapshot

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func start() (*Live, *clock) {
	c := &clock{time.Unix(1_800_000_000, 0)}
	return New(make([]policy.Candidate, 2), c.now, nil), c
}

func TestGenerationsComeAtMostEveryInterval(t *testing.T) {
	l, c := start()
	first := l.Current(c.t)
	l.Start(0)
	l.Done(0, Outcome{Verdict: Success, TTFT: 100 * time.Millisecond, Duration: 1100 * time.Millisecond, OutputTokens: 50})
	if l.Current(c.t) != first {
		t.Fatal("a generation was made before its time")
	}
	c.t = c.t.Add(Interval)
	second := l.Current(c.t)
	if second.Generation != first.Generation+1 || l.Current(c.t) != second {
		t.Fatalf("generation %d after %d", second.Generation, first.Generation)
	}
	got := second.Candidates[0]
	if got.Health != abi.HealthHealthy || math.Abs(float64(got.TTFT)-100) > 4 || math.Abs(float64(got.TokensPerSec)-50) > 2 || got.Samples != 1 {
		t.Fatalf("published %+v", got)
	}
	if first.Candidates[0].Samples != 0 {
		t.Fatal("a published generation changed")
	}
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	l, c := start()
	fail := func(v Verdict) {
		l.Start(0)
		l.Done(0, Outcome{Verdict: v})
	}
	for range openAfter {
		if !l.Usable(0, c.t) {
			t.Fatal("opened too early")
		}
		fail(Failure)
	}
	if l.Usable(0, c.t) || l.Current(c.t).Candidates[0].Health != abi.HealthDown {
		t.Fatal("five failures in a row must open the circuit at once")
	}
	c.t = c.t.Add(firstOpen)
	if !l.Usable(0, c.t) {
		t.Fatal("it may be probed now")
	}
	l.Start(0)
	if l.Usable(0, c.t) {
		t.Fatal("one probe at a time")
	}
	l.Done(0, Outcome{Verdict: Failure, Trial: true})
	c.t = c.t.Add(firstOpen)
	if l.Usable(0, c.t) {
		t.Fatal("the second opening must last longer")
	}
	c.t = c.t.Add(firstOpen)
	l.Start(0)
	l.Done(0, Outcome{Verdict: Success, Trial: true})
	if !l.Usable(0, c.t) || l.Current(c.t).Candidates[0].Health == abi.HealthDown {
		t.Fatal("a success must close the circuit at once")
	}
	fail(Broken)
	if l.Usable(0, c.t) {
		t.Fatal("a refused key must open the circuit at once")
	}
	if !l.Usable(1, c.t) {
		t.Fatal("other deployments are untouched")
	}
}

// halfOpen is a deployment whose circuit was open long enough, with an attempt that began before it opened.
func halfOpen() (*Live, *clock) {
	l, c := start()
	l.Start(0) // goes on
	l.Start(0)
	l.Done(0, Outcome{Verdict: Broken})
	c.t = c.t.Add(firstOpen)
	return l, c
}

// One attempt at a time is the trial of an open circuit, and nobody else's end ends it.
func TestOneTrialAtATime(t *testing.T) {
	for _, verdict := range []Verdict{Neutral, Refused} {
		l, c := halfOpen()
		if trial, ok := l.Start(0); !trial || !ok {
			t.Fatal("the first one is the trial")
		}
		l.Done(0, Outcome{Verdict: verdict}) // of the one that began before
		if trial, ok := l.Start(0); trial || ok || l.Usable(0, c.t) {
			t.Errorf("verdict %d: another one's end lets a second trial begin", verdict)
		}
		l.Done(0, Outcome{Verdict: Neutral, Trial: true})
		if trial, ok := l.Start(0); !trial || !ok {
			t.Errorf("verdict %d: a trial that says nothing keeps the next one away", verdict)
		}
	}
}

// A trial whose answer has begun closes the circuit, however long the answer takes. Its end counts as any other's.
func TestTrialThatAnswersClosesTheCircuit(t *testing.T) {
	l, c := halfOpen()
	l.Start(0)
	l.Answers(0)
	for range 3 {
		if trial, ok := l.Start(0); trial || !ok || l.Current(c.t).Candidates[0].Health == abi.HealthDown {
			t.Fatal("the circuit is not closed while the answer comes")
		}
	}
	l.Done(0, Outcome{Verdict: Failure}) // it breaks off
	if got := l.live[0].circuit.Failures(); got != 1 || !l.Usable(0, c.t) {
		t.Errorf("%d failures in a row", got)
	}
}

func TestNeutralOutcomesSayNothing(t *testing.T) {
	l, c := start()
	for range 20 {
		l.Start(0)
		l.Done(0, Outcome{Verdict: Neutral})
	}
	c.t = c.t.Add(time.Second)
	if got := l.Current(c.t).Candidates[0]; got.Samples != 0 || got.Health != abi.HealthUnknown || l.Inflight(0) != 0 {
		t.Fatalf("%+v, %d in flight", got, l.Inflight(0))
	}
}

func TestConcurrentOutcomesAreAllCounted(t *testing.T) {
	l := New(make([]policy.Candidate, 2), time.Now, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				l.Current(time.Now())
				l.Start(0)
				l.Done(0, Outcome{Verdict: Success, TTFT: time.Millisecond})
			}
		})
	}
	wg.Wait()
	if l.Inflight(0) != 0 || l.live[0].samples.Load() != 8000 {
		t.Fatalf("%d in flight, %d samples", l.Inflight(0), l.live[0].samples.Load())
	}
}

func TestCoarseKeepsFiveBits(t *testing.T) {
	for _, f := range []float32{0, 1, 99.9, 0.0123, 12345} {
		if got := coarse(f); math.Abs(float64(got-f)) > float64(f)/32 {
			t.Errorf("coarse(%v) = %v", f, got)
		}
	}
}

// A successor goes on with what is known of the candidates that it has from its predecessor, from whichever an outcome comes.
func TestSucceed(t *testing.T) {
	c := &clock{t: time.Unix(1_800_000_000, 0)}
	var numbers []uint64
	old := New([]policy.Candidate{{Key: 1}, {Key: 2}}, c.now, func(previous, next *policy.Published) {
		if numbers = append(numbers, next.Generation); len(next.Candidates) == 3 && len(numbers) == 3 && previous != nil {
			t.Error("the first generation of a successor must stand alone")
		}
	})
	old.Start(1)
	old.Done(1, Outcome{Verdict: Broken, Failure: abi.FailureNotFound})
	last := old.Current(c.t)
	old.Start(0) // under way meanwhile
	next := old.Succeed([]policy.Candidate{{Key: 3}, {Key: 2}, {Key: 1}}, []int{-1, 1, 0})
	first := next.Current(c.t)
	if first.Generation != last.Generation+1 || len(first.Candidates) != 3 {
		t.Errorf("generation %d with %d candidates after %d", first.Generation, len(first.Candidates), last.Generation)
	}
	if next.Usable(1, c.t) || !next.Usable(0, c.t) || first.Candidates[1].Health != abi.HealthDown || next.Inflight(2) != 1 {
		t.Errorf("%+v, %d in flight", first.Candidates, next.Inflight(2))
	}
	old.Done(0, Outcome{Verdict: Success, TTFT: 100 * time.Millisecond})
	c.t = c.t.Add(Interval)
	if old.Current(c.t) != last {
		t.Error("a Live with a successor publishes on")
	}
	if second := next.Current(c.t); second.Generation != first.Generation+1 || second.Candidates[2].Samples != 1 || next.Inflight(2) != 0 {
		t.Errorf("%+v", second.Candidates)
	}
	if len(numbers) != 4 || numbers[3] != numbers[0]+3 {
		t.Errorf("generations %v", numbers)
	}
}
