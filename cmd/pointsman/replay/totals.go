package replay

import (
	"cmp"
	"slices"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// Proof is whether recorded decisions come out the same when the policy that made them makes them again.
type Proof struct {
	Records     int          `json:"records"`
	Reproduced  int          `json:"reproduced"` // bit for bit, in all rounds
	Differing   int          `json:"differing"`
	Failed      int          `json:"policy_failed"`    // the policy failed, and the engine's own order took its place
	Withheld    int          `json:"texts_not_kept"`   // the policy saw texts that are not recorded
	NoModule    int          `json:"module_not_kept"`  // the module or its configuration is not there any more
	NoState     int          `json:"state_not_kept"`   // the state of a learning policy is not there any more
	Damaged     int          `json:"damaged,omitzero"` // records that do not fit their snapshot
	Differences []Difference `json:"differences,omitempty"`
}

// Repeatable is how many decisions could be repeated.
func (p *Proof) Repeatable() int { return p.Reproduced + p.Differing }

// Difference is a decision that came out otherwise.
type Difference struct {
	RequestID string `json:"request_id"`
	Policy    string `json:"policy"`
	Digest    string `json:"policy_digest"`
	Recorded  string `json:"recorded"`
	Now       string `json:"now"`
}

func (p *Proof) merge(o *Proof) {
	p.Records += o.Records
	p.Reproduced += o.Reproduced
	p.Differing += o.Differing
	p.Failed += o.Failed
	p.Withheld += o.Withheld
	p.NoModule += o.NoModule
	p.NoState += o.NoState
	p.Damaged += o.Damaged
	p.Differences = append(p.Differences, o.Differences...)
	p.Differences = p.Differences[:min(len(p.Differences), maxDifferences)]
}

// Undecided is requests about which the tried policy says nothing that can be carried on. They count as they happened.
type Undecided struct {
	Texts   int `json:"texts_not_kept"`  // it, or the policy that decided, needs texts that are not recorded
	Failed  int `json:"policy_failed"`   // it failed: the engine's own order would have taken its place
	Refused int `json:"plan_not_usable"` // it chose what cannot or may not serve the request: the same
	Asks    int `json:"asks_a_model"`    // it asks a model first, whose answer is not known
}

// Sum is what requests came to, or would have.
type Sum struct {
	Requests int
	Answered int
	Cost     storage.NanoUSD
	Credits  storage.Credits
	quality  float64 // summed up over the answered
	ttft     span
	latency  span
}

// span is a sum of durations in milliseconds over those requests for which it is known.
type span struct {
	sum float64
	n   int
}

func (s *span) add(ms float64) {
	if ms > 0 {
		s.sum += ms
		s.n++
	}
}

func (s *span) mean() float64 {
	if s.n == 0 {
		return 0
	}
	return s.sum / float64(s.n)
}

func (s *Sum) add(r *result) {
	s.Requests++
	s.Cost, s.Credits = s.Cost+r.cost, s.Credits+r.credits
	if r.choice >= 0 {
		s.Answered++
		s.quality += float64(r.quality)
		s.ttft.add(r.ttft)
		s.latency.add(r.latency)
	}
}

func (s *Sum) merge(o *Sum) {
	s.Requests, s.Answered = s.Requests+o.Requests, s.Answered+o.Answered
	s.Cost, s.Credits = s.Cost+o.Cost, s.Credits+o.Credits
	s.quality += o.quality
	s.ttft.sum, s.ttft.n = s.ttft.sum+o.ttft.sum, s.ttft.n+o.ttft.n
	s.latency.sum, s.latency.n = s.latency.sum+o.latency.sum, s.latency.n+o.latency.n
}

func (s *Sum) meanQuality() float64 {
	if s.Answered == 0 {
		return 0
	}
	return s.quality / float64(s.Answered)
}

// pair is a sum of what happened and of what would have.
type pair struct {
	was, would Sum
	changed    int // requests whose first choice differs
}

func (p *pair) merge(o *pair) {
	p.was.merge(&o.was)
	p.would.merge(&o.would)
	p.changed += o.changed
}

// move is a change of the first choice.
type move struct{ from, to uint32 }

// lengths is what an estimate rests on for one pair of models: the recorded answers of the one stand in for those of the other.
type lengths struct {
	requests int
	output   storage.NanoUSD // what their tokens would cost
}

// answers are the lengths of a model's recorded answers.
type answers struct {
	n      int
	tokens int64
}

// single is all requests sent to one model, where it can serve them; elsewhere they are what happened.
type single struct {
	served  int
	cost    storage.NanoUSD
	was     storage.NanoUSD // what happened to those it can serve
	wasGood float64
	quality float64

	last     storage.RequestID // that was counted last
	lastCost storage.NanoUSD
}

// Case is a request that would have cost much more.
type Case struct {
	RequestID string `json:"request_id"`
	Account   string `json:"account"`
	From      string `json:"from"`
	To        string `json:"to"`
	Was       USD    `json:"cost_usd"`
	Would     USD    `json:"would_cost_usd"`
}

// totals are the sums of one judge.
type totals struct {
	options    *Options
	proof      Proof
	requests   int
	undecided  Undecided
	failure    string // the first of the policy's
	all        pair
	changed    int // first choice
	replanned  int // anything of what is done
	exact      int // requests that would have come to what happened
	unanswered int // whose cost is not known, because nobody answered
	moves      map[move]int
	accounts   map[string]*pair
	keys       map[string]*pair
	models     map[uint32]*pair  // by who answered, and who would have
	slots      map[int64]*pair   // by slotLength
	lengths    map[move]*lengths // of models
	answers    map[uint32]*answers
	violations map[uint8]int
	worst      []Case
	cheapest   Sum
	singles    []single // by model
	spent      spending
}

func newTotals(o *Options) *totals {
	return &totals{
		options: o, moves: map[move]int{}, accounts: map[string]*pair{}, keys: map[string]*pair{}, models: map[uint32]*pair{}, slots: map[int64]*pair{},
		lengths: map[move]*lengths{}, answers: map[uint32]*answers{}, violations: map[uint8]int{}, spent: spending{},
	}
}

func at[K comparable, V any](m map[K]*V, key K) *V {
	v := m[key]
	if v == nil {
		v = new(V)
		m[key] = v
	}
	return v
}

// keep counts a request that stays as it happened.
func (t *totals) keep(j *judge, r *records.Record, was *result) {
	t.add(j, r, was, was, change{first: -1, wouldBe: -1})
	t.cheapest.add(was)
}

// add counts a request.
func (t *totals) add(j *judge, r *records.Record, was, would *result, c change) {
	u := &r.Usage
	t.all.was.add(was)
	t.all.would.add(would)
	from, to := j.place(c.first), j.place(c.wouldBe)
	differs := 0
	if from.deployment != to.deployment {
		differs = 1
		t.changed++
		t.moves[move{from.deployment, to.deployment}]++
	}
	if c.plan {
		t.replanned++
	}
	switch {
	case *was == *would:
		t.exact++
	case was.choice < 0 && would.choice >= 0:
		t.unanswered++
	}
	for _, p := range [...]*pair{at(t.accounts, u.Account), at(t.keys, u.Key), at(t.slots, u.Request.Time().Unix()/slotSeconds)} {
		p.was.add(was)
		p.would.add(would)
		p.changed += differs
	}
	before, after := j.place(was.choice), j.place(would.choice)
	at(t.models, before.model).was.add(was)
	at(t.models, after.model).would.add(would)
	if was.choice >= 0 {
		a := at(t.answers, before.model)
		a.n, a.tokens = a.n+1, a.tokens+u.OutputTokens
		if would.output > 0 {
			l := at(t.lengths, move{before.model, after.model})
			l.requests, l.output = l.requests+1, l.output+would.output
		}
	}
	t.spent.add(t.options.Budgets, u, would.credits, j.tier(would.choice))
	if would.cost > was.cost {
		t.note(Case{u.Request.String(), u.Account, j.names.deployment(before.deployment).String(), j.names.deployment(after.deployment).String(), USD(was.cost), USD(would.cost)})
	}
}

// place is the numbers of a candidate of the batch's snapshot, none of nobody.
func (j *judge) place(candidate int) place {
	if candidate < 0 {
		return place{none, none}
	}
	return j.places[candidate]
}

func (j *judge) tier(candidate int) uint8 {
	if candidate < 0 {
		return 0
	}
	return j.snapshot.Candidates[candidate].Tier
}

// note keeps the worst cases, worst first.
func (t *totals) note(c Case) {
	i, _ := slices.BinarySearchFunc(t.worst, c, worse)
	if i < t.options.Worst {
		t.worst = slices.Insert(t.worst, i, c)
		t.worst = t.worst[:min(len(t.worst), t.options.Worst)]
	}
}

func worse(a, b Case) int {
	return cmp.Or(cmp.Compare(b.Would-b.Was, a.Would-a.Was), cmp.Compare(a.RequestID, b.RequestID))
}

// baselines counts what the request would have come to if the cheapest candidate that can serve it had answered, and each model.
func (t *totals) baselines(j *judge, u *storage.Usage, options []policy.Option, was *result, answered int) {
	if answered < 0 {
		t.cheapest.add(was)
		return
	}
	best := *was
	size := sizeOf(u)
	found := false
	for i := range options {
		if options[i].Excluded != 0 {
			continue
		}
		flags := options[i].Flags
		c := &j.changed.Candidates[i]
		cost, _, credits := j.price(j.changed, i, flags, size)
		if i == answered && j.changed == j.snapshot {
			cost, credits = was.cost, was.credits
		}
		if !found || cost < best.cost {
			best = result{choice: i, cost: cost, credits: credits, quality: c.Quality, ttft: float64(c.TTFT)}
			found = true
		}
		for int(j.places[i].model) >= len(t.singles) {
			t.singles = append(t.singles, single{})
		}
		s := &t.singles[j.places[i].model]
		if s.served > 0 && s.last == u.Request { // another deployment of it: the cheaper one counts
			if cost < s.lastCost {
				s.cost -= s.lastCost - cost
				s.lastCost = cost
			}
			continue
		}
		s.last, s.lastCost = u.Request, cost
		s.served++
		s.cost, s.was = s.cost+cost, s.was+was.cost
		s.quality, s.wasGood = s.quality+float64(c.Quality), s.wasGood+float64(was.quality)
	}
	t.cheapest.add(&best)
}

// merge adds what another judge counted.
func (t *totals) merge(o *totals) {
	t.proof.merge(&o.proof)
	t.requests += o.requests
	t.undecided.Texts += o.undecided.Texts
	t.undecided.Failed += o.undecided.Failed
	t.undecided.Refused += o.undecided.Refused
	t.undecided.Asks += o.undecided.Asks
	t.failure = cmp.Or(t.failure, o.failure)
	t.all.merge(&o.all)
	t.changed += o.changed
	t.replanned += o.replanned
	t.exact += o.exact
	t.unanswered += o.unanswered
	for k, n := range o.moves {
		t.moves[k] += n
	}
	for k, p := range o.accounts {
		at(t.accounts, k).merge(p)
	}
	for k, p := range o.keys {
		at(t.keys, k).merge(p)
	}
	for k, p := range o.models {
		at(t.models, k).merge(p)
	}
	for k, p := range o.slots {
		at(t.slots, k).merge(p)
	}
	for k, l := range o.lengths {
		mine := at(t.lengths, k)
		mine.requests, mine.output = mine.requests+l.requests, mine.output+l.output
	}
	for k, a := range o.answers {
		mine := at(t.answers, k)
		mine.n, mine.tokens = mine.n+a.n, mine.tokens+a.tokens
	}
	for k, n := range o.violations {
		t.violations[k] += n
	}
	for m := range o.singles {
		for m >= len(t.singles) {
			t.singles = append(t.singles, single{})
		}
		mine, s := &t.singles[m], &o.singles[m]
		mine.served += s.served
		mine.cost, mine.was = mine.cost+s.cost, mine.was+s.was
		mine.quality, mine.wasGood = mine.quality+s.quality, mine.wasGood+s.wasGood
	}
	for _, c := range o.worst {
		t.note(c)
	}
	t.cheapest.merge(&o.cheapest)
	t.spent.merge(o.spent)
}

// slotSeconds is the length of a slot: what happens within one hangs together, as conversations do.
const slotSeconds = 600

// slotTime is the beginning of a slot of totals.slots.
func slotTime(slot int64) time.Time { return time.Unix(slot*slotSeconds, 0).UTC() }
