package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// serve is the way of a request, in order: of a conversation's next answer, whatever dialect it is asked for in, and of every
// other operation. A step that cannot go on returns the fault the client gets.
func (e *Engine) serve(ctx *fasthttp.RequestCtx, d dialect.Dialect, op operation) {
	c := e.begin(ctx)
	defer e.abandon(c, c.id)
	c.dialect, c.op = d, op
	fault := e.admit(ctx, c)
	answered := false
	if fault == nil {
		answered, fault = e.claim(ctx, c)
	}
	switch {
	case fault != nil: // not accepted: no usage record
		e.refuse(ctx, c, fault)
		return
	case answered: // before, under the same idempotency key
		e.giveBack(c)
		e.end(c)
		return
	}
	defer c.claim.finish(ctx)
	e.inflight.Add(1)
	if c.env.Stream {
		c.pulse = newPulse(ctx, e.KeepAlive, c.began)
	}
	e.watch.add(&c.watch, ctx.Conn(), c.id[15], c, c.pulse)
	a, fault := e.cached(ctx, c)
	for a == nil && fault == nil { // once, unless the policy wants rounds
		if fault = e.decide(c); fault == nil {
			fault = e.reserve(c)
		}
		if fault == nil {
			a, fault = e.attemptAll(c)
		}
		a, fault = e.review(c, a, fault)
	}
	switch {
	case fault != nil:
		e.fail(ctx, c, fault)
	case c.env.Stream:
		e.relay(ctx, c, a)
	case a.sound != nil:
		e.play(ctx, c, a)
	default:
		e.reply(ctx, c, a)
	}
}

// admit authenticates the caller, waits for room if there is none, reads the few fields of the body that routing depends on, takes
// what the request needs of the caller's limits, and resolves what was asked for: a level, a model or both, and the policy.
func (e *Engine) admit(ctx *fasthttp.RequestCtx, c *call) (fault *Fault) {
	if c.caller, fault = e.permit(ctx, c.endpointName()); fault != nil {
		return fault
	}
	if fault = e.enter(ctx, c); fault != nil {
		return fault
	}
	if fault = c.read(ctx); fault != nil {
		return fault
	}
	if fault = e.takeLimits(ctx, c); fault != nil {
		return fault
	}
	c.identify(ctx)
	if fault = e.resolve(ctx, c); fault != nil {
		return fault
	}
	c.usage.Account, c.usage.Team, c.usage.Key = c.caller.Account.ID, c.caller.Account.Team, c.caller.KeyID
	c.usage.Endpoint, c.usage.Stream = c.endpointName(), c.env.Stream
	c.usage.PowerLevel, c.usage.Policy = levelName(c.level), c.policy
	c.copied = e.keepBody(c)
	return nil
}

// decide states the facts of the request beside the current snapshot and lets the policy make a plan, in a later round from
// the outcomes of those before. A policy that fails costs the client nothing: what is held back is sent, or the engine's own
// order takes its place, and the failure is counted.
func (e *Engine) decide(c *call) *Fault {
	if c.round == 0 {
		balance, err := e.Ledger.Balance(c.caller.Account.ID)
		c.halted = err != nil // what costs nothing goes on: own keys and free models
		e.candidates(c)
		e.describe(c, balance)
	}
	c.facts = policy.Facts{Snapshot: c.snap, State: c.state, Request: &c.req, History: c.outcomes}
	if c.failed = c.roundsOver(e.Now); c.failed == nil {
		c.ran, c.failed = e.route(c)
	}
	if c.failed == nil {
		c.failed = c.checkPlan()
	}
	if c.failed != nil {
		e.metrics.policyFailure(c.policy)
		if errors.Is(c.failed, policy.ErrState) {
			e.learners.drop(c.decider)
		}
		e.Logger.Warn("policy failed, going on without it", "policy", c.policy, "request", c.id, "round", c.round, "error", c.failed)
		c.withoutPolicy()
	}
	switch c.plan.Kind {
	case abi.KindReject:
		return e.rejection(c)
	case abi.KindAsk:
		return e.prepareSideCall(c)
	}
	return nil
}

