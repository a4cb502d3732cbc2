package config

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/storage"
)

// Prices is the [prices] table.
type Prices struct {
	Unpriced  string          // what becomes of deployments without prices: deny, default or free
	Default   catalog.Price   // what they are priced at; only with default
	Include   string          // a file whose [[prices.models]] hold too, absolute; "" for none
	Overrides []PriceOverride // of the file and the one it includes, in the order in which they apply
}

// PriceOverride is one [[prices.models]] table: the prices of a model's deployments, in the place of all that the catalog has.
type PriceOverride struct {
	Model    string
	Provider string // "" for all of the model's deployments
	Price    catalog.Price
}

// Tariff is the [tariff] table: what users are charged where a model does not say.
type Tariff struct {
	CostPlus      bool            // by what the provider charges, instead of the rates of the tiers
	CreditsPerUSD storage.Credits // micro-credits for a dollar; only with CostPlus
	Markups       catalog.Markups // of the account tiers, wherever users are charged by the cost
}

const (
	unpricedDeny = "deny" // the configuration does not load
	noDefault    = "unpriced = \"default\" needs the prices to assume: [prices.default] with usd_in_per_1m and usd_out_per_1m"
)

func unpricedNames() []string {
	return []string{unpricedDeny, string(catalog.UnpricedDefault), string(catalog.UnpricedFree)}
}

func (c *Config) tariff(t *table) {
	c.Tariff.Markups = catalog.DefaultMarkups()
	c.Tariff.CostPlus = t.oneOf("kind", "tiers", []string{"tiers", "cost_plus"}) == "cost_plus"
	c.Tariff.CreditsPerUSD = t.credits("credits_per_usd", 0, catalog.MaxUnitRate)
	switch {
	case c.Tariff.CostPlus && c.Tariff.CreditsPerUSD == 0 && !t.has("credits_per_usd"):
		t.fault("kind", "the tariff cost_plus needs credits_per_usd: what users pay for a dollar of cost, before the markup")
	case !c.Tariff.CostPlus && t.has("credits_per_usd"):
		t.fault("credits_per_usd", "credits_per_usd is for kind = \"cost_plus\"; a single model has a credits_per_usd of its own")
	}
	markups := t.child("markup_percent", "in tariff.markup_percent")
	for i, tier := range storage.AccountTiers() {
		c.Tariff.Markups[i] = catalog.Markup(markups.integer(string(tier), int64(c.Tariff.Markups[i]), 0, int64(catalog.MaxMarkup)))
	}
	markups.done()
	t.done()
}

// prices reads [prices]; the models are known by then. Overrides are applied.
func (c *Config) prices(d *document, t *table) {
	c.Prices.Unpriced = t.oneOf("unpriced", unpricedDeny, unpricedNames())
	otherwise := t.child("default", "in [prices.default]")
	c.Prices.Default = otherwise.price("chat")
	otherwise.done()
	if c.Prices.Unpriced == string(catalog.UnpricedDefault) && !c.Prices.Default.Given() {
		t.fault("unpriced", noDefault)
	}
	c.Prices.Include = c.absolute(t.str("include", ""))
	if c.Prices.Include != "" {
		c.includePrices(d, t)
	}
	c.overrides(t)
	t.done()
}

// includePrices takes over the [[prices.models]] of another file. What is wrong with it is reported with its own places.
func (c *Config) includePrices(d *document, t *table) {
	text, err := readFile(c.Prices.Include)
	if err != nil {
		t.fault("include", "%.140q cannot be read: %v", t.raw("include"), err)
		return
	}
	other, values, fault := d.other(c.Prices.Include, text)
	if fault != nil {
		d.faults = append(d.faults, *fault)
		return
	}
	root := &table{doc: other, title: "in a file of prices", values: values}
	prices := root.child("prices", "in [prices] of a file of prices")
	c.overrides(prices)
	prices.done()
	root.done()
	d.faults, d.warnings = append(d.faults, other.faults...), append(d.warnings, other.warnings...)
}

// other opens a further file of the configuration.
func (d *document) other(path, text string) (*document, map[string]any, *Fault) {
	index, err := newIndex(text)
	if err != nil {
		return nil, nil, &Fault{File: path, Line: 1, Column: 1, Message: err.Error()}
	}
	values, err := decode(text)
	if err != nil {
		fault := syntaxFault(path, text, err)
		return nil, nil, &fault
	}
	return &document{file: path, index: index, env: d.env, references: d.references}, values, nil
}

// readFile reads a file of the configuration. The error says what is wrong without naming it.
func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", errors.Unwrap(err) // who asks names the file
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return strings.TrimPrefix(string(data), "\xef\xbb\xbf"), err
}

// overrides reads the [[prices.models]] of a [prices] table and applies them.
func (c *Config) overrides(t *table) {
	for _, o := range t.children("models", "in [[prices.models]]") {
		name, provider := o.str("name", ""), o.str("provider", "")
		e := c.entry(name)
		if e == nil {
			var names []string
			for _, e := range c.Models {
				names = append(names, e.Name)
			}
			if o.has("name") {
				o.fault("name", "there is no model %.140q%s", o.raw("name"), meant(name, names))
			} else {
				o.missing("a [[prices.models]] table has no name")
			}
			continue
		}
		price := o.price(e.Mode)
		if !price.Given() {
			o.missing("these prices of model %.140q hold none", name)
		}
		o.done()
		found := false
		for j := range e.Deployments {
			if provider == "" || e.Deployments[j].Provider == provider {
				found = true
				unit := price.Unit
				if unit == 0 {
					unit = e.Deployments[j].Price.Unit
				}
				e.Deployments[j].Price, e.Deployments[j].Unpriced = price, ""
				e.Deployments[j].Price.Unit = unit
			}
		}
		if !found {
			o.fault("provider", "model %.140q is not deployed at provider %.60q", name, o.raw("provider"))
		}
		c.Prices.Overrides = append(c.Prices.Overrides, PriceOverride{name, provider, price})
	}
}

