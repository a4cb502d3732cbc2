package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// limited is a second engine on the gateway's parts, with limits and a clock of the test's. change may alter what it is built
// from.
func limited(t *testing.T, g *testGateway, limits engine.Limits, change func(*engine.Config)) (*engine.Engine, *client, *hands) {
	t.Helper()
	clock := &hands{t: time.Now()}
	cfg := g.engine.Config
	cfg.Probes, cfg.Now, cfg.Transport, cfg.Limits = engine.ProbeOff, clock.now, upstream.New(upstream.Config{}), limits
	if change != nil {
		change(&cfg)
	}
	e, err := engine.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	base := serveOn(t, engine.NewServer(e.Handler(), 1<<20).Serve)
	t.Cleanup(func() {
		for began := time.Now(); running(e) != "0 0 0 0 0"; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 5*time.Second {
				t.Errorf("requests under way in the end: %s", running(e))
				break
			}
		}
		if err := e.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return e, newClient(base, g.api.key), clock
}

// running are the requests under way of each owner with limits, as the metrics tell.
func running(e *engine.Engine) string {
	var text bytes.Buffer
	e.WriteMetrics(&text)
	var counts []string
	for line := range strings.Lines(text.String()) {
		if _, n, found := strings.Cut(line, "} "); found && strings.HasPrefix(line, "pointsman_limited_requests") {
			counts = append(counts, strings.TrimSpace(n))
		}
	}
	return strings.Join(counts, " ")
}

func number(n int64) *int64 { return &n }

// limitOf makes a limit of one unit.
func limitOf(unit string, n int64) (l storage.Limits) {
	switch unit {
	case "requests_per_minute":
		l.RequestsPerMinute = &n
	case "tokens_per_minute":
		l.TokensPerMinute = &n
	case "concurrent_requests":
		l.Concurrent = &n
	}
	return l
}

// inferenceRoutes are the paths of everything that asks a model, from the table of routes, each with a request for it. A path
// that is new has to be added here, or to those that ask nobody.
func inferenceRoutes(t *testing.T, routes engine.Routes) map[string]func(c *client) (*http.Response, string) {
	t.Helper()
	asksNobody := []string{"/messages/count_tokens", "/responses/", "/byok/"}
	post := func(path string, body map[string]any) func(c *client) (*http.Response, string) {
		return func(c *client) (*http.Response, string) { return c.post(t, path, body) }
	}
	form := func(path string, fields map[string]string) func(c *client) (*http.Response, string) {
		return func(c *client) (*http.Response, string) {
			resp, text, _ := c.sendForm(t, path, fields, wav(1))
			return resp, text
		}
	}
	out := map[string]func(c *client) (*http.Response, string){}
	for path, methods := range routes {
		if methods["POST"] == nil || slices.ContainsFunc(asksNobody, func(end string) bool { return strings.HasSuffix(path, end) }) {
			continue
		}
		plain := strings.TrimPrefix(strings.TrimPrefix(path, "/api"), "/v1")
		switch strings.TrimPrefix(plain, "/llm") {
		case "/chat/completions", "/messages":
			out[path] = post(path, ask("m"))
			out[path+" stream"] = post(path, ask("m", "stream", true))
		case "/completions":
			out[path] = post(path, map[string]any{"model": "m", "prompt": "x"})
		case "/responses":
			out[path] = post(path, map[string]any{"model": "m", "input": "x"})
		case "/embeddings":
			out[path] = post(path, map[string]any{"model": "e", "input": "x"})
		case "/images/generations":
			out[path] = post(path, map[string]any{"model": "img", "prompt": "x"})
		case "/audio/speech":
			out[path] = post(path, map[string]any{"model": "tts", "input": "x", "voice": "v"})
		case "/audio/transcriptions", "/audio/translations":
			out[path] = form(path, map[string]string{"model": "stt"})
		case "/moderations":
			out[path] = post(path, map[string]any{"model": "mod", "input": "x"})
		case "/rerank":
			out[path] = post(path, map[string]any{"model": "rank", "query": "q", "documents": []string{"a"}})
		default:
			t.Errorf("%s takes POST: say here how it is asked, so that its limits are tested, or that it asks nobody", path)
		}
	}
	if len(out) < 30 {
		t.Fatalf("only %d routes found", len(out))
	}
	return out
}

// onAll puts a limit on one kind of owner, or on all.
func onAll(owner string, l storage.Limits) (limits engine.Limits) {
	each := map[string]storage.Limits{}
	for _, name := range []string{"m", "e", "img", "tts", "stt", "mod", "rank", "up0"} {
		each[name] = l
	}
	if owner == "keys" || owner == "all" {
		limits.Keys = l
	}
	if owner == "accounts" || owner == "all" {
		limits.Accounts = l
	}
	if owner == "models" || owner == "all" {
		limits.Models = each
	}
	if owner == "providers" || owner == "all" {
		limits.Providers = each
	}
	return limits
}

// P09: every route that asks a model, with every kind of key header, enforces every limit of every owner; nothing reaches the
// provider, and a limit of 0 tells of no time to come again.
func TestP09EveryRouteEnforcesEveryLimit(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, toml, nil)
	cells := 0
	for _, owner := range []string{"keys", "accounts", "models", "providers"} {
		for _, unit := range []string{"requests_per_minute", "tokens_per_minute", "concurrent_requests"} {
			e, c, _ := limited(t, g, onAll(owner, limitOf(unit, 0)), nil)
			byHeader := newClient(c.base, "")
			byHeader.http.Transport = keyHeader(c.key)
			for name, send := range inferenceRoutes(t, e.Routes()) {
				for _, caller := range []*client{c, byHeader} {
					cells++
					resp, text := send(caller)
					if resp.StatusCode != 429 || !strings.Contains(text, `"rate_limit_exceeded"`) || !strings.Contains(text, `"rate_limit_error"`) ||
						!strings.Contains(text, unit) || resp.Header.Get("Retry-After") != "" {
						t.Errorf("%s, %s of %s: %d %v %s", name, unit, owner, resp.StatusCode, resp.Header, text)
					}
				}
			}
		}
	}
	if up[0].Count() != 0 || g.api.balance(t) != "1000" {
		t.Errorf("%d requests reached the provider, balance %s", up[0].Count(), g.api.balance(t))
	}
	t.Logf("%d cells", cells)
}

