package bench

import (
	"context"
	"crypto/rand"
	"errors"
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
	key      string
	master   string
}

// tierCounts are how many models the generated catalog has in each tier: those of the built-in one.
var tierCounts = []int{5, 7, 10, 8, 5, 12}

// tierRates are credits per 1,000 tokens, one for each tier, within its band.
var tierRates = []string{"0", "0.002", "0.02", "0.1", "1", "0.5"}

// configuration is a gateway with as many models as the built-in catalog, all of them deployed at the upstream, so that
// every candidate is alive when a policy ranks them.
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
	for tier, count := range tierCounts {
		for i := range count {
			fmt.Fprintf(&b, "[[models]]\nname = \"bench-t%d-%02d\"\ntier = %d\ncredits_per_1k = %s\ncontext_window = 200000\ncapabilities = [\"tools\", \"json_schema\"]\n"+
				"[[models.deployments]]\nprovider = \"bench\"\nupstream = \"bench-1\"\nusd_in_per_1m = 1\nusd_out_per_1m = 2\n", tier, i, tier, tierRates[tier])
		}
	}
	return b.String()
}

var (
	gatewayAddress = regexp.MustCompile(`(?m)^\s*api\s+(http://[^/\s]+)`)
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
	args := []string{"serve", "--config", s.configPath(), "--data", filepath.Join(s.dir, "data"), "--log", "warn"}
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

// routed waits until the gateway has answered a chat request.
func (p *process) routed(ctx context.Context, s *site) error {
	found, err := p.await(ctx, gatewayAddress)
	if err != nil {
		return err
	}
	p.address = found[1]
	if s.key == "" {
		if found, err = p.await(ctx, firstKey); err != nil {
			return err
		}
		s.key = found[1]
	}
	p.key = s.key
	w := workloads[0]
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.address+"/v1/chat/completions", strings.NewReader(w.body()))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.key)
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: startLimit, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if err := w.check(resp.StatusCode, body); err != nil {
		return err
	}
	// A gateway that does not charge would be measured without its ledger.
	if charged := resp.Header.Get("X-Pointsman-Credits"); charged == "" || strings.Trim(charged, "0.") == "" {
		return errors.New("the gateway charged nothing")
	}
	if policy := resp.Header.Get("X-Pointsman-Policy"); policy != "balanced" {
		return fmt.Errorf("policy %q decided, not balanced", policy)
	}
	return nil
}
