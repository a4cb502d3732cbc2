package catalog

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/pointsman/pointsman/sdk/abi"
)

// Build checks the entries and makes the catalog. It reports every fault, joined, each naming the model and the field.
// Duplicate model names, aliases that are a model's or another alias's name, and a deployment given twice are faults.
func Build(entries []Entry) (*Catalog, error) {
	b := builder{
		catalog:   &Catalog{byName: make(map[string]Resolution, 4*len(entries))},
		providers: make(map[string]uint16),
		keys:      make(map[uint64]*Deployment),
	}
	for _, e := range entries {
		b.model(e)
	}
	// Aliases and pins come after all names, because exact names win.
	for i, m := range b.catalog.Models {
		b.aliases(m, entries[i].Aliases)
	}
	b.pins()
	if n := len(b.catalog.Deployments); n > abi.MaxCandidates {
		b.errs = append(b.errs, fmt.Errorf("catalog has %d deployments, more than %d", n, abi.MaxCandidates))
	}
	if len(b.errs) > 0 {
		return nil, fmt.Errorf("building the catalog: %w", errors.Join(b.errs...))
	}
	return b.catalog, nil
}

type builder struct {
	catalog   *Catalog
	providers map[string]uint16
	keys      map[uint64]*Deployment
	errs      []error
}

func (b *builder) fault(model, format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf("model %.140q: %w", model, fmt.Errorf(format, args...)))
}

// model always appends, even a faulty model, so that numbers and entries stay aligned for the later checks.
func (b *builder) model(e Entry) {
	m := &Model{
		Number:        uint16(len(b.catalog.Models)),
		Name:          e.Name,
		Tier:          uint8(e.Tier),
		Rate:          e.CreditsPer1K,
		UnitRate:      e.CreditsPerUnit,
		CostRate:      e.CreditsPerUSD,
		ContextWindow: e.ContextWindow,
		MaxOutput:     e.MaxOutput,
		Quality:       e.Quality,
		Core:          e.Core,
	}
	b.catalog.Models = append(b.catalog.Models, m)
	b.checkModel(e)
	m.Mode, _ = ParseMode(e.Mode)
	for _, name := range e.Capabilities {
		bit, ok := ParseCapability(name)
		if !ok {
			b.fault(e.Name, "capabilities: %.40q is not known", name)
		}
		m.Capabilities |= bit
	}
	for _, name := range e.Strengths {
		bit, ok := ParseStrength(name)
		if !ok {
			b.fault(e.Name, "strengths: %.40q is not known", name)
		}
		m.Strengths |= bit
	}
	if m.Quality == 0 {
		m.Quality = QualityPrior(m.Tier, m.Mode, m.Strengths)
	}
	b.claim(m.Name, e.Name, "name", Resolution{Model: m})
	for _, d := range e.Deployments {
		d.Timeouts = d.Timeouts.Or(e.Timeouts)
		b.deployment(m, d)
	}
}

func (b *builder) checkModel(e Entry) {
	if len(b.catalog.Models) >= abi.NoModel {
		b.fault(e.Name, "there are more than %d models", abi.NoModel-1)
	}
	if _, ok := ParseMode(e.Mode); !ok {
		b.fault(e.Name, "mode: %.40q is not known", e.Mode)
	}
	if e.Tier < 0 || e.Tier > MaxTier {
		b.fault(e.Name, "tier: %d is not between 0 and %d", e.Tier, MaxTier)
	}
	if e.CreditsPer1K < 0 || e.CreditsPer1K > MaxRate {
		b.fault(e.Name, "credits per 1k: %s is not between 0 and %s", e.CreditsPer1K, MaxRate)
	}
	if !(e.Quality >= 0 && e.Quality <= 1) {
		b.fault(e.Name, "quality: %v is not between 0 and 1", e.Quality)
	}
	b.checkUnits(e)
	if len(e.Deployments) == 0 {
		b.fault(e.Name, "deployments: none given")
	}
}

// claim gives a name its meaning, or reports that it cannot have it.
func (b *builder) claim(name, model, field string, r Resolution) {
	switch _, taken := b.catalog.byName[name]; {
	case !ValidName(name):
		b.fault(model, "%s: %.140q is not 1 to 128 letters, digits or ._:/@-", field, name)
	case Reserved(name):
		b.fault(model, "%s: %q is reserved for routing", field, name)
	case taken:
		b.fault(model, "%s: %q is already the name of a model or alias", field, name)
	default:
		b.catalog.byName[name] = r
	}
}

