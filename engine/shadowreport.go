package engine

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// maxChoices is how many pairs of first choices are told apart for one shadow; the others are counted together.
const maxChoices = 256

// ShadowReport is what a shadow decided beside its policy since both have the modules that they have.
type ShadowReport struct {
	Name         string         `json:"shadow"`
	Of           string         `json:"shadow_of"`
	Share        float64        `json:"share"` // of the requests that it is asked about
	Since        *time.Time     `json:"since"` // null: nothing yet
	Digest       string         `json:"sha256,omitempty"`
	PolicyDigest string         `json:"policy_sha256,omitempty"`
	Decisions    uint64         `json:"decisions"`
	Same         uint64         `json:"same_first_choice"`
	Failures     uint64         `json:"failures"`
	LastFailure  string         `json:"last_failure,omitempty"`
	Dropped      uint64         `json:"dropped"` // requests it was not asked about, as too many waited; since the start
	Priced       uint64         `json:"priced"`  // decisions that costs are told of: the answer's tokens are known, and both would try a model
	Policy       ShadowCosts    `json:"policy"`
	Shadow       ShadowCosts    `json:"shadow_would"`
	Choices      []ShadowChoice `json:"choices"` // the most frequent first
	Others       uint64         `json:"other_choices"`
}

// ShadowCosts is what first choices would have cost, had every answer the tokens of the one that was given.
type ShadowCosts struct {
	Credits string `json:"credits"`
	CostUSD string `json:"cost_usd"`
}

// ShadowChoice is how often the policy chose From where the shadow chose To, as "model at provider".
type ShadowChoice struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Count uint64 `json:"count"`
}

// label names a first choice. One that tries no model has no provider.
type label struct{ model, provider string }

func (l label) String() string {
	if l.provider == "" {
		return l.model
	}
	return l.model + " at " + l.provider
}

// pair is what a policy and its shadow chose for a request.
type pair struct {
	first, second label
	priced        bool
	credits       [2]storage.Credits // of the policy's choice, of the shadow's
	cost          [2]storage.NanoUSD
}

// opponents are a policy and its shadow.
type opponents [2]opponent

// opponent is a module with its parameters, as digests.
type opponent struct{ module, config string }

// counts are what is counted of a shadow.
type counts struct {
	decisions, same, failures, priced uint64
	credits                           [2]storage.Credits
	cost                              [2]storage.NanoUSD
}

func (n *counts) add(p *pair) {
	n.decisions++
	if p.first == p.second {
		n.same++
	}
	if p.priced {
		n.priced++
		for i := range p.cost {
			n.credits[i], n.cost[i] = sum(n.credits[i], p.credits[i]), sum(n.cost[i], p.cost[i])
		}
	}
}

// shadowTally counts what a shadow does. It is safe for concurrent use.
type shadowTally struct {
	name, of string
	dropped  atomic.Uint64

	mu          sync.Mutex // guards what follows
	ever        counts     // for metrics
	now         counts     // of these modules
	since       time.Time
	both        opponents
	lastFailure string
	choices     map[[2]label]*uint64
	last        [2]label // the choices that came last, which mostly come again
	lastCount   *uint64
	others      uint64
}

func (t *shadowTally) drop() { t.dropped.Add(1) }

func (t *shadowTally) add(of opponents, p *pair, now func() time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin(of, now)
	t.ever.add(p)
	t.now.add(p)
	if key := [2]label{p.first, p.second}; t.lastCount == nil || key != t.last {
		t.last, t.lastCount = key, t.choices[key]
		switch {
		case t.lastCount != nil:
		case len(t.choices) < maxChoices:
			t.lastCount = new(uint64)
			t.choices[key] = t.lastCount
		default:
			t.lastCount = &t.others
		}
	}
	*t.lastCount++
}

func (t *shadowTally) fail(of opponents, err error, now func() time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin(of, now)
	t.ever.failures++
	t.now.failures++
	t.lastFailure = clip(err.Error(), 200)
}

// begin starts the report anew if one of both was loaded anew: two are not to be counted as one.
func (t *shadowTally) begin(of opponents, now func() time.Time) {
	if t.choices != nil && of == t.both {
		return
	}
	t.both, t.since, t.lastFailure = of, now().UTC(), ""
	t.now, t.others, t.choices, t.lastCount = counts{}, 0, map[[2]label]*uint64{}, nil
}

// report is the tally as it stands.
func (t *shadowTally) report(share float64) ShadowReport {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := &t.now
	r := ShadowReport{
		Name: t.name, Of: t.of, Share: share, Digest: t.both[1].module, PolicyDigest: t.both[0].module, Decisions: n.decisions, Same: n.same, Failures: n.failures,
		LastFailure: t.lastFailure, Dropped: t.dropped.Load(), Priced: n.priced, Others: t.others, Choices: []ShadowChoice{},
		Policy: ShadowCosts{n.credits[0].String(), n.cost[0].String()}, Shadow: ShadowCosts{n.credits[1].String(), n.cost[1].String()},
	}
	if !t.since.IsZero() {
		since := t.since
		r.Since = &since
	}
	for key, count := range t.choices {
		r.Choices = append(r.Choices, ShadowChoice{key[0].String(), key[1].String(), *count})
	}
	slices.SortFunc(r.Choices, func(a, b ShadowChoice) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return r
}

// Shadows are the reports of the configured shadows, by name.
func (e *Engine) Shadows() []ShadowReport {
	all := []ShadowReport{}
	for _, s := range e.shadows.byName {
		all = append(all, s.tally.report(s.Share))
	}
	slices.SortFunc(all, func(a, b ShadowReport) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// writeShadowMetrics writes what the shadows counted since the gateway started.
func (e *Engine) writeShadowMetrics(w io.Writer) {
	for _, s := range e.shadows.byName {
		t := s.tally
		t.mu.Lock()
		n := t.ever
		t.mu.Unlock()
		for _, m := range []struct {
			name string
			n    uint64
		}{{"decisions", n.decisions}, {"same", n.same}, {"failures", n.failures}, {"dropped", t.dropped.Load()}, {"priced", n.priced}} {
			fmt.Fprintf(w, "pointsman_shadow_%s_total{shadow=%q} %d\n", m.name, s.Name, m.n)
		}
		for i, by := range []string{"policy", "shadow"} {
			fmt.Fprintf(w, "pointsman_shadow_microcredits_total{shadow=%q,choice=%q} %d\n", s.Name, by, n.credits[i])
			fmt.Fprintf(w, "pointsman_shadow_nanousd_total{shadow=%q,choice=%q} %d\n", s.Name, by, n.cost[i])
		}
	}
}
