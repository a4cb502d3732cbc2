package replay

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/storage"
)

// most is how many rows of each table are written.
const most = 15

// Write writes the report as text.
func (r *Report) Write(w io.Writer) error {
	out := &printer{w: w}
	out.proof(&r.Proof, &r.Passed)
	if r.Comparison != nil {
		out.comparison(r.Comparison)
	}
	return out.err
}

// printer writes until something fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// table writes rows of cells with tabs between.
func (p *printer) table(head string, rows []string) {
	if p.err != nil || len(rows) == 0 {
		return
	}
	t := tabwriter.NewWriter(p.w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, head)
	for _, row := range rows[:min(len(rows), most)] {
		fmt.Fprintln(t, row)
	}
	p.err = t.Flush()
	if len(rows) > most {
		p.line("  … and %d more", len(rows)-most)
	}
}

func (p *printer) proof(proof *Proof, passed *records.Passed) {
	p.line("%d decisions, %d of %d that can be repeated came out the same, bit for bit", proof.Records, proof.Reproduced, proof.Repeatable())
	for _, part := range [...]struct {
		n    int
		text string
	}{
		{proof.Differing, "came out otherwise"},
		{proof.Failed, "the policy failed, and the engine's own order took its place: not repeated"},
		{proof.Withheld, "the policy saw texts that are not recorded ([rounds] record_texts): not repeated"},
		{proof.NoModule, "the module or its configuration is not kept any more: not repeated"},
		{proof.NoState, "the state of a learning policy is not kept any more: not repeated"},
		{proof.Damaged, "the record does not fit its snapshot"},
		{passed.NoSnapshot, "requests whose snapshot is not kept any more: passed over"},
		{passed.Damaged, "records that cannot be read: passed over"},
		{passed.DamagedPage, "damaged pages of the log, of up to 512 requests each: passed over"},
		{passed.NoDecision, "requests that no policy decided, as answers from the cache: passed over"},
	} {
		if part.n > 0 {
			p.line("  %d  %s", part.n, part.text)
		}
	}
	for _, d := range proof.Differences {
		p.line("  %s by %s %.12s\n    recorded  %s\n    now       %s", d.RequestID, d.Policy, d.Digest, d.Recorded, d.Now)
	}
}

