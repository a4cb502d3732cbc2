package engine

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

const (
	// shadowEvery is how long requests are gathered for their shadows: waking somebody for each costs more than the decision.
	shadowEvery = 10 * time.Millisecond
	// shadowRest is how many times as long as it worked the worker rests, so that slow shadows get a quarter of a processor.
	shadowRest = 3
	// maxShadowed is how many requests wait for their shadows; beyond that they are dropped and counted.
	maxShadowed = 4096
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

// shadowed is a request that waits for its shadows, with the facts.
type shadowed struct {
	next   *shadowed
	engine *Engine
	by     []asked
	snap   *policy.Published
	req    policy.Request // without what a shadow is granted
	first  choice         // of the policy
	ran    policy.Ran     // what made it
	// Tokens of the answer; both 0 if there was none.
	input, output int64
}

// asked is a shadow and a copy of what it is granted of the request.
type asked struct {
	*shadow
	text, metadata []byte
}

// sampleShadows picks the shadows that decide on the request as well, and keeps what they are granted of its body, which is gone
// when they do.
func (e *Engine) sampleShadows(c *call) {
	if c.decider != c.policy { // a candidate is not what they shadow
		return
	}
	for _, s := range e.shadows.of[c.policy] {
		if c.req.Seed*0x9E3779B97F4A7C15 > s.threshold {
			continue
		}
		if c.shadowed == nil {
			c.shadowed, _ = e.shadowQueue.spare.Get().(*shadowed)
			if c.shadowed == nil {
				c.shadowed = new(shadowed)
			}
		}
		by := &c.shadowed.by
		*by = slices.Grow(*by, 1)[:len(*by)+1] // its buffers are used again
		a := &(*by)[len(*by)-1]
		needs, _ := e.Policies.Needs(s.Name)
		a.shadow, a.text, a.metadata = s, c.appendText(a.text[:0], needs), c.appendMetadata(a.metadata[:0], needs)
	}
}

// tellShadows hands a settled request to its shadows. Its facts are theirs now: the call gets the list of another one.
func (e *Engine) tellShadows(c *call) {
	j := c.shadowed
	if j == nil {
		return
	}
	c.shadowed = nil
	options := j.req.Options
	j.engine, j.snap, j.req, j.ran = e, c.snap, c.req, c.ran
	j.req.Text, j.req.Metadata, j.req.State, c.req.Options = nil, nil, 0, options
	first := &c.plan
	if len(c.earlier) > 0 {
		first = &c.earlier[0]
	}
	j.first = choiceOf(first)
	if j.input, j.output = 0, 0; c.usage.Outcome == storage.OutcomeOK {
		j.input, j.output = c.usage.InputTokens, c.usage.OutputTokens
	}
	e.shadowQueue.add(j)
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

// shadowQueue takes requests to the one worker of all shadows, which is there while there is work. Adding takes no lock. The zero
// value is ready.
type shadowQueue struct {
	newest atomic.Pointer[shadowed] // of those that wait
	length atomic.Int64
	due    atomic.Bool // the worker is on its way
	closed atomic.Bool
	busy   sync.WaitGroup
	spare  sync.Pool // of *shadowed

	facts policy.Facts // the worker's
	plan  policy.Plan

	mu      sync.Mutex
	tallies map[string]*shadowTally // by name
}

func (q *shadowQueue) add(j *shadowed) {
	if q.closed.Load() || q.length.Add(1) > maxShadowed {
		q.length.Add(-1)
		for _, a := range j.by {
			a.tally.drop()
		}
		q.free(j)
		return
	}
	for {
		j.next = q.newest.Load()
		if q.newest.CompareAndSwap(j.next, j) {
			break
		}
	}
	if q.due.CompareAndSwap(false, true) {
		q.wake(shadowEvery)
	}
}

func (q *shadowQueue) wake(after time.Duration) {
	q.busy.Add(1)
	time.AfterFunc(after, func() {
		defer q.busy.Done()
		q.work()
	})
}

// work lets the shadows of all that waits decide, and comes back later; when nothing waited it does not.
func (q *shadowQueue) work() {
	began := time.Now()
	oldest, n := q.take()
	if oldest == nil || q.closed.Load() {
		q.due.Store(false)
		if q.newest.Load() != nil && !q.closed.Load() && q.due.CompareAndSwap(false, true) { // it came between the two
			q.wake(shadowEvery)
		}
		return
	}
	for j := oldest; j != nil; {
		next := j.next
		for i := range j.by {
			q.decide(j, &j.by[i])
		}
		q.free(j)
		j = next
	}
	q.length.Add(-n)
	q.wake(max(shadowEvery, shadowRest*time.Since(began)))
}

// take takes all that waits, the oldest first.
func (q *shadowQueue) take() (oldest *shadowed, n int64) {
	for j := q.newest.Swap(nil); j != nil; n++ {
		j.next, oldest, j = oldest, j, j.next
	}
	return oldest, n
}

// free keeps the memory of a request for another one.
func (q *shadowQueue) free(j *shadowed) {
	j.engine, j.by, j.snap, j.next = nil, j.by[:0], nil, nil
	q.spare.Put(j)
}

// decide lets a shadow decide. It has no state, as it never learns: its plans come to nothing.
func (q *shadowQueue) decide(j *shadowed, a *asked) {
	e := j.engine
	if now := e.Current(); now != e && now.shadows.byName[a.Name] == nil {
		return // a later configuration has it no more
	}
	j.req.Text, j.req.Metadata = a.text, a.metadata
	q.facts = policy.Facts{Snapshot: j.snap, Request: &j.req}
	ran, err := e.Policies.Route(a.Name, &q.facts, &q.plan)
	q.facts = policy.Facts{}
	of := opponents{opponent{j.ran.Digest, j.ran.Config}, opponent{ran.Digest, ran.Config}}
	if err != nil {
		a.tally.fail(of, err, e.Now)
		return
	}
	second := choiceOf(&q.plan)
	p := pair{first: j.label(j.first), second: j.label(second)}
	if p.priced = j.input+j.output > 0 && j.first >= 0 && second >= 0; p.priced {
		p.credits[0], p.cost[0] = e.wouldCost(j, j.first)
		p.credits[1], p.cost[1] = e.wouldCost(j, second)
	}
	a.tally.add(of, &p, e.Now)
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
	d := e.deployments[c]
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
