package bench

import (
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

// summarize takes the medians over the rounds of one target. The ratio is the median of the ratios of rounds that ran one
// after the other.
func summarize(w workload, target string, samples, bare []sample) Row {
	perRequest, unit := w.perRequest()
	of := func(value func(sample) float64) float64 {
		values := make([]float64, len(samples))
		for i, s := range samples {
			values[i] = value(s)
		}
		return median(values)
	}
	cpu := func(s sample) float64 { return perUnit(s.cpu, s.requests*perRequest) }
	row := Row{
		Workload: w.title, Target: target, Unit: unit,
		RequestsPerSecond: of(func(s sample) float64 { return float64(s.requests) / s.elapsed.Seconds() }),
		P50MS:             of(func(s sample) float64 { return milliseconds(s.p50) }),
		P99MS:             of(func(s sample) float64 { return milliseconds(s.p99) }),
		UpstreamMicros:    of(func(s sample) float64 { return perUnit(s.upstreamCPU, s.requests*perRequest) }),
	}
	for _, s := range samples {
		row.Requests += s.requests
	}
	if target == TargetDirect {
		return row // nothing stands in between
	}
	row.CPUMicros = of(cpu)
	var ratios []float64
	for i := range min(len(samples), len(bare)) {
		if base := cpu(bare[i]); base > 0 {
			ratios = append(ratios, cpu(samples[i])/base)
		}
	}
	row.Ratio = median(ratios)
	return row
}
