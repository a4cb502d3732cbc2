package outcomes

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"

	"github.com/pointsman/pointsman/sdk/policy/difficulty"
)

// Fitting is how a model is fitted. The zero value of a field stands for its default.
type Fitting struct {
	Seed   uint64
	Epochs int     // passes over the prompts; as many as make 40,000 steps, 3 to 20
	Decay  float64 // of weights, towards 0; 0.01
	Rate   float64 // of learning; 0.03
	Worth  float64 // of a good answer, in USD
}

func (f Fitting) withDefaults(prompts int) Fitting {
	if f.Epochs == 0 {
		f.Epochs = min(max(40_000/prompts, 3), 20)
	}
	if f.Decay == 0 {
		f.Decay = 0.01
	}
	if f.Rate == 0 {
		f.Rate = 0.03
	}
	return f
}

// example is one prompt to learn from.
type example struct {
	features []difficulty.Feature
	answers  []Answer // of each model
}

func (w *World) examples() []example {
	all := make([]example, len(w.requests))
	for i, r := range w.requests {
		all[i] = example{difficulty.Features(r.Text, r.Task), w.Set.Prompts[i].Answers}
	}
	return all
}

// fit fits weights and heads to examples: the cross entropy of scores and probabilities, by stochastic gradient descent with
// AdaGrad's step sizes (Duchi, Hazan, Singer 2011, JMLR 12), weights decaying. Scores between 0 and 1 count as that share of
// successes. The result is rounded as the policy's parameters are, and the same for the same input.
func fit(all []example, models []string, o Fitting) *difficulty.Model {
	o = o.withDefaults(len(all))
	weights, squares := make([]float64, difficulty.Slots), make([]float64, difficulty.Slots)
	heads, headSquares := make([]difficulty.Head, len(models)), make([][2]float64, len(models))
	for m, name := range models {
		score, output := 0.0, 0.0
		for _, x := range all {
			score += x.answers[m].Score / float64(len(all))
			output += float64(x.answers[m].Output) / float64(len(all))
		}
		score = min(max(score, 0.01), 0.99)
		heads[m] = difficulty.Head{Name: name, Bias: math.Log(score / (1 - score)), Slope: 1, Output: math.Round(output)}
	}
	random := rand.New(rand.NewPCG(o.Seed, uint64(len(all))))
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	for range o.Epochs {
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			x := &all[i]
			z := 0.0
			for _, f := range x.features {
				z += weights[f.Slot] * f.Value
			}
			slopes := 0.0 // the loss by z
			for m := range heads {
				h := &heads[m]
				wrong := difficulty.Chance(h.LogOdds(z)) - x.answers[m].Score
				slopes -= wrong * h.Slope / float64(len(heads))
				h.Bias -= o.Rate * step(&headSquares[m][0], wrong)
				h.Slope = max(h.Slope-o.Rate*step(&headSquares[m][1], -wrong*z+0.01*(h.Slope-1)), 0)
			}
			for _, f := range x.features {
				weights[f.Slot] -= o.Rate * step(&squares[f.Slot], slopes*f.Value+o.Decay*weights[f.Slot])
			}
		}
	}
	return rounded(weights, heads, o.Worth)
}

// step is a gradient in AdaGrad's measure; squares sums up those that were.
func step(squares *float64, gradient float64) float64 {
	*squares += gradient * gradient
	return gradient / (1e-8 + math.Sqrt(*squares))
}

// rounded are weights as bytes, the largest 127.
func rounded(weights []float64, heads []difficulty.Head, worth float64) *difficulty.Model {
	m := &difficulty.Model{Worth: worth, Heads: heads, Scale: 1}
	if most := math.Max(slices.Max(weights), -slices.Min(weights)); most > 0 {
		m.Scale = most / 127
	}
	for i, w := range weights {
		m.Weights[i] = int8(math.Round(w / m.Scale))
	}
	return m
}

// Training is what came of fitting.
type Training struct {
	Model  *difficulty.Model `json:"-"` // of all prompts
	Worth  float64           `json:"worth_usd"`
	Folds  []TrainedFold     `json:"folds"`
	Report *Report           `json:"held_out"` // of each prompt's choice by a model that has not seen it
}

// TrainedFold is how a model does on the prompts that were kept from it.
type TrainedFold struct {
	Fold    int     `json:"fold"`           // from 1
	Prompts int     `json:"prompts"`        // held out
	Loss    float64 `json:"loss"`           // cross entropy of a score, in nats
	Blind   float64 `json:"loss_of_means"`  // of a model that knows the mean scores alone
	Area    float64 `json:"area,omitempty"` // under accuracy at cost, over all worths; 0 if the best model is the cheapest
	Random  float64 `json:"random_mix_area,omitempty"`
}

// worths are those that training tries: from where the cheapest model is best to where the best one is, in USD. Each is twice
// the one before, and the middle is the cost of a call to the dearest model.
func (w *World) worths() []float64 {
	dearest := 0.0
	for m := range w.Set.Models {
		cost := 0.0
		for i := range w.Set.Prompts {
			cost += w.Set.Prompts[i].Answers[m].Cost / float64(len(w.Set.Prompts))
		}
		dearest = max(dearest, cost)
	}
	if dearest == 0 {
		return []float64{1} // all is free
	}
	all := []float64{0}
	for double := -8; double <= 8; double++ {
		worth, err := strconv.ParseFloat(strconv.FormatFloat(dearest*math.Pow(2, float64(double)), 'g', 3, 64), 64)
		if err == nil {
			all = append(all, worth)
		}
	}
	return all
}

