package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

const (
	// defaultMaxOutput is the output, in tokens, that credits are held for when neither the request nor the policy says.
	defaultMaxOutput = 4096
	// holdLife is how long after the beginning of its request a hold expires, whatever time limits there are: as long as an answer may
	// take by default. A request that ends later is charged late.
	holdLife = 30 * time.Minute
)

// checkPlan refuses a plan that would break a promise of the engine: a policy ranks, it cannot lift an exclusion.
func (c *call) checkPlan() error {
	if c.plan.Kind == abi.KindAccept && c.kept == nil {
		return errors.New("plan accepts an answer, and none is held")
	}
	if c.plan.Kind == abi.KindAsk && c.op != opChat {
		return errors.New("plan asks about a request that is no conversation")
	}
	for _, s := range c.plan.Steps {
		if why := c.req.Options[s.Candidate].Excluded; why != 0 {
			return fmt.Errorf("plan uses candidate %d, which is excluded: %s", s.Candidate, policy.ReasonName(uint16(why)))
		}
		if c.model != nil && c.env.NoFallback && c.plan.Kind == abi.KindAnswer && c.among[s.Candidate].Model != c.model {
			return errors.New("plan falls back although the request forbids it")
		}
	}
	return nil
}

// ownOrder is the documented order when a policy fails: the named model's deployments, or else the models of the level's
// tiers and below, dearest tier first; within a tier the cheapest first; ties in catalog order.
func (c *call) ownOrder() {
	_, highest := catalog.LevelTiers(c.level)
	c.plan = policy.Plan{Kind: abi.KindAnswer, Reason: abi.BecauseFallback, Steps: c.plan.Steps[:0], Verdicts: c.plan.Verdicts[:0]}
	var fit []int
	for i, d := range c.among {
		wanted := d.Model == c.model || c.model == nil && d.Model.Tier <= highest
		if wanted && c.req.Options[i].Excluded == 0 {
			fit = append(fit, i)
		}
	}
	slices.SortStableFunc(fit, func(a, b int) int {
		x, y := c.among[a].Model, c.among[b].Model
		return cmp.Or(cmp.Compare(y.Tier, x.Tier), cmp.Compare(x.Rate, y.Rate))
	})
	for _, i := range fit[:min(len(fit), abi.MaxSteps)] {
		c.plan.Steps = append(c.plan.Steps, policy.Step{Candidate: uint16(i), Attempts: 1, Reason: abi.BecauseFallback})
	}
	if len(c.plan.Steps) == 0 {
		c.plan.Kind, c.plan.Reason = abi.KindReject, abi.BecauseNothing
	}
}

// rejection is the fault of a plan that refuses the request.
func (e *Engine) rejection(c *call) *Fault {
	message := string(c.plan.Explanation)
	if c.halted && c.plan.Reason == abi.BecauseNoCredits {
		return storageUnavailable()
	}
	if c.plan.Reason == abi.BecauseNoCredits {
		if message == "" {
			message = fmt.Sprintf("the account has %s credits available, too few for any model that could serve this request", storage.Credits(c.req.Credits))
		}
		return noCredits(message)
	}
	if message == "" {
		message = "no model meets the requirements of this request"
	}
	f := &Fault{Status: fasthttp.StatusServiceUnavailable, Type: typeServer, Code: "no_candidate", Message: message}
	if c.plan.Status != 0 && c.plan.Status != fasthttp.StatusServiceUnavailable { // which is what a policy means that names none
		f.Status, f.Type, f.Code = int(c.plan.Status), typeRequest, "rejected_by_policy"
	}
	if f.Status == fasthttp.StatusServiceUnavailable {
		if r := e.allUsedUp(c); r != nil {
			e.metrics.limited(r)
			return limitFault(r)
		}
		f.RetryAfter = 5 * time.Second
		if at, limited := e.soonest(c); !at.IsZero() {
			f.RetryAfter = max(at.Sub(e.Now()), time.Second)
			if limited && c.model != nil {
				f.Status, f.Type, f.Code = fasthttp.StatusTooManyRequests, typeRate, "provider_rate_limited"
				f.Message = "the provider limits the rate of requests, and its limit is used up"
			}
		}
	}
	return f
}

// onePayer keeps the steps that are paid by whoever pays the first one, unless the request allows both: who brings a key is
// never charged behind their back, and nobody's key is used because the platform's failed.
func (e *Engine) onePayer(c *call, steps []policy.Step) []policy.Step {
	if len(steps) == 0 || c.env.KeyFallback {
		return steps
	}
	own := func(s policy.Step) bool { return c.req.Options[s.Candidate].Flags&abi.OptionOwnKey != 0 }
	first := own(steps[0])
	return slices.DeleteFunc(steps, func(s policy.Step) bool { return own(s) != first })
}
