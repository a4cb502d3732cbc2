// Package main is a routing policy to start from: the reference policy, which every language's template holds, equal in
// every decision. Change it into yours, or read how it uses the contract (sdk/abi).
//
// # Parameters
//
//	quality=1  price=1  speed=0.5   weights, 0 to 1000, at most six decimals
//	prefer=groq,openai              names of preferred providers; none by default
//	steps=3                         candidates in a plan, 1 to 8
//	review=true                     look at answers that should be JSON before they are sent; false by default
//
// # Route
//
// A candidate is out for the reason the engine gives, or because the request must stay local (ReasonNotLocal). The score
// of the others is computed in 32-bit floating point, in this order:
//
//	  quality * its quality
//	- price   * (its rate in micro-credits / 1,000,000)
//	+ speed   * (its tokens per second / 100)
//	+ 0.25      if its provider is preferred
//	- 0.5       if it is degraded
//	- 0.5 * failures / (successes + failures), if it was observed
//	+ 0.1       if this session's prompt cache is warm there
//
// The best become the steps, the first of equals first; one step if the request wants no fallback. The others are
// ReasonOutranked. With review, the plan for a request that wants JSON is to be reviewed, and has the tag 1.
//
// # Next
//
// An answer is accepted if it is neither empty nor a refusal, and JSON where that is wanted. Otherwise the best of the
// remaining candidates follow, under the next tag: none that was tried (reasonTried) and, if the last one did answer,
// only those of higher quality (ReasonQuality). If there are none, or no round is left, a held answer is accepted after
// all, and without one the request is refused.
//
// # State
//
// At most 256 entries of 16 bytes, sorted by key: u64 key of a candidate, u32 successes, u32 failures. An attempt that
// failed through the request's own fault counts as neither. When the two reach 256 together, both are halved, so that what
// is long past counts less. A candidate that finds no room is not counted.
package main

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// reasonTried: the candidate had its chance in an earlier round.
const reasonTried = 1024

// init registers the policy: in a module whose exports are called, main never runs.
func init() { policy.Register(newReference()) }

func main() {}

// reference is the policy with what it computed from the last snapshot and state.
type reference struct {
	quality, price, speed float32
	prefer                []string
	steps                 int
	review                bool

	snapshot *policy.Snapshot
	history  []tally
	scores   []float32 // of each candidate, without what the request adds
	remote   []uint16  // of each candidate, ReasonNotLocal or 0
	barred   []uint16  // of each candidate, why it is out in this decision, or 0
}

func newReference() policy.Policy {
	var r reference
	return policy.Policy{
		Description: "reference policy; Go",
		Needs:       abi.GrantState,
		Configure:   r.configure,
		Learn:       r.learn,
		Remember:    r.remember,
		Route:       r.route,
		Next:        r.next,
		Observe:     r.observe,
	}
}

func (r *reference) configure(cfg policy.Config) (err error) {
	for _, key := range cfg.Keys() {
		if !slices.Contains([]string{"quality", "price", "speed", "prefer", "steps", "review"}, key) {
			return errors.New("unknown parameter " + key)
		}
	}
	number := func(key string, otherwise, least, most float64) float64 {
		v, wrong := cfg.Number(key, otherwise)
		if wrong == nil && !(v >= least && v <= most) {
			wrong = errors.New(key + " is out of range")
		}
		err = cmp.Or(err, wrong)
		return v
	}
	r.quality = float32(number("quality", 1, 0, 1000))
	r.price = float32(number("price", 1, 0, 1000))
	r.speed = float32(number("speed", 0.5, 0, 1000))
	r.steps = int(number("steps", 3, 1, abi.MaxSteps))
	r.prefer = cfg.List("prefer")
	review, wrong := cfg.Bool("review", false)
	r.review = review
	return cmp.Or(err, wrong)
}

func (r *reference) learn(s *policy.Snapshot) {
	r.snapshot = s
	r.remote = r.remote[:0]
	for i := range s.Candidates {
		why := uint16(0)
		if s.Candidates[i].Flags&abi.CandidateLocal == 0 {
			why = abi.ReasonNotLocal
		}
		r.remote = append(r.remote, why)
	}
	r.barred = slices.Grow(r.barred[:0], len(r.remote))[:len(r.remote)]
	r.rate()
}

// rate computes all of the scores that does not depend on the request. The conversions keep a compiler from joining a
// multiplication and an addition, which would round differently.
func (r *reference) rate() {
	r.scores = r.scores[:0]
	for i := range r.snapshot.Candidates {
		c := &r.snapshot.Candidates[i]
		score := float32(r.quality * c.Quality)
		score -= float32(r.price * (float32(c.CreditsPer1K) / 1e6))
		score += float32(r.speed * (c.TokensPerSec / 100))
		if slices.Contains(r.prefer, c.ProviderName) {
			score += 0.25
		}
		if c.Health == abi.HealthDegraded {
			score -= 0.5
		}
		if at, found := slices.BinarySearchFunc(r.history, c.Key, byKey); found {
			t := r.history[at]
			score -= 0.5 * float32(t.failures) / float32(t.successes+t.failures)
		}
		r.scores = append(r.scores, score)
	}
}

