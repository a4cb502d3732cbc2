package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// reference is the configuration that has every key.
const reference = "../../../docs/configuration.toml"

// environment makes a lookup of "NAME=value" lines.
func environment(vars ...string) func(string) string {
	return func(name string) string {
		for _, v := range vars {
			if n, value, _ := strings.Cut(v, "="); n == name {
				return value
			}
		}
		return ""
	}
}

func fullEnv() func(string) string {
	return environment("MOCK_KEY=sk-mock-0123456789abcdef", "LAB_HOST=lab.example", "LAB_TOKEN=lab-token-secret-value",
		"GROQ_API_KEY=gsk_verysecretgroqkey", "TOGETHER_API_KEY=brief")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update after checking):\n%s", path, got)
	}
}

func effective(t *testing.T, c *Config) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.WriteEffective(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}

func TestLoadFull(t *testing.T) {
	c, err := Load(reference, fullEnv())
	if err != nil {
		t.Fatal(err)
	}
	server := Server{
		"127.0.0.1:8084", "127.0.0.1:8085", 32 << 20, absolute(t, "../../../docs/tls/gateway.crt"), absolute(t, "../../../docs/tls/gateway.key"),
		[]string{"https://app.example", "http://localhost:3000"},
		10 * time.Second, 15 * time.Second, true, 5 * time.Second, time.Minute,
	}
	if !reflect.DeepEqual(c.Server, server) {
		t.Errorf("server %+v", c.Server)
	}
	mock := c.Provider("mock")
	if mock == nil || mock.Adapter != "openai" || mock.APIKey.Reveal() != "sk-mock-0123456789abcdef" || mock.KeySource != "file" || !mock.AllowPrivate ||
		mock.Local || mock.Timeouts.FirstByte != 30*time.Second || mock.Timeouts.Idle != 20*time.Second || mock.Timeouts.Total != 30*time.Minute || mock.Settings["organization"] != "org-1" || mock.Builtin || !mock.Usable() {
		t.Errorf("mock %+v", mock)
	}
	if p := c.Provider("groq"); p.Timeouts.FirstByte != 5*time.Second || p.KeySource != "GROQ_API_KEY" || p.BaseURL != "https://api.groq.com/openai/v1" || !p.Usable() {
		t.Errorf("groq %+v", p)
	}
	if p := c.Provider("lab"); p.BaseURL != "https://lab.example/v2" || p.Settings["access_token"] != "lab-token-secret-value" || p.Timeouts != defaultTimeouts() {
		t.Errorf("lab %+v", p)
	}
	if p := c.Provider("openai"); p.Usable() || !p.KeyRequired {
		t.Errorf("openai %+v", p)
	}
	if len(c.Models) != 51 || c.Models[47].Name != "mock-model" {
		t.Fatalf("%d models", len(c.Models))
	}
	m := c.Models[47]
	want := catalog.Price{
		Rates: catalog.Rates{150_000, 600_000, 75_000, 187_500, 300_000, 350_000, 700_000, 40_000_000, 80_000_000, 200_000, 8_000_000},
		Sets: []catalog.Set{
			{ServiceTier: "flex", Rates: catalog.Rates{75_000, 300_000, catalog.Free}},
			{Above: 100_000, Rates: catalog.Rates{300_000, 900_000, 150_000, 375_000}},
			{ServiceTier: "flex", Above: 100_000, Rates: catalog.Rates{150_000}},
		},
	}
	if m.Tier != 1 || m.CreditsPer1K != 2000 || m.Quality != 0.75 || m.MaxOutput != 16000 || len(m.Deployments) != 2 || !reflect.DeepEqual(m.Deployments[0].Price, want) || m.Deployments[1].Price.Rates[catalog.RateIn] != 100_000 {
		t.Errorf("mock-model %+v", m)
	}
	built, err := catalog.Build(c.Models)
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := built.Resolve("gpt-4"); !ok || r.Model.Name != "mock-model" || r.Alias.Deprecated {
		t.Errorf("gpt-4 is %+v", r)
	}
	if r, _ := built.Resolve("gpt-4o"); r.Model.Rate != 100_000 || r.Model.Core || r.Model.Number > 46 {
		t.Errorf("gpt-4o was not replaced in place: %+v", r.Model)
	}
	d := built.Models[50].Deployments[0]
	if d.Unpriced != catalog.UnpricedDefault || d.Price.Rates != (catalog.Rates{5_000_000, 25_000_000}) {
		t.Errorf("mock-new %+v", d)
	}
	// What the file says comes after what it includes, and both after the models.
	for name, want := range map[string]catalog.Rates{"gpt-4.1": {1_800_000, 7_200_000}, "gpt-4o": {2_400_000, 9_600_000, 1_200_000}} {
		if r, _ := built.Resolve(name); r.Model.Deployments[0].Price.Rates != want {
			t.Errorf("%s costs %+v", name, r.Model.Deployments[0].Price)
		}
	}
	if c.Tariff != (Tariff{Markups: catalog.Markups{0, 40, 60, 75}}) {
		t.Errorf("tariff %+v", c.Tariff)
	}
	if c.Accounts != (Accounts{1000 * storage.CreditsPerCredit, storage.TierEnterprise, "balanced"}) || !c.Simulator.Enabled || c.Storage != (Storage{30, 48, 512, 128}) || c.Ledger != (Ledger{time.Hour, 10, DurabilityStrict}) {
		t.Errorf("%+v %+v %+v %+v", c.Accounts, c.Simulator, c.Storage, c.Ledger)
	}
	number := func(n int64) *int64 { return &n }
	limits := Limits{
		storage.Limits{RequestsPerMinute: number(600), Concurrent: number(50)},
		storage.Limits{TokensPerMinute: number(2_000_000)},
		map[string]storage.Limits{"mock-model": {RequestsPerMinute: number(3000)}},
		map[string]storage.Limits{"mock": {TokensPerMinute: number(500_000), Concurrent: number(16)}},
	}
	if !reflect.DeepEqual(c.Limits, limits) {
		t.Errorf("limits %+v", c.Limits)
	}
	policies := []Policy{
		{Name: "eco", Shortlist: 64, Params: "min_quality=0.65\nproviders=local,groq\n", Place: c.Policies[0].Place},
		{
			Name: "nightly", File: absolute(t, "../../../docs/policies/nightly.wasm"), Grants: abi.GrantText, Fuel: 2_000_000, Shortlist: 100,
			Params: "band=0,1\nlimits.output=2000\nlimits.strict=true\nwebhook_token=lab-token-secret-value\n", Private: true,
			Signature: absolute(t, "../../../docs/policies/nightly.sig"), SignatureGiven: true, Place: c.Policies[1].Place,
		},
		{
			Name: "tomorrow", File: absolute(t, "../../../docs/policies/tomorrow.wasm"), ShadowOf: "eco", Share: 0.25,
			Signature: absolute(t, "../../../docs/policies/tomorrow.wasm.minisig"), Place: c.Policies[2].Place,
		},
	}
	if !strings.HasPrefix(c.Policies[1].Place, reference+":") || len(c.Trust.Keys) != 1 || c.Trust.Keys[0].ID() != "E7620F1842B4E81F" || c.Trust.AllowUnsigned {
		t.Errorf("place %s, trust %+v", c.Policies[1].Place, c.Trust)
	}
	if !reflect.DeepEqual(c.Policies, policies) {
		t.Errorf("policies %+v", c.Policies)
	}
	if len(c.Plugins) != 1 || c.Plugins[0].Path != absolute(t, "../../../docs/plugins/labwire") || !slices.Equal(c.Plugins[0].Env, []string{"LAB_TOKEN"}) || c.Plugins[0].Args[1] != "--token=lab-token-secret-value" {
		t.Errorf("plugins %+v", c.Plugins)
	}
	if want := (Cache{true, 10 * time.Minute, 64, 512, "team", 250_000, true, []string{"user"}, true, 100}); !reflect.DeepEqual(c.Cache, want) {
		t.Errorf("cache %+v", c.Cache)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings %v", c.Warnings)
	}
}

