package snapshot

import (
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/policy"
)

// BenchmarkStartDone is what an attempt costs here: on one goroutine, and on all at one deployment.
func BenchmarkStartDone(b *testing.B) {
	outcome := Outcome{Verdict: Success, TTFT: 120 * time.Millisecond, Duration: 1400 * time.Millisecond, OutputTokens: 180, End: time.Now()}
	b.Run("alone", func(b *testing.B) {
		l := New(make([]policy.Candidate, 60), time.Now, nil)
		b.ReportAllocs()
		for i := range b.N {
			l.Start(i % 60)
			l.Done(i%60, outcome)
		}
	})
	b.Run("contended", func(b *testing.B) {
		l := New(make([]policy.Candidate, 60), time.Now, nil)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l.Start(0)
				l.Done(0, outcome)
			}
		})
	})
}

// BenchmarkGeneration is what publishing costs, which happens at most every [Interval].
func BenchmarkGeneration(b *testing.B) {
	l := New(make([]policy.Candidate, 60), time.Now, nil)
	for i := range 60 {
		l.Start(i)
		l.Done(i, Outcome{Verdict: Success, TTFT: time.Millisecond, Duration: time.Second})
	}
	b.ReportAllocs()
	for range b.N {
		l.next(1)
	}
}
