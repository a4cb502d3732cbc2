package replay

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// Report is what a replay found. Without a candidate and changes of the catalog it has the proof alone.
type Report struct {
	Proof
	Passed     records.Passed `json:"passed_over"`
	Comparison *Comparison    `json:"comparison,omitempty"`
}

// Comparison is what would have become of the requests.
type Comparison struct {
	Policy       string         `json:"policy"` // that decided, "" for those that did when it happened
	From         time.Time      `json:"from"`
	Until        time.Time      `json:"until"`
	Requests     int            `json:"requests"`
	Changed      int            `json:"first_choice_changed"`
	Replanned    int            `json:"plan_changed"` // anything of what is done, fallbacks too
	Exact        int            `json:"as_it_happened"`
	Undecided    Undecided      `json:"undecided"`
	Failure      string         `json:"first_failure,omitempty"` // of the policy
	Violations   map[string]int `json:"violations"`              // plans that use what cannot or may not serve the request, by reason
	Lines        []Line         `json:"lines"`
	Cost         Interval       `json:"cost_interval"`       // 95 %
	Difference   Interval       `json:"difference_interval"` // of the cost to what happened, 95 %
	OwnLengths   USD            `json:"cost_at_own_lengths"` // if each model's answers were as long as its own recorded ones are on average
	Moves        []Move         `json:"moves"`               // most frequent first
	Models       []Row          `json:"models"`
	Accounts     []Row          `json:"accounts"` // those that would cost most more first
	Keys         []Row          `json:"keys"`
	Worst        []Case         `json:"worst"`
	Breaches     []Breach       `json:"budgets_used_up"`
	Slots        []Slot         `json:"slots"`
	Confidence   []Confidence   `json:"confidence"`
	UnusedNames  []string       `json:"names_nothing_has,omitempty"` // of WhatIf
	lengthsKnown int
}

// USD is an amount that is written in dollars.
type USD storage.NanoUSD

// MarshalText writes dollars with up to nine decimals.
func (u USD) MarshalText() ([]byte, error) { return []byte(storage.NanoUSD(u).String()), nil }

// Credits is an amount that is written in credits.
type Credits storage.Credits

// MarshalText writes credits with up to six decimals.
func (c Credits) MarshalText() ([]byte, error) { return []byte(storage.Credits(c).String()), nil }

// Line is what all requests came to in one way or another.
type Line struct {
	Name     string  `json:"name"`
	Cost     USD     `json:"cost_usd"`
	Credits  Credits `json:"credits"`
	Quality  float64 `json:"quality"`    // mean of the catalog's, 0 to 1
	TTFT     float64 `json:"ttft_ms"`    // mean where it is known; 0: nowhere
	Latency  float64 `json:"latency_ms"` // the same
	Answered int     `json:"answered"`
	Note     string  `json:"note,omitempty"`
}

// The lines of a comparison.
const (
	LineWas      = "as it was"
	LineWould    = "would be"
	LineCheapest = "cheapest capable"
	LineSingle   = "best single model"
	LineMix      = "random mix"
)

// Interval is what lies in the middle of 95 of 100 samples.
type Interval struct {
	Low  USD `json:"low_usd"`
	High USD `json:"high_usd"`
}

// Move is how often one first choice took another's place.
type Move struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Requests int    `json:"requests"`
}

// Row is a part of the requests.
type Row struct {
	Name         string  `json:"name"`
	Requests     int     `json:"requests"`
	WouldRequest int     `json:"would_be_requests,omitzero"` // of a model
	Changed      int     `json:"first_choice_changed"`
	Cost         USD     `json:"cost_usd"`
	Would        USD     `json:"would_cost_usd"`
	Credits      Credits `json:"credits"`
	WouldCredits Credits `json:"would_credits"`
}

// Slot is ten minutes.
type Slot struct {
	From     time.Time `json:"from"`
	Requests int       `json:"requests"`
	Changed  int       `json:"first_choice_changed"`
	Cost     USD       `json:"cost_usd"`
	Would    USD       `json:"would_cost_usd"`
}

// Confidence is how a figure is known.
type Confidence struct {
	Figure string `json:"figure"`
	Known  string `json:"known"` // exact, or estimated
	How    string `json:"how"`
}

// maxRows bounds lists of accounts, keys and moves in a report.
const maxRows = 1000

