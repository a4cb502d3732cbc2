package rollout

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"
)

func TestParseGuard(t *testing.T) {
	for text, want := range map[string]Guard{
		"cost>+10%": {Cost, 0.1}, "errors > 1%": {Errors, 0.01}, "ttft_p95>+20%": {TTFT, 0.2}, "fallbacks>+2.5%": {Fallbacks, 0.025}, "credits>+0%": {Credits, 0},
	} {
		got, err := ParseGuard(text)
		if err != nil || got.Measure != want.Measure || math.Abs(got.Margin-want.Margin) > 1e-12 {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if again, err := ParseGuard(got.String()); err != nil || again != got {
			t.Errorf("%s is written as %s, which reads as %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "cost", "cost>", "cost>+10", "cost>-1%", "costs>+1%", "errors>+100%", "cost>+1001%", "cost>+NaN%", "cost>+Inf%"} {
		if g, err := ParseGuard(text); !errors.Is(err, ErrPlan) {
			t.Errorf("%q: %+v, %v", text, g, err)
		}
	}
}

func TestPlan(t *testing.T) {
	p := Plan{}
	if err := p.Check(); err != nil || p.Share != DefaultShare || p.Min != DefaultMin || p.Max != DefaultMax || len(p.Guards) != 4 || p.Promote != PromoteAuto {
		t.Errorf("%+v, %v", p, err)
	}
	small := Plan{Max: 50}
	if err := small.Check(); err != nil || small.Min != 50 {
		t.Errorf("%+v, %v", small, err)
	}
	none := Plan{Guards: []Guard{}}
	if err := none.Check(); err != nil || len(none.Guards) != 0 {
		t.Errorf("%+v, %v", none, err)
	}
	for _, p := range []Plan{
		{Share: -1}, {Share: 0.95}, {Share: math.NaN()}, {Min: -1}, {Min: 10, Max: 5}, {Max: MaxSample + 1}, {Promote: "soon"}, {Guards: []Guard{{Cost, 0.1}, {Cost, 0.2}}},
	} {
		if err := p.Check(); !errors.Is(err, ErrPlan) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// feed is n requests of each arm in turns.
func feed(r *Run, n int, first uint64, one func(candidate bool) Sample) {
	for i := range n {
		for _, c := range []bool{false, true} {
			s := one(c)
			s.Candidate = c
			r.Observe(first+uint64(2*i), false, s)
		}
	}
}

func newRun(t *testing.T, p Plan) (*Run, chan Verdict) {
	t.Helper()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	verdicts := make(chan Verdict, 10)
	return NewRun(About{Policy: "eco", Salt: 7}, p, func(_ *Run, v Verdict) { verdicts <- v }), verdicts
}

func ended(t *testing.T, verdicts chan Verdict, want Verdict) {
	t.Helper()
	if v := <-verdicts; v != want {
		t.Errorf("verdict %d, not %d", v, want)
	}
}

// TestCostsThatAreAllAlike finds a dearer candidate where every request of an arm costs the same.
func TestCostsThatAreAllAlike(t *testing.T) {
	for _, factor := range []float64{1.3, 2, 100} {
		r, verdicts := newRun(t, Plan{Share: 0.5, Guards: []Guard{{Cost, 0.1}}})
		feed(r, 1000, 0, func(candidate bool) Sample {
			if candidate {
				return Sample{CostUSD: 0.001 * factor}
			}
			return Sample{CostUSD: 0.001}
		})
		ended(t, verdicts, Broken)
		if s := r.Standing(); s.Arms[candidate].Samples > 400 || !s.Figures[0].Broken {
			t.Errorf("x %g is found after %+v, %+v", factor, s.Arms, s.Figures)
		}
	}
}

// TestFreeControl finds a candidate that costs anything where the control is free.
func TestFreeControl(t *testing.T) {
	r, verdicts := newRun(t, Plan{Share: 0.5, Guards: []Guard{{Credits, 0.1}}})
	feed(r, 300, 0, func(candidate bool) Sample {
		if candidate {
			return Sample{Credits: 0.001}
		}
		return Sample{}
	})
	ended(t, verdicts, Broken)
}

func TestPassing(t *testing.T) {
	same := func(bool) Sample { return Sample{CostUSD: 0.001, TTFT: 0.2} }
	t.Run("by the evidence", func(t *testing.T) {
		r, verdicts := newRun(t, Plan{Share: 0.5, Guards: []Guard{{Cost, 0.1}, {Errors, 0.05}}})
		feed(r, 1000, 0, same)
		ended(t, verdicts, Passed)
		if n := r.Standing().Arms[candidate].Samples; n >= 1000 || n < DefaultMin {
			t.Errorf("after %d samples", n)
		}
		if !r.Candidate(0) && !r.Candidate(1) && !r.Candidate(2) && !r.Candidate(3) && !r.Candidate(4) {
			t.Error("one that passed gave its sessions back")
		}
	})
	t.Run("by the greatest sample", func(t *testing.T) {
		r, verdicts := newRun(t, Plan{Share: 0.5, Min: 10, Max: 50})
		feed(r, 60, 0, same)
		ended(t, verdicts, Passed)
		if n := r.Standing().Arms[candidate].Samples; n != 50 {
			t.Errorf("after %d samples", n)
		}
	})
	t.Run("and waiting", func(t *testing.T) {
		r, verdicts := newRun(t, Plan{Share: 0.5, Min: 10, Max: 50, Promote: PromoteManual, Guards: []Guard{{Errors, 0.01}}})
		feed(r, 60, 0, same)
		if s := r.Standing(); !s.Passed || len(verdicts) > 0 {
			t.Errorf("%+v, %d verdicts", s, len(verdicts))
		}
		feed(r, 200, 1000, func(candidate bool) Sample { return Sample{Failed: candidate} })
		ended(t, verdicts, Broken)
		if r.Candidate(0) || r.Candidate(1) || r.Candidate(2) || r.Candidate(3) || r.Candidate(4) {
			t.Error("one that is broken decides on")
		}
	})
	t.Run("and not promoted", func(t *testing.T) {
		r, verdicts := newRun(t, Plan{Share: 0.5, Min: 10, Max: 50, Guards: []Guard{{Errors, 0.01}}})
		feed(r, 60, 0, same)
		ended(t, verdicts, Passed)
		r.Resume()
		feed(r, 60, 500, same)
		if s := r.Standing(); !s.Passed || len(verdicts) > 0 {
			t.Errorf("%+v, %d verdicts", s, len(verdicts))
		}
		feed(r, 200, 1000, func(candidate bool) Sample { return Sample{Failed: candidate} })
		ended(t, verdicts, Broken)
	})
}

// TestUndecided rolls back what cannot decide, whatever the samples are.
func TestUndecided(t *testing.T) {
	r, verdicts := newRun(t, Plan{Min: 100, Guards: []Guard{}})
	bad := func(n int) {
		for range n {
			r.Observe(1, true, Sample{Candidate: true, Undecided: true})
		}
	}
	bad(maxUndecided - 1)
	r.Observe(1, true, Sample{Candidate: true})
	bad(maxUndecided - 1)
	if len(verdicts) > 0 {
		t.Error("rolled back for failures that were not in a row")
	}
	bad(1)
	ended(t, verdicts, Broken)
}

// TestSessions are decided by the same arm for good, in the plan's share, and give one sample each.
func TestSessions(t *testing.T) {
	r, _ := newRun(t, Plan{Share: 0.2})
	other := NewRun(About{Salt: 8}, r.Standing().Plan, nil)
	taken, both := 0, 0
	for unit := range uint64(10_000) {
		is := r.Candidate(unit)
		for range 3 {
			if r.Candidate(unit) != is {
				t.Fatal("a session changed sides")
			}
			r.Observe(unit, true, Sample{Candidate: is, CostUSD: 1, TTFT: 1})
		}
		if is {
			taken++
			if other.Candidate(unit) {
				both++
			}
		}
	}
	if taken < 1800 || taken > 2200 || both < 300 || both > 500 {
		t.Errorf("%d sessions are the candidate's, %d of them also in another rollout", taken, both)
	}
	s := r.Standing()
	if s.Arms[candidate].Requests != 3*taken || s.Arms[candidate].Samples > taken || s.Arms[candidate].Samples < taken*97/100 {
		t.Errorf("%+v of %d sessions", s.Arms, taken)
	}
}

// TestWrittenRun goes on with a run where it was.
func TestWrittenRun(t *testing.T) {
	p := Plan{Share: 0.5}
	one := func(candidate bool) Sample {
		return Sample{CostUSD: 0.001, TTFT: 0.3, FellBack: candidate}
	}
	whole, verdicts := newRun(t, p)
	half, _ := newRun(t, p)
	feed(whole, 150, 0, one)
	feed(half, 150, 0, one)
	half.Observe(77, true, Sample{})
	whole.Observe(77, true, Sample{})
	data, err := json.Marshal(half)
	if err != nil {
		t.Fatal(err)
	}
	again := make(chan Verdict, 1)
	read, err := ReadRun(data, func(_ *Run, v Verdict) { again <- v })
	if err != nil {
		t.Fatal(err)
	}
	if read.About != half.About || !slices.Equal(read.Standing().Figures, half.Standing().Figures) {
		t.Errorf("%+v %+v", read.Standing(), half.Standing())
	}
	feed(whole, 100, 1000, one)
	feed(read, 100, 1000, one)
	read.Observe(77, true, Sample{})
	whole.Observe(77, true, Sample{})
	ended(t, verdicts, Broken)
	ended(t, again, Broken)
	if a, b := read.Standing(), whole.Standing(); a.Arms != b.Arms || a.Why != b.Why {
		t.Errorf("%+v\n%+v", a, b)
	}
	for _, bad := range []string{"", "{}", `{"trial":{"plan":{"guards":["cost>+1%"]}}}`} {
		if _, err := ReadRun([]byte(bad), nil); !errors.Is(err, ErrPlan) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSet(t *testing.T) {
	var none *Set
	var s Set
	if none.Of("eco") != nil || s.Of("eco") != nil || len(s.All()) != 0 {
		t.Error("a rollout out of nothing")
	}
	r, _ := newRun(t, Plan{})
	s.Put(r)
	later, _ := newRun(t, Plan{})
	if s.Of("eco") != r || s.Of("balanced") != nil || s.Remove(later) || !s.Remove(r) || s.Of("eco") != nil {
		t.Error("the set does not hold what was put")
	}
}

func BenchmarkObserve(b *testing.B) {
	p := Plan{Share: 0.1, Min: MaxSample}
	if err := p.Check(); err != nil {
		b.Fatal(err)
	}
	r := NewRun(About{}, p, nil)
	i := 0.0
	for b.Loop() {
		i++
		r.Observe(0, false, Sample{Candidate: math.Mod(i, 10) == 0, CostUSD: math.Mod(i, 97), TTFT: math.Mod(i, 31)})
	}
}
