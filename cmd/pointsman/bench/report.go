package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Targets of a row.
const (
	TargetDirect  = "upstream itself"
	TargetProxy   = "bare proxy"
	TargetGateway = "pointsman"
)

// Report is what a run found.
type Report struct {
	Machine  Machine  `json:"machine"`
	Settings Settings `json:"settings"`
	Decision Decision `json:"decision"`
	Rows     []Row    `json:"rows"`
	Start    Start    `json:"start"`
	Memory   struct {
		Idle   Memory `json:"idle"`
		Loaded Memory `json:"loaded"` // after all load, at rest again
	} `json:"memory"`
}

// Settings are how a report was measured.
type Settings struct {
	Connections   int     `json:"connections"`
	Seconds       float64 `json:"seconds"`
	WarmUpSeconds float64 `json:"warm_up_seconds"`
	Rounds        int     `json:"rounds"`
	Starts        int     `json:"starts"`
}

// Row is one workload against one target: medians over the rounds.
type Row struct {
	Workload          string  `json:"workload"`
	Target            string  `json:"target"`
	Requests          int     `json:"requests"` // counted in all rounds; every answer was checked
	RequestsPerSecond float64 `json:"requests_per_second"`
	P50MS             float64 `json:"p50_ms"`
	P99MS             float64 `json:"p99_ms"`
	Unit              string  `json:"unit"` // what CPU time is given for: request or chunk
	CPUMicros         float64 `json:"cpu_micros"`
	Ratio             float64 `json:"ratio_to_bare_proxy"` // of CPUMicros
	UpstreamMicros    float64 `json:"upstream_cpu_micros"`
}

// Start is how long the gateway takes from the start of its process to its first routed answer.
type Start struct {
	FreshMS float64 `json:"fresh_ms"` // on an empty data directory
	AgainMS float64 `json:"again_ms"` // on the same directory, policies compiled before
}

// Memory is the proportional set size of a process tree.
type Memory struct {
	MiB       float64 `json:"mib"`
	Processes int     `json:"processes"`
}

// grid is a table of a report. The words of a table stand left, its numbers right.
type grid struct {
	columns []string
	words   []string // columns that hold words
	rows    [][]string
}

func (r *Report) loads() grid {
	g := grid{
		columns: []string{"WORKLOAD", "TARGET", "REQ/S", "P50 MS", "P99 MS", "CPU US", "PER", "X BARE", "UPSTREAM CPU US"},
		words:   []string{"WORKLOAD", "TARGET", "PER"},
	}
	for i := range r.Rows {
		g.rows = append(g.rows, r.Rows[i].cells())
	}
	return g
}

func (d *Decision) grid() grid {
	g := grid{columns: []string{"DECISION OF", "P50 NS", "P99 NS", "NEW SNAPSHOT NS", "FUEL"}, words: []string{"DECISION OF"}}
	for _, p := range d.Policies {
		g.rows = append(g.rows, []string{p.Policy, fmt.Sprint(p.P50NS), fmt.Sprint(p.P99NS), fmt.Sprint(p.NewNS), fmt.Sprint(p.Fuel)})
	}
	return g
}

func (r *Row) cells() []string {
	cpu, ratio := "0", "-"
	if r.Target != TargetDirect {
		cpu, ratio = fmt.Sprintf("%.1f", r.CPUMicros), fmt.Sprintf("%.2f", r.Ratio)
	}
	return []string{
		r.Workload, r.Target, fmt.Sprintf("%.0f", r.RequestsPerSecond), fmt.Sprintf("%.2f", r.P50MS), fmt.Sprintf("%.2f", r.P99MS),
		cpu, r.Unit, ratio, fmt.Sprintf("%.1f", r.UpstreamMicros),
	}
}

