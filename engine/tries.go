package engine

import (
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	adapter "github.com/pointsman/pointsman/sdk/provider"
)

// Retries bound what is tried again. The plan says which candidates are tried, and how often each at once; when all of them
// have failed in a way that may pass, those are tried again after a pause.
type Retries struct {
	Attempts int           // of a request in all, beyond which nothing is tried again; 0: 3. A plan with more steps takes them all once
	Pause    time.Duration // before the first repetition, doubled for each further one; 0: 100 ms
	MaxPause time.Duration // that is waited at most, also when a provider asks for more; 0: 2 s
	Percent  int           // of a provider's requests that may be repetitions; 0: 20
}

func (r Retries) orDefault() Retries {
	if r.Attempts == 0 {
		r.Attempts = 3
	}
	if r.Pause == 0 {
		r.Pause = 100 * time.Millisecond
	}
	if r.MaxPause == 0 {
		r.MaxPause = 2 * time.Second
	}
	if r.Percent == 0 {
		r.Percent = 20
	}
	return r
}

// headerTimeout is how long, in milliseconds, the client gives the whole request.
const headerTimeout = "X-Pointsman-Timeout-Ms"

// readTimeout reads the client's own limit of time.
func (c *call) readTimeout(ctx *fasthttp.RequestCtx) *Fault {
	text := ctx.Request.Header.Peek(headerTimeout)
	if len(text) == 0 {
		return nil
	}
	ms, err := strconv.ParseUint(string(text), 10, 32)
	if err != nil || ms < 1 || ms > 3_600_000 {
		return badRequest("invalid_value", headerTimeout, headerTimeout+" must be a number from 1 to 3600000, in milliseconds")
	}
	c.deadline = c.began.Add(time.Duration(ms) * time.Millisecond)
	return nil
}

// remaining is what is left of the client's own limit, or otherwise.
func (c *call) remaining(now time.Time, otherwise time.Duration) time.Duration {
	if deadline := c.root().deadline; !deadline.IsZero() {
		return min(otherwise, deadline.Sub(now))
	}
	return otherwise
}

// late tells that the client's own limit has passed.
func (c *call) late(now func() time.Time) bool {
	deadline := c.root().deadline
	return !deadline.IsZero() && !now().Before(deadline)
}

// deadlineExceeded is what a client gets whose own limit has passed.
func deadlineExceeded() *Fault {
	return &Fault{Status: fasthttp.StatusGatewayTimeout, Type: typeProvider, Code: "deadline_exceeded", Message: "there was no answer within the request's own limit, " + headerTimeout}
}

// tries is what was tried for the steps of a round.
type tries struct {
	e      *Engine
	c      *call
	made   int
	before int      // made before this turn
	turns  int      // through the steps that are over
	early  bool     // one was left alone in this turn that may be tried later
	last   []tried  // by step; empty until one fails
	latest *failure // of all
}

// tried is what the last try of a step came to.
type tried struct {
	*failure           // nil: there was none
	due      time.Time // until then its provider wants to be left alone
	paid     bool      // the next try is taken from the provider's budget
	refused  bool      // the budget has no further try
}

func (e *Engine) newTries(c *call) tries {
	return tries{e: e, c: c}
}

// may tells whether a step is tried now, for the n-th time of this turn, from 0: for the first time always, again only if that may help and
// the bounds allow it, and at once after another time only after a pause, which it waits for.
func (t *tries) may(step, n int) bool {
	d := t.c.among[t.c.steps[step].Candidate]
	if t.last == nil || t.last[step].failure == nil {
		if t.turns > 0 {
			return false
		}
		d.endpoint.budget.deposit(t.e.Retries.Percent)
		d.endpoint.hedges.deposit(t.e.Hedges.Percent)
		return true
	}
	last := &t.last[step]
	switch {
	case !last.retryable() && (last.class != adapter.ClassRateLimited || t.turns == 0), t.asksTooMuch(last), t.made >= t.e.Retries.Attempts:
		return false
	case t.turns > 0 && !t.e.live.Usable(d.Index, t.e.Now()):
		return false
	case n == 0 && t.e.Now().Before(last.due):
		t.early = true
		return false
	}
	if last.paid = d.endpoint.budget.withdraw(); !last.paid {
		last.refused = true
		return false
	}
	if n > 0 && !t.pause(n-1, last.retryAfter) {
		d.endpoint.budget.refund()
		last.paid = false
		return false
	}
	return true
}

// asksTooMuch tells that who failed wants to be left alone for longer than a pause may last.
func (t *tries) asksTooMuch(f *tried) bool { return f.retryAfter > t.e.Retries.MaxPause }