func (b *builder) deployment(m *Model, e DeploymentEntry) {
	if e.Provider == "" {
		b.fault(m.Name, "deployment: provider is missing")
	}
	if e.Upstream == "" {
		b.fault(m.Name, "deployment at %.40q: upstream is missing", e.Provider)
	}
	b.checkPrice(m, e)
	number, ok := b.providers[e.Provider]
	if !ok {
		number = uint16(len(b.catalog.Providers))
		b.providers[e.Provider] = number
		b.catalog.Providers = append(b.catalog.Providers, e.Provider)
	}
	d := &Deployment{
		Index:          len(b.catalog.Deployments),
		Model:          m,
		Provider:       e.Provider,
		ProviderNumber: number,
		Upstream:       e.Upstream,
		Price:          e.Price,
		Unpriced:       e.Unpriced,
		Key:            deploymentKey(m.Name, e.Provider, e.Upstream),
		Local:          e.Local,
		Timeouts:       e.Timeouts,
	}
	if other := b.keys[d.Key]; other != nil {
		b.fault(m.Name, "deployment %.40q at %.40q: has the same key as %.40q at %.40q of model %q", d.Upstream, d.Provider, other.Upstream, other.Provider, other.Model.Name)
	}
	b.keys[d.Key] = d
	b.catalog.Deployments = append(b.catalog.Deployments, d)
	m.Deployments = append(m.Deployments, d)
}

// checkPrice reports prices that are none, and sets of them that could not be found or would give something away.
func (b *builder) checkPrice(m *Model, e DeploymentEntry) {
	check := func(rates *Rates) {
		for k, n := range rates {
			if n < Free || n > MaxPrice {
				b.fault(m.Name, "deployment at %.40q: price %d of %s is not between 0 and %d pico-dollars a token", e.Provider, n, RateNames()[k], int64(MaxPrice))
			}
		}
	}
	check(&e.Price.Rates)
	whole := map[string]bool{"": true} // services with a set without a threshold
	for i := range e.Price.Sets {
		s := &e.Price.Sets[i]
		check(&s.Rates)
		switch {
		case i > 0 && s.Above < e.Price.Sets[i-1].Above:
			b.fault(m.Name, "deployment at %.40q: the thresholds of its prices do not ascend", e.Provider)
		case slices.ContainsFunc(e.Price.Sets[:i], func(o Set) bool { return o.ServiceTier == s.ServiceTier && o.Above == s.Above }), s.ServiceTier == "" && s.Above == 0:
			b.fault(m.Name, "deployment at %.40q: prices of service tier %.40q above %d tokens are given twice", e.Provider, s.ServiceTier, s.Above)
		case s.Above == 0:
			whole[s.ServiceTier] = true
			for _, k := range []Rate{RateIn, RateOut} {
				if e.Price.Rates[k] > 0 && s.Rates[k] == 0 {
					b.fault(m.Name, "deployment at %.40q: service tier %.40q lists no price of %s", e.Provider, s.ServiceTier, RateNames()[k])
				}
			}
		case !whole[s.ServiceTier]:
			b.fault(m.Name, "deployment at %.40q: service tier %.40q has prices above a threshold alone", e.Provider, s.ServiceTier)
		}
	}
}

func (b *builder) aliases(m *Model, aliases []Alias) {
	for _, a := range aliases {
		a.Target = m
		m.Aliases = append(m.Aliases, &a)
		b.claim(a.Name, m.Name, "aliases", Resolution{Model: m, Alias: &a})
	}
}

// pins adds "provider/NAME" for each deployment. The first meaning stays, so upstream ids come last.
func (b *builder) pins() {
	pin := func(d *Deployment, name string, alias *Alias) {
		full := d.Provider + "/" + name
		if _, taken := b.catalog.byName[full]; !taken {
			b.catalog.byName[full] = Resolution{Model: d.Model, Alias: alias, Provider: d.Provider}
		}
	}
	for _, d := range b.catalog.Deployments {
		pin(d, d.Model.Name, nil)
	}
	for _, d := range b.catalog.Deployments {
		for _, a := range d.Model.Aliases {
			pin(d, a.Name, a)
		}
	}
	for _, d := range b.catalog.Deployments {
		pin(d, d.Upstream, nil)
	}
}

func deploymentKey(model, provider, upstream string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(model + "|" + provider + "|" + upstream))
	return h.Sum64()
}
