package outcomes

import (
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Decide asks a policy for a plan, as policies.Host.Route does with a name filled in.
type Decide func(f *policy.Facts, plan *policy.Plan) error

// Ending says how a request ended.
type Ending string

// The endings.
const (
	Answered Ending = "answered"
	Rejected Ending = "rejected" // by the policy: no answer, so score 0
	Failed   Ending = "failed"   // the policy gave no plan and holds no answer: score 0
)

// Choice is what became of one prompt under a policy.
type Choice struct {
	Ending Ending
	Model  int // of Set.Models whose answer the client gets; -1 if none
	Score  float64
	Cost   float64 // USD of every answer that was asked for, in all rounds
	Rounds int     // plans that were carried out
	Asked  int     // side calls that could not be had
	Err    error   // of the policy, nil if it gave a plan every time
}

// Play asks the policy about every prompt, on the facts of its fold.
//
// A plan to answer gets the recorded answer of its first candidate; the others would be tried only if that failed, and a recorded
// answer has come. If the plan is under review, the policy is told of the answer (tokens, price, that it came and was not empty) and
// plans again; all answers are paid for, the last one counts. What the text of an answer would tell is not recorded: it is
// no refusal, is not cut off and is no JSON. A side call cannot be had, as if there were no credits for it: nobody has recorded what a
// classifier or a judge would say.
func (w *World) Play(decide Decide) []Choice {
	all := make([]Choice, len(w.Set.Prompts))
	var plan policy.Plan
	for i := range all {
		all[i] = w.play(decide, i, &plan)
	}
	return all
}

func (w *World) play(decide Decide, i int, plan *policy.Plan) Choice {
	f := &policy.Facts{Snapshot: w.Snapshots[w.Folds[i]], Request: w.requests[i]}
	c := Choice{Ending: Failed, Model: -1}
	hold := func() Choice { // what a gateway does when a policy has no say any more
		if c.Model >= 0 {
			c.Ending = Answered
		}
		return c
	}
	for round := range uint8(abi.MaxRounds + 1) { // the last time it can only accept or reject
		if c.Err = decide(f, plan); c.Err != nil {
			return hold()
		}
		switch plan.Kind {
		case abi.KindReject:
			c.Ending, c.Model, c.Score = Rejected, -1, 0
			return c
		case abi.KindAccept:
			return hold()
		}
		c.Rounds++
		m := int(plan.Steps[0].Candidate)
		o := policy.Outcome{
			Key: f.Snapshot.Candidates[m].Key, Candidate: uint16(m), Tag: plan.Tag, Round: round, Kind: plan.Kind, Level: f.Request.Level, Task: f.Request.Task,
		}
		if plan.Kind == abi.KindAsk {
			c.Asked++
			o.Failure = abi.FailureUnaffordable
		} else {
			a := &w.Set.Prompts[i].Answers[m]
			c.Model, c.Score = m, a.Score
			c.Cost += a.Cost
			if plan.Flags&abi.PlanReview == 0 {
				return hold()
			}
			a.tell(&o)
		}
		f.History = append(f.History, o)
	}
	return hold()
}

// tell fills in what a policy learns of a recorded answer.
func (a *Answer) tell(o *policy.Outcome) {
	o.HTTP, o.Flags, o.Finish = 200, abi.OutcomeOK, abi.FinishStop
	o.Input, o.Output, o.Credits = uint32(a.Input), uint32(a.Output), int64(a.Cost*1e6+0.5)
	if a.Output == 0 {
		o.Flags |= abi.OutcomeEmpty
	}
}
