package engine

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/engine/limit"
	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/sdk/abi"
	adapter "github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
)

// Rate limits are taken in two steps, each all or nothing:
//
//   - Those of the caller, its key's, its account's and its team's, when the request has been read. Without room the request is
//     refused.
//   - Those of a model and a provider, by the attempt that asks it. Without room the candidate is left out, as one is that is
//     down, and only a request that has no other is refused.
//
// Tokens are taken as estimated, input and longest output, and settled to what was used. call.limits and call.trying hold what
// is taken. Every way in which a request can end passes settle or refuse, which give the former back, and every way in which an
// attempt can end, endTurn.

// Limits are the operator's rate limits, of which budgets play no part. A limit of nil is none, 0 allows nothing.
type Limits struct {
	Keys      storage.Limits            // of each key, where its own does not say
	Accounts  storage.Limits            // of each account, likewise
	Models    map[string]storage.Limits // by public name
	Providers map[string]storage.Limits // by name, of what is sent with the platform's key
}

// over are the limits of an owner, each or else the default.
func over(own, otherwise *storage.Limits) limit.Limits {
	pick := func(own, otherwise *int64) int64 {
		switch {
		case own != nil:
			return max(*own, 0)
		case otherwise != nil:
			return max(*otherwise, 0)
		}
		return limit.None
	}
	return limit.Limits{
		Requests:   pick(own.RequestsPerMinute, otherwise.RequestsPerMinute),
		Tokens:     pick(own.TokensPerMinute, otherwise.TokensPerMinute),
		Concurrent: pick(own.Concurrent, otherwise.Concurrent),
	}
}

// of lists the claims on what a deployment is limited by.
func (l *Limits) of(d *catalog.Deployment) (claims []limit.Claim) {
	model, provider := l.Models[d.Model.Name], l.Providers[d.Provider]
	if limits := over(&model, &storage.Limits{}); limits.Any() {
		claims = append(claims, limit.Claim{Of: limit.Model, ID: d.Model.Name, Limits: limits})
	}
	if limits := over(&provider, &storage.Limits{}); limits.Any() {
		claims = append(claims, limit.Claim{Of: limit.Provider, ID: d.Provider, Limits: limits})
	}
	return claims
}

// claims appends the claims on what a caller is limited by. Keys that follow each other in a rotation are one.
func (l *Limits) claims(dst []limit.Claim, caller *directory.Caller) []limit.Claim {
	add := func(of limit.Owner, id string, limits limit.Limits) {
		if limits.Any() {
			dst = append(dst, limit.Claim{Of: of, ID: id, Limits: limits})
		}
	}
	add(limit.Key, caller.Key.SpendsAs(), over(&caller.Key.Limits, &l.Keys))
	add(limit.Account, caller.Account.ID, over(&caller.Account.Limits, &l.Accounts))
	if caller.Team != nil {
		add(limit.Team, caller.Team.ID, over(&caller.Team.Limits, &storage.Limits{}))
	}
	return dst
}

// takeLimits takes what a request needs of its caller's limits, and tells in the answer's header what is left of them.
func (e *Engine) takeLimits(ctx *fasthttp.RequestCtx, c *call) *Fault {
	var room [limit.MaxClaims]limit.Claim
	claims := e.Limits.claims(room[:0], c.caller)
	if len(claims) == 0 {
		return nil
	}
	now := e.Now()
	state, refused := e.rates.Take(now, claims, c.estimate(int64(c.env.InputTokens), 0), &c.limits)
	tellLimits(&ctx.Response.Header, &state, c.dialect, now)
	if refused == nil {
		return nil
	}
	e.metrics.limited(refused)
	return limitFault(refused)
}

// estimate is how many tokens a request may use: the input and the longest output, which has a limit of the model's own if
// longest is above 0.
func (c *call) estimate(input int64, longest uint32) int64 {
	if c.op != opChat {
		return input
	}
	output := c.env.MaxTokens
	if output == 0 {
		output = defaultMaxOutput
	}
	if longest > 0 {
		output = min(output, longest)
	}
	return input + int64(output)*int64(max(c.env.N, 1))
}

// claimed lists the claims that hold for a deployment, with the platform's key or without: its provider's limits are those of that key.
func (d *deployment) claimed(withKey bool) []limit.Claim {
	n := len(d.claims)
	if n > 0 && d.claims[n-1].Of == limit.Provider && !withKey {
		n--
	}
	return d.claims[:n]
}

func (d *deployment) estimate(c *call) int64 {
	return c.estimate(d.family.Reserve(int64(c.env.InputTokens)), d.Model.MaxOutput)
}

// usedUp tells which limit of a candidate has no room for the request at the moment, nil if there is room.
func (e *Engine) usedUp(c *call, d *deployment, flags uint8, now time.Time) *limit.Refusal {
	claims := d.claimed(flags&(abi.OptionOwnKey|abi.OptionSimulated) == 0)
	if len(claims) == 0 {
		return nil
	}
	return e.rates.Check(now, claims, d.estimate(c))
}

// allUsedUp is the limit that has room first, of those for which candidates were left out.
func (e *Engine) allUsedUp(c *call) (first *limit.Refusal) {
	now := e.Now()
	_, highest := catalog.LevelTiers(c.level)
	for i, d := range c.among {
		o, wanted := &c.req.Options[i], d.Model == c.model || c.model == nil && d.Model.Tier <= highest
		if o.Excluded != abi.ReasonDown || !wanted {
			continue
		}
		r := e.usedUp(c, d, o.Flags, now)
		if r != nil && (first == nil || r.Sooner(first)) {
			first = r
		}
	}
	return first
}