// facts are the lines about everything that is not in the table.
func (r *Report) facts() []string {
	m, s := r.Machine, r.Settings
	return []string{
		fmt.Sprintf("Machine: %d cores, %s, Linux %s, %s, data on %s.", m.Cores, m.Model, m.Kernel, m.Go, m.Filesystem),
		fmt.Sprintf("Load: closed loop over %d connections, %d rounds of %g s after %g s of warm-up; medians.", s.Connections, s.Rounds, s.Seconds, s.WarmUpSeconds),
		fmt.Sprintf("Start to first routed answer: %.0f ms on an empty data directory, %.0f ms on the same again (medians of %d).",
			r.Start.FreshMS, r.Start.AgainMS, s.Starts),
		fmt.Sprintf("Memory of the process tree (PSS): %.1f MiB idle in %d processes, %.1f MiB at rest after the load.",
			r.Memory.Idle.MiB, r.Memory.Idle.Processes, r.Memory.Loaded.MiB),
		fmt.Sprintf("Decision: %d candidates, %d decisions of each policy on one goroutine, a new snapshot every %d of them.",
			r.Decision.Candidates, r.Decision.Decisions, r.Decision.Generation),
	}
}

// WriteText writes the report for a terminal.
func (r *Report) WriteText(w io.Writer) error {
	var text bytes.Buffer
	for _, g := range []grid{r.loads(), r.Decision.grid()} {
		g.writeText(&text)
		fmt.Fprintln(&text)
	}
	for _, fact := range r.facts() {
		fmt.Fprintln(&text, fact)
	}
	_, err := w.Write(text.Bytes())
	return err
}

func (g *grid) isText(i int) bool { return slices.Contains(g.words, g.columns[i]) }

func (g *grid) writeText(text *bytes.Buffer) {
	rows := append([][]string{g.columns}, g.rows...)
	widths := make([]int, len(g.columns))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			format := "%*s  "
			if g.isText(i) {
				format = "%-*s  "
			}
			fmt.Fprintf(&line, format, widths[i], cell)
		}
		fmt.Fprintln(text, strings.TrimRight(line.String(), " "))
	}
}

func (g *grid) writeMarkdown(b *strings.Builder) {
	b.WriteString("\n|")
	for _, name := range g.columns {
		fmt.Fprintf(b, " %s |", strings.ToLower(name))
	}
	b.WriteString("\n|")
	for i := range g.columns {
		if g.isText(i) {
			b.WriteString("---|")
		} else {
			b.WriteString("--:|")
		}
	}
	for _, row := range g.rows {
		fmt.Fprintf(b, "\n| %s |", strings.Join(row, " | "))
	}
	b.WriteString("\n")
}

// Markers of the generated section of a document.
const (
	sectionBegin = "<!-- generated by `pointsman bench --markdown`: begin -->"
	sectionEnd   = "<!-- generated by `pointsman bench --markdown`: end -->"
)

// markdown is the generated section without its markers.
func (r *Report) markdown() string {
	var b strings.Builder
	for _, fact := range r.facts() {
		fmt.Fprintf(&b, "- %s\n", fact)
	}
	for _, g := range []grid{r.loads(), r.Decision.grid()} {
		g.writeMarkdown(&b)
	}
	return b.String()
}

// UpdateMarkdown replaces the generated section of a file with this report and leaves the rest as it is. It fails if the
// file has not exactly one such section.
func (r *Report) UpdateMarkdown(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	updated, err := replaceSection(string(text), r.markdown())
	if err != nil {
		return fmt.Errorf("updating %s: %w", path, err)
	}
	// Written beside it and renamed, so that an interrupted run leaves the old text.
	beside, err := os.CreateTemp(filepath.Dir(path), ".benchmarks-")
	if err != nil {
		return err
	}
	defer os.Remove(beside.Name())
	_, err = beside.WriteString(updated)
	if err = errors.Join(err, beside.Chmod(0o644), beside.Close()); err != nil {
		return fmt.Errorf("updating %s: %w", path, err)
	}
	return os.Rename(beside.Name(), path)
}

// replaceSection puts a new section between the markers of a text.
func replaceSection(text, section string) (string, error) {
	if strings.Count(text, sectionBegin) != 1 || strings.Count(text, sectionEnd) != 1 {
		return "", fmt.Errorf("the text must have one line %q and one line %q", sectionBegin, sectionEnd)
	}
	before, rest, _ := strings.Cut(text, sectionBegin)
	_, after, ok := strings.Cut(rest, sectionEnd)
	if !ok {
		return "", errors.New("the section ends before it begins")
	}
	return before + sectionBegin + "\n\n" + section + "\n" + sectionEnd + after, nil
}
