// Command escalate is a routing policy in rounds: a cheap model answers first, and a better one takes over when the answer
// cannot be what was wanted: it was refused, cut off, empty, or no JSON where JSON was asked for. The client sees the last
// answer only and pays for both.
//
// Parameters: steps, how many candidates a round may try (default 2).
package main

import (
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// escalate holds the parameters.
type escalate struct{ steps int }

func (c *escalate) configure(cfg policy.Config) error {
	steps, err := cfg.Number("steps", 2)
	c.steps = int(steps)
	return err
}

func (c *escalate) route(_ policy.Config, s *policy.Snapshot, r *policy.Request, p *policy.Plan) {
	c.above(s, r, p, -1, nil)
}

// above plans for the cheapest candidates whose quality is above what was tried, under review as long as there may be a
// better one.
func (c *escalate) above(s *policy.Snapshot, r *policy.Request, p *policy.Plan, quality float32, tried []policy.Outcome) {
	best := float32(-1)
	p.Rank(s, r, c.steps, abi.BecauseBand, func(i int) (float32, uint16) {
		x := &s.Candidates[i]
		if x.Quality <= quality || policy.Tried(tried, i) {
			return 0, abi.ReasonQuality
		}
		best = max(best, x.Quality)
		return -float32(x.CreditsPer1K), abi.ReasonNone
	})
	if p.Kind == abi.KindAnswer && policy.Rounds(tried) < abi.MaxRounds-1 {
		p.Review()
	}
}

func (c *escalate) next(_ policy.Config, s *policy.Snapshot, r *policy.Request, outcomes []policy.Outcome, p *policy.Plan) {
	last := &outcomes[len(outcomes)-1]
	why := fault(last, r)
	if why == "" {
		p.Accept(abi.BecauseHeld)
		return
	}
	if policy.Rounds(outcomes) < abi.MaxRounds {
		c.above(s, r, p, s.Candidates[last.Candidate].Quality, outcomes)
		p.Explanation = append(append(p.Explanation, "the answer before "...), why...)
		if p.Kind == abi.KindAnswer {
			return
		}
	}
	if held(outcomes) { // nothing better is left: what there is will have to do
		p.Accept(abi.BecauseHeld)
		p.Explanation = append(append(p.Explanation, "nothing better is left, though the answer "...), why...)
		return
	}
	p.Reject(abi.BecauseNothing, 0)
}

// held tells whether an answer is held back.
func held(outcomes []policy.Outcome) bool {
	for i := range outcomes {
		if outcomes[i].Kind == abi.KindAnswer && outcomes[i].Flags&abi.OutcomeOK != 0 {
			return true
		}
	}
	return false
}

// fault says what is wrong with an answer, "" if nothing is.
func fault(o *policy.Outcome, r *policy.Request) string {
	switch {
	case o.Flags&abi.OutcomeOK == 0:
		return "did not come"
	case o.Flags&(abi.OutcomeRefusal|abi.OutcomeRefusalPhrase) != 0:
		return "was a refusal"
	case o.Finish == abi.FinishLength && r.MaxOutput == 0:
		return "was cut off"
	case o.Flags&abi.OutcomeEmpty != 0:
		return "was empty"
	case r.Flags&abi.FlagJSON != 0 && o.Flags&abi.OutcomeJSON == 0:
		return "was no JSON"
	}
	return ""
}

func newPolicy() policy.Policy {
	c := &escalate{steps: 2}
	return policy.Policy{
		Description: "a better model takes over from a refusal, a cut or wrong JSON (Go)",
		Configure:   c.configure, Route: c.route, Next: c.next,
	}
}

func init() { policy.Register(newPolicy()) }

func main() {}
