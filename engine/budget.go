package engine

import (
	"cmp"
	"math"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

// worstCase is what candidate i may charge for the request: the input, estimated on the high side for its family, and the
// longest output it may write.
func (e *Engine) worstCase(c *call, i int) storage.Credits {
	if c.req.Options[i].Flags&abi.OptionOwnKey != 0 {
		return 0
	}
	d := e.deployments[i]
	if c.op != opChat {
		return c.worstOf(d.Deployment)
	}
	output := c.env.MaxTokens
	if output == 0 {
		output = c.plan.MaxOutput
	}
	if output == 0 {
		output = defaultMaxOutput
	}
	if d.Model.MaxOutput > 0 {
		output = min(output, d.Model.MaxOutput)
	}
	return d.Model.Charge(d.family.Reserve(int64(c.env.InputTokens)) + int64(output)*int64(max(c.env.N, 1)))
}

// outputLimit is the limit set on a request that gives none, when the account could not pay for the longest answer the
// model may write: what it can pay for. 0 leaves the request as it is.
func (e *Engine) outputLimit(c *call, a *answer) uint32 {
	if c.op != opChat {
		return 0
	}
	m := a.deployment.Model
	longest := int64(m.MaxOutput)
	if longest == 0 {
		longest = int64(m.ContextWindow)
	}
	answers, input := int64(max(c.env.N, 1)), a.deployment.family.Reserve(int64(c.env.InputTokens))
	if c.env.MaxTokens > 0 || a.own || m.Rate <= 0 {
		return 0
	}
	left := e.spendable(c, m.Tier)
	if longest > 0 && m.Charge(input+longest*answers) <= left {
		return 0
	}
	affordable := (int64(left)*1000/int64(m.Rate) - input) / answers
	return uint32(min(max(affordable, 1), math.MaxUint32))
}

// worstOf is what a deployment may charge for an operation that is no conversation: the estimated input, the longest output if
// the model writes any, and the most units.
func (c *call) worstOf(d *catalog.Deployment) storage.Credits {
	tokens := catalog.Usage{Input: int64(c.env.InputTokens)}
	if c.op != opEmbeddings {
		tokens.Output = int64(cmp.Or(d.Model.MaxOutput, defaultMaxOutput)) * int64(max(c.env.N, 1))
	}
	units := c.worstUnits()
	cost := sum(d.Price.Cost(tokens), d.Price.UnitCost(units))
	return sum(d.Model.Charge(tokens.Input+tokens.Output), d.Model.ChargeUnits(units, cost))
}

// price sets what an answer costs: by its tokens, and by the units of what it did.
func (e *Engine) price(c *call, a *answer) {
	d, u := a.deployment, a.usage
	tokens := catalog.Usage{Input: u.Input, Output: u.Output, CacheRead: u.CacheRead, CacheWrite: u.CacheWrite, Reasoning: u.Reasoning}
	cost := d.Price.Cost(tokens)
	if c.op != opChat {
		units, sure := c.units(a)
		cost = sum(cost, d.Price.UnitCost(units))
		byTokens := c.op == opEmbeddings || d.Model.Rate > 0 || d.Price.In > 0 || d.Price.Out > 0
		if !byTokens && !u.Reported {
			a.usage.Input = 0 // nobody counts them
		}
		a.estimated = byTokens && !u.Reported || !sure && (d.Model.ByUnit() || d.Price.Unit > 0)
		if !a.own {
			a.credits = d.Model.ChargeUnits(units, cost)
		}
	}
	if bill, err := storage.ParseNanoUSD(u.CostUSD); err == nil { // told by the provider itself, as OpenRouter does
		cost = bill
	}
	if !a.own {
		a.credits = sum(a.credits, d.Model.Charge(u.Input+u.Output))
	}
	if !a.simulated && !a.own {
		a.cost = cost
	}
}

// sum adds two amounts that are not negative; beyond what a number holds it is the largest one.
func sum[T storage.Credits | storage.NanoUSD](a, b T) T {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
