package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// PriceRow is what a table lists for a model: the rates of a service tier above a threshold, as in [Set].
type PriceRow struct {
	Name string
	Set
}

// ReadPriceTable reads a tab-separated table of prices. Its first line names the columns: name, service_tier, price_above
// and usd_NAME_per_1m for the names of [RateNames], in any order; all but the first may be missing, others are skipped, and so are
// lines that start with #. An error names the line.
func ReadPriceTable(table string) ([]PriceRow, error) {
	var rows []PriceRow
	var columns []string
	number := 0
	for line := range strings.Lines(table) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		cells := strings.Split(line, "\t")
		if columns == nil {
			if columns = cells; !slices.Contains(columns, "name") {
				return nil, fmt.Errorf("line %d: the table has no column called name", number)
			}
			continue
		}
		if len(cells) != len(columns) {
			return nil, fmt.Errorf("line %d has %d columns, not %d", number, len(cells), len(columns))
		}
		var row PriceRow
		for i, column := range columns {
			if err := row.set(column, cells[i]); err != nil {
				return nil, fmt.Errorf("line %d: %s: %w", number, column, err)
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// set takes over one cell.
func (row *PriceRow) set(column, cell string) (err error) {
	switch column {
	case "name":
		row.Name = cell
		return nil
	case "service_tier":
		row.ServiceTier = cell
		return nil
	case "price_above":
		if cell == "" {
			return nil
		}
		n, err := strconv.ParseUint(cell, 10, 32)
		row.Above = uint32(n)
		return err
	}
	name, isPrice := strings.CutPrefix(column, "usd_")
	name, per := strings.CutSuffix(name, "_per_1m")
	k := slices.Index(RateNames(), name)
	if isPrice && per && k >= 0 && cell != "" {
		row.Rates[k], err = ParseRate(cell)
	}
	return err
}

// Add takes over what a row of a table lists, in the place of what there was for its service tier and threshold.
func (p *Price) Add(s Set) {
	into := &p.Rates
	if s.ServiceTier != "" || s.Above != 0 {
		i := slices.IndexFunc(p.Sets, func(o Set) bool { return o.ServiceTier == s.ServiceTier && o.Above == s.Above })
		if i < 0 {
			p.Sets = append(p.Sets, Set{ServiceTier: s.ServiceTier, Above: s.Above})
			p.Sort()
			i = slices.IndexFunc(p.Sets, func(o Set) bool { return o.ServiceTier == s.ServiceTier && o.Above == s.Above })
		}
		into = &p.Sets[i].Rates
	}
	for k, n := range s.Rates {
		if n != 0 {
			into[k] = n
		}
	}
}

// Sort puts the sets into their order: by thresholds, then by service tiers.
func (p *Price) Sort() {
	slices.SortStableFunc(p.Sets, func(a, b Set) int {
		return cmp.Or(cmp.Compare(a.Above, b.Above), strings.Compare(a.ServiceTier, b.ServiceTier))
	})
}
