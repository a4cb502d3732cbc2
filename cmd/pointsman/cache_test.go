package main

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

const cacheOn = "[cache]\nenabled = true\n"

// header is one header field of a request.
func header(name, value string) http.Header { return http.Header{name: {value}} }

// as sends a request with headers beside the client's key.
func (c *client) as(t testing.TB, path string, body any, headers http.Header) (*http.Response, string) {
	t.Helper()
	h := headers.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Authorization", "Bearer "+c.key)
	return c.raw(t, "POST", path, string(marshal(body)), h)
}

// unpriced is an answer without what the gateway says of its price.
func unpriced(body string) string { return priceInUsage.ReplaceAllString(body, "") }

var priceInUsage = regexp.MustCompile(`,?"(cost|credits)":"?[0-9.]+"?`)

// TestP38CacheHit asks twice on every route that has a cache: the second answer is the first, nobody is asked and nothing charged.
func TestP38CacheHit(t *testing.T) {
	up, toml := operationModels(t, 1)
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		switch {
		case strings.HasSuffix(r.Path, "/moderations"):
			return &scripted.Reply{Body: []byte(`{"id":"modr","model":"mod","results":[{"flagged":false}]}`)}
		case strings.HasSuffix(r.Path, "/rerank"):
			return &scripted.Reply{Body: []byte(`{"results":[{"index":0,"relevance_score":0.5}]}`)}
		}
		return r.Default()
	})
	g := newGateway(t, toml+cacheOn, nil)
	for _, x := range []struct{ name, path, body string }{
		{"chat", chatPath, `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}`},
		{"chat, streamed", chatPath, `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}`},
		{"chat, streamed with usage", chatPath, `{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}`},
		{"messages", messagesPath, `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}`},
		{"messages, streamed", messagesPath, `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}`},
		{"responses", "/v1/responses", `{"model":"m","input":"Hi","max_output_tokens":9}`},
		{"responses, streamed", "/v1/responses", `{"model":"m","stream":true,"input":"Hi","max_output_tokens":9}`},
		{"completions", "/v1/completions", `{"model":"m","prompt":"Hi","max_tokens":9}`},
		{"completions, streamed", "/v1/completions", `{"model":"m","prompt":"Hi","max_tokens":9,"stream":true}`},
		{"embeddings", "/v1/embeddings", `{"model":"e","input":"Hi"}`},
		{"moderations", "/v1/moderations", `{"model":"mod","input":"Hi"}`},
		{"rerank", "/v1/rerank", `{"model":"rank","query":"Hi","documents":["a","b"]}`},
	} {
		t.Run(x.name, func(t *testing.T) {
			asked := up[0].Count()
			first, made := g.api.post(t, x.path, []byte(x.body))
			before := g.api.lastUsage(t)
			balance := g.api.balance(t)
			if first.StatusCode != 200 || first.Header.Get("X-Pointsman-Cache") != "miss" || before["cache"] != nil {
				t.Fatalf("the first: %d %v %s; usage %v", first.StatusCode, first.Header, made, before)
			}
			again, given := g.api.post(t, x.path, []byte(x.body))
			if again.StatusCode != 200 || unpriced(given) != unpriced(made) {
				t.Fatalf("the second: %d %s\nthe first: %s", again.StatusCode, given, made)
			}
			for name, want := range map[string]string{
				"X-Pointsman-Cache": "hit", "Age": "0", "X-Pointsman-Cost-Usd": "0", "X-Pointsman-Credits": "0", "X-Pointsman-Attempts": "0",
				"X-Pointsman-Cache-Origin": first.Header.Get("X-Request-Id"), "X-Pointsman-Model": first.Header.Get("X-Pointsman-Model"),
				"X-Pointsman-Provider": "up0", "Content-Type": first.Header.Get("Content-Type"),
			} {
				if got := again.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if strings.Contains(made, `"cost":`) && !strings.Contains(given, `"cost":0,"credits":"0"`) {
				t.Errorf("the price is not told as 0: %s", given)
			}
			u := g.api.lastUsage(t)
			if u["request_id"] != again.Header.Get("X-Request-Id") || u["cache"] != "hit" || u["outcome"] != "ok" || u["credits"] != "0" || u["cost_usd"] != "0" ||
				u["input_tokens"] != before["input_tokens"] || u["output_tokens"] != before["output_tokens"] || u["attempts"] != 0.0 || u["model"] != before["model"] {
				t.Errorf("usage %v\nof the first %v", u, before)
			}
			if n := up[0].Count() - asked; n != 1 {
				t.Errorf("the provider was asked %d times", n)
			}
			if now := g.api.balance(t); now != balance {
				t.Errorf("the balance went from %s to %s", balance, now)
			}
		})
	}
}

