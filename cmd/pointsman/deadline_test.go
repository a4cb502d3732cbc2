package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// whatever asks, and returns what came of it, also of an answer that breaks off.
func (c *client) whatever(t testing.TB, limit, path string, body any) (status int, text string) {
	t.Helper()
	resp, err := c.unread(path, body, header("X-Pointsman-Timeout-Ms", limit))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, _ := io.ReadAll(resp.Body) // the text tells how it ended
	return resp.StatusCode, string(all)
}

// A client that gives a request less time than the provider needs learns that, and nobody else: no circuit opens, and the provider's
// other figures do not change either.
func TestDeadlineOfTheClientSaysNothingOfTheProvider(t *testing.T) {
	t.Parallel()
	begun := func(r *scripted.Request) *scripted.Reply { // content at once, and the rest late
		chunks := scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageNone)
		return &scripted.Reply{Chunks: [][]byte{bytes.Join(chunks[:2], nil), chunks[2]}, Interval: 20 * time.Second}
	}
	silent := func(*scripted.Request) *scripted.Reply { return &scripted.Reply{HoldBeforeHeaders: 20 * time.Second} }
	keptAlive := func(*scripted.Request) *scripted.Reply {
		return &scripted.Reply{Chunks: slowComments(100), Interval: 20 * time.Millisecond}
	}
	for _, x := range []struct {
		name    string
		stream  bool
		script  func(*scripted.Request) *scripted.Reply
		status  int
		outcome string
	}{
		{"buffered", false, silent, 504, "upstream_error"},
		{"a stream before its head", true, silent, 504, "upstream_error"},
		{"a stream before its content", true, keptAlive, 504, "upstream_error"},
		{"a stream with content", true, begun, 200, "upstream_abort"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			up, toml := upstreams(t, 1)
			g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+"[health]\nprobe = \"off\"\n[retries]\nattempts = 1\n", nil)
			impatient := g.account("impatient")
			up[0].Script(x.script)
			for range 6 {
				if status, text := impatient.whatever(t, "150", chatPath, ask("m", "stream", x.stream)); status != x.status || !strings.Contains(text, "deadline_exceeded") {
					t.Errorf("%d: %s", status, text)
				}
			}
			if u := impatient.lastUsage(t); u["outcome"] != x.outcome || u["error_code"] != "deadline_exceeded" {
				t.Errorf("usage %v", u)
			}
			if p := g.api.providerHealth(t, "up0"); p.Status == "down" || p.Window.Failures != 0 {
				t.Errorf("the provider is %s: %s; %+v", p.Status, p.Reason, p.Window)
			}
			up[0].Script(nil)
			if resp, text := g.api.post(t, chatPath, ask("m", "stream", x.stream)); resp.StatusCode != 200 {
				t.Errorf("another account: %d %s", resp.StatusCode, text)
			}
		})
	}
}

// slowComments is the role of an answer and then nothing but comments.
func slowComments(n int) [][]byte {
	chunks := scripted.OpenAIChunks("x", nil, scripted.UsageNone)[:1]
	for range n {
		chunks = append(chunks, []byte(": still here\n\n"))
	}
	return chunks
}

// The provider's own limit still counts when the client gives more time than that.
func TestTimeoutCountsBesideADeadline(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 0.1", 1)+"[health]\nprobe = \"off\"\n[retries]\nattempts = 1\n", nil)
	up[0].Script(func(*scripted.Request) *scripted.Reply { return &scripted.Reply{HoldBeforeHeaders: 20 * time.Second} })
	for range 5 {
		if status, text := g.api.whatever(t, "20000", chatPath, ask("m")); status != 504 || !strings.Contains(text, "provider_timeout") {
			t.Fatalf("%d %s", status, text)
		}
	}
	if p := g.api.providerHealth(t, "up0"); p.Status != "down" {
		t.Errorf("the provider is %s: %s", p.Status, p.Reason)
	}
}

// A plugin that makes its own calls is cut at the client's limit without saying anything of the provider, too.
func TestDeadlineOfTheClientAndPlugins(t *testing.T) {
	t.Parallel()
	_, toml := upstreams(t, 1)
	g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+"[retries]\nattempts = 1\n", nil)
	for name, steps := range map[string]int{"before the head": 0, "in the middle": 3} {
		for _, stream := range []bool{false, true} {
			cfg := g.engine.Config
			cfg.Adapters = silent{steps: steps}
			e, err := engine.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close(t.Context())
			api := newClient(serveOn(t, func(ln net.Listener) error { return engine.NewServer(e.Routes().Handler(g.log), 1<<20).Serve(ln) }), g.api.key)
			for range 6 {
				if status, text := api.whatever(t, "100", chatPath, ask("m", "stream", stream)); status != 504 || !strings.Contains(text, "deadline_exceeded") {
					t.Errorf("%s, stream %v: %d %s", name, stream, status, text)
				}
			}
			if p := api.providerHealth(t, "up0"); p.Status == "down" || p.Window.Failures != 0 {
				t.Errorf("%s, stream %v: the provider is %s: %s; %+v", name, stream, p.Status, p.Reason, p.Window)
			}
		}
	}
}

// So is a sound that is passed on while it comes.
func TestDeadlineOfTheClientAndSounds(t *testing.T) {
	t.Parallel()
	up, toml := operationModels(t, 1)
	g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+"[health]\nprobe = \"off\"\n", nil)
	up[0].Script(func(*scripted.Request) *scripted.Reply {
		return &scripted.Reply{Chunks: [][]byte{{0xff, 0}, {1}}, Interval: 20 * time.Second, Header: map[string]string{"Content-Type": "audio/mpeg"}}
	})
	for range 6 {
		if status, _ := g.api.whatever(t, "150", "/v1/audio/speech", map[string]string{"model": "tts", "voice": "v", "input": "Hi"}); status != 200 {
			t.Errorf("status %d", status)
		}
	}
	if u := g.api.lastUsage(t); u["outcome"] != "upstream_abort" || u["error_code"] != "deadline_exceeded" || u["credits"] != "0" {
		t.Errorf("usage %v", u)
	}
	if p := g.api.providerHealth(t, "up0"); p.Status == "down" || p.Window.Failures != 0 {
		t.Errorf("the provider is %s: %s; %+v", p.Status, p.Reason, p.Window)
	}
}
