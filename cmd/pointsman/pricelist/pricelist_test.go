package pricelist

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
)

func read(t testing.TB, file string) *List {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Read(data, time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		file, provider, upstream, name string
		want                           catalog.Price
	}{
		{"litellm.json", "openai", "gpt-6-luna", "gpt-6-luna", catalog.Price{
			Rates: catalog.Rates{100_000, 500_000, 10_000, 125_000, 0, 250_000},
			Sets: []catalog.Set{
				{ServiceTier: "priority", Rates: catalog.Rates{200_000, 1_000_000}},
				{Above: 272_000, Rates: catalog.Rates{200_000, 750_000}},
				{ServiceTier: "priority", Above: 272_000, Rates: catalog.Rates{catalog.RateIn: 400_000, catalog.RateCacheWrite12h: 1_000_000}},
			},
		}},
		{"litellm.json", "anthropic", "claude-haiku-5-5", "claude-haiku-5-5", catalog.Price{
			Rates: catalog.Rates{catalog.RateIn: 100_000, catalog.RateOut: 500_000, catalog.RateCacheWrite1h: 200_000},
			Sets:  []catalog.Set{{Above: 100_000, Rates: catalog.Rates{catalog.RateCacheWrite1h: 1_000_000}}},
		}},
		{"litellm.json", "groq", "openai/gpt-oss-20b", "groq/openai/gpt-oss-20b", catalog.Price{Rates: catalog.Rates{75_000, 300_000}}},
		{"litellm.json", "together", "zai-org/GLM-5.3-Flash", "together_ai/zai-org/GLM-5.3-Flash", catalog.Price{Rates: catalog.Rates{150_000, 500_000, 30_000}}},
		{"litellm.json", "openai", "gpt-audio", "gpt-audio", catalog.Price{Rates: catalog.Rates{
			catalog.RateIn: 2_500_000, catalog.RateOut: 10_000_000, catalog.RateReasoning: catalog.Free, catalog.RateAudioIn: 32_000_000, catalog.RateAudioOut: 64_000_000,
		}}},
		{"litellm.json", "azure", "gpt-6-luna", "", catalog.Price{}}, // a bare name is its own provider's
		{"litellm.json", "openai", "no-price", "", catalog.Price{}},
		{"genai.json", "openai", "gpt-6-luna-2026", "openai/gpt-6-luna", catalog.Price{
			Rates: catalog.Rates{100_000, 500_000, 0, 125_000},
			Sets: []catalog.Set{
				{ServiceTier: "batch", Rates: catalog.Rates{50_000, 250_000}},
				{ServiceTier: "flex", Rates: catalog.Rates{50_000, 250_000}},
				{ServiceTier: "priority", Rates: catalog.Rates{200_000, 1_000_000}},
				{Above: 272_000, Rates: catalog.Rates{200_000}},
				{ServiceTier: "flex", Above: 272_000, Rates: catalog.Rates{100_000}},
			},
		}},
		{"genai.json", "openai", "gpt-audio-mini", "openai/gpt-audio", catalog.Price{Rates: catalog.Rates{
			catalog.RateIn: 2_500_000, catalog.RateOut: 10_000_000, catalog.RateAudioIn: 32_000_000, catalog.RateAudioOut: 64_000_000,
		}}},
		{"genai.json", "anthropic", "claude-sonnet-4-6", "anthropic/claude-sonnet-4-6", catalog.Price{Rates: catalog.Rates{
			catalog.RateIn: 3_000_000, catalog.RateOut: 15_000_000, catalog.RateCacheWrite1h: 6_000_000,
		}}},
		{"genai.json", "huggingface", "openai/gpt-oss-20b:groq", "huggingface_groq/openai/gpt-oss-20b", catalog.Price{Rates: catalog.Rates{100_000, 500_000}}},
		{"genai.json", "openai", "gpt-7", "", catalog.Price{}},
	} {
		got, name, ok := read(t, c.file).Find("m", catalog.DeploymentEntry{Provider: c.provider, Upstream: c.upstream})
		if name != c.name || ok != (c.name != "") || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s at %s in %s: %q %+v\nwant %q %+v", c.upstream, c.provider, c.file, name, got, c.name, c.want)
		}
	}
	if skipped := read(t, "litellm.json").Skipped("gpt-6-luna"); len(skipped) != 2 {
		t.Errorf("skipped %q", skipped)
	}
	if skipped := read(t, "genai.json").Skipped("openai/gpt-6-luna"); !slices.Equal(skipped, []string{"web_searches_kcount"}) {
		t.Errorf("skipped %q", skipped)
	}
}

