// Command policy-name is a routing policy: of what the request may use, the cheapest model that is well and good enough.
package main

import (
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// init registers the policy: in a module whose exports are called, main never runs.
func init() {
	var c cheapest
	policy.Register(policy.Policy{Description: "policy-name; Go", Configure: c.configure, Route: c.route})
}

func main() {}

// cheapest is the policy with its parameters.
type cheapest struct {
	minQuality float32
}

// configure reads the parameters: [config] of policy.toml here, [policies.NAME.config] in a gateway's configuration.
func (p *cheapest) configure(cfg policy.Config) error {
	quality, err := cfg.Number("min_quality", 0.6)
	p.minQuality = float32(quality)
	return err
}

// route looks at every candidate once: the best becomes the first step, the runner-up the second, in case the first fails.
func (p *cheapest) route(_ policy.Config, s *policy.Snapshot, r *policy.Request, plan *policy.Plan) {
	best, second := -1, -1
	for i := range s.Candidates {
		c := &s.Candidates[i]
		why := p.judge(c, r, r.Options[i])
		plan.Verdicts = append(plan.Verdicts, policy.Verdict{Score: score(c), Reason: why})
		switch {
		case why != abi.ReasonNone:
		case best < 0 || score(c) > score(&s.Candidates[best]):
			best, second = i, best
		case second < 0 || score(c) > score(&s.Candidates[second]):
			second = i
		}
	}
	if best < 0 {
		plan.Kind, plan.Reason = abi.KindReject, abi.BecauseNothing
		return
	}
	for i := range plan.Verdicts {
		if plan.Verdicts[i].Reason == abi.ReasonNone && i != best && i != second {
			plan.Verdicts[i].Reason = abi.ReasonOutranked
		}
	}
	plan.Kind, plan.Reason = abi.KindAnswer, abi.BecauseBand
	for rank, i := range []int{best, second} {
		if i < 0 || rank > 0 && r.Flags&abi.FlagNoFallback != 0 {
			continue
		}
		plan.Steps = append(plan.Steps, policy.Step{Candidate: uint16(i), Attempts: 1, Score: score(&s.Candidates[i]), Reason: abi.BecauseBand})
		plan.Verdicts[i].Rank = uint16(rank + 1)
	}
}

// judge says why a candidate is out, ReasonNone if it is not.
func (p *cheapest) judge(c *policy.Candidate, r *policy.Request, o policy.Option) uint16 {
	switch {
	case o.Excluded != 0: // the engine will not use it
		return uint16(o.Excluded)
	case r.Privacy == abi.PrivacyLocal && c.Flags&abi.CandidateLocal == 0:
		return abi.ReasonNotLocal
	case r.Model != abi.NoModel && c.Model != r.Model:
		return abi.ReasonNotRequested
	case c.Quality < p.minQuality:
		return abi.ReasonQuality
	}
	return abi.ReasonNone
}

// score is better the cheaper, with something off for what is failing.
func score(c *policy.Candidate) float32 {
	return -float32(c.CreditsPer1K)/1_000_000 - c.ErrorRate
}