// takeTurn takes what an attempt needs of its model's and its provider's limits. It has to look again, for another request may
// have been faster.
func (e *Engine) takeTurn(c *call, a *answer) *failure {
	claims := a.deployment.claimed(!a.own && !a.simulated)
	if len(claims) == 0 {
		return nil
	}
	_, refused := e.rates.Take(e.Now(), claims, a.deployment.estimate(c), &c.root().trying)
	if refused == nil {
		return nil
	}
	e.metrics.limited(refused)
	return &failure{class: adapter.ClassRateLimited, limited: refused, unsent: true}
}

// noteTokens counts the tokens of an answer. Its turn is over, unless the provider is still at it.
func (e *Engine) noteTokens(c *call, a *answer) {
	c.turn = a.usage.Input + a.usage.Output
	c.tokens += c.turn
	if a.whole || a.events == nil && a.sound == nil {
		e.endTurn(c)
	}
}

// endTurn gives back what an attempt has taken. It may be called again, as giveBack.
func (e *Engine) endTurn(c *call) {
	if c.trying.Open() {
		c.trying.Settle(e.Now(), c.turn)
	}
	c.turn = 0
}

// giveBack gives back what a request has taken of its caller's limits.
func (e *Engine) giveBack(c *call) {
	if c.limits.Open() {
		c.limits.Settle(e.Now(), c.tokens)
	}
}

// abandon, deferred, lets go of a request whose handler panics, and lets the panic go on. A call with another id is over, and
// perhaps another request's by now.
func (e *Engine) abandon(c *call, id storage.RequestID) {
	cause := recover()
	if cause == nil {
		return
	}
	switch {
	case c.id != id:
	case c.watch.shard != nil:
		if e.forgo(c) {
			c.got.close(false)
		}
		c.usage.ErrorCode = "internal_error"
		e.settle(c, storage.OutcomeInterrupted, fasthttp.StatusInternalServerError)
		e.finish(c)
	default: // not accepted yet
		e.giveBack(c)
		e.leave(c)
	}
	panic(cause)
}

// forgo notes the end of the attempt that the call has an answer of, unless that was done.
func (e *Engine) forgo(c *call) bool {
	a := c.got
	if a == nil || c.outcomes[a.outcome].HTTP != 0 {
		return false
	}
	e.live.Done(a.deployment.Index, snapshot.Outcome{})
	return true
}

// limitFault tells which limit is used up, of whom, and until when.
func limitFault(r *limit.Refusal) *Fault {
	f := &Fault{Status: fasthttp.StatusTooManyRequests, Type: typeRate, Code: "rate_limit_exceeded", RetryAfter: r.Retry}
	whose := "your " + r.Of.String()
	if r.Of == limit.Model || r.Of == limit.Provider {
		whose = r.Of.String() + " " + r.ID
	}
	switch {
	case r.Limit == 0:
		f.Message = fmt.Sprintf("%s of %s is 0: it allows nothing", r.Unit, whose)
	case r.Unit == limit.Concurrent:
		f.Message = fmt.Sprintf("%s of %s is %d, and so many are under way", r.Unit, whose, r.Limit)
	default:
		f.Message = fmt.Sprintf("%s of %s is %d and has no room for this request; there is room in %v", r.Unit, whose, r.Limit, upTo(r.Retry, time.Second))
	}
	return f
}

// upTo rounds up.
func upTo(d, unit time.Duration) time.Duration { return (d + unit - 1).Truncate(unit) }

// tellLimits sets the headers that tell how the limits of a caller stand: OpenAI's names, and Anthropic's beside them for its
// own API.
func tellLimits(h *fasthttp.ResponseHeader, s *limit.State, d dialect.Dialect, now time.Time) {
	tell := func(unit string, l *limit.Level) {
		if l.Limit == limit.None {
			return
		}
		most, left := strconv.FormatInt(l.Limit, 10), strconv.FormatInt(l.Remaining, 10)
		h.Set("X-Ratelimit-Limit-"+unit, most)
		h.Set("X-Ratelimit-Remaining-"+unit, left)
		h.Set("X-Ratelimit-Reset-"+unit, upTo(l.Reset, time.Millisecond).String())
		if d == dialect.Messages {
			h.Set("Anthropic-Ratelimit-"+unit+"-Limit", most)
			h.Set("Anthropic-Ratelimit-"+unit+"-Remaining", left)
			h.Set("Anthropic-Ratelimit-"+unit+"-Reset", now.Add(l.Reset+time.Second-1).UTC().Format(time.RFC3339))
		}
	}
	tell("Requests", &s.Requests)
	tell("Tokens", &s.Tokens)
}

func isLimitHeader(name []byte) bool {
	return bytes.HasPrefix(name, []byte("X-Ratelimit-")) || bytes.HasPrefix(name, []byte("Anthropic-Ratelimit-"))
}

// limitFields are the header fields of limits, for an answer whose head is not fasthttp's.
func limitFields(h *fasthttp.ResponseHeader) string {
	var fields strings.Builder
	for name, value := range h.All() {
		if isLimitHeader(name) {
			fmt.Fprintf(&fields, "%s: %s\r\n", name, value)
		}
	}
	return fields.String()
}