func newReport(t *totals, passed records.Passed, j *judge, o *Options) *Report {
	r := &Report{Proof: t.proof, Passed: passed}
	if o.Candidate == nil && o.WhatIf == nil {
		return r
	}
	c := &Comparison{
		Requests: t.requests, Changed: t.changed, Replanned: t.replanned, Exact: t.exact, Undecided: t.undecided, Failure: t.failure,
		Violations: map[string]int{}, Worst: t.worst, Breaches: t.spent.breaches(o.Budgets), Moves: []Move{},
	}
	if c.Worst == nil {
		c.Worst = []Case{}
	}
	if o.Candidate != nil {
		c.Policy = o.Candidate.Name
	}
	if o.WhatIf != nil {
		c.UnusedNames = o.WhatIf.unused(j.names.of)
	}
	for reason, n := range t.violations {
		c.Violations[policy.ReasonName(uint16(reason))] = n
	}
	c.lines(t, j)
	for m, n := range t.moves {
		c.Moves = append(c.Moves, Move{j.names.deployment(m.from).String(), j.names.deployment(m.to).String(), n})
	}
	slices.SortFunc(c.Moves, func(a, b Move) int {
		return cmp.Or(b.Requests-a.Requests, strings.Compare(a.From, b.From), strings.Compare(a.To, b.To))
	})
	c.Moves = c.Moves[:min(len(c.Moves), maxRows)]
	c.Accounts, c.Keys = rows(t.accounts), rows(t.keys)
	byModel := map[string]*pair{}
	for m, p := range t.models {
		if m == none {
			byModel["(nobody)"] = p
			continue
		}
		byModel[j.names.model(m)] = p
	}
	c.Models = rows(byModel)
	for i := range c.Models {
		c.Models[i].WouldRequest = byModel[c.Models[i].Name].would.Requests
	}
	c.slots(t)
	c.ownLengths(t)
	c.confide(t, o)
	r.Comparison = c
	return r
}

func rows(parts map[string]*pair) []Row {
	list := []Row{}
	for name, p := range parts {
		list = append(list, Row{
			Name: name, Requests: p.was.Requests, Changed: p.changed, Cost: USD(p.was.Cost), Would: USD(p.would.Cost),
			Credits: Credits(p.was.Credits), WouldCredits: Credits(p.would.Credits),
		})
	}
	slices.SortFunc(list, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Would-b.Cost, a.Would-a.Cost), cmp.Compare(b.Changed, a.Changed), strings.Compare(a.Name, b.Name))
	})
	return list[:min(len(list), maxRows)]
}

func line(name string, s *Sum, note string) Line {
	return Line{name, USD(s.Cost), Credits(s.Credits), s.meanQuality(), s.ttft.mean(), s.latency.mean(), s.Answered, note}
}

// lines are what happened, what would have, and what that is to be held against.
func (c *Comparison) lines(t *totals, j *judge) {
	would := line(LineWould, &t.all.would, "")
	cheapest := line(LineCheapest, &t.cheapest, "each request by the cheapest candidate that can and may serve it")
	cheapest.Latency = 0
	c.Lines = []Line{line(LineWas, &t.all.was, ""), would, cheapest}
	best, bestModel := Line{Name: LineSingle, Quality: -1}, uint32(0)
	for i := range t.singles {
		m, s := uint32(i), &t.singles[i]
		if s.served == 0 {
			continue
		}
		l := Line{
			Name: LineSingle, Cost: USD(t.all.was.Cost - s.was + s.cost), Answered: t.all.was.Answered,
			Note: fmt.Sprintf("%s, which can serve %.0f %% of the requests; the others as it was", j.names.model(m), 100*float64(s.served)/float64(max(1, t.all.was.Answered))),
		}
		if l.Answered > 0 {
			l.Quality = (t.all.was.quality - s.wasGood + s.quality) / float64(l.Answered)
		}
		if l.Quality > best.Quality || l.Quality == best.Quality && (l.Cost < best.Cost || l.Cost == best.Cost && m < bestModel) {
			best, bestModel = l, m
		}
	}
	if best.Quality < 0 {
		return
	}
	c.Lines = append(c.Lines, best)
	// The mix sends a share of the requests, drawn by lot, to the best single model and the others to the cheapest capable one, so that it
	// costs what the policy would.
	mix := Line{Name: LineMix, Cost: would.Cost, Answered: best.Answered}
	share := 0.0
	if best.Cost != cheapest.Cost {
		share = float64(would.Cost-cheapest.Cost) / float64(best.Cost-cheapest.Cost)
	}
	if share < 0 || share > 1 {
		mix.Note = "costs more or less than any mix of the two"
		share = min(max(share, 0), 1)
		mix.Cost = USD(float64(cheapest.Cost) + share*float64(best.Cost-cheapest.Cost))
	} else {
		mix.Note = fmt.Sprintf("%.0f %% to the best single model, the others to the cheapest capable, by lot: costs the same", 100*share)
	}
	mix.Quality = cheapest.Quality + share*(best.Quality-cheapest.Quality)
	c.Lines = append(c.Lines, mix)
}

