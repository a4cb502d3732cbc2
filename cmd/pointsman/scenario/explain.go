package scenario

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// Row is one candidate of an explained decision.
type Row struct {
	Rank     int     `json:"rank,omitempty"` // 1 is the first choice; 0: not in the plan
	Model    string  `json:"model"`
	Provider string  `json:"provider"`
	In       bool    `json:"in"`
	Reason   string  `json:"reason"`
	Why      string  `json:"why"`
	Score    float32 `json:"score"`
	Tier     uint8   `json:"tier"`
	Credits  string  `json:"credits_per_1k"`
	Health   string  `json:"health"`
	Attempts uint8   `json:"attempts,omitempty"`
	Timeout  uint32  `json:"timeout_ms,omitempty"`
	Hedge    uint32  `json:"hedge_ms,omitempty"`
}

// Explained is a decision in words.
type Explained struct {
	Case        string   `json:"case"`
	Decision    string   `json:"decision"`
	Reason      string   `json:"reason"`
	Why         string   `json:"why"`
	Explanation string   `json:"explanation,omitempty"`
	Status      uint16   `json:"status,omitempty"`
	Review      bool     `json:"review,omitempty"` // the answer comes back to the policy before it is sent
	Ask         string   `json:"ask,omitempty"`
	Order       []string `json:"order"`
	Fuel        int64    `json:"fuel"`
	Candidates  []Row    `json:"candidates"` // those of the plan first
}

// Explain puts a decision into words.
func (c *Case) Explain(d *Decision) Explained {
	plan := &d.Plan
	x := Explained{
		Case: c.Name, Decision: KindName(plan.Kind), Reason: policy.ReasonName(plan.Reason), Why: policy.ReasonText(plan.Reason), Fuel: d.Fuel,
		Explanation: string(plan.Explanation), Status: plan.Status, Review: plan.Flags != 0, Ask: string(plan.Ask), Order: c.Order(plan),
	}
	for i := range c.Facts.Snapshot.Candidates {
		k := &c.Facts.Snapshot.Candidates[i]
		r := Row{
			Model: k.ModelName, Provider: k.ProviderName, Tier: k.Tier, Credits: storage.Credits(k.CreditsPer1K).String(), Health: policy.HealthName(k.Health),
		}
		reason := c.reason(plan, i)
		r.Reason, r.Why = policy.ReasonName(reason), policy.ReasonText(reason)
		if i < len(plan.Verdicts) {
			r.Score = plan.Verdicts[i].Score
		}
		for n, s := range plan.Steps {
			if int(s.Candidate) == i && !r.In {
				r.Rank, r.In, r.Score, r.Attempts, r.Timeout, r.Hedge = n+1, true, s.Score, s.Attempts, s.TimeoutMillis, s.HedgeMillis
			}
		}
		r.Score += 0 // a negative zero reads badly
		x.Candidates = append(x.Candidates, r)
	}
	slices.SortStableFunc(x.Candidates, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.place(), b.place()), cmp.Compare(a.Rank, b.Rank))
	})
	return x
}

// place orders rows: the plan, what could have been in it, the rest.
func (r Row) place() int {
	switch {
	case r.In:
		return 0
	case r.Reason == policy.ReasonName(abi.ReasonOutranked) || r.Reason == policy.ReasonName(abi.ReasonNone):
		return 1
	}
	return 2
}

// Write writes the decision as a table. Rows beyond most are summed up by reason; 0 shows all.
func (x *Explained) Write(w io.Writer, most int) error {
	fmt.Fprintf(w, "%s: %s (%s)\n", x.Decision, x.Why, x.Reason)
	if x.Explanation != "" {
		fmt.Fprintf(w, "%s\n", x.Explanation)
	}
	if x.Ask != "" {
		fmt.Fprintf(w, "asks: %s\n", x.Ask)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "RANK\tMODEL\tPROVIDER\tTIER\tCREDITS/1K\tHEALTH\tSCORE\tIN\tREASON")
	left := map[string]int{}
	for n, r := range x.Candidates {
		if most > 0 && n >= most && !r.In {
			left[r.Reason]++
			continue
		}
		rank, in := "", "out"
		if r.In {
			rank, in = strconv.Itoa(r.Rank), "in"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%.4g\t%s\t%s\n", rank, r.Model, r.Provider, r.Tier, r.Credits, r.Health, r.Score, in, r.Reason)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var more []string
	for reason, n := range left {
		more = append(more, fmt.Sprintf("%d %s", n, reason))
	}
	if slices.Sort(more); len(more) > 0 {
		fmt.Fprintf(w, "and out: %s (--all shows them)\n", strings.Join(more, ", "))
	}
	_, err := fmt.Fprintf(w, "fuel %d\n", x.Fuel)
	return err
}
