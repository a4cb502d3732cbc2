package replay

import (
	"errors"
	"io"
	"math"
	"testing"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

func candidate(name string) *Candidate {
	return &Candidate{Name: name, Module: builtin.Modules()[name]}
}

// recount is a comparison worked out request by request, in the plainest way, from the definitions in docs/replay.md.
type recount struct {
	changed, exact        int
	was, would, cheapest  float64 // USD
	wasCredits, wouldCred int64
	moves                 map[[2]string]int
	accounts              map[string][2]float64
}

func recountOf(t *testing.T, src records.Source, host *policies.Host, name string) recount {
	t.Helper()
	n := recount{moves: map[[2]string]int{}, accounts: map[string][2]float64{}}
	for {
		b, err := src.Next()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			n.request(t, b.Snapshot, &r, host, name)
		}
	}
}

func (n *recount) request(t *testing.T, snap *policy.Published, r *records.Record, host *policies.Host, policyName string) {
	t.Helper()
	d, err := record.DecodeDecision(r.Decision)
	if err != nil {
		t.Fatal(err)
	}
	var plan policy.Plan
	if _, err := host.Route(policyName, &policy.Facts{Snapshot: snap, Request: d.Request}, &plan); err != nil {
		t.Fatal(err)
	}
	label := func(p *policy.Plan) string {
		if p.Kind != abi.KindAnswer {
			return " at "
		}
		c := &snap.Candidates[p.Steps[0].Candidate]
		return c.ModelName + " at " + c.ProviderName
	}
	if from, to := label(d.Plan), label(&plan); from != to {
		n.changed++
		n.moves[[2]string{from, to}]++
	}
	answered := -1
	bad := map[uint16]bool{}
	for _, o := range d.Outcomes {
		if o.Flags&abi.OutcomeOK != 0 {
			answered = int(o.Candidate)
		} else {
			bad[o.Candidate] = true
		}
	}
	price := func(i int) float64 {
		c := &snap.Candidates[i]
		in, out := float64(r.Usage.InputTokens), float64(r.Usage.OutputTokens)
		switch {
		case d.Request.Options[i].Flags&abi.OptionOwnKey != 0:
			return 0
		case d.Request.Options[i].Flags&abi.OptionWarm != 0 && c.PriceCacheRead > 0:
			cached := float64(r.Usage.CachedTokens)
			return (float64(c.PriceIn)*(in-cached) + float64(c.PriceCacheRead)*cached + float64(c.PriceOut)*out) / 1e12
		}
		return (float64(c.PriceIn)*in + float64(c.PriceOut)*out) / 1e12
	}
	was, wasCredits := float64(r.Usage.CostUSD)/1e9, int64(r.Usage.Credits)
	would, wouldCredits := 0.0, int64(0)
	choice := -1
	if plan.Kind == abi.KindAnswer {
		for _, s := range plan.Steps {
			if !bad[s.Candidate] {
				choice = int(s.Candidate)
				break
			}
		}
	}
	switch {
	case choice >= 0 && choice == answered:
		would, wouldCredits = was, wasCredits
		n.exact++
	case choice >= 0 && answered >= 0:
		would = price(choice)
		if d.Request.Options[choice].Flags&abi.OptionOwnKey == 0 {
			wouldCredits = int64(math.Ceil(float64(snap.Candidates[choice].CreditsPer1K) * float64(r.Usage.InputTokens+r.Usage.OutputTokens) / 1000))
		}
	case choice < 0 && answered < 0:
		n.exact++
	}
	cheapest := was
	if answered >= 0 {
		cheapest = math.Inf(1)
		for i, o := range d.Request.Options {
			if o.Excluded == 0 {
				cost := price(i)
				if i == answered {
					cost = was
				}
				cheapest = min(cheapest, cost)
			}
		}
	}
	n.was, n.would, n.cheapest = n.was+was, n.would+would, n.cheapest+cheapest
	n.wasCredits, n.wouldCred = n.wasCredits+wasCredits, n.wouldCred+wouldCredits
	a := n.accounts[r.Usage.Account]
	n.accounts[r.Usage.Account] = [2]float64{a[0] + was, a[1] + would}
}

