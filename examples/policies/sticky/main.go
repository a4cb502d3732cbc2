// Command sticky is a routing policy that keeps a conversation where its prompt is cached: reading a long prompt from a
// provider's cache costs a fraction of reading it anew. It leaves the warm candidate when that is unwell, or when another
// is so much cheaper that the cache does not pay.
//
// Parameters: steps, how many candidates a plan has (default 4).
package main

import (
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// sticky holds the parameters.
type sticky struct{ steps int }

func (c *sticky) configure(cfg policy.Config) error {
	steps, err := cfg.Number("steps", 4)
	c.steps = int(steps)
	return err
}

// cost is what the prompt will cost the operator at a candidate, in nano-USD, and the answer if it is as long.
func cost(x *policy.Candidate, tokens uint32, warm bool) float32 {
	in := x.PriceIn
	if warm && x.PriceCacheRead > 0 {
		in = x.PriceCacheRead
	}
	return float32(in+x.PriceOut/8) * float32(tokens) / 1000
}

func (c *sticky) route(_ policy.Config, s *policy.Snapshot, r *policy.Request, p *policy.Plan) {
	low, high := bandOf(r.Level)
	p.Rank(s, r, c.steps, abi.BecauseBand, func(i int) (float32, uint16) {
		x := &s.Candidates[i]
		warm := r.Options[i].Flags&abi.OptionWarm != 0
		switch {
		case r.Model != abi.NoModel && x.Model != r.Model:
			return 0, abi.ReasonNotRequested
		case r.Model == abi.NoModel && (x.Tier < low || x.Tier > high):
			return 0, abi.ReasonOutsideBand
		}
		score := -cost(x, r.InputTokens, warm)
		if x.Health == abi.HealthDegraded {
			score *= 4
		}
		return score, abi.ReasonNone
	})
}

// bandOf is the tiers of a power level.
func bandOf(level uint8) (low, high uint8) {
	switch level {
	case abi.LevelEco:
		return 0, 1
	case abi.LevelBalanced:
		return 1, 2
	case abi.LevelPrecision:
		return 3, 4
	}
	return 0, 5
}

func newPolicy() policy.Policy {
	c := &sticky{steps: 4}
	return policy.Policy{Description: "a session stays where its prompt is cached (Go)", Configure: c.configure, Route: c.route}
}

func init() { policy.Register(newPolicy()) }

func main() {}