func (r *reference) route(_ policy.Config, s *policy.Snapshot, q *policy.Request, p *policy.Plan) {
	clear(r.barred)
	r.choose(s, q, r.barred, p)
	if r.reviews(q) && len(p.Steps) > 0 {
		p.Flags, p.Tag = abi.PlanReview, 1
	}
}

func (r *reference) reviews(q *policy.Request) bool { return r.review && q.Flags&abi.FlagJSON != 0 }

// choose plans the best candidates of those that are not barred, or a refusal if there are none.
func (r *reference) choose(s *policy.Snapshot, q *policy.Request, barred []uint16, p *policy.Plan) {
	most := r.steps
	if q.Flags&abi.FlagNoFallback != 0 {
		most = 1
	}
	if q.Privacy == abi.PrivacyLocal {
		for i, why := range r.remote {
			if why != 0 {
				barred[i] = why
			}
		}
	}
	p.Verdicts = slices.Grow(p.Verdicts[:0], len(q.Options))[:len(q.Options)]
	running := r.rank(q.Options, barred, most, p)
	for rank, step := range p.Steps {
		p.Verdicts[step.Candidate] = policy.Verdict{Score: step.Score, Rank: uint16(rank + 1)}
	}
	if len(p.Steps) == 0 {
		p.Kind, p.Reason = abi.KindReject, abi.BecauseNothing
		p.Explain("nothing can serve this request")
		return
	}
	p.Kind, p.Reason = abi.KindAnswer, abi.BecauseBand
	p.Explain("best of ")
	p.ExplainNumber(uint64(running))
	p.Explain(": ")
	p.Explain(s.Candidates[p.Steps[0].Candidate].ModelName)
}

// rank judges every candidate and collects the best, those that are equal in their order. A decision's time goes to its
// loop, which therefore calls nothing: in a module made by Go, calls and jumps cost the most.
func (r *reference) rank(options []policy.Option, barred []uint16, most int, p *policy.Plan) (running int) {
	warmth := [2]float32{0, 0.1}
	least := float32(math.Inf(-1)) // what the next has to beat
	steps := slices.Grow(p.Steps[:0], abi.MaxSteps)[:abi.MaxSteps]
	scores, barred, verdicts := r.scores[:len(options)], barred[:len(options)], p.Verdicts[:len(options)]
	for i, o := range options {
		why := barred[i]
		if o.Excluded != 0 {
			why = uint16(o.Excluded)
		}
		if why != 0 {
			verdicts[i] = policy.Verdict{Reason: why}
			continue
		}
		score := scores[i] + warmth[o.Flags/abi.OptionWarm%2]
		verdicts[i] = policy.Verdict{Score: score, Reason: abi.ReasonOutranked}
		running++
		if score > least {
			at := min(running, most) - 1
			for ; at > 0 && steps[at-1].Score < score; at-- {
				steps[at] = steps[at-1]
			}
			steps[at] = policy.Step{Candidate: uint16(i), Attempts: 1, Score: score, Reason: abi.BecauseBand}
			if running >= most {
				least = steps[most-1].Score
			}
		}
	}
	p.Steps = steps[:min(running, most)]
	return running
}

func (r *reference) next(_ policy.Config, s *policy.Snapshot, q *policy.Request, outcomes []policy.Outcome, p *policy.Plan) {
	last := &outcomes[len(outcomes)-1]
	answered := last.Flags&abi.OutcomeOK != 0
	if answered && good(q, last) {
		accept(p, "the answer is good")
		return
	}
	held := false
	for i := range r.barred {
		r.barred[i] = 0
		if answered && s.Candidates[i].Quality <= s.Candidates[last.Candidate].Quality {
			r.barred[i] = abi.ReasonQuality
		}
	}
	for i := range outcomes {
		o := &outcomes[i]
		r.barred[o.Candidate] = reasonTried
		held = held || o.Kind == abi.KindAnswer && o.Flags&abi.OutcomeOK != 0
	}
	if round := last.Round + 1; round < abi.MaxRounds {
		r.choose(s, q, r.barred, p)
		if len(p.Steps) > 0 {
			p.Tag = last.Tag + 1
			if r.reviews(q) && round+1 < abi.MaxRounds {
				p.Flags = abi.PlanReview
			}
			return
		}
	}
	p.Reset()
	if held {
		accept(p, "nothing better is left")
		return
	}
	p.Kind, p.Reason, p.Status = abi.KindReject, abi.BecauseNothing, 502
	p.Explain("nothing answered")
}

func good(q *policy.Request, o *policy.Outcome) bool {
	if o.Flags&(abi.OutcomeEmpty|abi.OutcomeRefusal) != 0 {
		return false
	}
	return q.Flags&abi.FlagJSON == 0 || o.Flags&abi.OutcomeJSON != 0
}

func accept(p *policy.Plan, why string) {
	p.Kind, p.Reason = abi.KindAccept, abi.BecauseHeld
	p.Explain(why)
}
