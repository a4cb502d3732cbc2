package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/pointsman/pointsman/engine"
)

type explainCmd struct {
	adminFlags
	Request string `arg:"" help:"Id of the request, as x-request-id told it, or as its client sent it."`
	All     bool   `help:"Show every candidate, not only the first 20."`
	JSON    bool   `name:"json" help:"Print what the admin API answers."`
}

// Run shows the decision.
func (x *explainCmd) Run(term terminal) error {
	c, err := x.client()
	if err != nil {
		return err
	}
	var d engine.Explanation
	if err := c.call("GET", "/api/v1/admin/decisions/"+url.PathEscape(x.Request), nil, &d); err != nil {
		return err
	}
	if x.JSON {
		return writeJSON(term.out, d)
	}
	most := 20
	if x.All {
		most = len(d.Candidates)
	}
	return writeExplanation(term.out, &d, most)
}

// writeExplanation writes a decision as tables: what was asked, the candidates, what became of it, and what would have changed it.
func writeExplanation(w io.Writer, d *engine.Explanation, most int) error {
	proof := "the module was replaced since, or texts it saw are not kept: not repeated"
	if d.Reproduced != nil {
		proof = map[bool]string{true: "repeated just now, bit for bit the same", false: "REPEATED JUST NOW, AND IT CAME OUT OTHERWISE"}[*d.Reproduced]
	}
	fmt.Fprintf(w, "%s: %s (%s)\n", d.Decision, d.Why, d.Reason)
	if d.Explanation != "" {
		fmt.Fprintln(w, d.Explanation)
	}
	if d.Failure != "" {
		fmt.Fprintf(w, "the policy failed: %s\n", d.Failure)
	}
	fmt.Fprintf(w, "policy %s %.12s on snapshot %d: %s\n\n", d.Policy, d.Digest, d.Generation, proof)
	a := &d.Asked
	asked := []string{a.PowerLevel, a.Model, a.Task, fmt.Sprintf("%d tokens estimated", a.InputTokens), fmt.Sprintf("%d messages", a.Conversation)}
	if a.MaxOutput > 0 {
		asked = append(asked, fmt.Sprintf("at most %d written", a.MaxOutput))
	}
	asked = append(asked, a.Needs...)
	for text, is := range map[string]bool{"private": a.Private, "streamed": a.Stream, "no fallback": a.NoFallback} {
		if is {
			asked = append(asked, text)
		}
	}
	fmt.Fprintf(w, "asked     %s\ncredits   %s available\n", strings.Join(nonEmpty(asked), ", "), a.Credits)
	if d.Wishes != nil {
		fmt.Fprintf(w, "wishes    %s: %s\n", d.Wishes.Asked, strings.Join(d.Wishes.Order, ", "))
	}
	for i := range d.Rounds {
		r := &d.Rounds[i]
		fmt.Fprintf(w, "round %d   %s %s: %s %s\n", i, r.Decision, strings.Join(r.Models, ", "), r.Why, r.Explanation)
	}
	candidates := slices.Clone(d.Candidates)
	slices.SortStableFunc(candidates, func(a, b engine.ExplainedOption) int { // those that nearly were in come first
		if a.In || b.In {
			return 0
		}
		return cmp.Compare(b.Score, a.Score)
	})
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "\nRANK\tMODEL\tPROVIDER\tSCORE\tTIER\tCREDITS/1K\tWORST CASE\tQUALITY\tHEALTH\tTTFT MS\tERRORS\tIN\tWHY")
	for i := range candidates {
		k := &candidates[i]
		if i >= most && !k.In {
			continue
		}
		rank, in := "", "out"
		if k.In {
			rank, in = strconv.Itoa(k.Rank), "in"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.4g\t%d\t%s\t%s\t%.2f\t%s\t%.0f\t%.1f %%\t%s\t%s\n", rank, k.Model, k.Provider, k.Score+0, k.Tier, k.CreditsPer1K, k.WorstCase,
			k.Quality, k.Health, k.TTFT, 100*k.ErrorRate, in, k.Why)
	}
	if len(d.Attempts) > 0 {
		fmt.Fprintln(t, "\nATTEMPT\tMODEL\tPROVIDER\tOUTCOME\tSTATUS\tTTFT MS\tMS\tIN\tOUT\tCREDITS")
	}
	for i := range d.Attempts {
		o := &d.Attempts[i]
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%d\t%.0f\t%.0f\t%d\t%d\t%s\n", i+1, o.Model, o.Provider, o.Outcome, o.Status, o.TTFT, o.Latency, o.Input, o.Output, o.Credits)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(d.Nearest) > 0 {
		fmt.Fprintln(w, "\nwhat would have changed it:")
	}
	for _, n := range d.Nearest {
		fmt.Fprintf(w, "  %s\n", changeText(&n))
	}
	_, err := fmt.Fprintf(w, "\n%s, charged %s credits, cost %s USD\n", d.Usage.Outcome, d.Usage.Credits, d.Usage.CostUSD)
	return err
}

// changeText says in a sentence what would have made another candidate the first choice.
func changeText(n *engine.ExplainedChange) string {
	first := fmt.Sprintf("%s at %s would have been first", n.Model, n.Provider)
	whose := "its"
	if n.OfModel != n.Model || n.OfProvider != n.Provider {
		whose = fmt.Sprintf("the %s of %s at %s", n.Fact, n.OfModel, n.OfProvider)
		return fmt.Sprintf("%s if %s were %s rather than %s", first, whose, n.To, n.From)
	}
	if n.Fact == "excluded" {
		return fmt.Sprintf("%s if the gateway had offered it: %s", first, n.From)
	}
	return fmt.Sprintf("%s if %s %s were %s rather than %s", first, whose, n.Fact, n.To, n.From)
}

func nonEmpty(texts []string) (kept []string) {
	for _, text := range texts {
		if text != "" {
			kept = append(kept, text)
		}
	}
	return kept
}