// note notes a try that failed. One that was not sent costs its provider's budget nothing.
func (t *tries) note(step int, f *failure) {
	if t.last == nil {
		t.last = make([]tried, len(t.c.steps))
	}
	if t.last[step].paid && f.unsent {
		t.c.among[t.c.steps[step].Candidate].endpoint.budget.refund()
	}
	t.made++
	t.latest = f
	t.last[step] = tried{failure: f, due: t.e.Now().Add(f.retryAfter)}
}

// mayHedge tells whether a second copy may go to a step's provider: not if it has failed in a way that does not pass, or wants to be left alone.
func (t *tries) mayHedge(step int) bool {
	d, now := t.c.among[t.c.steps[step].Candidate], t.e.Now()
	if t.last != nil && t.last[step].failure != nil && (!t.last[step].retryable() || now.Before(t.last[step].due)) {
		return false
	}
	if t.latest != nil && !t.latest.allows(d.Model, t.c) {
		return false
	}
	return !t.c.late(t.e.Now) && t.e.live.Usable(d.Index, now) && d.endpoint.hedges.withdraw()
}

// try tries step i once, alone or with a second copy beside it, and notes what failed.
func (e *Engine) try(c *call, t *tries, i int) (*answer, *failure) {
	if c.side == nil {
		if delay := e.hedgeDelay(c, i); delay > 0 {
			return e.attemptHedged(c, t, i, delay)
		}
	}
	a, failed := e.attempt(c.tried(), c.steps[i])
	if failed != nil {
		t.note(i, failed)
	}
	return a, failed
}

// pause waits before the n-th repetition, from 0, at least as long as was asked for; false means that the client left or has no time for it.
func (t *tries) pause(n int, asked time.Duration) bool {
	most := min(t.e.Retries.Pause<<min(n, 16), t.e.Retries.MaxPause)
	wait := max(most/2+rand.N(most/2+1), asked) // half of it at random, so that those who failed together do not come back together
	if t.c.remaining(t.e.Now(), wait+1) <= wait {
		return false
	}
	left := make(waiter)
	if !t.c.cutWith(left) {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return t.c.cutWith(nil)
	case <-left:
		return false
	}
}

// waiter is a pause that can be cut.
type waiter chan struct{}

// Cancel ends the pause.
func (w waiter) Cancel() { close(w) }

// again tells whether to go through the steps once more, after a pause: some failed in a way that may pass.
func (t *tries) again() bool {
	idle := t.made == t.before && !t.early
	t.turns, t.before, t.early = t.turns+1, t.made, false
	if idle || t.made >= t.e.Retries.Attempts {
		return false
	}
	asked, some, now := t.e.Retries.MaxPause+1, false, t.e.Now()
	for i := range t.last {
		last := &t.last[i]
		if last.failure == nil || !last.retryable() && last.class != adapter.ClassRateLimited || last.unsent || last.refused || t.asksTooMuch(last) {
			continue
		}
		if t.e.live.Usable(t.c.among[t.c.steps[i].Candidate].Index, now) {
			asked, some = min(asked, last.due.Sub(now)), true
		}
	}
	if !some || !t.pause(t.turns-1, asked) {
		return false
	}
	for i := range t.last {
		if !t.last[i].due.After(now.Add(asked)) {
			t.last[i].due = time.Time{} // it was waited for, whatever the clock says by then
		}
	}
	return true
}

// retryBudget bounds how much repetitions add to what a provider is asked: to a share of its requests, beside a few that
// are always allowed. Without it, a provider that is overloaded would be asked several times as much for it. It is safe for
// concurrent use. The source of the idea is Finagle's RetryBudget.
type retryBudget struct{ spent atomic.Int64 } // hundredths of a repetition that were taken beyond what was paid in

// retryReserve is how many repetitions are allowed without any request that paid for them, and maxRetrySavings how many can be saved up.
const (
	retryReserve    = 10
	maxRetrySavings = 100
)

// deposit pays for a share of a repetition, in percent.
func (b *retryBudget) deposit(percent int) {
	if b.spent.Load() > -100*maxRetrySavings {
		b.spent.Add(-int64(percent))
	}
}

// refund gives back what was taken for a repetition that was not made.
func (b *retryBudget) refund() { b.spent.Add(-100) }

// withdraw takes a repetition, if there is one.
func (b *retryBudget) withdraw() bool {
	if b.spent.Add(100) <= 100*retryReserve {
		return true
	}
	b.spent.Add(-100)
	return false
}
