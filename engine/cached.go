package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/cache"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

// CacheConfig says whether complete answers are kept, to be given again to the same request.
type CacheConfig struct {
	Enabled  bool
	TTL      time.Duration
	MaxBytes int // of all answers
	MaxEntry int // of one answer
	Scope    CacheScope
	// HitShare is what a hit costs, in millionths of what the answer cost when it was made; 0: nothing.
	HitShare uint32
	// AnyTemperature keeps the answers to requests with a temperature above 0 too, whose clients may want another each time.
	AnyTemperature bool
	Ignore         []string // members of bodies that make no difference
	// Coalesce has requests wait for the answer to the same one that is under way. It does so without Enabled too.
	Coalesce bool
}

// CacheScope is who shares answers. Nothing is ever shared beyond it.
type CacheScope string

// The scopes. An account without a team is one by itself.
const (
	CacheByAccount CacheScope = "account"
	CacheByKey     CacheScope = "key"
	CacheByTeam    CacheScope = "team"
)

// wholeShare is a share of all.
const wholeShare = 1_000_000

// cachedAnswer is an answer in the cache, in the caller's dialect. It is not changed any more.
type cachedAnswer struct {
	deployment                int
	own, simulated, estimated bool
	usage                     dialect.Usage
	credits                   storage.Credits // that it cost
	origin                    string          // id of the request that it was made for
	dropped                   []string
	body                      []byte // of a buffered answer, without a price; of a stream, all events as its client got them but the end
	last, done                []byte // how a stream ends, see dialect.End
}

// caching is what a call has to do with the cache.
type caching struct {
	key    cache.Key
	tenant cache.Tenant
	fill   bool           // a complete answer is to be kept
	events []byte         // of a stream so far
	said   dialect.Answer // likewise
	failed bool           // the request's fault is that of the one it followed
}

// cacheable says that the answers to an operation are kept. Those of others are too large for what they are asked for again.
func (o operation) cacheable() bool {
	return o == opChat || o == opEmbeddings || o == opModerations || o == opRerank
}

// cached finds a kept answer to the request, and takes what it costs. What cannot be given, or not be paid, goes on as if there
// were none. The policy is not asked about an answer from the cache, and nobody's provider is.
func (e *Engine) cached(ctx *fasthttp.RequestCtx, c *call) (*answer, *Fault) {
	if e.cache == nil && !e.Cache.Coalesce {
		return nil, nil
	}
	wish, fault := readCacheWish(ctx)
	if fault != nil {
		return nil, fault
	}
	if why := e.uncacheable(c, wish); why != "" {
		e.metrics.cached("bypass", why)
		ctx.Response.Header.Set("X-Pointsman-Cache", "bypass")
		return nil, nil
	}
	c.cache.tenant = e.cacheTenant(c)
	c.cache.key = e.cacheKey(ctx, c)
	if a := e.lookUp(ctx, c, wish); a != nil {
		return a, nil
	}
	if e.Cache.Coalesce && wish.maxAge >= 0 {
		a, fault := e.coalesced(c)
		if a == nil && c.flight != nil { // it may have been kept between the look and the lead
			if a = e.lookUp(ctx, c, wish); a != nil {
				c.flight.fail(nil)
				return a, nil
			}
		}
		if a != nil {
			e.metrics.cached("coalesced", "")
			ctx.Response.Header.Set("X-Pointsman-Cache", "coalesced")
			ctx.Response.Header.Set("X-Pointsman-Cache-Origin", a.origin)
		}
		if a != nil || fault != nil {
			return a, fault
		}
	}
	e.metrics.cached("miss", "")
	ctx.Response.Header.Set("X-Pointsman-Cache", "miss")
	c.cache.fill = e.cache != nil
	return nil, nil
}

