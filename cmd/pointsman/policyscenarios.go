package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/pointsman/pointsman/cmd/pointsman/scenario"
	"github.com/pointsman/pointsman/policies"
)

type policyTest struct {
	moduleFlags
	Scenarios []string `help:"Scenario files or directories. Default: those of the project." type:"path" sep:","`
	Only      string   `help:"Run the cases whose name holds this."`
	Update    bool     `help:"Write the golden files of cases without expect."`
	Verbose   bool     `short:"v" help:"Explain every decision."`
	JSON      bool     `name:"json" help:"Print the results as JSON."`
}

// result is what became of one case.
type result struct {
	File        string                `json:"file"`
	Case        string                `json:"case"`
	OK          bool                  `json:"ok"`
	Differences []scenario.Difference `json:"differences,omitempty"`
	Diff        string                `json:"diff,omitempty"` // from the golden file
	Decision    *scenario.Explained   `json:"decision,omitempty"`
}

// Run runs the scenarios. It fails if one does.
func (p *policyTest) Run(term terminal) error {
	m, err := p.open()
	if err != nil {
		return err
	}
	files, err := p.files(m)
	if err != nil {
		return err
	}
	var results []result
	for _, path := range files {
		more, err := p.file(m, path)
		if err != nil {
			return err
		}
		results = append(results, more...)
	}
	failed := 0
	for _, r := range results {
		if !r.OK {
			failed++
		}
		if !p.JSON {
			p.show(term, r)
		}
	}
	if p.JSON {
		if err := writeJSON(term.out, results); err != nil {
			return err
		}
	}
	switch {
	case len(results) == 0:
		return fmt.Errorf("no case holds %q in its name", p.Only)
	case failed > 0:
		return fmt.Errorf("%d of %d cases failed", failed, len(results))
	case !p.JSON:
		fmt.Fprintf(term.out, "%d cases passed\n", len(results))
	}
	return nil
}

// files are the scenario files to run.
func (p *policyTest) files(m *module) ([]string, error) {
	from := p.Scenarios
	if len(from) == 0 && m.project != nil {
		from = []string{m.project.Scenarios}
	}
	if len(from) == 0 {
		return nil, errors.New("name the scenario files: --scenarios FILE")
	}
	var files []string
	for _, name := range from {
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("scenarios: %w", err)
		}
		if !info.IsDir() {
			files = append(files, name)
			continue
		}
		entries, err := os.ReadDir(name)
		if err != nil {
			return nil, fmt.Errorf("scenarios: %w", err)
		}
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); ext == ".toml" || ext == ".json" {
				files = append(files, filepath.Join(name, e.Name()))
			}
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no .toml or .json file in %s", strings.Join(from, ", "))
	}
	return files, nil
}

// file runs the cases of one file.
func (p *policyTest) file(m *module, path string) ([]result, error) {
	name := shown(path)
	f, err := scenario.Load(path)
	if err != nil {
		return nil, err
	}
	configured := *m
	configured.settings.Params = maps.Clone(m.settings.Params)
	maps.Copy(configured.settings.Params, f.Params)
	host, _, err := configured.load(policies.Config{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer host.Close() //nolint:errcheck // it never served

	goldenPath := strings.TrimSuffix(path, filepath.Ext(path)) + ".golden"
	golden, err := os.ReadFile(goldenPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var results []result
	var written strings.Builder
	for i := range f.Cases {
		c := &f.Cases[i]
		if p.Only != "" && !strings.Contains(c.Name, p.Only) {
			if c.Expect == nil { // its part of the golden file stays
				written.WriteString(scenario.Section(string(golden), c.Name))
			}
			continue
		}
		d := configured.decide(host, c)
		r := result{File: name, Case: c.Name}
		if d.Err == nil && (p.Verbose || p.JSON) {
			x := c.Explain(d)
			r.Decision = &x
		}
		if c.Expect != nil {
			r.Differences = c.Compare(d)
			r.OK = len(r.Differences) == 0
		} else {
			now := c.Golden(d)
			written.WriteString(now)
			before := scenario.Section(string(golden), c.Name)
			r.OK = p.Update && d.Err == nil || now == before
			switch {
			case r.OK:
			case before == "":
				r.Differences = []scenario.Difference{{What: "golden", Want: "expect in the case, or a decision written down by --update", Got: strings.Join(c.Order(&d.Plan), ", ")}}
			default:
				r.Diff = scenario.Diff(before, now)
			}
		}
		results = append(results, r)
	}
	if p.Update && written.Len() > 0 {
		if err := os.WriteFile(goldenPath, []byte(written.String()), 0o644); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// show prints one result.
func (p *policyTest) show(term terminal, r result) {
	if r.OK && !p.Verbose {
		return
	}
	mark := "ok  "
	if !r.OK {
		mark = "FAIL"
	}
	fmt.Fprintf(term.out, "%s  %s: %s\n", mark, r.File, r.Case)
	for _, d := range r.Differences {
		fmt.Fprintf(term.out, "      %-12s want %s\n      %-12s got  %s\n", d.What, d.Want, "", d.Got)
	}
	for line := range strings.Lines(r.Diff) {
		fmt.Fprintf(term.out, "      %s", line)
	}
	if r.Decision != nil {
		var b strings.Builder
		if err := r.Decision.Write(&b, 8); err == nil {
			for line := range strings.Lines(b.String()) {
				fmt.Fprintf(term.out, "      %s", line)
			}
		}
	}
}
