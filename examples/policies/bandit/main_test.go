package main

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

func TestContract(t *testing.T) { policytest.Run(t, policytest.Policy(t, newPolicy(), nil)) }

// TestLearns: of three candidates the one that answers best gets nearly all of the traffic, and another one does once the
// world has changed.
func TestLearns(t *testing.T) {
	p := newPolicy()
	route := policytest.Policy(t, p, map[string]string{"keep": "0.98"})
	random := policytest.NewRandom(11)
	f := policytest.Situation(make([]policy.Candidate, 3)...)
	f.State = &policy.State{Number: 1}
	play := func(rates [3]float32, rounds int) (shares [3]float32) {
		for n := range rounds {
			f.Request.Seed, f.Request.State = random.Uint64(), f.State.Number
			plan, first := policytest.Plan(t, route, f)
			if n >= rounds/2 {
				shares[first] += 2 / float32(rounds)
			}
			policytest.Then(f, plan, func(o *policy.Outcome) {
				if random.Float32() > rates[first] {
					o.Flags, o.Failure = 0, abi.FailureServer
				}
			})
			state := p.Observe(policy.Config{}, nil, f.State.Bytes, f.History)
			f.State, f.History = &policy.State{Number: f.State.Number + 1, Bytes: state}, nil
		}
		return shares
	}
	if shares := play([3]float32{0.5, 0.95, 0.7}, 600); shares[1] < 0.8 {
		t.Errorf("the best got %v", shares)
	}
	if shares := play([3]float32{0.95, 0.3, 0.5}, 1200); shares[0] < 0.8 {
		t.Errorf("after the change the best got %v", shares)
	}
	if len(f.State.Bytes) != 3*armSize {
		t.Errorf("the state has %d bytes", len(f.State.Bytes))
	}
}

func TestForeignState(t *testing.T) {
	if newPolicy().Remember([]byte("something")) == nil {
		t.Error("a state of another policy was accepted")
	}
}
