package engine

import (
	"errors"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

const (
	// roundsTime is after which a request gets no further round.
	roundsTime = time.Minute
	// maxHeld is how much of a streamed answer is held back, in bytes of its events: what is longer is sent unreviewed.
	maxHeld = 8 << 20
)

var errRoundsTime = errors.New("the rounds before took a minute")

// roundsOver says why there can be no further round.
func (c *call) roundsOver(now func() time.Time) error {
	if c.round > 0 && now().Sub(c.began) > roundsTime {
		return errRoundsTime
	}
	return nil
}

// further tells that the policy is asked again after this round, whatever comes of it.
func (c *call) further() bool {
	return c.plan.Kind == abi.KindAsk || c.reviewed()
}

// reviewed tells that an answer to this call is read to its end before it counts. There is nothing to review but conversations.
func (c *call) reviewed() bool { return c.plan.Flags&abi.PlanReview != 0 && c.op == opChat }

// root is the client's call.
func (c *call) root() *call {
	if c.parent != nil {
		return c.parent
	}
	return c
}

// tried is the call that this round makes to providers: the client's own, or a side call.
func (c *call) tried() *call {
	if c.side != nil {
		return c.side
	}
	return c
}

// begun notes an attempt at candidate i; its end is filled in later.
func (c *call) begun(a *answer, i uint16) *policy.Outcome {
	o := policy.Outcome{
		Key: c.snap.Candidates[i].Key, Candidate: i, Tag: c.plan.Tag, Round: c.round, Kind: c.plan.Kind,
		Level: c.req.Level, Task: c.req.Task,
	}
	if a.own {
		o.Flags |= abi.OutcomeOwnKey
	}
	if a.simulated {
		o.Flags |= abi.OutcomeSimulated
	}
	a.outcome = len(c.outcomes)
	c.outcomes = append(c.outcomes, o)
	return &c.outcomes[a.outcome]
}

// spend counts what an answer costs, once.
func (c *call) spend(a *answer) {
	if !a.spent {
		a.spent = true
		c.spent += a.credits
		c.cost.add(a.cost)
	}
}

// roundLimit is how much of the available credits the steps of this round may cost.
func (e *Engine) roundLimit(c *call, available storage.Credits) storage.Credits {
	if e.RoundLimit > 0 && c.further() {
		return min(available, e.RoundLimit-c.spent)
	}
	return available
}

// withoutPolicy makes the plan that takes the place of one that failed: send what is held back, or the engine's own order.
func (c *call) withoutPolicy() {
	if c.kept == nil {
		c.ownOrder()
		return
	}
	c.plan.Reset()
	c.plan.Kind, c.plan.Reason = abi.KindAccept, abi.BecauseFallback
}

// review ends a round. It passes on an answer for the client or a fault; neither means that the policy is to be asked
// again. An escalation that failed costs nothing but time: the answer that was held back is sent. What a side call said, or failed with, is
// for the policy alone.
func (e *Engine) review(c *call, a *answer, fault *Fault) (*answer, *Fault) {
	asked := c.plan.Kind == abi.KindAsk
	over := fault == clientGone || c.plan.Kind == abi.KindReject || fault != nil && fault.fromCaller() && !asked
	switch {
	case c.further() && !over && (!c.halted || asked):
	case fault != nil && c.kept != nil && !over:
		return c.release(), nil
	default:
		return a, fault
	}
	if a != nil && c.plan.Kind == abi.KindAnswer && c.env.Stream && !a.whole {
		return a, nil // too long to be held back
	}
	if n := len(c.outcomes); a == nil && (n == 0 || c.outcomes[n-1].Round != c.round) {
		c.noteUnaffordable()
	}
	if a != nil {
		e.hear(c, a)
	}
	e.metrics.round(c.policy, kindName(c.plan.Kind))
	c.earlier = append(c.earlier, copyPlan(&c.plan))
	c.round++
	c.side = nil
	return nil, nil
}

// fromCaller tells that another candidate would not help: the request itself is at fault.
func (f *Fault) fromCaller() bool {
	return f.Status == fasthttp.StatusBadRequest && f.Code != "content_filter" && f.Code != "context_length_exceeded"
}

// release takes back the answer that is held, to be sent.
func (c *call) release() *answer {
	a := c.kept
	c.kept = nil
	return a
}

// hear measures a round's answer for the policy. One to the client is held back in the place of the one before.
func (e *Engine) hear(c *call, a *answer) {
	if tried := c.tried(); !tried.env.Stream {
		a.said.Add(tried.dialect, a.body)
	}
	e.measure(c.tried(), a, snapshot.Success)
	c.spend(a)
	o := &c.outcomes[a.outcome]
	o.Flags |= a.said.Flags()
	o.Finish = a.said.Finish
	if c.plan.Kind == abi.KindAsk {
		o.Text = cutText(a.said.Text, abi.MaxAskText)
		a.close(true)
		return
	}
	if c.kept != nil {
		c.kept.close(true)
	}
	c.kept = a
}

// noteUnaffordable tells the policy that nothing was tried in this round, for want of credits.
func (c *call) noteUnaffordable() {
	first := c.plan.Steps[0].Candidate
	c.begun(&answer{deployment: c.among[first]}, first).Failure = abi.FailureUnaffordable
}

// textsSeen tells that the policy was given texts.
func (c *call) textsSeen() bool {
	return len(c.req.Text) > 0 || len(c.req.Metadata) > 0 ||
		slices.ContainsFunc(c.outcomes, func(o policy.Outcome) bool { return len(o.Text) > 0 })
}

// copyPlan keeps a plan without its verdicts.
func copyPlan(p *policy.Plan) policy.Plan {
	kept := *p
	kept.Steps, kept.Verdicts = slices.Clone(p.Steps), nil
	kept.Explanation, kept.Ask = slices.Clone(p.Explanation), slices.Clone(p.Ask)
	return kept
}
