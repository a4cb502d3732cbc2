package main

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

func TestContract(t *testing.T) { policytest.Run(t, policytest.Policy(t, newPolicy(), nil)) }

func TestEscalates(t *testing.T) {
	for _, c := range []struct {
		name    string
		outcome func(o *policy.Outcome)
		want    uint8
		first   int
	}{
		{"good", nil, abi.KindAccept, -1},
		{"refused", func(o *policy.Outcome) { o.Flags |= abi.OutcomeRefusal }, abi.KindAnswer, 1},
		{"refused in words", func(o *policy.Outcome) { o.Flags |= abi.OutcomeRefusalPhrase }, abi.KindAnswer, 1},
		{"cut off", func(o *policy.Outcome) { o.Finish = abi.FinishLength }, abi.KindAnswer, 1},
		{"empty", func(o *policy.Outcome) { o.Flags |= abi.OutcomeEmpty }, abi.KindAnswer, 1},
		{"failed", func(o *policy.Outcome) { o.Flags, o.Failure = 0, abi.FailureServer }, abi.KindAnswer, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			route := policytest.Policy(t, newPolicy(), nil)
			f := policytest.Situation(policy.Candidate{Quality: 0.6, CreditsPer1K: 1}, policy.Candidate{Quality: 0.9, CreditsPer1K: 9})
			plan, first := policytest.Plan(t, route, f)
			if first != 0 || plan.Flags&abi.PlanReview == 0 {
				t.Fatalf("first plan %+v", plan)
			}
			policytest.Then(f, plan, c.outcome)
			if plan, first = policytest.Plan(t, route, f); plan.Kind != c.want || first != c.first {
				t.Errorf("then kind %d with candidate %d", plan.Kind, first)
			}
		})
	}
}

// TestJSON: what is no JSON escalates only where JSON was asked for, and at the end what there is is sent.
func TestJSON(t *testing.T) {
	route := policytest.Policy(t, newPolicy(), nil)
	f := policytest.Situation(policy.Candidate{Quality: 0.6}, policy.Candidate{Quality: 0.9, CreditsPer1K: 9})
	f.Request.Flags = abi.FlagJSON
	plan, _ := policytest.Plan(t, route, f)
	policytest.Then(f, plan, nil)
	plan, first := policytest.Plan(t, route, f)
	if plan.Kind != abi.KindAnswer || first != 1 {
		t.Fatalf("%+v", plan)
	}
	policytest.Then(f, plan, nil)
	if plan, _ = policytest.Plan(t, route, f); plan.Kind != abi.KindAccept {
		t.Fatalf("%+v", plan)
	}
	f.History[1].Flags |= abi.OutcomeJSON
	if plan, _ = policytest.Plan(t, route, f); plan.Kind != abi.KindAccept || len(plan.Explanation) > 0 {
		t.Fatalf("%+v", plan)
	}
}