// TestComparisonEqualsRecount: the figures of a comparison are those of a recount that shares no code with it.
func TestComparisonEqualsRecount(t *testing.T) {
	g := records.Generated{Seed: 3, Requests: 6000, PerGeneration: 20}
	for _, name := range []string{"eco", "precision"} {
		r, err := Run(t.Context(), generated(t, g), Options{Candidate: candidate(name), Workers: 3})
		if err != nil {
			t.Fatal(err)
		}
		c, host := r.Comparison, newHost(t)
		if _, err := host.Load("tried", builtin.Modules()[name], policies.Settings{}); err != nil {
			t.Fatal(err)
		}
		n := recountOf(t, generated(t, g), host, "tried")
		if c.Requests != g.Requests || c.Changed != n.changed || c.Exact != n.exact {
			t.Errorf("%s: %d requests, %d changed, %d exact; want %d, %d, %d", name, c.Requests, c.Changed, c.Exact, g.Requests, n.changed, n.exact)
		}
		near := func(what string, got USD, want float64) {
			t.Helper()
			if math.Abs(float64(got)/1e9-want) > 1e-5 { // rounded to nano-dollars, 6,000 times
				t.Errorf("%s: %s is %s USD, want %g", name, what, storage.NanoUSD(got), want)
			}
		}
		near("what it was", c.Line(LineWas).Cost, n.was)
		near("what it would be", c.Line(LineWould).Cost, n.would)
		near("the cheapest", c.Line(LineCheapest).Cost, n.cheapest)
		if c.Line(LineWas).Credits != Credits(n.wasCredits) || c.Line(LineWould).Credits != Credits(n.wouldCred) {
			t.Errorf("%s: credits %v and %v, want %d and %d", name, c.Line(LineWas).Credits, c.Line(LineWould).Credits, n.wasCredits, n.wouldCred)
		}
		moved := 0
		for _, m := range c.Moves {
			if n.moves[[2]string{m.From, m.To}] != m.Requests {
				t.Errorf("%s: %+v, want %d", name, m, n.moves[[2]string{m.From, m.To}])
			}
			moved += m.Requests
		}
		if moved != n.changed || len(c.Moves) != len(n.moves) {
			t.Errorf("%s: %d moves of %d requests, want %d of %d", name, len(c.Moves), moved, len(n.moves), n.changed)
		}
		if len(c.Accounts) != len(n.accounts) {
			t.Errorf("%s: %d accounts, want %d", name, len(c.Accounts), len(n.accounts))
		}
		for _, row := range c.Accounts {
			near(row.Name, row.Cost, n.accounts[row.Name][0])
			near(row.Name, row.Would, n.accounts[row.Name][1])
		}
		if d := c.Line(LineWould).Cost - c.Line(LineWas).Cost; c.Difference.Low > d || c.Difference.High < d || c.Difference.Low == c.Difference.High {
			t.Errorf("%s: difference %v, interval %+v", name, d, c.Difference)
		}
	}
}

