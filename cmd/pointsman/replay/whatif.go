package replay

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// WhatIf is changes of the catalog that is replayed on. The zero value changes nothing.
type WhatIf struct {
	Prices  []Price
	Removed []Deployments
	Outages []Outage
}

// Deployments are those of a model, at a provider or at all of them.
type Deployments struct{ Model, Provider string } // "": any

func (d Deployments) has(c *policy.Candidate) bool {
	return (d.Model == "" || d.Model == c.ModelName) && (d.Provider == "" || d.Provider == c.ProviderName)
}

// Price is another price of deployments.
type Price struct {
	Of     Deployments
	In     bool    // of tokens read, those from a cache too
	Out    bool    // of tokens written
	Factor float64 // what the price is multiplied by; 0: USD is the price
	USD    int64   // pico-USD a token
}

// Outage is a time in which a provider, or a model, cannot be used.
type Outage struct {
	Of          Deployments
	From, Until time.Time
}

// ParsePrice reads MODEL[@PROVIDER][.in|.out]=USD or =*FACTOR, with USD per million tokens.
func ParsePrice(text string) (p Price, err error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return p, fmt.Errorf("price %q: want MODEL[@PROVIDER][.in|.out]=USD per million tokens, or =*FACTOR", text)
	}
	p.In, p.Out = true, true
	if rest, ok := strings.CutSuffix(name, ".in"); ok {
		name, p.Out = rest, false
	} else if rest, ok := strings.CutSuffix(name, ".out"); ok {
		name, p.In = rest, false
	}
	if p.Of, err = parseDeployments(name); err != nil {
		return p, fmt.Errorf("price %q: %w", text, err)
	}
	if factor, ok := strings.CutPrefix(value, "*"); ok {
		p.Factor, err = strconv.ParseFloat(factor, 64)
		if err != nil || !(p.Factor >= 0.001 && p.Factor <= 1000) {
			return p, fmt.Errorf("price %q: the factor must be a number from 0.001 to 1000", text)
		}
		return p, nil
	}
	if p.In == p.Out {
		return p, fmt.Errorf("price %q: a price in USD is of .in or of .out", text)
	}
	if p.USD, err = catalog.ParseUSDPerMillion(value); err != nil {
		return p, fmt.Errorf("price %q: %w", text, err)
	}
	return p, nil
}

// parseDeployments reads MODEL, MODEL@PROVIDER or @PROVIDER.
func parseDeployments(text string) (Deployments, error) {
	model, provider, _ := strings.Cut(text, "@")
	if model == "" && provider == "" {
		return Deployments{}, fmt.Errorf("%q names neither a model nor a provider: want MODEL, MODEL@PROVIDER or @PROVIDER", text)
	}
	return Deployments{model, provider}, nil
}

// ParseRemoval reads MODEL, MODEL@PROVIDER or @PROVIDER.
func ParseRemoval(text string) (Deployments, error) { return parseDeployments(text) }

// ParseOutage reads MODEL, MODEL@PROVIDER or @PROVIDER, and =FROM..UNTIL as times of RFC 3339.
func ParseOutage(text string) (o Outage, err error) {
	name, times, _ := strings.Cut(text, "=")
	from, until, ok := strings.Cut(times, "..")
	if !ok {
		return o, fmt.Errorf("outage %q: want @PROVIDER=FROM..UNTIL, with times like 2026-11-01T10:00:00Z", text)
	}
	if o.Of, err = parseDeployments(name); err != nil {
		return o, fmt.Errorf("outage %q: %w", text, err)
	}
	if o.From, err = time.Parse(time.RFC3339, from); err == nil {
		o.Until, err = time.Parse(time.RFC3339, until)
	}
	if err == nil && !o.From.Before(o.Until) {
		err = fmt.Errorf("it ends before it begins")
	}
	if err != nil {
		return o, fmt.Errorf("outage %q: %w", text, err)
	}
	return o, nil
}

// Unknown are the names that no candidate of a snapshot has: what they change is nothing.
func (w *WhatIf) unused(known map[deploymentName]uint32) (names []string) {
	check := func(d Deployments) {
		for name := range known {
			if d.has(&policy.Candidate{ModelName: name.Model, ProviderName: name.Provider}) {
				return
			}
		}
		names = append(names, strings.TrimSuffix(d.Model+"@"+d.Provider, "@"))
	}
	for _, p := range w.Prices {
		check(p.Of)
	}
	for _, d := range w.Removed {
		check(d)
	}
	for _, o := range w.Outages {
		check(o.Of)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// apply is the snapshot with the prices changed.
func (w *WhatIf) apply(s *policy.Published) *policy.Published {
	if len(w.Prices) == 0 {
		return s
	}
	changed := s.Snapshot
	changed.Candidates = slices.Clone(s.Candidates)
	for i := range changed.Candidates {
		c := &changed.Candidates[i]
		for _, p := range w.Prices {
			if !p.Of.has(c) {
				continue
			}
			if p.In {
				c.PriceIn, c.PriceCacheRead = p.of(c.PriceIn), p.of(c.PriceCacheRead)
			}
			if p.Out {
				c.PriceOut = p.of(c.PriceOut)
			}
		}
	}
	return policy.Publish(changed)
}

func (p *Price) of(price int64) int64 {
	switch {
	case p.Factor == 0:
		return p.USD
	case price <= 0:
		return price
	}
	return int64(math.Round(float64(price) * p.Factor))
}

// whatIf is the facts with what WhatIf makes of them.
func (j *judge) whatIf(f *policy.Facts, u *storage.Usage) policy.Facts {
	g := *f
	g.Snapshot = j.changed
	options := j.request.Options[:0]
	j.request = *f.Request
	j.request.Options = append(options, f.Request.Options...)
	at := u.Request.Time()
	for i := range j.request.Options {
		if j.options.WhatIf.without(&j.changed.Candidates[i], at) && j.request.Options[i].Excluded == 0 {
			j.request.Options[i].Excluded = abi.ReasonDown
		}
	}
	g.Request = &j.request
	return g
}

// without tells that a candidate cannot be used at a time.
func (w *WhatIf) without(c *policy.Candidate, at time.Time) bool {
	for _, d := range w.Removed {
		if d.has(c) {
			return true
		}
	}
	for _, o := range w.Outages {
		if o.Of.has(c) && !at.Before(o.From) && at.Before(o.Until) {
			return true
		}
	}
	return false
}
