package engine

import (
	"errors"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

// measure takes an answer's usage, or counts it when the provider reported none, prices it, and notes the attempt's
// outcome, once. Counts beyond what the model could possibly read or write are not believed.
func (e *Engine) measure(c *call, a *answer, verdict snapshot.Verdict) {
	if a.measured {
		return
	}
	a.measured = true
	d, u := a.deployment, a.usage
	if a.partial != nil { // a translated stream may begin with an estimate, and its dialect may have no place for every count
		u = a.partial()
	}
	e.supplement(c, a, &u)
	e.believe(c, a, &u)
	a.usage = u
	lack := e.price(c, a)
	e.checkPrice(a, lack)
	a.dearest = e.dearest(c, a)
	u = a.usage
	e.noteTokens(c.root(), a)
	e.live.Done(d.Index, snapshot.Outcome{
		Verdict: verdict, Failure: abi.FailureServer, TTFT: a.ttft, Duration: a.took, OutputTokens: u.Output, End: a.began.Add(a.took),
	})
	e.metrics.attempt(a.provider(), "ok")
	o := &c.root().outcomes[a.outcome]
	o.HTTP, o.Credits = fasthttp.StatusOK, int64(a.credits)
	switch verdict {
	case snapshot.Success:
		o.Flags |= abi.OutcomeOK
	case snapshot.Failure:
		o.Failure = abi.FailureServer // it broke off
	default:
		o.Failure = abi.FailureCancelled
	}
	o.Input, o.Output = uint32(u.Input), uint32(u.Output)
	o.TTFT, o.Latency = float32(millis(a.ttft)), float32(millis(a.took))
	if verdict == snapshot.Success {
		e.compare(c, a)
	}
}

// bill makes an answer the one that the request's usage tells of. Its price is that of all rounds.
func (c *call) bill(a *answer) {
	u := &c.usage
	u.Model, u.Provider, u.BYOK, u.Simulated, u.Estimated = a.deployment.Model.Name, a.provider(), a.own, a.simulated, a.estimated
	n := &a.usage
	u.InputTokens, u.OutputTokens, u.CachedTokens, u.Reasoning = n.Input, n.Output, n.CacheRead, n.Reasoning
	u.CacheWrite, u.CacheWrite1h, u.CacheWrite12h = n.CacheWrite, n.CacheWrite1h, n.CacheWrite12h
	u.AudioInput, u.ImageInput, u.AudioOutput, u.ImageOutput = n.AudioInput, n.ImageInput, n.AudioOutput, n.ImageOutput
	u.ServiceTier, u.Suspect = n.ServiceTier, n.Suspect
	if !a.own {
		u.PriceVersion = a.deployment.version
	}
	u.TTFT = a.ttft + a.began.Sub(c.began)
	c.spend(a)
	u.Credits = c.spent
	c.noteCosts()
	if a.dearest > 0 {
		u.SavedUSD = a.dearest - u.CostUSD
	}
	c.answered = a.deployment.Index
}

// noteCosts takes what the answers of all rounds cost into the request's usage.
func (c *call) noteCosts() {
	c.usage.CostUSD, c.usage.ListedUSD, c.usage.ReportedUSD = c.cost.billed, c.cost.listed, c.cost.reported
}

// settle ends a call exactly once: it settles or voids the hold, waits until that is secured, and hands the usage and the
// decision to the log. The fault says that the charge could not be secured; the client must then not get its answer.
func (e *Engine) settle(c *call, outcome storage.Outcome, status int) *Fault {
	if c.settled {
		return nil
	}
	c.settled = true
	e.giveBack(c)
	u := &c.usage
	u.Outcome, u.Status, u.Attempts = outcome, status, len(c.outcomes)
	now := e.Now()
	u.Latency = now.Sub(c.began)
	if !c.dispatched.IsZero() {
		u.Overhead = c.dispatched.Sub(c.began)
	}
	err := c.claim.settles(outcome, len(c.outcomes))
	if err != nil {
		u.Credits = 0 // a retry would not know of the charge
	}
	var settled *storage.Batch
	if c.holding {
		tier := e.deployments[c.answered].Model.Tier
		receipt, batch, failed := e.Ledger.Settle(storage.Settlement{Request: c.id, Charge: u.Credits, Tier: tier, Reason: string(outcome)})
		if failed == nil {
			u.Credits, settled = receipt.Charged, batch
			if failed = e.secure(c, settled); failed != nil {
				c.claim.await()
			}
		}
		if failed == nil {
			e.watchBudgets(c.caller, tier, receipt.Charged)
		}
		err = errors.Join(err, failed)
	}
	var fault *Fault
	if err != nil {
		e.Logger.Error("settling credits", "request", c.id, "account", u.Account, "charge", u.Credits, "error", err)
		fault = storageUnavailable()
		u.Credits, u.Outcome, u.Status, u.ErrorCode = 0, storage.OutcomeInterrupted, fault.Status, fault.Code
		c.claim.release()
	}
	if outcome == storage.OutcomeOK {
		e.sessions.note(c.session, e.deployments[c.answered].mark, now)
	}
	e.learnFrom(c)
	c.tellRollout()
	e.Log.Append(storage.LogRecord{Usage: *u, Decision: e.decisionRecord(c), Settled: settled})
	e.tellShadows(c)
	e.metrics.request(u)
	return fault
}

// dispatch begins the part of a call that providers have. A strict ledger has its hold on disk before.
func (e *Engine) dispatch(c *call) error {
	if e.Strict {
		if err := c.held.Wait(); err != nil {
			return err
		}
	}
	if c.dispatched.IsZero() {
		c.dispatched = e.Now()
	}
	return nil
}

// secure returns when the end of an answer may leave: the hold is on disk, and the settlement too, or with the system, which brings it there
// within milliseconds. If the power fails before, the hold ends as interrupted and the answer cost nothing.
func (e *Engine) secure(c *call, settled *storage.Batch) error {
	if e.Strict || c.claim != nil { // a kept answer is on disk: what it cost must be
		return settled.Wait()
	}
	if err := c.held.Wait(); err != nil {
		return err
	}
	return settled.Written()
}

// decisionRecord is everything needed to explain and to repeat the decision, or nil if none was made. It is in the call's memory.
func (e *Engine) decisionRecord(c *call) []byte {
	if c.snap == nil {
		return nil
	}
	d := record.Decision{
		Policy: c.decider, Ran: c.ran, Request: &c.req, Earlier: c.earlier, Plan: &c.plan, Outcomes: c.outcomes,
		Withheld: !e.RecordTexts && c.textsSeen(),
	}
	if c.wish != nil {
		d.Wish, d.Tried = c.wish.text(), c.wish.tried
	}
	if c.failed != nil {
		d.Failure = clip(c.failed.Error(), 200)
	}
	c.encoded = record.AppendDecision(c.encoded[:0], &d)
	return c.encoded
}

// finish lets go of a settled call.
func (e *Engine) finish(c *call) {
	e.endTurn(c)
	if c.kept != nil { // and not sent
		c.kept.close(true)
	}
	if c.claim != nil {
		c.claim.over = true
	}
	c.copied.hand()
	e.end(c)
	e.inflight.Done()
}

// fail settles an accepted request that gets an error, charging nothing, and sends the error.
func (e *Engine) fail(ctx *fasthttp.RequestCtx, c *call, fault *Fault) {
	outcome := storage.OutcomeRejected
	stopped := c.wasStopped()
	switch {
	case stopped:
		outcome, fault = storage.OutcomeInterrupted, shuttingDown()
	case c.clientLeft() || fault == clientGone:
		outcome = storage.OutcomeClientAbort
	case len(c.outcomes) > 0, c.cache.failed:
		outcome = storage.OutcomeUpstreamError
		if c.deadline.IsZero() { // else it may be the limit of this client alone
			c.flight.fail(fault)
		}
	}
	c.usage.Credits, c.usage.ErrorCode = 0, fault.Code
	c.noteCosts()
	if unsettled := e.settle(c, outcome, fault.Status); unsettled != nil {
		fault = unsettled
	}
	if stopped { // the same request can be made again, of another gateway
		c.claim.release()
	}
	e.describeDecision(ctx, c)
	p, d, k := c.pulse, c.dialect, c.claim
	e.finish(c)
	if p.stop() { // the status is gone already
		ctx.SetContentType("text/event-stream; charset=utf-8")
		stream(ctx, p, k.record(ctx, &faultBody{event: d.AppendErrorEvent(nil, fault.Status, fault.detail(), 0)}))
		return
	}
	fault.Write(ctx)
}

// refuse answers a request that was not accepted.
func (e *Engine) refuse(ctx *fasthttp.RequestCtx, c *call, fault *Fault) {
	e.giveBack(c)
	e.metrics.refusal(fault.Code)
	e.end(c)
	fault.Write(ctx)
}

// describeDecision sets the headers that hold for every accepted request.
func (e *Engine) describeDecision(ctx *fasthttp.RequestCtx, c *call) {
	setHeader(ctx, "X-Pointsman-Policy", c.policy)
	setHeader(ctx, "X-Pointsman-Power-Level", levelName(c.level))
	if c.failed != nil {
		setHeader(ctx, "X-Pointsman-Policy-Failed", "true")
	}
	setInt(ctx, "X-Pointsman-Attempts", int64(len(c.outcomes)))
}

// describeAnswer sets the headers that say who answered. Price and credits of a stream are not known yet; they come with
// its usage.
func (e *Engine) describeAnswer(ctx *fasthttp.RequestCtx, c *call, a *answer) {
	e.describeDecision(ctx, c)
	setHeader(ctx, "X-Pointsman-Model", a.deployment.Model.Name)
	setHeader(ctx, "X-Pointsman-Provider", a.provider())
	setInt(ctx, "X-Pointsman-Tier", int64(a.deployment.Model.Tier))
	if a.simulated {
		setHeader(ctx, "X-Pointsman-Simulated", "true")
	}
	dropped := a.dropped
	if c.wish != nil {
		dropped = slices.Concat(dropped, c.wish.Unserved)
	}
	if len(dropped) > 0 {
		setHeader(ctx, "X-Pointsman-Dropped", strings.Join(dropped, ", "))
	}
	if !c.env.Stream || a.stored != nil {
		price := c.extra()
		setHeader(ctx, "X-Pointsman-Credits", price.Credits)
		setHeader(ctx, "X-Pointsman-Cost-Usd", price.CostUSD)
		if a.estimated {
			setHeader(ctx, "X-Pointsman-Estimated", "true")
		}
	}
}

// extra is what the client is told of the price, made once when that is final.
func (c *call) extra() dialect.Extra {
	told := c.told
	if told.Credits == "" {
		told = dialect.Extra{CostUSD: c.usage.CostUSD.String(), Credits: c.usage.Credits.String(), BYOK: c.usage.BYOK}
	}
	if c.settled {
		c.told = told
	}
	return told
}

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
