package main

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

// native makes the policy answer without WebAssembly.
func native(t *testing.T, config string) policytest.Route {
	t.Helper()
	cfg, err := policy.ParseConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	route, err := policytest.Native(newReference(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return route
}

// TestContract asks the policy about hundreds of situations and checks that it keeps the contract in all.
func TestContract(t *testing.T) {
	for _, config := range []string{"", "prefer=groq,openai\nreview=true\nsteps=8\n", "price=0\nquality=0\nsteps=1\n"} {
		policytest.Run(t, native(t, config))
	}
}

// TestCheapWins is an example of a test of your own.
func TestCheapWins(t *testing.T) {
	snap := policy.Publish(policy.Snapshot{Generation: 1, Candidates: []policy.Candidate{
		{Key: 1, ModelName: "dear", Quality: 0.9, CreditsPer1K: 500_000},
		{Key: 2, ModelName: "cheap", Quality: 0.8, CreditsPer1K: 10_000},
		{Key: 3, ModelName: "gone", Quality: 0.99},
	}})
	req := &policy.Request{Generation: 1, Model: abi.NoModel, Options: []policy.Option{{}, {}, {Excluded: abi.ReasonDown}}}
	var plan policy.Plan
	if err := native(t, "")(&policy.Facts{Snapshot: snap, Request: req}, &plan); err != nil {
		t.Fatal(err)
	}
	if len(plan.Steps) != 2 || plan.Steps[0].Candidate != 1 || string(plan.Explanation) != "best of 2: cheap" {
		t.Errorf("got %+v %q", plan.Steps, plan.Explanation)
	}
}

func TestParameters(t *testing.T) {
	for _, config := range []string{"quality=1001\n", "steps=9\n", "steps=0\n", "review=2\n", "review=yes\n", "speed=fast\n", "unknown=1\n"} {
		cfg, err := policy.ParseConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		if newReference().Configure(cfg) == nil {
			t.Errorf("%q is accepted", config)
		}
	}
}
