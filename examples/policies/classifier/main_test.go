package main

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

func params() map[string]string {
	return map[string]string{"classifier": "tiny", "weak": "small", "strong": "large"}
}

func TestContract(t *testing.T) {
	policytest.Run(t, policytest.Policy(t, newPolicy(), params()))
	policytest.Run(t, policytest.Policy(t, newPolicy(), map[string]string{"classifier": "model-0-groq", "weak": "model-1-groq", "strong": "model-2-local"}))
}

func TestClassifies(t *testing.T) {
	for _, c := range []struct {
		said   string
		fails  bool
		tokens uint32
		first  int
	}{
		{"WEAK", false, 100, 1},
		{"Strong.", false, 100, 2},
		{"It is hard to say", false, 100, 2},
		{"", true, 100, 2},
		{"never asked", false, 10, 1},
	} {
		t.Run(c.said, func(t *testing.T) {
			route := policytest.Policy(t, newPolicy(), params())
			f := policytest.Situation(policy.Candidate{ModelName: "tiny"}, policy.Candidate{ModelName: "small"}, policy.Candidate{ModelName: "large"})
			f.Request.InputTokens = c.tokens
			plan, first := policytest.Plan(t, route, f)
			if c.tokens >= 40 {
				if plan.Kind != abi.KindAsk || first != 0 || plan.AskInput != abi.AskPrompt {
					t.Fatalf("first plan %+v", plan)
				}
				policytest.Then(f, plan, func(o *policy.Outcome) {
					if o.Text = []byte(c.said); c.fails {
						o.Flags, o.Failure = 0, abi.FailureTimeout
					}
				})
				plan, first = policytest.Plan(t, route, f)
			}
			if plan.Kind != abi.KindAnswer || first != c.first || len(plan.Steps) != 2 {
				t.Errorf("kind %d, candidate %d", plan.Kind, first)
			}
		})
	}
}
