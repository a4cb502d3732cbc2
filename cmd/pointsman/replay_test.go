package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/cmd/pointsman/replay"
	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/policies/builtin"
)

// replayed runs a replay and reads its report.
func replayed(t *testing.T, args ...string) (status int, r replay.Report) {
	t.Helper()
	var out, said bytes.Buffer
	status = run(append([]string{"replay", "--json"}, args...), terminal{&out, &said})
	if out.Len() == 0 {
		t.Fatalf("%q: %s", args, said.String())
	}
	var text struct {
		replay.Proof
		Comparison *struct {
			Requests int
			Changed  int `json:"first_choice_changed"`
			Lines    []struct{ Name, CostUSD string }
		}
	}
	if err := json.Unmarshal(out.Bytes(), &text); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	r.Proof = text.Proof
	if c := text.Comparison; c != nil {
		r.Comparison = &replay.Comparison{Requests: c.Requests, Changed: c.Changed}
	}
	return status, r
}

// TestReplayOfAGateway: what a gateway decided is decided again, by itself and by another policy, while it runs, from the directory
// that it leaves, from a file, and in another directory that the file is put into; also what modules decided that serve no more.
func TestReplayOfAGateway(t *testing.T) {
	module := filepath.Join(t.TempDir(), "mine.wasm")
	put := func(wasm []byte) {
		t.Helper()
		if err := os.WriteFile(module, wasm, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(builtin.Modules()["precision"])
	mine := fmt.Sprintf("[policies.mine]\nfile = %q\n[policies.mine.config]\nmin_quality = 0.7\n", module)
	g := newGateway(t, mine, nil)
	want := 0
	say := func(n int) {
		t.Helper()
		for i := range n {
			model := []string{"eco", "balanced", "precision", "auto/mine", "claude-haiku-5.5"}[i%5]
			if resp, body := g.api.post(t, chatPath, ask(model, "stream", i%2 == 0)); resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			want++
		}
	}
	say(20)
	put(variantOf(builtin.Modules()["balanced"], "second")) // the first module is nowhere any more
	if _, err := g.reloaded(listening + strings.Replace(mine, "0.7", "0.6", 1)); err != nil {
		t.Fatal(err)
	}
	say(20)

	check := func(what string, args ...string) {
		t.Helper()
		status, r := replayed(t, args...)
		if status != 0 || r.Records != want || r.Reproduced != want {
			t.Errorf("%s: status %d, %+v, want %d", what, status, r.Proof, want)
		}
		status, r = replayed(t, append(args, "--policy", "eco")...)
		if c := r.Comparison; status != 0 || r.Reproduced != want || c == nil || c.Requests != want || c.Changed == 0 || c.Changed == want {
			t.Errorf("%s, with eco: status %d, %+v", what, status, r)
		}
	}
	settled := func() error {
		if _, r := replayed(t, "--admin-url", g.admin.base, "--data", g.dataDir); r.Records != want {
			return fmt.Errorf("%d records of %d", r.Records, want)
		}
		return nil
	}
	if err := eventually(settled); err != nil { // streams settle a moment after their end
		t.Fatal(err)
	}
	t.Setenv("POINTSMAN_MASTER_KEY", g.masterKey.Reveal())
	check("a running gateway", "--admin-url", g.admin.base, "--data", g.dataDir)
	check("its address", "--data", g.admin.base)
	file := filepath.Join(t.TempDir(), "all.records")
	if status, out := g.command("records", "export", "-o", file); status != 0 {
		t.Fatal(out)
	}
	check("a file", "--records", file)

	// What would have changed a decision is what changes it.
	var usage struct{ Data []engine.UsageEntry }
	if err := g.admin.call("GET", "/api/v1/admin/usage?limit=5", nil, &usage); err != nil {
		t.Fatal(err)
	}
	for _, u := range usage.Data {
		status, out := g.command("explain", u.RequestID)
		if status != 0 || !strings.Contains(out, "bit for bit the same") || !strings.Contains(out, "RANK") || !strings.Contains(out, "ATTEMPT") {
			t.Errorf("explain %s: status %d, %s", u.RequestID, status, out)
		}
	}

	page := filepath.Join(t.TempDir(), "report.html")
	if status, r := replayed(t, "--records", file, "--policy", "eco", "--html", page, "--fail-if", "cost>+0%", "--fail-if", "reproduced<100%"); status != 0 {
		t.Errorf("a cheaper policy fails a limit of the cost: %+v", r)
	}
	if status, _ := replayed(t, "--records", file, "--policy", "precision", "--fail-if", "credits>+5%"); status != 1 {
		t.Errorf("a dearer policy: status %d", status)
	}
	if html, err := os.ReadFile(page); err != nil || !bytes.Contains(html, []byte("<svg")) || bytes.Contains(html, []byte("http")) {
		t.Errorf("the page: %d bytes, %v", len(html), err)
	}
	for _, bad := range [][]string{{"--fail-if", "price>5"}, {"--price", "x"}, {"--since", "yesterday"}, {"--policy", "nonesuch"}, {"--config", "a=b"}, {"--records", page}} {
		if status := run(append([]string{"replay", "--data", g.admin.base}, bad...), terminal{new(bytes.Buffer), new(bytes.Buffer)}); status != 1 {
			t.Errorf("%q: status %d", bad, status)
		}
	}

	left := g.dataDir
	g.stopAndVerify()
	check("the directory it left", "--data", left)
	other := filepath.Join(t.TempDir(), "data")
	for round := range 2 { // the second adds nothing
		var out bytes.Buffer
		if status := run([]string{"records", "import", "--data", other, file}, terminal{&out, &out}); status != 0 || !strings.Contains(out.String(), fmt.Sprintf("%d were there already", round*want)) {
			t.Fatalf("status %d, %s", status, out.String())
		}
	}
	check("another directory", "--data", other)
}

// TestReplayUnderLoad: decisions under load, while prices change, models come and go, policies and their parameters are exchanged and
// providers fail, are all reproduced. POINTSMAN_REPLAY is how many; a million take some minutes.
func TestReplayUnderLoad(t *testing.T) {
	n := 3000
	if text := os.Getenv("POINTSMAN_REPLAY"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	up, err := scripted.Start(scripted.Options{Keep: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	var asked atomic.Int64
	up.Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		if at := asked.Add(1); at/500%4 == 1 && at%3 > 0 { // in spells, so that health changes
			reply.Status, reply.Body = 503, []byte(`{"error":{"message":"overloaded"}}`)
		}
		return reply
	})
	configuration := func(round int) string {
		extra := ""
		if round%2 == 1 {
			extra = "[[models]]\nname = \"passing\"\ntier = 1\ncredits_per_1k = 0.001\ndeployments = [{ provider = \"groq\", upstream = \"passing\", usd_in_per_1m = 1, usd_out_per_1m = 2 }]\n"
		}
		return fmt.Sprintf(`[accounts]
default_credits = 100000000
[providers.openai]
base_url = %[1]q
api_key = "sk-platform-0-canary"
allow_private = true
[providers.anthropic]
base_url = %[1]q
api_key = "sk-platform-1-canary"
allow_private = true
[policies.eco.config]
min_quality = %.2[2]f
[[models]]
name = "mine"
tier = 2
credits_per_1k = 0.0%[3]d
deployments = [{ provider = "openai", upstream = "m", usd_in_per_1m = %[3]d, usd_out_per_1m = %[3]d }]
`, up.URL()+"/v1", 0.5+0.05*float64(round%4), 11+round%15) + extra
	}
	g := newGateway(t, configuration(0), nil)
	var left, answered atomic.Int64
	left.Store(int64(n))
	var clients sync.WaitGroup
	for i := range 32 {
		clients.Go(func() {
			c := newClient(g.api.base, g.api.key)
			c.http.Transport = &http.Transport{}
			defer c.http.CloseIdleConnections()
			bodies := make([][]byte, 0, 8)
			for j, model := range []string{"eco", "balanced", "precision", "mine", "gpt-6-luna", "claude-haiku-5.5", "eco", "balanced"} {
				body, err := json.Marshal(ask(model, "messages", user(strings.Repeat("Prove this theorem. ", 1+i*j))))
				if err != nil {
					t.Error(err)
				}
				bodies = append(bodies, body)
			}
			for at := left.Add(-1); at >= 0; at = left.Add(-1) {
				resp, err := c.do("POST", chatPath, bodies[at%8])
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode == 200 {
					answered.Add(1)
				}
			}
		})
	}
	reloads := 0
	for over := make(chan struct{}); ; {
		if reloads == 0 {
			go func() {
				clients.Wait()
				close(over)
			}()
		}
		reloads++
		if _, err := g.reloaded(listening + configuration(reloads)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-over:
		case <-time.After(150 * time.Millisecond):
			continue
		}
		break
	}
	if dropped := g.usage.Dropped(); dropped > 0 {
		t.Logf("figure: the log dropped %d records", dropped)
	}
	src, stop := records.Read(g.usage, filepath.Join(g.dataDir, "policies"), records.Filter{})
	defer stop()
	began := time.Now()
	r, err := replay.Run(context.Background(), src, replay.Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("figure: %d requests, %d answered, %d reloads; %d of %d decisions reproduced in %v", n, answered.Load(), reloads, r.Reproduced, r.Records, time.Since(began).Round(time.Millisecond))
	if r.Reproduced != r.Records || r.Records+int(g.usage.Dropped()) != n || answered.Load() < int64(n)/2 {
		t.Errorf("%+v, %+v", r.Proof, r.Passed)
	}
}
