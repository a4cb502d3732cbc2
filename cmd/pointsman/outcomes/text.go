package outcomes

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Write prints a report for people.
func (r *Report) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line("%s on %s: %d prompts, %d models, %d folds", r.Policy, r.Outcomes, r.Prompts, len(r.Models), r.Folds)
	for _, m := range r.LeftOut {
		line("%d prompts left out: no answer of %s", m.Prompts, m.Model)
	}
	line("")
	line("CHOICE\tACCURACY %%\tUSD PER 1,000\tRANDOM MIX %%\tABOVE IT\tMODELS")
	for _, s := range r.Settings {
		line("%s\t%s\t%s\t%.1f\t%s\t%s", cmp.Or(map[bool]string{true: "the policy"}[s.Value == AsConfigured], s.Value), percent(s.Accuracy), dollars(s.CostPer1000),
			100*s.Random.Value, signed(s.Gain), shares(s.Shares))
	}
	for _, m := range r.Models {
		notes := ""
		if m.Model == r.Cheapest {
			notes += ", cheapest"
		}
		if m.Model == r.Best {
			notes += ", best single"
		}
		line("always %s%s\t%s\t%s", m.Model, notes, percent(m.Accuracy), dollars(m.CostPer1000))
	}
	line("oracle\t%s\t%s", percent(r.Oracle.Accuracy), dollars(r.Oracle.CostPer1000))
	r.remarks(line)
	line("")
	line("TASK\tPROMPTS\tACCURACY %%\tUSD PER 1,000\tBEST SINGLE\tCHEAPEST %%\tORACLE %%")
	for _, t := range r.Tasks {
		line("%s\t%d\t%s\t%s\t%s %.1f at %s\t%.1f\t%.1f", t.Task, t.Prompts, percent(t.Accuracy), dollars(t.CostPer1000), t.Best, 100*t.BestAccuracy, dollar(t.BestCost),
			100*t.CheapAccuracy, 100*t.OracleAccuracy)
	}
	line("")
	line("FOLD\tPROMPTS\tACCURACY %%\tUSD PER 1,000\tRANDOM MIX %%")
	for _, f := range r.FoldParts {
		line("%d\t%d\t%.1f\t%s\t%.1f", f.Fold, f.Prompts, 100*f.Accuracy, dollar(f.CostPer1000), 100*f.Random)
	}
	r.curves(line)
	line("")
	line("In brackets: 95 %% of %d bootstrap resamples of the prompts, seed %d. docs/outcomes.md defines each figure.", r.Resamples, r.Seed)
	return w.Flush()
}

// remarks say what did not go the ordinary way under the policy as configured.
func (r *Report) remarks(line func(format string, args ...any)) {
	s := r.Settings[0]
	for _, n := range []struct {
		count int
		what  string
	}{
		{s.Rejected, "rejected by the policy: score 0"},
		{s.Failed, "without a decision: score 0; a gateway would use its own order"},
		{s.Reviewed, "answered in several rounds: every answer is in the cost, the last one counts"},
		{s.Asked, "side calls that could not be had: what a classifier or judge would say is not recorded"},
	} {
		if n.count > 0 {
			line("%d %s", n.count, n.what)
		}
	}
	if s.Error != "" {
		line("the first failure: %s", s.Error)
	}
}

func (r *Report) curves(line func(format string, args ...any)) {
	if c := r.Curve; c != nil {
		line("")
		line("ACCURACY AT COST\tUSD PER 1,000\tPOLICY %%\tRANDOM MIX %%")
		for i, p := range c.Points {
			line("%d %% of the way\t%s\t%.1f\t%.1f", 100*i/(len(c.Points)-1), dollar(p.CostPer1000), 100*p.Accuracy, 100*p.Random)
		}
		line("area under the curve\t\t%s\t%s", percent(c.Area), percent(c.RandomArea))
		line("above the random mix\t\t%s", signed(c.Gain))
	} else {
		line("")
		line("%s is the best model and the cheapest: there is nothing to trade", r.Best)
	}
	if p := r.Pair; p != nil {
		line("")
		line("%s or %s: APGR %s, CPT50 %s %%, CPT80 %s %% strong calls", p.Weak, p.Strong, three(p.APGR), percent(p.CPT50), percent(p.CPT80))
	}
}

func percent(v Interval) string {
	return fmt.Sprintf("%.1f [%.1f, %.1f]", 100*v.Value, 100*v.Low, 100*v.High)
}

func signed(v Interval) string {
	return fmt.Sprintf("%+.1f [%+.1f, %+.1f]", 100*v.Value, 100*v.Low, 100*v.High)
}

func three(v Interval) string { return fmt.Sprintf("%.3f [%.3f, %.3f]", v.Value, v.Low, v.High) }

func dollars(v Interval) string {
	return fmt.Sprintf("%s [%s, %s]", dollar(v.Value), dollar(v.Low), dollar(v.High))
}

func dollar(x float64) string { return fmt.Sprintf("%.4f", x) }

// shares names the models that were chosen, the most often chosen first.
func shares(by map[string]float64) string {
	names := sortedKeys(by)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(by[b], by[a]) })
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%s %.0f %%", name, 100*by[name]))
	}
	return strings.Join(parts, ", ")
}

// Write prints what came of training for people.
func (t *Training) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "HELD-OUT FOLD\tPROMPTS\tLOSS\tMEANS ALONE\tAREA %%\tRANDOM MIX %%\n")
	for _, f := range t.Folds {
		fmt.Fprintf(w, "%d\t%d\t%.4f\t%.4f\t%.1f\t%.1f\n", f.Fold, f.Prompts, f.Loss, f.Blind, 100*f.Area, 100*f.Random)
	}
	fmt.Fprintf(w, "\na good answer is worth USD %v; all that follows is of held-out prompts\n\n", t.Worth)
	if err := w.Flush(); err != nil {
		return err
	}
	return t.Report.Write(out)
}

// TOML is the part of a gateway's configuration that makes the model a policy named difficulty, whose module is at a path.
func (t *Training) TOML(module string) (string, error) {
	params := t.Model.Params()
	var b strings.Builder
	r := t.Report
	fmt.Fprintf(&b, "# Trained on %s: %d prompts, %d models. Held out, at this worth: accuracy %s %%,\n", r.Outcomes, r.Prompts, len(r.Models), percent(r.Settings[0].Accuracy))
	fmt.Fprintf(&b, "# USD %s per 1,000; always %s: %s %%.\n", dollars(r.Settings[0].CostPer1000), r.Best, percent(r.best().Accuracy))
	fmt.Fprintf(&b, "[policies.difficulty]\nfile = %q\ngrants = [\"text\"]\n\n[policies.difficulty.config]\n", module)
	fmt.Fprintf(&b, "worth = %s # USD of a good answer\nscale = %s\nmodels = [ # name, bias, slope, tokens of an answer\n", params["worth"], params["scale"])
	for _, h := range t.Model.Heads {
		fmt.Fprintf(&b, "  %q,\n", h.String())
	}
	fmt.Fprintf(&b, "]\nweights = %q\n", params["weights"])
	text, err := policy.FormatConfig(params)
	if err == nil && len(text) > abi.MaxConfig {
		err = fmt.Errorf("%w: the parameters have %d bytes, more than %d: too many models", ErrOutcomes, len(text), abi.MaxConfig)
	}
	return b.String(), err
}

func (r *Report) best() *Single {
	return &r.Models[slices.IndexFunc(r.Models, func(m Single) bool { return m.Model == r.Best })]
}
