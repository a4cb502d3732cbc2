package bench

import "fmt"

// Report is what a run found. Sections that were not measured are empty.
type Report struct {
	Machine  Machine   `json:"machine"`
	Settings Settings  `json:"settings"`
	Targets  []*Target `json:"targets"`
	Closed   []Row     `json:"closed_loop"`
	Open     []OpenRow `json:"open_loop"`
	Slow     []Slow    `json:"slow_streams"`
	Starts   []Start   `json:"starts"`
	Loaded   Memory    `json:"memory_after_load"` // of the full gateway, at rest again
	Growth   []Growth  `json:"growth"`
	Ledger   []Ledger  `json:"ledger"`
	Decision Decision  `json:"decision"`
	Profile  *Profile  `json:"profile,omitempty"`
}

// Settings are how a report was measured.
type Settings struct {
	Connections   int     `json:"connections"`
	Rate          int     `json:"rate"`
	Seconds       float64 `json:"seconds"`
	WarmUpSeconds float64 `json:"warm_up_seconds"`
	Rounds        int     `json:"rounds"`
	Starts        int     `json:"starts"`
}

// Row is one workload against one target in a closed loop: medians over the rounds, and the best one.
type Row struct {
	Workload          string  `json:"workload"`
	Target            string  `json:"target"`
	Requests          int     `json:"requests"` // counted in all rounds; every answer was checked
	RequestsPerSecond float64 `json:"requests_per_second"`
	P50MS             float64 `json:"p50_ms"`
	P99MS             float64 `json:"p99_ms"`
	Unit              string  `json:"unit"` // what CPU time is given for: request or chunk
	CPUMicros         float64 `json:"cpu_micros"`
	BestMicros        float64 `json:"best_cpu_micros"`
	Ratio             float64 `json:"ratio_to_bare_proxy"` // of CPUMicros
	BestRatio         float64 `json:"best_ratio_to_bare_proxy"`
	UpstreamMicros    float64 `json:"upstream_cpu_micros"`
}

// OpenRow is one target at a fixed rate: medians over the rounds.
type OpenRow struct {
	UpstreamMS float64 `json:"upstream_ms"` // what the upstream takes for an answer
	Target     string  `json:"target"`
	P50MS      float64 `json:"p50_ms"` // from the moment a request was due
	P99MS      float64 `json:"p99_ms"`
	AddedP50MS float64 `json:"added_p50_ms"` // to the upstream itself
	AddedP99MS float64 `json:"added_p99_ms"`
	CPUMicros  float64 `json:"cpu_micros"`
	Ratio      float64 `json:"ratio_to_bare_proxy"`
	Note       string  `json:"note,omitempty"` // why it was not measured
}

// Start is how long a target takes from the start of its process to its first answer, and its memory a second later.
type Start struct {
	Target  string  `json:"target"`
	FreshMS float64 `json:"fresh_ms"` // on an empty data directory, policies not compiled before; 0: there is no such thing
	AgainMS float64 `json:"again_ms"` // on the same directory
	Idle    Memory  `json:"idle"`
}

// Memory is the proportional set size of a process tree.
type Memory struct {
	MiB       float64 `json:"mib"`
	Processes int     `json:"processes"`
}

// grid is a table of a report. The words of a table stand left, its numbers right.
type grid struct {
	title   string
	columns []string
	words   []string // columns that hold words
	rows    [][]string
}

// grids are the tables of what was measured.
func (r *Report) grids() (all []grid) {
	for _, g := range []grid{r.closed(), r.open(), r.slow(), r.starts(), r.growth(), r.ledger(), r.Decision.grid(), r.targets()} {
		if len(g.rows) > 0 {
			all = append(all, g)
		}
	}
	if p := r.Profile; p != nil {
		all = append(all, p.grid("step", p.Steps), p.grid("package", p.Packages))
	}
	return all
}

