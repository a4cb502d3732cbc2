package main

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

func params() map[string]string {
	return map[string]string{"cheap": "small", "judge": "critic", "strong": "large"}
}

func TestContract(t *testing.T) {
	policytest.Run(t, policytest.Policy(t, newPolicy(), params()))
	policytest.Run(t, policytest.Policy(t, newPolicy(), map[string]string{"cheap": "model-0-groq", "judge": "model-0-groq", "strong": "model-2-local"}))
}

func TestCascade(t *testing.T) {
	for _, c := range []struct {
		name, said  string
		cheapFails  bool
		judgeFails  bool
		strongThere bool
		want        uint8
	}{
		{"passes", "8", false, false, true, abi.KindAccept},
		{"does not pass", "Grade: 3", false, false, true, abi.KindAnswer},
		{"nothing better", "3", false, false, false, abi.KindAccept},
		{"no grade", "fine", false, false, true, abi.KindAccept},
		{"no judge", "", false, true, true, abi.KindAccept},
		{"no cheap answer", "", true, false, true, abi.KindAnswer},
	} {
		t.Run(c.name, func(t *testing.T) {
			route := policytest.Policy(t, newPolicy(), params())
			f := policytest.Situation(policy.Candidate{ModelName: "small"}, policy.Candidate{ModelName: "critic"}, policy.Candidate{ModelName: "large"})
			if !c.strongThere {
				f.Request.Options[2].Excluded = abi.ReasonDown
			}
			plan, first := policytest.Plan(t, route, f)
			if first != 0 || plan.Flags&abi.PlanReview == 0 {
				t.Fatalf("first plan %+v", plan)
			}
			policytest.Then(f, plan, func(o *policy.Outcome) {
				if c.cheapFails {
					o.Flags, o.Failure = 0, abi.FailureServer
				}
			})
			plan, first = policytest.Plan(t, route, f)
			if !c.cheapFails {
				if plan.Kind != abi.KindAsk || first != 1 || plan.AskInput != abi.AskBoth {
					t.Fatalf("second plan %+v", plan)
				}
				policytest.Then(f, plan, func(o *policy.Outcome) {
					if o.Text = []byte(c.said); c.judgeFails {
						o.Flags, o.Failure = 0, abi.FailureServer
					}
				})
				plan, first = policytest.Plan(t, route, f)
			}
			if plan.Kind != c.want || c.want == abi.KindAnswer && first != 2 {
				t.Errorf("at last kind %d, candidate %d", plan.Kind, first)
			}
		})
	}
}
