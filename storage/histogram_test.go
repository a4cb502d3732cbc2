package storage

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestHistogram: quantiles are at most 1/32 off, below the 5 % that are documented, whatever the durations, and a merged histogram
// equals that of all.
func TestHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() time.Duration{
		"tiny":  func() time.Duration { return time.Duration(r.Int64N(20)) * time.Microsecond },
		"usual": func() time.Duration { return time.Duration(math.Exp(r.NormFloat64()+20)) / 1000 * 1000 },
		"everything": func() time.Duration {
			return time.Duration(r.Int64N(1 << (10 + r.Int64N(36)))).Truncate(time.Microsecond)
		},
		"the same": func() time.Duration { return 1234567 * time.Microsecond },
	} {
		var parts [3]Histogram
		var all []time.Duration
		for range 5000 {
			d := draw()
			all = append(all, d)
			parts[r.IntN(3)].Add(d)
		}
		slices.Sort(all)
		var whole Histogram
		for i := range parts {
			whole.Merge(&parts[i])
		}
		if whole.Count() != uint64(len(all)) {
			t.Fatalf("%s: %d counted", name, whole.Count())
		}
		for _, q := range []float64{0.001, 0.5, 0.95, 0.99, 1} {
			got, want := whole.Quantile(q), all[int(math.Ceil(q*float64(len(all))))-1]
			if off := math.Abs(float64(got - want)); off > float64(want)/32 {
				t.Errorf("%s: quantile %v is %s, exactly %s", name, q, got, want)
			}
		}
	}
	var empty, odd Histogram
	odd.Add(-time.Second)
	odd.Add(math.MaxInt64)
	if empty.Quantile(0.5) != 0 || odd.Quantile(0.5) != 0 || odd.Quantile(1) < 18*time.Hour {
		t.Errorf("%s, %s, %s", empty.Quantile(0.5), odd.Quantile(0.5), odd.Quantile(1))
	}
	for bucket := range uint16(HistogramBuckets) {
		if bucketOf(bucketMiddle(bucket)) != bucket {
			t.Fatalf("the middle of bucket %d is in another", bucket)
		}
	}
}
