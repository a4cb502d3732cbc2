package config

import (
	"math"
	"slices"

	"github.com/pointsman/pointsman/engine/catalog"
)

// defaultContext is assumed of a model that does not say: small, so that no request is sent where it cannot fit.
const defaultContext = 8192

// models reads [[models]] over the built-in entries.
func (c *Config) models(d *document, root *table) {
	cat := root.child("catalog", "in [catalog]")
	c.BuiltinCatalog = cat.flag("builtin", true)
	cat.done()
	if c.BuiltinCatalog {
		entries, err := catalog.Builtin()
		if err != nil {
			d.faults = append(d.faults, Fault{Message: err.Error()})
		}
		c.Models = entries
	}
	c.fileModels = make(map[string]bool)
	aliases := make(map[string]bool)
	var own []ownModel
	for _, t := range root.children("models", "in [[models]]") {
		m, ok := c.model(t)
		if !ok {
			continue
		}
		if c.fileModels[m.Name] {
			t.fault("name", "there are two [[models]] named %.140q", m.Name)
			continue
		}
		c.fileModels[m.Name] = true
		own = append(own, m)
	}
	c.merge(own)
	for _, m := range own {
		c.checkAliases(m.table, m.Entry, aliases)
	}
	c.dropShadowed(aliases)
	c.chargeByCost()
	if len(c.Models) == 0 && len(d.faults) == 0 {
		cat.fault("builtin", "there are no models: builtin is false and there is no [[models]]")
	}
	for i := range c.Models {
		for j := range c.Models[i].Deployments {
			deployment := &c.Models[i].Deployments[j]
			if p := c.Provider(deployment.Provider); p != nil {
				deployment.Local = p.Local
			}
		}
	}
	c.prices(d, root.child("prices", "in [prices]"))
	c.settleUnpriced(own)
}

// ownModel is a model of the file with its tables.
type ownModel struct {
	catalog.Entry
	table       *table
	deployments []*table
}

// merge puts each model of the file in the place of the built-in one of its name, or at the end.
func (c *Config) merge(own []ownModel) {
	for _, m := range own {
		if e := c.entry(m.Name); e != nil {
			*e = m.Entry
		} else {
			c.Models = append(c.Models, m.Entry)
		}
	}
}