// lookUp takes a kept answer that the request can have, nil if there is none.
func (e *Engine) lookUp(ctx *fasthttp.RequestCtx, c *call, wish cacheWish) *answer {
	if e.cache == nil {
		return nil
	}
	found := e.cache.Get(c.cache.key, c.cache.tenant, c.began)
	if found == nil {
		return nil
	}
	age := max(c.began.Sub(found.Stored), 0)
	if age > wish.maxAge {
		return nil
	}
	a := e.repeated(c, &found.Value)
	if a != nil {
		e.metrics.cached("hit", "")
		h := &ctx.Response.Header
		h.Set("X-Pointsman-Cache", "hit")
		h.Set("X-Pointsman-Cache-Origin", a.origin)
		setInt(ctx, "Age", int64(age/time.Second))
	}
	return a
}

// repeated makes a kept answer the answer to a call. It must be one that this caller could still get, were it made now: but for a
// candidate that is down, which an answer in hand makes up for.
func (e *Engine) repeated(c *call, k *cachedAnswer) *answer {
	d := e.deployments[k.deployment]
	excluded, flags := e.option(c, d, tierNumber(c.caller.Account.Tier), c.began)
	if excluded != 0 && excluded != abi.ReasonDown || flags&abi.OptionOwnKey != 0 != k.own || flags&abi.OptionSimulated != 0 != k.simulated {
		return nil
	}
	price := shareOf(k.credits, e.Cache.HitShare)
	if price > 0 {
		caps := slices.DeleteFunc(slices.Clone(c.caller.Caps), func(b storage.Cap) bool { return b.Tier != nil && *b.Tier != d.Model.Tier })
		if e.holdAtLeast(c, price, caps) != nil {
			return nil
		}
	}
	if c.dispatched.IsZero() { // it did not wait for it either
		c.dispatched = e.Now()
	}
	c.session = 0 // its provider was not asked, so nothing is warm there
	c.usage.Cache, c.usage.Credits = storage.CacheHit, price
	return &answer{
		deployment: d, own: k.own, simulated: k.simulated, estimated: k.estimated, began: c.began, whole: true, body: k.body, usage: k.usage,
		credits: price, measured: true, dropped: k.dropped, stored: k, origin: k.origin,
	}
}

// shareOf is so many millionths of an amount, rounded up.
func shareOf(amount storage.Credits, share uint32) storage.Credits {
	hi, lo := bits.Mul64(uint64(max(amount, 0)), uint64(share))
	lo, carry := bits.Add64(lo, wholeShare-1, 0)
	quotient, _ := bits.Div64(hi+carry, lo, wholeShare) // share <= wholeShare, so it is at most the amount
	return storage.Credits(quotient)
}

// cacheWish is what a request says about the cache in its headers.
type cacheWish struct {
	off, on bool
	maxAge  time.Duration // of an answer that it takes; negative: it wants a new one
}

// readCacheWish reads Cache-Control and X-Pointsman-Cache.
func readCacheWish(ctx *fasthttp.RequestCtx) (w cacheWish, fault *Fault) {
	w.maxAge = 1<<63 - 1
	h := &ctx.Request.Header
	for _, control := range h.PeekAll(fasthttp.HeaderCacheControl) {
		for directive := range bytes.SplitSeq(control, []byte{','}) {
			name, value, _ := strings.Cut(strings.ToLower(string(bytes.TrimSpace(directive))), "=")
			switch name {
			case "no-store":
				w.off = true
			case "no-cache":
				w.maxAge = -1
			case "max-age":
				if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
					w.maxAge = min(w.maxAge, time.Duration(seconds)*time.Second)
				}
			}
		}
	}
	switch own := h.Peek("X-Pointsman-Cache"); string(own) {
	case "":
	case "on":
		w.on = true
	case "off":
		w.off = true
	case "refresh":
		w.maxAge = -1
	default:
		return w, badRequest("invalid_value", "X-Pointsman-Cache", fmt.Sprintf("X-Pointsman-Cache must be on, off or refresh, not %.32q", own))
	}
	return w, nil
}

