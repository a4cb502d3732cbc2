package main

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// providerHealth is what the tests look at of a provider's health.
type providerHealth struct {
	Provider, Status, Reason string
	Since                    *time.Time
	Window                   engine.WindowHealth
	Probe                    *engine.ProbeResult
	Models                   []struct {
		Model, Status, Reason string
		Retry                 *time.Time `json:"retry_at"`
		Limits                *struct {
			Left []struct {
				Unit             string
				Limit, Remaining int64
			}
		}
	}
}

// providerHealth asks for one provider's health, with the caller's key if it has one.
func (c *client) providerHealth(t testing.TB, provider string) providerHealth {
	t.Helper()
	var x struct{ Providers []providerHealth }
	if err := c.call("GET", "/api/v1/llm/health", nil, &x); err != nil {
		t.Fatal(err)
	}
	for _, p := range x.Providers {
		if p.Provider == provider {
			return p
		}
	}
	t.Fatalf("provider %s is not listed", provider)
	return providerHealth{}
}

func failing(status int, header ...string) func(*scripted.Request) *scripted.Reply {
	h := map[string]string{}
	for i := 0; i < len(header); i += 2 {
		h[header[i]] = header[i+1]
	}
	return func(r *scripted.Request) *scripted.Reply {
		if r.Method == "GET" {
			return nil
		}
		return &scripted.Reply{Status: status, Header: h, Body: []byte(`{"error":{"message":"no"}}`)}
	}
}

func TestHealthTellsWhyAndSinceWhen(t *testing.T) {
	up, toml := upstreams(t, 2)
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n", nil)
	if p := g.api.providerHealth(t, "up0"); p.Status != "unknown" || p.Reason != "no traffic in the last 5 minutes" || p.Window.SuccessRate != nil || len(p.Models) != 1 {
		t.Errorf("at first: %+v", p)
	}
	for range 4 {
		g.api.post(t, chatPath, ask("m", "stream", true, "stream_options", map[string]bool{"include_usage": true}))
	}
	p := g.api.providerHealth(t, "up0")
	if p.Status != "healthy" || p.Reason != "4 of 4 attempts in the last 5 minutes answered" || *p.Window.SuccessRate != 1 || p.Window.TTFT50 <= 0 || p.Window.Latency95 < p.Window.TTFT50 {
		t.Errorf("after traffic: %+v", p)
	}
	began := time.Now()
	up[0].Script(failing(500))
	for range 5 {
		g.api.post(t, chatPath, ask("up0/m"))
	}
	g.api.post(t, chatPath, ask("m"))
	if p = g.api.providerHealth(t, "up0"); p.Status != "down" || !strings.Contains(p.Reason, "circuit open after 5 failures: server") || p.Since.Before(began.Add(-time.Millisecond)) || p.Models[0].Retry == nil {
		t.Errorf("after failures: %+v", p)
	}
	if other := g.api.providerHealth(t, "up1"); other.Status != "healthy" || other.Window.Answers != 1 {
		t.Errorf("the other: %+v", other)
	}
	before := up[0].Count()
	g.api.post(t, chatPath, ask("m"))
	if up[0].Count() != before {
		t.Error("a provider that is down was asked")
	}

	if resp, text := g.admin.send(t, "GET", "/metrics", nil); resp.StatusCode != 200 || !strings.Contains(text, `pointsman_provider_status{provider="up0",status="down"} 1`) {
		t.Error("the metrics do not tell that it is down")
	}

	// It is well again: the next request after the wait tries it, though nothing else happens meanwhile.
	up[0].Script(nil)
	time.Sleep(time.Until(*p.Models[0].Retry) + 20*time.Millisecond)
	if p = g.api.providerHealth(t, "up0"); p.Status != "degraded" || !strings.Contains(p.Reason, "half open") {
		t.Errorf("after the wait: %+v", p)
	}
	g.api.post(t, chatPath, ask("up0/m")) // either may rank first: they differ in speed only
	if p = g.api.providerHealth(t, "up0"); up[0].Count() != before+1 || strings.Contains(p.Reason, "circuit") {
		t.Errorf("after a success: %+v", p)
	}
}

func TestOnlyProviderThatWasDownIsAskedAgain(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n", nil)
	up[0].Script(failing(404))
	g.api.post(t, chatPath, ask("m"))
	up[0].Script(nil)
	resp, body := g.api.post(t, chatPath, ask("m"))
	if wait := resp.Header.Get("Retry-After"); resp.StatusCode != 503 || wait != "1" && wait != "2" {
		t.Errorf("%d, retry after %q: %s", resp.StatusCode, wait, body)
	}
	time.Sleep(2100 * time.Millisecond)
	if resp, body = g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
		t.Errorf("it stays locked out: %d %s", resp.StatusCode, body)
	}
}

