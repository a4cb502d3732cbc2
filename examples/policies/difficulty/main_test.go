package main

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/difficulty"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

func TestContract(t *testing.T) { policytest.Run(t, policytest.Policy(t, newPolicy(), nil)) }

func three() *policy.Facts {
	return policytest.Situation(
		policy.Candidate{ModelName: "small", Quality: 0.65, CreditsPer1K: 1}, policy.Candidate{ModelName: "medium", Quality: 0.9, CreditsPer1K: 20},
		policy.Candidate{ModelName: "large", Quality: 0.98, CreditsPer1K: 500},
	)
}

// TestUntrained: a few words are known without any training.
func TestUntrained(t *testing.T) {
	route := policytest.Policy(t, newPolicy(), map[string]string{"tolerance": "0.1"})
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
	f.Request.Text, f.Request.Task = nil, abi.TaskReasoning
	if plan, first := policytest.Plan(t, route, f); first != 2 {
		t.Errorf("reasoning: candidate %d, %s", first, plan.Explanation)
	}
}

// TestTrained: weights that are given replace those built in, and heads the qualities.
func TestTrained(t *testing.T) {
	m := difficulty.Model{Scale: 0.1, Tolerance: 0.1, Heads: []difficulty.Head{
		{Name: "small", Bias: 2, Slope: 1}, {Name: "medium", Bias: 2.5, Slope: 0.5}, {Name: "large", Bias: 3, Slope: 0.1},
	}}
	m.Weights[difficulty.WordSlot("kubernetes")] = 60
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
	f.Request.Privacy = abi.PrivacyLocal
	if plan, first := policytest.Plan(t, route, f); first != -1 {
		t.Errorf("none is local: candidate %d, %s", first, plan.Explanation)
	}
}
