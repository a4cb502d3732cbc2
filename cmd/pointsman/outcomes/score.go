package outcomes

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Swept is the choices of a policy with one set of parameters.
type Swept struct {
	Value   string
	Choices []Choice // one a prompt
}

// AsConfigured is the value of the first setting of a report.
const AsConfigured = "as configured"

// Options are those of scoring.
type Options struct {
	Seed      uint64
	Resamples int // of the bootstrap
}

// Score compares the choices of a policy, the first as configured, with what else could have been chosen. Policy and Outcomes
// of the report are left to the caller.
func (w *World) Score(settings []Swept, o Options) *Report {
	s := newScoring(w, settings)
	all := make([]int, s.prompts)
	for i := range all {
		all[i] = i
	}
	whole := s.measure(all)
	samples := make([]*figures, o.Resamples)
	random := rand.New(rand.NewPCG(o.Seed, 0x0c0ffee))
	drawn := make([]int, s.prompts)
	for b := range samples {
		for i := range drawn {
			drawn[i] = random.IntN(s.prompts)
		}
		samples[b] = s.measure(drawn)
	}
	r := &Report{Prompts: s.prompts, LeftOut: w.Set.LeftOut, Folds: len(w.Snapshots), Seed: o.Seed, Resamples: o.Resamples}
	r.Cheapest, r.Best = w.Set.Models[s.cheapest], w.Set.Models[s.best]
	interval := func(of func(f *figures) float64) Interval { return newInterval(whole, samples, of) }
	single := func(name string, n int) Single {
		return Single{name, interval(func(f *figures) float64 { return f.ways[n].y }), interval(func(f *figures) float64 { return 1000 * f.ways[n].x })}
	}
	for m, name := range w.Set.Models {
		r.Models = append(r.Models, single(name, m))
	}
	r.Oracle = single("", s.oracle)
	for n := range settings {
		at := s.policy + n
		set := describe(w, &settings[n])
		set.Accuracy = interval(func(f *figures) float64 { return f.ways[at].y })
		set.CostPer1000 = interval(func(f *figures) float64 { return 1000 * f.ways[at].x })
		set.Random = interval(func(f *figures) float64 { return f.random.at(f.ways[at].x) })
		set.Gain = interval(func(f *figures) float64 { return f.ways[at].y - f.random.at(f.ways[at].x) })
		r.Settings = append(r.Settings, set)
	}
	r.Tasks, r.FoldParts = s.tasks(o), s.folds()
	r.Curve, r.Pair = s.curve(whole, interval), s.pair(interval)
	for _, set := range r.Settings {
		if r.Curve != nil {
			r.Curve.Lowest = min(r.Curve.Lowest, set.Gain.Value)
		}
	}
	return r
}

// describe counts what became of the prompts under one setting.
func describe(w *World, swept *Swept) Setting {
	set := Setting{Value: swept.Value, Shares: map[string]float64{}}
	for _, c := range swept.Choices {
		set.Cost += c.Cost
		set.Asked += c.Asked
		if c.Model >= 0 {
			set.Shares[w.Set.Models[c.Model]] += 1 / float64(len(swept.Choices))
		}
		if c.Rounds > 1 {
			set.Reviewed++
		}
		switch c.Ending {
		case Rejected:
			set.Rejected++
		case Failed:
			set.Failed++
		}
		if c.Err != nil && set.Error == "" {
			set.Error = c.Err.Error()
		}
	}
	return set
}

// scoring has, for every way of choosing, what each prompt comes to: each model, the oracle, and the policy's settings.
type scoring struct {
	world          *World
	settings       []Swept
	prompts        int
	ways           [][]point // x is cost, y is score, of each prompt
	oracle, policy int       // in ways: the oracle, and the first setting
	cheapest, best int       // models
	strong         [][]bool  // of each setting and prompt: the best model was taken
}