// reserve drops the steps the account cannot pay for and holds the worst case of those that stay, beside what earlier rounds have
// cost. The hold is decided here and written to disk while the provider works, unless the ledger is strict; nothing reaches the
// client before it is there.
func (e *Engine) reserve(c *call) *Fault {
	if c.plan.Kind == abi.KindAccept {
		return nil
	}
	c.steps = e.wished(c, append(c.steps[:0], c.plan.Steps...))
	available := e.roundLimit(c, storage.Credits(c.req.Credits)-c.spent)
	for {
		worst := func(s policy.Step) storage.Credits { return e.worstCase(c.tried(), int(s.Candidate)) }
		c.steps = e.onePayer(c, slices.DeleteFunc(c.steps, func(s policy.Step) bool { return worst(s) > available || worst(s) > 0 && c.isFull(c.tierOf(s)) }))
		if len(c.steps) == 0 && c.halted {
			return storageUnavailable()
		}
		if len(c.steps) == 0 && c.short != nil {
			return e.overBudget(c.short)
		}
		if len(c.steps) == 0 {
			return noCredits(fmt.Sprintf("the account has %s credits available, which does not cover the worst case of any model this request may use", available))
		}
		most := storage.Credits(0)
		for _, s := range c.steps {
			most = max(most, worst(s))
		}
		if c.spent+most <= c.hold {
			return nil // own keys and free models leave the ledger alone
		}
		err := e.holdAtLeast(c, c.spent+most, e.capsOfHold(c))
		switch {
		case err == nil:
			return nil
		case errors.Is(err, storage.ErrInsufficientCredits): // another request was faster: less is available now
			available = most - 1
		case errors.Is(err, storage.ErrLowSpace), errors.Is(err, storage.ErrHalted): // what costs nothing goes on
			available, c.halted = 0, true
		case errors.As(err, &c.short):
			available = e.withinBudget(c, available, most)
		default:
			e.Logger.Error("reserving credits", "request", c.id, "error", err)
			return storageUnavailable()
		}
	}
}

// holdAtLeast opens the request's hold, for which the budgets must have room, or extends it, to so much.
func (e *Engine) holdAtLeast(c *call, amount storage.Credits, caps []storage.Cap) (err error) {
	var held *storage.Batch
	if c.holding {
		held, err = e.Ledger.Extend(c.id, amount-c.hold)
	} else {
		held, err = e.Ledger.Reserve(storage.Hold{
			Request: c.id, Account: c.caller.Account.ID, Amount: amount, Expires: c.began.Add(holdLife),
			Key: c.caller.Key.SpendsAs(), Team: c.caller.Account.Team, Caps: caps,
		})
	}
	if err == nil { // else what was held before still has to be on disk
		c.held, c.hold, c.holding = held, amount, true
	}
	return err
}

// attemptAll tries the steps of the plan in order until one answers. A streamed answer counts as one only when its first
// content is there, so that falling back is still possible until then.
func (e *Engine) attemptAll(c *call) (*answer, *Fault) {
	if c.plan.Kind == abi.KindAccept {
		return c.release(), nil
	}
	if e.dispatch(c) != nil {
		return nil, storageUnavailable()
	}
	t := e.newTries(c)
	var last *failure
	for again := true; again; again = t.again() {
		for i, step := range c.steps {
			for n := range max(int(step.Attempts), 1) {
				switch {
				case c.clientLeft():
					return nil, clientGone
				case c.late(e.Now):
					return nil, deadlineExceeded()
				}
				if last != nil && !last.allows(c.among[step.Candidate].Model, c) || !t.may(i, n) {
					break
				}
				a, failed := e.try(c, &t, i)
				if failed == nil {
					return a, nil
				}
				if last = failed; !failed.retryable() {
					break
				}
			}
			if last != nil && last.final() {
				return nil, last.fault(c)
			}
		}
	}
	if c.late(e.Now) {
		return nil, deadlineExceeded()
	}
	return nil, last.fault(c)
}

// reply settles a buffered answer and sends it with its price.
func (e *Engine) reply(ctx *fasthttp.RequestCtx, c *call, a *answer) {
	e.measure(c, a, snapshot.Success)
	e.noteSigned(a, c.dialect, &a.inspected, a.body)
	c.bill(a)
	if fault := e.settle(c, storage.OutcomeOK, fasthttp.StatusOK); fault != nil {
		a.close(true)
		e.finish(c)
		fault.Write(ctx)
		return
	}
	e.keep(c, a)
	e.describeAnswer(ctx, c, a)
	a.setContentType(ctx)
	setBody(ctx, len(a.body)+priceRoom, func(room []byte) []byte { return a.priced(room, c) })
	c.copied.hear(ctx.Response.Body())
	setInt(ctx, "X-Pointsman-Overhead-Us", (e.Now().Sub(c.began) - a.took).Microseconds())
	a.close(true)
	e.finish(c)
}
