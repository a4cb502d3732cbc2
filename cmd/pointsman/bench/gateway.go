package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// site is one data directory of a gateway with the key made at its first start.
type site struct {
	dir      string
	upstream string
	soak     bool     // more models, and a policy in a file
	minimal  bool     // one free model instead of the catalog
	models   int      // in the catalog; 0: as many as in the built-in one
	key      string   // "": the one made at the first start
	keys     []string // of accounts that were made before the first start
	master   string
}

// tierCounts are how many models the generated catalog has in each tier: those of the built-in one.
var tierCounts = []int{5, 7, 10, 8, 5, 12}

// tierRates are credits per 1,000 tokens, one for each tier, within its band.
var tierRates = []string{"0", "0.002", "0.02", "0.1", "1", "0.5"}

// configuration is a gateway with as many models as the built-in catalog, or more in the same proportions, all of them deployed
// at the upstream, so that every candidate is alive when a policy ranks them.
func (s *site) configuration() string {
	var b strings.Builder
	fmt.Fprintf(&b, `[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[catalog]
builtin = false
[simulator]
enabled = false
[accounts]
default_credits = 1000000000
[providers.bench]
adapter = "openai"
base_url = "%s/v1"
api_key = "sk-bench-0000000000000000"
allow_private = true
`, s.upstream)
	if s.minimal {
		writeModel(&b, "bench-1", 0, "0")
		return b.String()
	}
	for n := range max(s.models, builtinModels) {
		tier := tierOf(n % builtinModels)
		writeModel(&b, fmt.Sprintf("bench-t%d-%04d", tier, n), tier, tierRates[tier])
	}
	if s.soak {
		fmt.Fprintf(&b, soakConfig, s.upstream)
	}
	return b.String()
}

// soakConfig wants the upstream's address. Nothing listens on port 1. The databases' write buffers are the smallest: memory goes up and down with them, and what grows is looked for.
const soakConfig = `[storage]
memory_mb = 16
[providers.flaky]
adapter = "openai"
base_url = "%s/v1"
api_key = "sk-flaky-0000000000000000"
allow_private = true
[providers.down]
adapter = "openai"
base_url = "http://127.0.0.1:1/v1"
api_key = "sk-down-0000000000000000"
allow_private = true
[[models]]
name = "down-1"
tier = 1
credits_per_1k = 0.002
deployments = [{ provider = "down", upstream = "bench-1", usd_in_per_1m = 1, usd_out_per_1m = 2 }]
[[models]]
name = "flaky-1"
tier = 1
credits_per_1k = 0.002
deployments = [{ provider = "flaky", upstream = "bench-1", usd_in_per_1m = 1, usd_out_per_1m = 2 }]
[[models]]
name = "bench-vision"
tier = 1
credits_per_1k = 0.002
context_window = 200000
capabilities = ["vision"]
deployments = [{ provider = "bench", upstream = "bench-1", usd_in_per_1m = 1, usd_out_per_1m = 2 }]
[[models]]
name = "bench-image"
mode = "image"
tier = 5
credits_per_unit = 0.5
deployments = [{ provider = "bench", upstream = "bench-1", usd_per_image = 0.04 }]
[policies.balanced]
file = "balanced.wasm"
`

// builtinModels is how many models the built-in catalog has, the sum of tierCounts.
const builtinModels = 47

// tierOf is the tier of the n-th model.
func tierOf(n int) int {
	for tier, count := range tierCounts {
		if n < count {
			return tier
		}
		n -= count
	}
	return len(tierCounts) - 1
}

// writeModel keeps a model short: a configuration of 5,000 must stay below a mebibyte.
func writeModel(b *strings.Builder, name string, tier int, rate string) {
	fmt.Fprintf(b, "[[models]]\nname=%q\ntier=%d\ncredits_per_1k=%s\ncontext_window=200000\ncapabilities=[\"tools\",\"json_schema\"]\n"+
		"deployments=[{provider=\"bench\",upstream=\"bench-1\",usd_in_per_1m=1,usd_out_per_1m=2}]\n", name, tier, rate)
}

