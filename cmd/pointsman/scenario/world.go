package scenario

import (
	"hash/fnv"
	"maps"
	"slices"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// world is what there is to choose from: candidates in catalog order, and what holds for each in this request only.
type world struct {
	catalog *catalog.Catalog
	all     []place
}

// place is one candidate.
type place struct {
	policy.Candidate
	option   policy.Option
	excluded bool // option.Excluded was given, 0 included
}

// overrides are the tables that change what is known of models and providers, by name.
type overrides struct{ models, providers *fields }

// fill takes the built-in candidates, those of "only" if that is given, and changes them.
func (w *world) fill(t *fields, tables ...overrides) {
	for _, c := range w.catalog.Candidates() {
		w.all = append(w.all, place{Candidate: c})
	}
	for _, o := range tables {
		if o.providers != nil {
			for _, name := range slices.Sorted(maps.Keys(o.providers.values)) {
				w.provider(o.providers, name)
			}
		}
		if o.models != nil {
			for _, name := range slices.Sorted(maps.Keys(o.models.values)) {
				w.model(o.models, name)
			}
		}
	}
	before := len(*t.faults)
	only := t.list("only")
	if !t.has("only") || len(*t.faults) > before {
		return
	}
	keep := map[int]bool{}
	for _, name := range only {
		for _, i := range w.find(t, "only", name) {
			keep[i] = true
		}
	}
	var kept []place
	for i, p := range w.all {
		if keep[i] {
			kept = append(kept, p)
		}
	}
	w.all = kept
}

// find are the candidates that a name stands for: a model, an alias, or provider/model.
func (w *world) find(f *fields, key, name string) (found []int) {
	wanted, provider := name, ""
	if r, ok := w.catalog.Resolve(name); ok {
		wanted, provider = r.Model.Name, r.Provider
	}
	for i, p := range w.all {
		if (p.ModelName == wanted && (provider == "" || p.ProviderName == provider)) || p.ProviderName+"/"+p.ModelName == name {
			found = append(found, i)
		}
	}
	if len(found) == 0 {
		var names []string
		for _, p := range w.all {
			names = append(names, p.ModelName)
		}
		if key != "" {
			key += ": "
		}
		f.fault("%sthere is no model %q%s", key, name, instead(name, names))
	}
	return found
}

func (w *world) provider(f *fields, name string) {
	t := f.table(name)
	found := false
	for i := range w.all {
		if w.all[i].ProviderName == name {
			w.all[i].change(&fields{where: t.where, values: t.values, faults: &[]string{}})
			found = true
		}
	}
	if !found {
		f.fault("there is no provider %q%s", name, instead(name, w.catalog.Providers))
	}
	var scratch place // reads it once more for the mistakes
	scratch.change(t)
	t.done()
}

// model changes a model, or adds one: a new name with a tier.
func (w *world) model(f *fields, name string) {
	t := f.table(name)
	_, known := w.catalog.Resolve(name)
	for _, p := range w.all {
		known = known || p.ModelName == name
	}
	if !known && t.has("tier") {
		w.add(t, name)
		t.done()
		return
	}
	for key := range t.values {
		if _, ok := w.catalog.Resolve(name + "." + key); ok {
			f.fault("%s.%s: a name with a dot needs quotes: models.%q", name, key, name+"."+key)
			return
		}
	}
	found := w.find(f, "", name)
	for _, i := range found {
		w.all[i].change(t)
		w.all[i].static(t)
	}
	if len(found) > 0 {
		t.done()
	}
}

func (w *world) add(t *fields, name string) {
	provider := t.text("provider", "local")
	key := fnv.New64a()
	key.Write([]byte(name + "|" + provider)) //nolint:errcheck // a hash takes everything
	p := place{Candidate: policy.Candidate{Key: key.Sum64(), ModelName: name, ProviderName: provider, Provider: uint16(len(w.all)), ContextWindow: 128_000}}
	for _, other := range w.all {
		p.Model = max(p.Model, other.Model+1)
		if other.ProviderName == provider {
			p.Provider = other.Provider
		}
	}
	if provider == "local" {
		p.Flags |= abi.CandidateLocal
	}
	p.change(t)
	p.static(t)
	if p.Quality == 0 {
		p.Quality = catalog.QualityPrior(p.Tier, p.Mode, p.Strengths)
	}
	w.all = append(w.all, p)
}

// change reads the live facts of a candidate, and what holds for it in this request.
func (p *place) change(t *fields) {
	const million = 1_000_000
	p.Health = oneOf(t, "health", p.Health, func(word string) (uint8, bool) {
		for code := range uint8(4) {
			if policy.HealthName(code) == word {
				return code, true
			}
		}
		return 0, false
	}, "unknown", "healthy", "degraded", "down")
	p.TTFT = float32(t.number("ttft", float64(p.TTFT), 0, million))
	p.TokensPerSec = float32(t.number("tokens_per_second", float64(p.TokensPerSec), 0, million))
	p.ErrorRate = float32(t.number("error_rate", float64(p.ErrorRate), 0, 1))
	p.Samples = uint32(t.whole("samples", uint64(p.Samples), 1<<32-1))
	p.option.Inflight = uint16(t.whole("inflight", uint64(p.option.Inflight), 1<<16-1))
	if t.has("excluded") {
		p.option.Excluded, p.excluded = uint8(oneOf(t, "excluded", 0, parseReason, reasonNames(64)...)), true
	}
	for flag, key := range map[uint8]string{abi.OptionOwnKey: "byok", abi.OptionSimulated: "simulated", abi.OptionWarm: "warm"} {
		if t.flag(key, p.option.Flags&flag != 0) {
			p.option.Flags |= flag
		} else {
			p.option.Flags &^= flag
		}
	}
}

// static reads what is known of a model before any traffic.
func (p *place) static(t *fields) {
	p.Tier = uint8(t.whole("tier", uint64(p.Tier), catalog.MaxTier))
	p.Quality = float32(t.number("quality", float64(p.Quality), 0, 1))
	p.CreditsPer1K = int64(t.number("credits_per_1k", float64(p.CreditsPer1K)/1e6, 0, 1e6)*1e6 + 0.5)
	p.PriceIn = int64(t.number("usd_in_per_1m", float64(p.PriceIn)/1e6, 0, 1e6)*1e6 + 0.5)
	p.PriceOut = int64(t.number("usd_out_per_1m", float64(p.PriceOut)/1e6, 0, 1e6)*1e6 + 0.5)
	p.ContextWindow = uint32(t.whole("context_window", uint64(p.ContextWindow), 1<<32-1))
	p.MaxOutput = uint32(t.whole("max_output", uint64(p.MaxOutput), 1<<32-1))
	p.Mode = oneOf(t, "mode", p.Mode, catalog.ParseMode, catalog.ModeNames()...)
	if t.has("capabilities") {
		p.Capabilities = bitsOf(t, "capabilities", policy.ParseCapability, policy.CapabilityNames(^uint32(0)))
	}
	if t.has("strengths") {
		p.Strengths = bitsOf(t, "strengths", catalog.ParseStrength, catalog.StrengthNames(^uint32(0)))
	}
	if t.has("local") {
		p.Flags &^= abi.CandidateLocal
		if t.flag("local", false) {
			p.Flags |= abi.CandidateLocal
		}
	}
	t.get("provider")
}

func bitsOf(t *fields, key string, parse func(string) (uint32, bool), known []string) (bits uint32) {
	for _, name := range t.list(key) {
		bit, ok := parse(name)
		if !ok {
			t.fault("%s %q is not known%s", key, name, instead(name, known))
		}
		bits |= bit
	}
	return bits
}

// parseReason is the code of a reason's name.
func parseReason(name string) (uint16, bool) {
	for code := range uint16(256) {
		if policy.ReasonName(code) == name && name != "unknown" {
			return code, true
		}
	}
	return 0, false
}

func reasonNames(below uint16) (names []string) {
	for code := range below {
		if name := policy.ReasonName(code); name != "unknown" {
			names = append(names, name)
		}
	}
	return names
}

func (w *world) candidates() []policy.Candidate {
	out := make([]policy.Candidate, len(w.all))
	for i, p := range w.all {
		out[i] = p.Candidate
	}
	return out
}

// options states for every candidate whether it could serve the request, by the rules of the engine.
func (w *world) options(r *policy.Request, pinned string) []policy.Option {
	tiers := []storage.AccountTier{storage.TierFree, storage.TierStarter, storage.TierProfessional, storage.TierEnterprise}
	out := make([]policy.Option, len(w.all))
	for i, p := range w.all {
		o := p.option
		named := p.Model == r.Model
		model := catalog.Model{Tier: p.Tier, Rate: storage.Credits(p.CreditsPer1K)}
		switch {
		case p.excluded:
		case p.Mode != abi.ModeChat:
			o.Excluded = abi.ReasonMode
		case named && pinned != "" && p.ProviderName != pinned:
			o.Excluded = abi.ReasonNotRequested
		case !named && r.Needs&^p.Capabilities != 0:
			o.Excluded = abi.ReasonCapability
		case !named && p.ContextWindow > 0 && r.InputTokens > p.ContextWindow:
			o.Excluded = abi.ReasonContext
		case r.Privacy == abi.PrivacyLocal && p.Flags&abi.CandidateLocal == 0:
			o.Excluded = abi.ReasonNotLocal
		case o.Flags&abi.OptionOwnKey == 0 && !model.AllowedFor(tiers[r.AccountTier]):
			o.Excluded = abi.ReasonAccountTier
		case p.Health == abi.HealthDown:
			o.Excluded = abi.ReasonDown
		}
		out[i] = o
	}
	return out
}

// label is how a candidate is called: by its model, and its provider if the model has several deployments.
func (w *world) label(i int) string {
	p := w.all[i]
	several := slices.ContainsFunc(w.all, func(o place) bool { return o.ModelName == p.ModelName && o.ProviderName != p.ProviderName })
	if several {
		return p.ProviderName + "/" + p.ModelName
	}
	return p.ModelName
}