func TestReadFaults(t *testing.T) {
	for text, want := range map[string]string{
		"": "empty", " \n": "empty", "{": "LiteLLM", "[{}": "genai-prices", "[7]": "genai-prices", `{"m":7}`: "LiteLLM", "a\tb\n": "no column called name",
		`{"m":{"input_cost_per_token":-1}}`:             "out of range",
		`{"m":{"input_cost_per_token":"NaN"}}`:          `"NaN" is no price`,
		`{"m":{"input_cost_per_token":1e999999999}}`:    "out of range",
		`{"m":{"input_cost_per_token":2}}`:              "out of range",
		`{"m":{"input_cost_per_token":true}}`:           `"true" is no price`,
		`[{"id":"p","models":[{"id":"m","prices":7}]}]`: `model "p/m"`,
		`[{"id":"p","models":[{"id":"m","prices":{"input_mtok":{"base":1,"tiers":[{"start":-1,"price":1}]}}}]}]`: "input_mtok",
	} {
		if _, err := Read([]byte(text), time.Time{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestMergeAndDiff(t *testing.T) {
	have := catalog.Price{
		Rates: catalog.Rates{1, 2, 3}, Unit: 9,
		Sets: []catalog.Set{{ServiceTier: "batch", Rates: catalog.Rates{5, 6}}, {ServiceTier: "flex", Rates: catalog.Rates{7, 8}}, {Above: 10, Rates: catalog.Rates{4}}, {ServiceTier: "flex", Above: 10, Rates: catalog.Rates{9}}},
	}
	listed := catalog.Price{Rates: catalog.Rates{10, 2}, Sets: []catalog.Set{{ServiceTier: "flex", Rates: catalog.Rates{7, 80}}, {Above: 20, Rates: catalog.Rates{40}}}}
	for partial, want := range map[bool][]string{
		false: {"in: 0.000001 -> 0.00001", "out, service tier flex: 0.000008 -> 0.00008", "in, above 10: 0.000004 -> not listed", "in, service tier flex, above 10: 0.000009 -> not listed", "in, above 20: not listed -> 0.00004"},
		true:  {"in: 0.000001 -> 0.00001", "out, service tier flex: 0.000008 -> 0.00008", "in, above 20: not listed -> 0.00004"},
	} {
		l := &List{Partial: partial}
		merged := l.Merge(have, listed)
		var got []string
		for _, c := range Diff(have, merged) {
			got = append(got, c.String())
		}
		if !slices.Equal(got, want) || merged.Unit != 9 || have.Sets[1].Rates[catalog.RateOut] != 8 {
			t.Errorf("partial %v: %q\nwant %q", partial, got, want)
		}
		if again := Diff(merged, l.Merge(merged, listed)); len(again) != 0 {
			t.Errorf("taken over and still different: %v", again)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, file := range []string{"litellm.json", "genai.json"} {
		data, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("name\tusd_in_per_1m\na\t1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Read(data, time.Unix(1_800_000_000, 0))
		if err != nil {
			return
		}
		for _, name := range l.Names() {
			// What is read is a price that the catalog takes.
			p, _, ok := l.Find(name, catalog.DeploymentEntry{Provider: "p", Upstream: name})
			entry := catalog.Entry{Name: "m", Deployments: []catalog.DeploymentEntry{{Provider: "p", Upstream: "u", Price: p}}}
			if _, err := catalog.Build([]catalog.Entry{entry}); ok && err != nil && !l.Partial {
				t.Fatal(err)
			}
		}
	})
}
