package rollout

import (
	"fmt"
	"math"
	"slices"
)

const (
	// Alpha is the greatest probability that a candidate which keeps to all guards is rolled back.
	Alpha = 0.01
	// alphaWithin is the greatest probability that a candidate which breaks a guard is promoted before the greatest sample.
	alphaWithin = 0.01
	// maxUndecided is how many decisions in a row may fail: an innocent candidate has none, so that this needs no statistics.
	maxUndecided = 5

	// Costs are cut at so many times this quantile of the control's: where all cost the same, a growth must stay visible.
	boundQuantile, headroom = 0.95, 2
	ttftQuantile            = 0.95
	// leastBound stands in for a bound of 0, where the control costs nothing: any cost of the candidate is beyond it.
	leastBound = 1e-12
	// boundEvery is after how many blocks a bound is taken anew.
	boundEvery = 64
)

// Limits of a plan, and what it has unless said otherwise.
const (
	DefaultShare = 0.05
	MaxShare     = 0.9
	DefaultMin   = 200
	DefaultMax   = 6000
	MaxSample    = 1_000_000
)

// What becomes of a candidate that passed.
const (
	PromoteAuto   = "auto"
	PromoteManual = "manual"
)

// Plan is what an operator wants of a rollout.
type Plan struct {
	Share   float64 `json:"share"` // of the sessions that the candidate decides, above 0 and at most MaxShare
	Guards  []Guard `json:"guards"`
	Min     int     `json:"min_sample"` // samples of the candidate before anything is concluded
	Max     int     `json:"max_sample"` // samples of the candidate after which it has passed
	Promote string  `json:"promote"`    // PromoteAuto, or PromoteManual: one that passed waits for the operator
}

// Check fills in what is left out and says what cannot be right. Errors: ErrPlan.
func (p *Plan) Check() error {
	if p.Share == 0 {
		p.Share = DefaultShare
	}
	if p.Guards == nil {
		p.Guards = DefaultGuards()
	}
	if p.Max == 0 {
		p.Max = max(DefaultMax, p.Min)
	}
	if p.Min == 0 {
		p.Min = min(DefaultMin, p.Max)
	}
	if p.Promote == "" {
		p.Promote = PromoteAuto
	}
	seen := map[Measure]bool{}
	for _, g := range p.Guards {
		if seen[g.Measure] {
			return fmt.Errorf("%w: there are two guards of %s", ErrPlan, g.Measure)
		}
		seen[g.Measure] = true
	}
	switch {
	case !(p.Share > 0 && p.Share <= MaxShare):
		return fmt.Errorf("%w: the share must be above 0 and at most %g %%", ErrPlan, 100*MaxShare)
	case p.Min < 1 || p.Max < p.Min || p.Max > MaxSample:
		return fmt.Errorf("%w: the samples must be 1 <= min <= max <= %d", ErrPlan, MaxSample)
	case p.Promote != PromoteAuto && p.Promote != PromoteManual:
		return fmt.Errorf("%w: promote must be auto or manual", ErrPlan)
	}
	return nil
}

// Sample is what became of one request.
type Sample struct {
	Candidate bool    // else the control decided it
	First     bool    // of its session since the rollout began, or without one: it is tested
	Undecided bool    // the policy failed
	CostUSD   float64 // what providers charge
	Credits   float64 // what the account is charged
	Failed    bool    // it got no answer
	FellBack  bool    // an attempt failed, or the decision
	TTFT      float64 // seconds; 0 if there was none
}

// value is what a guard looks at, false if the sample has none.
func (s *Sample) value(m Measure) (float64, bool) {
	one := func(is bool) (float64, bool) {
		if is {
			return 1, true
		}
		return 0, true
	}
	switch m {
	case Cost:
		return s.CostUSD, true
	case Credits:
		return s.Credits, true
	case Errors:
		return one(s.Failed)
	case Fallbacks:
		return one(s.FellBack)
	default:
		return s.TTFT, s.TTFT > 0
	}
}