func newScoring(w *World, settings []Swept) *scoring {
	s := &scoring{world: w, settings: settings, prompts: len(w.Set.Prompts), oracle: len(w.Set.Models), policy: len(w.Set.Models) + 1}
	s.ways = make([][]point, s.policy+len(settings))
	for i := range w.Set.Prompts {
		answers := w.Set.Prompts[i].Answers
		best := 0
		for m, a := range answers {
			s.ways[m] = append(s.ways[m], point{a.Cost, a.Score})
			if b := answers[best]; a.Score > b.Score || a.Score == b.Score && a.Cost < b.Cost {
				best = m
			}
		}
		s.ways[s.oracle] = append(s.ways[s.oracle], point{answers[best].Cost, answers[best].Score})
		for n := range settings {
			c := &settings[n].Choices[i]
			s.ways[s.policy+n] = append(s.ways[s.policy+n], point{c.Cost, c.Score})
		}
	}
	s.cheapest, s.best = extremes(s.ways[:s.oracle], nil)
	for n := range settings {
		strong := make([]bool, s.prompts)
		for i, c := range settings[n].Choices {
			strong[i] = c.Model == s.best
		}
		s.strong = append(s.strong, strong)
	}
	return s
}

// extremes are the cheapest model and the best one, over the prompts that are given, or all.
func extremes(models [][]point, prompts []int) (cheapest, best int) {
	sums := make([]point, len(models))
	for m, way := range models {
		sums[m] = mean(way, prompts)
		if sums[m].x < sums[cheapest].x || sums[m].x == sums[cheapest].x && sums[m].y > sums[cheapest].y {
			cheapest = m
		}
		if sums[m].y > sums[best].y || sums[m].y == sums[best].y && sums[m].x < sums[best].x {
			best = m
		}
	}
	return cheapest, best
}

// mean is the mean cost and score over the prompts that are given, or all.
func mean(way []point, prompts []int) (sum point) {
	n := float64(len(way))
	if prompts == nil {
		for _, p := range way {
			sum.x, sum.y = sum.x+p.x, sum.y+p.y
		}
	} else {
		n = float64(len(prompts))
		for _, i := range prompts {
			sum.x, sum.y = sum.x+way[i].x, sum.y+way[i].y
		}
	}
	return point{sum.x / n, sum.y / n}
}

// figures are what one sample of the prompts comes to.
type figures struct {
	ways     []point // mean cost and accuracy
	shares   []float64
	random   chain // the hull of the models: what choosing between them by chance reaches
	curve    chain // the hull of the settings, the cheapest and the best model
	oracular chain // the hull of the oracle and the two
	from, to float64
}

func (s *scoring) measure(prompts []int) *figures {
	f := &figures{}
	for _, way := range s.ways {
		f.ways = append(f.ways, mean(way, prompts))
	}
	for _, strong := range s.strong {
		n := 0
		for _, i := range prompts {
			if strong[i] {
				n++
			}
		}
		f.shares = append(f.shares, float64(n)/float64(len(prompts)))
	}
	f.random = newChain(f.ways[:s.oracle]).hull()
	ends := []point{f.ways[s.cheapest], f.ways[s.best]}
	f.from, f.to = ends[0].x, ends[1].x
	f.curve = newChain(append(slices.Clone(ends), f.ways[s.policy:]...)).hull()
	f.oracular = newChain(append(slices.Clone(ends), f.ways[s.oracle])).hull()
	return f
}

func (s *scoring) curve(whole *figures, interval func(func(*figures) float64) Interval) *Curve {
	if !(whole.from < whole.to) {
		return nil // the best model is the cheapest
	}
	c := &Curve{
		Area:       interval(func(f *figures) float64 { return f.curve.mean(f.from, f.to) }),
		RandomArea: interval(func(f *figures) float64 { return f.random.mean(f.from, f.to) }),
		Gain:       interval(func(f *figures) float64 { return f.curve.mean(f.from, f.to) - f.random.mean(f.from, f.to) }),
		OracleArea: whole.oracular.mean(whole.from, whole.to),
		Lowest:     math.Inf(1),
	}
	const steps = 10
	for i := range steps + 1 {
		x := whole.from + (whole.to-whole.from)*float64(i)/steps
		c.Points = append(c.Points, CurvePoint{1000 * x, whole.curve.at(x), whole.random.at(x)})
	}
	return c
}

