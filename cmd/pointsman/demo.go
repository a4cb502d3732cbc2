package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

type demoCmd struct {
	Keep bool `help:"Keep the data directory and print its path."`
}

// demoVendor is a provider of the demo's own with one model: a small server on loopback, reached with the account's own key.
const (
	demoVendor = "loopback-vendor"
	demoModel  = "vendor-small"
)

// demoAsk is one request of the demo.
type demoAsk struct {
	title  string
	body   map[string]any
	expect int // HTTP status
}

func user(text string) []map[string]string {
	return []map[string]string{{"role": "user", "content": text}}
}

var demoAsks = []demoAsk{
	{"eco, plain", map[string]any{"model": "auto", "power_level": "eco", "messages": user("Name three rivers of Europe.")}, http.StatusOK},
	{"balanced, streaming", map[string]any{
		"model": "balanced", "stream": true, "stream_options": map[string]bool{"include_usage": true},
		"messages": user("Explain in two sentences how a railway switch works."),
	}, http.StatusOK},
	{"precision, with a tool", map[string]any{"model": "precision", "messages": user("What is the weather in Lisbon?"), "tools": []any{map[string]any{
		"type": "function", "function": map[string]any{
			"name": "get_weather", "description": "Current weather of a city",
			"parameters": map[string]any{"type": "object", "required": []string{"city"}, "properties": map[string]any{"city": map[string]string{"type": "string"}}},
		},
	}}}, http.StatusOK},
	{"custom: gpt-4o by name", map[string]any{"model": "gpt-4o", "max_tokens": 200, "messages": user("Write a haiku about a signal box.")}, http.StatusOK},
	{"private: local models only", map[string]any{"model": "eco", "messages": user("Summarise my diary."), "pointsman": map[string]string{"privacy": "local"}}, http.StatusOK},
	{"own key (BYOK)", map[string]any{"model": demoModel, "messages": user("Hello from my own key.")}, http.StatusOK},
	{"over budget", map[string]any{"model": "gpt-6-astra", "max_tokens": 128000, "n": 8, "messages": user("Write a very long novel, eight times.")}, http.StatusPaymentRequired},
}

// demoResult is what one request showed.
type demoResult struct {
	status                int
	id                    string
	model, provider       string
	policy                string
	simulated             bool
	ttft                  time.Duration
	usage                 struct{ prompt, completion int64 }
	before, after, charge string
	message               string
	explained             engine.Explanation
}

// Run starts a gateway in a temporary directory, sends the requests, and fails unless each went as it should and the ledger
// proves itself afterwards.
func (d *demoCmd) Run(term terminal) error {
	began := time.Now()
	dir, err := os.MkdirTemp("", "pointsman-demo-")
	if err != nil {
		return err
	}
	if !d.Keep {
		defer os.RemoveAll(dir)
	}
	vendor, err := scripted.Start(scripted.Options{})
	if err != nil {
		return err
	}
	defer vendor.Close()
	cfg, err := demoConfig(vendor.URL())
	if err != nil {
		return err
	}
	g, err := start(context.Background(), cfg, options{dataDir: dir, log: slog.New(slog.DiscardHandler), env: os.Getenv})
	if err != nil {
		return err
	}
	ready := time.Since(began)
	results, err := demoTraffic(g)
	if stopErr := g.stop(context.Background()); err == nil {
		err = stopErr
	}
	if err != nil {
		return err
	}
	demoPrint(term.out, g, ready, results)
	fmt.Fprint(term.out, "\nThe ledger, read again from disk and proven line by line:\n  ")
	if err := badgerdb.Verify(dir, term.out); err != nil {
		return err
	}
	for i, r := range results {
		if r.status != demoAsks[i].expect {
			return fmt.Errorf("%q was answered with %d, not %d: %s", demoAsks[i].title, r.status, demoAsks[i].expect, r.message)
		}
	}
	demoNext(term.out)
	if d.Keep {
		fmt.Fprintf(term.out, "\nThe data is kept in %s\n", dir)
	}
	return nil
}