// uncacheable says why the cache has no part in a request, "" if it has.
func (e *Engine) uncacheable(c *call, w cacheWish) string {
	switch {
	case !c.op.cacheable():
		return "operation"
	case w.off:
		return "request"
	case c.caller.Account.NoCache || c.caller.Key.NoCache:
		return "opt_out"
	case c.op == opChat && c.env.N > 1: // only of the first one is judged whether it is fit to be kept
		return "choices"
	case !w.on && !e.Cache.AnyTemperature && c.op == opChat && warm(c.env.Value(c.body, "temperature")):
		return "temperature"
	}
	return ""
}

// warm tells that a temperature is given and above 0.
func warm(value []byte) bool {
	if len(value) == 0 || value[0] == 'n' {
		return false
	}
	t, err := strconv.ParseFloat(string(value), 64)
	return err != nil || t > 0
}

// cacheTenant is whose answers the request may get.
func (e *Engine) cacheTenant(c *call) cache.Tenant {
	account := c.caller.Account
	switch {
	case e.Cache.Scope == CacheByKey:
		return cache.Tenant{Kind: storage.SpenderKey, ID: c.caller.KeyID}
	case e.Cache.Scope == CacheByTeam && account.Team != "":
		return cache.Tenant{Kind: storage.SpenderTeam, ID: account.Team}
	}
	return cache.Tenant{Kind: storage.SpenderAccount, ID: account.ID}
}

// cacheKey is a digest over everything that decides on the answer: what is asked and how it was understood, who decides and by
// which version, for whom, out of what, and with whose keys. Of live facts, such as health, none is in it.
func (e *Engine) cacheKey(ctx *fasthttp.RequestCtx, c *call) cache.Key {
	account := c.caller.Account
	b := c.room(len(c.body))
	part := func(text string) { b = append(binary.AppendUvarint(b, uint64(len(text))), text...) }
	part(c.cache.tenant.Kind)
	part(c.cache.tenant.ID)
	part(c.endpointName())
	part(c.policy)
	part(c.pinned)
	part(string(account.Tier))
	part(c.beta)
	b = append(b, c.level)
	model := uint64(0)
	if c.model != nil {
		model = uint64(c.model.Number) + 1
	}
	for _, n := range [...]uint64{model, e.Policies.Version(c.decider), e.cacheTime.Load(), e.number} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	for _, header := range sessionHeaders() {
		name := ctx.Request.Header.Peek(header)
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	}
	ignore := e.Cache.Ignore
	if c.needs&abi.GrantMetadata != 0 { // the policy is told who asks, and what the request says of itself
		part(account.ID)
		part(c.caller.KeyID)
		ignore = nil
	}
	scopes := &c.caller.Key.Scopes
	b = append(binary.AppendUvarint(b, uint64(len(scopes.Tiers))), scopes.Tiers...)
	b = binary.AppendUvarint(b, uint64(len(scopes.Models)))
	for _, name := range scopes.Models {
		part(name)
	}
	from := len(b)
	b = c.caller.AppendOwnKeys(b)
	b = binary.BigEndian.AppendUint64(b, uint64(len(b)-from))
	b = c.env.AppendCanonical(b, c.body, ignore)
	c.scratch = b
	return sha256.Sum256(b)
}

// gather adds an event of a stream that may be kept, as its client gets it.
func (e *Engine) gather(c *call, data, passed []byte) {
	c.flight.add(passed, e.Cache.MaxEntry, e.Cache.MaxBytes)
	k := &c.cache
	if !k.fill {
		return
	}
	if len(k.events)+len(passed) > e.Cache.MaxEntry {
		k.fill, k.events = false, nil
		return
	}
	k.said.Add(c.dialect, data)
	k.events = append(k.events, passed...)
}