// Train fits the difficulty policy to a set. For each fold a model is fitted to the others and decides about the fold's prompts, at
// many worths of a good answer; then one is fitted to all. If keep is above 0, its worth becomes that of the cheapest held-out choices
// which have keep of the best single model's accuracy, or the largest if none has; otherwise it is that of the fitting.
func Train(w *World, o Fitting, keep float64, score Options) (*Training, error) {
	if !(keep >= 0) || !(o.Worth >= 0) || math.IsInf(o.Worth, 0) {
		return nil, fmt.Errorf("%w: neither a worth nor the accuracy to keep may be below 0", ErrOutcomes)
	}
	t := &Training{Worth: o.Worth}
	all, worths := w.examples(), w.worths()
	swept := []Swept{{Value: AsConfigured}}
	for _, worth := range worths {
		swept = append(swept, Swept{Value: fmt.Sprintf("worth=%v", worth)})
	}
	models := make([]*difficulty.Model, len(w.Snapshots))
	t.Folds = make([]TrainedFold, len(models))
	var fitting sync.WaitGroup
	for fold := range models {
		fitting.Go(func() {
			var seen []example
			for i, x := range all {
				if w.Folds[i] != fold {
					seen = append(seen, x)
				}
			}
			models[fold] = fit(seen, w.Set.Models, o)
			t.Folds[fold] = w.losses(fold, models[fold], all, seen)
		})
	}
	fitting.Wait()
	for n, worth := range worths {
		swept[n+1].Choices = w.choose(models, worth)
	}
	if keep > 0 {
		t.Worth = w.cheapEnough(swept[1:], worths, keep)
	}
	swept[0].Choices = w.choose(models, t.Worth)
	t.Report = w.Score(swept, score)
	w.areas(t.Folds, swept)
	o.Worth = t.Worth
	t.Model = fit(all, w.Set.Models, o)
	return t, nil
}

// choose is what the policy in examples/policies/difficulty does, with a model for each fold.
func (w *World) choose(models []*difficulty.Model, worth float64) []Choice {
	reader := difficulty.NewReader()
	offers := make([][]difficulty.Offer, len(models))
	for fold, m := range models {
		for c := range w.Snapshots[fold].Candidates {
			offers[fold] = append(offers[fold], m.Offer(&w.Snapshots[fold].Candidates[c]))
		}
	}
	all := make([]Choice, len(w.requests))
	for i, r := range w.requests {
		fold := w.Folds[i]
		z := models[fold].Rate(r.Text, r.Task, reader)
		taken, most := 0, float32(math.Inf(-1))
		for c := range offers[fold] {
			if gain := float32(offers[fold][c].Gain(reader, worth, z, float64(r.InputTokens))); gain > most {
				taken, most = c, gain
			}
		}
		a := w.Set.Prompts[i].Answers[taken]
		all[i] = Choice{Ending: Answered, Model: taken, Score: a.Score, Cost: a.Cost, Rounds: 1}
	}
	return all
}

// cheapEnough is the worth of the cheapest choices that keep enough accuracy.
func (w *World) cheapEnough(swept []Swept, worths []float64, keep float64) float64 {
	s := newScoring(w, swept)
	least, cost, found := keep*mean(s.ways[s.best], nil).y, math.Inf(1), worths[len(worths)-1]
	for n, worth := range worths {
		if p := mean(s.ways[s.policy+n], nil); p.y >= least && p.x < cost {
			cost, found = p.x, worth
		}
	}
	return found
}

// losses compare a model with the mean scores of what it has seen.
func (w *World) losses(fold int, m *difficulty.Model, all, seen []example) TrainedFold {
	t := TrainedFold{Fold: fold + 1}
	means := make([]float64, len(w.Set.Models))
	for _, x := range seen {
		for m, a := range x.answers {
			means[m] += a.Score / float64(len(seen))
		}
	}
	reader := difficulty.NewReader()
	n := 0.0
	for i, x := range all {
		if w.Folds[i] != fold {
			continue
		}
		t.Prompts++
		z := m.Rate(w.requests[i].Text, w.requests[i].Task, reader)
		for h := range m.Heads {
			n++
			t.Loss += entropy(x.answers[h].Score, difficulty.Chance(m.Heads[h].LogOdds(z)))
			t.Blind += entropy(x.answers[h].Score, means[h])
		}
	}
	t.Loss, t.Blind = t.Loss/n, t.Blind/n
	return t
}

// entropy is the cross entropy of a score and a probability.
func entropy(score, p float64) float64 {
	p = min(max(p, 1e-6), 1-1e-6)
	return -score*math.Log(p) - (1-score)*math.Log(1-p)
}

// areas fills in the areas of each fold.
func (w *World) areas(folds []TrainedFold, swept []Swept) {
	s := newScoring(w, swept)
	for n := range folds {
		var prompts []int
		for i, fold := range w.Folds {
			if fold == n {
				prompts = append(prompts, i)
			}
		}
		if f := s.measure(prompts); f.from < f.to {
			folds[n].Area, folds[n].Random = f.curve.mean(f.from, f.to), f.random.mean(f.from, f.to)
		}
	}
}
