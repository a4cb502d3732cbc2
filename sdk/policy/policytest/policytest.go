// Package policytest is the conformance kit for routing policies: it asks a policy about many generated situations and
// checks what the contract promises, in whatever language the policy is written and however it runs.
package policytest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Route asks the policy under test for a plan. A host's Route method with the name filled in is one; so is a native
// function, see [Native].
type Route func(f *policy.Facts, plan *policy.Plan) error

// Native makes a Route of a policy's functions, without WebAssembly. It is not safe for concurrent use.
func Native(p policy.Policy, cfg policy.Config) (Route, error) {
	if p.Configure != nil {
		if err := p.Configure(cfg); err != nil {
			return nil, err
		}
	}
	var known *policy.Published
	var state uint64
	return func(f *policy.Facts, plan *policy.Plan) error {
		if known != f.Snapshot && p.Learn != nil {
			p.Learn(&f.Snapshot.Snapshot)
		}
		known = f.Snapshot
		if f.Request.State != state && p.Remember != nil && p.Needs&abi.GrantState != 0 {
			var bytes []byte
			if f.State != nil {
				bytes = f.State.Bytes
			}
			if err := p.Remember(bytes); err != nil {
				return err
			}
			state = f.Request.State
		}
		plan.Reset()
		switch {
		case len(f.History) == 0:
			p.Route(cfg, &f.Snapshot.Snapshot, f.Request, plan)
		case p.Next == nil:
			return errors.New("the policy asked for a further round and has no Next")
		default:
			p.Next(cfg, &f.Snapshot.Snapshot, f.Request, f.History, plan)
		}
		return nil
	}, nil
}

// Run checks that a policy keeps the contract: it answers every request, through all its rounds, with valid plans, never
// uses a candidate that is excluded or not local when privacy is wanted, accepts snapshots of any size in any order, and
// decides by its input alone.
func Run(t *testing.T, route Route) {
	t.Helper()
	if err := Check(route, 200); err != nil {
		t.Fatal(err)
	}
}

// asked is one decision that was made.
type asked struct {
	facts *policy.Facts
	plan  []byte
}

// Check is Run with so many requests, outside a test.
func Check(route Route, requests int) error {
	random := NewRandom(1)
	var snaps []*policy.Published
	for _, size := range []int{0, 1, 2, 47, 600} {
		snaps = append(snaps, random.Snapshot(size), random.Snapshot(size))
	}
	var all []asked
	for n := range requests {
		snap := snaps[n%len(snaps)]
		decisions, err := random.rounds(route, &policy.Facts{Snapshot: snap, Request: random.Request(snap)})
		if err != nil {
			return fmt.Errorf("request %d, %w", n, err)
		}
		all = append(all, decisions...)
	}
	var plan policy.Plan
	for n := len(all) - 1; n >= 0; n-- {
		f := all[n].facts
		if err := route(f, &plan); err != nil {
			return fmt.Errorf("%s, asked again: %w", brief(f), err)
		}
		if again := policy.AppendPlan(nil, &plan); !bytes.Equal(again, all[n].plan) {
			return fmt.Errorf("%s: another plan when asked again\n%x\n%x", brief(f), all[n].plan, again)
		}
	}
	return nil
}

// rounds takes a request to its end with made-up outcomes.
func (r *Random) rounds(route Route, first *policy.Facts) ([]asked, error) {
	var all []asked
	for f := first; ; {
		var plan policy.Plan
		if err := route(f, &plan); err != nil {
			return nil, fmt.Errorf("%s: %w", brief(f), err)
		}
		if err := check(f, &plan); err != nil {
			return nil, fmt.Errorf("%s: %w", brief(f), err)
		}
		all = append(all, asked{f, policy.AppendPlan(nil, &plan)})
		if plan.Kind != abi.KindAsk && plan.Flags&abi.PlanReview == 0 {
			return all, nil
		}
		next := *f
		next.History = append(append([]policy.Outcome(nil), f.History...), r.Outcomes(f, &plan)...)
		f = &next
	}
}

// check looks for what no valid plan does.
func check(f *policy.Facts, plan *policy.Plan) error {
	var again policy.Plan
	if err := policy.DecodePlan(policy.AppendPlan(nil, plan), len(f.Snapshot.Candidates), &again); err != nil {
		return err
	}
	for _, s := range plan.Steps {
		if why := f.Request.Options[s.Candidate].Excluded; why != 0 {
			return fmt.Errorf("candidate %d is excluded (%s) and yet in the plan", s.Candidate, policy.ReasonName(uint16(why)))
		}
		if f.Request.Privacy == abi.PrivacyLocal && f.Snapshot.Candidates[s.Candidate].Flags&abi.CandidateLocal == 0 {
			return fmt.Errorf("candidate %d is not local", s.Candidate)
		}
	}
	if n := len(f.History); n > 0 && int(f.History[n-1].Round)+1 >= abi.MaxRounds && len(plan.Steps) > 0 {
		return fmt.Errorf("a plan of kind %d after %d rounds", plan.Kind, abi.MaxRounds)
	}
	return nil
}

// Same checks that two policies give equal plans, byte for byte, for so many generated requests.
func Same(t *testing.T, a, b Route, seed uint64, requests int) {
	t.Helper()
	random := NewRandom(seed)
	var one, other policy.Plan
	var snap *policy.Published
	for n := range requests {
		if n%25 == 0 {
			snap = random.Snapshot(random.Intn(60))
		}
		f := &policy.Facts{Snapshot: snap, Request: random.Request(snap)}
		if err := a(f, &one); err != nil {
			t.Fatalf("request %d, first policy: %v", n, err)
		}
		if err := b(f, &other); err != nil {
			t.Fatalf("request %d, second policy: %v", n, err)
		}
		if !bytes.Equal(policy.AppendPlan(nil, &one), policy.AppendPlan(nil, &other)) {
			t.Fatalf("request %d, %s:\nfirst  %+v %q\nsecond %+v %q", n, brief(f), one, one.Explanation, other, other.Explanation)
		}
	}
}

// brief describes a request without its options, of which there may be hundreds.
func brief(f *policy.Facts) string {
	r := *f.Request
	r.Options, r.Text, r.Metadata = nil, nil, nil
	return fmt.Sprintf("request about %d candidates %+v after %d outcomes", len(f.Request.Options), r, len(f.History))
}
