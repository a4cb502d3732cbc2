package engine

import (
	"context"
	"math"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/kept"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

const (
	// shadowEvery is how long requests are gathered for their shadows: waking somebody for each costs more than the decision.
	shadowEvery = 20 * time.Millisecond
	// shadowRest is how many times as long as it worked the worker rests, so that slow shadows get a quarter of a processor.
	shadowRest = 3
	// maxShadowed is how many requests wait for their shadows; beyond that they are dropped and counted.
	maxShadowed = 4096
	// maxGranted is how many bytes of their texts and metadata wait.
	maxGranted = 32 << 20
)

// Shadow is a policy that decides on the facts of another one's requests and is never followed.
type Shadow struct {
	Name, Of string
	Share    float64 // of the requests, above 0 and at most 1
}

// shadows are those of one configuration. What they counted outlives it.
type shadows struct {
	byName map[string]*shadow
	of     map[string][]*shadow // by the policy that they shadow
}

type shadow struct {
	Shadow
	threshold uint64 // for a hash of the request
	tally     *shadowTally
}

func newShadows(list []Shadow, queue *shadowQueue) shadows {
	s := shadows{map[string]*shadow{}, map[string][]*shadow{}}
	for _, one := range list {
		added := &shadow{one, math.MaxUint64, queue.tally(one)}
		if one.Share < 1 {
			added.threshold = uint64(one.Share * (1 << 64))
		}
		s.byName[one.Name] = added
		s.of[one.Of] = append(s.of[one.Of], added)
	}
	return s
}

// samples tells whether the shadow decides on the request of that seed.
func (s *shadow) samples(seed uint64) bool { return seed*0x9E3779B97F4A7C15 <= s.threshold }

// shadowed is a request that waits for its shadows, with the facts.
type shadowed struct {
	engine *Engine
	by     []*shadow // those of the policy, of which some sample the request
	snap   *policy.Published
	among  []*deployment // its candidates
	req    policy.Request
	first  choice     // of the policy
	ran    policy.Ran // what made it
	// Tokens of the answer; both 0 if there was none.
	input, output int64
}

// granted is what some shadows are granted of a request's body; policies gives none of it to the others.
type granted struct{ text, metadata []byte }

// sampleShadows notes whether shadows decide on the request as well, and keeps what they are granted of its body, which is gone
// when they do.
func (e *Engine) sampleShadows(c *call) {
	if c.decider != c.policy { // a candidate is not what they shadow
		return
	}
	sampled, needs := false, uint32(0)
	by := e.shadows.of[c.policy]
	for _, s := range by {
		if s.samples(c.req.Seed) {
			needed, _ := e.Policies.Needs(s.Name)
			sampled, needs = true, needs|needed
		}
	}
	if !sampled {
		return
	}
	c.shadows = by
	c.granted = granted{c.appendText(c.granted.text[:0], needs), c.appendMetadata(c.granted.metadata[:0], needs)}
}

// tellShadows hands a settled request to its shadows.
func (e *Engine) tellShadows(c *call) {
	if c.shadows == nil || c.ran.Digest == "" { // of a decision that two modules made none is what a shadow is compared with
		return
	}
	first := &c.plan
	if len(c.earlier) > 0 {
		first = &c.earlier[0]
	}
	j := shadowed{engine: e, by: c.shadows, snap: c.snap, among: c.among, req: c.req, first: choiceOf(first), ran: c.ran}
	j.req.Text, j.req.Metadata, j.req.State = c.granted.text, c.granted.metadata, 0
	if c.usage.Outcome == storage.OutcomeOK {
		j.input, j.output = c.usage.InputTokens, c.usage.OutputTokens
	}
	e.shadowQueue.add(&j)
}

// choice is what a plan does first: the candidate it tries, or a negative number for what tries none.
type choice int

const (
	choseReject choice = -1 - iota
	choseAsk
)

func choiceOf(p *policy.Plan) choice {
	switch {
	case p.Kind == abi.KindAsk:
		return choseAsk
	case p.Kind != abi.KindAnswer || len(p.Steps) == 0:
		return choseReject
	}
	return choice(p.Steps[0].Candidate)
}

// shadowQueue takes requests to the one worker of all shadows, which is there while there is work. The zero value is ready.
type shadowQueue struct {
	closed atomic.Bool
	busy   sync.WaitGroup

	waiting struct {
		sync.Mutex
		shadowBatch
		worker bool // there is one
	}

	taken shadowBatch // these are the worker's
	facts policy.Facts
	plan  policy.Plan

	mu      sync.Mutex
	tallies map[string]*shadowTally // by name
}

// shadowBatch are requests in a row, and what they refer to in another: memory that is used in its order is soon at hand.
type shadowBatch struct {
	requests []shadowed
	options  []policy.Option
	granted  []byte
}

// add copies a request, which is dropped if too many wait.
func (q *shadowQueue) add(j *shadowed) {
	w := &q.waiting
	w.Lock()
	defer w.Unlock()
	if q.closed.Load() || len(w.requests) >= maxShadowed || len(w.granted) >= maxGranted {
		for _, s := range j.by {
			if s.samples(j.req.Seed) {
				s.tally.drop()
			}
		}
		return
	}
	w.requests = append(w.requests, *j)
	req := &w.requests[len(w.requests)-1].req
	w.options, req.Options = keep(w.options, req.Options)
	w.granted, req.Text = keep(w.granted, req.Text)
	w.granted, req.Metadata = keep(w.granted, req.Metadata)
	if !w.worker {
		w.worker = true
		q.busy.Go(func() { pprof.Do(context.Background(), pprof.Labels("part", "shadows"), q.work) }) // profiles tell what they cost
	}
}

// keep appends items, and returns them as they lie there.
func keep[T any](list, items []T) (longer, kept []T) {
	longer = append(list, items...)
	return longer, longer[len(list):len(longer):len(longer)]
}

// work lets the shadows of all that waits decide, again and again until nothing waited.
func (q *shadowQueue) work(context.Context) {
	pause := shadowEvery
	for {
		time.Sleep(pause)
		began := time.Now()
		if !q.take() {
			return
		}
		for i := range q.taken.requests {
			j := &q.taken.requests[i]
			for _, s := range j.by {
				if s.samples(j.req.Seed) && !q.closed.Load() {
					q.decide(j, s)
				}
			}
		}
		pause = max(shadowEvery, shadowRest*time.Since(began))
	}
}

// take takes all that waits. If nothing does, the worker is gone.
func (q *shadowQueue) take() bool {
	w, old := &q.waiting, q.taken
	clear(old.requests) // it refers to a configuration and its snapshots
	if cap(old.granted) > kept.Most {
		old.granted = nil
	}
	w.Lock()
	defer w.Unlock()
	q.taken, w.shadowBatch = w.shadowBatch, shadowBatch{old.requests[:0], old.options[:0], old.granted[:0]}
	w.worker = len(q.taken.requests) > 0
	return w.worker
}

// decide lets a shadow decide. It has no state, as it never learns: its plans come to nothing.
func (q *shadowQueue) decide(j *shadowed, s *shadow) {
	e := j.engine
	if now := e.Current(); now != e && now.shadows.byName[s.Name] == nil {
		return // a later configuration has it no more
	}
	q.facts = policy.Facts{Snapshot: j.snap, Request: &j.req}
	ran, err := e.Policies.Route(s.Name, &q.facts, &q.plan)
	q.facts = policy.Facts{}
	of := opponents{opponent{j.ran.Digest, j.ran.Config}, opponent{ran.Digest, ran.Config}}
	if err != nil {
		s.tally.fail(of, err, e.Now)
		return
	}
	second := choiceOf(&q.plan)
	p := pair{first: j.label(j.first), second: j.label(second)}
	if p.priced = j.input+j.output > 0 && j.first >= 0 && second >= 0; p.priced {
		p.credits[0], p.cost[0] = e.wouldCost(j, j.first)
		p.credits[1], p.cost[1] = e.wouldCost(j, second)
	}
	s.tally.add(of, &p, e.Now)
}

// label names a choice.
func (j *shadowed) label(c choice) label {
	switch {
	case c == choseAsk:
		return label{model: "(asks a model first)"}
	case c < 0:
		return label{model: "(rejects)"}
	}
	x := &j.snap.Candidates[c]
	return label{x.ModelName, x.ProviderName}
}

// wouldCost is what a choice would cost if its answer had the tokens of the one that was given.
func (e *Engine) wouldCost(j *shadowed, c choice) (storage.Credits, storage.NanoUSD) {
	if j.req.Options[c].Flags&abi.OptionOwnKey != 0 {
		return 0, 0
	}
	d := j.among[c]
	cost, _ := d.Price.Cost(catalog.Usage{Input: j.input, Output: j.output})
	credits := sum(d.Model.Charge(j.input+j.output), d.Model.ChargeUnits(0, cost, e.Markups[min(int(j.req.AccountTier), len(e.Markups)-1)]))
	if j.req.Options[c].Flags&abi.OptionSimulated != 0 {
		cost = 0
	}
	return credits, cost
}

// close lets the worker end; what waits then is dropped. Nothing may be added any more.
func (q *shadowQueue) close() {
	q.closed.Store(true)
	q.busy.Wait()
}

// tally is that of a shadow, the same in every configuration.
func (q *shadowQueue) tally(s Shadow) *shadowTally {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.tallies == nil {
		q.tallies = map[string]*shadowTally{}
	}
	if known := q.tallies[s.Name]; known != nil && known.of == s.Of {
		return known
	}
	fresh := &shadowTally{name: s.Name, of: s.Of}
	q.tallies[s.Name] = fresh
	return fresh
}