var (
	gatewayAddress = regexp.MustCompile(`(?m)^\s*api\s+(http://[^/\s]+)`)
	adminAddress   = regexp.MustCompile(`(?m)^\s*admin\s+(http://[^/\s]+)`)
	firstKey       = regexp.MustCompile(`\b(pm-[A-Za-z0-9_-]{16,})`)
)

// startGateway runs `pointsman serve` on the site and tells how long it took from there to the first routed answer. The
// first start of a site makes its key.
func startGateway(ctx context.Context, cfg *Config, s *site, profile string) (*process, time.Duration, error) {
	if s.master == "" {
		s.master = "sk-pointsman-" + rand.Text()
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, 0, err
		}
		if err := os.WriteFile(s.configPath(), []byte(s.configuration()), 0o600); err != nil {
			return nil, 0, err
		}
	}
	args := []string{"serve", "--config", s.configPath(), "--data", s.dataDir(), "--log", "warn"}
	if profile != "" {
		args = append(args, "--cpu-profile", profile)
	}
	began := time.Now()
	p, err := launch(ctx, cfg.Binary, append(environment(), "POINTSMAN_MASTER_KEY="+s.master, "POINTSMAN_ALLOW_DUMPS=true"), args...) // or its memory could be measured by root only
	if err != nil {
		return nil, 0, err
	}
	if err := p.routed(ctx, s); err != nil {
		p.stop()
		return nil, 0, fmt.Errorf("starting the gateway: %w%s", err, p.output.excerpt())
	}
	return p, time.Since(began), nil
}

func (s *site) configPath() string { return filepath.Join(s.dir, "pointsman.toml") }
func (s *site) dataDir() string    { return filepath.Join(s.dir, "data") }

// metrics are those of a gateway's admin API.
func (p *process) metrics(master string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, p.admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+master)
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("metrics: status %d: %.200s", resp.StatusCode, text)
	}
	return text, err
}

// proven waits until the gateway has proven its ledger, which it does at its leisure after a start with many lines.
func (p *process) proven(ctx context.Context, master string) error {
	for deadline := time.Now().Add(proofLimit); time.Now().Before(deadline); {
		text, err := p.metrics(master)
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte("\npointsman_ledger_proven_timestamp_seconds ")) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return fmt.Errorf("the ledger was not proven within %v", proofLimit)
}

// routed waits until the gateway has answered a chat request.
func (p *process) routed(ctx context.Context, s *site) error {
	found, err := p.await(ctx, gatewayAddress)
	if err != nil {
		return err
	}
	p.address = found[1]
	if found, err = p.await(ctx, adminAddress); err != nil {
		return err
	}
	p.admin = found[1]
	if s.key == "" && len(s.keys) == 0 {
		if found, err = p.await(ctx, firstKey); err != nil {
			return err
		}
		s.key = found[1]
	}
	if len(s.keys) > 0 {
		s.key = s.keys[0]
	}
	p.key, p.shape = s.key, s.shape()
	c := &wire{address: p.hostPort(), deadline: time.Now().Add(startLimit)}
	if err := c.dial(ctx); err != nil {
		return err
	}
	defer c.close()
	if err := c.exchange(ctx, chat, chat.request(p)); err != nil {
		return err
	}
	// A gateway that does not charge would be measured without its ledger, one that does with it.
	charged := string(c.resp.Header.Peek("X-Pointsman-Credits"))
	if free := strings.Trim(charged, "0.") == ""; charged == "" || free != s.minimal {
		return fmt.Errorf("the gateway charged %q", charged)
	}
	want := "balanced"
	if s.minimal {
		want = "custom"
	}
	if policy := c.resp.Header.Peek("X-Pointsman-Policy"); string(policy) != want {
		return fmt.Errorf("policy %q decided, not %s", policy, want)
	}
	return nil
}

// shape is what requests to the site's gateway look like. The model is left to the policy of a power level.
func (s *site) shape() shape {
	if s.minimal {
		return shape{}
	}
	return shape{model: `"model":"auto","power_level":"balanced",`}
}