// P09: likewise the limits that a key, an account or a team has of its own, as the operator's API sets and takes them.
func TestP09LimitsThatTheOperatorSets(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, toml, nil)
	up[0].Script(answerOperation)
	change := func(path string, body map[string]any) {
		t.Helper()
		if err := g.admin.call("PATCH", "/api/v1/admin/"+path, body, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.admin.call("POST", "/api/v1/admin/teams", map[string]any{"id": "blue"}, nil); err != nil {
		t.Fatal(err)
	}
	change("accounts/default", map[string]any{"team": "blue"})
	routes := inferenceRoutes(t, g.engine.Routes())
	for owner, path := range map[string]string{"key": "keys/" + g.directory.Keys("default")[0].ID, "account": "accounts/default", "team": "teams/blue"} {
		for _, unit := range []string{"requests_per_minute", "tokens_per_minute", "concurrent_requests"} {
			change(path, map[string]any{"limits": map[string]any{unit: 0}})
			for name, send := range routes {
				if resp, text := send(g.api); resp.StatusCode != 429 || !strings.Contains(text, unit+" of your "+owner+" is 0") {
					t.Errorf("%s, %s of %s: %d %s", name, unit, owner, resp.StatusCode, text)
				}
			}
			change(path, map[string]any{"limits": map[string]any{unit: nil}})
		}
	}
	if up[0].Count() != 0 {
		t.Errorf("%d requests reached the provider", up[0].Count())
	}
	if resp, text := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
		t.Errorf("without limits again: %d %s", resp.StatusCode, text)
	}
}