// demoConfig is the default configuration on free ports, with the loopback vendor and one model there.
func demoConfig(vendorURL string) (*config.Config, error) {
	cfg, err := loadConfig("")
	if err != nil {
		return nil, err
	}
	cfg.Server.Listen, cfg.Server.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Providers = append(cfg.Providers, config.Provider{
		Name: demoVendor, Adapter: "openai", BaseURL: vendorURL, KeyRequired: true, AllowPrivate: true,
	})
	cfg.Models = append(cfg.Models, catalog.Entry{
		Name: demoModel, Tier: catalog.TierStarter, CreditsPer1K: 2000, ContextWindow: 32768, Capabilities: []string{"tools"},
		Deployments: []catalog.DeploymentEntry{{Provider: demoVendor, Upstream: "small-1"}},
	})
	return cfg, nil
}

// demoTraffic makes an account and sends the requests one after another.
func demoTraffic(g *gateway) ([]demoResult, error) {
	operator := newClient("http://"+g.adminListn.Addr().String(), g.masterKey.Reveal())
	if err := operator.call("POST", "/api/v1/admin/accounts", map[string]string{"id": "alice"}, nil); err != nil {
		return nil, err
	}
	var key keyEntry
	if err := operator.call("POST", "/api/v1/admin/keys", map[string]string{"account": "alice", "name": "demo"}, &key); err != nil {
		return nil, err
	}
	alice := newClient("http://"+g.listener.Addr().String(), key.Key)
	var results []demoResult
	for _, ask := range demoAsks {
		if ask.body["model"] == demoModel {
			if err := alice.call("PUT", "/api/v1/llm/byok/"+demoVendor, map[string]string{"key": "sk-alices-own-key-for-the-demo"}, nil); err != nil {
				return nil, err
			}
		}
		r, err := demoSend(alice, ask)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ask.title, err)
		}
		results = append(results, r)
	}
	return results, nil
}

func demoSend(c *client, ask demoAsk) (r demoResult, err error) {
	if r.before, err = demoBalance(c); err != nil {
		return r, err
	}
	sent := time.Now()
	resp, err := c.do("POST", "/api/v1/llm/chat/completions", ask.body)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	h := resp.Header
	r.status, r.id, r.policy = resp.StatusCode, h.Get("X-Request-Id"), h.Get("X-Pointsman-Policy")
	r.model, r.provider, r.simulated = h.Get("X-Pointsman-Model"), h.Get("X-Pointsman-Provider"), h.Get("X-Pointsman-Simulated") != ""
	if r.status != http.StatusOK {
		r.message = apiError(resp).Error()
	} else if err := r.read(resp.Body, sent); err != nil {
		return r, err
	}
	if r.after, err = demoBalance(c); err != nil {
		return r, err
	}
	before, _ := storage.ParseCredits(r.before) // the gateway's own text
	after, _ := storage.ParseCredits(r.after)
	r.charge = (before - after).String()
	return r, c.call("GET", "/api/v1/llm/decisions/"+r.id, nil, &r.explained)
}

func demoBalance(c *client) (string, error) {
	var b struct {
		Remaining string `json:"credits_remaining"`
	}
	err := c.call("GET", "/api/v1/llm/credits/balance", nil, &b)
	return b.Remaining, err
}

