package storage

import (
	"math"
	"math/bits"
	"time"
)

// Histogram counts durations in fixed buckets: sixteen of equal width in each power of two of microseconds, so that a quantile
// read from them is at most 1/32 off. Two of them add up to what one would have counted of all. The zero value is empty. It is
// not safe for concurrent use.
type Histogram struct {
	first  uint16   // bucket of counts[0]
	counts []uint32 // those of whole powers of two; four billion in a bucket are enough for any summary
}

const (
	bucketBits = 4 // sixteen buckets a power of two
	// HistogramBuckets is how many buckets there are. The last one has everything beyond 18 hours.
	HistogramBuckets = 33 << bucketBits
)

// bucketOf is the bucket of a duration; a negative one counts as zero.
func bucketOf(d time.Duration) uint16 {
	v := uint64(max(0, d.Microseconds()))
	if v < 1<<bucketBits {
		return uint16(v)
	}
	shift := bits.Len64(v) - 1 - bucketBits
	return uint16(min(shift<<bucketBits+int(v>>shift), HistogramBuckets-1))
}

// bucketMiddle is the duration that stands for a bucket.
func bucketMiddle(bucket uint16) time.Duration {
	if bucket < 1<<bucketBits {
		return time.Duration(bucket) * time.Microsecond
	}
	shift := bucket>>bucketBits - 1
	from := uint64(bucket&(1<<bucketBits-1)|1<<bucketBits) << shift
	return time.Duration(from+(1<<shift)/2) * time.Microsecond
}

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) { h.Window(bucketOf(d), 1)[0]++ }

// Window is the counts of the buckets from first on, to be added to until the next call of another method. There must be that many
// buckets.
func (h *Histogram) Window(first uint16, buckets int) []uint32 {
	if at := int(first) - int(h.first); at < 0 || at+buckets > len(h.counts) {
		h.widen(first, first+uint16(buckets))
	}
	return h.counts[first-h.first:][:buckets]
}

// widen makes room for the buckets from..to, without to, and the rest of the powers of two that they are in: what comes next is near.
func (h *Histogram) widen(from, to uint16) {
	if len(h.counts) > 0 {
		from, to = min(from, h.first), max(to, h.first+uint16(len(h.counts)))
	}
	const power = 1 << bucketBits
	from, to = from/power*power, (to+power-1)/power*power
	wider := make([]uint32, to-from)
	if len(h.counts) > 0 {
		copy(wider[h.first-from:], h.counts)
	}
	h.first, h.counts = from, wider
}

// Merge adds everything that another one has counted.
func (h *Histogram) Merge(other *Histogram) {
	if len(other.counts) == 0 {
		return
	}
	window := h.Window(other.first, len(other.counts))
	for i, n := range other.counts {
		window[i] += n
	}
}

// Buckets yields the buckets that have something, in ascending order, with their counts.
func (h *Histogram) Buckets(yield func(bucket uint16, n uint32) bool) {
	for i, n := range h.counts {
		if n > 0 && !yield(h.first+uint16(i), n) {
			return
		}
	}
}

// Count is how many durations were counted.
func (h *Histogram) Count() (n uint64) {
	for _, one := range h.counts {
		n += uint64(one)
	}
	return n
}

// Quantile is the duration that a share q of those counted, 0 < q <= 1, do not exceed, but for the width of a bucket; 0 if none
// were counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(h.Count())))
	seen := uint64(0)
	for bucket, n := range h.Buckets {
		if seen += uint64(n); seen >= rank {
			return bucketMiddle(bucket)
		}
	}
	return 0
}