// entry is the model of that name, nil if there is none.
func (c *Config) entry(name string) *catalog.Entry {
	i := slices.IndexFunc(c.Models, func(e catalog.Entry) bool { return e.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Models[i]
}

// checkAliases reports aliases of a file's model that cannot be, and notes those that can.
func (c *Config) checkAliases(t *table, e catalog.Entry, seen map[string]bool) {
	for i, a := range e.Aliases {
		p := t.path.key("aliases").at(i)
		isModel := slices.ContainsFunc(c.Models, func(b catalog.Entry) bool { return b.Name == a.Name })
		switch {
		case !catalog.ValidName(a.Name):
			t.faultAt(p, "an alias must be 1 to 128 letters, digits or ._:/@-")
		case catalog.Reserved(a.Name):
			t.faultAt(p, "alias %q is reserved for routing", a.Name)
		case isModel:
			t.faultAt(p, "alias %q is the name of a model", a.Name)
		case seen[a.Name]:
			t.faultAt(p, "alias %q is given twice", a.Name)
		}
		seen[a.Name] = true
	}
}

// dropShadowed takes from the built-in models the aliases that the file uses as names or aliases of its own.
func (c *Config) dropShadowed(aliases map[string]bool) {
	for i := range c.Models {
		if c.fileModels[c.Models[i].Name] {
			continue
		}
		c.Models[i].Aliases = slices.DeleteFunc(c.Models[i].Aliases, func(a catalog.Alias) bool {
			return aliases[a.Name] || c.fileModels[a.Name]
		})
	}
}

// model reads one [[models]] table. It is not ok without a usable name, under which anything else could be reported.
func (c *Config) model(t *table) (m ownModel, ok bool) {
	before := len(t.doc.faults)
	m = ownModel{Entry: catalog.Entry{Name: t.str("name", "")}, table: t}
	e := &m.Entry
	switch {
	case !t.has("name"):
		t.missing("a [[models]] table has no name")
	case !catalog.ValidName(e.Name) && len(t.doc.faults) == before:
		t.fault("name", "a model's name must be 1 to 128 letters, digits or ._:/@-")
	case catalog.Reserved(e.Name):
		t.fault("name", "model name %q is reserved for routing", e.Name)
	}
	e.Mode = t.oneOf("mode", "chat", catalog.ModeNames())
	if t.has("tier") {
		e.Tier = int(t.integer("tier", 0, 0, catalog.MaxTier))
	} else {
		t.missing("model %.140q has no tier: set 0 to %d", e.Name, catalog.MaxTier)
	}
	c.rate(t, e)
	e.ContextWindow = uint32(t.integer("context_window", defaultContext, 1, math.MaxUint32))
	if mode, _ := catalog.ParseMode(e.Mode); !t.has("context_window") && catalog.UnitName(mode) == "" {
		t.warn("name", "model %.140q has no context_window: %d tokens are assumed", e.Name, defaultContext)
	}
	e.MaxOutput = uint32(t.integer("max_output", 0, 0, math.MaxUint32))
	e.Quality = float32(t.number("quality", 0, 0, 1))
	e.Capabilities = t.names("capabilities", "capability", catalog.CapabilityNames(math.MaxUint32))
	e.Strengths = t.names("strengths", "strength", catalog.StrengthNames(math.MaxUint32))
	for _, name := range t.strs("aliases") {
		e.Aliases = append(e.Aliases, catalog.Alias{Name: name})
	}
	t.timeouts("in [models.timeouts]", &e.Timeouts)
	seen := make(map[[2]string]bool)
	m.deployments = t.children("deployments", "in [[models.deployments]]")
	for _, dt := range m.deployments {
		deployment := c.deployment(dt, e.Mode)
		key := [2]string{deployment.Provider, deployment.Upstream}
		if seen[key] && deployment.Upstream != "" {
			dt.fault("upstream", "this deployment is given twice")
		}
		seen[key] = true
		e.Deployments = append(e.Deployments, deployment)
	}
	if !t.has("deployments") || len(e.Deployments) == 0 {
		t.missing("model %.140q has no [[models.deployments]]", e.Name)
	}
	t.has("unpriced") // read once all prices are known
	t.done()
	return m, catalog.ValidName(e.Name) && !catalog.Reserved(e.Name)
}

// rate reads credits_per_1k and the rates by the unit and by the cost. A model is never given away by omission: the default is
// what the tariff says, the top of its tier's band or its cost, and a model that can be charged by the unit must say what it charges.
func (c *Config) rate(t *table, e *catalog.Entry) {
	mode, _ := catalog.ParseMode(e.Mode)
	unit := catalog.UnitName(mode)
	e.CreditsPerUnit = t.credits("credits_per_unit", 0, catalog.MaxUnitRate)
	e.CreditsPerUSD = t.credits("credits_per_usd", 0, catalog.MaxUnitRate)
	if unit == "" && t.has("credits_per_unit") {
		t.fault("credits_per_unit", "credits_per_unit is for modes with a unit: a model of mode %s is charged by tokens or by its cost", e.Mode)
	}
	said := t.has("credits_per_unit") || t.has("credits_per_usd") || t.has("credits_per_1k")
	if c.Tariff.CostPlus && !said {
		if e.Tier > catalog.TierFree {
			e.CreditsPerUSD = c.Tariff.CreditsPerUSD
		}
		return
	}
	if !t.has("credits_per_1k") && (unit != "" || t.has("credits_per_usd")) {
		if !said {
			t.missing("model %.140q does not say what it charges: set credits_per_unit, credits_per_usd or credits_per_1k", e.Name)
		}
		return
	}
	lo, hi := catalog.TierBand(uint8(e.Tier))
	if t.has("credits_per_1k") {
		before := len(t.doc.faults)
		e.CreditsPer1K = t.credits("credits_per_1k", 0, catalog.MaxRate)
		if len(t.doc.faults) == before && t.has("tier") && !t.has("credits_per_usd") && (e.CreditsPer1K < lo || e.CreditsPer1K > hi) {
			t.warn("credits_per_1k", "credits_per_1k of model %.140q is outside the band of tier %d, %s to %s", e.Name, e.Tier, lo, hi)
		}
		return
	}
	switch {
	case e.Tier == catalog.TierSpecialized:
		t.missing("model %.140q has no credits_per_1k: tier %d has no rate of its own", e.Name, e.Tier)
	case e.Tier > catalog.TierFree:
		e.CreditsPer1K = hi
		t.warn("name", "model %.140q has no credits_per_1k: the top of tier %d, %s, is charged", e.Name, e.Tier, hi)
	}
}

// names reads a list out of a vocabulary and reports each word that is not in it.
func (t *table) names(key, kind string, allowed []string) []string {
	words := t.strs(key)
	for i, word := range words {
		p := t.path.key(key).at(i)
		switch {
		case word == "":
			if raw := t.element(key, i); raw == "" {
				t.faultAt(p, "%s is empty", kind)
			}
		case !slices.Contains(allowed, word):
			t.faultAt(p, "%s %.60q is not known%s", kind, t.element(key, i), instead(word, allowed))
		case slices.Contains(words[:i], word):
			t.faultAt(p, "%s %q is given twice", kind, word)
		}
	}
	return words
}

// element is a string of an array as the file has it.
func (t *table) element(key string, i int) string {
	elements, _ := t.values[key].([]any)
	s, ok := elements[i].(string)
	if !ok {
		return "?"
	}
	return s
}

// unitPrice reads the price by the unit, which has another key in each mode.
func (t *table) unitPrice(mode string) int64 {
	own, _ := catalog.ParseMode(mode)
	price := int64(0)
	for _, name := range catalog.ModeNames() {
		m, _ := catalog.ParseMode(name)
		unit := catalog.UnitName(m)
		if unit == "" {
			continue
		}
		key := "usd_per_" + unit
		text, ok := t.decimal(key)
		if !ok {
			continue
		}
		n, err := catalog.ParseUSD(text)
		switch {
		case m != own:
			t.fault(key, "%s is for models of mode %s", key, name)
		case err != nil:
			t.fault(key, "%s must be a decimal number of dollars from 0 to 1000000 with at most 9 fractional digits", key)
		default:
			price = n
		}
	}
	return price
}

func (c *Config) deployment(t *table, mode string) catalog.DeploymentEntry {
	e := catalog.DeploymentEntry{Provider: t.str("provider", ""), Upstream: t.str("upstream", "")}
	var names []string
	for _, p := range c.Providers {
		names = append(names, p.Name)
	}
	switch {
	case !t.has("provider"):
		t.missing("a deployment has no provider")
	case !slices.Contains(names, e.Provider):
		t.fault("provider", "provider %.60q is not defined%s (a provider of your own needs a [providers.NAME] table)", t.raw("provider"), meant(e.Provider, names))
	}
	if e.Upstream == "" {
		t.missing("a deployment has no upstream: the provider's own name of the model")
	}
	e.Price = t.price(mode)
	t.timeouts("in [models.deployments.timeouts]", &e.Timeouts)
	t.done()
	return e
}