// A change of a limit counts from the next request on, with what was used before; a key that replaces another has its limits and
// what is left of them.
func TestLimitsThatChange(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	path := "/api/v1/admin/keys/" + g.directory.Keys("default")[0].ID
	c := g.api
	for _, step := range []struct {
		limit  any // nil: as before
		rotate bool
		status int
		left   string
	}{{3, false, 200, "2"}, {nil, false, 200, "1"}, {10, false, 200, "7"}, {3, false, 429, "0"}, {4, true, 200, "0"}, {nil, false, 429, "0"}} {
		if step.limit != nil {
			if err := g.admin.call("PATCH", path, map[string]any{"limits": map[string]any{"requests_per_minute": step.limit}}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if step.rotate {
			var next keyEntry
			if err := g.admin.call("POST", path+"/rotate", map[string]any{}, &next); err != nil {
				t.Fatal(err)
			}
			c = newClient(g.api.base, next.Key)
		}
		if resp, text := c.post(t, chatPath, ask("m")); resp.StatusCode != step.status || resp.Header.Get("x-ratelimit-remaining-requests") != step.left {
			t.Errorf("%+v: %d %v %s", step, resp.StatusCode, resp.Header, text)
		}
	}
}

// keyHeader sends the key as Anthropic's clients do.
type keyHeader string

func (k keyHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Del("Authorization")
	r.Header.Set("X-Api-Key", string(k))
	return http.DefaultTransport.RoundTrip(r)
}

// P18: on every route a request gives its place back, so that the next one passes where one at once is allowed.
func TestP18EveryRouteGivesItsPlaceBack(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, toml, nil)
	up[0].Script(answerOperation)
	e, c, _ := limited(t, g, onAll("all", storage.Limits{Concurrent: number(1)}), nil)
	for name, send := range inferenceRoutes(t, e.Routes()) {
		for range 2 {
			if resp, text := send(c); resp.StatusCode != 200 || running(e) != "0 0 0 0 0" {
				t.Errorf("%s: %d %s, running %s", name, resp.StatusCode, text, running(e))
			}
		}
	}
}

// P18: who is refused is told the truth: nothing was charged, recorded or sent, and who comes again when told is let through.
func TestP18RefusalTellsTheTruth(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	limits := engine.Limits{Keys: storage.Limits{RequestsPerMinute: number(3)}, Accounts: storage.Limits{RequestsPerMinute: number(5)}}
	e, c, clock := limited(t, g, limits, nil)
	for i := range 3 {
		resp, text := c.post(t, chatPath, ask("m", "stream", i == 1))
		h := resp.Header
		if resp.StatusCode != 200 || h.Get("x-ratelimit-limit-requests") != "3" || h.Get("x-ratelimit-remaining-requests") != strconv.Itoa(2-i) ||
			h.Get("x-ratelimit-reset-requests") != "1m0s" || h.Get("x-ratelimit-limit-tokens") != "" {
			t.Fatalf("%d %v %s", resp.StatusCode, h, text)
		}
		clock.turn(10 * time.Second)
	}
	balance, last := g.api.balance(t), c.lastUsage(t)["request_id"]
	for _, path := range []string{chatPath, messagesPath} {
		resp, text := c.post(t, path, ask("m"))
		h := resp.Header
		if resp.StatusCode != 429 || h.Get("Retry-After") != "30" || h.Get("x-ratelimit-remaining-requests") != "0" || h.Get("x-ratelimit-reset-requests") != "50s" ||
			!strings.Contains(text, "requests_per_minute of your key is 3") || !strings.Contains(text, "in 30s") {
			t.Fatalf("%d %v %s", resp.StatusCode, h, text)
		}
		if path == messagesPath {
			reset, err := time.Parse(time.RFC3339, h.Get("anthropic-ratelimit-requests-reset"))
			if left := reset.Sub(clock.now()); err != nil || left < 50*time.Second || left > 52*time.Second || h.Get("anthropic-ratelimit-requests-limit") != "3" ||
				h.Get("anthropic-ratelimit-requests-remaining") != "0" || !strings.Contains(text, `"type":"error"`) {
				t.Errorf("%v %v %s", err, h, text)
			}
		} else if h.Get("anthropic-ratelimit-requests-limit") != "" {
			t.Errorf("Anthropic's headers for another API: %v", h)
		}
	}
	if up[0].Count() != 3 || g.api.balance(t) != balance || c.lastUsage(t)["request_id"] != last {
		t.Errorf("%d reached the provider, balance %s after %s, usage %v", up[0].Count(), g.api.balance(t), balance, c.lastUsage(t))
	}
	var metrics bytes.Buffer
	if e.WriteMetrics(&metrics); !strings.Contains(metrics.String(), `pointsman_limit_refusals_total{limit="requests_per_minute",of="key"} 2`) {
		t.Errorf("no metric of it:\n%s", metrics.String())
	}
	clock.turn(30*time.Second - 1)
	if resp, _ := c.post(t, chatPath, ask("m")); resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("a moment early: %d %v", resp.StatusCode, resp.Header)
	}
	clock.turn(1)
	if resp, text := c.post(t, chatPath, ask("m")); resp.StatusCode != 200 || resp.Header.Get("x-ratelimit-remaining-requests") != "0" {
		t.Errorf("when told: %d %v %s", resp.StatusCode, resp.Header, text)
	}
	// A request that is wrong counts, and is told how its limits stand.
	clock.turn(10 * time.Second)
	if resp, text := c.post(t, chatPath, ask("nonesuch")); resp.StatusCode != 404 || resp.Header.Get("x-ratelimit-remaining-requests") != "0" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, text)
	}
}

