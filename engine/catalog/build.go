package catalog

import (
	"errors"
	"fmt"
	"hash/fnv"

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
	p := e.Price
	for _, price := range []int64{p.In, p.Out, p.CacheRead, p.CacheWrite, p.Reasoning, p.InAbove, p.OutAbove, p.CacheReadAbove, p.CacheWriteAbove} {
		if price < 0 || price > MaxPrice {
			b.fault(m.Name, "deployment at %.40q: price %d is not between 0 and %d pico-dollars a token", e.Provider, price, int64(MaxPrice))
		}
	}
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
		Price:          p,
		Key:            deploymentKey(m.Name, e.Provider, e.Upstream),
		Local:          e.Local,
	}
	if other := b.keys[d.Key]; other != nil {
		b.fault(m.Name, "deployment %.40q at %.40q: has the same key as %.40q at %.40q of model %q", d.Upstream, d.Provider, other.Upstream, other.Provider, other.Model.Name)
	}
	b.keys[d.Key] = d
	b.catalog.Deployments = append(b.catalog.Deployments, d)
	m.Deployments = append(m.Deployments, d)
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