// A stream that tries a provider again is its trial until its first content: then others go there too, while it goes on.
func TestStreamThatTriesAProviderAgain(t *testing.T) {
	t.Parallel()
	for _, path := range []string{chatPath, "/v1/audio/speech"} {
		t.Run(path, func(t *testing.T) {
			up, toml := operationModels(t, 1)
			g := newGateway(t, toml+"[health]\nprobe = \"off\"\n", nil)
			body := inDialect(chatPath, "m", "x", true)
			if path != chatPath {
				body = `{"model":"tts","voice":"v","input":"Hi"}`
			}
			up[0].Script(failing(404)) // which opens the circuit at once
			g.api.post(t, path, []byte(body))
			up[0].Script(func(r *scripted.Request) *scripted.Reply {
				reply := r.Default() // content at once, and the rest late
				if path != chatPath {
					reply = &scripted.Reply{Chunks: [][]byte{{0xff, 0}, {1}}, Header: map[string]string{"Content-Type": "audio/mpeg"}}
				} else {
					reply.Chunks = append([][]byte{bytes.Join(reply.Chunks[:2], nil)}, reply.Chunks[2:]...)
				}
				reply.Interval = time.Minute
				return reply
			})
			time.Sleep(2100 * time.Millisecond)
			for i := range 3 {
				resp, err := g.api.do("POST", path, []byte(body))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if _, err := resp.Body.Read(make([]byte, 1)); err != nil || resp.StatusCode != 200 {
					t.Errorf("request %d: %d, %v", i, resp.StatusCode, err)
				}
			}
			if p := g.api.providerHealth(t, "up0"); p.Status == "down" || strings.Contains(p.Reason, "circuit") {
				t.Errorf("%s: %s", p.Status, p.Reason)
			}
		})
	}
}

// The platform's key is refused: its users are served elsewhere, and an account with a key of its own does not notice.
func TestRefusedPlatformKeyConcernsItsUsersOnly(t *testing.T) {
	up, toml := upstreams(t, 2)
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n", nil)
	owner := g.account("owner")
	if err := owner.call("PUT", "/api/v1/llm/byok/up0", map[string]string{"key": "sk-own-key-1234"}, nil); err != nil {
		t.Fatal(err)
	}
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		if strings.Contains(r.Authorization, "platform") {
			return &scripted.Reply{Status: 401, Body: []byte(`{}`)}
		}
		return nil
	})
	for i := range 3 {
		if resp, body := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Provider") != "up1" {
			t.Errorf("%d: %d %s", i, resp.StatusCode, body)
		}
		if resp, body := owner.post(t, chatPath, ask("m")); resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Provider") != "up0" {
			t.Errorf("%d, own key: %d %s", i, resp.StatusCode, body)
		}
	}
	if up[0].Count() != 4 {
		t.Errorf("%d requests, want one with the refused key and three with the own one", up[0].Count())
	}
	if p := g.api.providerHealth(t, "up0"); p.Status != "down" || p.Reason != "the provider refuses the platform's key: auth" || p.Since == nil {
		t.Errorf("%+v", p)
	}
}

func TestUsedUpLimitKeepsRequestsAwayUntilItResets(t *testing.T) {
	up, toml := upstreams(t, 2)
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n", nil)
	var left atomic.Int64
	left.Store(2)
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.Header = map[string]string{
			"x-ratelimit-limit-requests": "3", "x-ratelimit-remaining-requests": strconv.FormatInt(left.Add(-1), 10), "x-ratelimit-reset-requests": "3s",
			"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "900", "x-ratelimit-reset-tokens": "-1",
		}
		return reply
	})
	for i, want := range []string{"up0", "up0", "up1", "up1"} {
		if resp, _ := g.api.post(t, chatPath, ask("m")); resp.Header.Get("X-Pointsman-Provider") != want {
			t.Errorf("request %d went to %s", i, resp.Header.Get("X-Pointsman-Provider"))
		}
	}
	p := g.api.providerHealth(t, "up0")
	if p.Status != "degraded" || !strings.Contains(p.Reason, "limit is used up") || p.Models[0].Limits == nil || p.Models[0].Limits.Left[0].Remaining != 0 || p.Models[0].Retry == nil {
		t.Errorf("%+v", p)
	}
	if anonymous := newClient(g.api.base, "").providerHealth(t, "up0"); anonymous.Models[0].Limits != nil {
		t.Error("what is left of the platform's limits is told to anybody")
	}
	resp, body := g.api.post(t, chatPath, ask("up0/m", "pointsman", map[string]bool{"fallback": false}))
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "1" || !strings.Contains(body, "provider_rate_limited") {
		t.Errorf("%d, retry after %q: %s", resp.StatusCode, resp.Header.Get("Retry-After"), body)
	}
	time.Sleep(time.Until(*p.Models[0].Retry) + 20*time.Millisecond)
	left.Store(3)
	if resp, body := g.api.post(t, chatPath, ask("up0/m")); resp.StatusCode != 200 {
		t.Errorf("after the reset: %d %s", resp.StatusCode, body)
	}
}

