// Command policy-name is a routing policy: of what the request may use, the cheapest model that is well and good enough.
package main

import (
	"math"
	"slices"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// init registers the policy: in a module whose exports are called, main never runs.
func init() {
	var c cheapest
	policy.Register(policy.Policy{Description: "policy-name; Go", Configure: c.configure, Learn: c.learn, Route: c.route})
}

func main() {}

// cheapest is the policy with its parameters, and the score of each candidate.
type cheapest struct {
	minQuality float32
	scores     []float32
}

// configure reads the parameters: [config] of policy.toml here, [policies.NAME.config] in a gateway's configuration.
func (p *cheapest) configure(cfg policy.Config) error {
	quality, err := cfg.Number("min_quality", 0.6)
	p.minQuality = float32(quality)
	return err
}

// score is better the cheaper, with something off for what is failing.
func score(c *policy.Candidate) float32 {
	return -float32(c.CreditsPer1K)/1_000_000 - c.ErrorRate
}

// learn computes what no request changes, once a snapshot: calls are what takes time in a module made by Go.
func (p *cheapest) learn(s *policy.Snapshot) {
	p.scores = p.scores[:0]
	for i := range s.Candidates {
		p.scores = append(p.scores, score(&s.Candidates[i]))
	}
}

// route looks at every candidate once: the best becomes the first step, the runner-up the second, in case the first fails.
func (p *cheapest) route(_ policy.Config, s *policy.Snapshot, r *policy.Request, plan *policy.Plan) {
	plan.Verdicts = slices.Grow(plan.Verdicts, len(p.scores))[:len(p.scores)]
	best, second := -1, -1
	first, next := float32(math.Inf(-1)), float32(math.Inf(-1)) // their scores
	for i, value := range p.scores {
		c, why := &s.Candidates[i], uint16(r.Options[i].Excluded)
		switch {
		case why != abi.ReasonNone: // the engine will not use it
		case r.Privacy == abi.PrivacyLocal && c.Flags&abi.CandidateLocal == 0:
			why = abi.ReasonNotLocal
		case r.Model != abi.NoModel && c.Model != r.Model:
			why = abi.ReasonNotRequested
		case c.Quality < p.minQuality:
			why = abi.ReasonQuality
		case value > first:
			best, first, second, next, why = i, value, best, first, abi.ReasonOutranked
		case value > next:
			second, next, why = i, value, abi.ReasonOutranked
		default:
			why = abi.ReasonOutranked
		}
		plan.Verdicts[i] = policy.Verdict{Score: value, Reason: why}
	}
	if best < 0 {
		plan.Kind, plan.Reason = abi.KindReject, abi.BecauseNothing
		return
	}
	plan.Kind, plan.Reason = abi.KindAnswer, abi.BecauseBand
	for rank, i := range []int{best, second} {
		if i >= 0 && (rank == 0 || r.Flags&abi.FlagNoFallback == 0) {
			plan.Verdicts[i].Reason, plan.Verdicts[i].Rank = abi.ReasonNone, uint16(rank+1)
			plan.Steps = append(plan.Steps, policy.Step{Candidate: uint16(i), Attempts: 1, Score: p.scores[i], Reason: abi.BecauseBand})
		}
	}
}