// TestP38CacheTenants has every pair of callers ask for the same, in each scope.
func TestP38CacheTenants(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		scope  string
		shared bool // by two keys of one account
	}{{"account", true}, {"key", false}, {"team", true}} {
		t.Run(x.scope, func(t *testing.T) {
			_, toml := upstreams(t, 1)
			g := newGateway(t, toml+cacheOn+"scope = \""+x.scope+"\"\n", nil)
			a, b := g.account("a"), g.account("b")
			var second keyEntry
			if err := g.admin.call("POST", "/api/v1/admin/keys", map[string]string{"account": "a"}, &second); err != nil {
				t.Fatal(err)
			}
			a2 := newClient(g.api.base, second.Key)
			ask := func(c *client) string {
				resp, _ := c.post(t, chatPath, ask("m"))
				return resp.Header.Get("X-Pointsman-Cache")
			}
			if ask(a) != "miss" || ask(a) != "hit" {
				t.Error("a does not get its own")
			}
			if got := ask(a2); (got == "hit") != x.shared {
				t.Errorf("another key of a: %s", got)
			}
			if got := ask(b); got != "miss" {
				t.Errorf("b gets what a asked: %s", got)
			}
		})
	}
}

// TestP38CacheRefuses asks twice for what must not be kept.
func TestP38CacheRefuses(t *testing.T) {
	up, toml := upstreams(t, 2)
	g := newGateway(t, toml+cacheOn, nil)
	choice := func(message, finish string) func(*scripted.Request) *scripted.Reply {
		return repliesWith(fmt.Sprintf(`{"id":"x","object":"chat.completion","choices":[{"index":0,"message":%s,"finish_reason":%s}]}`, message, finish))
	}
	chunks := scripted.OpenAIChunks("x", []string{"Hel", "lo"}, scripted.UsageFinal)
	stream := func(chunks [][]byte) func(*scripted.Request) *scripted.Reply {
		return func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Chunks: chunks} }
	}
	for i, x := range []struct {
		name   string
		script func(*scripted.Request) *scripted.Reply
		extra  []any
		want   string // of the second answer
	}{
		{"an error", fails(400), nil, "miss"},
		{"an answer that was filtered", choice(`{"role":"assistant","content":"He"}`, `"content_filter"`), nil, "miss"},
		{"a refusal", choice(`{"role":"assistant","content":null,"refusal":"no"}`, `"stop"`), nil, "miss"},
		{"nothing said", choice(`{"role":"assistant","content":""}`, `"stop"`), nil, "miss"},
		{"no reason to end", choice(`{"role":"assistant","content":"He"}`, `null`), nil, "miss"},
		{"a stream that breaks off", stream(chunks[:2]), []any{"stream", true}, "miss"},
		{"a temperature", nil, []any{"temperature", 0.7}, "bypass"},
		{"several choices", nil, []any{"n", 2}, "bypass"},
		{"a temperature of 0", nil, []any{"temperature", 0}, "hit"},
		{"cut by the client's own limit", choice(`{"role":"assistant","content":"He"}`, `"length"`), nil, "hit"},
		{"a tool call", choice(`{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]}`, `"tool_calls"`), nil, "hit"},
		{"a whole stream", stream(chunks), []any{"stream", true}, "hit"},
	} {
		for _, s := range up {
			s.Script(x.script)
		}
		body := ask("m", append(x.extra, "seed", i)...)
		g.api.doAndDrop(t, body)
		resp := g.api.doAndDrop(t, body)
		if got := resp.Header.Get("X-Pointsman-Cache"); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
}

