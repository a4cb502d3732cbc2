package main

import (
	"math"
	"math/bits"
	"slices"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// profile is what decisions need of a candidate, computed once a snapshot.
type profile struct {
	base       float64 // score without what the request adds
	rate       int64   // micro-credits per 1,000 tokens
	ttft       float64 // milliseconds, 0 unknown
	errorRate  float64
	strengths  uint32
	window     uint32 // tokens, the largest number if unknown
	longest    uint32 // tokens of output, the largest number if unknown
	model      uint16
	tier       uint8
	inBand     bool
	specialist bool // outside the band, but good at something and not dearer
	ownTier    bool // an own key is preferred here
	good       bool // of the level's least quality
	local      bool
	down       bool
	degraded   bool
}

// router decides. It keeps what it learned of the snapshot, and the request it works on, so that it allocates nothing.
type router struct {
	*params
	profiles                  []profile
	cheapestRate, dearestRate int64 // within the band
	leastWindow, leastLongest uint32

	snapshot  *policy.Snapshot
	request   *policy.Request
	tokens    int64
	asked     uint64
	target    float64 // milliseconds to the first token
	credits   int64   // these three in thousandths of a micro-credit, like tokens times a rate
	dear      int64   // what the level means to spend
	share     int64   // of the credits
	band      uint32  // tiers: of the level, or where a named model may fall back to
	isPrivate bool
	tight     bool // some candidate's window or output is too small
	best      ranking
}

func (r *router) configure(cfg policy.Config) error {
	p, err := newParams(cfg)
	r.params = p
	return err
}

// learn computes what depends on the snapshot alone.
func (r *router) learn(s *policy.Snapshot) {
	band := r.params.tiers[tiersBand]
	r.cheapestRate, r.dearestRate = math.MaxInt64, 0
	for i := range s.Candidates {
		c := &s.Candidates[i]
		if band != 0 && !in(band, c.Tier) {
			continue
		}
		r.cheapestRate = min(r.cheapestRate, c.CreditsPer1K)
		r.dearestRate = max(r.dearestRate, c.CreditsPer1K)
	}
	r.profiles = slices.Grow(r.profiles[:0], len(s.Candidates))
	r.leastWindow, r.leastLongest = math.MaxUint32, math.MaxUint32
	for i := range s.Candidates {
		p := r.profile(&s.Candidates[i])
		r.leastWindow, r.leastLongest = min(r.leastWindow, p.window), min(r.leastLongest, p.longest)
		r.profiles = append(r.profiles, p)
	}
}

// specialized is the tier of models that are good at one task.
const specialized = 5

func (r *router) profile(c *policy.Candidate) profile {
	p := profile{
		base: r.base(c), rate: c.CreditsPer1K, ttft: float64(c.TTFT), errorRate: float64(c.ErrorRate),
		strengths: c.Strengths, window: c.ContextWindow, longest: c.MaxOutput, model: c.Model, tier: c.Tier,
		inBand:     r.has(tiersBand, c.Tier),
		specialist: c.Tier == specialized && c.CreditsPer1K >= r.cheapestRate && c.CreditsPer1K <= r.dearestRate,
		ownTier:    r.has(tiersOwnKey, c.Tier),
		good:       c.Quality >= float32(r.floats[minQuality]),
		local:      c.Flags&abi.CandidateLocal != 0,
		down:       c.Health == abi.HealthDown,
		degraded:   c.Health == abi.HealthDegraded,
	}
	if p.window == 0 {
		p.window = math.MaxUint32
	}
	if p.longest == 0 {
		p.longest = math.MaxUint32
	}
	return p
}

// base adds the terms in a fixed order. Products are converted, so that no compiler fuses them with the sum.
func (r *router) base(c *policy.Candidate) float64 {
	price := 1.0
	switch {
	case c.CreditsPer1K <= 0:
		price = 0
	case c.CreditsPer1K < r.dearestRate:
		price = float64(c.CreditsPer1K) / float64(r.dearestRate)
	}
	score := float64(r.floats[weightQuality] * float64(c.Quality))
	score += float64(r.floats[weightPrice] * (1 - price))
	score += float64(r.floats[weightProvider] * r.preference(c.ProviderName))
	score -= float64(r.floats[weightErrors] * float64(c.ErrorRate))
	if c.Health == abi.HealthDegraded {
		score -= r.floats[penaltyDegraded]
	}
	return score
}

// objective is the time to the first token that a latency objective allows, in milliseconds.
func objective(latency uint8) float64 {
	switch latency {
	case abi.LatencyInstant:
		return 500
	case abi.LatencyFast:
		return 2000
	}
	return 5000
}

// read takes over what the request asks for.
func (r *router) read(s *policy.Snapshot, req *policy.Request) {
	r.snapshot, r.request = s, req
	r.isPrivate = req.Privacy != abi.PrivacyAny
	r.asked = uint64(req.InputTokens) + uint64(req.MaxOutput)
	r.tight = r.asked > uint64(r.leastWindow) || req.MaxOutput > r.leastLongest
	r.tokens = int64(r.asked)
	if req.MaxOutput == 0 {
		r.tokens += r.whole(maxOutput)
	}
	r.credits, r.dear = thousandfold(req.Credits), r.micros[maxCredits]*1000
	share := float64(req.Credits) * r.floats[spendShare]
	r.share = thousandfold(int64(max(-1, min(share, math.MaxInt64/1000))))
	if r.target = r.targetMs; req.Latency >= abi.LatencyInstant && req.Latency <= abi.LatencyNormal {
		r.target = objective(req.Latency)
	}
}

// thousandfold multiplies within what a number holds; whatever is below zero comes to the same.
func thousandfold(value int64) int64 { return 1000 * max(-1, min(value, math.MaxInt64/1000)) }

// route is the policy. See [policy.Func].
func (r *router) route(_ policy.Config, s *policy.Snapshot, req *policy.Request, p *policy.Plan) {
	r.read(s, req)
	isNamed := r.micros[named] != 0
	alone := req.Flags&abi.FlagNoFallback != 0
	steps := int(r.whole(maxSteps))
	if alone && !isNamed {
		steps = 1
	}
	if isNamed && req.Model == abi.NoModel {
		r.reject(p, abi.BecauseNothing, 400, "the request names no model")
		return
	}
	r.best.begin(p, len(s.Candidates), steps)
	if isNamed {
		r.band = 0
		if req.Level >= abi.LevelEco && req.Level <= abi.LevelPrecision && !alone {
			r.band = r.params.tiers[tiersEco+int(req.Level)-1]
		}
		r.rankNamed()
	} else {
		r.band = r.params.tiers[tiersBand]
		r.rankLevel()
	}
	switch {
	case r.best.chosen > 0:
		r.answer(p)
	case r.lacksCredits(isNamed):
		r.reject(p, abi.BecauseNoCredits, 402, "not enough credits")
	default:
		r.reject(p, abi.BecauseNothing, 503, "no candidate can serve this request")
	}
}

// rankNamed puts the deployments of the named model first, those with an own key before the others, then the candidates of
// the level that the request also names.
func (r *router) rankNamed() {
	for i := range r.profiles {
		p, o := &r.profiles[i], r.request.Options[i]
		isNamed := p.model == r.request.Model
		if !isNamed && !in(r.band, p.tier) {
			why := uint16(o.Excluded)
			if why == 0 {
				why = abi.ReasonNotRequested
			}
			r.best.exclude(i, why)
			continue
		}
		why := r.unusable(p, o)
		if !isNamed {
			why = r.unfit(p, o)
		}
		own := o.Flags&abi.OptionOwnKey != 0
		worst := r.cost(p.rate, o)
		switch {
		case why != 0:
			r.best.exclude(i, why)
		case worst > r.credits:
			r.best.exclude(i, abi.ReasonUnaffordable)
		case isNamed && own:
			r.best.consider(i, 0, r.score(p, o), abi.BecauseNamed)
		case isNamed:
			r.best.consider(i, 1, r.score(p, o), abi.BecauseNamed)
		case own:
			r.best.consider(i, 5, r.score(p, o), abi.BecauseBand)
		default:
			r.best.consider(i, 6+r.dearness(worst), r.score(p, o), abi.BecauseBand)
		}
	}
}

// rankLevel applies the rules of a power level in their order. The first number of consider is the rule's rank: whatever
// the scores, a candidate of a lower one comes first.
func (r *router) rankLevel() {
	low := r.onlyFree()
	instant := r.request.Latency == abi.LatencyInstant && r.tokens < r.whole(instantTokens)
	for i := range r.profiles {
		p, o := &r.profiles[i], r.request.Options[i]
		if why := r.unfit(p, o); why != 0 {
			r.best.exclude(i, why)
			continue
		}
		own, free := o.Flags&abi.OptionOwnKey != 0, p.rate == 0
		switch {
		case r.isPrivate:
			r.afford(i, abi.BecausePrivate)
		case own && p.good && p.ownTier:
			r.best.consider(i, 0, r.score(p, o), abi.BecauseOwnKey)
		case instant && free:
			r.best.consider(i, 1, r.speed(p, o), abi.BecauseInstant)
		case low && (free || own):
			r.best.consider(i, 2, r.score(p, o), abi.BecauseLowCredits)
		case low:
			r.best.exclude(i, abi.ReasonNotFree)
		case !r.inBand(p):
			r.best.exclude(i, abi.ReasonOutsideBand)
		case !p.good:
			r.best.exclude(i, abi.ReasonQuality)
		case r.isStrong(p):
			r.afford(i, abi.BecauseTask)
		default:
			r.afford(i, abi.BecauseBand)
		}
	}
	if r.best.chosen == 0 && !r.isPrivate && !low {
		r.widen()
	}
}

// afford considers a candidate if the account can pay it, those first that the level means to pay.
func (r *router) afford(i int, because uint16) {
	p, o := &r.profiles[i], r.request.Options[i]
	worst := r.cost(p.rate, o)
	if worst > r.credits {
		r.best.exclude(i, abi.ReasonUnaffordable)
		return
	}
	r.best.consider(i, 2+r.dearness(worst), r.score(p, o), because)
}

// onlyFree tells whether only free models are left to the account: it is a free one, or cannot pay the cheapest of the band.
func (r *router) onlyFree() bool {
	if r.credits <= 0 || r.micros[freeAccounts] != 0 && r.request.AccountTier == 0 {
		return true
	}
	if r.cost(r.dearestRate, policy.Option{}) <= r.credits {
		return false // it can pay any of them
	}
	cheapest := int64(math.MaxInt64)
	for i := range r.profiles {
		p, o := &r.profiles[i], r.request.Options[i]
		if r.inBand(p) && r.unfit(p, o) == 0 {
			cheapest = min(cheapest, r.cost(p.rate, o))
		}
	}
	return cheapest != math.MaxInt64 && cheapest > r.credits
}

// widen takes what is left in the band whatever its quality, then the tiers below it, nearest first.
func (r *router) widen() {
	lowest := uint8(bits.TrailingZeros32(r.band))
	for i := range r.profiles {
		p, o := &r.profiles[i], r.request.Options[i]
		switch {
		case !p.inBand && p.tier >= lowest || r.unfit(p, o) != 0:
		case r.cost(p.rate, o) > r.credits:
			r.best.exclude(i, abi.ReasonUnaffordable)
		case p.inBand:
			r.best.consider(i, 6, r.score(p, o), abi.BecauseWidened)
		default:
			r.best.consider(i, 6+lowest-p.tier, r.score(p, o), abi.BecauseWidened)
		}
	}
}

// lacksCredits tells whether there would be a candidate if there were credits.
func (r *router) lacksCredits(isNamed bool) bool {
	highest := uint8(max(bits.Len32(r.band), 1) - 1)
	for i, v := range r.best.verdicts {
		p := &r.profiles[i]
		if v.Reason != abi.ReasonUnaffordable && v.Reason != abi.ReasonNotFree || r.isPrivate && !p.local {
			continue
		}
		if isNamed && p.model == r.request.Model || !isNamed && p.tier <= highest {
			return true
		}
	}
	return false
}

// unusable tells why a candidate cannot serve, whoever asks for it.
func (r *router) unusable(p *profile, o policy.Option) uint16 {
	switch {
	case o.Excluded != 0:
		return uint16(o.Excluded)
	case p.down:
		return abi.ReasonDown
	case r.isPrivate && !p.local:
		return abi.ReasonNotLocal
	}
	return abi.ReasonNone
}

// unfit tells also why a candidate should not be chosen by a policy: who names a model gets its own answer to that.
func (r *router) unfit(p *profile, o policy.Option) uint16 {
	why := r.unusable(p, o)
	switch {
	case why != 0 || !r.tight:
		return why
	case r.asked > uint64(p.window):
		return abi.ReasonContext
	case r.request.MaxOutput > p.longest:
		return abi.ReasonOutputTooLong
	}
	return abi.ReasonNone
}

// cost is what the request costs at most, nothing with the account's own key.
func (r *router) cost(rate int64, o policy.Option) int64 {
	if o.Flags&abi.OptionOwnKey != 0 {
		return 0
	}
	return r.tokens * rate
}

func (r *router) isStrong(p *profile) bool {
	return r.request.Task != 0 && p.strengths>>r.request.Task&1 != 0
}

func (r *router) inBand(p *profile) bool { return p.inBand || p.specialist && r.isStrong(p) }

// dearness is 0 for what the level means to spend, more for what it spends only if it must.
func (r *router) dearness(worst int64) uint8 {
	d := uint8(0)
	if worst > r.dear {
		d++
	}
	if worst > r.share {
		d += 2
	}
	return d
}

func (r *router) latency(p *profile) float64 {
	if p.ttft > 0 {
		return r.target / (r.target + p.ttft)
	}
	return r.floats[priorLatency]
}

func (r *router) load(o policy.Option) float64 {
	if o.Inflight == 0 {
		return 0
	}
	return float64(o.Inflight) / (float64(o.Inflight) + r.floats[loadHalf])
}

// score is how well a candidate suits the request; larger is better.
func (r *router) score(p *profile, o policy.Option) float32 {
	s := p.base
	s += float64(r.floats[weightLatency] * r.latency(p))
	s -= float64(r.floats[weightLoad] * r.load(o))
	if o.Flags&abi.OptionWarm != 0 {
		s += r.floats[weightWarm]
	}
	if r.isStrong(p) {
		s += r.floats[weightTask]
	}
	return float32(s)
}

// speed is how soon a candidate is likely to answer; larger is sooner.
func (r *router) speed(p *profile, o policy.Option) float32 {
	s := r.latency(p)
	s -= float64(r.floats[weightLoad] * r.load(o))
	s -= float64(r.floats[weightErrors] * p.errorRate)
	if p.degraded {
		s -= r.floats[penaltyDegraded]
	}
	return float32(s)
}
