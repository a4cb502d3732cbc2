// Package pricelist reads what others say models cost: a table like the built-in one, LiteLLM's model_prices_and_context_window.json,
// or the data.json of genai-prices. Nothing is fetched.
package pricelist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
)

// List is the prices of a file. It is immutable.
type List struct {
	// Partial says that the file lists only what is to change.
	Partial bool

	models  map[string]catalog.Price // by the file's names
	skipped map[string][]string      // fields of their prices that the gateway has no place for
	find    func(model, provider, upstream string) lookup
}

// lookup is how a file may call a deployment: by one of the names, the first that it has, or by a rule for the provider's name.
type lookup struct {
	names    []string
	rules    []rule
	upstream string
}

// rule is a model that a file describes instead of naming it.
type rule struct {
	name    string
	matches func(upstream string) bool
}

// Read reads a file in any of the forms. now decides between prices of which one follows another.
func Read(data []byte, now time.Time) (*List, error) {
	switch text := bytes.TrimSpace(data); {
	case len(text) == 0:
		return nil, errors.New("the file is empty")
	case text[0] == '{':
		return readLiteLLM(text)
	case text[0] == '[':
		return readGenAI(text, now)
	}
	return readTable(string(data))
}

// readTable reads a table that names the models as the catalog does.
func readTable(text string) (*List, error) {
	rows, err := catalog.ReadPriceTable(text)
	if err != nil {
		return nil, err
	}
	l := &List{Partial: true, models: map[string]catalog.Price{}, find: func(model, _, _ string) lookup { return lookup{names: []string{model}} }}
	for _, row := range rows {
		p := l.models[row.Name]
		p.Add(row.Set)
		l.models[row.Name] = p
	}
	return l, nil
}

// Names are the file's names of its models, in order.
func (l *List) Names() []string { return slices.Sorted(maps.Keys(l.models)) }

// Find is what the file says of a deployment, and under which name.
func (l *List) Find(model string, d catalog.DeploymentEntry) (p catalog.Price, name string, ok bool) {
	at := l.find(model, d.Provider, d.Upstream)
	for _, name := range at.names {
		if p, ok := l.models[name]; ok {
			return p, name, true
		}
	}
	for _, r := range at.rules {
		if r.matches(strings.ToLower(at.upstream)) {
			return l.models[r.name], r.name, true
		}
	}
	return p, "", false
}

// Merge is a price of the catalog as the file would have it. What the file says nothing of stays: rates, services, units. The
// thresholds of a service that it has are those that it has, unless it is partial.
func (l *List) Merge(have, listed catalog.Price) catalog.Price {
	out := have
	out.Sets = nil
	for _, s := range have.Sets {
		has := func(o catalog.Set) bool { return o.ServiceTier == s.ServiceTier }
		same := func(o catalog.Set) bool { return has(o) && o.Above == s.Above }
		known := s.ServiceTier == "" || slices.ContainsFunc(listed.Sets, has)
		if l.Partial || s.Above == 0 || !known || slices.ContainsFunc(listed.Sets, same) {
			out.Sets = append(out.Sets, s)
		}
	}
	out.Add(catalog.Set{Rates: listed.Rates})
	for _, s := range listed.Sets {
		out.Add(s)
	}
	return out
}

// Change is one rate that differs.
type Change struct {
	ServiceTier string
	Above       uint32
	Rate        string // its name
	From, To    string // dollars per million tokens, "" for not listed
}

// String says the change in a line.
func (c Change) String() string {
	where := ""
	if c.ServiceTier != "" {
		where += ", service tier " + c.ServiceTier
	}
	if c.Above > 0 {
		where += fmt.Sprintf(", above %d", c.Above)
	}
	shown := func(text string) string {
		if text == "" {
			return "not listed"
		}
		return text
	}
	return fmt.Sprintf("%s%s: %s -> %s", c.Rate, where, shown(c.From), shown(c.To))
}

// Diff is what two prices differ in.
func Diff(from, to catalog.Price) (changes []Change) {
	type place struct {
		service string
		above   uint32
	}
	var places []place
	rates := [2]map[place]catalog.Rates{{}, {}}
	for i, p := range []catalog.Price{from, to} {
		for _, s := range append([]catalog.Set{{Rates: p.Rates}}, p.Sets...) {
			at := place{s.ServiceTier, s.Above}
			if rates[i][at] = s.Rates; !slices.Contains(places, at) {
				places = append(places, at)
			}
		}
	}
	for _, at := range places {
		a, b := rates[0][at], rates[1][at]
		for k, name := range catalog.RateNames() {
			if a[k] != b[k] {
				changes = append(changes, Change{at.service, at.above, name, catalog.RateText(a[k]), catalog.RateText(b[k])})
			}
		}
	}
	return changes
}

// Skipped are the fields of prices of a model, by the file's name, that the gateway has no place for.
func (l *List) Skipped(name string) []string { return l.skipped[name] }

// skip notes a field that has no place.
func (l *List) skip(name, field string) {
	if l.skipped == nil {
		l.skipped = map[string][]string{}
	}
	if !slices.Contains(l.skipped[name], field) {
		l.skipped[name] = append(l.skipped[name], field)
	}
}

// keep takes over the prices of a model. A service that has no prices of input and output below all thresholds is left out.
func (l *List) keep(name string, p catalog.Price) {
	if !p.Given() {
		return
	}
	whole := map[string]bool{"": true}
	for _, s := range p.Sets {
		if s.Above == 0 {
			whole[s.ServiceTier] = s.Rates[catalog.RateIn] != 0 && (s.Rates[catalog.RateOut] != 0 || p.Rates[catalog.RateOut] <= 0)
		}
	}
	p.Sets = slices.DeleteFunc(p.Sets, func(s catalog.Set) bool { return !whole[s.ServiceTier] })
	for i := range p.Sets {
		if s := &p.Sets[i]; s.Above == 0 && s.Rates[catalog.RateOut] == 0 {
			s.Rates[catalog.RateOut] = catalog.Free
		}
	}
	l.models[name] = p
}

// rate reads a price in dollars for so many tokens as pico-dollars a token. Digits beyond them are rounded, half up; a price of
// nothing is catalog.Free.
func rate(v json.RawMessage, tokens int64) (int64, error) {
	text := strings.Trim(string(v), `"`)
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange) || math.IsNaN(f) || len(text) > 40:
		return 0, fmt.Errorf("%.40q is no price", text)
	case f < 0 || f > catalog.MaxPrice:
		return 0, fmt.Errorf("the price %.40q is out of range", text)
	case f < 1e-20: // far below a pico-dollar, and a big number would take its time
		return catalog.Free, nil
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, fmt.Errorf("%.40q is no price", text)
	}
	r.Mul(r, new(big.Rat).SetFrac64(1_000_000_000_000, tokens))
	r.Add(r, big.NewRat(1, 2))
	n := new(big.Int).Div(r.Num(), r.Denom())
	switch {
	case !n.IsInt64() || n.Int64() > catalog.MaxPrice:
		return 0, fmt.Errorf("the price %.40q is out of range", text)
	case n.Sign() == 0:
		return catalog.Free, nil
	}
	return n.Int64(), nil
}
