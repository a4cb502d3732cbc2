package main

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/difficulty"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

func TestContract(t *testing.T) { policytest.Run(t, policytest.Policy(t, newPolicy(), nil)) }

// three models cost 0.4, 4 and 40 thousandths of a dollar for the situation's request.
func three() *policy.Facts {
	price := func(usd int64) policy.Candidate {
		return policy.Candidate{PriceIn: usd * 800_000, PriceOut: usd * 800_000}
	}
	small, medium, large := price(1), price(10), price(100)
	small.ModelName, small.Quality = "small", 0.65
	medium.ModelName, medium.Quality = "medium", 0.9
	large.ModelName, large.Quality = "large", 0.98
	return policytest.Situation(small, medium, large)
}

// TestUntrained: a few words are known without any training.
func TestUntrained(t *testing.T) {
	route := policytest.Policy(t, newPolicy(), map[string]string{"worth": "0.2"})
	f := three()
	for text, want := range map[string]int{
		"Hello, thanks!": 0,
		"":               1, // no text: quality alone decides
		"Prove the theorem, and derive its complexity.": 2,
	} {
		f.Request.Text = []byte(text)
		if plan, first := policytest.Plan(t, route, f); first != want {
			t.Errorf("%q: candidate %d, %s", text, first, plan.Explanation)
		}
	}
	for worth, want := range map[string]int{"0": 0, "100": 2} {
		if plan, first := policytest.Plan(t, policytest.Policy(t, newPolicy(), map[string]string{"worth": worth}), f); first != want {
			t.Errorf("worth %s: candidate %d, %s", worth, first, plan.Explanation)
		}
	}
}

// TestTrained: weights that are given replace those built in, and heads the qualities.
func TestTrained(t *testing.T) {
	m := difficulty.Model{Scale: 0.1, Worth: 0.1, Heads: []difficulty.Head{
		{Name: "small", Bias: 3, Slope: 1, Output: 400}, {Name: "medium", Bias: 3, Slope: 0.5, Output: 400}, {Name: "large", Bias: 4, Slope: 0.1, Output: 400},
	}}
	m.Weights[difficulty.WordSlot("kubernetes")] = 100
	route := policytest.Policy(t, newPolicy(), m.Params())
	f := three()
	for text, want := range map[string]int{"hello": 0, "Kubernetes": 2} {
		f.Request.Text = []byte(text)
		if plan, first := policytest.Plan(t, route, f); first != want {
			t.Errorf("%q: candidate %d, %s", text, first, plan.Explanation)
		}
	}
	f.Request.Text, f.Request.Options[2].Excluded = []byte("kubernetes"), abi.ReasonDown
	if plan, first := policytest.Plan(t, route, f); first != 1 {
		t.Errorf("the best is down: candidate %d, %s", first, plan.Explanation)
	}
}