// The arms, as indices.
const (
	control = iota
	candidate
	arms
)

// Arm is what is known of one arm.
type Arm struct {
	Requests int `json:"requests"`
	Samples  int `json:"samples"` // of those, how many are tested
}

// Trial is the evidence of one rollout. It can be written and read as JSON. It is not safe for concurrent use.
type Trial struct {
	Plan      Plan      `json:"plan"`
	Arms      [arms]Arm `json:"arms"`      // control, candidate
	Undecided int       `json:"undecided"` // failed decisions of the candidate since the last that did not
	Watches   []watch   `json:"watches"`   // one a guard
}

// watch is what is known about one guard.
type watch struct {
	Sums   [arms]float64 `json:"sums"` // of all samples
	Counts [arms]int     `json:"counts"`
	Block  struct {      // that is not complete yet
		Sums   [arms]float64 `json:"sums"`
		Counts [arms]int     `json:"counts"`
	} `json:"block"`
	Blocks  int          `json:"blocks"`
	Bound   float64      `json:"bound"`   // of the block; 0: not known yet
	Windows [arms]window `json:"windows"` // where a quantile is needed
	Broken  bet          `json:"broken"`  // against the claim that the guard holds
	Within  bet          `json:"within"`  // against the claim that it does not
}

// NewTrial begins a trial by a plan that was checked.
func NewTrial(p Plan) *Trial {
	t := &Trial{Plan: p, Watches: make([]watch, len(p.Guards))}
	for i := range t.Watches {
		t.Watches[i].Broken, t.Watches[i].Within = newBet(), newBet()
	}
	return t
}

// Verdict is what a trial comes to.
type Verdict int

// The verdicts.
const (
	Running Verdict = iota
	Broken          // roll it back
	Passed          // promote it
)

// Observe takes one more request into account.
func (t *Trial) Observe(s *Sample) {
	arm := control
	if s.Candidate {
		arm = candidate
		if t.Undecided++; !s.Undecided {
			t.Undecided = 0
		}
	}
	t.Arms[arm].Requests++
	if !s.First {
		return
	}
	t.Arms[arm].Samples++
	for i, g := range t.Plan.Guards {
		if v, ok := s.value(g.Measure); ok {
			t.Watches[i].add(g, arm, v)
		}
	}
}

// Verdict is what the evidence so far comes to; it may be asked at any time, and after every request.
func (t *Trial) Verdict() Verdict {
	if t.Undecided >= maxUndecided {
		return Broken
	}
	n := t.Arms[candidate].Samples
	if n < t.Plan.Min {
		return Running
	}
	within := len(t.Watches) > 0
	for i := range t.Watches {
		if t.breaks(i) {
			return Broken
		}
		within = within && t.Watches[i].Within.wealth() >= 1/alphaWithin
	}
	if within || n >= t.Plan.Max {
		return Passed
	}
	return Running
}

func (t *Trial) breaks(i int) bool {
	return t.Watches[i].Broken.wealth() >= float64(len(t.Watches))/Alpha
}

// add takes a value of one arm.
func (w *watch) add(g Guard, arm int, v float64) {
	w.Sums[arm] += v
	w.Counts[arm]++
	b := &w.Block
	if g.Measure.relative() {
		if b.Counts == [arms]int{} { // what a block is measured by is known before it begins
			w.measure(g)
		}
		w.Windows[arm].add(v)
		if w.Bound == 0 {
			return
		}
		v = w.scaled(g, arm, v)
	}
	b.Sums[arm] += v
	if b.Counts[arm]++; b.Counts[control] == 0 || b.Counts[candidate] == 0 {
		return
	}
	w.settle(g, b.Sums[candidate]/float64(b.Counts[candidate]), b.Sums[control]/float64(b.Counts[control]))
	b.Sums, b.Counts = [arms]float64{}, [arms]int{}
	w.Blocks++
}

