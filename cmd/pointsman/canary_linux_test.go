package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// canary is a gateway whose every secret is unmistakable, and all that it has ever told anybody.
type canary struct {
	t       *testing.T
	g       *testGateway
	up      *scripted.Server
	secrets []string

	mu   sync.Mutex
	told bytes.Buffer // logs, answers with their headers, metrics, explanations
	ids  []string
}

// Write takes in a line of the log.
func (c *canary) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told.Write(p)
}

// send makes a request and takes in all of the answer.
func (c *canary) send(from *client, method, path string, body any) {
	c.t.Helper()
	resp, err := from.do(method, path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body) // a stream that is cut is part of it
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(&c.told, "%s %s: %s\n", method, path, resp.Status)
	resp.Header.Write(&c.told)
	c.told.Write(text)
	if id := resp.Header.Get("X-Request-Id"); path == chatPath {
		c.ids = append(c.ids, id)
	}
}

// said is what of the secrets is in all that was told, or "".
func (c *canary) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return finds(c.told.Bytes(), c.secrets...)
}

// newCanary starts a gateway with a direct provider that repeats keys in whatever it answers, and a proxied one.
func newCanary(t *testing.T) (c *canary, behave *atomic.Int64) {
	t.Helper()
	c = &canary{t: t}
	secret := func(name string) string {
		s := "sk-" + name + "-canary-7f3a9c5e1b"
		c.secrets = append(c.secrets, s)
		return s
	}
	t.Setenv("OPENAI_API_KEY", secret("environment"))
	up, err := scripted.Start(scripted.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	c.up = up
	behave = new(atomic.Int64)
	up.Script(func(r *scripted.Request) *scripted.Reply { return repeats(r, int(behave.Load())) })
	toml := fmt.Sprintf("[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[catalog]\nbuiltin = false\n"+
		"[providers.direct]\nadapter = \"openai\"\nbase_url = %q\napi_key = %q\nallow_private = true\ntimeouts = { first_byte = 1, idle = 0.3 }\n"+
		"[providers.proxied]\nadapter = \"simulator\"\napi_key = %q\nsettings = { pause_ms = \"20\" }\n", up.URL()+"/v1", secret("direct"), secret("proxied"))
	for _, name := range []string{"direct", "proxied"} {
		toml += fmt.Sprintf("[[models]]\nname = \"m-%s\"\ntier = 1\ncredits_per_1k = 0.002\ncontext_window = 128000\n[[models.deployments]]\nprovider = %q\nupstream = \"x\"\nusd_in_per_1m = 1\nusd_out_per_1m = 2\n", name, name)
	}
	file := filepath.Join(t.TempDir(), "pointsman.toml")
	if err := os.WriteFile(file, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(c, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g, err := start(context.Background(), cfg, options{dataDir: filepath.Join(t.TempDir(), "data"), log: log, env: noEnv})
	if err != nil {
		t.Fatal(err)
	}
	c.g = watched(t, g, &evidence{})
	c.secrets = append(c.secrets, secret("own-direct"), secret("own-proxied"))
	t.Cleanup(func() { c.g.stopAndVerify() })
	return c, behave
}

// repeats is an answer with the key in it, in the way of a number.
func repeats(r *scripted.Request, how int) *scripted.Reply {
	key := strings.TrimPrefix(r.Authorization, "Bearer ")
	body := []byte(`{"error":{"message":"key ` + key + ` is no good","type":"x","code":"` + key + `"}}`)
	header := map[string]string{"X-Seen-Key": key, "Set-Cookie": "k=" + key}
	switch how {
	case 1, 2, 3, 4, 5, 6:
		return &scripted.Reply{Status: []int{400, 401, 402, 404, 429, 500}[how-1], Header: header, Body: body}
	case 7:
		return &scripted.Reply{Status: 302, Header: map[string]string{"Location": "https://example.invalid/?k=" + key}}
	case 8:
		return &scripted.Reply{Body: []byte("<html>" + key)}
	case 9:
		return &scripted.Reply{Chunks: [][]byte{scripted.OpenAIChunks("x", []string{"a"}, scripted.UsageNone)[1], append(append([]byte("data: "), body...), "\n\n"...)}}
	case 10:
		return &scripted.Reply{Chunks: scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageNone), Cut: scripted.CutRST, CutAfter: 2, Interval: 5 * time.Millisecond}
	case 11:
		return &scripted.Reply{Chunks: scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageNone), Interval: time.Second}
	}
	reply := r.Default()
	reply.Header = header
	return reply
}

// Keys go to the provider they are for, in the call they are for, and nowhere else: not to processes, logs, metrics, answers,
// explanations or files, whatever goes wrong.
func TestCanaryKeysAreNowhereElse(t *testing.T) {
	c, behave := newCanary(t)
	owner := c.g.account("owner")
	for round, from := range []*client{c.g.api, owner} {
		if round == 1 {
			own := c.secrets[len(c.secrets)-2:]
			c.send(owner, "PUT", "/api/v1/llm/byok/direct", map[string]string{"key": own[0]})
			c.send(owner, "PUT", "/api/v1/llm/byok/proxied", map[string]string{"key": own[1]})
		}
		for _, how := range []int64{0, 1, 5, 6, 7, 8, 9, 10, 11, 2, 3, 4} {
			for _, stream := range []bool{false, true} {
				shut := round == 0 && how >= 2 && how <= 4 // the platform's key, or the deployment
				if shut && !stream {
					continue
				}
				asked := c.up.Count()
				behave.Store(how)
				c.send(from, "POST", chatPath, ask("m-direct", "stream", stream))
				c.send(from, "POST", chatPath, ask("m-proxied", "stream", stream))
				if c.up.Count() == asked {
					t.Errorf("round %d: the provider was not asked to answer in way %d, stream %v", round, how, stream)
				}
				if round == 1 {
					c.send(owner, "POST", "/api/v1/llm/byok/direct/test", nil)
					own := map[string]string{"key": c.secrets[len(c.secrets)-2]}
					c.send(owner, "PUT", "/api/v1/llm/byok/direct", own) // its circuit is closed again
				}
				behave.Store(0)
				c.g.engine.ProbeDue() // which works, and lets the next request try what is kept away from
				if shut {
					time.Sleep(2050 * time.Millisecond)
				}
				c.send(from, "POST", chatPath, ask("m-direct"))
			}
		}
		c.crashPlugin(from)
	}
	c.send(owner, "POST", "/api/v1/llm/byok/proxied/test", nil)
	c.send(owner, "GET", "/api/v1/llm/byok", nil)
	c.send(owner, "DELETE", "/api/v1/llm/byok/proxied", nil)
	processes := c.processes()
	for _, id := range c.ids {
		c.send(c.g.api, "GET", "/api/v1/llm/decisions/"+id, nil)
		c.send(owner, "GET", "/api/v1/llm/decisions/"+id, nil)
	}
	for _, path := range []string{"usage?limit=100", "models", "health", "credits/balance"} {
		c.send(owner, "GET", "/api/v1/llm/"+path, nil)
	}
	for _, path := range []string{"/metrics", "/api/v1/admin/status", "/api/v1/admin/keys", "/api/v1/admin/usage?limit=100", "/api/v1/admin/accounts"} {
		c.send(c.g.admin, "GET", path, nil)
	}
	c.send(c.g.admin, "POST", "/api/v1/admin/reach", nil)
	data := c.g.dataDir
	c.g.stopAndVerify()

	if len(c.ids) < 90 || c.told.Len() < 100_000 || processes < 2 {
		t.Errorf("%d requests, %d bytes told, %d processes: too little to mean anything", len(c.ids), c.told.Len(), processes)
	}
	if found := c.said(); found != "" {
		at := bytes.Index(c.told.Bytes(), []byte(found))
		t.Errorf("%s was told: …%q", found, c.told.Bytes()[max(0, at-300):min(c.told.Len(), max(at, 0)+100)])
	}
	if hits := search(t, data, c.secrets...); len(hits) > 0 {
		t.Errorf("in the data directory: %v", hits)
	}
}

// crashPlugin kills the plugin process in the middle of a call, and waits until another has taken its place.
func (c *canary) crashPlugin(from *client) {
	c.t.Helper()
	before := c.g.plugins.Status()[0]
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.send(from, "POST", chatPath, ask("m-proxied", "stream", true))
	}()
	time.Sleep(60 * time.Millisecond)
	if err := syscall.Kill(before.PID, syscall.SIGABRT); err != nil { // with a trace of its stack in the log
		c.t.Fatal(err)
	}
	<-done
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if s := c.g.plugins.Status()[0]; s.Restarts > before.Restarts && s.State == "running" {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatal("the plugin did not come back")
		}
	}
}

// processes looks through the command lines and environments of this process's children, and tells how many there are with
// itself.
func (c *canary) processes() (n int) {
	c.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		status, err := os.ReadFile("/proc/" + e.Name() + "/status")
		if err != nil || pid != os.Getpid() && !bytes.Contains(status, fmt.Appendf(nil, "PPid:\t%d\n", os.Getpid())) {
			continue
		}
		n++
		for _, file := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile("/proc/" + e.Name() + "/" + file)
			if err != nil {
				continue // it has ended
			}
			if found := finds(text, c.secrets...); found != "" {
				c.t.Errorf("%s is in the %s of process %d", found, file, pid)
			}
		}
	}
	return n
}