func TestEffective(t *testing.T) {
	env := fullEnv()
	c, err := Load(reference, env)
	if err != nil {
		t.Fatal(err)
	}
	text := effective(t, c)
	golden(t, "full.effective.toml", text)
	for _, secret := range []string{"sk-mock", "lab-token", "gsk_very", "brief"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	// What was printed is a configuration that means the same, secrets apart.
	again, err := Parse("../../../docs/again.toml", []byte(text), env)
	if err != nil {
		t.Fatal(err)
	}
	for i := range again.Policies {
		again.Policies[i].Place = c.Policies[i].Place
	}
	if !reflect.DeepEqual(again.Models, c.Models) || !reflect.DeepEqual(again.Trust, c.Trust) || again.Rounds != c.Rounds || !reflect.DeepEqual(again.Server, c.Server) || again.Accounts != c.Accounts || again.Tariff != c.Tariff || !reflect.DeepEqual(again.Prices.Overrides, c.Prices.Overrides) || !reflect.DeepEqual(again.Cache, c.Cache) || !reflect.DeepEqual(again.Limits, c.Limits) || !reflect.DeepEqual(again.Policies, c.Policies) {
		t.Error("the effective configuration does not mean the same")
	}
}

func TestEffectiveDefault(t *testing.T) {
	c, err := Default(environment())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "default.effective.toml", effective(t, c))
	if c.Rounds != (Rounds{CheckEvery: 1000}) {
		t.Errorf("%+v", c.Rounds)
	}
	if len(c.Models) != 47 || len(c.Providers) != 9 || len(c.Warnings) != 0 || !c.Simulator.Enabled {
		t.Errorf("%d models, %d providers, warnings %v", len(c.Models), len(c.Providers), c.Warnings)
	}
}