// measure takes the bound of the next blocks from the control.
func (w *watch) measure(g Guard) {
	c := &w.Windows[control]
	switch {
	case len(c.Values) < warm || w.Bound > 0 && w.Blocks%boundEvery != 0:
	case g.Measure == TTFT:
		w.Bound = max(c.quantile(ttftQuantile), leastBound)
	default:
		w.Bound = max(headroom*c.quantile(boundQuantile), leastBound)
	}
}

// scaled brings a value between 0 and 1.
func (w *watch) scaled(g Guard, arm int, v float64) float64 {
	if g.Measure != TTFT {
		return math.Min(v/w.Bound, 1)
	}
	if arm == control && v > w.Bound || arm == candidate && v > (1+g.Margin)*w.Bound {
		return 1
	}
	return 0
}

// settle is a complete block, with the means of its arms, both between 0 and 1.
func (w *watch) settle(g Guard, x, y float64) {
	switch {
	case g.Measure == TTFT: // the margin is in x
		w.Broken.add(x-y, -1)
		w.Within.add(y-x, -1)
	case g.Measure.relative():
		w.Broken.add(x-(1+g.Margin)*y, -1-g.Margin)
		w.Within.add((1+g.Margin)*y-x, -1)
	default:
		w.Broken.add(x-y-g.Margin, -1-g.Margin)
		w.Within.add(y+g.Margin-x, g.Margin-1)
	}
}

// Figure is one guard with what it has seen.
type Figure struct {
	Guard     Guard   `json:"guard"`
	Control   float64 `json:"control"` // dollars or credits a request, a share, or seconds; 0 if there is nothing yet
	Candidate float64 `json:"candidate"`
	// Chance is at least the probability that a candidate which keeps to the guard ever looks as bad as this, and Doubt that one
	// which does not looks as good.
	Chance float64 `json:"chance"`
	Doubt  float64 `json:"doubt"`
	Broken bool    `json:"broken"`
}

// Figures tell where the trial stands, in the order of the guards.
func (t *Trial) Figures() []Figure {
	all := make([]Figure, len(t.Watches))
	for i := range t.Watches {
		w, g := &t.Watches[i], t.Plan.Guards[i]
		all[i] = Figure{
			Guard: g, Control: w.shown(g, control), Candidate: w.shown(g, candidate), Chance: w.Broken.chance(), Doubt: w.Within.chance(), Broken: t.breaks(i),
		}
	}
	return all
}

func (w *watch) shown(g Guard, arm int) float64 {
	if g.Measure == TTFT {
		return w.Windows[arm].quantile(ttftQuantile)
	}
	return w.Sums[arm] / float64(max(1, w.Counts[arm]))
}

// Why says in a line what the verdict rests on.
func (t *Trial) Why() string {
	sample := fmt.Sprintf("after %d samples of the candidate and %d of the control", t.Arms[candidate].Samples, t.Arms[control].Samples)
	figures := t.Figures()
	broken := slices.IndexFunc(figures, func(f Figure) bool { return f.Broken })
	switch {
	case t.Undecided >= maxUndecided:
		return fmt.Sprintf("%d decisions in a row failed", t.Undecided)
	case broken >= 0:
		return "guard " + figures[broken].String() + ", " + sample
	}
	text := "no guard was broken " + sample
	for _, f := range figures {
		text += "; " + f.String()
	}
	return text
}

// String tells the figures of a guard.
func (f Figure) String() string {
	return fmt.Sprintf("%s: %s, control %s, chance %.2g", f.Guard, f.Show(f.Candidate), f.Show(f.Control), f.Chance)
}

// Show is a value of the guard with its unit.
func (f Figure) Show(v float64) string {
	switch {
	case f.Guard.Measure == Cost:
		return fmt.Sprintf("$%.4g", v)
	case f.Guard.Measure == TTFT:
		return fmt.Sprintf("%.3g s", v)
	case f.Guard.Measure == Credits:
		return fmt.Sprintf("%.4g credits", v)
	}
	return fmt.Sprintf("%.3g %%", 100*v)
}