// P18: tokens are held as estimated, and what was not used is there again at once.
func TestP18TokensAreHeldAndSettled(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	_, c, clock := limited(t, g, engine.Limits{Accounts: storage.Limits{TokensPerMinute: number(250)}}, nil)
	release, held := make(chan struct{}), make(chan struct{})
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders, reply.Release = time.Minute, release
		return reply
	})
	go func() {
		defer close(held)
		c.post(t, chatPath, ask("m", "max_tokens", 200))
	}()
	for up[0].Count() == 0 {
		time.Sleep(time.Millisecond)
	}
	resp, text := c.post(t, chatPath, ask("m", "max_tokens", 100))
	if resp.StatusCode != 429 || !strings.Contains(text, "tokens_per_minute of your account is 250") || resp.Header.Get("Retry-After") != "60" || resp.Header.Get("x-ratelimit-limit-tokens") != "250" {
		t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, text)
	}
	close(release)
	<-held
	up[0].Script(nil)
	resp, text = c.post(t, chatPath, ask("m", "max_tokens", 100)) // 30 were used
	left, err := strconv.Atoi(resp.Header.Get("x-ratelimit-remaining-tokens"))
	if err != nil || resp.StatusCode != 200 || left > 250-30-100 || left < 250-30-150 {
		t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, text)
	}
	// A request that may need more than the limit is passes while nothing is taken, and owes what it uses beyond it.
	clock.turn(time.Minute)
	up[0].Script(repliesWith(`{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":900,"total_tokens":1000}}`))
	if resp, text = c.post(t, chatPath, ask("m", "max_tokens", 9000)); resp.StatusCode != 200 || resp.Header.Get("x-ratelimit-remaining-tokens") != "0" {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if resp, text = c.post(t, chatPath, ask("m", "max_tokens", 1)); resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "60" {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	clock.turn(time.Minute)
	if resp, text = c.post(t, chatPath, ask("m", "max_tokens", 1)); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
}

// Candidates whose limits are used up are left out, and a request that has no other is told when there is one.
func TestLimitsOfModelsAndProviders(t *testing.T) {
	up, toml := upstreams(t, 2)
	g := newGateway(t, toml, nil)
	limits := engine.Limits{Providers: map[string]storage.Limits{"up0": {RequestsPerMinute: number(1)}}, Models: map[string]storage.Limits{"m": {RequestsPerMinute: number(4)}}}
	e, c, clock := limited(t, g, limits, nil)
	asked := func() string { return fmt.Sprint(up[0].Count(), up[1].Count()) }
	for _, want := range []string{"1 0", "1 1"} {
		if resp, text := c.post(t, chatPath, ask("m")); resp.StatusCode != 200 || asked() != want || resp.Header.Get("x-ratelimit-limit-requests") != "" {
			t.Fatalf("%d %s, asked %s, want %s", resp.StatusCode, text, asked(), want)
		}
	}
	clock.turn(20 * time.Second)
	resp, text := c.post(t, chatPath, ask("up0/m"))
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "40" || !strings.Contains(text, "requests_per_minute of provider up0 is 1") || asked() != "1 1" {
		t.Errorf("%d %v %s, asked %s", resp.StatusCode, resp.Header, text, asked())
	}
	if u := c.lastUsage(t); u["outcome"] != "rejected" || u["error_code"] != "rate_limit_exceeded" || u["credits"] != "0" {
		t.Errorf("usage %v", u)
	}
	// Own keys have limits of their own with the provider; those of the model hold for them too.
	if err := c.call("PUT", "/api/v1/llm/byok/up0", map[string]string{"key": "sk-own-0123456789"}, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 1", "3 1"} {
		if resp, text = c.post(t, chatPath, ask("up0/m")); resp.StatusCode != 200 || asked() != want {
			t.Fatalf("%d %s, asked %s", resp.StatusCode, text, asked())
		}
	}
	resp, text = c.post(t, chatPath, ask("m"))
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "40" || !strings.Contains(text, "requests_per_minute of model m is 4") || asked() != "3 1" {
		t.Errorf("%d %v %s, asked %s", resp.StatusCode, resp.Header, text, asked())
	}
	if err := c.call("DELETE", "/api/v1/llm/byok/up0", nil, nil); err != nil {
		t.Fatal(err)
	}
	if resp, text = c.post(t, chatPath, ask("auto")); resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "40" {
		t.Errorf("no model named: %d %v %s", resp.StatusCode, resp.Header, text)
	}
	clock.turn(40 * time.Second)
	if resp, text = c.post(t, chatPath, ask("m")); resp.StatusCode != 200 || asked() != "4 1" {
		t.Errorf("%d %s, asked %s", resp.StatusCode, text, asked())
	}
	var metrics bytes.Buffer
	if e.WriteMetrics(&metrics); !strings.Contains(metrics.String(), `pointsman_limit_refusals_total{limit="requests_per_minute",of="provider"} `) {
		t.Errorf("no metric of it:\n%s", metrics.String())
	}
}

// Requests that decide at once do not all find the same room: a provider gets no more at once than its limit, and the others
// go on to the next.
func TestProviderGetsNoMoreAtOnce(t *testing.T) {
	up, toml := upstreams(t, 2)
	g := newGateway(t, toml, nil)
	_, c, _ := limited(t, g, engine.Limits{Providers: map[string]storage.Limits{"up0": {Concurrent: number(3)}}}, nil)
	var at, most atomic.Int64
	release := make(chan struct{})
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		most.Store(max(most.Load(), at.Add(1)))
		reply := r.Default()
		reply.HoldBeforeHeaders, reply.Release = time.Minute, release
		return reply
	})
	var group sync.WaitGroup
	var failed atomic.Int64
	for range 40 {
		group.Go(func() {
			resp, err := c.do("POST", chatPath, ask("m"))
			if err != nil || resp.StatusCode != 200 {
				failed.Add(1)
				return
			}
			resp.Body.Close()
		})
	}
	for up[1].Count() < 37 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	group.Wait()
	if up[0].Count() != 3 || most.Load() != 3 || failed.Load() != 0 {
		t.Errorf("%d at the limited provider, %d at once, %d failed", up[0].Count(), most.Load(), failed.Load())
	}
}

