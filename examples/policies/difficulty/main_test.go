package main

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

func TestContract(t *testing.T) { policytest.Run(t, policytest.Policy(t, newPolicy(), nil)) }

func TestDifficulty(t *testing.T) {
	route := policytest.Policy(t, newPolicy(), nil)
	f := policytest.Situation(
		policy.Candidate{Quality: 0.65, CreditsPer1K: 1}, policy.Candidate{Quality: 0.8, CreditsPer1K: 20}, policy.Candidate{Quality: 0.97, CreditsPer1K: 500},
	)
	for text, want := range map[string]int{
		"Hello, thanks!": 0,
		"":               1, // no text: in between
		"Prove the theorem, step by step, and derive its complexity.": 2,
	} {
		f.Request.Text = []byte(text)
		if plan, first := policytest.Plan(t, route, f); first != want {
			t.Errorf("%q: candidate %d, %s", text, first, plan.Explanation)
		}
	}
	f.Request.Text, f.Request.Task = nil, abi.TaskReasoning
	if plan, first := policytest.Plan(t, route, f); first != 1 {
		t.Errorf("reasoning: candidate %d, %s", first, plan.Explanation)
	}
}

// TestWeights: weights that are given replace those built in.
func TestWeights(t *testing.T) {
	f := policytest.Situation(policy.Candidate{Quality: 0.61, CreditsPer1K: 1}, policy.Candidate{Quality: 0.97, CreditsPer1K: 500})
	f.Request.Text = []byte("kubernetes please")
	slot := hash([]byte("kubernetes"))
	for weight, want := range map[string]int{"9": 1, "-9": 0} {
		route := policytest.Policy(t, newPolicy(), map[string]string{"weights": itoa(slot) + ":" + weight, "hard": "0.97"})
		if plan, first := policytest.Plan(t, route, f); first != want {
			t.Errorf("weight %s: candidate %d, %s", weight, first, plan.Explanation)
		}
	}
	cfg, _ := policy.ParseConfig("weights=4096:1\n")
	if newPolicy().Configure(cfg) == nil {
		t.Error("a slot out of range was accepted")
	}
}

func itoa(n uint32) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}
