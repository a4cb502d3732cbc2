package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/pointsman/pointsman/cmd/pointsman/replay"
)

type replayCmd struct {
	recordsFrom
	Policy string   `help:"The policy to try: a .wasm file, a project's directory, or eco, balanced, precision or custom. Without it the recorded decisions are proven, and no more." placeholder:"FILE"`
	Config []string `help:"Its parameters, over those of policy.toml: --config min_quality=0.7, or a TOML file with the policy's part of a configuration." placeholder:"KEY=VALUE|FILE" sep:"none"`
	Grants []string `help:"What it may see: text, metadata. Default: those of policy.toml, else none; with --outcomes, what it needs." sep:","`
	Fuel   int64    `help:"Fuel of a decision. Default: that of policy.toml, else a gateway's." placeholder:"UNITS"`
	Price  []string `help:"Another price: MODEL[@PROVIDER].in|.out=USD per million tokens, or MODEL[@PROVIDER][.in|.out]=*FACTOR." placeholder:"CHANGE" sep:"none"`
	Remove []string `help:"Without a model, MODEL[@PROVIDER], or a provider, @PROVIDER." sep:"none"`
	Outage []string `help:"As if MODEL[@PROVIDER] or @PROVIDER had been away: @PROVIDER=FROM..UNTIL." placeholder:"OUTAGE" sep:"none"`
	FailIf []string `help:"Exit with 1 if this is so: cost>+5%, quality<0.8, changed>10%, reproduced<100%; ${figures}." placeholder:"CONDITION" sep:"none"`
	JSON   bool     `name:"json" help:"Print the report as JSON."`
	HTML   string   `name:"html" help:"Write the report as a page with plots to this file, too." type:"path" placeholder:"FILE"`
	Jobs   int      `help:"Processors to use. Default: all."`

	outcomesFlags `embed:""`
}

