package bench

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{5, 1, 3}, 3}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		sorted []time.Duration
		p      int
		want   time.Duration
	}{{nil, 50, 0}, {hundred[:1], 99, 1}, {hundred[:2], 50, 1}, {hundred[:2], 51, 2}, {hundred, 50, 50}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred[:10], 99, 10}} {
		if got := percentile(c.sorted, c.p); got != c.want {
			t.Errorf("percentile %d of %d values = %d, want %d", c.p, len(c.sorted), got, c.want)
		}
	}
}

// A machine that slows down between rounds changes the times, not the ratio.
func TestSummarizeTakesRatiosWithinRounds(t *testing.T) {
	round := func(cpu, upstream time.Duration) sample {
		return sample{requests: 1000, elapsed: time.Second, cpu: cpu, upstreamCPU: upstream, p50: time.Millisecond, p99: 3 * time.Millisecond}
	}
	bare := []sample{round(20*time.Millisecond, 0), round(40*time.Millisecond, 0), round(80*time.Millisecond, 0)}
	ours := []sample{round(60*time.Millisecond, 8*time.Millisecond), round(120*time.Millisecond, 10*time.Millisecond), round(240*time.Millisecond, 12*time.Millisecond)}
	got := summarize(workloads[0], TargetGateway, ours, bare)
	want := Row{
		Workload: "chat, 2 KB prompt", Target: TargetGateway, Requests: 3000, RequestsPerSecond: 1000, P50MS: 1, P99MS: 3,
		Unit: "request", CPUMicros: 120, BestMicros: 60, Ratio: 3, BestRatio: 3, UpstreamMicros: 10,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if open := summarizeOpen(time.Millisecond, TargetGateway, ours, bare, bare); open.UpstreamMS != 1 || open.AddedP50MS != 0 || open.Ratio != 3 || open.CPUMicros != 120 {
		t.Errorf("at a fixed rate %+v", open)
	}
	if direct := summarize(workloads[0], TargetDirect, bare, bare); direct.CPUMicros != 0 || direct.Ratio != 0 {
		t.Errorf("the upstream itself has %v us and ratio %v in front of it", direct.CPUMicros, direct.Ratio)
	}
	stream := workload{title: "s", stream: true}
	if got := summarize(stream, TargetProxy, bare, bare); math.Abs(got.CPUMicros-0.4) > 1e-9 || got.Unit != "chunk" || got.Ratio != 1 {
		t.Errorf("a stream costs %v us a %s, ratio %v", got.CPUMicros, got.Unit, got.Ratio)
	}
}

// Of ratios whose logarithms are spread alike, with an outlier now and then, 95 of 100 intervals have the true one in them.
func TestEstimated(t *testing.T) {
	if got := estimated([]float64{1, 4}); got != (estimate{2, 1, 4}) {
		t.Errorf("of two values %v", got)
	}
	if got := estimated(nil); got != (estimate{}) {
		t.Errorf("of none %v", got)
	}
	random, within, width := rand.New(rand.NewPCG(1, 1)), 0, 0.0
	const trials = 2000
	for range trials {
		var values []float64
		for range 10 {
			spread := 0.04
			if random.IntN(20) == 0 {
				spread = 0.3
			}
			values = append(values, 1.1*math.Exp(spread*random.NormFloat64()))
		}
		e := estimated(values)
		if e.least > e.ratio || e.ratio > e.most {
			t.Fatalf("%v of %v", e, values)
		}
		if width += (e.most - e.least) / trials; e.least <= 1.1 && 1.1 <= e.most {
			within++
		}
	}
	if share := float64(within) / trials; share < 0.93 || share > 0.97 || width > 0.12 {
		t.Errorf("%.3f of the intervals have the ratio in them, their width is %.3f", share, width)
	}
}
