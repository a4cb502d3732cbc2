package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/admin"
)

// listening is the beginning of the configuration of a test's gateway.
const listening = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n"

// reloaded writes another configuration and reads it through the admin API.
func (g *testGateway) reloaded(toml string) (admin.Reload, error) {
	g.t.Helper()
	if err := os.WriteFile(g.cfg.File, []byte(toml), 0o600); err != nil {
		g.t.Fatal(err)
	}
	var done admin.Reload
	err := g.admin.call("POST", "/api/v1/admin/reload", nil, &done)
	return done, err
}

// command runs a command line against the gateway.
func (g *testGateway) command(args ...string) (status int, out string) {
	g.t.Helper()
	var stdout, stderr bytes.Buffer
	status = run(append(args, "--admin-url", g.admin.base, "--data", g.dataDir), terminal{&stdout, &stderr})
	return status, stdout.String() + stderr.String()
}

// problemsTold are what /health says of the gateway.
func (g *testGateway) problemsTold() []string {
	g.t.Helper()
	var health struct{ Problems []string }
	if err := g.api.call("GET", "/health", nil, &health); err != nil {
		g.t.Fatal(err)
	}
	return health.Problems
}

// A reload changes what requests see, each setting in its own way.
func TestReloadAppliesTheFile(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	done, err := g.reloaded(listening + "cors_origins = [\"https://app.example\"]\n" + strings.Replace(toml, `name = "m"`, `name = "other"`, 1) +
		"[accounts]\ndefault_credits = 7\n[limits.keys]\nrequests_per_minute = 99\n[cache]\nenabled = true\n")
	if err != nil || done.Configuration != 2 || done.By != "admin API" || len(done.NeedsRestart) > 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	if resp, body := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 404 {
		t.Errorf("a model that is gone: %d %s", resp.StatusCode, body)
	}
	req, err := http.NewRequest("POST", g.api.base+chatPath, strings.NewReader(`{"model":"other","messages":[{"role":"user","content":"Hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+g.api.key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", "https://app.example")
	resp, err := g.api.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "https://app.example", "X-Ratelimit-Limit-Requests": "99", "X-Pointsman-Model": "other", "X-Pointsman-Cache": "miss",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if credits := g.account("new").balance(t); credits != "7" {
		t.Errorf("a new account has %s credits", credits)
	}
}

// What is read at the start alone stays as it was and is named; the rest of the same file holds.
func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	next := strings.Replace(listening, "[server]\n", "[server]\nmax_body_bytes = 1000\ntls_cert = \"crt\"\ntls_key = \"key\"\n", 1) +
		strings.Replace(toml, "credits_per_1k = 0.002", "credits_per_1k = 0.5", 1) + "[overload]\nqueue = 7\n[storage]\nmemory_mb = 32\n[log]\nbodies = true\ncredit_usd = 0.01\n[events]\nurl = \"https://events.example\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n"
	done, err := g.reloaded(next)
	want := []string{"[server] max_body_bytes", "[overload]", "[storage]", "[events]", "[log] bodies", "[server] tls_cert", "[server] tls_key"}
	if err != nil || done.Configuration != 2 || !slices.Equal(done.NeedsRestart, want) {
		t.Errorf("%+v, %v", done, err)
	}
	resp, body := g.api.post(t, chatPath, ask("m"))
	if credits := resp.Header.Get("X-Pointsman-Credits"); resp.StatusCode != 200 || credits != "0.015" {
		t.Errorf("%d, %s credits: %s", resp.StatusCode, credits, body)
	}
	status, out := g.command("reload")
	if status != 0 || !strings.Contains(out, "configuration 3 holds") || !strings.Contains(out, "needs a restart: [storage]") {
		t.Errorf("%d: %s", status, out)
	}
	if _, out := g.command("doctor", "--url", g.api.base); !strings.Contains(out, "is valid; warning: [server] max_body_bytes has changed and needs a restart") {
		t.Errorf("doctor: %s", out)
	}
	if list := g.problemsTold(); len(list) > 0 {
		t.Errorf("/health has problems: %q", list)
	}
}

// A file that cannot be used changes nothing, and everybody is told until one that can be used was read.
func TestReloadRefusesABadFile(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	good := listening + toml
	if err := os.WriteFile(g.cfg.File, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ toml, fault string }{
		"syntax":             {good + "[[", "table name"},
		"unknown key":        {good + "[polices.x]\n", "did you mean"},
		"no such adapter":    {strings.Replace(good, `adapter = "openai"`, `adapter = "nobody"`, 1), "nobody"},
		"no such provider":   {strings.Replace(good, `provider = "up0"`, `provider = "up9"`, 1), "up9"},
		"empty":              {"", "still being written"},
		"within a line":      {strings.TrimSuffix(good, "\n"), "still being written"},
		"half":               {good[:len(good)/2], ""},
		"a name given twice": {good + "[[models]]\nname = \"m\"\ntier = 1\ncontext_window = 1000\ndeployments = [{ provider = \"up0\", upstream = \"x\", usd_in_per_1m = 1, usd_out_per_1m = 1 }]\n", `"m"`},
	} {
		_, err := g.reloaded(c.toml)
		if err == nil || !strings.Contains(err.Error(), c.fault) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
		if resp, body := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
		if list := g.problemsTold(); len(list) != 1 || !strings.Contains(list[0], "the one before holds on") || strings.Contains(list[0], "/") {
			t.Errorf("%s: /health has %q", name, list)
		}
	}
	if err := os.WriteFile(g.cfg.File, []byte(good), 0o600); err != nil { // mended, and not read yet
		t.Fatal(err)
	}
	if status, out := g.command("doctor", "--url", g.api.base); status == 0 || !strings.Contains(out, "what held before holds on") {
		t.Errorf("doctor: %s", out)
	}
	if done, err := g.reloaded(good); err != nil || done.Configuration != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	if list := g.problemsTold(); len(list) > 0 {
		t.Errorf("/health has %q", list)
	}
}

// What traffic has told of a deployment outlives a reload, as long as its address is the same.
func TestReloadKeepsWhatIsKnown(t *testing.T) {
	up, toml := upstreams(t, 2)
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n", nil)
	up[0].Script(failing(404)) // opens the circuit at once
	g.api.post(t, chatPath, ask("up0/m"))
	g.api.post(t, chatPath, ask("up1/m"))
	status := func() (states []string) {
		t.Helper()
		for _, p := range g.engine.Current().Health(engine.DetailProviders) {
			states = append(states, fmt.Sprintf("%s %s %d", p.Provider, p.Status, p.Window.Answers+p.Window.Failures))
		}
		return states
	}
	known := []string{"up0 down 1", "up1 healthy 1"}
	if got := status(); !slices.Equal(got, known) {
		t.Fatal(got)
	}
	dearer := strings.ReplaceAll(toml, "usd_in_per_1m = 1.0", "usd_in_per_1m = 3.0")
	if _, err := g.reloaded(listening + "[health]\nprobe = \"off\"\n" + dearer); err != nil {
		t.Fatal(err)
	}
	if got := status(); !slices.Equal(got, known) {
		t.Errorf("with other prices: %v", got)
	}
	g.api.post(t, chatPath, ask("up1/m"))
	if got := status()[1]; got != "up1 healthy 2" {
		t.Errorf("after one more answer: %s", got)
	}
	moved := strings.ReplaceAll(dearer, up[0].URL(), up[1].URL())
	if _, err := g.reloaded(listening + "[health]\nprobe = \"off\"\n" + moved); err != nil {
		t.Fatal(err)
	}
	if got := status(); !slices.Equal(got, []string{"up0 unknown 0", "up1 healthy 2"}) {
		t.Errorf("at another address: %v", got)
	}
	if resp, body := g.api.post(t, chatPath, ask("up0/m")); resp.StatusCode != 200 {
		t.Errorf("%d: %s", resp.StatusCode, body)
	}
}

// A decision is repeated on the configuration that it was made on, whatever holds since.
func TestDecisionsAreReproducedAcrossReloads(t *testing.T) {
	_, toml := upstreams(t, 2)
	g := newGateway(t, toml, nil)
	var requests []string
	for i := range 3 {
		resp, body := g.api.post(t, chatPath, ask("m"))
		if resp.StatusCode != 200 {
			t.Fatalf("%d: %s", resp.StatusCode, body)
		}
		requests = append(requests, resp.Header.Get("X-Request-Id"))
		more := fmt.Sprintf("[[models]]\nname = \"new%d\"\ntier = 0\ncredits_per_1k = 0\ncontext_window = 1000\ndeployments = [{ provider = \"up1\", upstream = \"new%d\", usd_in_per_1m = 1, usd_out_per_1m = 1 }]\n", i, i)
		if _, err := g.reloaded(listening + strings.Replace(toml, "[[models]]\n", more+"[[models]]\n", 1)); err != nil {
			t.Fatal(err)
		}
	}
	for i, id := range requests {
		var x struct {
			Reproduced *bool
			Generation uint64 `json:"snapshot_generation"`
			Candidates []struct{ Model, Provider string }
			Attempts   []struct{ Model, Provider, Outcome string }
		}
		err := eventually(func() error { return g.api.call("GET", "/api/v1/llm/decisions/"+id, nil, &x) })
		if err != nil || x.Reproduced == nil || !*x.Reproduced || len(x.Attempts) != 1 || x.Attempts[0].Model != "m" || len(x.Candidates) != 2+min(i, 1) {
			t.Errorf("request %d: %+v, %v", i, x, err)
		}
	}
}

// A plugin that cannot be started leaves all as it was that the file says beside plugins.
func TestReloadWithABadPlugin(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	bad := listening + strings.Replace(toml, `adapter = "openai"`, `adapter = "broken"`, 1) +
		fmt.Sprintf("[plugins.broken]\npath = \"/bin/true\"\nsha256 = %q\n", strings.Repeat("0", 64))
	if _, err := g.reloaded(bad); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("%v", err)
	}
	if resp, body := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
		t.Errorf("%d: %s", resp.StatusCode, body)
	}
	if list := g.problemsTold(); len(list) != 1 {
		t.Errorf("/health has %q", list)
	}
	if done, err := g.reloaded(listening + toml); err != nil || done.Configuration != 2 {
		t.Errorf("%+v, %v", done, err)
	}
}

// A watched file is read when it has changed and kept still.
func TestWatchedConfiguration(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, "watch = true\n"+toml, nil)
	time.Sleep(2 * configPoll) // it has been seen as it is
	text := strings.Replace(listening, "[server]\n", "[server]\nwatch = true\n", 1) + strings.Replace(toml, `name = "m"`, `name = "n"`, 1)
	if err := os.WriteFile(g.cfg.File, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var last admin.Reload
	for range 100 {
		time.Sleep(configPoll / 5)
		if last = g.reloads.last(); last.Configuration > 1 {
			break
		}
	}
	if last.By != "file" || last.Configuration != 2 {
		t.Fatalf("%+v", last)
	}
	if resp, body := g.api.post(t, chatPath, ask("n")); resp.StatusCode != 200 {
		t.Errorf("%d: %s", resp.StatusCode, body)
	}
	var status admin.Status
	if err := g.admin.call("GET", "/api/v1/admin/status", nil, &status); err != nil || status.Reload.By != "file" {
		t.Errorf("%+v, %v", status.Reload, err)
	}
}
