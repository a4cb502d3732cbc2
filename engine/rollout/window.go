package rollout

import "slices"

const (
	// windowSize is how many of the last values a window holds.
	windowSize = 512
	// warm is how many values of the control a bound is taken from at least; what came before is not tested.
	warm = 100
)

// window is the last values of one arm.
type window struct {
	Values []float64 `json:"values"`
	Next   int       `json:"next"`
}

func (w *window) add(v float64) {
	if len(w.Values) < windowSize {
		w.Values = append(w.Values, v)
		return
	}
	w.Values[w.Next] = v
	w.Next = (w.Next + 1) % windowSize
}

// quantile is the smallest value that has a share q of the values at or below it; 0 without values.
func (w *window) quantile(q float64) float64 {
	if len(w.Values) == 0 {
		return 0
	}
	sorted := slices.Clone(w.Values)
	slices.Sort(sorted)
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
