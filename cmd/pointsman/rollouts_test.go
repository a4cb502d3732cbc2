package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/signing"
	"github.com/pointsman/pointsman/sdk/policy/difficulty"
)

// twoPrices is the configuration of a cheap model in tier 1 and one in tier 2 that costs ten times as much. eco takes the cheap one; with
// band=2 it takes the dear one.
func twoPrices(t testing.TB) (dear *scripted.Server, toml string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("[catalog]\nbuiltin = false\n[simulator]\nenabled = false\n[accounts]\ndefault_credits = 1000000\n")
	for _, m := range []struct {
		name string
		tier int
		cost float64
	}{{"cheap", 1, 1}, {"dear", 2, 10}} {
		s, err := scripted.Start(scripted.Options{Keep: -1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		fmt.Fprintf(&b, "[providers.%s]\nadapter = \"openai\"\nbase_url = %q\napi_key = \"sk-platform-%s-canary\"\nallow_private = true\n", m.name, s.URL()+"/v1", m.name)
		fmt.Fprintf(&b, "[[models]]\nname = %q\ntier = %d\ncredits_per_1k = %g\ncontext_window = 128000\n[[models.deployments]]\nprovider = %q\nupstream = \"x\"\n"+
			"usd_in_per_1m = %g\nusd_out_per_1m = %g\n", m.name, m.tier, 0.001*m.cost*float64(m.tier), m.name, m.cost, m.cost)
		dear = s
	}
	return dear, b.String()
}

// opening is the first turn of a conversation of its own.
func opening(n int) map[string]any {
	body := ask("eco")
	body["messages"] = user(fmt.Sprintf("Hello number %d", n))
	return body
}

// converse begins conversations, of which each has a second turn, until the rollout has ended, and tells which model answered whom
// last. Both turns of one must be decided by the same module as long as the rollout goes on.
func converse(t *testing.T, g *testGateway, from int) (r admin.Rollout, next int) {
	t.Helper()
	for n := from; n < from+3000; n++ {
		resp, text := g.api.post(t, chatPath, opening(n))
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
		second := opening(n)
		second["messages"] = append(user(fmt.Sprintf("Hello number %d", n)), map[string]string{"role": "assistant", "content": "Hi"}, map[string]string{"role": "user", "content": "More"})
		again, text := g.api.post(t, chatPath, second)
		if again.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", again.StatusCode, text)
		}
		if r = theRollout(t, g); r.Ended != nil {
			return r, n + 1
		}
		if a, b := resp.Header.Get("X-Pointsman-Model"), again.Header.Get("X-Pointsman-Model"); a != b {
			t.Fatalf("the turns of conversation %d were answered by %s and %s", n, a, b)
		}
	}
	t.Fatalf("the rollout goes on: %+v", r)
	return r, 0
}

func theRollout(t *testing.T, g *testGateway) (r admin.Rollout) {
	t.Helper()
	if err := g.admin.call("GET", rolloutsPath+"/eco", nil, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// stage uploads a version of eco.
func stage(t *testing.T, g *testGateway, query string, wasm []byte) string {
	t.Helper()
	var v admin.PolicyVersion
	if err := g.admin.upload(policiesPath+"eco/versions"+query, wasm, nil, &v); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(v.Version)
}

// TestRollout lets a bad version and a good one loose on traffic, and stops the gateway in the middle of the first.
func TestRollout(t *testing.T) {
	t.Parallel()
	dear, toml := twoPrices(t)
	data := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "pointsman.toml")
	if err := os.WriteFile(file, []byte("[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n"+toml), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	g := startGateway(t, cfg, data)
	bad := stage(t, g, "?param.band=2", builtin.Modules()["eco"])
	wanted := admin.RolloutRequest{Version: bad, Share: 0.5, Guards: []string{"cost>+10%", "errors>+1%"}, Min: 20, Max: 2000}
	var r admin.Rollout
	if err := g.admin.call("POST", rolloutsPath+"/eco", wanted, &r); err != nil {
		t.Fatal(err)
	}
	if r.State != admin.RolloutRunning || r.Plan.Share != 0.5 || len(r.Guards) != 2 {
		t.Errorf("%+v", r)
	}
	before := 0
	for ; theRollout(t, g).Candidate.Samples < 30; before++ { // fewer than its guards need
		if resp, text := g.api.post(t, chatPath, opening(before)); resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
	}
	was := theRollout(t, g)
	key := g.api.key
	g.stopAndVerify()

	g = startGateway(t, cfg, data)
	g.api.key = key
	if now := theRollout(t, g); now.Control != was.Control || now.Candidate != was.Candidate || now.State != admin.RolloutRunning || was.Candidate.Samples < 30 {
		t.Errorf("before the restart %+v, then %+v", was, now)
	}
	for _, c := range []struct {
		name, path string
		body       any
		status     int
		code       string
	}{
		{"a second rollout", rolloutsPath + "/eco", wanted, 409, "rollout_running"},
		{"an activation", policiesPath + "eco/activate", map[string]string{"version": bad}, 409, "rollout_running"},
		{"a rollback", policiesPath + "eco/rollback", nil, 409, "rollout_running"},
		{"no such version", rolloutsPath + "/balanced", admin.RolloutRequest{Version: "9"}, 404, "policy_version_not_found"},
		{"a guard that is none", rolloutsPath + "/eco", admin.RolloutRequest{Version: bad, Guards: []string{"cost"}}, 400, "invalid_value"},
		{"too large a share", rolloutsPath + "/eco", admin.RolloutRequest{Version: bad, Share: 1}, 400, "invalid_value"},
		{"nothing to promote", rolloutsPath + "/balanced/promote", nil, 404, "rollout_not_found"},
		{"nothing to abort", rolloutsPath + "/balanced/abort", nil, 404, "rollout_not_found"},
		{"an unknown action", rolloutsPath + "/eco/pause", nil, 404, "not_found"},
	} {
		if status, code := statusOf(g.admin.call("POST", c.path, c.body, nil)); status != c.status || code != c.code {
			t.Errorf("%s: %d %s", c.name, status, code)
		}
	}
	if status, code := statusOf(g.admin.call("GET", rolloutsPath+"/balanced", nil, nil)); status != 404 || code != "rollout_not_found" {
		t.Errorf("%d %s", status, code)
	}
	if resp, text := g.api.post(t, chatPath, ask("auto/eco@candidate")); resp.StatusCode != http.StatusNotFound || !strings.Contains(text, "policy_not_found") {
		t.Errorf("a request asked for the candidate: %d %s", resp.StatusCode, text)
	}

	r, next := converse(t, g, before)
	if r.State != admin.RolloutRolledBack || r.EndedBy != byGuards || !strings.Contains(r.Why, "guard cost>+10%: $") {
		t.Errorf("%+v", r)
	}
	t.Logf("rolled back: %s", r.Why)
	asked := dear.Count()
	for n := range 20 { // of those before, half were the candidate's
		if resp, _ := g.api.post(t, chatPath, opening(before+n)); resp.Header.Get("X-Pointsman-Model") != "cheap" {
			t.Fatal("a session did not go back")
		}
	}
	if dear.Count() != asked {
		t.Error("the candidate decides on")
	}

	good := variantOf(builtin.Modules()["eco"], "good")
	wanted.Version, wanted.Max = stage(t, g, "", good), 60
	if err := g.admin.call("POST", rolloutsPath+"/eco", wanted, nil); err != nil {
		t.Fatal(err)
	}
	if r, next = converse(t, g, next); r.State != admin.RolloutPromoted || r.Candidate.Samples < 20 {
		t.Errorf("%+v", r)
	}
	resp, _ := g.api.post(t, chatPath, opening(next))
	var p admin.Policy
	if err := g.admin.call("GET", policiesPath+"eco", nil, &p); err != nil {
		t.Fatal(err)
	}
	if p.Serving.Digest != signing.Digest(good) || p.Versions[0].State != "active" {
		t.Errorf("%+v", p.Serving)
	}
	var actions []string
	for _, h := range p.History {
		actions = append(actions, h.Action)
		if strings.HasPrefix(h.Action, "rollout-") && h.Note == "" {
			t.Errorf("%+v has no figures", h)
		}
	}
	if got := strings.Join(actions, " "); got != "rollout-promote rollout-start upload rollout-back rollout-start upload" {
		t.Errorf("audit: %s", got)
	}
	var d engine.Explanation
	if err := eventually(func() error {
		return g.admin.call("GET", "/api/v1/admin/decisions/"+resp.Header.Get("X-Request-Id"), nil, &d)
	}); err != nil || d.Digest != signing.Digest(good) || d.Reproduced == nil || !*d.Reproduced {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestRolloutsEnd by the operator, and with what the candidate is compared with.
func TestRolloutsEnd(t *testing.T) {
	_, toml := twoPrices(t)
	g := newGateway(t, toml, nil)
	version := stage(t, g, "?param.band=2", builtin.Modules()["eco"])
	t.Setenv("POINTSMAN_MASTER_KEY", g.masterKey.Reveal())
	t.Setenv("POINTSMAN_ADMIN_URL", g.admin.base)
	contains(t, ok(t, "policy", "rollout", "status"), "no rollout yet")
	contains(t, ok(t, "policy", "rollout", "start", "eco", "--version", version, "--share", "50%", "--guard", "cost>+10%", "--guard", "errors>+1%", "--promote", "manual", "--min-sample", "10", "--max-sample", "500"),
		"version 1", "is running", "50 % of the sessions", "cost>+10%", "errors>+1%", "10 to 500 samples")
	decided := ""
	for n := 0; decided == ""; n++ {
		resp, text := g.api.post(t, chatPath, opening(n))
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
		if resp.Header.Get("X-Pointsman-Model") == "dear" {
			decided = resp.Header.Get("X-Request-Id")
		}
	}
	var d engine.Explanation
	if err := eventually(func() error { return g.admin.call("GET", "/api/v1/admin/decisions/"+decided, nil, &d) }); err != nil || d.Reproduced == nil || !*d.Reproduced {
		t.Errorf("the candidate's decision: %+v, %v", d, err)
	}
	var list []admin.Rollout
	if err := json.Unmarshal([]byte(ok(t, "policy", "rollout", "status", "eco", "--json")), &list); err != nil || len(list) != 1 || list[0].Candidate.Requests != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	contains(t, ok(t, "policy", "rollout", "abort", "eco"), "is aborted", "by the operator")
	contains(t, ok(t, "policy", "rollout", "status"), "is aborted")

	contains(t, ok(t, "policy", "rollout", "start", "eco", "--file", "eco", "--config", "min_quality=0.61", "--no-guards"), "version 2", "5 % of the sessions")
	contains(t, ok(t, "policy", "rollout", "promote", "eco"), "is promoted")
	if s := g.depot.Serving()["eco"]; s.Version != 2 || s.Params["min_quality"] != "0.61" {
		t.Errorf("%+v", s)
	}
	for _, args := range [][]string{{"--version", "1", "--file", "eco"}, {}, {"--version", "1", "--share", "none"}, {"--version", "1", "--guard", "cost>10"}} {
		if out, status := command(t, append([]string{"policy", "rollout", "start", "eco"}, args...)...); status == 0 {
			t.Errorf("%v: %s", args, out)
		}
	}

	ok(t, "policy", "rollout", "start", "eco", "--version", version)
	module := filepath.Join(t.TempDir(), "eco.wasm")
	if err := os.WriteFile(module, builtin.Modules()["eco"], 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(g.cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.cfg.File, fmt.Appendf(text, "[policies.eco]\nfile = %q\n", module), 0o600); err != nil {
		t.Fatal(err)
	}
	ok(t, "reload")
	if r := theRollout(t, g); r.State != admin.RolloutAborted || !strings.Contains(r.Why, "configuration") || len(g.depot.Candidates()) != 0 {
		t.Errorf("%+v", r)
	}
	if _, loaded := g.policies.Needs("eco@candidate"); loaded {
		t.Error("the candidate is still loaded")
	}
	if out, status := command(t, "policy", "rollout", "start", "eco", "--version", version); status == 0 || !strings.Contains(out, "configuration") {
		t.Errorf("a policy of the configuration is rolled out: %s", out)
	}
}

// shadowAfter is a shadow's report once it has decided so many requests.
func shadowAfter(t *testing.T, g *testGateway, name string, requests uint64) (r engine.ShadowReport) {
	t.Helper()
	if err := eventually(func() error {
		if err := g.admin.call("GET", shadowsPath+"/"+name, nil, &r); err != nil || r.Decisions == requests {
			return err
		}
		return fmt.Errorf("%d decisions", r.Decisions)
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestShadowReads has a shadow decide by the texts that it is granted, each request's its own.
func TestShadowReads(t *testing.T) {
	t.Parallel()
	m := difficulty.Model{Scale: 0.1, Worth: 0.1, Heads: []difficulty.Head{
		{Name: "cheap", Bias: 3, Slope: 1, Output: 400}, {Name: "dear", Bias: 4, Slope: 0.1, Output: 400},
	}}
	m.Weights[difficulty.WordSlot("kubernetes")] = 100
	_, toml := twoPrices(t)
	toml += fmt.Sprintf("[policies.reader]\nfile = %q\nshadow_of = \"eco\"\ngrants = [\"text\"]\n[policies.reader.config]\n", examplePolicy(t, "difficulty"))
	for name, value := range m.Params() {
		toml += fmt.Sprintf("%s = %q\n", name, value)
	}
	g := newGateway(t, toml, nil)
	const requests = 40
	for n := range requests {
		body := ask("eco")
		body["messages"] = user([]string{"Hello", "Kubernetes", strings.Repeat("Hello ", 1000)}[n%3])
		if resp, text := g.api.post(t, chatPath, body); resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
	}
	r := shadowAfter(t, g, "reader", requests)
	want := []engine.ShadowChoice{{From: "cheap at cheap", To: "cheap at cheap", Count: 27}, {From: "cheap at cheap", To: "dear at dear", Count: 13}}
	if !slices.Equal(r.Choices, want) || r.Failures != 0 {
		t.Errorf("%+v", r)
	}
}

// TestShadow lets a shadow decide beside eco, and one that fails.
func TestShadow(t *testing.T) {
	_, toml := twoPrices(t)
	dir := t.TempDir()
	for name, wasm := range map[string][]byte{"eco": builtin.Modules()["eco"]} {
		if err := os.WriteFile(filepath.Join(dir, name+".wasm"), wasm, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := newGateway(t, toml+fmt.Sprintf("[policies.shade]\nfile = \"%s/eco.wasm\"\nshadow_of = \"eco\"\n[policies.shade.config]\nband = 2\n"+
		"[policies.starved]\nfile = \"%s/eco.wasm\"\nshadow_of = \"eco\"\nfuel = 1000\n[policies.seldom]\nfile = \"%s/eco.wasm\"\nshadow_of = \"eco\"\nshare = 0.2\n", dir, dir, dir), nil)
	const requests = 200
	for n := range requests {
		resp, text := g.api.post(t, chatPath, opening(n))
		if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Pointsman-Model") != "cheap" || resp.Header.Get("X-Pointsman-Policy-Failed") != "" {
			t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, text)
		}
	}
	shade := shadowAfter(t, g, "shade", requests)
	if len(shade.Choices) != 1 || shade.Choices[0] != (engine.ShadowChoice{From: "cheap at cheap", To: "dear at dear", Count: requests}) || shade.Same != 0 || shade.Failures != 0 || shade.Priced != requests {
		t.Errorf("%+v", shade)
	}
	var summary struct {
		Data []struct {
			CostUSD json.Number `json:"cost_usd"`
			Credits json.Number `json:"credits"`
		} `json:"data"`
	}
	if err := g.admin.call("GET", "/api/v1/admin/usage?limit=1", nil, &summary); err != nil || len(summary.Data) != 1 {
		t.Fatalf("%+v, %v", summary, err)
	}
	one, err := summary.Data[0].CostUSD.Float64()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		of   engine.ShadowCosts
		want float64
	}{{shade.Policy, requests * one}, {shade.Shadow, 10 * requests * one}} {
		var got float64
		if _, err := fmt.Sscan(c.of.CostUSD, &got); err != nil || got < c.want*0.999 || got > c.want*1.001 {
			t.Errorf("%s, not %g", c.of.CostUSD, c.want)
		}
	}
	var all struct {
		Data []engine.ShadowReport `json:"data"`
	}
	if err := g.admin.call("GET", shadowsPath, nil, &all); err != nil || len(all.Data) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	if seldom := all.Data[0]; seldom.Decisions == 0 || seldom.Decisions > requests/2 || seldom.Same != seldom.Decisions {
		t.Errorf("a fifth of %d: %+v", requests, seldom)
	}
	if starved := all.Data[2]; starved.Failures != requests || starved.Decisions != 0 || starved.LastFailure == "" {
		t.Errorf("%+v", starved)
	}
	if info, _ := g.policies.Info("starved"); info.Skipped == 0 {
		t.Errorf("it was not suspended: %+v", info.Stats)
	}
	for _, name := range []string{"shade", "auto/shade"} {
		if resp, text := g.api.post(t, chatPath, ask(name)); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s can be asked for: %d %s", name, resp.StatusCode, text)
		}
	}
	if status, code := statusOf(g.admin.call("GET", shadowsPath+"/eco", nil, nil)); status != 404 || code != "shadow_not_found" {
		t.Errorf("%d %s", status, code)
	}
	resp, text := g.admin.send(t, "GET", "/metrics", nil)
	contains(t, text, `pointsman_shadow_decisions_total{shadow="shade"} 200`, `pointsman_shadow_failures_total{shadow="starved"} 200`, `pointsman_shadow_nanousd_total{shadow="shade",choice="shadow"}`)
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	t.Setenv("POINTSMAN_MASTER_KEY", g.masterKey.Reveal())
	t.Setenv("POINTSMAN_ADMIN_URL", g.admin.base)
	contains(t, ok(t, "policy", "shadow", "shade"), "the shadow of eco", "200 decisions, 0 (0.0 %) with the same first choice", "cheap at cheap", "-> dear at dear")
	contains(t, ok(t, "policy", "shadow", "--json"), `"shadow": "seldom"`)
}
