package snapshot

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	slotLength = 30 * time.Second
	slotCount  = 10
	// Window is how far back success rates and quantiles look.
	Window = slotCount * slotLength

	bucketUnit = 125 * time.Microsecond // the first eight buckets are as wide; from 1 ms on there are eight to an octave
	buckets    = 176                    // to 17 minutes; what is longer is in the last one
)

// window counts the attempts of the last five minutes in slots of half a minute. A slot that is over is replaced by a fresh
// one, never emptied, so that writers need no lock and lose no count: one that is late counts in a slot nobody reads.
type window struct {
	slots [slotCount]atomic.Pointer[slot]
}

type slot struct {
	number  int64 // of the half minute since 1970
	ok      atomic.Uint32
	failed  atomic.Uint32
	refused atomic.Uint32 // for a reason of the key's
	past    atomic.Uint32 // of the failures, those that count no more
	tokens  atomic.Int64  // of answers that were measured
	writing atomic.Int64  // nanoseconds they took after their first token
	ttft    [buckets]atomic.Uint32
	total   [buckets]atomic.Uint32
}

// at is the slot of a moment.
func (w *window) at(now time.Time) *slot {
	number := nanos(now) / int64(slotLength)
	at := &w.slots[number%slotCount]
	for {
		s := at.Load()
		if s != nil && s.number >= number { // a clock that was set back counts where it was
			return s
		}
		if fresh := (&slot{number: number}); at.CompareAndSwap(s, fresh) {
			return fresh
		}
	}
}

// success counts an answer.
func (w *window) success(now time.Time, o *Outcome) {
	s := w.at(now)
	s.ok.Add(1)
	if o.Duration > 0 {
		s.total[bucket(o.Duration)].Add(1)
	}
	if o.TTFT > 0 {
		s.ttft[bucket(o.TTFT)].Add(1)
	}
	if writing := o.Duration - o.TTFT; o.OutputTokens > 1 && writing > 0 {
		s.tokens.Add(o.OutputTokens)
		s.writing.Add(int64(writing))
	}
}

func (w *window) failure(now time.Time) { w.at(now).failed.Add(1) }
func (w *window) refusal(now time.Time) { w.at(now).refused.Add(1) }

// forgive has the failures so far count no more.
func (w *window) forgive(now time.Time) {
	oldest := nanos(now)/int64(slotLength) - slotCount
	for i := range w.slots {
		if s := w.slots[i].Load(); s != nil && s.number > oldest {
			s.past.Store(s.failed.Load())
		}
	}
}

// counts is how many attempts of the window succeeded and failed, without those that are forgiven or that a key was the reason of.
func (w *window) counts(now time.Time) (ok, failed uint64) {
	oldest := nanos(now)/int64(slotLength) - slotCount
	for i := range w.slots {
		if s := w.slots[i].Load(); s != nil && s.number > oldest {
			ok += uint64(s.ok.Load())
			past := s.past.Load() // first: failures only become more
			failed += uint64(s.failed.Load() - past)
		}
	}
	return ok, failed
}

// Stats are the attempts of one or more deployments in the last five minutes. Quantiles are those of answers, exact to
// about six per cent; they are 0 without any.
type Stats struct {
	Answers, Failures    uint64
	TTFT50, TTFT95       time.Duration // to the first token
	Latency50, Latency95 time.Duration // to the last byte
	TokensPerSecond      float64       // after the first token
}

// SuccessRate is the share of answers, 0 if nothing was tried.
func (s *Stats) SuccessRate() float64 {
	if s.Answers == 0 {
		return 0
	}
	return float64(s.Answers) / float64(s.Answers+s.Failures)
}

// sums adds up slots.
type sums struct {
	ok, failed      uint64
	tokens, writing int64
	ttft, total     [buckets]uint64
}

func (a *sums) add(w *window, now time.Time) {
	oldest := nanos(now)/int64(slotLength) - slotCount
	for i := range w.slots {
		s := w.slots[i].Load()
		if s == nil || s.number <= oldest {
			continue
		}
		a.ok += uint64(s.ok.Load())
		a.failed += uint64(s.failed.Load()) + uint64(s.refused.Load())
		a.tokens += s.tokens.Load()
		a.writing += s.writing.Load()
		for b := range buckets {
			a.ttft[b] += uint64(s.ttft[b].Load())
			a.total[b] += uint64(s.total[b].Load())
		}
	}
}

func (a *sums) stats() Stats {
	s := Stats{
		Answers: a.ok, Failures: a.failed,
		TTFT50: quantile(&a.ttft, 0.5), TTFT95: quantile(&a.ttft, 0.95),
		Latency50: quantile(&a.total, 0.5), Latency95: quantile(&a.total, 0.95),
	}
	if a.writing > 0 {
		s.TokensPerSecond = float64(a.tokens) / time.Duration(a.writing).Seconds()
	}
	return s
}

// bucket is the number of a duration's bucket.
func bucket(d time.Duration) int {
	v := uint64(max(d, 0) / bucketUnit)
	if v < 8 {
		return int(v)
	}
	n := bits.Len64(v)
	return min((n-3)*8+int(v>>(n-4)&7), buckets-1)
}

// middle is a duration in the middle of a bucket.
func middle(b int) time.Duration {
	if b < 8 {
		return time.Duration(b)*bucketUnit + bucketUnit/2
	}
	width := uint64(1) << (b/8 - 1)
	return time.Duration((8+uint64(b%8))*width)*bucketUnit + time.Duration(width)*bucketUnit/2
}

// quantile is the duration that the share q does not exceed.
func quantile(counts *[buckets]uint64, q float64) time.Duration {
	total := uint64(0)
	for _, n := range counts {
		total += n
	}
	if total == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(total)))
	for b, n := range counts {
		if rank <= n {
			return middle(b)
		}
		rank -= n
	}
	return middle(buckets - 1)
}
