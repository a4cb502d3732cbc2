package policies

import (
	"flag"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/hostile"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

// attackRounds is set for the long run, whose figures are in docs/hostile-policies.md: -attack.rounds=1000.
var attackRounds = flag.Int("attack.rounds", 0, "how often TestUnderAttack goes through the attacks; 0: for two seconds")

// healthy asks an ordinary policy about twenty requests a millisecond, and takes the times.
type healthy struct {
	host     *Host
	restless bool // it does not wait between requests
	times    []time.Duration
	worst    time.Duration // between two decisions that should have been a millisecond apart
	err      error
}

// serve decides until stop is closed.
func (s *healthy) serve(stop <-chan struct{}) {
	random := policytest.NewRandom(7)
	snap := random.Snapshot(47)
	var requests []*policy.Request
	for range 200 {
		requests = append(requests, random.Request(snap))
	}
	var plan policy.Plan
	s.times, s.worst = make([]time.Duration, 0, 1<<17), 0
	last := time.Now()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		start := time.Now()
		_, err := s.host.Route("healthy", &policy.Facts{Snapshot: snap, Request: requests[n%len(requests)]}, &plan)
		end := time.Now()
		if err != nil {
			s.err = err
		}
		if len(s.times) < cap(s.times) {
			s.times = append(s.times, end.Sub(start))
		} else { // the last ones: the memory is measured too
			s.times[n%len(s.times)] = end.Sub(start)
		}
		s.worst = max(s.worst, end.Sub(last))
		last = end
		if n%20 == 0 && !s.restless {
			time.Sleep(time.Millisecond)
		}
	}
}

func percentile(times []time.Duration, of float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[int(float64(len(times)-1)*of)]
}

// pauses is the histogram of the collector's pauses.
func pauses() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	h := sample[0].Value.Float64Histogram()
	return &metrics.Float64Histogram{Counts: slices.Clone(h.Counts), Buckets: slices.Clone(h.Buckets)}
}

// longest is the upper bound of the longest pause since before, and how many there were, and how many of over ten
// milliseconds.
func longest(before, after *metrics.Float64Histogram) (most time.Duration, count, over uint64) {
	for i := range after.Counts {
		n := after.Counts[i] - before.Counts[i]
		if count += n; n == 0 {
			continue
		}
		bound := after.Buckets[i+1]
		if math.IsInf(bound, 1) {
			bound = after.Buckets[i]
		}
		most = time.Duration(bound * float64(time.Second))
		if most > 11*time.Millisecond { // the bucket that holds ten ends there
			over += n
		}
	}
	return most, count, over
}

// resident is the memory of the process in bytes; 0 where the system does not say.
func resident() int {
	for range 3 { // compiled code and instances have finalizers
		debug.FreeOSMemory()
		time.Sleep(10 * time.Millisecond)
	}
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.Atoi(strings.Fields(string(text))[1])
	return pages * os.Getpagesize()
}

// TestUnderAttack goes through all attacks again and again while an ordinary policy of the same host decides, and the
// collector runs without a rest.
func TestUnderAttack(t *testing.T) {
	host := testHost(t, Config{})
	if _, err := host.Load("healthy", builtin.Modules()["eco"], Settings{}); err != nil {
		t.Fatal(err)
	}
	var attackers, refused []*attacker
	for _, attack := range hostile.Set() {
		a := &attacker{Attack: attack, host: host}
		if a.When == hostile.AtLoad {
			refused = append(refused, a)
		} else {
			attackers = append(attackers, a)
		}
	}
	load := func() {
		for _, a := range attackers {
			if err := a.load(); err != nil {
				t.Fatalf("%s: %v", a.Name, err)
			}
		}
	}
	unload := func() {
		for _, a := range attackers {
			host.Unload(a.Name)
		}
	}
	quiet, attacked := &healthy{host: host}, &healthy{host: host}
	start := pauses()
	during(quiet, func() { // what two busy processors cost without an attack
		stop := make(chan struct{})
		time.AfterFunc(time.Duration(1+*attackRounds/100)*time.Second, func() { close(stop) })
		(&healthy{host: host, restless: true}).serve(stop)
	})
	still, stillCount, stillOver := longest(start, pauses())
	strike := func() {
		for _, a := range attackers {
			if err := a.check(a.strike()); err != nil {
				t.Error(err)
			}
			if err := a.behave(); err != nil && a.Want != hostile.Status {
				t.Errorf("%s, then an ordinary request: %v", a.Name, err)
			}
			a.host.forgive(a.Name)
		}
	}
	load()
	strike() // what the first time needs stays
	unload()
	memory := resident()
	load()
	before := pauses()
	rounds, strikes := 0, 0
	during(attacked, func() {
		for start := time.Now(); rounds < *attackRounds || *attackRounds == 0 && time.Since(start) < 2*time.Second; rounds++ {
			strike()
			strikes += len(attackers)
			if a := refused[rounds%len(refused)]; rounds%100 == 0 {
				if err := a.check(a.load()); err != nil {
					t.Error(err)
				}
				host.Unload(a.Name)
			}
			if t.Failed() {
				return
			}
		}
	})
	most, collections, over := longest(before, pauses())
	worst := map[string]int64{}
	for _, a := range attackers {
		info, _ := host.Info(a.Name)
		worst[a.Name] = info.LastFuel
	}
	unload()
	grown := resident() - memory
	p99, calm := percentile(attacked.times, 0.99), percentile(quiet.times, 0.99)
	t.Logf("figure: %d rounds, %d strikes", rounds, strikes)
	t.Logf("figure: pauses of the collector: %d without an attack, at most %v, %d over 10 ms; %d under attack, at most %v, %d over 10 ms",
		stillCount, still, stillOver, collections, most, over)
	t.Logf("figure: ordinary policy: p50 %v and p99 %v without an attack, p50 %v and p99 %v under attack; longest gap %v and %v",
		percentile(quiet.times, 0.5), calm, percentile(attacked.times, 0.5), p99, quiet.worst, attacked.worst)
	t.Logf("figure: memory %d MiB before, %d KiB more after", memory>>20, grown>>10)
	if quiet.err != nil || attacked.err != nil {
		t.Error(quiet.err, attacked.err)
	}
	if most > 500*time.Millisecond { // the bound is 10 ms on a machine that does nothing else
		t.Errorf("the collector waited %v", most)
	}
	if grown > 16<<20 && !raceEnabled() {
		t.Errorf("%d bytes of memory did not come back", grown)
	}
	for name, fuel := range worst {
		if fuel > 2*DefaultFuel {
			t.Errorf("%s burnt %d", name, fuel)
		}
	}
}

// during runs what is to be measured while the ordinary policy decides and the collector runs.
func during(s *healthy, run func()) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { s.serve(stop) })
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				runtime.GC()
			}
		}
	})
	run()
	close(stop)
	wg.Wait()
}

// forgive ends the suspension of a policy that never does well.
func (h *Host) forgive(name string) {
	if m := (*h.modules.Load())[name]; m != nil {
		m.mu.Lock()
		m.inARow = 0
		m.mu.Unlock()
	}
}
