package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/plugins/builtin"
	"github.com/pointsman/pointsman/sdk/provider"
)

var update = flag.Bool("update", false, "rewrite the generated part of docs/providers.md")

const (
	providerDocs = "../../docs/providers.md"
	tableBegin   = "<!-- The table is written by `make test-providers UPDATE=1` -->\n"
	tableEnd     = "<!-- end of the table -->\n"
)

// checkProviderTable holds the table of docs/providers.md to what the adapters say and what was tested.
func checkProviderTable(t *testing.T, counts []vendorCount) {
	data, err := os.ReadFile(providerDocs)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", providerDocs)
	}
	want := before + tableBegin + providerTable(t, counts) + tableEnd + after
	switch {
	case want == string(data):
	case *update:
		if err := os.WriteFile(providerDocs, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table of %s is not what the adapters say: run make test-providers UPDATE=1", providerDocs)
	}
}

func providerTable(t *testing.T, counts []vendorCount) string {
	var b strings.Builder
	b.WriteString("| Adapter | Calls | The key goes to | Free probe | Tells what is left | Output limit | Cannot serve | Cases |\n|---|---|---|---|---|---|---|---|\n")
	for _, c := range counts {
		e := prepared(t, c.vendor)
		calls, probe, auth := "the engine", "`GET "+e.Probe.Path+"`", "`"+e.Auth.Header+"`"
		if e.Mode == provider.ModeProxied {
			calls, probe, auth = "the adapter", "by the adapter", "the adapter, in the call"
		}
		if strings.Contains(c.settings["server"], "ollama") {
			auth = "not asked for"
		}
		name := c.adapter
		if c.file != "" {
			name += " (" + strings.NewReplacer("ollama-native", "ollama with num_ctx, keep_alive or think", "responses", "api = responses").Replace(c.file) + ")"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %d |\n", name, calls, auth, probe, limits(e), limitField(e), dropped(e), c.cases)
	}
	return b.String()
}

// prepared is a vendor's endpoint at its own address, with what its settings need and no more.
func prepared(t *testing.T, v *vendor) *provider.Endpoint {
	settings := map[string]string{}
	for _, name := range []string{"server", "num_ctx", "region", "api"} {
		if v.settings[name] != "" {
			settings[name] = v.settings[name]
		}
	}
	base := ""
	if v.adapter == "azure" {
		base = "https://NAME.openai.azure.com"
	}
	for _, a := range builtin.Adapters() {
		d, err := a.Describe(context.Background())
		if err != nil || d.Name != v.adapter {
			continue
		}
		e, err := a.Prepare(context.Background(), &provider.PrepareRequest{Provider: v.name(), BaseURL: base, Settings: settings})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	t.Fatalf("no adapter %s", v.adapter)
	return nil
}

func limits(e *provider.Endpoint) string {
	var units []string
	for _, l := range e.RateLimits {
		unit := l.Unit
		if l.Reset == "" {
			unit += " (no reset)"
		}
		if !slices.Contains(units, unit) {
			units = append(units, unit)
		}
	}
	if len(units) == 0 {
		return "no"
	}
	return strings.Join(units, ", ")
}

func limitField(e *provider.Endpoint) string {
	switch {
	case e.Dialect == provider.DialectResponses:
		return "`max_output_tokens`"
	case e.Body.MaxTokensField != "":
		return "`" + e.Body.MaxTokensField + "`"
	case e.Dialect == provider.DialectAnthropic:
		return fmt.Sprintf("`max_tokens`, %d if none is given", e.Body.DefaultMaxTokens)
	}
	return "as sent"
}

func dropped(e *provider.Endpoint) string {
	if e.Dialect != provider.DialectOpenAI {
		return "what its API has no field for"
	}
	if len(e.Body.Drop) == 0 {
		return "–"
	}
	return "`" + strings.Join(e.Body.Drop, "` `") + "`"
}