func (r *Report) closed() grid {
	g := grid{
		title:   fmt.Sprintf("Closed loop, %d connections", r.Settings.Connections),
		columns: []string{"workload", "target", "req/s", "p50 ms", "p99 ms", "cpu us", "per", "x bare", "best cpu us", "best x bare", "upstream cpu us"},
		words:   []string{"workload", "target", "per"},
	}
	for _, row := range r.Closed {
		cpu, best, ratio, bestRatio := "-", "-", "-", "-"
		if row.Target != TargetDirect {
			cpu, best = fmt.Sprintf("%.1f", row.CPUMicros), fmt.Sprintf("%.1f", row.BestMicros)
			ratio, bestRatio = fmt.Sprintf("%.2f", row.Ratio), fmt.Sprintf("%.2f", row.BestRatio)
		}
		g.rows = append(g.rows, []string{
			row.Workload, row.Target, fmt.Sprintf("%.0f", row.RequestsPerSecond), fmt.Sprintf("%.2f", row.P50MS), fmt.Sprintf("%.2f", row.P99MS),
			cpu, row.Unit, ratio, best, bestRatio, fmt.Sprintf("%.1f", row.UpstreamMicros),
		})
	}
	return g
}

func (r *Report) open() grid {
	g := grid{
		title:   fmt.Sprintf("Open loop, %d requests a second, latency from the moment each was due", r.Settings.Rate),
		columns: []string{"upstream", "target", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms", "cpu us", "x bare"},
		words:   []string{"upstream", "target"},
	}
	for _, row := range r.Open {
		name := "at once"
		if row.UpstreamMS > 0 {
			name = fmt.Sprintf("%g ms", row.UpstreamMS)
		}
		if row.Note != "" {
			g.rows = append(g.rows, []string{name, row.Target + ": " + row.Note, "-", "-", "-", "-", "-", "-"})
			continue
		}
		added50, added99, cpu, ratio := "-", "-", "-", "-"
		if row.Target != TargetDirect {
			added50, added99 = fmt.Sprintf("%.2f", row.AddedP50MS), fmt.Sprintf("%.2f", row.AddedP99MS)
			cpu, ratio = fmt.Sprintf("%.1f", row.CPUMicros), fmt.Sprintf("%.2f", row.Ratio)
		}
		g.rows = append(g.rows, []string{name, row.Target, fmt.Sprintf("%.2f", row.P50MS), fmt.Sprintf("%.2f", row.P99MS), added50, added99, cpu, ratio})
	}
	return g
}

func (r *Report) slow() grid {
	title := ""
	if len(r.Slow) > 0 {
		title = fmt.Sprintf("%d streams at once, a chunk every %g ms each, in a fresh process", r.Slow[0].Streams, r.Slow[0].PaceMS)
	}
	g := grid{
		title:   title,
		columns: []string{"target", "KiB per stream", "x bare", "cpu us per chunk", "cpu x bare"},
		words:   []string{"target"},
	}
	for _, s := range r.Slow {
		g.rows = append(g.rows, []string{s.Target, fmt.Sprintf("%.1f", s.KiB), fmt.Sprintf("%.2f", s.KiBRatio), fmt.Sprintf("%.1f", s.CPUMicros), fmt.Sprintf("%.2f", s.CPURatio)})
	}
	return g
}

func (r *Report) starts() grid {
	g := grid{
		title:   "From the start of the process to the first routed answer; memory of the process tree (PSS) a second later",
		columns: []string{"target", "empty directory, ms", "again, ms", "idle MiB", "processes"},
		words:   []string{"target"},
	}
	for _, s := range r.Starts {
		fresh := "-"
		if s.FreshMS > 0 {
			fresh = fmt.Sprintf("%.0f", s.FreshMS)
		}
		g.rows = append(g.rows, []string{s.Target, fresh, fmt.Sprintf("%.0f", s.AgainMS), fmt.Sprintf("%.1f", s.Idle.MiB), fmt.Sprint(s.Idle.Processes)})
	}
	return g
}

func (r *Report) growth() grid {
	g := grid{title: "How the cost grows: pointsman full, chat, closed loop", columns: []string{"of", "amount", "cpu us", "x bare", "growth"}, words: []string{"of"}}
	for _, row := range r.Growth {
		growth := fmt.Sprintf("%+.1f %%", row.Percent)
		if row.Base {
			growth = "-"
		}
		g.rows = append(g.rows, []string{row.Of, fmt.Sprint(row.Amount), fmt.Sprintf("%.1f", row.CPUMicros), fmt.Sprintf("%.2f", row.Ratio), growth})
	}
	return g
}

func (r *Report) ledger() grid {
	g := grid{
		title:   "Ledger alone: a hold and its settlement, each waited for until it is on disk",
		columns: []string{"accounts", "clients", "pairs/s", "cpu us per pair", "p50 ms", "p99 ms", "best p99 ms"},
	}
	for _, l := range r.Ledger {
		g.rows = append(g.rows, []string{
			fmt.Sprint(l.Accounts), fmt.Sprint(l.Clients), fmt.Sprintf("%.0f", l.PerSecond), fmt.Sprintf("%.1f", l.CPUMicros), fmt.Sprintf("%.2f", l.P50MS),
			fmt.Sprintf("%.2f", l.P99MS), fmt.Sprintf("%.2f", l.BestP99MS),
		})
	}
	return g
}

func (d *Decision) grid() grid {
	g := grid{
		title:   fmt.Sprintf("Decisions alone: %d candidates, %d decisions of each policy on one goroutine, a new snapshot every %d of them", d.Candidates, d.Decisions, d.Generation),
		columns: []string{"decision of", "per second", "best p50 ns", "p50 ns", "p99 ns", "new snapshot ns", "fuel"}, words: []string{"decision of"},
	}
	for _, p := range d.Policies {
		g.rows = append(g.rows, []string{p.Policy, fmt.Sprintf("%.0f", p.PerSecond), fmt.Sprint(p.BestNS), fmt.Sprint(p.P50NS), fmt.Sprint(p.P99NS), fmt.Sprint(p.NewNS), fmt.Sprint(p.Fuel)})
	}
	return g
}

func (r *Report) targets() grid {
	g := grid{title: "Versions and settings", columns: []string{"target", "version", "settings"}, words: []string{"target", "version", "settings"}}
	for _, t := range r.Targets {
		settings := t.Settings
		if t.Missing != "" {
			settings = "not measured: " + t.Missing
		}
		g.rows = append(g.rows, []string{t.Name, t.Version, settings})
	}
	return g
}

func (p *Profile) grid(what string, parts []Part) grid {
	g := grid{
		title:   fmt.Sprintf("Where the %.1f us of a request go, by %s (%d samples)", p.CPUMicros, what, p.Samples),
		columns: []string{what, "us", "%"}, words: []string{what},
	}
	for _, part := range parts {
		g.rows = append(g.rows, []string{part.Name, fmt.Sprintf("%.1f", part.Micros), fmt.Sprintf("%.1f", 100*ratio(part.Micros, p.CPUMicros))})
	}
	return g
}

// facts are the lines about everything that is not in a table.
func (r *Report) facts() []string {
	m, s := r.Machine, r.Settings
	facts := []string{
		fmt.Sprintf("Machine: %d cores, %s, %d GiB, Linux %s, data on %s; load average before the run %.2f.", m.Cores, m.Model, m.MemoryGiB, m.Kernel, m.Filesystem, m.Load),
		fmt.Sprintf("Load: %d rounds of %g s after %g s of warm-up, targets in turns; medians, and the best round.", s.Rounds, s.Seconds, s.WarmUpSeconds),
	}
	if r.Loaded.Processes > 0 {
		facts = append(facts, fmt.Sprintf("Memory of the full gateway (PSS) a second after all load: %.1f MiB in %d processes.", r.Loaded.MiB, r.Loaded.Processes))
	}
	return facts
}

// command is how the figures are made anew.
func (r *Report) command() string {
	for _, t := range r.Targets {
		if t.peer {
			return "make bench-peers UPDATE=1"
		}
	}
	return "make bench UPDATE=1"
}
