// Command cheapest is a routing policy: the cheapest capable candidate first, the next cheapest when it fails. Of equally
// cheap ones the one that fails less comes first.
//
// Parameters: max_tier, the highest tier used (default 5); steps, how many candidates a plan has (default 4).
package main

import (
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// cheapest holds the parameters.
type cheapest struct {
	maxTier uint8
	steps   int
}

func (c *cheapest) configure(cfg policy.Config) error {
	tier, err := cfg.Number("max_tier", 5)
	if err != nil {
		return err
	}
	steps, err := cfg.Number("steps", 4)
	if err != nil {
		return err
	}
	c.maxTier, c.steps = uint8(tier), int(steps)
	return nil
}

func (c *cheapest) route(_ policy.Config, s *policy.Snapshot, r *policy.Request, p *policy.Plan) {
	p.Rank(s, r, c.steps, abi.BecauseBand, func(i int) (float32, uint16) {
		x := &s.Candidates[i]
		if x.Tier > c.maxTier {
			return 0, abi.ReasonOutsideBand
		}
		if r.Options[i].Flags&abi.OptionOwnKey != 0 {
			return 1, abi.ReasonNone // costs the account nothing
		}
		return -float32(x.CreditsPer1K) - x.ErrorRate, abi.ReasonNone
	})
}

func newPolicy() policy.Policy {
	c := new(cheapest)
	return policy.Policy{Description: "cheapest first, then the next on an error (Go)", Configure: c.configure, Route: c.route}
}

func init() { policy.Register(newPolicy()) }

func main() {}
