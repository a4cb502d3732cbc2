package engine

import (
	"cmp"
	"math"
	"sort"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// worstCase is what candidate i may charge for the request: the input, estimated on the high side for its family, and the
// longest output it may write.
func (e *Engine) worstCase(c *call, i int) storage.Credits {
	if c.req.Options[i].Flags&abi.OptionOwnKey != 0 {
		return 0
	}
	d := c.among[i]
	if c.op != opChat {
		output := int64(0)
		if c.op != opEmbeddings {
			output = int64(cmp.Or(d.Model.MaxOutput, defaultMaxOutput)) * int64(max(c.env.N, 1))
		}
		return e.most(c, d, int64(c.env.InputTokens), output)
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
	return e.most(c, d, d.family.Reserve(int64(c.env.InputTokens)), int64(output)*int64(max(c.env.N, 1)))
}

// outputLimit is the limit set on a request that gives none, when the account could not pay for the longest answer the
// model may write: what it can pay for. 0 leaves the request as it is.
func (e *Engine) outputLimit(c *call, a *answer) uint32 {
	d := a.deployment
	if c.op != opChat || c.env.MaxTokens > 0 || a.own || !d.Model.Charges() {
		return 0
	}
	longest := int64(d.Model.MaxOutput)
	if longest == 0 {
		longest = int64(d.Model.ContextWindow)
	}
	left := e.spendable(c, d.Model.Tier)
	answers, input := int64(max(c.env.N, 1)), d.family.Reserve(int64(c.env.InputTokens))
	pays := func(output int64) bool { return e.most(c, d, input, output*answers) <= left }
	if longest > 0 && pays(longest) {
		return 0
	}
	affordable := sort.Search(math.MaxInt32, func(n int) bool { return !pays(int64(n) + 1) })
	return uint32(max(affordable, 1))
}

// most is the most that a deployment may charge for so many tokens and the units that were asked for, however they are split.
func (e *Engine) most(c *call, d *deployment, input, output int64) storage.Credits {
	charge := d.Model.Charge(input + output)
	if !d.Model.ByUnit() {
		return charge
	}
	var units catalog.Units
	if c.op != opChat {
		units = c.worstUnits()
	}
	cost := storage.NanoUSD(0)
	if d.Model.CostRate > 0 {
		cost = sum(d.Price.Most(input, output, c.scope(d)), d.Price.UnitCost(units))
	}
	return sum(charge, d.Model.ChargeUnits(units, cost, e.markup(c)))
}

// worstText is what a candidate of a recorded decision could charge for text. One that was charged by its cost is priced as it is now.
func (e *Engine) worstText(r *policy.Request, x *policy.Candidate, output int64) storage.Credits {
	input := e.familyByKey(x.Key, x.ModelName).Reserve(int64(r.InputTokens))
	for _, d := range e.deployments {
		if d.Key == x.Key && d.Model.CostRate > 0 {
			cost := d.Price.Most(input, output, catalog.Scope{ServiceTier: catalog.UnaskedService})
			return sum(d.Model.Charge(input+output), d.Model.ChargeUnits(0, cost, e.Markups[min(int(r.AccountTier), len(e.Markups)-1)]))
		}
	}
	m := catalog.Model{Rate: storage.Credits(x.CreditsPer1K)}
	return m.Charge(input + output)
}

// scope is what the request could use beside text, and who could answer it.
func (c *call) scope(d *deployment) catalog.Scope {
	media := len(c.env.Given(nil, c.body, []string{"modalities"})) > 0
	audio := media || c.env.Needs&abi.CapAudio != 0
	s := catalog.Scope{
		AudioIn: audio || c.op.audioForm(), AudioOut: audio || c.op == opSpeech,
		ImageIn:  c.env.Images > 0 || c.env.Needs&abi.CapPDF != 0 || c.op == opImages,
		ImageOut: media || c.op == opImages, ServiceTier: catalog.UnaskedService,
	}
	if d.endpoint.Settings["service_tier"] != "" { // the operator's own wish goes to the provider
		return s
	}
	switch tier := c.env.Text(c.body, "service_tier"); tier {
	case "", "auto":
	case "default", "standard_only":
		s.ServiceTier = ""
	case "fast": // OpenAI's other name of it
		s.ServiceTier = "priority"
	default:
		s.ServiceTier = tier
	}
	return s
}

// markup is that of the caller's account.
func (e *Engine) markup(c *call) catalog.Markup {
	return e.Markups[tierNumber(c.caller.Account.Tier)]
}

// sum adds two amounts that are not negative; beyond what a number holds it is the largest one.
func sum[T storage.Credits | storage.NanoUSD](a, b T) T {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
