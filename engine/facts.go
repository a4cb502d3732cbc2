package engine

import (
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// describe fills the request a policy sees: what is asked, and for every candidate whether the engine could use it.
func (e *Engine) describe(c *call, balance storage.Balance) {
	account := c.caller.Account
	r := &c.req
	options := r.Options[:0]
	*r = policy.Request{
		Generation: c.snap.Generation, Seed: seedOf(c.id), Level: c.level, Task: c.env.Task, Privacy: c.env.Privacy,
		Latency: c.env.Latency, AccountTier: tierNumber(account.Tier), Model: abi.NoModel, Needs: c.env.Needs,
		InputTokens: c.env.InputTokens, MaxOutput: c.env.MaxTokens, Messages: uint32(c.env.Messages),
		Credits: int64(max(balance.Available(), 0)), Session: c.env.Session,
	}
	if c.op != opChat {
		r.MaxOutput = 1 // it writes no text, and 0 would stand for a policy's own default
	}
	if c.env.Stream {
		r.Flags |= abi.FlagStream
	}
	if c.env.NoFallback {
		r.Flags |= abi.FlagNoFallback
	}
	if c.env.WantsJSON {
		r.Flags |= abi.FlagJSON
	}
	e.grant(c)
	if c.model != nil {
		r.Model = c.model.Number
	}
	r.Options = e.options(c, options)
	if e.tooFew(c) {
		c.snap, c.among = e.live.Current(c.began), e.deployments
		r.Generation = c.snap.Generation
		r.Options = e.options(c, r.Options[:0])
	}
	e.sampleShadows(c)
}

// options appends what holds for each of the request's candidates.
func (e *Engine) options(c *call, options []policy.Option) []policy.Option {
	now, tier := e.Now(), c.req.AccountTier
	warm, usual := e.sessions.warm(c.env.Session, now), c.usual()
	for _, d := range c.among {
		o := policy.Option{Inflight: e.live.Inflight(d.index)}
		if !usual || !e.suits(c, d, tier, now) {
			o.Excluded, o.Flags = e.option(c, d, tier, now)
		}
		if d.mark == warm {
			o.Flags |= abi.OptionWarm
		}
		options = append(options, o)
	}
	return options
}

// grant adds what the policy needs beyond the plain facts; it would not be loaded if that were not granted.
func (e *Engine) grant(c *call) {
	c.req.Text, c.req.Metadata = c.appendText(nil, c.needs), c.appendMetadata(nil, c.needs)
	if c.needs&abi.GrantState != 0 {
		if c.state = e.learners.state(c.decider); c.state != nil {
			c.req.State = c.state.Number
		}
	}
}

// appendText appends the prompt's text, for a policy that needs it.
func (c *call) appendText(dst []byte, needs uint32) []byte {
	if needs&abi.GrantText == 0 {
		return dst
	}
	return c.env.AppendPrompt(dst, c.body, abi.MaxText)
}

// appendMetadata appends who asks and what the request says of itself, for a policy that needs it.
func (c *call) appendMetadata(dst []byte, needs uint32) []byte {
	if needs&abi.GrantMetadata == 0 {
		return dst
	}
	dst = append(dst, "account="+c.caller.Account.ID+"\nkey="+c.caller.KeyID+"\n"...)
	return c.env.AppendMetadata(dst, c.body, abi.MaxMetadata-len(dst))
}

// usual says that a request leaves every chat model to the policy, and the platform's keys pay.
func (c *call) usual() bool {
	scopes := &c.caller.Key.Scopes
	return c.op == opChat && c.model == nil && c.wish == nil && c.env.Privacy != abi.PrivacyLocal && !c.caller.HasOwnKeys() && scopes.Models == nil && scopes.Tiers == nil
}

// suits says that option finds nothing against a deployment for a usual request, in a quarter of the time; false: option has to look.
func (e *Engine) suits(c *call, d *deployment, tier uint8, now time.Time) bool {
	return d.platform && !d.limited && d.mode == abi.ModeChat && c.env.Needs&^d.can == 0 && (d.window == 0 || c.env.InputTokens <= d.window) &&
		d.accounts>>tier&1 == 1 && e.live.Usable(d.index, now) && d.key.circuit.Allows(now) && d.limits.Load() == nil
}

// option tells whether a deployment can serve the request of an account of a tier, by its number, at all, and with whose key.
func (e *Engine) option(c *call, d *deployment, tier uint8, now time.Time) (excluded, flags uint8) {
	named, here := c.asks(d)
	unwanted := uint8(0)
	switch {
	case c.caller.HasOwnKeys() && c.caller.OwnKey(d.Provider) != nil:
		flags = abi.OptionOwnKey
	case d.platform:
	case d.simulate:
		flags = abi.OptionSimulated
	default:
		return abi.ReasonNoKey, 0
	}
	if c.wish != nil {
		unwanted = c.wish.excludes(d, flags)
	}
	switch {
	case d.mode != c.op.mode():
		excluded = abi.ReasonMode
	case !inScope(&c.caller.Key.Scopes, d.model):
		excluded = abi.ReasonNotGranted
	case c.op != opChat && !named: // another model would answer something else, whatever the policy thinks
		excluded = abi.ReasonNotRequested
	case named && !here:
		excluded = abi.ReasonNotRequested
	case unwanted != 0:
		excluded = unwanted
	case !named && c.env.Needs&^d.can != 0: // who names a model knows what it can do
		excluded = abi.ReasonCapability
	case !named && d.window > 0 && c.env.InputTokens > d.window:
		excluded = abi.ReasonContext
	case c.env.Privacy == abi.PrivacyLocal && !d.local:
		excluded = abi.ReasonNotLocal
	case flags&abi.OptionOwnKey == 0 && d.accounts>>tier&1 == 0:
		excluded = abi.ReasonAccountTier
	case !e.live.Usable(d.index, now), d.limited && flags&abi.OptionOwnKey == 0 && e.usedUp(c, d, flags, now) != nil:
		excluded = abi.ReasonDown
	case flags == 0: // with the platform's key
		if at, _ := d.ready(c.env.InputTokens, now); !at.IsZero() {
			excluded = abi.ReasonDown
		}
	}
	return excluded, flags
}

func seedOf(id storage.RequestID) uint64 {
	var seed uint64
	for _, b := range id[8:] {
		seed = seed<<8 | uint64(b)
	}
	return seed
}
