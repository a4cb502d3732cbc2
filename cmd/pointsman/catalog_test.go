package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// catalogCommand runs a command line and returns its exit status and what it wrote.
func catalogCommand(args ...string) (status int, out, problems string) {
	var stdout, stderr bytes.Buffer
	status = run(args, terminal{&stdout, &stderr})
	return status, stdout.String(), stderr.String()
}

func TestCatalogListAndShow(t *testing.T) {
	status, out, _ := catalogCommand("catalog", "list")
	if status != 0 || strings.Count(out, "\n") != 48 || !strings.Contains(out, "gpt-4o-openrouter ") {
		t.Errorf("%d: %s", status, out)
	}
	status, out, _ = catalogCommand("catalog", "show", "gpt-3.5-turbo")
	for _, want := range []string{"gpt-6-luna: chat, tier 1", "users pay: 0.0014 credits per 1,000 tokens", "at openai, as gpt-6-luna; price version ", "flex > 272000", "cache_write_12h"} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("%d: %q is not in %s", status, want, out)
		}
	}
	config := filepath.Join(t.TempDir(), "p.toml")
	write(t, config, "[tariff]\nkind = \"cost_plus\"\ncredits_per_usd = 100\n")
	status, out, _ = catalogCommand("catalog", "show", "--config", config, "gpt-4o")
	if want := "100 credits per dollar of cost and markup (free 0 %, starter 40 %, professional 60 %, enterprise 80 %)"; status != 0 || !strings.Contains(out, want) {
		t.Errorf("%d: %s", status, out)
	}
	if status, _, problems := catalogCommand("catalog", "show", "gpt-9"); status != 1 || !strings.Contains(problems, `there is no model "gpt-9"`) {
		t.Errorf("%d: %s", status, problems)
	}
}

func TestCatalogDiffAndUpdate(t *testing.T) {
	dir := t.TempDir()
	table, config, prices := filepath.Join(dir, "list.tsv"), filepath.Join(dir, "gateway.toml"), filepath.Join(dir, "prices.toml")
	write(t, table, "name\tservice_tier\tprice_above\tusd_in_per_1m\tusd_out_per_1m\n"+
		"gpt-4o\t\t\t2.5\t9\ngpt-6-luna\t\t272000\t0.3\t\ngpt-4o\tflex\t\t1\t4\ngpt-9\t\t\t1\t1\n")
	status, out, problems := catalogCommand("catalog", "diff", table)
	want := "~ gpt-6-luna at openai: in, above 272000: 0.2 -> 0.3\n" +
		"~ gpt-4o at openai: out: 10 -> 9\n" +
		"~ gpt-4o at openai: in, service tier flex: not listed -> 1\n" +
		"~ gpt-4o at openai: out, service tier flex: not listed -> 4\n" +
		"+ gpt-9: the catalog does not have it\n"
	if status != 1 || out != want || !strings.Contains(problems, "the prices differ") {
		t.Errorf("%d: %s%s\nwant %s", status, out, problems, want)
	}
	status, shown, _ := catalogCommand("catalog", "update", table)
	if status != 0 || !strings.Contains(shown, "[[prices.models]]\nname = \"gpt-4o\"\nprovider = \"openai\"\nusd_in_per_1m = 2.5\nusd_out_per_1m = 9\nusd_cache_read_per_1m = 1.25\n") {
		t.Errorf("%d: %s", status, shown)
	}
	if _, err := os.Stat(prices); err == nil {
		t.Error("a file was written")
	}
	if status, out, problems := catalogCommand("catalog", "update", table, "--write", "--output", prices); status != 0 || !strings.Contains(out, "prices of 2 deployments") {
		t.Errorf("%d: %s%s", status, out, problems)
	}
	if written, _ := os.ReadFile(prices); string(written) != shown {
		t.Errorf("written %s\nwant %s", written, shown)
	}

	// The file is a configuration of its own, and one may include it. Nothing of the table but the new model differs then.
	write(t, config, "[prices]\ninclude = \"prices.toml\"\n")
	for _, file := range []string{prices, config} {
		if status, out, problems := catalogCommand("catalog", "diff", "--config", file, table); status != 1 || out != "+ gpt-9: the catalog does not have it\n" {
			t.Errorf("%s: %d: %s%s", file, status, out, problems)
		}
	}
	// A later list keeps what the one before it changed.
	write(t, table, "name\tusd_in_per_1m\ngpt-4.1\t1.9\n")
	if status, _, problems := catalogCommand("catalog", "update", "--config", config, table, "--write", "-o", prices); status != 0 {
		t.Errorf("%d: %s", status, problems)
	}
	status, out, _ = catalogCommand("catalog", "show", "--config", config, "gpt-4o")
	if status != 0 || !strings.Contains(out, "flex") {
		t.Errorf("%d: %s", status, out)
	}
	if status, out, problems := catalogCommand("catalog", "diff", "--config", config, table); status != 0 || out != "" {
		t.Errorf("%d: %s%s", status, out, problems)
	}
}

// The lists of others name models in their own way, and have thousands more.
func TestCatalogDiffOfOthersLists(t *testing.T) {
	status, out, problems := catalogCommand("catalog", "diff", "pricelist/testdata/litellm.json")
	if status != 1 || !strings.Contains(out, "- gpt-4o at openai: the file does not have gpt-4o\n") || strings.Contains(out, "~ gpt-oss-20b-groq") {
		t.Errorf("%d: %s", status, out)
	}
	if strings.Contains(out, "+ ") || strings.Contains(out, "local") || !strings.Contains(problems, "1 models are in the file alone") || !strings.Contains(problems, "search_context_cost_per_query") {
		t.Errorf("%s%s", out, problems)
	}
	if status, out, _ := catalogCommand("catalog", "diff", "--new", "pricelist/testdata/genai.json"); status != 1 || !strings.Contains(out, "+ openai/gpt-audio: the catalog does not have it\n") {
		t.Errorf("%d: %s", status, out)
	}
	if status, _, problems := catalogCommand("catalog", "diff", "catalog_test.go"); status != 1 || !strings.Contains(problems, "catalog_test.go: ") {
		t.Errorf("%d: %s", status, problems)
	}
}
