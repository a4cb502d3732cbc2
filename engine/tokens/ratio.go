package tokens

import (
	"math"
	"sync/atomic"
)

const (
	// smoothing is how much of the way a ratio goes to what was observed last.
	smoothing = 1.0 / 16
	// fewTokens is below how many tokens an observation says more about what is put around a text than about the text.
	fewTokens = 200
	// lowest and highest bound a ratio: what is observed beyond them is not about the vocabulary.
	lowest, highest = 0.5, 2.0
)

// Ratio is what a model's provider reports, over what we count: smoothed, from 0.5 to 2, and 1 before anything was observed.
// The zero Ratio is ready for use, and safe for concurrent use.
type Ratio struct{ bits atomic.Uint64 }

// Observe takes in one answered request. Small ones are ignored.
func (r *Ratio) Observe(counted, reported int64) {
	if counted < fewTokens || reported <= 0 {
		return
	}
	seen := min(max(float64(reported)/float64(counted), lowest), highest)
	for {
		old := r.bits.Load()
		ratio := value(old)
		if r.bits.CompareAndSwap(old, math.Float64bits(ratio+(seen-ratio)*smoothing)) {
			return
		}
	}
}

// Apply corrects a count, rounding up.
func (r *Ratio) Apply(counted int64) int64 {
	return int64(math.Ceil(float64(counted)*value(r.bits.Load()) - 1e-9))
}

func value(bits uint64) float64 {
	if bits == 0 {
		return 1
	}
	return math.Float64frombits(bits)
}