// doAndDrop asks and reads what comes, whole or not.
func (c *client) doAndDrop(t testing.TB, body any) *http.Response {
	t.Helper()
	resp, err := c.do("POST", chatPath, body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body) //nolint:errcheck // some are cut
	return resp
}

// TestP38CacheFallback does not keep an answer of another model than the one that was named.
func TestP38CacheFallback(t *testing.T) {
	up, toml := upstreams(t, 1)
	toml += "[[models]]\nname = \"other\"\ntier = 1\ncredits_per_1k = 0.002\ncontext_window = 128000\n[[models.deployments]]\nprovider = \"up0\"\nupstream = \"other\"\nusd_in_per_1m = 1\nusd_out_per_1m = 2\n"
	g := newGateway(t, toml+cacheOn, nil)
	broken := true
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		if broken && r.Model != "other" {
			return fails(500)(r)
		}
		return r.Default()
	})
	body := ask("m", "power_level", "eco")
	resp, text := g.api.post(t, chatPath, body)
	if resp.Header.Get("X-Pointsman-Model") != "other" {
		t.Fatalf("no fallback: %d %s", resp.StatusCode, text)
	}
	broken = false
	if resp, _ := g.api.post(t, chatPath, body); resp.Header.Get("X-Pointsman-Cache") != "miss" {
		t.Error("the answer of the other model was kept")
	}
}

func TestP38CacheControl(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml+cacheOn, nil)
	body := ask("m")
	g.api.post(t, chatPath, body)
	for _, x := range []struct{ name, value, want string }{
		{"Cache-Control", "no-cache", "miss"},
		{"Cache-Control", "no-store", "bypass"},
		{"Cache-Control", "max-age=60", "hit"},
		{"Cache-Control", "Max-Age=\"60\", no-transform", "hit"},
		{"Cache-Control", "max-age=0, no-cache", "miss"},
		{"X-Pointsman-Cache", "off", "bypass"},
		{"X-Pointsman-Cache", "refresh", "miss"},
		{"X-Pointsman-Cache", "on", "hit"},
	} {
		resp, text := g.api.as(t, chatPath, body, header(x.name, x.value))
		if got := resp.Header.Get("X-Pointsman-Cache"); resp.StatusCode != 200 || got != x.want {
			t.Errorf("%s %s: %d %s, want %s: %s", x.name, x.value, resp.StatusCode, got, x.want, text)
		}
	}
	resp, text := g.api.as(t, chatPath, body, header("X-Pointsman-Cache", "maybe"))
	if resp.StatusCode != 400 || !strings.Contains(text, `"param":"X-Pointsman-Cache"`) {
		t.Errorf("an unknown wish: %d %s", resp.StatusCode, text)
	}
	hot := ask("m", "temperature", 1)
	for i, want := range []string{"miss", "hit"} {
		if resp, _ := g.api.as(t, chatPath, hot, header("X-Pointsman-Cache", "on")); resp.Header.Get("X-Pointsman-Cache") != want {
			t.Errorf("a temperature, wished for, time %d: %s", i, resp.Header.Get("X-Pointsman-Cache"))
		}
	}
}

