package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/project"
	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/providertest"
)

// newPlugin makes a project and makes it ready as its steps say, with what the set-up of the tests installed in place of
// the network. It returns the program and the flags that let it run.
func newPlugin(t *testing.T, language, name string) (program string, flags []string) {
	t.Helper()
	var dependencies string
	switch language {
	case "python":
		dependencies = filepath.Dir(filepath.Dir(installed(t, "../../.cache/plugins-python/bin/python")))
	case "node":
		dependencies = installed(t, "../../examples/provider-node/node_modules")
	}
	dir := filepath.Join(t.TempDir(), name)
	p, err := project.NewPlugin(dir, language, name)
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, p.Program)
	link := map[string]string{"python": ".venv", "node": "node_modules"}[language]
	if link == "" {
		build := exec.Command(p.Steps[0][0], p.Steps[0][1:]...)
		build.Dir, build.Env = dir, append(os.Environ(), "GOPROXY=off", "GOFLAGS=")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return program, nil
	}
	if err := os.Symlink(dependencies, filepath.Join(dir, link)); err != nil {
		t.Fatal(err)
	}
	return program, []string{"--read-path", dependencies}
}

// TestVendorsLoop goes the way of a vendor in each language: new, check, run, hash, and into a gateway that serves by it.
func TestVendorsLoop(t *testing.T) {
	for _, l := range project.PluginLanguages() {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			program, flags := newPlugin(t, l.Name, "mine")
			began := time.Now()
			out := ok(t, append([]string{"plugin", "check", program}, flags...)...)
			t.Logf("checked in %v", time.Since(began).Round(time.Millisecond))
			contains(t, out, "mutual TLS", "adapter mine 0.1.0", "5.0 MiB back", "ok  call-cancelled", " 0 failed")

			request := filepath.Join(t.TempDir(), "operation.json")
			write(t, request, `{"operation":"chat","model":"m","stream":true,"body":{"messages":[{"role":"user","content":"one two"}]}}`)
			out = ok(t, append([]string{"plugin", "run", program, "--request", request}, flags...)...)
			contains(t, out, "status 200", `"two`, "end: 4 parts")

			table := ok(t, "plugin", "hash", program)
			if len(flags) > 0 {
				table += fmt.Sprintf("read_paths = [%q]\n", flags[1])
			}
			g := newGateway(t, strings.Replace(table, "[plugins.", "[providers.mine]\nadapter = \"mine\"\n[plugins.", 1)+
				"adapters = [\"mine\"]\n"+pluginModel("mine"), nil)
			if resp, text := g.api.post(t, "/v1/chat/completions", chatBody("m-mine", false)); resp.StatusCode != http.StatusOK || !strings.Contains(text, "Hello there") {
				t.Errorf("status %s: %s", resp.Status, text)
			}
			if resp, text := g.api.post(t, "/v1/chat/completions", chatBody("m-mine", true)); resp.StatusCode != http.StatusOK || !strings.Contains(text, "data: [DONE]") {
				t.Errorf("status %s: %s", resp.Status, text)
			}
		})
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func chatBody(model string, stream bool) map[string]any {
	return map[string]any{"model": model, "stream": stream, "messages": []any{map[string]string{"role": "user", "content": "Hello there"}}}
}

// pluginModel is a model that the provider serves.
func pluginModel(provider string) string {
	return fmt.Sprintf(`
[[models]]
name = "m-%[1]s"
tier = 1
credits_per_1k = 0.002
context_window = 128000
  [[models.deployments]]
  provider = "%[1]s"
  upstream = "m"
  usd_in_per_1m = 1
  usd_out_per_1m = 2
`, provider)
}

// TestExampleOfTwoAdapters runs the kit on the example as go test would in a vendor's repository.
func TestExampleOfTwoAdapters(t *testing.T) {
	providertest.TestExecutable(t, providertest.Executable{Path: buildExample(t)},
		providertest.Case{
			Adapter: "acme", Prepare: &provider.PrepareRequest{Provider: "acme", Settings: map[string]string{"region": "us"}},
			Errors: []providertest.ErrorSample{
				{Status: 400, Body: "ACME_TOO_LONG", Class: provider.ClassContextLength},
				{Status: 420, Class: provider.ClassRateLimited},
				{Status: 401, Class: provider.ClassAuth},
				{Status: 402, Class: provider.ClassQuota},
				{Status: 404, Class: provider.ClassNotFound},
				{Status: 503, Class: provider.ClassOverloaded},
				{Status: 500, Class: provider.ClassServer},
				{Status: 400, Class: provider.ClassBadRequest},
			},
		},
		providertest.Case{Adapter: "parrot", Call: &provider.CallRequest{Operation: "chat", Model: "m", Body: []byte(sampleChat)}})
}