func TestRetryAfterOf429IsKept(t *testing.T) {
	up, toml := upstreams(t, 2)
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n", nil)
	up[0].Script(failing(429, "Retry-After", "1"))
	for range 3 {
		g.api.post(t, chatPath, ask("m"))
	}
	if up[0].Count() != 1 {
		t.Errorf("asked %d times within the wait", up[0].Count())
	}
	up[0].Script(nil)
	time.Sleep(1100 * time.Millisecond)
	if resp, body := g.api.post(t, chatPath, ask("up0/m")); resp.StatusCode != 200 {
		t.Errorf("after the wait: %d %s", resp.StatusCode, body)
	}
}

// hands is a clock that is turned by hand.
type hands struct {
	mu sync.Mutex
	t  time.Time
}

func (h *hands) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.t
}

func (h *hands) turn(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.t = h.t.Add(d)
}

// clocked is a second engine on the gateway's parts that goes by a clock of the test's. Its own probing is too slow to matter.
func clocked(t *testing.T, g *testGateway, probes engine.Probes) (*engine.Engine, *client, *hands) {
	t.Helper()
	clock := &hands{t: time.Now()}
	cfg := g.engine.Config
	cfg.Probes, cfg.Now, cfg.Transport = probes, clock.now, upstream.New(upstream.Config{})
	e, err := engine.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := engine.NewServer(e.Routes().Handler(g.log), 1<<20)
	base := serveOn(t, server.Serve)
	t.Cleanup(func() { e.Close(t.Context()) }) //nolint:errcheck // the context is over: it only stops the goroutines
	return e, newClient(base, g.api.key), clock
}

// P34: a day without traffic, with every provider configured and one of them down. Nothing billable is asked, and what is
// free rarely.
func TestIdleDayCostsNothing(t *testing.T) {
	t.Parallel()
	for mode, most := range map[engine.Probes]int64{engine.ProbeOff: 0, engine.ProbeDown: 300, engine.ProbeUnknown: 300} {
		t.Run(string(mode), func(t *testing.T) {
			up, toml := upstreams(t, 3)
			g := newGateway(t, toml+"[health]\nprobe = \"off\"\n", nil)
			e, api, clock := clocked(t, g, mode)
			up[0].Script(func(r *scripted.Request) *scripted.Reply { return &scripted.Reply{Status: 400, Body: []byte(`{}`)} }) // busy or broken, but not well
			up[1].Script(failing(500))
			for range 6 {
				api.post(t, chatPath, ask("up1/m"))
			}
			var before [3]int64
			for i := range up {
				before[i] = up[i].Count()
			}
			probes := 0
			for range 24 * 60 * 60 / 5 {
				clock.turn(5 * time.Second)
				probes += e.ProbeDue()
			}
			for i := range up {
				free := up[i].Count() - before[i]
				if free > most {
					t.Errorf("up%d was asked %d times in a day", i, free)
				}
				t.Logf("up%d: %d free requests", i, free)
			}
			for i := range up {
				for _, r := range up[i].Requests() {
					if r.Seq > before[i] && (r.Method != http.MethodGet || !strings.HasSuffix(r.Path, "/models") || len(r.Body) > 0) {
						t.Fatalf("up%d got %s %s while nobody asked for anything", i, r.Method, r.Path)
					}
				}
			}
			if mode == engine.ProbeOff && probes != 0 {
				t.Errorf("%d probes although they are off", probes)
			}
			if mode != engine.ProbeOff && up[1].Count() == before[1] {
				t.Error("the provider that is down was not looked at")
			}
			if mode == engine.ProbeUnknown && up[2].Count()-before[2] != 1 {
				t.Errorf("a provider without traffic that works was looked at %d times, once is enough", up[2].Count()-before[2])
			}
		})
	}
}

func TestHealthPagesAskNobody(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	for range 50 {
		for _, path := range []string{"/health", "/health/ready", "/health/live", "/api/v1/llm/health"} {
			if err := g.api.call("GET", path, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.admin.call("GET", "/api/v1/admin/status", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if up[0].Count() != 0 {
		t.Errorf("%d requests", up[0].Count())
	}
}

// A probe that works lets the next request try at once, rather than after the rest of the wait.
func TestWorkingProbeShortensTheWait(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n", nil)
	e, api, clock := clocked(t, g, engine.ProbeDown)
	up[0].Script(failing(500))
	for range 5 {
		api.post(t, chatPath, ask("m"))
	}
	up[0].Script(nil)
	if resp, _ := api.post(t, chatPath, ask("m")); resp.StatusCode != 503 {
		t.Fatalf("%d: the circuit is not open", resp.StatusCode)
	}
	if e.ProbeDue() != 1 {
		t.Fatal("no probe was due")
	}
	if p := api.providerHealth(t, "up0"); p.Probe == nil || !p.Probe.Works || p.Probe.Checked != "key" || p.Status != "degraded" {
		t.Errorf("%+v, probe %+v", p, p.Probe)
	}
	if resp, body := api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	clock.turn(time.Hour)
	if e.ProbeDue() != 0 {
		t.Error("a provider that is well was probed")
	}
}
