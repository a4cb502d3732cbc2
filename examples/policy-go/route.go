package main

import (
	"math"
	"math/bits"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// record is what is known of a candidate beside its facts: what depends on the snapshot alone, and what this request found.
type record struct {
	base   float64 // score without what the request adds
	worst  int64   // micro-credits this request may cost
	fit    bool
	inBand bool
	strong bool
}

// router decides. It keeps what it learned of the snapshot, and the request it works on, so that it allocates nothing.
type router struct {
	*params
	records                   []record
	cheapestRate, dearestRate int64 // within the band

	snapshot *policy.Snapshot
	request  *policy.Request
	tokens   int64
	target   float64 // milliseconds to the first token
	band     uint32  // tiers: of the level, or where a named model may fall back to
	best     ranking
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
	if cap(r.records) < len(s.Candidates) {
		r.records = make([]record, len(s.Candidates))
	}
	r.records = r.records[:len(s.Candidates)]
	for i := range s.Candidates {
		r.records[i].base = r.base(&s.Candidates[i])
	}
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

// route is the policy. See [policy.Func].
func (r *router) route(_ policy.Config, s *policy.Snapshot, req *policy.Request, p *policy.Plan) {
	r.snapshot, r.request = s, req
	r.tokens = int64(req.InputTokens) + int64(req.MaxOutput)
	if req.MaxOutput == 0 {
		r.tokens += r.whole(maxOutput)
	}
	if r.target = r.targetMs; req.Latency >= abi.LatencyInstant && req.Latency <= abi.LatencyNormal {
		r.target = objective(req.Latency)
	}
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
	for i := range r.snapshot.Candidates {
		c, o, rec := &r.snapshot.Candidates[i], &r.request.Options[i], &r.records[i]
		own := o.Flags&abi.OptionOwnKey != 0
		isNamed := c.Model == r.request.Model
		rec.strong = r.isStrong(c)
		rec.worst = r.worstCase(c, own)
		if !isNamed && !in(r.band, c.Tier) {
			why := uint16(o.Excluded)
			if why == 0 {
				why = abi.ReasonNotRequested
			}
			r.best.exclude(i, why)
			continue
		}
		why := r.unusable(c, o)
		if !isNamed {
			why = r.unfit(c, o)
		}
		switch {
		case why != 0:
			r.best.exclude(i, why)
		case rec.worst > r.request.Credits:
			r.best.exclude(i, abi.ReasonUnaffordable)
		case isNamed && own:
			r.best.consider(i, 0, r.score(c, o, rec), abi.BecauseNamed)
		case isNamed:
			r.best.consider(i, 1, r.score(c, o, rec), abi.BecauseNamed)
		case own:
			r.best.consider(i, 5, r.score(c, o, rec), abi.BecauseBand)
		default:
			r.best.consider(i, 6+r.dearness(rec.worst), r.score(c, o, rec), abi.BecauseBand)
		}
	}
}

// rankLevel applies the rules of a power level in their order. The first number of consider is the rule's rank: whatever
// the scores, a candidate of a lower one comes first.
func (r *router) rankLevel() {
	low := r.survey()
	instant := r.request.Latency == abi.LatencyInstant && r.tokens < r.whole(instantTokens)
	isPrivate := r.request.Privacy != abi.PrivacyAny
	for i := range r.records {
		rec := &r.records[i]
		if !rec.fit {
			continue
		}
		c, o := &r.snapshot.Candidates[i], &r.request.Options[i]
		own := o.Flags&abi.OptionOwnKey != 0
		good := c.Quality >= float32(r.floats[minQuality])
		free := c.CreditsPer1K == 0
		switch {
		case isPrivate && rec.worst > r.request.Credits:
			r.best.exclude(i, abi.ReasonUnaffordable)
		case isPrivate:
			r.best.consider(i, 2+r.dearness(rec.worst), r.score(c, o, rec), abi.BecausePrivate)
		case own && good && r.has(tiersOwnKey, c.Tier):
			r.best.consider(i, 0, r.score(c, o, rec), abi.BecauseOwnKey)
		case instant && free:
			r.best.consider(i, 1, r.speed(c, o), abi.BecauseInstant)
		case low && (free || own):
			r.best.consider(i, 2, r.score(c, o, rec), abi.BecauseLowCredits)
		case low:
			r.best.exclude(i, abi.ReasonNotFree)
		case !rec.inBand:
			r.best.exclude(i, abi.ReasonOutsideBand)
		case !good:
			r.best.exclude(i, abi.ReasonQuality)
		case rec.worst > r.request.Credits:
			r.best.exclude(i, abi.ReasonUnaffordable)
		case rec.strong:
			r.best.consider(i, 2+r.dearness(rec.worst), r.score(c, o, rec), abi.BecauseTask)
		default:
			r.best.consider(i, 2+r.dearness(rec.worst), r.score(c, o, rec), abi.BecauseBand)
		}
	}
	if r.best.chosen == 0 && !isPrivate && !low {
		r.widen()
	}
}

// survey finds what is fit at all, and tells whether only free models are left to the account.
func (r *router) survey() bool {
	cheapest := int64(math.MaxInt64)
	for i := range r.snapshot.Candidates {
		c, o, rec := &r.snapshot.Candidates[i], &r.request.Options[i], &r.records[i]
		why := r.unfit(c, o)
		if rec.fit = why == 0; !rec.fit {
			r.best.exclude(i, why)
			continue
		}
		rec.worst = r.worstCase(c, o.Flags&abi.OptionOwnKey != 0)
		rec.strong = r.isStrong(c)
		withinRates := c.CreditsPer1K >= r.cheapestRate && c.CreditsPer1K <= r.dearestRate
		rec.inBand = in(r.band, c.Tier) || c.Tier == specialized && rec.strong && withinRates
		if rec.inBand {
			cheapest = min(cheapest, rec.worst)
		}
	}
	if r.micros[freeAccounts] != 0 && r.request.AccountTier == 0 {
		return true
	}
	return r.request.Credits <= 0 || cheapest != math.MaxInt64 && cheapest > r.request.Credits
}

// specialized is the tier of models that are good at one task.
const specialized = 5

// widen takes what is left in the band whatever its quality, then the tiers below it, nearest first.
func (r *router) widen() {
	lowest := uint8(bits.TrailingZeros32(r.band))
	for i := range r.records {
		rec := &r.records[i]
		c, o := &r.snapshot.Candidates[i], &r.request.Options[i]
		inside := in(r.band, c.Tier)
		switch {
		case !rec.fit || !inside && c.Tier >= lowest:
		case rec.worst > r.request.Credits:
			r.best.exclude(i, abi.ReasonUnaffordable)
		case inside:
			r.best.consider(i, 6, r.score(c, o, rec), abi.BecauseWidened)
		default:
			r.best.consider(i, 6+lowest-c.Tier, r.score(c, o, rec), abi.BecauseWidened)
		}
	}
}

// lacksCredits tells whether there would be a candidate if there were credits.
func (r *router) lacksCredits(isNamed bool) bool {
	highest := uint8(max(bits.Len32(r.band), 1) - 1)
	for i, v := range r.best.verdicts {
		if v.Reason != abi.ReasonUnaffordable && v.Reason != abi.ReasonNotFree {
			continue
		}
		c := &r.snapshot.Candidates[i]
		if r.request.Privacy != abi.PrivacyAny && c.Flags&abi.CandidateLocal == 0 {
			continue
		}
		if isNamed && c.Model == r.request.Model || !isNamed && c.Tier <= highest {
			return true
		}
	}
	return false
}

// unusable tells why a candidate cannot serve, whoever asks for it.
func (r *router) unusable(c *policy.Candidate, o *policy.Option) uint16 {
	switch {
	case o.Excluded != 0:
		return uint16(o.Excluded)
	case c.Health == abi.HealthDown:
		return abi.ReasonDown
	case r.request.Privacy != abi.PrivacyAny && c.Flags&abi.CandidateLocal == 0:
		return abi.ReasonNotLocal
	}
	return abi.ReasonNone
}

// unfit tells also why a candidate should not be chosen by a policy: who names a model gets its own answer to that.
func (r *router) unfit(c *policy.Candidate, o *policy.Option) uint16 {
	if why := r.unusable(c, o); why != 0 {
		return why
	}
	switch {
	case c.ContextWindow != 0 && uint64(r.request.InputTokens)+uint64(r.request.MaxOutput) > uint64(c.ContextWindow):
		return abi.ReasonContext
	case c.MaxOutput != 0 && r.request.MaxOutput > c.MaxOutput:
		return abi.ReasonOutputTooLong
	}
	return abi.ReasonNone
}

// worstCase is what the request costs at most, in micro-credits, rounded up; nothing with the account's own key.
func (r *router) worstCase(c *policy.Candidate, own bool) int64 {
	if own {
		return 0
	}
	return (r.tokens*c.CreditsPer1K + 999) / 1000
}

func (r *router) isStrong(c *policy.Candidate) bool {
	return r.request.Task != 0 && c.Strengths>>r.request.Task&1 != 0
}

// dearness is 0 for what the level means to spend, more for what it spends only if it must.
func (r *router) dearness(worst int64) uint8 {
	d := uint8(0)
	if worst > r.micros[maxCredits] {
		d++
	}
	if float64(worst) > float64(r.request.Credits)*r.floats[spendShare] {
		d += 2
	}
	return d
}

func (r *router) latency(c *policy.Candidate) float64 {
	if c.TTFT > 0 {
		return r.target / (r.target + float64(c.TTFT))
	}
	return r.floats[priorLatency]
}

func (r *router) load(o *policy.Option) float64 {
	if o.Inflight == 0 {
		return 0
	}
	return float64(o.Inflight) / (float64(o.Inflight) + r.floats[loadHalf])
}

// score is how well a candidate suits the request; larger is better.
func (r *router) score(c *policy.Candidate, o *policy.Option, rec *record) float32 {
	s := rec.base
	s += float64(r.floats[weightLatency] * r.latency(c))
	s -= float64(r.floats[weightLoad] * r.load(o))
	if o.Flags&abi.OptionWarm != 0 {
		s += r.floats[weightWarm]
	}
	if rec.strong {
		s += r.floats[weightTask]
	}
	return float32(s)
}

// speed is how soon a candidate is likely to answer; larger is sooner.
func (r *router) speed(c *policy.Candidate, o *policy.Option) float32 {
	s := r.latency(c)
	s -= float64(r.floats[weightLoad] * r.load(o))
	s -= float64(r.floats[weightErrors] * float64(c.ErrorRate))
	if c.Health == abi.HealthDegraded {
		s -= r.floats[penaltyDegraded]
	}
	return float32(s)
}
