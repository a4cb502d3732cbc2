package record

import (
	"bytes"
	"slices"

	"github.com/pointsman/pointsman/sdk/policy"
)

// Repeat decides again what d records: f has the snapshot and the state of the record, and a request about both, d's own or one that
// differs; route makes a plan of facts. It goes on from round to round as long as each plan is like the recorded one, by SamePlan or
// SameAction: only then is it known what came of it. plan is the last that was made; same tells that all of them were, and are like
// the recorded ones. An error is route's, after which plan is undefined. It does not allocate.
func (d *Decision) Repeat(f *policy.Facts, plan *policy.Plan, alike func(a, b *policy.Plan) bool, route func(*policy.Facts, *policy.Plan) error) (same bool, err error) {
	for i := range d.Outcomes {
		d.Outcomes[i].Key = f.Snapshot.Candidates[d.Outcomes[i].Candidate].Key
	}
	for round := range d.Rounds() {
		n := 0
		for n < len(d.Outcomes) && int(d.Outcomes[n].Round) < round {
			n++
		}
		f.History = d.Outcomes[:n]
		if err := route(f, plan); err != nil {
			return false, err
		}
		if !alike(d.Round(round), plan) {
			return false, nil
		}
	}
	return true, nil
}

// Rounds is the number of plans that d records.
func (d *Decision) Rounds() int { return len(d.Earlier) + 1 }

// Round is the plan of a round, from 0.
func (d *Decision) Round(round int) *policy.Plan {
	if round < len(d.Earlier) {
		return &d.Earlier[round]
	}
	return d.Plan
}

// SamePlan tells whether two plans are the same bit for bit, but for verdicts, which are not recorded.
func SamePlan(a, b *policy.Plan) bool {
	return a.Kind == b.Kind && a.Flags == b.Flags && a.Reason == b.Reason && a.Status == b.Status && a.MaxOutput == b.MaxOutput &&
		bytes.Equal(a.Explanation, b.Explanation) && slices.Equal(a.Steps, b.Steps) &&
		a.Tag == b.Tag && a.AskInput == b.AskInput && a.AskOutput == b.AskOutput && bytes.Equal(a.Ask, b.Ask)
}

// SameAction tells whether two plans have the same done, whatever they say of the reasons: the same candidates in the same order, the
// same side call, the same refusal.
func SameAction(a, b *policy.Plan) bool {
	return a.Kind == b.Kind && a.Flags == b.Flags && a.Status == b.Status && a.Tag == b.Tag &&
		a.AskInput == b.AskInput && a.AskOutput == b.AskOutput && bytes.Equal(a.Ask, b.Ask) &&
		slices.EqualFunc(a.Steps, b.Steps, func(a, b policy.Step) bool { return a.Candidate == b.Candidate })
}
