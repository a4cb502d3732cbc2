package rollout

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// traffic is what requests are like in a simulation, and how the candidate differs.
type traffic struct {
	share             float64 // of the candidate
	cost, ttft        float64 // factors
	errors, fallbacks float64 // what is added to the shares
}

// simulation draws requests: costs are lognormal with a heavy tail (the dearest hundredth is 16 times the median, or more), costs,
// times and fallbacks rise and fall by half over a day of 20,000 requests, and one in two hundred fails.
type simulation struct {
	costs, times [1 << 16]float64
}

func newSimulation() *simulation {
	r := rand.New(rand.NewPCG(1, 2))
	s := &simulation{}
	for i := range s.costs {
		s.costs[i], s.times[i] = 0.002*math.Exp(1.2*r.NormFloat64()), 0.4*math.Exp(0.6*r.NormFloat64())
	}
	return s
}

// run simulates a rollout with the default guards to its verdict.
func (s *simulation) run(x traffic, seed uint64) *Trial {
	r := rand.New(rand.NewPCG(seed, 3))
	p := Plan{Share: x.share}
	if err := p.Check(); err != nil {
		panic(err)
	}
	t := NewTrial(p)
	day := 1.0
	for n := 0; ; n++ {
		if n%200 == 0 {
			day = 1 + 0.5*math.Sin(float64(n)*2*math.Pi/20_000)
		}
		drawn := r.Uint64()
		one := Sample{Candidate: r.Float64() < x.share, First: true, CostUSD: day * s.costs[uint16(drawn)], TTFT: day * s.times[uint16(drawn>>16)]}
		errors, fallbacks := 0.005, 0.02*day
		if one.Candidate {
			one.CostUSD, one.TTFT = one.CostUSD*x.cost, one.TTFT*x.ttft
			errors, fallbacks = errors+x.errors, fallbacks+x.fallbacks
		}
		one.Failed, one.FellBack = r.Float64() < errors, r.Float64() < fallbacks
		t.Observe(&one)
		if one.Candidate && t.Verdict() != Running {
			return t
		}
	}
}

// TestSimulatedRollouts holds the promises of the package's documentation: what is innocent stays, what is worse goes, and in time.
func TestSimulatedRollouts(t *testing.T) {
	sim := newSimulation()
	for _, c := range []struct {
		name        string
		traffic     traffic
		runs        int
		least, most float64 // share of the runs that are rolled back
		within      int     // samples of the candidate, for 99 % of those
	}{
		{"both alike", traffic{0.25, 1, 1, 0, 0}, 1000, 0, Alpha, 0},
		{"as bad as all guards allow", traffic{0.25, 1.1, 1.2, 0.01, 0.02}, 200, 0, Alpha + 0.02, 0}, // and what 200 runs may be off by
		{"cost +30 %", traffic{0.1, 1.3, 1, 0, 0}, 500, 0.99, 1, 6000},
		{"errors 5 %", traffic{0.1, 1, 1, 0.045, 0}, 500, 0.99, 1, 1200},
		{"fallbacks +8 points", traffic{0.1, 1, 1, 0, 0.08}, 200, 0.99, 1, 1200},
		{"first content +60 %", traffic{0.1, 1, 1.6, 0, 0}, 200, 0.99, 1, 1200},
	} {
		t.Run(c.name, func(t *testing.T) {
			trials := make([]*Trial, c.runs)
			var wg sync.WaitGroup
			workers := runtime.GOMAXPROCS(0)
			for w := range workers {
				wg.Go(func() {
					for i := w; i < c.runs; i += workers {
						trials[i] = sim.run(c.traffic, uint64(i+1))
					}
				})
			}
			wg.Wait()
			var broken, all []int
			for _, one := range trials {
				n := one.Arms[candidate].Samples
				if all = append(all, n); one.Verdict() == Broken {
					broken = append(broken, n)
				}
			}
			share := float64(len(broken)) / float64(c.runs)
			slices.Sort(all)
			t.Logf("rolled back %d of %d; ended after %d samples of the candidate (median), %d (99 %%)", len(broken), c.runs, all[len(all)/2], all[len(all)*99/100])
			if share < c.least || share > c.most {
				t.Errorf("%.1f %% are rolled back", 100*share)
			}
			if c.within == 0 {
				return
			}
			late := 0
			for _, n := range broken {
				if n > c.within {
					late++
				}
			}
			if float64(len(broken)-late) < c.least*float64(c.runs) {
				t.Errorf("%d of %d are rolled back within %d samples", len(broken)-late, c.runs, c.within)
			}
		})
	}
}