// price reads the prices of a deployment of a model of that mode.
func (t *table) price(mode string) catalog.Price {
	p := t.tokenPrice()
	p.Unit = t.unitPrice(mode)
	conversation := mode == "chat" || mode == "responses"
	if in, out := p.Rates[catalog.RateIn], p.Rates[catalog.RateOut]; conversation && (in == 0) != (out == 0) {
		t.missing("there is a price of %s alone: set usd_in_per_1m and usd_out_per_1m, 0 for what costs nothing", map[bool]string{true: "output", false: "input"}[in == 0])
	}
	return p
}

// tokenPrice reads the prices of tokens: those of the standard service, and sets for other services and above thresholds.
func (t *table) tokenPrice() catalog.Price {
	p := catalog.Price{Rates: t.rates()}
	whole := map[string]bool{"": true} // services with prices below all thresholds
	tables := t.children("prices", "in the prices of a deployment")
	for _, s := range tables {
		set := catalog.Set{ServiceTier: s.str("service_tier", ""), Above: uint32(s.integer("above", 0, 1, math.MaxUint32)), Rates: s.rates()}
		switch {
		case set.ServiceTier == "" && set.Above == 0:
			s.missing("these prices are of another service or above a threshold: set service_tier, above or both")
		case slices.ContainsFunc(p.Sets, func(o catalog.Set) bool { return o.ServiceTier == set.ServiceTier && o.Above == set.Above }):
			s.missing("there are two such prices: of service_tier %.40q above %d tokens", set.ServiceTier, set.Above)
		case set.Above == 0 && (set.Rates[catalog.RateIn] == 0 || set.Rates[catalog.RateOut] == 0):
			s.missing("prices of another service stand alone: set usd_in_per_1m and usd_out_per_1m")
		}
		whole[set.ServiceTier] = whole[set.ServiceTier] || set.Above == 0
		p.Sets = append(p.Sets, set)
		s.done()
	}
	for i, set := range p.Sets {
		if !whole[set.ServiceTier] {
			tables[i].fault("service_tier", "service tier %.40q has prices above a threshold alone: give it some without", set.ServiceTier)
		}
	}
	p.Sort()
	return p
}

// rates reads what tokens cost, in dollars per million.
func (t *table) rates() (r catalog.Rates) {
	for k, name := range catalog.RateNames() {
		key := "usd_" + name + "_per_1m"
		text, ok := t.decimal(key)
		if !ok {
			continue
		}
		n, err := catalog.ParseRate(text)
		if err != nil {
			t.fault(key, "%s must be a decimal number of US dollars between 0 and %d with at most 6 fractional digits", key, catalog.MaxPrice/1_000_000)
		}
		r[k] = n
	}
	return r
}

// settleUnpriced decides about the deployments of the file's models that nobody has given a price.
func (c *Config) settleUnpriced(own []ownModel) {
	for _, m := range own {
		e, t := c.entry(m.Name), m.table
		mode, _ := catalog.ParseMode(e.Mode)
		unit := catalog.UnitName(mode)
		how := t.oneOf("unpriced", c.Prices.Unpriced, unpricedNames())
		if how == string(catalog.UnpricedDefault) && !c.Prices.Default.Given() && t.has("unpriced") {
			t.fault("unpriced", noDefault)
		}
		for i := range e.Deployments {
			d := &e.Deployments[i]
			switch {
			case d.Price.Given():
				continue
			case d.Local || how == string(catalog.UnpricedFree):
				d.Unpriced = catalog.UnpricedFree
			case how == string(catalog.UnpricedDefault) && unit == "": // default prices are of tokens
				d.Price, d.Unpriced = c.Prices.Default, catalog.UnpricedDefault
			case !m.deployments[i].mentions("usd_"): // else a price is there, and at fault
				ways := "usd_in_per_1m and usd_out_per_1m, or unpriced = \"default\" or \"free\" for the model"
				if unit != "" {
					ways = "usd_per_" + unit + ", or unpriced = \"free\" for the model"
				}
				m.deployments[i].missing("the deployment of model %.140q at %.60q has no prices: set %s", e.Name, d.Provider, ways)
			}
			if d.Unpriced == catalog.UnpricedFree && t.has("credits_per_usd") && e.CreditsPerUnit == 0 {
				t.fault("credits_per_usd", "model %.140q is charged by its cost, and the deployment at %.60q has no prices", e.Name, d.Provider)
			}
		}
	}
}

// mentions tells whether any key begins like that.
func (t *table) mentions(prefix string) bool {
	return slices.ContainsFunc(t.keys(), func(key string) bool { return strings.HasPrefix(key, prefix) })
}

// chargeByCost applies the tariff to the built-in models: what is not free is charged by its cost.
func (c *Config) chargeByCost() {
	for i := range c.Models {
		if e := &c.Models[i]; c.Tariff.CostPlus && !c.fileModels[e.Name] && e.Tier > catalog.TierFree {
			e.CreditsPer1K, e.CreditsPerUSD = 0, c.Tariff.CreditsPerUSD
		}
	}
}