// Line is a line by its name; all of it is zero if there is none.
func (c *Comparison) Line(name string) Line {
	for _, l := range c.Lines {
		if l.Name == name {
			return l
		}
	}
	return Line{}
}

// resamples is how often the slots are drawn anew for an interval.
const resamples = 2000

// slots lists them, and draws the intervals: what the sum would be over as many slots drawn from these with replacement (Efron's
// percentile bootstrap, over blocks because requests close in time hang together).
func (c *Comparison) slots(t *totals) {
	c.Slots = []Slot{}
	for _, slot := range slices.Sorted(maps.Keys(t.slots)) {
		p := t.slots[slot]
		c.Slots = append(c.Slots, Slot{slotTime(slot), p.was.Requests, p.changed, USD(p.was.Cost), USD(p.would.Cost)})
	}
	if len(c.Slots) == 0 {
		return
	}
	c.From, c.Until = c.Slots[0].From, c.Slots[len(c.Slots)-1].From.Add(slotSeconds*time.Second)
	random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // the same report each time
	costs, differences := make([]USD, resamples), make([]USD, resamples)
	for i := range resamples {
		for range c.Slots {
			s := &c.Slots[random.IntN(len(c.Slots))]
			costs[i] += s.Would
			differences[i] += s.Would - s.Cost
		}
	}
	c.Cost, c.Difference = middle(costs), middle(differences)
}

func middle(samples []USD) Interval {
	slices.Sort(samples)
	at := func(share float64) USD { return samples[int(math.Round(share*float64(len(samples)-1)))] }
	return Interval{at(0.025), at(0.975)}
}

// leastAnswers is how many answers of a model say how long its answers are.
const leastAnswers = 30

// ownLengths estimates the cost anew, with answers as long as each model's recorded ones are on average beside those of the model
// whose lengths stood in for them.
func (c *Comparison) ownLengths(t *totals) {
	cost := t.all.would.Cost
	for m, l := range t.lengths {
		from, to := t.answers[m.from], t.answers[m.to]
		if from == nil || to == nil || from.n < leastAnswers || to.n < leastAnswers || from.tokens == 0 {
			continue
		}
		ratio := float64(to.tokens) / float64(to.n) * float64(from.n) / float64(from.tokens)
		cost += storage.NanoUSD(float64(l.output) * (ratio - 1))
		c.lengthsKnown += l.requests
	}
	c.OwnLengths = USD(cost)
}

// confide says how each figure is known.
func (c *Comparison) confide(t *totals, o *Options) {
	estimated := 0
	for _, l := range t.lengths {
		estimated += l.requests
	}
	of := func(n int) string {
		return fmt.Sprintf("%d of %d requests (%.1f %%)", n, t.requests, 100*float64(n)/float64(max(1, t.requests)))
	}
	c.Confidence = []Confidence{
		{"decision", "exact", "the module decides on the recorded facts; " + of(t.requests-t.undecided.Texts-t.undecided.Failed-t.undecided.Refused-t.undecided.Asks) + " can be decided, the others count as they happened"},
		{"price", "exact", "the prices of the moment stand in the recorded snapshots"},
	}
	if o.WhatIf != nil {
		c.Confidence[1].How = "the prices of the moment, changed as asked"
	}
	c.Confidence = append(c.Confidence,
		Confidence{"tokens", "estimated", "answers of another model are taken to be as long as the recorded ones, and prompts to have as many tokens: " + of(estimated) +
			fmt.Sprintf("; at the models' own average lengths, where 30 answers of both are recorded (%d requests), the cost would be %s USD", c.lengthsKnown, usd(c.OwnLengths))},
		Confidence{"cost", "estimated", "exact for " + of(t.exact) + ", which come to what happened; elsewhere price times tokens, prompt-cache discounts only where the conversation was warm"},
		Confidence{"credits", "estimated", "as the cost, by the models' rates per 1,000 tokens"},
		Confidence{"latency", "estimated", "as recorded where the answer is the same, elsewhere what the candidate took at that time; where that is not known the mean is over the others"},
		Confidence{"quality", "estimated", "the catalog's figure of the model that answers; what the answers are worth is not known. Score recorded answers with --outcomes"},
		Confidence{"interval", "estimated", fmt.Sprintf("bootstrap over %d slots of ten minutes, %d times: how much chance there is in this traffic, not in the estimates above", len(c.Slots), resamples)},
	)
	if t.unanswered > 0 {
		c.Confidence = append(c.Confidence, Confidence{"unanswered", "not known", of(t.unanswered) + " got no answer when they happened and might get one; they cost nothing here"})
	}
}