// P18: never more at once than allowed, whatever becomes of the requests, and after a thousand clients that left all places
// are free.
func TestP18PlacesAreFreeAfterAThousandAborts(t *testing.T) {
	t.Parallel()
	const places, rounds = 100, 10
	up, toml := upstreams(t, 1)
	g := newGateway(t, strings.ReplaceAll(toml, "timeout_seconds = 2", "timeout_seconds = 60"), nil)
	e, c, clock := limited(t, g, onAll("all", storage.Limits{Concurrent: number(places), TokensPerMinute: number(1_000_000)}), nil)
	chunks := scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageNone)
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		switch {
		case bytes.Contains(r.Body, []byte("before the headers")):
			return &scripted.Reply{HoldBeforeHeaders: time.Minute, Body: []byte("{}")}
		case bytes.Contains(r.Body, []byte("before the first")):
			return &scripted.Reply{HoldBeforeFirst: time.Minute, Chunks: chunks}
		case bytes.Contains(r.Body, []byte("in the middle")):
			return &scripted.Reply{Interval: time.Minute, Chunks: chunks}
		}
		return nil
	})
	second := &testGateway{gateway: g.gateway, t: t, api: c}
	for round := range rounds {
		before := up[0].Count()
		conns := make([]net.Conn, places)
		for i := range conns {
			phase := []string{"before the headers", "before the first", "in the middle"}[i%3]
			path := []string{chatPath, messagesPath, "/v1/responses"}[i/3%3]
			conns[i] = sendAndKeep(t, second, c.key, path, inDialect(path, "m", phase, i%3 > 0))
		}
		for began := time.Now(); up[0].Count() < before+places; time.Sleep(time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("%d of %d arrived", up[0].Count()-before, places)
			}
		}
		resp, text := c.post(t, chatPath, ask("m"))
		if want := fmt.Sprintf("%d %d 0 %d %d", places, places, places, places); resp.StatusCode != 429 || !strings.Contains(text, "so many are under way") || resp.Header.Get("Retry-After") != "" || running(e) != want {
			t.Fatalf("round %d: %d %s, running %s, want %s", round, resp.StatusCode, text, running(e), want)
		}
		for i, conn := range conns {
			if i%2 == 0 {
				conn.(*net.TCPConn).SetLinger(0) //nolint:errcheck // closing then resets
			}
			conn.Close()
		}
		for began := time.Now(); running(e) != "0 0 0 0 0"; time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("round %d: running %s", round, running(e))
			}
		}
		clock.turn(time.Minute) // the tokens of clients that left count
	}
	if resp, text := c.post(t, chatPath, ask("m")); resp.StatusCode != 200 || up[0].Count() != places*rounds+1 {
		t.Errorf("%d %s, %d at the provider", resp.StatusCode, text, up[0].Count())
	}
}