// keepStream keeps a stream that has come to its end.
func (e *Engine) keepStream(c *call, a *answer, last, done []byte) {
	defer c.closeStream(a, last, done)
	if !c.cache.fill {
		return
	}
	if c.dialect == dialect.Responses { // whose last event tells all
		c.cache.said.Add(c.dialect, done)
	}
	e.put(c, a, cachedAnswer{body: slices.Clip(c.cache.events), last: bytes.Clone(last), done: bytes.Clone(done)})
}

// keep keeps a buffered answer that has been settled.
func (e *Engine) keep(c *call, a *answer) {
	defer e.share(c, a)
	if !c.cache.fill || len(a.body) > e.Cache.MaxEntry {
		return
	}
	if c.op == opChat {
		c.cache.said.Add(c.dialect, a.body)
	}
	e.put(c, a, cachedAnswer{body: bytes.Clone(a.body)})
}

// put keeps an answer that is whole and fit to be given again.
func (e *Engine) put(c *call, a *answer, k cachedAnswer) {
	switch said := &c.cache.said; {
	case !c.shareable(a):
		return
	case c.op == opChat && (said.Finish == abi.FinishUnknown || said.Flags()&(abi.OutcomeRefusal|abi.OutcomeEmpty) != 0):
		return
	case c.op == opChat && said.Finish == abi.FinishLength && e.outputLimit(c, a) > 0: // our own limit, by the account's credits
		return
	}
	k = c.keptOf(a, k)
	now := e.Now()
	e.cache.Put(c.cache.key, &cache.Entry[cachedAnswer]{
		Tenant: c.cache.tenant, Account: c.caller.Account.ID, Stored: now, Expires: now.Add(e.Cache.TTL),
		Size: len(k.body) + len(k.last) + len(k.done), Value: k,
	})
}

// CacheStats are the figures of the response cache. Counts are since the start.
type CacheStats struct {
	Enabled  bool `json:"enabled"`
	MaxBytes int  `json:"max_bytes"`
	cache.Stats
	Hits      uint64            `json:"hits"`
	Coalesced uint64            `json:"coalesced"` // got the answer to the same request that was under way
	Misses    uint64            `json:"misses"`
	Bypassed  map[string]uint64 `json:"bypassed"` // by reason
}

// CacheStats tells how the response cache does.
func (e *Engine) CacheStats() CacheStats {
	s := CacheStats{Bypassed: map[string]uint64{}}
	if e.cache != nil {
		s.Enabled, s.MaxBytes, s.Stats = true, e.Cache.MaxBytes, e.cache.Stats()
	}
	e.metrics.each("pointsman_cache_requests_total", func(k key, n uint64) {
		switch k.value1 {
		case "hit":
			s.Hits = n
		case "coalesced":
			s.Coalesced = n
		case "miss":
			s.Misses = n
		default:
			s.Bypassed[k.value2] = n
		}
	})
	return s
}

// ClearCache removes the answers that were made for an account, or all for "", and returns their number. Of all, those that are still
// under way are not found either.
func (e *Engine) ClearCache(account string) int {
	if e.cache == nil {
		return 0
	}
	if account == "" {
		e.cacheTime.Add(1)
	}
	return e.cache.Drop(func(k *cache.Entry[cachedAnswer]) bool { return account == "" || k.Account == account })
}

func (e *Engine) writeCacheMetrics(w io.Writer) {
	if e.Cache.Coalesce {
		fmt.Fprintf(w, "pointsman_cache_following %d\npointsman_cache_followed_bytes %d\n", e.flights.following.Load(), e.flights.held.Load())
	}
	if e.cache == nil {
		return
	}
	s := e.cache.Stats()
	fmt.Fprintf(w, "pointsman_cache_entries %d\npointsman_cache_bytes %d\npointsman_cache_stored_total %d\npointsman_cache_evictions_total %d\n",
		s.Entries, s.Bytes, s.Stored, s.Evictions)
}
