package policy

import (
	"slices"

	"github.com/pointsman/pointsman/sdk/abi"
)

// Rank makes p a plan to answer: the best n candidates by score, at most abi.MaxSteps, one attempt each, the lower number
// first where scores are equal. Candidates that are excluded are out, those that are not local where privacy is wanted, and
// those for which score returns a reason other than abi.ReasonNone. There is a verdict on every candidate. If none is left, p rejects the request for
// abi.BecauseNothing. Scores must be finite.
func (p *Plan) Rank(s *Snapshot, r *Request, n int, because uint16, score func(i int) (value float32, out uint16)) {
	p.Kind, p.Reason = abi.KindAnswer, because
	p.Steps, p.Verdicts = p.Steps[:0], p.Verdicts[:0]
	p.Verdicts = slices.Grow(p.Verdicts, len(s.Candidates))[:len(s.Candidates)]
	n = min(n, abi.MaxSteps)
	for i := range s.Candidates { // in a guest each call costs as much as many lines
		v := Verdict{Reason: uint16(r.Options[i].Excluded)}
		if r.Privacy == abi.PrivacyLocal && s.Candidates[i].Flags&abi.CandidateLocal == 0 && v.Reason == abi.ReasonNone {
			v.Reason = abi.ReasonNotLocal
		}
		if v.Reason == abi.ReasonNone {
			if v.Score, v.Reason = score(i); v.Reason == abi.ReasonNone {
				v.Reason = abi.ReasonOutranked
				if len(p.Steps) < n || n > 0 && v.Score > p.Steps[n-1].Score {
					p.insert(Step{Candidate: uint16(i), Attempts: 1, Score: v.Score, Reason: because}, n)
				}
			}
		}
		p.Verdicts[i] = v
	}
	for i := range p.Steps {
		v := &p.Verdicts[p.Steps[i].Candidate]
		v.Rank, v.Reason = uint16(i+1), abi.ReasonNone
	}
	if len(p.Steps) == 0 {
		p.Reject(abi.BecauseNothing, 0)
	}
}

// insert puts a step where its score belongs among the best n, which it is one of.
func (p *Plan) insert(s Step, n int) {
	if len(p.Steps) < n {
		p.Steps = append(p.Steps, Step{})
	}
	at := len(p.Steps) - 1
	for ; at > 0 && p.Steps[at-1].Score < s.Score; at-- {
		p.Steps[at] = p.Steps[at-1]
	}
	p.Steps[at] = s
}

// Reject makes p refuse the request with an HTTP status from 400 to 599, or 503 for 0. Verdicts stay, without ranks.
func (p *Plan) Reject(because, status uint16) {
	p.Kind, p.Flags, p.Reason, p.Status, p.Steps = abi.KindReject, 0, because, status, p.Steps[:0]
	for i := range p.Verdicts {
		p.Verdicts[i].Rank = 0
	}
}

// Accept makes p send the answer that is held back.
func (p *Plan) Accept(because uint16) {
	p.Reset()
	p.Kind, p.Reason = abi.KindAccept, because
}

// AskFirst makes a plan to answer a side call to the same candidates: instruction is the system message, about says what the
// model is asked about, abi.Ask*, and tokens bounds its answer. A plan that rejects stays as it is.
func (p *Plan) AskFirst(instruction string, about uint8, tokens uint16) {
	if p.Kind != abi.KindAnswer {
		return
	}
	p.Kind, p.Flags, p.AskInput, p.AskOutput = abi.KindAsk, 0, about, tokens
	p.Ask = append(p.Ask[:0], instruction...)
}

// Review makes the answer of a plan come back to Next before it is sent. A plan that rejects stays as it is.
func (p *Plan) Review() {
	if p.Kind == abi.KindAnswer {
		p.Flags |= abi.PlanReview
	}
}

// Last is the newest outcome of a kind of plan, nil if there is none.
func Last(outcomes []Outcome, kind uint8) *Outcome {
	for i := len(outcomes) - 1; i >= 0; i-- {
		if outcomes[i].Kind == kind {
			return &outcomes[i]
		}
	}
	return nil
}

// Tried tells whether an answer of a candidate was asked for in a round before.
func Tried(outcomes []Outcome, candidate int) bool {
	for i := range outcomes {
		if outcomes[i].Kind == abi.KindAnswer && int(outcomes[i].Candidate) == candidate {
			return true
		}
	}
	return false
}

// Rounds is how many rounds there were.
func Rounds(outcomes []Outcome) int {
	if len(outcomes) == 0 {
		return 0
	}
	return int(outcomes[len(outcomes)-1].Round) + 1
}
