package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/cmd/pointsman/outcomes"
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

type outcomesCmd struct {
	Convert   outcomesConvert   `cmd:"" help:"Turn files of RouterBench, RouteLLM or RouterArena into outcomes."`
	Split     outcomesSplit     `cmd:"" help:"Split outcomes by prompts into two files, to train on one and score on the other."`
	Synthetic outcomesSynthetic `cmd:"" help:"Make outcomes of prompts that nobody asked, for tests and to learn with."`
}

// worldFlags say how a set of outcomes is looked at.
type worldFlags struct {
	Folds     int    `help:"Parts of the prompts; a model's quality and price for one part come from the others." default:"5"`
	Seed      uint64 `help:"What folds, resamples and requests' seeds follow from." default:"1"`
	Level     string `help:"Power level of the requests: eco, balanced, precision or custom." default:"balanced"`
	Resamples int    `help:"Bootstrap resamples behind each interval; 0: no intervals." default:"1000"`
}

// world reads a file of outcomes.
func (f worldFlags) world(path string) (*outcomes.World, error) {
	set, err := readOutcomes(path)
	if err != nil {
		return nil, err
	}
	level, ok := policy.ParseLevel(f.Level)
	if !ok {
		return nil, fmt.Errorf("--level %q is not eco, balanced, precision or custom", f.Level)
	}
	if f.Resamples < 0 || f.Resamples > 100_000 {
		return nil, errors.New("--resamples must be between 0 and 100000")
	}
	known, err := builtinCatalog()
	if err != nil {
		return nil, err
	}
	folds, err := set.Folds(f.Folds, f.Seed)
	if err != nil {
		return nil, err
	}
	return outcomes.NewWorld(set, folds, known, level, f.Seed)
}

func (f worldFlags) options() outcomes.Options {
	return outcomes.Options{Seed: f.Seed, Resamples: f.Resamples}
}

func builtinCatalog() (*catalog.Catalog, error) {
	entries, err := catalog.Builtin()
	if err != nil {
		return nil, err
	}
	return catalog.Build(entries)
}

func readOutcomes(path string) (*outcomes.Set, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return outcomes.Read(f, shown(path))
}

// shown is a path as messages have it: from the current directory, if it is in there.
func shown(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(relative) {
			return relative
		}
	}
	return path
}

// outcomesFlags are those of replay that are about outcomes.
type outcomesFlags struct {
	Outcomes string   `help:"Recorded answers to score the policy on, one JSON object a line: docs/outcomes.md." type:"existingfile" placeholder:"FILE"`
	Sweep    []string `help:"Values of a parameter to try one after the other: worth=0,0.001,0.01. They draw the curve." placeholder:"KEY=VALUE,…" sep:"none"`
	Choices  string   `help:"Write what became of every prompt to this file, one JSON object a line." type:"path" placeholder:"FILE"`

	worldFlags `embed:""`
}

// score asks the module about every prompt, with its parameters and with each value of the sweeps.
func (f outcomesFlags) score(m *module) (*outcomes.Report, error) {
	w, err := f.world(f.Outcomes)
	if err != nil {
		return nil, err
	}
	variants, err := f.variants()
	if err != nil {
		return nil, err
	}
	var swept []outcomes.Swept
	for _, v := range variants {
		choices, err := m.play(w, v.params)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
		swept = append(swept, outcomes.Swept{Value: v.name, Choices: choices})
	}
	if f.Choices != "" {
		if err := writeChoices(f.Choices, w, swept); err != nil {
			return nil, err
		}
	}
	report := w.Score(swept, f.options())
	report.Policy, report.Outcomes = m.where(), shown(f.Outcomes)
	return report, nil
}

// variant is one set of parameters, over those of the module.
type variant struct {
	name   string
	params map[string]string
}

func (f outcomesFlags) variants() ([]variant, error) {
	all := []variant{{name: outcomes.AsConfigured}}
	for _, sweep := range f.Sweep {
		key, values, ok := strings.Cut(sweep, "=")
		if !ok || key == "" || values == "" {
			return nil, fmt.Errorf("--sweep %q is not KEY=VALUE,VALUE,…", sweep)
		}
		for value := range strings.SplitSeq(values, ",") {
			all = append(all, variant{key + "=" + value, map[string]string{key: value}})
		}
	}
	return all, nil
}