func TestSmallFile(t *testing.T) {
	c, err := Parse("x.toml", []byte(`
[server]
listen = "127.0.0.1:8084"
admin_listen = "127.0.0.1:8085"
[providers.mock]
adapter = "openai"
base_url = "http://127.0.0.1:9000/v1"
api_key = "${MOCK_KEY}"
allow_private = true
[[models]]
name = "mock-model"
mode = "chat"
tier = 1
credits_per_1k = 0.002
context_window = 128000
capabilities = ["tools", "vision", "json_schema"]
  [[models.deployments]]
  provider = "mock"
  upstream = "gpt-mock"
[prices]
unpriced = "free"
[catalog]
builtin = false
[accounts]
default_credits = 1000
[simulator]
enabled = false
`), fullEnv())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Models) != 1 || c.Models[0].CreditsPer1K != 2000 || c.Simulator.Enabled || c.BuiltinCatalog {
		t.Errorf("%+v", c)
	}
	if d := c.Models[0].Deployments[0]; d.Unpriced != catalog.UnpricedFree || len(c.Warnings) != 0 {
		t.Errorf("%+v, warnings %q", d, c.Warnings)
	}
}

// Every amount with six digits must come out exactly, whatever binary floats make of it.
func TestCreditsAreExact(t *testing.T) {
	for _, whole := range []string{"0", "1", "999", "123456"} {
		var text strings.Builder
		var amounts []string
		for micro := 0; micro < 1_000_000; micro += 1 + micro/100 {
			amount := fmt.Sprintf("%s.%06d", whole, micro)
			fmt.Fprintf(&text, "k%d = %s\n", len(amounts), amount)
			amounts = append(amounts, amount)
		}
		index, err := newIndex(text.String())
		if err != nil {
			t.Fatal(err)
		}
		values, err := decode(text.String())
		if err != nil {
			t.Fatal(err)
		}
		d := &document{index: index}
		for i, amount := range amounts {
			want, err := storage.ParseCredits(amount)
			if err != nil {
				t.Fatal(err)
			}
			read := &table{doc: d, values: values}
			if got := read.credits(fmt.Sprintf("k%d", i), -1, catalog.MaxRate); got != want {
				t.Fatalf("%s: read as %s; %v", amount, got, d.faults)
			}
		}
	}
}