// P18: however a request fails, its place is free again and its tokens are there.
func TestP18FailedRequestsGiveEverythingBack(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	chunks := scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageNone)
	limits := onAll("all", storage.Limits{Concurrent: number(1), TokensPerMinute: number(1000)})
	for name, reply := range map[string]*scripted.Reply{
		"500":               {Status: 500, Body: []byte(`{}`)},
		"400":               {Status: 400, Body: []byte(`{"error":{"message":"no"}}`)},
		"401":               {Status: 401, Body: []byte(`{}`)},
		"429":               {Status: 429, Body: []byte(`{}`), Header: map[string]string{"Retry-After": "1"}},
		"HTML":              {Body: []byte("<html>")},
		"cut at the head":   {Cut: scripted.CutRST, CutAfter: -1},
		"cut in the middle": {Chunks: chunks, Cut: scripted.CutRST, CutAfter: 3},
		"an error event":    {Chunks: [][]byte{chunks[0], []byte("data: {\"error\":{\"message\":\"quota\"}}\n\n")}},
	} {
		for _, stream := range []bool{false, true} {
			e, c, _ := limited(t, g, limits, nil)
			up[0].Script(func(*scripted.Request) *scripted.Reply { return reply })
			resp, err := c.do("POST", chatPath, ask("m", "stream", stream))
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body) //nolint:errcheck // some are cut
			resp.Body.Close()
			for began := time.Now(); running(e) != "0 0 0 0 0" && time.Since(began) < 5*time.Second; {
				time.Sleep(time.Millisecond)
			}
			up[0].Script(nil)
			resp, text := c.post(t, chatPath, ask("nonesuch"))
			if left, _ := strconv.Atoi(resp.Header.Get("x-ratelimit-remaining-tokens")); running(e) != "0 0 0 0 0" || left < 1000-150-20 {
				t.Errorf("%s, stream %v: running %s, %d tokens left: %s", name, stream, running(e), left, text)
			}
		}
	}
}

// panicking is policies that bring the handler down.
type panicking struct{ engine.Policies }

func (panicking) Route(string, *policy.Facts, *policy.Plan) (policy.Ran, error) { panic("a bug") }

