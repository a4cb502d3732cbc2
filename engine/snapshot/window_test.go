package snapshot

import (
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }

// A policy leaves out what a generation calls down. With nothing else going on, nothing but the time makes a new one.
func TestOpenCircuitIsTriedAgainWithoutOtherTraffic(t *testing.T) {
	l, c := start()
	l.Start(0)
	l.Done(0, Outcome{Verdict: Broken, Failure: abi.FailureNotFound})
	c.pass(time.Second)
	if got := l.Current(c.t).Candidates[0].Health; got != abi.HealthDown {
		t.Fatalf("health %d", got)
	}
	l.Current(c.t)
	c.pass(firstOpen)
	if got := l.Current(c.t).Candidates[0]; got.Health != abi.HealthUnknown || got.ErrorRate != 0 {
		t.Fatalf("%+v: a generation that says down for ever locks the deployment out", got)
	}
}

func TestStatesHaveReasonsAndTimes(t *testing.T) {
	l, c := start()
	began := c.t
	expect := func(step string, health uint8, reason string, since time.Time) {
		t.Helper()
		if s := l.State(0); s.Health != health || !strings.Contains(s.Reason, reason) || !s.Since.Equal(since) {
			t.Errorf("%s: %s since %v: %q; want %s since %v", step, policy.HealthName(s.Health), s.Since, s.Reason, policy.HealthName(health), since)
		}
	}
	attempt := func(o Outcome) {
		l.Start(0)
		l.Done(0, o)
		c.pass(time.Second)
	}
	expect("at first", abi.HealthUnknown, "no traffic", began)
	answered := c.t
	attempt(Outcome{Verdict: Success})
	expect("after an answer", abi.HealthHealthy, "1 of 1 attempt", answered.Add(time.Second))
	for range 2 {
		attempt(Outcome{Verdict: Success})
	}
	attempt(Outcome{Verdict: Failure, Failure: abi.FailureServer})
	expect("one failure of four", abi.HealthHealthy, "3 of 4 attempts", answered.Add(time.Second))
	attempt(Outcome{Verdict: Failure, Failure: abi.FailureTimeout})
	expect("two of five", abi.HealthDegraded, "2 of 5 attempts in the last 5 minutes failed, the last by: timeout", c.t)
	for range openAfter - 2 {
		attempt(Outcome{Verdict: Failure, Failure: abi.FailureConnect})
	}
	opened := c.t.Add(-time.Second)
	expect("five in a row", abi.HealthDown, "circuit open after 5 failures: connect", opened)
	if s := l.State(0); !s.Retry.Equal(opened.Add(firstOpen)) {
		t.Errorf("retry at %v", s.Retry)
	}
	c.pass(firstOpen)
	expect("after the wait", abi.HealthDegraded, "half open", opened.Add(firstOpen))
	attempt(Outcome{Verdict: Success})
	expect("closed", abi.HealthHealthy, "4 of 4 attempts", c.t)
	c.pass(Window + slotLength)
	l.Current(c.t)
	expect("later", abi.HealthUnknown, "no traffic", c.t)
}

func TestRefusedKeyLeavesTheCircuitAlone(t *testing.T) {
	l, c := start()
	for range 2 * openAfter {
		l.Start(0)
		l.Done(0, Outcome{Verdict: Refused, Failure: abi.FailureAuth})
	}
	if s := l.State(0); !l.Usable(0, c.t) || s.Health != abi.HealthUnknown || l.Current(c.t.Add(Interval)).Candidates[0].ErrorRate != 0 {
		t.Errorf("%+v", s)
	}
	if s := l.Window(0); s.Failures != 2*openAfter {
		t.Errorf("%+v", s)
	}
}

func TestRetryEndsTheWait(t *testing.T) {
	l, c := start()
	l.Start(0)
	l.Done(0, Outcome{Verdict: Broken})
	l.Retry(0)
	if !l.Usable(0, c.t) || l.Current(c.t).Candidates[0].Health != abi.HealthUnknown {
		t.Error("the next request must be let through")
	}
	l.Retry(1) // closed: nothing to do
	if l.Current(c.t).Candidates[1].Health != abi.HealthUnknown {
		t.Error("a closed circuit changed")
	}
}

func TestQuantilesAreExactToSixPerCent(t *testing.T) {
	for _, d := range []time.Duration{0, time.Microsecond, time.Millisecond, 1700 * time.Microsecond, 123 * time.Millisecond, 59 * time.Second, 15 * time.Minute} {
		if got := middle(bucket(d)); math.Abs(float64(got-d)) > max(float64(d)*0.0626, float64(bucketUnit)/2) {
			t.Errorf("%v is in the bucket of %v", d, got)
		}
	}
	if bucket(-time.Second) != 0 || bucket(24*time.Hour) != buckets-1 {
		t.Error("what is out of range belongs to the ends")
	}
	l, c := start()
	random := rand.New(rand.NewPCG(1, 2))
	for _, i := range random.Perm(1000) {
		l.Start(i % 2)
		l.Done(i%2, Outcome{Verdict: Success, TTFT: time.Duration(i) * time.Millisecond, Duration: time.Duration(i+1000) * time.Millisecond, OutputTokens: 50})
		c.pass(time.Millisecond)
	}
	near := func(what string, got, want time.Duration) {
		if math.Abs(float64(got-want)) > 0.07*float64(want) {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	s := l.Window(0, 1)
	near("ttft p50", s.TTFT50, 500*time.Millisecond)
	near("ttft p95", s.TTFT95, 950*time.Millisecond)
	near("latency p50", s.Latency50, 1500*time.Millisecond)
	near("latency p95", s.Latency95, 1950*time.Millisecond)
	if s.Answers != 1000 || s.SuccessRate() != 1 || math.Abs(s.TokensPerSecond-50) > 0.1 {
		t.Errorf("%+v", s)
	}
	c.pass(Window)
	if s := l.Window(0, 1); s != (Stats{}) {
		t.Errorf("the window did not slide: %+v", s)
	}
}

func TestWindowCountsEveryAttemptOfSeveralWriters(t *testing.T) {
	var w window
	at := time.Unix(1_800_000_000, 0)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				now := at.Add(time.Duration(i) * 100 * time.Millisecond) // four slots, entered by all at once
				if g%2 == 0 {
					w.success(now, &Outcome{TTFT: time.Second, Duration: time.Second})
				} else {
					w.failure(now)
				}
			}
		})
	}
	wg.Wait()
	if ok, failed := w.counts(at.Add(100 * time.Second)); ok != 4000 || failed != 4000 {
		t.Errorf("%d answers, %d failures", ok, failed)
	}
}

// Failures that are forgiven leave the window without taking others with them.
func TestForgivenFailuresAreForgivenOnce(t *testing.T) {
	var w window
	at := time.Unix(1_800_000_000, 0)
	for range 100 {
		w.failure(at)
	}
	w.forgive(at.Add(time.Second))
	for minute := range 10 {
		now := at.Add(time.Duration(minute)*time.Minute + 2*time.Second)
		w.failure(now)
		if _, failed := w.counts(now); failed != uint64(min(minute+1, 5)) {
			t.Errorf("%d failures after %d minutes with one each", failed, minute)
		}
	}
}
