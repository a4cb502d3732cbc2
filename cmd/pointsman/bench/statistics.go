package bench

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// median of values, which it leaves as they are; 0 of none.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	default:
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
}

// percentile of sorted durations by the nearest rank: the smallest that at least p of 100 do not exceed; 0 of none.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// perUnit is CPU time in microseconds for each unit of work.
func perUnit(cpu time.Duration, units int) float64 {
	return float64(cpu) / float64(time.Microsecond) / float64(max(units, 1))
}

// ratio of two values, 0 if there is nothing to compare with.
func ratio(value, base float64) float64 {
	if base <= 0 {
		return 0
	}
	return value / base
}

// each is a value of every sample.
func each(samples []sample, value func(sample) float64) []float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = value(s)
	}
	return values
}

// pairs is the median of what is made of rounds that ran one after the other.
func pairs(samples, base []sample, of func(s, base sample) float64) float64 {
	var values []float64
	for i := range min(len(samples), len(base)) {
		values = append(values, of(samples[i], base[i]))
	}
	return median(values)
}

// estimate is a ratio that was measured several times, and what has the true one in it 95 times of 100.
type estimate struct{ ratio, least, most float64 }

// estimated is the median of the means of all two of the values, and of each with itself, and its interval by the ranks of these means (Hodges and Lehmann,
// Estimates of Location Based on Rank Tests, 1963): it needs no normal distribution, and less values than a median does. Of less than five it is all that
// they span.
func estimated(values []float64) estimate {
	var means []float64
	for i, v := range values {
		for _, w := range values[:i+1] {
			means = append(means, math.Sqrt(v*w)) // of ratios
		}
	}
	if len(means) == 0 {
		return estimate{}
	}
	slices.Sort(means)
	n := float64(len(values))
	first := max(int(n*(n+1)/4-1.96*math.Sqrt(n*(n+1)*(2*n+1)/24)), 0)
	return estimate{median(means), means[first], means[len(means)-1-first]}
}

// String is for messages.
func (e estimate) String() string {
	return fmt.Sprintf("%.3f (between %.3f and %.3f)", e.ratio, e.least, e.most)
}

// summarize takes medians over the rounds of one target, and the best round. The ratio is the median of the ratios of rounds that
// ran one after the other, the best ratio that of the two best rounds.
func summarize(w workload, target string, samples, bare []sample) Row {
	perRequest, unit := w.perRequest()
	cpu := func(s sample) float64 { return perUnit(s.cpu, s.requests*perRequest) }
	row := Row{
		Workload: w.title, Target: target, Unit: unit,
		RequestsPerSecond: median(each(samples, func(s sample) float64 { return float64(s.requests) / s.elapsed.Seconds() })),
		P50MS:             median(each(samples, func(s sample) float64 { return milliseconds(s.p50) })),
		P99MS:             median(each(samples, func(s sample) float64 { return milliseconds(s.p99) })),
		UpstreamMicros:    median(each(samples, func(s sample) float64 { return perUnit(s.upstreamCPU, s.requests*perRequest) })),
	}
	for _, s := range samples {
		row.Requests += s.requests
	}
	if target == TargetDirect || len(samples) == 0 {
		return row // nothing stands in between
	}
	row.CPUMicros, row.BestMicros = median(each(samples, cpu)), slices.Min(each(samples, cpu))
	row.Ratio = pairs(samples, bare, func(s, base sample) float64 { return ratio(cpu(s), cpu(base)) })
	if len(bare) > 0 {
		row.BestRatio = ratio(row.BestMicros, slices.Min(each(bare, cpu)))
	}
	return row
}

// summarizeOpen takes medians over the rounds of one target at a fixed rate. What is added is the difference to the upstream itself
// in the same round.
func summarizeOpen(delay time.Duration, target string, samples, direct, bare []sample) OpenRow {
	cpu := func(s sample) float64 { return perUnit(s.cpu, s.requests) }
	p50, p99 := func(s sample) float64 { return milliseconds(s.p50) }, func(s sample) float64 { return milliseconds(s.p99) }
	row := OpenRow{
		UpstreamMS: milliseconds(delay), Target: target,
		P50MS: median(each(samples, p50)), P99MS: median(each(samples, p99)),
		AddedP50MS: pairs(samples, direct, func(s, base sample) float64 { return p50(s) - p50(base) }),
		AddedP99MS: pairs(samples, direct, func(s, base sample) float64 { return p99(s) - p99(base) }),
	}
	if target == TargetDirect {
		row.AddedP50MS, row.AddedP99MS = 0, 0
		return row
	}
	row.CPUMicros = median(each(samples, cpu))
	row.Ratio = pairs(samples, bare, func(s, base sample) float64 { return ratio(cpu(s), cpu(base)) })
	return row
}