// TestP38CacheOwnKeys finds nothing any more once the account's own key has changed.
func TestP38CacheOwnKeys(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml+cacheOn, nil)
	state := func() string {
		resp, _ := g.api.post(t, chatPath, ask("m"))
		return resp.Header.Get("X-Pointsman-Cache")
	}
	own := func(method string, body any) {
		if err := g.api.call(method, "/api/v1/llm/byok/up0", body, nil); err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct {
		name   string
		change func()
	}{
		{"at first", func() {}},
		{"with an own key", func() { own("PUT", map[string]string{"key": "sk-own-1"}) }},
		{"with another", func() { own("PUT", map[string]string{"key": "sk-own-2"}) }},
	}
	for _, s := range steps {
		s.change()
		if state() != "miss" || state() != "hit" {
			t.Errorf("%s: not a miss and then a hit", s.name)
		}
	}
	own("DELETE", nil)
	if state() != "hit" {
		t.Error("without an own key the first answer is not found again")
	}
}

// TestL8CachePrice charges a share of the price, rounded up, and goes on without the cache for who cannot pay it.
func TestL8CachePrice(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml+cacheOn+"hit_price = 0.25\n", nil)
	g.api.post(t, chatPath, ask("m")) // costs 0.00006
	resp, body := g.api.post(t, chatPath, ask("m"))
	if resp.Header.Get("X-Pointsman-Cache") != "hit" || resp.Header.Get("X-Pointsman-Credits") != "0.000015" || !strings.Contains(body, `"cost":0,"credits":"0.000015"`) {
		t.Errorf("%v %s", resp.Header, body)
	}
	if got := g.api.balance(t); got != "999.999925" {
		t.Errorf("balance %s", got)
	}
	if u := g.api.lastUsage(t); u["credits"] != "0.000015" || u["cache"] != "hit" || up[0].Count() != 1 {
		t.Errorf("usage %v, asked %d times", u, up[0].Count())
	}
}

// TestP38CacheAdmin shows the cache to the operator, clears it, and keeps a revoked key out.
func TestP38CacheAdmin(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml+cacheOn, nil)
	a, b := g.account("a"), g.account("b")
	state := func(c *client) string {
		resp, _ := c.post(t, chatPath, ask("m"))
		return resp.Header.Get("X-Pointsman-Cache")
	}
	state(a)
	state(a)
	state(b)
	g.api.as(t, chatPath, ask("m"), header("X-Pointsman-Cache", "off"))
	figures := func() (s engine.CacheStats) {
		if err := g.admin.call("GET", "/api/v1/admin/cache", nil, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := figures(); !s.Enabled || s.Entries != 2 || s.Stored != 2 || s.Hits != 1 || s.Misses != 2 || s.Bypassed["request"] != 1 || s.Bytes < 400 || s.MaxBytes != 256<<20 {
		t.Errorf("figures %+v", s)
	}
	var removed map[string]int
	if err := g.admin.call("DELETE", "/api/v1/admin/cache?account=a", nil, &removed); err != nil || removed["removed"] != 1 {
		t.Errorf("removed %v, %v", removed, err)
	}
	if state(a) != "miss" || state(b) != "hit" {
		t.Error("the wrong account's answers were removed")
	}
	if err := g.admin.call("DELETE", "/api/v1/admin/cache", nil, &removed); err != nil || removed["removed"] != 2 {
		t.Errorf("removed %v, %v", removed, err)
	}
	if state(b) != "miss" {
		t.Error("b's answer is still there")
	}
	resp, metrics := g.admin.send(t, "GET", "/metrics", nil)
	for _, want := range []string{`pointsman_cache_requests_total{result="hit",reason=""} 2`, "pointsman_cache_entries 1\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("%d: %s is missing", resp.StatusCode, want)
		}
	}
	var keys struct{ Data []keyEntry }
	if err := g.admin.call("GET", "/api/v1/admin/keys?account=b", nil, &keys); err != nil {
		t.Fatal(err)
	}
	if err := g.admin.call("DELETE", "/api/v1/admin/keys/"+keys.Data[0].ID, nil, nil); err != nil {
		t.Fatal(err)
	}
	asked := up[0].Count()
	if resp, _ := b.post(t, chatPath, ask("m")); resp.StatusCode != 401 || up[0].Count() != asked {
		t.Errorf("a revoked key gets %d", resp.StatusCode)
	}
}