// Run replays.
func (r *replayCmd) Run(out terminal) error {
	if r.Outcomes != "" {
		return r.scoreOutcomes(out)
	}
	options, conditions, err := r.options()
	if err != nil {
		return err
	}
	src, err := r.open()
	if err != nil {
		return err
	}
	defer src.close() //nolint:errcheck // what was read is told of
	options.Budgets = src.head.Budgets
	options.CacheDir, err = os.MkdirTemp("", "pointsman-replay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(options.CacheDir)
	bar := progressBar(out.err, src.share)
	options.Progress = bar.show
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	report, err := replay.Run(ctx, src, *options)
	bar.clear()
	if err != nil {
		return err
	}
	if r.HTML != "" {
		if err := writePage(r.HTML, report); err != nil {
			return err
		}
	}
	if r.JSON {
		err = writeJSON(out.out, report)
	} else {
		err = report.Write(out.out)
	}
	if err != nil {
		return err
	}
	return failIf(report, conditions, options.Candidate == nil && options.WhatIf == nil)
}

// scoreOutcomes scores the policy on recorded answers instead of recorded decisions.
func (r *replayCmd) scoreOutcomes(out terminal) error {
	if r.Policy == "" {
		return errors.New("--outcomes scores the policy that --policy names")
	}
	if r.HTML != "" || r.Records+r.Since+r.Until+r.Account+r.Key != "" || len(r.FailIf)+len(r.Price)+len(r.Remove)+len(r.Outage) > 0 {
		return errors.New("--outcomes goes with none of --html, --fail-if, --price, --remove, --outage and what says which records are meant")
	}
	m, err := moduleFlags{Module: r.Policy, Config: r.Config, Grants: r.Grants, Fuel: r.Fuel}.open()
	if err != nil {
		return err
	}
	if len(r.Grants) == 0 {
		m.settings.Grants = allGrants // it gets of it what it needs, and nothing leaves this machine
	}
	report, err := r.score(m)
	if err != nil {
		return err
	}
	if r.JSON {
		return writeJSON(out.out, report)
	}
	return report.Write(out.out)
}

// options are what the flags ask for.
func (r *replayCmd) options() (*replay.Options, []replay.Condition, error) {
	o := &replay.Options{Workers: r.Jobs}
	var conditions []replay.Condition
	for _, text := range r.FailIf {
		c, err := replay.ParseCondition(text)
		if err != nil {
			return nil, nil, fmt.Errorf("--fail-if: %w", err)
		}
		conditions = append(conditions, c)
	}
	if r.Policy != "" {
		m, err := moduleFlags{Module: r.Policy, Config: r.Config, Grants: r.Grants, Fuel: r.Fuel}.open()
		if err != nil {
			return nil, nil, err
		}
		o.Candidate = &replay.Candidate{Name: m.name, Module: m.wasm, Settings: m.settings}
	} else if len(r.Config) > 0 || len(r.Grants) > 0 || r.Fuel != 0 {
		return nil, nil, errors.New("--config, --grants and --fuel are of the policy that --policy names")
	}
	var w replay.WhatIf
	for _, text := range r.Price {
		p, err := replay.ParsePrice(text)
		if err != nil {
			return nil, nil, fmt.Errorf("--price: %w", err)
		}
		w.Prices = append(w.Prices, p)
	}
	for _, text := range r.Remove {
		d, err := replay.ParseRemoval(text)
		if err != nil {
			return nil, nil, fmt.Errorf("--remove: %w", err)
		}
		w.Removed = append(w.Removed, d)
	}
	for _, text := range r.Outage {
		a, err := replay.ParseOutage(text)
		if err != nil {
			return nil, nil, fmt.Errorf("--outage: %w", err)
		}
		w.Outages = append(w.Outages, a)
	}
	if len(w.Prices)+len(w.Removed)+len(w.Outages) > 0 {
		o.WhatIf = &w
	}
	return o, conditions, nil
}

// failIf is an error that names the conditions that are met, and the decisions that were not reproduced if nothing else was asked for.
func failIf(report *replay.Report, conditions []replay.Condition, proofAlone bool) error {
	var met []string
	for _, c := range conditions {
		if is, how := c.Met(report); is {
			met = append(met, how)
		}
	}
	switch {
	case len(met) > 0:
		return errors.New(strings.Join(met, "\n"))
	case proofAlone && len(conditions) == 0 && report.Differing > 0:
		return fmt.Errorf("%d decisions came out otherwise", report.Differing)
	}
	return nil
}

func writePage(name string, report *replay.Report) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(report.WriteHTML(file), file.Close())
}

// bar shows how far something is, on a terminal.
type bar struct {
	w     io.Writer      // nil: nowhere
	share func() float64 // nil: not known
	began time.Time
	last  time.Time
	shown bool
}

func progressBar(w io.Writer, share func() float64) *bar {
	b := &bar{share: share, began: time.Now()}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b.w = w
	}
	return b
}

// show tells how many are done, ten times a second at most.
func (b *bar) show(done int) {
	now := time.Now()
	if b.w == nil || now.Sub(b.last) < 100*time.Millisecond {
		return
	}
	b.last, b.shown = now, true
	rate := float64(done) / max(now.Sub(b.began).Seconds(), 1e-3)
	const width = 30
	if b.share == nil {
		fmt.Fprintf(b.w, "\r%d requests, %.0f a second ", done, rate)
		return
	}
	share := min(1, b.share())
	full := int(share * width)
	fmt.Fprintf(b.w, "\r[%s%s] %3.0f %%  %.0f a second ", strings.Repeat("#", full), strings.Repeat(".", width-full), 100*share, rate)
}

func (b *bar) clear() {
	if b.shown {
		fmt.Fprintf(b.w, "\r%s\r", strings.Repeat(" ", 60))
	}
}

// replayFigures are what --fail-if can be about, for the help text.
func replayFigures() string {
	return strings.Join(slices.Sorted(slices.Values(replay.FigureNames())), ", ")
}
