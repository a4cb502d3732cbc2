package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/sdk/provider"
)

// P20: a stage that hangs ends on time, and where the client has seen nothing yet the next candidate takes over.
func TestTimeoutsOfStagesFallBack(t *testing.T) {
	role := scripted.OpenAIChunks("x", nil, scripted.UsageNone)[0]
	alive := [][]byte{role}
	for range 100 {
		alive = append(alive, []byte(": still here\n\n"))
	}
	for name, tc := range map[string]struct {
		timeouts string
		reply    *scripted.Reply
		took     time.Duration
	}{
		"first byte":                        {"first_byte = 0.4", &scripted.Reply{HoldBeforeHeaders: 5 * time.Second}, 400 * time.Millisecond},
		"silence after the role":            {"idle = 0.4", &scripted.Reply{Chunks: alive, Interval: 5 * time.Second}, 400 * time.Millisecond},
		"keep-alives and no content":        {"first_content = 0.4", &scripted.Reply{Chunks: alive, Interval: 50 * time.Millisecond}, 400 * time.Millisecond},
		"keep-alives until the total is up": {"total = 0.4", &scripted.Reply{Chunks: alive, Interval: 50 * time.Millisecond}, 400 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			up, toml := upstreams(t, 2)
			g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeouts = { "+tc.timeouts+" }", 1), nil)
			up[0].Script(func(*scripted.Request) *scripted.Reply { return tc.reply })
			began := time.Now()
			resp, body := g.api.post(t, chatPath, ask("m", "stream", true))
			took := time.Since(began)
			if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Provider") != "up1" || resp.Header.Get("X-Pointsman-Attempts") != "2" {
				t.Errorf("%d from %q: %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Provider"), body)
			}
			if took < tc.took || took > tc.took+1200*time.Millisecond {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A policy's wish for a step can only shorten what the operator allows.
func TestPolicyShortensTheWaitForTheFirstByte(t *testing.T) {
	for wish, took := range map[int]time.Duration{300: 300 * time.Millisecond, 60_000: 800 * time.Millisecond} {
		up, toml := upstreams(t, 1)
		g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeouts = { first_byte = 0.8 }", 1)+fmt.Sprintf("[policies.custom.config]\ntimeout_ms = %d\n", wish), nil)
		up[0].Script(func(*scripted.Request) *scripted.Reply { return &scripted.Reply{HoldBeforeHeaders: 5 * time.Second} })
		began := time.Now()
		resp, body := g.api.post(t, chatPath, ask("m"))
		attempts := time.Duration(up[0].Count())
		if got := time.Since(began); resp.StatusCode != 504 || got < attempts*took || got > attempts*took+time.Second {
			t.Errorf("wish of %d ms: %d after %v and %d attempts: %s", wish, resp.StatusCode, got, attempts, body)
		}
	}
}

// A stream that has content is cut by silence, and does not look complete.
func TestIdleTimeoutAfterContentBreaksTheStreamOff(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeouts = { idle = 0.3 }", 1), nil)
	up[0].Script(func(*scripted.Request) *scripted.Reply {
		chunks := scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageNone)
		return &scripted.Reply{Chunks: [][]byte{append(append([]byte{}, chunks[0]...), chunks[1]...), chunks[2]}, Interval: 5 * time.Second}
	})
	resp, err := g.api.do("POST", chatPath, ask("m", "stream", true))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	began, text := time.Now(), make([]byte, 0, 4096)
	for err == nil {
		var n int
		buf := make([]byte, 1024)
		n, err = resp.Body.Read(buf)
		text = append(text, buf[:n]...)
	}
	if took := time.Since(began); took > 2*time.Second || err.Error() == "EOF" || !strings.Contains(string(text), "provider_stream_error") {
		t.Errorf("%v after %v: %s", err, took, text)
	}
}

// silent is an adapter whose calls stop saying anything after a number of steps: the head, then parts.
type silent struct {
	engine.Adapters
	steps int
	pause time.Duration
}

func (s silent) Prepare(context.Context, string, *provider.PrepareRequest) (*provider.Endpoint, error) {
	return &provider.Endpoint{Mode: provider.ModeProxied, Dialect: provider.DialectOpenAI}, nil
}

func (s silent) Call(ctx context.Context, _ string, _ *provider.CallRequest, answer provider.AnswerWriter) error {
	for i := 0; i < s.steps && ctx.Err() == nil; i++ {
		var err error
		if i == 0 {
			err = answer.Head(200, nil)
		} else {
			err = answer.Part([]byte(`{"choices":[{"index":0,"delta":{"role":"assistant"}}]}`))
		}
		if err != nil {
			return err
		}
		time.Sleep(s.pause)
	}
	<-ctx.Done()
	return fmt.Errorf("rpc error: %w", ctx.Err()) // as a plugin that was cut
}

// A plugin that is silent is a provider that is silent, not a client that left.
func TestSilentPluginTimesOut(t *testing.T) {
	_, toml := upstreams(t, 1)
	for name, tc := range map[string]struct {
		timeouts string
		adapter  silent
	}{
		"first byte": {"first_byte = 0.3", silent{}},
		"idle":       {"idle = 0.3", silent{steps: 3}},
		"total":      {"total = 0.3", silent{steps: 100, pause: 20 * time.Millisecond}},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stream %v", name, stream), func(t *testing.T) {
				t.Parallel()
				g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeouts = { "+tc.timeouts+" }", 1), nil)
				cfg := g.engine.Config
				cfg.Adapters = tc.adapter
				e, err := engine.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close(t.Context())
				api := newClient(serveOn(t, func(ln net.Listener) error { return engine.NewServer(e.Routes().Handler(g.log), 1<<20).Serve(ln) }), g.api.key)
				began := time.Now()
				resp, body := api.post(t, chatPath, ask("m", "stream", stream))
				if took := time.Since(began); resp.StatusCode != 504 || !strings.Contains(body, "provider_timeout") || took < 300*time.Millisecond || took > 2*time.Second {
					t.Errorf("%d after %v: %s", resp.StatusCode, took, body)
				}
			})
		}
	}
}