func buildExample(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "provider-go")
	if out, err := exec.Command("go", "build", "-o", program, "../../examples/provider-go").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// TestPluginCheckFinds runs the kit on what is no plugin.
func TestPluginCheckFinds(t *testing.T) {
	script := filepath.Join(t.TempDir(), "plugin")
	for _, c := range []struct{ name, text, want string }{
		{"another program", "#!/bin/sh\necho hello\n", "is not the handshake line"},
		{"silence", "#!/bin/sh\nexit 0\n", "without the handshake line"},
		{"another transport", "#!/bin/sh\necho '1|1|tcp|127.0.0.1:1|grpc'\nread x\n", "on a unix socket"},
		{"another protocol", "#!/bin/sh\necho '1|7|unix|/tmp/x|grpc'\nread x\n", "the gateway speaks 1 and 1"},
		{"no certificate", "#!/bin/sh\necho \"1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/p|grpc\"\nread x\n", "mutual TLS is missing"},
		{"last words", "#!/bin/sh\necho the licence has expired >&2\nexit 3\n", "the licence has expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(script, []byte(c.text), 0o700); err != nil {
				t.Fatal(err)
			}
			out, status := command(t, "plugin", "check", script)
			if contains(t, out, "FAIL  handshake", c.want); status != 1 {
				t.Errorf("status %d", status)
			}
			out, _ = command(t, "plugin", "check", "--json", script)
			var report pluginReport
			if err := json.NewDecoder(strings.NewReader(out)).Decode(&report); err != nil || report.OK || len(report.Process) != 1 {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// TestPluginReload replaces the plugins of a running gateway, as SIGHUP does, under traffic.
func TestPluginReload(t *testing.T) {
	program := buildExample(t)
	sum, err := fileSum(program)
	if err != nil {
		t.Fatal(err)
	}
	plugin := fmt.Sprintf("[plugins.example]\npath = %q\nsha256 = %q\nadapters = [\"acme\", \"parrot\"]\n", program, sum)
	g := newGateway(t, "[providers.bird]\nadapter = \"parrot\"\n"+plugin+pluginModel("bird"), nil)
	config := g.cfg.File
	before := g.plugins.Status()[1]
	contains(t, ok(t, "plugin", "list", "--config", config), "example", "as configured", "acme, parrot")

	stop, failed := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(failed)
		for n := 0; ; n++ {
			select {
			case <-stop:
				failed <- ""
				return
			default:
			}
			resp, err := g.api.do("POST", "/v1/chat/completions", chatBody("m-bird", n%2 == 0))
			if err != nil || resp.StatusCode != http.StatusOK {
				failed <- fmt.Sprint(resp, err)
				return
			}
			resp.Body.Close()
		}
	}()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, config, strings.Replace(string(text), "adapters =", "memory_mb = 1024\nadapters =", 1))
	if err := g.reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	after := g.plugins.Status()[1]
	if after.PID == before.PID || after.Upgrades != 1 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	write(t, config, strings.Replace(string(text), sum, strings.Repeat("0", 64), 1))
	if err := g.reload(t.Context(), "test"); err == nil || !strings.Contains(err.Error(), "serves on") {
		t.Errorf("error %v", err)
	}
	if out, status := command(t, "plugin", "list", "--config", config); status != 1 || !strings.Contains(out, "has the checksum "+sum) {
		t.Errorf("status %d: %s", status, out)
	}
	close(stop)
	if why := <-failed; why != "" {
		t.Errorf("a request failed: %s", why)
	}
	resp, body := g.api.post(t, "/v1/chat/completions", chatBody("m-bird", false))
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %s: %s", resp.Status, body)
	}

	t.Setenv("POINTSMAN_MASTER_KEY", g.masterKey.Reveal())
	out := ok(t, "plugin", "list", "--admin-url", g.admin.base)
	if !regexp.MustCompile(`example +running +\d+ +acme 0\.1\.0, parrot 0\.1\.0 +0 +1 +`+sum[:12]).MatchString(out) || !strings.Contains(out, "example: starting plugin") {
		t.Errorf("list:\n%s", out)
	}
	answer, err := http.Get(g.api.base + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var health struct {
		Plugins []struct{ Plugin, State string }
	}
	if err := json.NewDecoder(answer.Body).Decode(&health); err != nil || len(health.Plugins) != 2 || health.Plugins[1].State != "running" {
		t.Errorf("health %+v, %v", health, err)
	}
}
