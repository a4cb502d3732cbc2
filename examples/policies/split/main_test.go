package main

import (
	"math"
	"testing"

	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

func TestContract(t *testing.T) {
	policytest.Run(t, policytest.Policy(t, newPolicy(), map[string]string{"models": "model-1-groq:3,model-2-local:1"}))
}

func TestShares(t *testing.T) {
	route := policytest.Policy(t, newPolicy(), map[string]string{"models": "a:70,b:30"})
	f := policytest.Situation(policy.Candidate{ModelName: "a"}, policy.Candidate{ModelName: "b"}, policy.Candidate{ModelName: "c"})
	const n = 20_000
	got := [3]int{}
	for session := range n {
		f.Request.Session = uint64(session + 1)
		plan, first := policytest.Plan(t, route, f)
		got[first]++
		f.Request.Seed = uint64(session) * 77
		if _, again := policytest.Plan(t, route, f); again != first {
			t.Fatal("a session changed its arm")
		}
		if len(plan.Steps) != 2 {
			t.Fatalf("the other arm must stand behind: %+v", plan.Steps)
		}
	}
	if share := float64(got[0]) / n; math.Abs(share-0.7) > 0.015 { // four standard errors
		t.Errorf("a got %.3f of the sessions", share)
	}
}

func TestParameters(t *testing.T) {
	for _, models := range []string{"", "a", "a:x", ":1", "a:0"} {
		cfg, _ := policy.ParseConfig("models=" + models + "\n")
		if newPolicy().Configure(cfg) == nil {
			t.Errorf("%q was accepted", models)
		}
	}
}
