package engine

import (
	"math"

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
	m := a.deployment.Model
	longest := int64(m.MaxOutput)
	if longest == 0 {
		longest = int64(m.ContextWindow)
	}
	answers, input := int64(max(c.env.N, 1)), a.deployment.family.Reserve(int64(c.env.InputTokens))
	if c.env.MaxTokens > 0 || a.own || m.Rate <= 0 || longest > 0 && m.Charge(input+longest*answers) <= storage.Credits(c.req.Credits) {
		return 0
	}
	affordable := (c.req.Credits*1000/int64(m.Rate) - input) / answers
	return uint32(min(max(affordable, 1), math.MaxUint32))
}
