package catalog

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/storage"
)

//go:embed builtin.tsv
var builtinModels string

//go:embed prices.tsv
var builtinPrices string

//go:embed aliases.tsv
var builtinAliases string

// LocalProvider is the name of the built-in provider that runs on the operator's own machines.
const LocalProvider = "local"

// Builtin reads the embedded table of 47 models with the retired names that are on by default. The slice is the caller's.
// An error means a damaged build.
func Builtin() ([]Entry, error) {
	var entries []Entry
	index := make(map[string]int)
	err := eachRow(builtinModels, 15, func(cell []string) error {
		e, err := parseEntry(cell)
		if err != nil {
			return fmt.Errorf("model %q: %w", cell[0], err)
		}
		index[e.Name] = len(entries)
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading builtin.tsv: %w", err)
	}
	prices, err := ReadPriceTable(builtinPrices)
	if err != nil {
		return nil, fmt.Errorf("reading prices.tsv: %w", err)
	}
	for _, row := range prices {
		i, ok := index[row.Name]
		if !ok {
			return nil, fmt.Errorf("reading prices.tsv: no model %q", row.Name)
		}
		entries[i].Deployments[0].Price.Add(row.Set)
	}
	err = eachRow(builtinAliases, 5, func(cell []string) error {
		i, ok := index[cell[1]]
		if !ok {
			return fmt.Errorf("alias %q: no model %q", cell[0], cell[1])
		}
		if cell[3] == "on" {
			entries[i].Aliases = append(entries[i].Aliases, Alias{Name: cell[0], Since: cell[2], Reason: cell[4], Deprecated: true})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading aliases.tsv: %w", err)
	}
	return entries, nil
}

// eachRow calls row for every line after the heading, without comments.
func eachRow(table string, columns int, row func(cell []string) error) error {
	heading := true
	for line := range strings.Lines(table) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if heading {
			heading = false
			continue
		}
		cell := strings.Split(line, "\t")
		if len(cell) != columns {
			return fmt.Errorf("row %.40q has %d columns, not %d", line, len(cell), columns)
		}
		if err := row(cell); err != nil {
			return err
		}
	}
	return nil
}

func parseEntry(cell []string) (Entry, error) {
	e := Entry{Name: cell[0], Core: cell[4] == "core", Mode: cell[5], Capabilities: list(cell[12]), Strengths: list(cell[13])}
	d := DeploymentEntry{Provider: cell[1], Upstream: cell[2], Local: cell[1] == LocalProvider}
	var err error
	if e.Tier, err = strconv.Atoi(cell[3]); err != nil {
		return e, fmt.Errorf("tier: %w", err)
	}
	if e.CreditsPer1K, err = storage.ParseCredits(cell[6]); err != nil {
		return e, fmt.Errorf("credits_per_1k: %w", err)
	}
	for i, k := range []Rate{RateIn, RateOut, RateCacheRead} {
		if cell[7+i] == "" {
			continue
		}
		if d.Price.Rates[k], err = ParseRate(cell[7+i]); err != nil {
			return e, err
		}
	}
	for i, to := range []*uint32{&e.ContextWindow, &e.MaxOutput} {
		if cell[10+i] == "" {
			continue
		}
		n, err := strconv.ParseUint(cell[10+i], 10, 32)
		if err != nil {
			return e, fmt.Errorf("context_window or max_output: %w", err)
		}
		*to = uint32(n)
	}
	e.Deployments = []DeploymentEntry{d}
	return e, nil
}

func list(cell string) []string {
	if cell == "" {
		return nil
	}
	return strings.Split(cell, ",")
}