// play lets the module decide about every prompt.
func (m *module) play(w *outcomes.World, params map[string]string) ([]outcomes.Choice, error) {
	varied := *m
	varied.settings.Params = maps.Clone(m.settings.Params)
	maps.Copy(varied.settings.Params, params)
	host, _, err := varied.load(policies.Config{})
	if err != nil {
		return nil, err
	}
	defer host.Close() //nolint:errcheck // it never served
	return w.Play(outcomes.Decide(varied.route(host))), nil
}

// choice is one line of --choices.
type choice struct {
	Setting string  `json:"setting"`
	ID      string  `json:"id"`
	Task    string  `json:"task"`
	Fold    int     `json:"fold"` // from 1
	Ending  string  `json:"ending"`
	Model   string  `json:"model,omitempty"`
	Score   float64 `json:"score"`
	Cost    float64 `json:"cost_usd"`
	Rounds  int     `json:"rounds"`
}

func writeChoices(path string, w *outcomes.World, swept []outcomes.Swept) error {
	return writeFile(path, func(out *bufio.Writer) error {
		lines := json.NewEncoder(out)
		for _, s := range swept {
			for i, c := range s.Choices {
				p := &w.Set.Prompts[i]
				l := choice{s.Value, p.ID, p.Task, w.Folds[i] + 1, string(c.Ending), "", c.Score, c.Cost, c.Rounds}
				if c.Model >= 0 {
					l.Model = w.Set.Models[c.Model]
				}
				if err := lines.Encode(l); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// writeFile writes a file, in the place of one that is there.
func writeFile(path string, write func(out *bufio.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	return errors.Join(write(out), out.Flush(), f.Close())
}

type outcomesConvert struct {
	Format string   `arg:"" help:"routerbench (CSV), routellm (CSV) or routerarena (JSON, JSON lines)."`
	Files  []string `arg:"" help:"The files." type:"existingfile"`
	Out    string   `short:"o" help:"File of outcomes to write." required:"" type:"path" placeholder:"FILE"`
	Task   string   `help:"Task of the prompts, where a file names none. Default: the file's name."`
	Price  []string `help:"What a model costs, where a file does not tell: gpt-4-1106-preview=10/30 in USD per million tokens in and out. Default: the catalog." placeholder:"MODEL=IN/OUT" sep:"none"`
}

// Run converts.
func (c *outcomesConvert) Run(term terminal) error {
	known, err := builtinCatalog()
	if err != nil {
		return err
	}
	prices, err := c.prices()
	if err != nil {
		return err
	}
	converter := &outcomes.Converter{Task: c.Task, Prices: prices, Known: known}
	for _, path := range c.Files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = converter.Add(c.Format, shown(path), f)
		_ = f.Close() // it was only read
		if err != nil {
			return err
		}
	}
	var prompts, answers int
	err = writeFile(c.Out, func(out *bufio.Writer) error {
		prompts, answers, err = converter.Write(out)
		return err
	})
	if err != nil {
		return err
	}
	for _, note := range converter.Notes() {
		fmt.Fprintln(term.out, note)
	}
	fmt.Fprintf(term.out, "%s: %s answers to %s prompts\n", shown(c.Out), group(int64(answers)), group(int64(prompts)))
	return nil
}

func (c *outcomesConvert) prices() (map[string]outcomes.Price, error) {
	prices := map[string]outcomes.Price{}
	for _, text := range c.Price {
		at := strings.LastIndexByte(text, '=')
		in, out, ok := strings.Cut(text[at+1:], "/")
		p, err := strconv.ParseFloat(in, 64)
		q, err2 := strconv.ParseFloat(out, 64)
		if at < 1 || !ok || err != nil || err2 != nil || !(p >= 0) || !(q >= 0) {
			return nil, fmt.Errorf("--price %q is not MODEL=IN/OUT in USD per million tokens", text)
		}
		prices[text[:at]] = outcomes.Price{In: p, Out: q}
	}
	return prices, nil
}

type outcomesSplit struct {
	File  string  `arg:"" help:"The outcomes." type:"existingfile"`
	Share float64 `help:"Share of the prompts of each task that go to -o." default:"0.5"`
	Seed  uint64  `help:"Which prompts those are." default:"1"`
	Out   string  `short:"o" help:"File for them." required:"" type:"path" placeholder:"FILE"`
	Rest  string  `help:"File for the others." required:"" type:"path" placeholder:"FILE"`
}

// Run splits.
func (s *outcomesSplit) Run(term terminal) error {
	set, err := readOutcomes(s.File)
	if err != nil {
		return err
	}
	taken, rest, err := set.Split(s.Share, s.Seed)
	if err != nil {
		return err
	}
	for path, part := range map[string]*outcomes.Set{s.Out: taken, s.Rest: rest} {
		if err := writeFile(path, func(out *bufio.Writer) error { return part.Write(out) }); err != nil {
			return err
		}
	}
	fmt.Fprintf(term.out, "%s: %d prompts\n%s: %d prompts\n", shown(s.Out), len(taken.Prompts), shown(s.Rest), len(rest.Prompts))
	for _, m := range set.LeftOut {
		fmt.Fprintf(term.out, "%d prompts left out: no answer of %s\n", m.Prompts, m.Model)
	}
	return nil
}

type outcomesSynthetic struct {
	Prompts int    `help:"How many prompts, over four tasks." default:"480"`
	Seed    uint64 `help:"Which ones." default:"1"`
	Out     string `short:"o" help:"File to write." required:"" type:"path" placeholder:"FILE"`
}

// Run makes outcomes.
func (s *outcomesSynthetic) Run(term terminal) error {
	if s.Prompts < 1 || s.Prompts > 1_000_000 {
		return errors.New("--prompts must be between 1 and 1000000")
	}
	set := outcomes.Synthetic(s.Prompts, s.Seed)
	if err := writeFile(s.Out, func(out *bufio.Writer) error { return set.Write(out) }); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%s: %d prompts, 4 models\n", shown(s.Out), s.Prompts)
	return nil
}

type policyTrain struct {
	Difficulty trainDifficulty `cmd:"" help:"Fit the difficulty policy, examples/policies/difficulty: hashed words, logistic."`
}

type trainDifficulty struct {
	Outcomes string   `help:"Recorded answers to learn from: docs/outcomes.md." required:"" type:"existingfile" placeholder:"FILE"`
	Out      string   `short:"o" help:"Part of a configuration to write, for a gateway and for --config." required:"" type:"path" placeholder:"FILE"`
	Module   string   `help:"Path of the policy's module that is written into it." default:"difficulty.wasm"`
	Keep     float64  `help:"Accuracy to keep, as a part of the best single model's on held-out prompts; what a good answer is worth follows." default:"0.98"`
	Worth    *float64 `help:"What a good answer is worth, instead of what --keep comes to." placeholder:"USD"`
	JSON     bool     `name:"json" help:"Print the held-out results as JSON."`

	worldFlags `embed:""`
}

// Run trains, prints what came of it on held-out prompts, and writes the parameters.
func (t *trainDifficulty) Run(term terminal) error {
	w, err := t.world(t.Outcomes)
	if err != nil {
		return err
	}
	fitting, keep := outcomes.Fitting{Seed: t.Seed}, t.Keep
	if t.Worth != nil {
		fitting.Worth, keep = *t.Worth, 0
	}
	training, err := outcomes.Train(w, fitting, keep, t.options())
	if err != nil {
		return err
	}
	training.Report.Policy, training.Report.Outcomes = "difficulty, each prompt by the model of the other folds", shown(t.Outcomes)
	text, err := training.TOML(t.Module)
	if err != nil {
		return err
	}
	if err := os.WriteFile(t.Out, []byte(text), 0o644); err != nil {
		return err
	}
	if t.JSON {
		return writeJSON(term.out, training)
	}
	if err := training.Write(term.out); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%s: %s bytes of at most %s\n", shown(t.Out), group(int64(len(text))), group(abi.MaxConfig))
	return nil
}