// TestWorkersAgree: how many processors are used changes nothing.
func TestWorkersAgree(t *testing.T) {
	var first *Report
	for _, workers := range []int{1, 4} {
		r, err := Run(t.Context(), generated(t, records.Generated{Seed: 5, Requests: 3000, PerGeneration: 3}), Options{Candidate: candidate("eco"), Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = r
			continue
		}
		a, b := first.Comparison, r.Comparison
		if len(a.Worst) != 10 || len(a.Worst) != len(b.Worst) || a.Worst[0] != b.Worst[0] || a.Worst[9] != b.Worst[9] || a.Line(LineWould).Cost != b.Line(LineWould).Cost || a.Line(LineSingle).Cost != b.Line(LineSingle).Cost ||
			a.Cost != b.Cost || a.OwnLengths != b.OwnLengths || len(a.Moves) != len(b.Moves) || a.Moves[0] != b.Moves[0] {
			t.Errorf("%+v\n%+v", a, b)
		}
	}
}

// TestWhatIf: on a catalog that did not change nothing does; what is removed or away is not chosen, and costs what it does not.
func TestWhatIf(t *testing.T) {
	g := records.Generated{Seed: 4, Requests: 3000, Policies: map[string][]byte{"balanced": builtin.Modules()["balanced"]}}
	run := func(w WhatIf) *Comparison {
		t.Helper()
		r, err := Run(t.Context(), generated(t, g), Options{WhatIf: &w})
		if err != nil || r.Reproduced != g.Requests {
			t.Fatalf("%+v, %v", r, err)
		}
		return r.Comparison
	}
	same := run(WhatIf{})
	if same.Changed != 0 || same.Exact != g.Requests {
		t.Errorf("nothing changed: %d changed, %d exact", same.Changed, same.Exact)
	}
	most := same.Models[0]
	for _, m := range same.Models {
		if m.Name != "(nobody)" && m.Requests > most.Requests {
			most = m
		}
	}
	gone := run(WhatIf{Removed: []Deployments{{Model: most.Name}}})
	for _, m := range gone.Models {
		if m.Name == most.Name && m.WouldRequest != 0 {
			t.Errorf("%s is removed, and would get %d requests", m.Name, m.WouldRequest)
		}
	}
	if gone.Changed == 0 || len(gone.Violations) != 0 {
		t.Errorf("%d changed, violations %v", gone.Changed, gone.Violations)
	}

	half := time.Date(2026, 1, 1, 0, 25, 0, 0, time.UTC) // of 3,000 s
	away := run(WhatIf{Outages: []Outage{{Of: Deployments{Model: most.Name}, From: half, Until: half.Add(time.Hour)}}})
	if away.Changed == 0 || away.Changed >= gone.Changed {
		t.Errorf("away for half the time: %d changed, removed: %d", away.Changed, gone.Changed)
	}
	for _, s := range away.Slots {
		if s.From.Before(half.Add(-10*time.Minute)) && s.Changed > 0 {
			t.Errorf("%d changed at %v, before the outage", s.Changed, s.From)
		}
	}

	dear := run(WhatIf{Prices: []Price{{Of: Deployments{}, In: true, Out: true, Factor: 2}}})
	if ratio := float64(dear.Line(LineWould).Cost) / float64(dear.Line(LineWas).Cost); math.Abs(ratio-2) > 1e-6 {
		t.Errorf("twice the prices: %g times the cost", ratio)
	}
	if u := run(WhatIf{Removed: []Deployments{{Model: "nonesuch"}}}).UnusedNames; len(u) != 1 || u[0] != "nonesuch" {
		t.Errorf("unused names: %q", u)
	}
}

func TestParseWhatIf(t *testing.T) {
	for text, want := range map[string]Price{
		"gpt-5=*1.5":            {Of: Deployments{Model: "gpt-5"}, In: true, Out: true, Factor: 1.5},
		"gpt-5.1@openai.in=2.5": {Of: Deployments{"gpt-5.1", "openai"}, In: true, USD: 2_500_000},
		"@openai.out=*0.5":      {Of: Deployments{Provider: "openai"}, Out: true, Factor: 0.5},
		"m.out=0":               {Of: Deployments{Model: "m"}, Out: true},
	} {
		if got, err := ParsePrice(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "m", "m=1", "m=*0", "m=*x", "m.in=-1", "=*2", "@=*2", "m=*1e9", "m=*NaN"} {
		if got, err := ParsePrice(text); err == nil {
			t.Errorf("price %q: %+v", text, got)
		}
	}
	if o, err := ParseOutage("@p=2026-01-01T00:00:00Z..2026-01-02T00:00:00Z"); err != nil || o.Of.Provider != "p" || o.Until.Sub(o.From) != 24*time.Hour {
		t.Errorf("%+v, %v", o, err)
	}
	for _, text := range []string{"", "@p", "@p=now..later", "@p=2026-01-02T00:00:00Z..2026-01-01T00:00:00Z", "=2026-01-01T00:00:00Z..2026-01-02T00:00:00Z"} {
		if o, err := ParseOutage(text); err == nil {
			t.Errorf("outage %q: %+v", text, o)
		}
	}
}

// TestBudgets: a budget counts the requests of its owner, tier and period, and tells when it would have been used up.
func TestBudgets(t *testing.T) {
	g := records.Generated{Seed: 6, Requests: 4000, Every: time.Minute} // nearly three days
	day := storage.Budget{Period: storage.PeriodDay, Credits: 1}
	tier := uint8(3)
	budgets := []records.Budget{
		{Account: "account-1", Budget: day},
		{Account: "account-1", Budget: storage.Budget{Period: storage.PeriodDay, Tier: &tier, Credits: 1}},
		{Key: "key_0000000000000002", Budget: storage.Budget{Credits: storage.CreditsPerCredit * 1_000_000}},
		{Team: "none", Budget: day},
	}
	r, err := Run(t.Context(), generated(t, g), Options{Candidate: candidate("precision"), Budgets: budgets})
	if err != nil {
		t.Fatal(err)
	}
	days, tiers := Credits(0), 0
	for _, b := range r.Comparison.Breaches {
		switch {
		case b.Account != "account-1" || b.From.Hour() != 0:
			t.Errorf("%+v", b)
		case b.Tier == nil:
			days += b.Spent
		default:
			tiers++
		}
	}
	for _, row := range r.Comparison.Accounts {
		if row.Name == "account-1" && row.WouldCredits != days {
			t.Errorf("the days' breaches sum up to %d, the account would have spent %d", days, row.WouldCredits)
		}
	}
	if tiers == 0 || days == 0 {
		t.Errorf("no breach: %+v", r.Comparison.Breaches)
	}
}

func TestConditions(t *testing.T) {
	line := func(name string, cost USD, quality float64) Line {
		return Line{Name: name, Cost: cost, Quality: quality}
	}
	r := &Report{Proof: Proof{Reproduced: 99, Differing: 1}, Comparison: &Comparison{
		Requests: 200, Changed: 30, Undecided: Undecided{Failed: 2, Refused: 1},
		Lines: []Line{line(LineWas, 1e9, 0.8), line(LineWould, 1.04e9, 0.7)},
	}}
	for text, want := range map[string]bool{
		"cost>+5%": false, "cost>+3%": true, "cost > +3%": true, "cost<-5%": false, "cost>1": true, "cost<1.5": true, "quality<0.75": true, "quality<-10%": true,
		"changed>10%": true, "changed>15%": false, "changed>29": true, "failures>2": true, "violations>0": true, "breaches>0": false,
		"reproduced<100%": true, "differing>0": true, "differing>1%": false,
	} {
		c, err := ParseCondition(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if met, how := c.Met(r); met != want {
			t.Errorf("%s is %v: %s", text, met, how)
		}
	}
	for _, text := range []string{"", "cost", "cost>5%", "cost>+5", "price>5", "changed>+5%", "cost=5", "cost>>5", "cost>x", "breaches>5%"} {
		if c, err := ParseCondition(text); err == nil {
			t.Errorf("%q: %+v", text, c)
		}
	}
}