func TestP18PanicGivesEverythingBack(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	e, c, _ := limited(t, g, onAll("all", storage.Limits{Concurrent: number(1), RequestsPerMinute: number(10)}), func(cfg *engine.Config) {
		cfg.Policies = panicking{cfg.Policies}
	})
	for i := range 3 {
		resp, text := c.post(t, chatPath, ask("m", "stream", i == 1))
		if resp.StatusCode != 500 || !strings.Contains(text, "internal_error") || resp.Header.Get("x-ratelimit-remaining-requests") != strconv.Itoa(9-i) || running(e) != "0 0 0 0 0" {
			t.Fatalf("%d %v %s, running %s", resp.StatusCode, resp.Header, text, running(e))
		}
	}
	if u := c.lastUsage(t); u["outcome"] != "interrupted" || u["error_code"] != "internal_error" || u["credits"] != "0" || c.balanceHeld(t) != "0" {
		t.Errorf("usage %v", u)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Errorf("a request is still counted: %v", err)
	}
}

// A stream whose head is sent with a ping tells the limits too.
func TestLimitsInTheHeadOfAPing(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	_, c, _ := limited(t, g, engine.Limits{Keys: storage.Limits{RequestsPerMinute: number(9)}}, func(cfg *engine.Config) {
		cfg.KeepAlive = engine.KeepAlive{After: 10 * time.Millisecond, Every: time.Second}
	})
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders = time.Second
		return reply
	})
	resp, text := c.post(t, messagesPath, ask("m", "stream", true))
	if !strings.HasPrefix(text, ": ping") || resp.Header.Get("x-ratelimit-remaining-requests") != "8" || resp.Header.Get("anthropic-ratelimit-requests-limit") != "9" {
		t.Errorf("%v %.200s", resp.Header, text)
	}
}

// Limits of the configuration reach the engine, and those who have none are told of none.
func TestLimitsOfTheConfiguration(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml+"[limits.keys]\nrequests_per_minute = 2\n[limits.models.m]\nconcurrent_requests = 7\n", nil)
	resp, _ := g.api.post(t, chatPath, ask("m"))
	if resp.StatusCode != 200 || resp.Header.Get("x-ratelimit-limit-requests") != "2" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	_, free, _ := limited(t, g, engine.Limits{}, nil)
	resp, _ = free.post(t, chatPath, ask("m"))
	for name := range maps.Keys(resp.Header) {
		if strings.Contains(strings.ToLower(name), "ratelimit") {
			t.Errorf("%s without a limit", name)
		}
	}
	var list struct{ Data []json.RawMessage }
	for range 5 { // what asks no model has no limits
		if err := g.api.call("GET", "/v1/models", nil, &list); err != nil {
			t.Fatal(err)
		}
	}
}

// A request in rounds gives every turn back before the next one, and its tokens are those of all rounds.
func TestLimitsOfRequestsInRounds(t *testing.T) {
	t.Parallel()
	up, g := threeModels(t, "cascade", "", "grants = [\"side_calls\"]\n[policies.p.config]\ncheap = \"small\"\njudge = \"critic\"\nstrong = \"large\"\n")
	one := map[string]storage.Limits{"small": {Concurrent: number(1)}, "critic": {Concurrent: number(1)}, "large": {Concurrent: number(1)}}
	e, c, _ := limited(t, g, engine.Limits{Models: one, Providers: one, Keys: storage.Limits{TokensPerMinute: number(10_000)}}, nil)
	says(up["critic"], "Grade: 2", "stop")
	used := 0.0
	for _, stream := range []bool{false, true, false} {
		resp, text := c.post(t, chatPath, map[string]any{"model": "auto/p", "max_tokens": 100, "stream": stream, "messages": user(long)})
		if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Attempts") != "3" && !stream || running(e) != "0 0 0 0 0" {
			t.Fatalf("%d %v %s, running %s", resp.StatusCode, resp.Header, text, running(e))
		}
		used += 3 * 30 // each of the three answers
	}
	resp, _ := c.post(t, chatPath, ask("nonesuch"))
	if left, _ := strconv.ParseFloat(resp.Header.Get("x-ratelimit-remaining-tokens"), 64); left > 10_000-used-100 || left < 10_000-used-200 {
		t.Errorf("%v tokens are left of 10000 after %v", left, used)
	}
}
