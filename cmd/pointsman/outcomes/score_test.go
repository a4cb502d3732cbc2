package outcomes

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
)

// four is a set of four prompts and two models: the weak one costs 1 and is right twice, the strong one costs 3 and is right
// on every prompt but the last.
func four(t *testing.T) *World {
	t.Helper()
	weak, strong := func(score float64) Answer { return Answer{score, 1, 1, 1} }, func(score float64) Answer { return Answer{score, 1, 1, 3} }
	return world(t, &Set{Models: []string{"strong", "weak"}, Tasks: []string{"s", "t"}, Prompts: []Prompt{
		{"1", "s", "one", []Answer{strong(1), weak(1)}},
		{"2", "s", "two", []Answer{strong(1), weak(0)}},
		{"3", "t", "three", []Answer{strong(1), weak(0)}},
		{"4", "t", "four", []Answer{strong(0), weak(1)}},
	}}, 2)
}

// by are the choices of models by prompt.
func by(w *World, models ...int) []Choice {
	all := make([]Choice, len(models))
	for i, m := range models {
		all[i] = Choice{Ending: Rejected, Model: m}
		if m >= 0 {
			a := w.Set.Prompts[i].Answers[m]
			all[i] = Choice{Ending: Answered, Model: m, Score: a.Score, Cost: a.Cost, Rounds: 1}
		}
	}
	return all
}

// TestScore compares with what a pencil finds.
func TestScore(t *testing.T) {
	w := four(t)
	r := w.Score([]Swept{{AsConfigured, by(w, 1, 0, 1, 1)}, {"k=1", by(w, 1, 0, 0, 1)}, {"k=2", by(w, 1, -1, 0, 1)}}, Options{Seed: 1})
	if r.Cheapest != "weak" || r.Best != "strong" || r.Oracle.Accuracy.Value != 1 || r.Oracle.CostPer1000.Value != 2000 {
		t.Errorf("cheapest %s, best %s, oracle %+v", r.Cheapest, r.Best, r.Oracle)
	}
	for n, want := range []Setting{
		{Value: AsConfigured, Accuracy: flat(0.75), Cost: 6, CostPer1000: flat(1500), Random: flat(0.5625), Gain: flat(0.1875), Shares: map[string]float64{"weak": 0.75, "strong": 0.25}},
		{Value: "k=1", Accuracy: flat(1), Cost: 8, CostPer1000: flat(2000), Random: flat(0.625), Gain: flat(0.375), Shares: map[string]float64{"weak": 0.5, "strong": 0.5}},
		{Value: "k=2", Accuracy: flat(0.75), Cost: 5, CostPer1000: flat(1250), Random: flat(0.53125), Gain: flat(0.21875), Shares: map[string]float64{"weak": 0.5, "strong": 0.25}, Rejected: 1},
	} {
		if !reflect.DeepEqual(r.Settings[n], want) {
			t.Errorf("%+v, want %+v", r.Settings[n], want)
		}
	}
	// The curve goes (1, 0.5), (1.25, 0.75), (2, 1), and on level to 3; the mix from (1, 0.5) to (3, 0.75).
	area := (0.25*0.625 + 0.75*0.875 + 1*1) / 2
	if c := r.Curve; math.Abs(c.Area.Value-area) > 1e-12 || c.RandomArea.Value != 0.625 || c.Lowest != 0.1875 || c.OracleArea != (0.75+1)/2 {
		t.Errorf("%+v, want an area of %v", c, area)
	}
	// The gap recovered goes (0, 0), (0.25, 1), (0.5, 2), (1, 1) over the share of strong calls.
	if p := r.Pair; p.Weak != "weak" || p.APGR.Value != 0.25*0.5+0.25*1.5+0.5*1.5 || p.CPT50.Value != 0.125 || math.Abs(p.CPT80.Value-0.2) > 1e-12 {
		t.Errorf("%+v", p)
	}
	if got := r.Tasks[1]; got.Task != "t" || got.Accuracy.Value != 0.5 || got.CostPer1000.Value != 1000 || got.Best != "weak" || got.BestAccuracy != 0.5 || got.OracleAccuracy != 1 {
		t.Errorf("%+v", got)
	}
	if sum := r.FoldParts[0].Accuracy + r.FoldParts[1].Accuracy; len(r.FoldParts) != 2 || sum != 1.5 {
		t.Errorf("%+v", r.FoldParts)
	}
}

func flat(v float64) Interval { return Interval{v, v, v} }

// TestNothingToTrade: where the best model is the cheapest there is no curve, and without a gap no pair.
func TestNothingToTrade(t *testing.T) {
	w := four(t)
	for i := range w.Set.Prompts {
		w.Set.Prompts[i].Answers[0].Score = w.Set.Prompts[i].Answers[1].Score
	}
	tr, err := Train(w, Fitting{}, 1, Options{Resamples: 10})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := json.Marshal(tr); err != nil {
		t.Errorf("training: %v: %s", err, text)
	}
	r := w.Score([]Swept{{AsConfigured, by(w, 1, 0, 1, 1)}}, Options{Resamples: 10})
	if r.Curve != nil || r.Pair != nil || r.Best != "weak" {
		t.Errorf("%+v", r)
	}
	var text strings.Builder
	if err := r.Write(&text); err != nil || !strings.Contains(text.String(), "there is nothing to trade") {
		t.Errorf("%v: %s", err, &text)
	}
}

// TestIntervals: they hold the true mean about as often as they say, and narrow with the square root of the prompts.
func TestIntervals(t *testing.T) {
	held, widths := 0, map[int]float64{}
	const sets = 40
	for seed := range uint64(sets) {
		for _, n := range []int{100, 400} {
			s := Synthetic(n, seed)
			w := world(t, s, 2)
			choices := make([]int, n)
			a := w.Score([]Swept{{AsConfigured, by(w, choices...)}}, Options{Seed: seed, Resamples: 200}).Settings[0].Accuracy
			widths[n] += (a.High - a.Low) / sets
			if n == 400 && a.Low <= trueLarge && trueLarge <= a.High {
				held++
			}
		}
	}
	if held < 33 {
		t.Errorf("%d of %d intervals of 95 %% hold the true accuracy", held, sets)
	}
	if ratio := widths[100] / widths[400]; ratio < 1.7 || ratio > 2.3 {
		t.Errorf("four times the prompts make intervals narrower by %.2f, not 2", ratio)
	}
}

// trueLarge is the accuracy of syn-large over all synthetic prompts, from a set of two million.
const trueLarge = 0.8953