// read takes an answer, buffered or streamed, and notes when its first content came and what it used.
func (r *demoResult) read(body io.Reader, sent time.Time) error {
	type chunk struct {
		Choices []struct {
			Delta struct{ Content string }
		}
		Usage *struct {
			Prompt     int64 `json:"prompt_tokens"`
			Completion int64 `json:"completion_tokens"`
		}
	}
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadString('\n')
		var c chunk
		text := strings.TrimPrefix(strings.TrimSpace(line), "data: ")
		if json.Unmarshal([]byte(text), &c) == nil {
			if r.ttft == 0 && (len(c.Choices) == 0 || c.Choices[0].Delta.Content != "" || c.Usage != nil) {
				r.ttft = time.Since(sent)
			}
			if c.Usage != nil {
				r.usage.prompt, r.usage.completion = c.Usage.Prompt, c.Usage.Completion
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func demoPrint(w io.Writer, g *gateway, ready time.Duration, results []demoResult) {
	builtin, simulated := len(g.engine.Catalog.Models)-1, g.engine.Simulated()-1 // the loopback vendor's model is reached with a key
	fmt.Fprintf(w, "Pointsman %s: %d models, %d of them simulated here; ready in %d ms.\n", version, builtin, simulated, ready.Milliseconds())
	if simulated > 0 {
		fmt.Fprintln(w, "Models without a provider key are answered by the built-in simulator, which says so (~).")
	}
	rows := [][]string{{"ASKED", "POLICY", "MODEL", "PROVIDER", "TTFT", "TOKENS", "CREDITS", "BEFORE", "AFTER"}}
	for i, r := range results {
		model, provider, ttft, tokens := r.model, r.provider, "-", "-"
		if r.simulated {
			provider += " ~"
		}
		if r.status != http.StatusOK {
			model, provider = fmt.Sprintf("refused: %d", r.status), "-"
		} else {
			ttft = fmt.Sprintf("%.1f ms", float64(r.ttft.Microseconds())/1000)
			tokens = fmt.Sprintf("%d+%d", r.usage.prompt, r.usage.completion)
		}
		rows = append(rows, []string{demoAsks[i].title, r.policy, model, provider, ttft, tokens, r.charge, r.before, r.after})
	}
	fmt.Fprintln(w)
	table(w, rows)
	fmt.Fprintln(w, "\nWhy:")
	for i, r := range results {
		why := string(r.explained.Explanation)
		if why == "" {
			why = r.explained.Why
		}
		if r.status != http.StatusOK {
			why = r.message
		}
		fmt.Fprintf(w, "  %-27s %s\n", demoAsks[i].title, why)
	}
	demoExplain(w, &results[1].explained)
}

// demoExplain shows one decision as the API explains it: those in the plan, and some that are out.
func demoExplain(w io.Writer, x *engine.Explanation) {
	proof := "not repeated"
	if x.Reproduced != nil && *x.Reproduced {
		proof = "repeated from its record, bit for bit the same"
	}
	fmt.Fprintf(w, "\nThe second decision in full (GET /api/v1/llm/decisions/%s), %s:\n", x.RequestID, proof)
	rows := [][]string{{"RANK", "MODEL", "PROVIDER", "SCORE", "QUALITY", "CREDITS/1K", "WORST CASE", "BECAUSE"}}
	out := map[string]bool{}
	for _, c := range x.Candidates {
		rank := "-"
		if c.In {
			rank = fmt.Sprint(c.Rank)
		} else if out[c.Reason] {
			continue // one example of each reason
		}
		out[c.Reason] = out[c.Reason] || !c.In
		rows = append(rows, []string{rank, c.Model, c.Provider, fmt.Sprintf("%.3f", c.Score), fmt.Sprintf("%.2f", c.Quality), c.CreditsPer1K, c.WorstCase, c.Why})
	}
	table(w, rows)
}

func demoNext(w io.Writer) {
	fmt.Fprint(w, `
Next:
  pointsman serve                                     run it; the banner prints a key and a curl line
  OPENAI_API_KEY=… GROQ_API_KEY=… pointsman serve     with real providers
  pointsman doctor                                    ten checks on the running gateway
  examples/                                           policies and plugins of your own
`)
}

// table prints rows in columns as wide as their widest cell, the first row as a heading.
func table(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString("  " + cell + strings.Repeat(" ", widths[i]-len([]rune(cell))))
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
		if n == 0 {
			total := 2 * len(widths)
			for _, width := range widths {
				total += width
			}
			fmt.Fprintln(w, "  "+strings.Repeat("─", total-2))
		}
	}
}
