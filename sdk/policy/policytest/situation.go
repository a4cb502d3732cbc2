package policytest

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Situation is the facts of an ordinary request about some candidates, for tests of a policy's own: each candidate is a
// model of its own unless it says otherwise, and none is excluded. The test changes what it is about.
func Situation(candidates ...policy.Candidate) *policy.Facts {
	s := policy.Snapshot{Generation: 1, Candidates: candidates}
	for i := range candidates {
		c := &candidates[i]
		if c.Key == 0 {
			c.Key = uint64(i + 1)
		}
		if c.Model == 0 {
			c.Model = uint16(i)
		}
	}
	return &policy.Facts{Snapshot: policy.Publish(s), Request: &policy.Request{
		Generation: 1, Seed: 7, Level: abi.LevelBalanced, Task: abi.TaskChat, Model: abi.NoModel, InputTokens: 100, Messages: 1,
		Credits: 1_000_000, Options: make([]policy.Option, len(candidates)),
	}}
}

// Policy makes a policy's native Route with its parameters, or ends the test.
func Policy(t testing.TB, p policy.Policy, params map[string]string) Route {
	t.Helper()
	text, err := policy.FormatConfig(params)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := policy.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	route, err := Native(p, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return route
}

// Plan asks for a plan, or ends the test. It returns the plan's first candidate, -1 if the plan has no steps.
func Plan(t testing.TB, route Route, f *policy.Facts) (*policy.Plan, int) {
	t.Helper()
	plan := new(policy.Plan)
	if err := route(f, plan); err != nil {
		t.Fatal(err)
	}
	if err := policy.DecodePlan(policy.AppendPlan(nil, plan), len(f.Snapshot.Candidates), new(policy.Plan)); err != nil {
		t.Fatal(err)
	}
	if len(plan.Steps) == 0 {
		return plan, -1
	}
	return plan, int(plan.Steps[0].Candidate)
}

// Then adds an outcome of a plan's first step to the history: what happened next.
func Then(f *policy.Facts, plan *policy.Plan, change func(o *policy.Outcome)) {
	o := policy.Outcome{
		Kind: plan.Kind, Tag: plan.Tag, Candidate: plan.Steps[0].Candidate, Key: f.Snapshot.Candidates[plan.Steps[0].Candidate].Key,
		HTTP: 200, Flags: abi.OutcomeOK, Finish: abi.FinishStop, Input: f.Request.InputTokens, Output: 50, Round: uint8(policy.Rounds(f.History)),
	}
	if change != nil {
		change(&o)
	}
	f.History = append(f.History, o)
}
