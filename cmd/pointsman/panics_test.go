package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
)

// serveWith serves by an engine beside a gateway's own, with another configuration of it.
func (g *testGateway) serveWith(change func(*engine.Config)) *client {
	g.t.Helper()
	cfg := g.engine.Config
	change(&cfg)
	e, err := engine.New(cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		over, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.Close(over); err != nil {
			g.t.Error(err)
		}
	})
	return newClient(serveOn(g.t, func(ln net.Listener) error { return engine.NewServer(e.Routes().Handler(cfg.Logger), 1<<20).Serve(ln) }), g.api.key)
}

// servesOn checks that a gateway that panicked serves on, has nothing under way and holds nothing against the provider.
func servesOn(t *testing.T, api *client, stream bool) {
	t.Helper()
	if resp, text := api.post(t, chatPath, ask("m", "stream", stream)); resp.StatusCode != 200 {
		t.Errorf("afterwards: %d %s", resp.StatusCode, text)
	}
	waitFor(t, "nothing under way", func() bool {
		var x struct {
			Providers []struct {
				Status string
				Window engine.WindowHealth
				Models []struct{ Inflight int }
			}
		}
		if err := api.call("GET", "/api/v1/llm/health", nil, &x); err != nil {
			t.Fatal(err)
		}
		p := x.Providers[0]
		if p.Status != "healthy" || p.Window.Failures != 0 {
			t.Fatalf("the provider: %+v", p)
		}
		return p.Models[0].Inflight == 0 && api.balanceHeld(t) == "0"
	})
}

// fragile is an adapter whose calls answer, or panic.
type fragile struct {
	engine.Adapters
	panics *atomic.Bool
}

func (fragile) Prepare(context.Context, string, *provider.PrepareRequest) (*provider.Endpoint, error) {
	return &provider.Endpoint{Mode: provider.ModeProxied, Dialect: provider.DialectOpenAI}, nil
}

func (f fragile) Call(_ context.Context, _ string, req *provider.CallRequest, answer provider.AnswerWriter) error {
	if f.panics.Load() {
		panic("in the middle of an attempt")
	}
	if err := answer.Head(200, nil); err != nil {
		return err
	}
	if !req.Stream {
		return answer.Part(scripted.OpenAIBody("x", "Hello"))
	}
	for _, event := range scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageFinal) {
		if err := answer.Part([]byte(strings.TrimSpace(strings.TrimPrefix(string(event), "data: ")))); err != nil {
			return err
		}
	}
	return nil
}

// An attempt that panics costs its request and nobody else, also where it has a goroutine of its own: the process goes on, and the
// provider's state is not concerned.
func TestPanicOfAnAttempt(t *testing.T) {
	t.Parallel()
	for _, hedged := range []bool{false, true} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("hedged %v, stream %v", hedged, stream), func(t *testing.T) {
				t.Parallel()
				_, toml := upstreams(t, 1)
				g := newGateway(t, toml+"[health]\nprobe = \"off\"\n", nil)
				var panics atomic.Bool
				api := g.serveWith(func(cfg *engine.Config) {
					cfg.Adapters = fragile{cfg.Adapters, &panics}
					if hedged {
						cfg.Hedges.Mode = engine.HedgeAlways
					}
				})
				if hedged {
					for range 25 {
						api.post(t, chatPath, ask("m", "stream", stream))
					}
					time.Sleep(1100 * time.Millisecond) // percentiles are a second old at most
				}
				panics.Store(true)
				for range 6 {
					if resp, text := api.post(t, chatPath, ask("m", "stream", stream)); resp.StatusCode != 500 || !strings.Contains(text, "internal_error") {
						t.Errorf("%d %s", resp.StatusCode, text)
					}
				}
				panics.Store(false)
				servesOn(t, api, stream)
			})
		}
	}
}

// brittle is a log that panics once when it is told.
type brittle struct {
	engine.Log
	panics *atomic.Bool
}

func (b brittle) Append(r storage.LogRecord) {
	if b.panics.CompareAndSwap(true, false) {
		panic("at the end of a request")
	}
	b.Log.Append(r)
}

// A stream that others may follow is made by a goroutine: if that panics, its clients get an error event, and the process goes on.
func TestPanicOfAStreamThatIsFollowed(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+"[health]\nprobe = \"off\"\n"+coalesceOn, nil)
	var panics atomic.Bool
	api := g.serveWith(func(cfg *engine.Config) { cfg.Log = brittle{cfg.Log, &panics} })
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders, reply.Interval = time.Second, 100*time.Millisecond
		return reply
	})
	panics.Store(true)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			resp, err := api.do("POST", chatPath, ask("m", "stream", true))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if text, err := io.ReadAll(resp.Body); err == nil || strings.Contains(string(text), "[DONE]") || !strings.Contains(string(text), `"error":{`) {
				t.Errorf("%v: %s", err, text)
			}
		})
	}
	all.Wait()
	if up[0].Count() != 1 {
		t.Errorf("the provider was asked %d times", up[0].Count())
	}
	up[0].Script(nil)
	servesOn(t, api, true)
}

// panicsOn is a log's handler that panics once at a message.
type panicsOn struct {
	slog.Handler
	message string
	over    *atomic.Bool
}

func (h panicsOn) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == h.message && !h.over.Swap(true) {
		panic(r.Message)
	}
	return h.Handler.Handle(ctx, r)
}

// A panic between an answer and the note of how it ended leaves no attempt under way.
func TestPanicBehindAnAnswer(t *testing.T) {
	t.Parallel()
	for _, coalesced := range []string{"", coalesceOn} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("stream %v, coalesced %v", stream, coalesced != ""), func(t *testing.T) {
				up, toml := upstreams(t, 1)
				toml = strings.Replace(toml, "usd_in_per_1m = 1.0\nusd_out_per_1m = 2.0\n", "", 1)
				toml = strings.Replace(toml, "tier = 1\n", "tier = 1\nunpriced = \"default\"\n", 1)
				g := newGateway(t, toml+"[prices.default]\nusd_in_per_1m = 1.0\nusd_out_per_1m = 2.0\n[health]\nprobe = \"off\"\n"+coalesced, nil)
				var over atomic.Bool
				api := g.serveWith(func(cfg *engine.Config) {
					cfg.Logger = slog.New(panicsOn{cfg.Logger.Handler(), "an answer of a deployment without prices", &over})
				})
				resp, err := api.do("POST", chatPath, ask("m", "stream", stream))
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(resp.Body) // of a stream it breaks off
				resp.Body.Close()
				if !over.Load() || !strings.Contains(string(text), "the gateway failed on this request") || up[0].Count() != 1 {
					t.Errorf("%d %s", resp.StatusCode, text)
				}
				servesOn(t, api, stream)
			})
		}
	}
}
