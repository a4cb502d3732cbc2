package record

import (
	"cmp"
	"math"
	"slices"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Alternative is one change of the facts that would have made another candidate the first choice.
type Alternative struct {
	Candidate int     // that would have been first
	Of        int     // whose fact it is: the candidate itself, or the one that was first
	Fact      Fact    // that is changed
	From, To  float64 // the least change that is enough, to a thousandth of the way to the furthest one that was tried
}

// Fact is one that [Decision.Nearest] changes.
type Fact string

// The facts. Units are those of sdk/abi.
const (
	FactCredits  Fact = "credits_per_1k" // micro-credits, with the prices in the same ratio
	FactQuality  Fact = "quality"
	FactTTFT     Fact = "ttft_ms"
	FactErrors   Fact = "error_rate"
	FactHealth   Fact = "health"   // to down
	FactExcluded Fact = "excluded" // From is the abi.Reason*: it would have been the first, had the engine offered it
)

// nearestOf is how many candidates are tried, those that the policy scored best first.
const nearestOf = 8

// Nearest finds, for each of the candidates that nearly were the first choice of the last plan, the least change of a single fact that
// would have made it that: it asks the policy again and again, on facts that differ in one number, and halves the way between one
// that is not enough and one that is. f is as for Repeat; verdicts are the policy's, or none. What no single change would have
// done is not listed. The least change, in proportion, comes first.
func (d *Decision) Nearest(f *policy.Facts, verdicts []policy.Verdict, route func(*policy.Facts, *policy.Plan) error) []Alternative {
	if d.Plan.Kind != abi.KindAnswer || len(d.Plan.Steps) == 0 {
		return nil
	}
	n := nearest{route: route, facts: *f, winner: int(d.Plan.Steps[0].Candidate)}
	for i := range d.Outcomes {
		d.Outcomes[i].Key = f.Snapshot.Candidates[d.Outcomes[i].Candidate].Key
		if int(d.Outcomes[i].Round) < len(d.Earlier) {
			n.facts.History = d.Outcomes[:i+1]
		}
	}
	var found []Alternative
	for _, i := range n.order(verdicts) {
		if best, ok := n.least(i); ok {
			found = append(found, best)
		}
	}
	slices.SortStableFunc(found, func(a, b Alternative) int { return cmp.Compare(a.proportion(), b.proportion()) })
	return found
}

// proportion is how large a change is beside what it changes.
func (a *Alternative) proportion() float64 {
	switch a.Fact {
	case FactHealth, FactExcluded:
		return math.Inf(1)
	case FactQuality, FactErrors: // of the whole scale
		return math.Abs(a.To - a.From)
	}
	return math.Abs(a.To-a.From) / max(math.Abs(a.From), 1)
}

type nearest struct {
	route  func(*policy.Facts, *policy.Plan) error
	facts  policy.Facts
	winner int
	plan   policy.Plan
}

// order is the candidates to try: those that may serve by the policy's score, then those that the engine excluded.
func (n *nearest) order(verdicts []policy.Verdict) []int {
	var fit, out []int
	for i, o := range n.facts.Request.Options {
		switch {
		case i == n.winner:
		case o.Excluded == 0:
			fit = append(fit, i)
		case o.Excluded != abi.ReasonMode && o.Excluded != abi.ReasonNotRequested:
			out = append(out, i)
		}
	}
	if len(verdicts) == len(n.facts.Request.Options) {
		slices.SortStableFunc(fit, func(a, b int) int { return cmp.Compare(verdicts[b].Score, verdicts[a].Score) })
	}
	return append(fit[:min(len(fit), nearestOf)], out...)
}

// least is the least change, in proportion, that makes candidate i the first choice.
func (n *nearest) least(i int) (best Alternative, ok bool) {
	if excluded := n.facts.Request.Options[i].Excluded; excluded != 0 {
		return Alternative{Candidate: i, Of: i, Fact: FactExcluded, From: float64(excluded)}, n.offered(i)
	}
	c, w := &n.facts.Snapshot.Candidates[i], &n.facts.Snapshot.Candidates[n.winner]
	for _, try := range []Alternative{
		{i, i, FactCredits, float64(c.CreditsPer1K), 0},
		{i, i, FactQuality, float64(c.Quality), 1},
		{i, i, FactTTFT, float64(c.TTFT), 1},
		{i, i, FactErrors, float64(c.ErrorRate), 0},
		{i, n.winner, FactCredits, float64(w.CreditsPer1K), 10 * float64(w.CreditsPer1K)},
		{i, n.winner, FactQuality, float64(w.Quality), 0},
		{i, n.winner, FactTTFT, float64(w.TTFT), 60_000},
		{i, n.winner, FactErrors, float64(w.ErrorRate), 1},
		{i, n.winner, FactHealth, float64(w.Health), abi.HealthDown},
	} {
		if try.From == try.To || try.Fact == FactTTFT && try.From == 0 || !n.flips(&try) {
			continue
		}
		if try.Fact != FactHealth {
			n.narrow(&try)
		}
		if !ok || try.proportion() < best.proportion() {
			best, ok = try, true
		}
	}
	return best, ok
}

// narrow moves To towards From as far as the change is still enough.
func (n *nearest) narrow(a *Alternative) {
	short, enough := a.From, a.To
	for range 10 {
		middle := *a
		middle.To = (short + enough) / 2
		if n.flips(&middle) {
			enough = middle.To
		} else {
			short = middle.To
		}
	}
	a.To = enough
}

// offered tells whether a candidate that the engine excluded would have been the first choice.
func (n *nearest) offered(i int) bool {
	request := *n.facts.Request
	request.Options = slices.Clone(request.Options)
	request.Options[i].Excluded = 0
	f := n.facts
	f.Request = &request
	return n.first(&f) == i
}

// flips tells whether a change makes its candidate the first choice.
func (n *nearest) flips(a *Alternative) bool {
	s := CloneSnapshot(&n.facts.Snapshot.Snapshot)
	c := &s.Candidates[a.Of]
	switch a.Fact {
	case FactCredits:
		ratio := a.To / max(a.From, 1)
		c.CreditsPer1K = int64(math.Round(a.To))
		for _, price := range [...]*int64{&c.PriceIn, &c.PriceOut, &c.PriceCacheRead} {
			if *price > 0 {
				*price = int64(math.Round(float64(*price) * ratio))
			}
		}
	case FactQuality:
		c.Quality = float32(a.To)
	case FactTTFT:
		c.TTFT = float32(a.To)
	case FactErrors:
		c.ErrorRate = float32(a.To)
	case FactHealth:
		c.Health = uint8(a.To)
	}
	f := n.facts
	f.Snapshot = policy.Publish(s)
	return n.first(&f) == a.Candidate
}

// first is the first choice on some facts, -1 for none.
func (n *nearest) first(f *policy.Facts) int {
	if n.route(f, &n.plan) != nil || n.plan.Kind != abi.KindAnswer || len(n.plan.Steps) == 0 {
		return -1
	}
	return int(n.plan.Steps[0].Candidate)
}
