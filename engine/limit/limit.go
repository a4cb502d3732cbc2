// Package limit keeps rate limits: requests and tokens in any minute, and requests at once, of keys, accounts, teams, models
// and providers. All limits that hold for a request are taken in one step, or none of them.
//
// A limit of n requests lets at most n pass in every minute, wherever that minute begins, and refuses none before n have
// passed in the last one. From 513 requests on they are counted in groups of a 512th, rounded up, so that up to a group
// less one may count longer than a minute. Tokens that were taken in the same second leave together, a minute after the last
// of them.
//
// A limiter takes about 300 bytes, and 16 for each request of the last minute, at most 8 KiB, and 1 KiB for tokens. Limiters of
// which nothing is taken are forgotten within a minute or two, while there are requests with limits.
package limit

import (
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// None is a limit that does not limit.
const None = -1

// Limits are limits of one owner. 0 allows nothing.
type Limits struct {
	Requests, Tokens int64 // in a minute
	Concurrent       int64
}

// Any tells whether there is a limit.
func (l Limits) Any() bool { return l != Limits{None, None, None} }

// Owner is what kind of thing has a limit.
type Owner uint8

// The owners, in the order in which their limiters are locked.
const (
	Key Owner = iota
	Account
	Team
	Model
	Provider
	Owners // how many there are
)

// String is the owner's name, for metrics.
func (o Owner) String() string {
	return [...]string{Key: "key", Account: "account", Team: "team", Model: "model", Provider: "provider"}[o]
}

// Unit is what a limit counts.
type Unit uint8

// The units.
const (
	Requests Unit = iota
	Tokens
	Concurrent
)

// String is the name of the limit in configurations.
func (u Unit) String() string {
	return [...]string{Requests: "requests_per_minute", Tokens: "tokens_per_minute", Concurrent: "concurrent_requests"}[u]
}

// MaxClaims is how many claims a request may have at most.
const MaxClaims = 3

// Claim says that the limits of an owner hold for a request.
type Claim struct {
	Of Owner
	ID string
	Limits
}

// Level is how one limit stands.
type Level struct {
	Limit     int64 // None if there is no such limit
	Remaining int64
	Reset     time.Duration // until it is whole again, if nothing is taken
}

// State is how the limits of a request stand: of each kind the one of which least is left.
type State struct{ Requests, Tokens Level }

// Refusal says which limit has no room for a request.
type Refusal struct {
	Of    Owner
	ID    string
	Unit  Unit
	Limit int64
	// Retry is how long it takes until there is room, if nobody else takes it. 0: nobody can tell, because the limit is of
	// requests at once, or is 0 and there never will be.
	Retry time.Duration
}

// severity orders refusals by when they end.
func (r *Refusal) severity() time.Duration {
	switch {
	case r.Limit == 0:
		return math.MaxInt64
	case r.Retry == 0:
		return math.MaxInt64 - 1
	}
	return r.Retry
}

// Sooner tells whether a refusal ends before another.
func (r *Refusal) Sooner(other *Refusal) bool { return r.severity() < other.severity() }

// worse is the refusal that ends later; nil is none.
func worse(a, b *Refusal) *Refusal {
	if a == nil || b != nil && a.Sooner(b) {
		return b
	}
	return a
}

// Set is all limiters. It is safe for concurrent use: each limiter has a lock of its own, and what finds them one of many.
type Set struct {
	began  time.Time
	seed   maphash.Seed
	shards [1024]shard
	sweep  atomic.Int64  // when the next shard is swept
	swept  atomic.Uint32 // shards
}

type shard struct {
	mu       sync.Mutex
	limiters map[name]*limiter
	_        [48]byte // so that two shards do not share a cache line
}

type name struct {
	of Owner
	id string
}

// limiter is what is taken of the limits of one owner. The limits themselves come with every claim, so that they may change.
type limiter struct {
	mu               sync.Mutex
	dead             bool // no longer in its shard: nothing may be taken of it
	now              int64
	running          int64
	requests, tokens window
}

// NewSet returns a set in which nothing is taken. Its clock is that of the times it is given: the monotonic one, if they have
// it. now is the first of them.
func NewSet(now time.Time) *Set { return &Set{began: now, seed: maphash.MakeSeed()} }

func (s *Set) clock(now time.Time) int64 { return int64(now.Sub(s.began)) }

// Hold is what a request has taken. The zero value is nothing. It belongs to one goroutine at a time.
type Hold struct {
	set   *Set
	taken [MaxClaims]taken
	n     int
}

type taken struct {
	from       *limiter
	at, tokens int64 // no tokens: there was no limit of them
}

// Open tells whether anything is taken.
func (h *Hold) Open() bool { return h.n > 0 }

// Take takes a request, so many tokens and a place among the requests at once from the limits of all claims, or nothing if
// one of them has no room. Of a smaller limit of tokens all is taken. The claims are of different owners, in their order, and
// hold is not open. The State tells of what is left after it.
func (s *Set) Take(now time.Time, claims []Claim, tokens int64, hold *Hold) (State, *Refusal) {
	return s.try(now, claims, tokens, hold)
}

// Check tells whether Take would refuse, and takes nothing.
func (s *Set) Check(now time.Time, claims []Claim, tokens int64) *Refusal {
	_, refused := s.try(now, claims, tokens, nil)
	return refused
}

func (s *Set) try(now time.Time, claims []Claim, tokens int64, hold *Hold) (State, *Refusal) {
	state := State{Level{Limit: None}, Level{Limit: None}}
	if len(claims) == 0 {
		return state, nil
	}
	at := s.clock(now)
	s.sweepOne(at)
	tokens = max(tokens, 1) // a limit that is used up has no room for anything
	var limiters [MaxClaims]*limiter
	for !s.lock(claims, &limiters) {
	}
	var refused *Refusal
	for i := range claims {
		limiters[i].advance(at)
		refused = worse(refused, limiters[i].refuses(&claims[i], tokens))
	}
	if refused == nil && hold != nil {
		hold.set, hold.n = s, len(claims)
		for i := range claims {
			hold.taken[i] = limiters[i].take(&claims[i], tokens)
		}
	}
	for i := range claims {
		state.Requests.tighten(claims[i].Requests, &limiters[i].requests, limiters[i].now)
		state.Tokens.tighten(claims[i].Tokens, &limiters[i].tokens, limiters[i].now)
		limiters[i].mu.Unlock()
	}
	return state, refused
}

// lock finds and locks the limiters of claims, always in the order of owners, so that no two requests wait for each other.
// False means that one was forgotten in between.
func (s *Set) lock(claims []Claim, limiters *[MaxClaims]*limiter) bool {
	for i := range claims {
		limiters[i] = s.find(name{claims[i].Of, claims[i].ID})
	}
	alive := true
	for _, l := range limiters[:len(claims)] {
		l.mu.Lock()
		alive = alive && !l.dead
	}
	if !alive {
		for _, l := range limiters[:len(claims)] {
			l.mu.Unlock()
		}
	}
	return alive
}

// find returns the limiter of an owner, making it first if needed.
func (s *Set) find(n name) *limiter {
	h := &s.shards[(maphash.String(s.seed, n.id)+uint64(n.of))%uint64(len(s.shards))]
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.limiters[n]
	if l == nil {
		if h.limiters == nil {
			h.limiters = map[name]*limiter{}
		}
		l = new(limiter)
		h.limiters[n] = l
	}
	return l
}

// advance moves the limiter's clock, which never goes back: requests may come in another order than their times.
func (l *limiter) advance(now int64) {
	l.now = max(l.now, now)
	l.requests.expire(l.now)
	l.tokens.expire(l.now)
}

// refuses is the reason why a request does not fit, nil if it does.
func (l *limiter) refuses(c *Claim, tokens int64) (refused *Refusal) {
	if c.Concurrent != None && l.running >= c.Concurrent {
		refused = &Refusal{c.Of, c.ID, Concurrent, c.Concurrent, 0}
	}
	if c.Requests != None {
		refused = worse(refused, l.requests.refuses(l.now, c, Requests, c.Requests, 1))
	}
	if c.Tokens != None {
		refused = worse(refused, l.tokens.refuses(l.now, c, Tokens, c.Tokens, min(tokens, c.Tokens)))
	}
	return refused
}

func (w *window) refuses(now int64, c *Claim, unit Unit, limit, amount int64) *Refusal {
	if limit > 0 && amount <= limit-w.used {
		return nil
	}
	r := &Refusal{c.Of, c.ID, unit, limit, 0}
	if limit > 0 {
		r.Retry = w.wait(now, limit, amount)
	}
	return r
}

// take takes what refuses has found to fit.
func (l *limiter) take(c *Claim, tokens int64) taken {
	t := taken{from: l, at: l.now}
	l.running++
	if c.Requests != None {
		l.requests.add(l.now, 1, 1, 1+(c.Requests-1)/maxSlots)
	}
	if c.Tokens != None {
		t.tokens = min(tokens, c.Tokens)
		l.tokens.add(l.now, t.tokens, tokenGrain, 0)
	}
	return t
}

func (v *Level) tighten(limit int64, w *window, now int64) {
	if limit == None {
		return
	}
	remaining, reset := max(limit-w.used, 0), w.reset(now)
	if v.Limit == None || remaining < v.Remaining || remaining == v.Remaining && reset > v.Reset {
		*v = Level{limit, remaining, reset}
	}
}

// Settle ends a request: it gives its place back, and puts the tokens that it used in the place of those it took. What it
// did not use is there again at once, unless it has left the minute by now; what it used beyond is taken now, also where
// that exceeds a limit. It does nothing the second time.
func (h *Hold) Settle(now time.Time, used int64) {
	n := h.n
	h.n = 0
	for i := range h.taken[:n] {
		t := &h.taken[i]
		l := t.from
		l.mu.Lock()
		l.running--
		if t.tokens > 0 && t.tokens != used {
			l.advance(h.set.clock(now))
			switch {
			case used > t.tokens:
				l.tokens.add(l.now, used-t.tokens, tokenGrain, 0)
			case l.now-t.at < minute:
				l.tokens.giveBack(t.at, t.tokens-used)
			}
		}
		l.mu.Unlock()
		t.from = nil
	}
}

// sweepOne forgets the idle limiters of one shard, of each about once a minute.
func (s *Set) sweepOne(now int64) {
	due := s.sweep.Load()
	if now < due || !s.sweep.CompareAndSwap(due, now+minute/int64(len(s.shards))) {
		return
	}
	h := &s.shards[s.swept.Add(1)%uint32(len(s.shards))]
	h.mu.Lock()
	defer h.mu.Unlock()
	before := len(h.limiters)
	for n, l := range h.limiters {
		l.mu.Lock()
		l.advance(now)
		if l.running == 0 && l.requests.n == 0 && l.tokens.n == 0 {
			l.dead = true
			delete(h.limiters, n)
		}
		l.mu.Unlock()
	}
	if len(h.limiters) < before/2 { // a map keeps the room of its largest size
		kept := make(map[name]*limiter, len(h.limiters))
		for n, l := range h.limiters {
			kept[n] = l
		}
		h.limiters = kept
	}
}

// Running counts the requests under way that have limits, by whose limits they are, and the limiters. It looks at all of them.
func (s *Set) Running() (running [Owners]int64, limiters int) {
	for i := range s.shards {
		h := &s.shards[i]
		h.mu.Lock()
		limiters += len(h.limiters)
		for n, l := range h.limiters {
			l.mu.Lock()
			running[n.of] += l.running
			l.mu.Unlock()
		}
		h.mu.Unlock()
	}
	return running, limiters
}
