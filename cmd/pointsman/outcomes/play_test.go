package outcomes

import (
	"errors"
	"reflect"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// one is a world of one prompt that is asked, with models a, b and c at scores 0.1, 0.2, 0.3 and costs 1, 2, 3, and another
// prompt to learn from.
func one(t *testing.T) *World {
	t.Helper()
	answers := []Answer{{0.1, 10, 20, 1}, {0.2, 10, 0, 2}, {0.3, 10, 20, 3}}
	return world(t, &Set{Models: []string{"a", "b", "c"}, Tasks: []string{"t"}, Prompts: []Prompt{{"1", "t", "one prompt", answers}, {"2", "t", "p", answers}}}, 2)
}

// plans is a policy that gives plans in turn, one a round, and keeps what it was told.
func plans(told *[]policy.Outcome, all ...policy.Plan) Decide {
	return func(f *policy.Facts, plan *policy.Plan) error {
		*told = f.History
		n := 0
		if len(f.History) > 0 {
			n = int(f.History[len(f.History)-1].Round) + 1
		}
		if n >= len(all) {
			return errors.New("no plan")
		}
		*plan = all[n]
		return nil
	}
}

func steps(kind, flags uint8, candidates ...uint16) policy.Plan {
	p := policy.Plan{Kind: kind, Flags: flags}
	for _, c := range candidates {
		p.Steps = append(p.Steps, policy.Step{Candidate: c, Attempts: 1})
	}
	return p
}

func TestPlay(t *testing.T) {
	ask, accept, reject := steps(abi.KindAsk, 0, 0), policy.Plan{Kind: abi.KindAccept}, policy.Plan{Kind: abi.KindReject}
	answer := func(c ...uint16) policy.Plan { return steps(abi.KindAnswer, 0, c...) }
	review := func(c ...uint16) policy.Plan { return steps(abi.KindAnswer, abi.PlanReview, c...) }
	for _, c := range []struct {
		name  string
		plans []policy.Plan
		want  Choice
		fails bool
	}{
		{"the first of the steps", []policy.Plan{answer(1, 2)}, Choice{Ending: Answered, Model: 1, Score: 0.2, Cost: 2, Rounds: 1}, false},
		{"rejected", []policy.Plan{reject}, Choice{Ending: Rejected, Model: -1}, false},
		{"no plan", nil, Choice{Ending: Failed, Model: -1}, true},
		{"reviewed and accepted", []policy.Plan{review(0), accept}, Choice{Ending: Answered, Model: 0, Score: 0.1, Cost: 1, Rounds: 1}, false},
		{"escalated: both are paid, the last counts", []policy.Plan{review(0), answer(2)}, Choice{Ending: Answered, Model: 2, Score: 0.3, Cost: 4, Rounds: 2}, false},
		{"reviewed and rejected: paid all the same", []policy.Plan{review(0), reject}, Choice{Ending: Rejected, Model: -1, Cost: 1, Rounds: 1}, false},
		{"reviewed, then no plan: what is held is sent", []policy.Plan{review(0)}, Choice{Ending: Answered, Model: 0, Score: 0.1, Cost: 1, Rounds: 1}, true},
		{"a side call", []policy.Plan{ask, answer(2)}, Choice{Ending: Answered, Model: 2, Score: 0.3, Cost: 3, Rounds: 2, Asked: 1}, false},
		{"a judge between", []policy.Plan{review(0), ask, accept}, Choice{Ending: Answered, Model: 0, Score: 0.1, Cost: 1, Rounds: 2, Asked: 1}, false},
		{"as many rounds as there can be", []policy.Plan{review(0), review(1), review(0), review(2), accept}, Choice{Ending: Answered, Model: 2, Score: 0.3, Cost: 7, Rounds: 4}, false},
	} {
		var told []policy.Outcome
		got := one(t).Play(plans(&told, c.plans...))[0]
		if (got.Err != nil) != c.fails {
			t.Errorf("%s: %v", c.name, got.Err)
		}
		got.Err = nil
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestTold: what a policy learns of recorded answers and of side calls.
func TestTold(t *testing.T) {
	ask, reviewed := steps(abi.KindAsk, 0, 0), steps(abi.KindAnswer, abi.PlanReview, 1)
	ask.Tag, reviewed.Tag = 4, 5
	var told []policy.Outcome
	w := one(t)
	w.Play(plans(&told, ask, reviewed, policy.Plan{Kind: abi.KindAccept}))
	candidates := w.Snapshots[0].Candidates
	want := []policy.Outcome{
		{Key: candidates[0].Key, Candidate: 0, Tag: 4, Round: 0, Kind: abi.KindAsk, Failure: abi.FailureUnaffordable, Level: abi.LevelBalanced, Task: told[0].Task},
		{
			Key: candidates[1].Key, Candidate: 1, Tag: 5, Round: 1, Kind: abi.KindAnswer, HTTP: 200, Flags: abi.OutcomeOK | abi.OutcomeEmpty, Finish: abi.FinishStop,
			Input: 10, Credits: 2_000_000, Level: abi.LevelBalanced, Task: told[0].Task,
		},
	}
	if !reflect.DeepEqual(told, want) {
		t.Errorf("told %+v", told)
	}
}