// TestP38CacheOptOut keeps an account, and a key of one, out of the cache.
func TestP38CacheOptOut(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml+cacheOn, nil)
	a, b := g.account("a"), g.account("b")
	var keys struct{ Data []keyEntry }
	if err := g.admin.call("GET", "/api/v1/admin/keys?account=b", nil, &keys); err != nil {
		t.Fatal(err)
	}
	state := func(c *client) string {
		resp, _ := c.post(t, chatPath, ask("m"))
		return resp.Header.Get("X-Pointsman-Cache")
	}
	set := func(whose string, out bool) {
		t.Helper()
		if err := g.admin.call("PATCH", "/api/v1/admin/"+whose, map[string]bool{"no_cache": out}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []*client{a, b} {
		if state(c) != "miss" || state(c) != "hit" {
			t.Fatal("not a miss and then a hit")
		}
	}
	set("accounts/a", true)
	set("keys/"+keys.Data[0].ID, true)
	if state(a) != "bypass" || state(b) != "bypass" {
		t.Error("they are not kept out")
	}
	set("accounts/a", false)
	set("keys/"+keys.Data[0].ID, false)
	if state(a) != "hit" || state(b) != "hit" {
		t.Error("they are not let in again")
	}
}

// TestP38CacheScopes does not give a key an answer of a model that it may not use.
func TestP38CacheScopes(t *testing.T) {
	up, toml := upstreams(t, 1)
	toml += "[[models]]\nname = \"other\"\ntier = 1\ncredits_per_1k = 0.003\ncontext_window = 128000\n[[models.deployments]]\nprovider = \"up0\"\nupstream = \"other\"\nusd_in_per_1m = 1\nusd_out_per_1m = 2\n"
	g := newGateway(t, toml+cacheOn, nil)
	body := ask("eco")
	first, _ := g.api.post(t, chatPath, body)
	allowed := map[string]string{"m": "other", "other": "m"}[first.Header.Get("X-Pointsman-Model")]
	var key keyEntry
	if err := g.admin.call("POST", "/api/v1/admin/keys", map[string]any{"account": "default", "scopes": map[string]any{"models": []string{allowed}}}, &key); err != nil {
		t.Fatal(err)
	}
	narrow := newClient(g.api.base, key.Key)
	for _, want := range []string{"miss", "hit"} {
		resp, text := narrow.post(t, chatPath, body)
		if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Cache") != want || resp.Header.Get("X-Pointsman-Model") != allowed {
			t.Errorf("%d %s by %s: %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Cache"), resp.Header.Get("X-Pointsman-Model"), text)
		}
	}
	if resp, _ := g.api.post(t, chatPath, body); resp.Header.Get("X-Pointsman-Cache") != "hit" || resp.Header.Get("X-Pointsman-Model") != first.Header.Get("X-Pointsman-Model") || up[0].Count() != 2 {
		t.Errorf("the other key's answer took the place of the first: %v", resp.Header)
	}
}

// TestL8CacheBudget has hits paid out of a tier's budget until it is used up; then nobody is asked either.
func TestL8CacheBudget(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml+cacheOn+"hit_price = 1\n", nil)
	body := ask("m") // costs 0.00006, of which the worst case is more
	g.api.post(t, chatPath, body)
	limits := map[string]any{"limits": map[string]any{"budgets": []any{map[string]any{"period": "total", "tier": 1, "credits": "0.0002"}}}}
	if err := g.admin.call("PATCH", "/api/v1/admin/accounts/default", limits, nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 4 {
		resp, _ := g.api.post(t, chatPath, body)
		got = append(got, fmt.Sprint(resp.StatusCode, resp.Header.Get("X-Pointsman-Cache")))
	}
	if want := "[200hit 200hit 402miss 402miss]"; fmt.Sprint(got) != want || up[0].Count() != 1 {
		t.Errorf("got %v, want %s; asked %d times", got, want, up[0].Count())
	}
}
