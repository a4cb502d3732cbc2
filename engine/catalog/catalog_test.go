package catalog

import (
	"hash/fnv"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

func builtin(t testing.TB) *Catalog {
	t.Helper()
	entries, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Build(entries)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBuiltinCounts(t *testing.T) {
	c := builtin(t)
	if len(c.Models) != 47 || len(c.Deployments) != 47 || len(c.Providers) != 9 {
		t.Fatalf("%d models, %d deployments, %d providers; want 47, 47, 9", len(c.Models), len(c.Deployments), len(c.Providers))
	}
	var tiers [6]int
	core := map[string]int{}
	for _, m := range c.Models {
		tiers[m.Tier]++
		if lo, hi := TierBand(m.Tier); m.Rate < lo || m.Rate > hi {
			t.Errorf("%s: rate %s outside the band of tier %d", m.Name, m.Rate, m.Tier)
		}
		if m.Core {
			core[m.Deployments[0].Provider]++
		}
		if m.ContextWindow == 0 || m.Quality <= 0 || m.Quality > 1 {
			t.Errorf("%s: context window %d, quality %v", m.Name, m.ContextWindow, m.Quality)
		}
	}
	if tiers != [6]int{5, 7, 10, 8, 5, 12} {
		t.Errorf("tiers hold %v models", tiers)
	}
	want := map[string]int{"groq": 2, "local": 2, "together": 3, "deepinfra": 2, "openrouter": 8, "fireworks": 2, "openai": 5, "anthropic": 3, "huggingface": 1}
	total := 0
	for provider, n := range want {
		if core[provider] != n {
			t.Errorf("%d core models at %s, want %d", core[provider], provider, n)
		}
		total += core[provider]
	}
	if total != 28 || len(core) != len(want) {
		t.Errorf("core models: %v", core)
	}
}

// Each power level needs a model strong at every kind of task, or the task rule of its policy could never apply there.
func TestBuiltinStrengthsInEveryBand(t *testing.T) {
	c := builtin(t)
	for _, level := range []uint8{abi.LevelEco, abi.LevelBalanced, abi.LevelPrecision} {
		lo, hi := LevelTiers(level)
		var seen uint32
		for _, m := range c.Models {
			if m.Tier >= lo && m.Tier <= hi {
				seen |= m.Strengths
			}
		}
		if missing := StrengthNames(^seen); len(missing) > 0 {
			t.Errorf("level %d: no model is strong at %v", level, missing)
		}
	}
}

func TestBuiltinRow(t *testing.T) {
	r, ok := builtin(t).Resolve("claude-sonnet-5.5")
	if !ok {
		t.Fatal("not found")
	}
	m, d := r.Model, r.Model.Deployments[0]
	if m.Tier != 3 || m.Rate != 90_000 || m.ContextWindow != 1_000_000 || m.MaxOutput != 128_000 || m.Quality != 0.95 || m.Mode != abi.ModeChat {
		t.Errorf("model %+v", m)
	}
	if want := uint32(abi.CapTools | abi.CapVision | abi.CapReasoning | abi.CapJSONSchema | abi.CapPromptCache | abi.CapPDF); m.Capabilities != want {
		t.Errorf("capabilities %v", CapabilityNames(m.Capabilities))
	}
	if d.Provider != "anthropic" || d.Upstream != "claude-sonnet-5-5" || d.Local || d.Price.Rates != (Rates{RateIn: 2_000_000, RateOut: 10_000_000, RateCacheRead: 100_000, RateCacheWrite: 2_500_000, RateCacheWrite1h: 4_000_000}) || len(d.Price.Sets) != 1 {
		t.Errorf("deployment %+v", d)
	}
	h := fnv.New64a()
	h.Write([]byte("claude-sonnet-5.5|anthropic|claude-sonnet-5-5"))
	if d.Key != h.Sum64() {
		t.Errorf("key %x", d.Key)
	}
}

func TestResolve(t *testing.T) {
	c := builtin(t)
	tests := []struct{ name, model, alias, provider string }{
		{"gpt-4o", "gpt-4o", "", ""},
		{"gpt-4", "gpt-5.6-sol", "gpt-4", ""},
		{"llama3-70b-groq", "gpt-oss-120b-groq", "llama3-70b-groq", ""},
		{"openai/gpt-4o", "gpt-4o", "", "openai"},
		{"openrouter/gpt-4o-openrouter", "gpt-4o-openrouter", "", "openrouter"},
		{"openrouter/openai/gpt-4o", "gpt-4o-openrouter", "", "openrouter"},
		{"groq/openai/gpt-oss-120b", "gpt-oss-120b-groq", "", "groq"},
		{"openai/gpt-3.5-turbo", "gpt-6-luna", "gpt-3.5-turbo", "openai"},
		{"anthropic/gpt-4o", "", "", ""},
		{"text-embedding-ada-002", "", "", ""},
		{"auto", "", "", ""},
		{"eco", "", "", ""},
		{"", "", "", ""},
		{"GPT-4o", "", "", ""},
	}
	for _, test := range tests {
		r, ok := c.Resolve(test.name)
		if ok != (test.model != "") {
			t.Errorf("%q: found %v", test.name, ok)
			continue
		}
		if !ok {
			continue
		}
		alias := ""
		if r.Alias != nil {
			alias = r.Alias.Name
			if !r.Alias.Deprecated || r.Alias.Since == "" || r.Alias.Reason == "" || r.Alias.Target != r.Model {
				t.Errorf("%q: alias %+v", test.name, r.Alias)
			}
		}
		if r.Model.Name != test.model || alias != test.alias || r.Provider != test.provider {
			t.Errorf("%q: %s, alias %q, provider %q", test.name, r.Model.Name, alias, r.Provider)
		}
	}
	if n := testing.AllocsPerRun(100, func() { c.Resolve("openrouter/openai/gpt-4o") }); n != 0 {
		t.Errorf("Resolve allocates %v times", n)
	}
}

// An exact name wins over a pin, so that an operator may name a model like LiteLLM does.
func TestExactNameWinsOverPin(t *testing.T) {
	c, err := Build([]Entry{
		{Name: "a", ContextWindow: 1, Deployments: []DeploymentEntry{{Provider: "p", Upstream: "x"}}},
		{Name: "p/a", ContextWindow: 1, Deployments: []DeploymentEntry{{Provider: "q", Upstream: "y"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r, _ := c.Resolve("p/a"); r.Model.Name != "p/a" || r.Provider != "" {
		t.Errorf("p/a is %+v", r)
	}
}

func TestBuildFaults(t *testing.T) {
	good := []DeploymentEntry{{Provider: "p", Upstream: "u"}}
	tests := []struct {
		name    string
		entries []Entry
		want    string
	}{
		{"empty name", []Entry{{Deployments: good}}, `model "": name: "" is not 1 to 128`},
		{"bad name", []Entry{{Name: "a b", Deployments: good}}, `model "a b": name:`},
		{"long name", []Entry{{Name: strings.Repeat("a", 129), Deployments: good}}, "is not 1 to 128"},
		{"reserved", []Entry{{Name: "auto", Deployments: good}}, `"auto" is reserved`},
		{"reserved form", []Entry{{Name: "auto/eco", Deployments: good}}, `"auto/eco" is reserved`},
		{"duplicate", []Entry{{Name: "a", Deployments: good}, {Name: "a", Deployments: []DeploymentEntry{{Provider: "p", Upstream: "v"}}}}, `name: "a" is already`},
		{"alias is a model", []Entry{{Name: "a", Aliases: []Alias{{Name: "b"}}, Deployments: good}, {Name: "b", Deployments: good}}, `model "a": aliases: "b" is already`},
		{"alias twice", []Entry{{Name: "a", Aliases: []Alias{{Name: "x"}}, Deployments: good}, {Name: "b", Aliases: []Alias{{Name: "x"}}, Deployments: good}}, `model "b": aliases: "x" is already`},
		{"mode", []Entry{{Name: "a", Mode: "chta", Deployments: good}}, `mode: "chta"`},
		{"tier", []Entry{{Name: "a", Tier: 6, Deployments: good}}, "tier: 6"},
		{"rate", []Entry{{Name: "a", CreditsPer1K: -1, Deployments: good}}, "credits per 1k: -0.000001"},
		{"quality", []Entry{{Name: "a", Quality: 1.5, Deployments: good}}, "quality: 1.5"},
		{"capability", []Entry{{Name: "a", Capabilities: []string{"tool"}, Deployments: good}}, `capabilities: "tool"`},
		{"strength", []Entry{{Name: "a", Strengths: []string{""}, Deployments: good}}, `strengths: ""`},
		{"no deployment", []Entry{{Name: "a"}}, "deployments: none"},
		{"no upstream", []Entry{{Name: "a", Deployments: []DeploymentEntry{{Provider: "p"}}}}, "upstream is missing"},
		{"no provider", []Entry{{Name: "a", Deployments: []DeploymentEntry{{Upstream: "u"}}}}, "provider is missing"},
		{"price", []Entry{{Name: "a", Deployments: []DeploymentEntry{{Provider: "p", Upstream: "u", Price: Price{Rates: Rates{-2}}}}}}, "price -2 of in"},
		{"service tier", []Entry{{Name: "a", Deployments: []DeploymentEntry{{Provider: "p", Upstream: "u", Price: Price{Rates: Rates{1, 1}, Sets: []Set{{ServiceTier: "flex", Rates: Rates{1}}}}}}}}, `"flex" lists no price of out`},
		{"threshold alone", []Entry{{Name: "a", Deployments: []DeploymentEntry{{Provider: "p", Upstream: "u", Price: Price{Sets: []Set{{ServiceTier: "flex", Above: 1}}}}}}}, `"flex" has prices above a threshold alone`},
		{"prices twice", []Entry{{Name: "a", Deployments: []DeploymentEntry{{Provider: "p", Upstream: "u", Price: Price{Sets: []Set{{Above: 1}, {Above: 1}}}}}}}, "given twice"},
		{"order of thresholds", []Entry{{Name: "a", Deployments: []DeploymentEntry{{Provider: "p", Upstream: "u", Price: Price{Sets: []Set{{Above: 2}, {Above: 1}}}}}}}, "do not ascend"},
		{"same deployment", []Entry{{Name: "a", Deployments: append(good, good...)}}, "has the same key"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := Build(test.entries)
			if c != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Build = %v, %v; want error with %q", c, err, test.want)
			}
		})
	}
	if _, err := Build([]Entry{{Name: "a", Tier: 9}, {Name: "b", Mode: "x"}}); strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("not every fault is reported: %v", err)
	}
}

func TestCandidates(t *testing.T) {
	c, err := Build([]Entry{{
		Name: "m", Mode: "embedding", Tier: 5, CreditsPer1K: 7, ContextWindow: 100, MaxOutput: 50, Quality: 0.5,
		Capabilities: []string{"tools"}, Strengths: []string{"code"},
		Deployments: []DeploymentEntry{
			{Provider: "p", Upstream: "u", Price: Price{Rates: Rates{3, 4}}},
			{Provider: "local", Upstream: "u", Price: Price{Rates: Rates{3, 4, 1}}, Local: true},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := c.Candidates()
	if len(got) != 2 || got[0].PriceCacheRead != 3 || got[1].PriceCacheRead != 1 || got[0].Flags != 0 || got[1].Flags != abi.CandidateLocal || got[1].Provider != 1 {
		t.Fatalf("candidates %+v", got)
	}
	g := got[0]
	if g.Key != c.Deployments[0].Key || g.Mode != abi.ModeEmbedding || g.Tier != 5 || g.CreditsPer1K != 7 || g.ContextWindow != 100 || g.MaxOutput != 50 ||
		g.Quality != 0.5 || g.Capabilities != abi.CapTools || g.Strengths != 1<<abi.TaskCode || g.ModelName != "m" || g.ProviderName != "p" {
		t.Errorf("candidate %+v", g)
	}
}

func TestTiers(t *testing.T) {
	allowed := map[storage.AccountTier][6]bool{
		storage.TierFree:         {true},
		storage.TierStarter:      {true, true},
		storage.TierProfessional: {true, true, true, true, false, true},
		storage.TierEnterprise:   {true, true, true, true, true, true},
		"other":                  {},
	}
	for account, want := range allowed {
		for tier, ok := range want {
			if AccountTierAllows(account, uint8(tier)) != ok {
				t.Errorf("%s: tier %d allowed: %v", account, tier, !ok)
			}
		}
		if AccountTierAllows(account, 6) {
			t.Errorf("%s: tier 6 allowed", account)
		}
	}
	for rate, want := range map[storage.Credits]bool{0: true, 3_000: true, 3_001: false} {
		m := &Model{Tier: TierSpecialized, Rate: rate}
		if m.AllowedFor(storage.TierStarter) != want || m.AllowedFor(storage.TierFree) {
			t.Errorf("specialized model at rate %s for starter: %v", rate, !want)
		}
	}
	bands := map[uint8][2]uint8{abi.LevelEco: {0, 1}, abi.LevelBalanced: {2, 2}, abi.LevelPrecision: {3, 3}, abi.LevelCustom: {0, 5}, 0: {1, 0}}
	for level, want := range bands {
		if lo, hi := LevelTiers(level); lo != want[0] || hi != want[1] {
			t.Errorf("level %d: tiers %d to %d", level, lo, hi)
		}
	}
}

func TestNames(t *testing.T) {
	if got := strings.Join(CapabilityNames(^uint32(0)), " "); got != "tools vision json_schema reasoning prompt_cache pdf audio" {
		t.Errorf("capabilities %s", got)
	}
	for _, name := range ModeNames() {
		if mode, ok := ParseMode(name); !ok || ModeName(mode) != name {
			t.Errorf("mode %s", name)
		}
	}
	if bit, ok := ParseCapability("audio"); !ok || bit != abi.CapAudio {
		t.Errorf("audio is %d", bit)
	}
	if bit, ok := ParseStrength("reasoning"); !ok || bit != 1<<abi.TaskReasoning {
		t.Errorf("reasoning is %d", bit)
	}
	if ModeName(99) != "" {
		t.Error("mode 99 has a name")
	}
}

func BenchmarkResolve(b *testing.B) {
	c := builtin(b)
	for b.Loop() {
		c.Resolve("groq/openai/gpt-oss-120b")
	}
}