func (s *scoring) pair(interval func(func(*figures) float64) Interval) *Pair {
	if len(s.world.Set.Models) != 2 {
		return nil
	}
	weak := 1 - s.best
	if mean(s.ways[weak], nil).y == mean(s.ways[s.best], nil).y {
		return nil // no gap to recover
	}
	recovered := func(f *figures) chain {
		low, gap := f.ways[weak].y, f.ways[s.best].y-f.ways[weak].y
		points := []point{{0, 0}, {1, 1}}
		for n, share := range f.shares {
			points = append(points, point{share, (f.ways[s.policy+n].y - low) / gap})
		}
		return newChain(points)
	}
	return &Pair{
		Weak: s.world.Set.Models[weak], Strong: s.world.Set.Models[s.best],
		APGR:  interval(func(f *figures) float64 { return recovered(f).mean(0, 1) }),
		CPT50: interval(func(f *figures) float64 { return recovered(f).reaches(0.5) }),
		CPT80: interval(func(f *figures) float64 { return recovered(f).reaches(0.8) }),
	}
}

// tasks are the parts of the tasks, of the first setting.
func (s *scoring) tasks(o Options) (parts []TaskPart) {
	for n, task := range s.world.Set.Tasks {
		var prompts []int
		for i := range s.world.Set.Prompts {
			if s.world.Set.Prompts[i].Task == task {
				prompts = append(prompts, i)
			}
		}
		whole := mean(s.ways[s.policy], prompts)
		samples := make([]point, o.Resamples)
		random := rand.New(rand.NewPCG(o.Seed, uint64(n)))
		drawn := make([]int, len(prompts))
		for b := range samples {
			for i := range drawn {
				drawn[i] = prompts[random.IntN(len(prompts))]
			}
			samples[b] = mean(s.ways[s.policy], drawn)
		}
		_, best := extremes(s.ways[:s.oracle], prompts)
		single := mean(s.ways[best], prompts)
		parts = append(parts, TaskPart{
			Task: task, Prompts: len(prompts),
			Accuracy:    newInterval(whole, samples, func(p point) float64 { return p.y }),
			CostPer1000: newInterval(whole, samples, func(p point) float64 { return 1000 * p.x }),
			Best:        s.world.Set.Models[best], BestAccuracy: single.y, BestCost: 1000 * single.x,
			CheapAccuracy: mean(s.ways[s.cheapest], prompts).y, OracleAccuracy: mean(s.ways[s.oracle], prompts).y,
		})
	}
	return parts
}

// folds are the parts of the folds, of the first setting.
func (s *scoring) folds() (parts []FoldPart) {
	for fold := range s.world.Snapshots {
		var prompts []int
		for i, f := range s.world.Folds {
			if f == fold {
				prompts = append(prompts, i)
			}
		}
		f := s.measure(prompts)
		p := f.ways[s.policy]
		parts = append(parts, FoldPart{fold + 1, len(prompts), p.y, 1000 * p.x, f.random.at(p.x)})
	}
	return parts
}

// newInterval is a figure of the whole, and the range that holds the middle 95 % of the samples' (Efron's percentile method).
// Samples in which it is not defined do not count.
func newInterval[T any](whole T, samples []T, of func(T) float64) Interval {
	var values []float64
	for _, s := range samples {
		if v := of(s); !math.IsNaN(v) && !math.IsInf(v, 0) {
			values = append(values, v)
		}
	}
	v := Interval{Value: of(whole)}
	v.Low, v.High = v.Value, v.Value
	if len(values) > 0 {
		slices.Sort(values)
		v.Low, v.High = quantile(values, 0.025), quantile(values, 0.975)
	}
	return v
}

// quantile of sorted values, with the values between two of them on a line.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