func TestCreditsForms(t *testing.T) {
	for text, want := range map[string]storage.Credits{
		"10": 10_000_000, `"10.5"`: 10_500_000, "0x10": 16_000_000, "1_000.5": 1_000_500_000, "+0.5": 500_000, "-0.0": 0, "0": 0, `"${TEN}"`: 10_000_000,
		"1000000000": 1_000_000_000_000_000,
	} {
		c, err := Parse("", []byte("[accounts]\ndefault_credits = "+text+" # c"), environment("TEN=10"))
		if err != nil || c.Accounts.DefaultCredits != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"-1", "-0.5", "nan", "inf", "-inf", "1e3", "2e-3", "0.0000001", "1000000000.1", "9223372036854775807", `"ten"`, `""`, "true", "[1]", "1979-05-27"} {
		_, err := Parse("f.toml", []byte("[accounts]\ndefault_credits = "+text), environment())
		if err == nil || !strings.HasPrefix(err.Error(), "f.toml:2:19: default_credits must be a decimal number") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAlertParts(t *testing.T) {
	for text, want := range map[string][]int{"[0.8, 1.0]": {80, 100}, "[1, 0.01, 0.5, 0.5]": {1, 50, 100}, "[]": {}, "[0.07]": {7}, "[0.29]": {29}} {
		c, err := Parse("", []byte("[budgets]\nalert_at = "+text), environment())
		if err != nil || !slices.Equal(c.Budgets.AlertAt, want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"[0]": "f.toml:2:13: an element of alert_at must be a number from 0.01 to 1", "[0.5, 1.01]": "f.toml:2:18: ", "[0.805]": "f.toml:2:13: ", "[nan]": "f.toml:2:13: ",
		`["0.8"]`: "f.toml:2:13: ", "0.8": "f.toml:2:12: alert_at must be an array of numbers",
	} {
		if _, err := Parse("f.toml", []byte("[budgets]\nalert_at = "+text), environment()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What is wrong with a file of prices is told with its own places.
func TestIncludedPrices(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("gateway.toml", "[prices]\ninclude = \"other.toml\"\n")
	for text, want := range map[string]string{
		"[[prices.models]]\nname = \"gpt-4o\"\nusd_in_per_1m = -1\nusd_out_per_1m = 1\n": "other.toml:3:17: usd_in_per_1m must be",
		"[prices]\nunpriced = \"free\"\n":                                                "other.toml:2:1: unknown key \"unpriced\" in [prices] of a file of prices",
		"[server]\n":                                                                     "other.toml:1:2: unknown key \"server\" in a file of prices",
		"[prices":                                                                        "other.toml:1:",
		strings.Repeat("#", maxFile+1):                                                   "gateway.toml:2:11: \"other.toml\" cannot be read: it is larger than",
	} {
		write("other.toml", text)
		if _, err := Load(file, environment()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
	other := write("other.toml", "[[prices.models]]\nname = \"gpt-4o\"\nusd_in_per_1m = 1\nusd_out_per_1m = 2\n")
	for _, path := range []string{file, other} { // it is a configuration of its own
		c, err := Load(path, environment())
		if err != nil || c.entry("gpt-4o").Deployments[0].Price.Rates != (catalog.Rates{1_000_000, 2_000_000}) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Under cost_plus what is not free is charged by its cost, unless a model says otherwise.
func TestCostPlus(t *testing.T) {
	c, err := Parse("x.toml", []byte(`
[tariff]
kind = "cost_plus"
credits_per_usd = 120
[[models]]
name = "by-cost"
tier = 2
context_window = 1000
deployments = [{ provider = "openai", upstream = "a", usd_in_per_1m = 1, usd_out_per_1m = 2 }]
[[models]]
name = "by-tokens"
tier = 2
credits_per_1k = 0.02
context_window = 1000
deployments = [{ provider = "openai", upstream = "b", usd_in_per_1m = 1, usd_out_per_1m = 2 }]
[[models]]
name = "by-both"
tier = 2
credits_per_1k = 0.001
credits_per_usd = 10
context_window = 1000
deployments = [{ provider = "openai", upstream = "c", usd_in_per_1m = 1, usd_out_per_1m = 2 }]
[[models]]
name = "image"
mode = "image"
tier = 2
deployments = [{ provider = "openai", upstream = "d", usd_per_image = 1 }]
`), environment())
	if err != nil || len(c.Warnings) != 0 {
		t.Fatal(err, c.Warnings)
	}
	for name, want := range map[string][2]storage.Credits{
		"by-cost": {0, 120_000_000}, "by-tokens": {20_000, 0}, "by-both": {1_000, 10_000_000}, "image": {0, 120_000_000},
		"gpt-4o": {0, 120_000_000}, "gpt-oss-20b-groq": {0, 0},
	} {
		if e := c.entry(name); e.CreditsPer1K != want[0] || e.CreditsPerUSD != want[1] {
			t.Errorf("%s charges %s and %s", name, e.CreditsPer1K, e.CreditsPerUSD)
		}
	}
	again, err := Parse("x.toml", []byte(effective(t, c)), environment())
	if err != nil || !reflect.DeepEqual(again.Models, c.Models) {
		t.Errorf("the effective configuration does not mean the same: %v", err)
	}
}

// Any time to take what is written is 0, and nothing else is.
func TestAnyWriteTime(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "0.0": 0, "0.5": 500 * time.Millisecond} {
		c, err := Parse("x.toml", []byte("[overload]\nwrite_time = "+text+"\n"), environment())
		if err != nil || c.Overload.WriteTime != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}
