package main

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

func TestContract(t *testing.T) { policytest.Run(t, policytest.Policy(t, newPolicy(), nil)) }

func TestCheapestFirst(t *testing.T) {
	route := policytest.Policy(t, newPolicy(), map[string]string{"max_tier": "3", "steps": "2"})
	f := policytest.Situation(
		policy.Candidate{CreditsPer1K: 500, Tier: 3}, policy.Candidate{CreditsPer1K: 2, ErrorRate: 0.5}, policy.Candidate{CreditsPer1K: 2},
		policy.Candidate{CreditsPer1K: 1, Tier: 4},
	)
	plan, first := policytest.Plan(t, route, f)
	if first != 2 || len(plan.Steps) != 2 || plan.Steps[1].Candidate != 1 {
		t.Errorf("%+v", plan.Steps)
	}
	if plan.Verdicts[3].Reason != abi.ReasonOutsideBand {
		t.Errorf("a tier that is too high: %+v", plan.Verdicts[3])
	}
	f.Request.Options[0].Flags = abi.OptionOwnKey
	if _, first := policytest.Plan(t, route, f); first != 0 {
		t.Errorf("an own key costs nothing, yet candidate %d is first", first)
	}
}
