// Package policytest is the conformance kit for routing policies: it asks a policy about many generated situations and
// checks what the contract promises, in whatever language the policy is written and however it runs.
package policytest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Route asks the policy under test for a plan. A host's Route method with the name filled in is one; so is a native
// function, see [Native].
type Route func(snap *policy.Published, req *policy.Request, plan *policy.Plan) error

// Native makes a Route of a policy's functions, without WebAssembly. It is not safe for concurrent use.
func Native(p policy.Policy, cfg policy.Config) (Route, error) {
	if p.Configure != nil {
		if err := p.Configure(cfg); err != nil {
			return nil, err
		}
	}
	var known *policy.Published
	return func(snap *policy.Published, req *policy.Request, plan *policy.Plan) error {
		if known != snap && p.Learn != nil {
			p.Learn(&snap.Snapshot)
		}
		known = snap
		plan.Reset()
		p.Route(cfg, &snap.Snapshot, req, plan)
		return nil
	}, nil
}

// Run checks that a policy keeps the contract: it answers every request with a valid plan, never uses a candidate that
// is excluded or not local when privacy is wanted, accepts snapshots of any size in any order, and decides by its input
// alone.
func Run(t *testing.T, route Route) {
	t.Helper()
	random := NewRandom(1)
	var snaps []*policy.Published
	for _, size := range []int{0, 1, 2, 47, 600} {
		snaps = append(snaps, random.Snapshot(size), random.Snapshot(size))
	}
	type asked struct {
		snap *policy.Published
		req  *policy.Request
		plan []byte
	}
	var all []asked
	var plan policy.Plan
	for n := range 200 {
		snap := snaps[n%len(snaps)]
		req := random.Request(snap)
		if err := route(snap, req, &plan); err != nil {
			t.Fatalf("request %d, %s: %v", n, brief(req), err)
		}
		check(t, snap, req, &plan)
		all = append(all, asked{snap, req, policy.AppendPlan(nil, &plan)})
	}
	for n := len(all) - 1; n >= 0; n-- {
		if err := route(all[n].snap, all[n].req, &plan); err != nil {
			t.Fatalf("request %d, asked again: %v", n, err)
		}
		if again := policy.AppendPlan(nil, &plan); !bytes.Equal(again, all[n].plan) {
			t.Fatalf("request %d, %s: another plan when asked again\n%x\n%x", n, brief(all[n].req), all[n].plan, again)
		}
	}
}

func check(t *testing.T, snap *policy.Published, req *policy.Request, plan *policy.Plan) {
	t.Helper()
	var again policy.Plan
	if err := policy.DecodePlan(policy.AppendPlan(nil, plan), len(snap.Candidates), &again); err != nil {
		t.Fatalf("%s: %v", brief(req), err)
	}
	for _, s := range plan.Steps {
		if why := req.Options[s.Candidate].Excluded; why != 0 {
			t.Fatalf("%s: candidate %d is excluded (%s) and yet in the plan", brief(req), s.Candidate, policy.ReasonName(uint16(why)))
		}
		if req.Privacy == abi.PrivacyLocal && snap.Candidates[s.Candidate].Flags&abi.CandidateLocal == 0 {
			t.Fatalf("%s: candidate %d is not local", brief(req), s.Candidate)
		}
	}
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
		req := random.Request(snap)
		if err := a(snap, req, &one); err != nil {
			t.Fatalf("request %d, first policy: %v", n, err)
		}
		if err := b(snap, req, &other); err != nil {
			t.Fatalf("request %d, second policy: %v", n, err)
		}
		if !bytes.Equal(policy.AppendPlan(nil, &one), policy.AppendPlan(nil, &other)) {
			t.Fatalf("request %d, %s:\nfirst  %+v %q\nsecond %+v %q", n, brief(req), one, one.Explanation, other, other.Explanation)
		}
	}
}

// brief describes a request without its options, of which there may be hundreds.
func brief(req *policy.Request) string {
	r := *req
	r.Options = nil
	return fmt.Sprintf("request about %d candidates %+v", len(req.Options), r)
}
