package engine

import (
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// A hedge is a second copy of a request, sent when the first has been silent for longer than most are. What answers first goes to the
// client, the other is cut. It trades a little of the operator's money for the slowest answers (Dean and Barroso, "The Tail at Scale",
// 2013: hedging after the 95th percentile adds 5 % of requests); the client pays for the answer it gets and no more.
//
// Only an attempt that may be hedged leaves the goroutine of its request: it works on a call of its own beside the client's, and
// what it tells of itself is written down by the request's goroutine when both are over.

// HedgeMode says which attempts are hedged.
type HedgeMode string

// The modes.
const (
	HedgeOff    HedgeMode = "off"
	HedgePlan   HedgeMode = "plan"   // those whose plan asks for it
	HedgeAlways HedgeMode = "always" // also the others, after the 95th percentile of the candidate
)

// Hedges bound second copies.
type Hedges struct {
	Mode    HedgeMode // "": HedgePlan
	Percent int       // of a provider's requests that may be second copies; 0: 5
}

func (h Hedges) orDefault() Hedges {
	if h.Mode == "" {
		h.Mode = HedgePlan
	}
	if h.Percent == 0 {
		h.Percent = 5
	}
	return h
}

const (
	// hedgeSamples is how many answers of the last minutes a 95th percentile is taken of at least.
	hedgeSamples = 20
	// shortestHedge is the shortest delay: what is faster needs no second copy.
	shortestHedge = 5 * time.Millisecond
	percentileAge = time.Second
)

// percentiles are a deployment's 95th percentiles, worked out once a second at most. The zero value is ready; it is safe for
// concurrent use.
type percentiles struct {
	mu           sync.Mutex
	at           time.Time
	first, whole time.Duration // to the first token and to the last byte; 0: too few answers
}

func (p *percentiles) of(live *snapshot.Live, i int, now time.Time) (first, whole time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at.IsZero() || now.Sub(p.at) > percentileAge {
		p.at, p.first, p.whole = now, 0, 0
		if s := live.Window(i); s.Answers >= hedgeSamples {
			p.first, p.whole = s.TTFT95, s.Latency95
		}
	}
	return p.first, p.whole
}

// hedgeDelay is how long step i of a call's round is waited for before the hedge; 0: there is none.
func (e *Engine) hedgeDelay(c *call, i int) time.Duration {
	if e.Hedges.Mode == HedgeOff || c.plan.Kind != abi.KindAnswer {
		return 0
	}
	step := c.steps[i]
	switch {
	case step.HedgeMillis != 0 && step.HedgeMillis != abi.HedgeP95:
		return max(time.Duration(step.HedgeMillis)*time.Millisecond, shortestHedge)
	case step.HedgeMillis == 0 && e.Hedges.Mode != HedgeAlways:
		return 0
	}
	if usual := e.percentile(c, c.among[step.Candidate]); usual > 0 {
		return max(usual, shortestHedge)
	}
	return 0
}

// percentile is what 95 % of a deployment's answers like a call's do not take longer than; 0: too few answers.
func (e *Engine) percentile(c *call, d *deployment) time.Duration {
	first, whole := d.percentiles.of(e.live, d.Index, e.Now())
	if c.env.Stream {
		return first
	}
	return whole
}

// usually is percentile, and a second as long as that is not known.
func (e *Engine) usually(c *call, d *deployment) time.Duration {
	if usual := e.percentile(c, d); usual > 0 {
		return usual
	}
	return time.Second
}

// result is what came of an attempt beside others.
type result struct {
	call   *call
	step   int
	answer *answer
	failed *failure
}

// attemptHedged is attempt for step i, with a second copy beside it if it takes too long: of the next step, or of the same one if
// there is none. It notes the failures of both.
func (e *Engine) attemptHedged(c *call, t *tries, i int, delay time.Duration) (*answer, *failure) {
	results := make(chan result, 2)
	start := func(step int) *call {
		beside := c.another()
		go func() {
			a, f := e.launch(beside, c.steps[step])
			results <- result{beside, step, a, f}
		}()
		return beside
	}
	first := start(i)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case r := <-results:
		return e.settleAttempt(c, t, r)
	case <-timer.C:
	}
	other := min(i+1, len(c.steps)-1)
	if !t.mayHedge(other) {
		return e.settleAttempt(c, t, <-results)
	}
	second := start(other)
	r := <-results
	if r.failed != nil { // the other one goes on alone
		e.metrics.hedge(c.providerOf(other), "failed")
		e.settleAttempt(c, t, r)
		return e.settleAttempt(c, t, <-results)
	}
	loser, outcome := second, "lost"
	if r.call == second {
		loser, outcome = first, "won"
	}
	e.metrics.hedge(c.providerOf(other), outcome)
	loser.cut.off()
	lost := <-results // at once: what it waits for is cut
	e.writeOff(c, lost)
	return e.settleAttempt(c, t, r)
}

// settleAttempt writes down what came of an attempt beside the call.
func (e *Engine) settleAttempt(c *call, t *tries, r result) (*answer, *failure) {
	c.trying, r.call.trying = r.call.trying, c.trying // the turn is the call's now
	e.conclude(c, c.steps[r.step], r.answer, r.failed)
	if r.failed != nil { // an answer is still coming, and is cut with the call
		t.note(r.step, r.failed)
		c.forgetBeside(r.call)
	}
	return r.answer, r.failed
}

// writeOff writes down an attempt that was cut because another one was faster, or that came second. Its provider may bill for it: for
// the prompt, and for an answer as far as it came.
func (e *Engine) writeOff(c *call, r result) {
	a, f := r.answer, r.failed
	if f == nil {
		a.close(false)
		f = transportFailure(upstream.ErrCancelled)
	}
	c.trying, r.call.trying = r.call.trying, c.trying
	e.conclude(c, c.steps[r.step], a, f)
	c.forgetBeside(r.call)
	if f.unsent || a.own || a.simulated {
		return
	}
	u := a.usage
	if u.Input == 0 {
		u.Input = int64(c.env.InputTokens)
	}
	cost, _ := a.deployment.Price.Cost(normal(&u))
	c.cost.add(costs{billed: cost, listed: cost})
	o := &c.outcomes[len(c.outcomes)-1]
	o.Input, o.Output = uint32(u.Input), uint32(u.Output)
}

func (c *call) providerOf(step int) string {
	return c.among[c.steps[step].Candidate].Provider
}

// another is a call beside c for an attempt that goes on at the same time. It shares what is only read.
func (c *call) another() *call {
	b := &call{
		id: c.id, clientID: c.clientID, beta: c.beta, contentType: c.contentType, began: c.began, deadline: c.deadline, caller: c.caller,
		body: c.body, dialect: c.dialect, op: c.op, env: c.env, chat: c.chat, session: c.session, level: c.level, policy: c.policy, model: c.model,
		wish: c.wish, snap: c.snap, among: c.among, req: c.req, plan: policy.Plan{Kind: c.plan.Kind, Flags: c.plan.Flags}, hold: c.hold, round: c.round,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts = append(c.attempts, b)
	if c.left {
		b.cut.off()
	}
	return b
}

// forgetBeside ends what the client's leaving has to do with an attempt that is over.
func (c *call) forgetBeside(b *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts = slices.DeleteFunc(c.attempts, func(one *call) bool { return one == b })
}