func (p *printer) comparison(c *Comparison) {
	title := "with " + c.Policy
	if c.Policy == "" {
		title = "with the same policies, on the changed catalog"
	}
	p.line("\n%s, %d requests from %s to %s", title, c.Requests, c.From.Format("2006-01-02 15:04"), c.Until.Format("2006-01-02 15:04 MST"))
	for _, name := range c.UnusedNames {
		p.line("  note: no model or provider in the records is called %s", name)
	}
	p.line("  first choice changed  %d (%.1f %%), the plan anyhow %d; %d come to what happened", c.Changed, percent(c.Changed, c.Requests), c.Replanned, c.Exact)
	for _, part := range [...]struct {
		n    int
		text string
	}{
		{c.Undecided.Texts, "not decided: texts that are needed are not recorded"},
		{c.Undecided.Failed, "the policy failed: " + c.Failure},
		{c.Undecided.Refused, "the plan uses what cannot or may not serve the request"},
		{c.Undecided.Asks, "asks a model first, whose answer is not known"},
	} {
		if part.n > 0 {
			p.line("  %d  %s", part.n, part.text)
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(c.Violations)) {
		p.line("  violation  %s: %d", reason, c.Violations[reason])
	}
	p.line("")
	var lines []string
	was := c.Line(LineWas)
	for _, l := range c.Lines {
		lines = append(lines, fmt.Sprintf("%s\t%s\t%s\t%s\t%.3f\t%s\t%s\t%s", l.Name, usd(l.Cost), signed(float64(l.Cost), float64(was.Cost)), l.CreditsText(),
			l.Quality, known(l.TTFT), known(l.Latency), l.Note))
	}
	p.table("\tUSD\t\tCREDITS\tQUALITY\tTTFT MS\tLATENCY MS\t", lines)
	p.line("\ncost of such a time: %s to %s USD; difference to what it was: %s to %s USD (95 %%)",
		usd(c.Cost.Low), usd(c.Cost.High), usd(c.Difference.Low), usd(c.Difference.High))
	p.line("")
	var moves []string
	for _, m := range c.Moves {
		moves = append(moves, fmt.Sprintf("%s\t%s\t%d\t%.1f %%", name(m.From), name(m.To), m.Requests, percent(m.Requests, c.Requests)))
	}
	p.table("FROM\tTO\tREQUESTS\t", moves)
	p.rows("\nMODEL\tREQUESTS\tWOULD BE\tUSD\tWOULD BE\t", c.Models, func(r *Row) string {
		return fmt.Sprintf("%s\t%d\t%d\t%s\t%s\t%s", r.Name, r.Requests, r.WouldRequest, usd(r.Cost), usd(r.Would), signed(float64(r.Would), float64(r.Cost)))
	})
	part := func(r *Row) string {
		return fmt.Sprintf("%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s", r.Name, r.Requests, r.Changed, usd(r.Cost), usd(r.Would), signed(float64(r.Would), float64(r.Cost)),
			credits(r.Credits), credits(r.WouldCredits))
	}
	p.rows("\nACCOUNT\tREQUESTS\tCHANGED\tUSD\tWOULD BE\t\tCREDITS\tWOULD BE", c.Accounts, part)
	p.rows("\nKEY\tREQUESTS\tCHANGED\tUSD\tWOULD BE\t\tCREDITS\tWOULD BE", c.Keys, part)
	var worst []string
	for _, w := range c.Worst {
		worst = append(worst, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", w.RequestID, w.Account, name(w.From), name(w.To), usd(w.Was), usd(w.Would)))
	}
	p.table("\nWORST\tACCOUNT\tFROM\tTO\tUSD\tWOULD BE", worst)
	var breaches []string
	for _, b := range c.Breaches {
		breaches = append(breaches, b.row())
	}
	p.table("\nBUDGET USED UP\tPERIOD\tFROM\tCREDITS\tWOULD BE", breaches)
	p.line("")
	for _, known := range c.Confidence {
		p.line("%-10s  %-9s  %s", known.Figure, known.Known, known.How)
	}
}

func (p *printer) rows(head string, rows []Row, text func(*Row) string) {
	var lines []string
	for i := range rows {
		lines = append(lines, text(&rows[i]))
	}
	p.table(head, lines)
}

// row is a breach as cells.
func (b *Breach) row() string {
	of := "account " + b.Account
	if b.Team != "" {
		of = "team " + b.Team
	} else if b.Key != "" {
		of = "key " + b.Key
	}
	from := b.From.Format("2006-01-02")
	if b.Period == storage.PeriodTotal {
		from = "-"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", of, b.Period, from, b.Budget.Budget.Credits, credits(b.Spent))
}

func name(of string) string {
	if of == " at " {
		return "nobody"
	}
	return of
}

// CreditsText is the credits of a line, where they are worked out.
func (l Line) CreditsText() string {
	if l.Name == LineSingle || l.Name == LineMix {
		return "-"
	}
	return credits(l.Credits)
}

// usd is an amount in dollars, to a hundredth of a cent or, below a dollar, to a ten-thousandth.
func usd(u USD) string {
	if u >= 1e9 || u <= -1e9 {
		return minus(fmt.Sprintf("%.4f", float64(u)/1e9))
	}
	return minus(fmt.Sprintf("%.6f", float64(u)/1e9))
}

func minus(number string) string { return strings.Replace(number, "-", "−", 1) }

func credits(c Credits) string { return storage.Credits(c).String() }

func known(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", ms)
}

func percent(n, of int) float64 { return 100 * float64(n) / float64(max(1, of)) }

// signed is by how much now differs from before.
func signed(now, before float64) string {
	if before == 0 || now == before {
		return ""
	}
	return minus(fmt.Sprintf("%+.1f %%", 100*(now-before)/before))
}
