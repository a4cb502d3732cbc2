package replay

import (
	"slices"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// result is what a request came to, or would have: who answered, and what it took.
type result struct {
	choice  int // candidate's number, -1: nobody
	cost    storage.NanoUSD
	credits storage.Credits
	output  storage.NanoUSD // the part of cost that an estimated length of the answer makes
	quality float32         // the catalog's, of the model
	ttft    float64         // milliseconds; 0: not known
	latency float64
}

// sizes is what a request and its answer take, in tokens, as far as it is recorded.
type sizes struct{ input, cached, output int64 }

// compare lets the policy of that name decide, on what WhatIf makes of the facts, and counts how that differs from what happened.
func (j *judge) compare(r *records.Record, f *policy.Facts, name string) {
	d, t := &j.decision, j.totals
	u := &r.Usage
	answered := answerer(d)
	was := j.happened(u, answered)
	t.requests++
	if name == candidateName && (d.Withheld || lacksText(d, j.needs)) || name != candidateName && (d.Withheld || d.Failure != "") || name == "" {
		t.undecided.Texts++
		t.keep(j, r, &was)
		return
	}
	g := *f
	if j.options.WhatIf != nil {
		g = j.whatIf(f, u)
	}
	same, err := d.Repeat(&g, &j.plan, record.SameAction, func(f *policy.Facts, plan *policy.Plan) error {
		_, err := j.host.Route(name, f, plan)
		return err
	})
	options := g.Request.Options
	first := firstChoice(d.Plan, d.Tried)
	change := change{first: first, wouldBe: first}
	switch {
	case err != nil:
		t.undecided.Failed++
		if t.failure == "" {
			t.failure = err.Error()
		}
		t.keep(j, r, &was)
		return
	case j.violates(&j.plan, options):
		t.undecided.Refused++
		t.keep(j, r, &was)
		return
	case j.plan.Kind == abi.KindAsk:
		t.undecided.Asks++
		t.keep(j, r, &was)
		return
	case j.plan.Kind == abi.KindReject:
		change.wouldBe = -1
	case j.plan.Kind == abi.KindAnswer:
		change.wouldBe = firstChoice(&j.plan, j.wished(d))
	}
	change.plan = !same
	would := j.would(d, u, answered, &was, options)
	t.add(j, r, &was, &would, change)
	t.baselines(j, u, options, &was, answered)
}

// change is how a decision differs from the recorded one.
type change struct {
	first, wouldBe int  // the first candidates of the plans, -1 for none
	plan           bool // anything of what is done differs
}

// lacksText tells that a policy needs texts that are not recorded, because the policy that decided did not need them.
func lacksText(d *record.Decision, needs uint32) bool {
	return needs&abi.GrantText != 0 && d.Ran.Needs&abi.GrantText == 0 || needs&abi.GrantMetadata != 0 && d.Ran.Needs&abi.GrantMetadata == 0
}

// answerer is the candidate whose answer the client got, -1 if it got none.
func answerer(d *record.Decision) int {
	for i := len(d.Outcomes) - 1; i >= 0; i-- {
		if o := &d.Outcomes[i]; o.Kind == abi.KindAnswer && o.Flags&abi.OutcomeOK != 0 {
			return int(o.Candidate)
		}
	}
	return -1
}

// wished is the order that the caller's wishes made of the recorded plan's candidates, nil without any.
func (j *judge) wished(d *record.Decision) []uint16 {
	if d.Wish == "" {
		return nil
	}
	return d.Tried
}

// firstChoice is the candidate that a plan has tried first, -1 for none: the one that comes first in an order, where there is one.
func firstChoice(p *policy.Plan, order []uint16) int {
	if p.Kind != abi.KindAnswer || len(p.Steps) == 0 {
		return -1
	}
	for _, candidate := range order {
		if slices.ContainsFunc(p.Steps, func(s policy.Step) bool { return s.Candidate == candidate }) {
			return int(candidate)
		}
	}
	return int(p.Steps[0].Candidate)
}

// happened is what the request came to.
func (j *judge) happened(u *storage.Usage, answered int) result {
	r := result{
		choice: answered, cost: u.CostUSD, credits: u.Credits, ttft: float64(u.TTFT) / float64(time.Millisecond), latency: float64(u.Latency) / float64(time.Millisecond),
	}
	if answered < 0 {
		return r
	}
	r.quality = j.snapshot.Candidates[answered].Quality
	if u.Simulated { // nobody is billed; it counts as what the model costs
		size := sizeOf(u)
		r.cost, _, _ = j.price(j.snapshot, answered, 0, size)
	}
	return r
}

func sizeOf(u *storage.Usage) sizes { return sizes{u.InputTokens, u.CachedTokens, u.OutputTokens} }

// price is what an answer of candidate i costs the operator, which part of that is the answer's length, and what the client is charged.
func (j *judge) price(s *policy.Published, i int, flags uint8, size sizes) (cost, output storage.NanoUSD, credits storage.Credits) {
	if flags&abi.OptionOwnKey != 0 {
		return 0, 0, 0
	}
	c := &s.Candidates[i]
	output = storage.NanoUSD(float64(c.PriceOut) * float64(size.output) / 1000)
	in := float64(c.PriceIn) * float64(size.input)
	if flags&abi.OptionWarm != 0 && c.PriceCacheRead > 0 {
		in -= float64(c.PriceIn-c.PriceCacheRead) * float64(size.cached)
	}
	model := catalog.Model{Rate: storage.Credits(c.CreditsPer1K)}
	return storage.NanoUSD(in/1000) + output, output, model.Charge(size.input + size.output)
}

// would is what the request would have come to by the plan that was just made: that of the first candidate that is not known to have
// failed, of the same length. What happened stands in for what is the same.
func (j *judge) would(d *record.Decision, u *storage.Usage, answered int, was *result, options []policy.Option) result {
	plan := &j.plan
	switch {
	case plan.Kind == abi.KindAccept:
		return *was
	case plan.Kind == abi.KindReject:
		return result{choice: -1}
	}
	choice := j.lasting(d)
	if choice < 0 {
		return result{choice: -1}
	}
	if choice == answered && j.changed == j.snapshot {
		return *was
	}
	c := &j.changed.Candidates[choice]
	w := result{choice: choice, quality: c.Quality}
	if answered < 0 { // nothing is known of the answer
		return w
	}
	flags := options[choice].Flags
	if choice == answered {
		flags |= abi.OptionWarm // it was, as far as cached tokens are recorded
	}
	w.cost, w.output, w.credits = j.price(j.changed, choice, flags, sizeOf(u))
	if choice == answered {
		w.credits, w.output, w.ttft, w.latency = was.credits, 0, was.ttft, was.latency
		return w
	}
	side, sideCredits := j.sideCalls(d)
	w.cost, w.credits = w.cost+side, w.credits+sideCredits
	if c.TTFT > 0 {
		w.ttft = float64(c.TTFT)
		if c.TokensPerSec > 0 {
			w.latency = w.ttft + 1000*float64(u.OutputTokens)/float64(c.TokensPerSec)
		}
	}
	return w
}

// lasting is the first candidate of the plan that is not known to have failed for this request, -1 if there is none.
func (j *judge) lasting(d *record.Decision) int {
	for _, candidate := range j.wished(d) {
		if slices.ContainsFunc(j.plan.Steps, func(s policy.Step) bool { return s.Candidate == candidate }) && !failed(d, candidate) {
			return int(candidate)
		}
	}
	for i := range j.plan.Steps {
		if candidate := j.plan.Steps[i].Candidate; !failed(d, candidate) {
			return int(candidate)
		}
	}
	return -1
}

// failed tells that a candidate was tried for this request and did not answer.
func failed(d *record.Decision, candidate uint16) bool {
	bad := false
	for i := range d.Outcomes {
		if o := &d.Outcomes[i]; o.Candidate == candidate && o.Kind == abi.KindAnswer {
			bad = o.Flags&abi.OutcomeOK == 0 && o.Failure != 0 && o.Failure != abi.FailureCancelled
		}
	}
	return bad
}

// sideCalls is what the side calls of the recorded rounds took.
func (j *judge) sideCalls(d *record.Decision) (cost storage.NanoUSD, credits storage.Credits) {
	for i := range d.Outcomes {
		if o := &d.Outcomes[i]; o.Kind == abi.KindAsk {
			one, _, _ := j.price(j.snapshot, int(o.Candidate), d.Request.Options[o.Candidate].Flags, sizes{input: int64(o.Input), output: int64(o.Output)})
			cost, credits = cost+one, credits+storage.Credits(o.Credits)
		}
	}
	return cost, credits
}

// violates tells that the engine would have refused a plan, because of a candidate that cannot or may not serve the request. It counts why.
func (j *judge) violates(p *policy.Plan, options []policy.Option) bool {
	for i := range p.Steps {
		if reason := options[p.Steps[i].Candidate].Excluded; reason != 0 {
			j.totals.violations[reason]++
			return true
		}
	}
	return false
}
