package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/storage"
)

// clockedGateway is a gateway whose clock is set by hand, and that tells the test of alerts.
type clockedGateway struct {
	*testGateway
	clock  *atomic.Int64 // Unix time in nanoseconds
	alerts chan storage.Alert
}

// withClock starts a gateway of that configuration anew, with the clock.
func withClock(t *testing.T, g *testGateway) *clockedGateway {
	t.Helper()
	cfg := g.cfg
	g.stopAndVerify()
	c := &clockedGateway{clock: new(atomic.Int64), alerts: make(chan storage.Alert, 100)}
	c.clock.Store(time.Now().UnixNano())
	c.testGateway = startGatewayAt(t, cfg, filepath.Join(t.TempDir(), "data"), func() time.Time { return time.Unix(0, c.clock.Load()) })
	c.engine.Alert = func(a storage.Alert) { c.alerts <- a }
	return c
}

// inferenceBodies are requests for the inference routes by the end of their paths: models that are in tier 1, and that are charged.
func inferenceBodies(path string) (bodies []string) {
	chat := `"model":"m","messages":[{"role":"user","content":"Hello"}],"max_tokens":100`
	switch path {
	case "/chat/completions", "/messages":
		return []string{"{" + chat + "}", "{" + chat + `,"stream":true}`}
	case "/messages/count_tokens":
		return []string{`{"model":"m","messages":[{"role":"user","content":"Hello"}]}`}
	case "/completions":
		return []string{`{"model":"m","prompt":"Hello","max_tokens":100}`, `{"model":"m","prompt":"Hello","max_tokens":100,"stream":true}`}
	case "/responses":
		return []string{`{"model":"m","input":"Hello","max_output_tokens":100}`, `{"model":"m","input":"Hello","max_output_tokens":100,"stream":true}`}
	case "/embeddings":
		return []string{`{"model":"e","input":"Hello"}`}
	case "/images/generations":
		return []string{`{"model":"img","prompt":"a horse"}`}
	case "/audio/speech":
		return []string{`{"model":"tts","input":"Hello","voice":"alloy"}`}
	case "/audio/transcriptions", "/audio/translations":
		return []string{"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nstt\r\n--b\r\n" +
			"Content-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\nsound\r\n--b--\r\n"}
	case "/moderations":
		return []string{`{"model":"mod","input":"Hello"}`}
	case "/rerank":
		return []string{`{"model":"rank","query":"Hello","documents":["a","b"]}`}
	}
	return nil
}

// limitKind is a way in which a caller is limited.
type limitKind struct {
	name, team, account, key string // what is written to each: JSON, "" for nothing
	later, revoked           bool   // used a year later, or revoked
	status                   int
	code                     string
	when                     limitScope
}

// limitScope says which routes a limit is for.
type limitScope uint8

const (
	everyRoute limitScope = iota // that needs a key
	everyModel                   // that names a model
	everyCall                    // that has a policy choose a provider
)

// limitKinds lists them all; a new kind of limit belongs here.
func limitKinds() []limitKind {
	kinds := []limitKind{
		{name: "expired", key: `{"expires":"2030-01-01T00:00:00Z"}`, later: true, status: 401, code: "key_expired"},
		{name: "revoked", revoked: true, status: 401, code: "invalid_api_key"},
		{name: "key disabled", key: `{"disabled":"lost"}`, status: 403, code: "key_disabled"},
		{name: "account disabled", account: `{"disabled":"unpaid"}`, status: 403, code: "account_disabled"},
		{name: "team disabled", team: `{"disabled":"closed"}`, status: 403, code: "team_disabled"},
		{name: "no endpoint", key: `{"scopes":{"endpoints":[]}}`, status: 403, code: "endpoint_not_allowed"},
		{name: "another model", key: `{"scopes":{"models":["other"]}}`, status: 403, code: "model_not_allowed", when: everyModel},
		{name: "no model", key: `{"scopes":{"models":[]}}`, status: 403, code: "model_not_allowed", when: everyModel},
		{name: "another tier", key: `{"scopes":{"tiers":[0,2,3,4,5]}}`, status: 403, code: "model_not_allowed", when: everyModel},
		{name: "another policy", key: `{"scopes":{"policies":["eco","balanced","precision"]}}`, status: 403, code: "policy_not_allowed", when: everyCall},
	}
	add := func(status int, code, limits string) {
		for _, of := range []string{"team", "account", "key"} {
			kind := limitKind{name: of + " " + limits, status: status, code: code, when: everyCall}
			*map[string]*string{"team": &kind.team, "account": &kind.account, "key": &kind.key}[of] = `{"limits":` + limits + `}`
			kinds = append(kinds, kind)
		}
	}
	for _, period := range storage.Periods() {
		for _, tier := range []string{"null", "1"} {
			add(402, "budget_exceeded", fmt.Sprintf(`{"budgets":[{"period":%q,"tier":%s,"credits":"0.000001"}]}`, period, tier))
		}
	}
	for _, rate := range []string{"requests_per_minute", "tokens_per_minute", "concurrent_requests"} {
		add(429, "rate_limit_exceeded", `{"`+rate+`":0}`)
	}
	return kinds
}

// P09: every route that needs a key enforces every limit, whichever way the key is sent; nothing reaches a provider, and nothing
// is charged. The routes are those that are served, so that none can be forgotten.
func TestLimitsHoldOnEveryRoute(t *testing.T) {
	t.Parallel()
	up, toml := operationModels(t, 1)
	toml += "[[models]]\nname = \"other\"\ntier = 2\ncredits_per_1k = 1\n[[models.deployments]]\nprovider = \"up0\"\nupstream = \"other\"\nusd_in_per_1m = 1\nusd_out_per_1m = 2\n"
	c := withClock(t, newGateway(t, toml, nil))
	up[0].Script(answerOperation)
	// The same requests without a limit are answered, so that the refusals mean something.
	c.ok("POST", "teams", `{"id":"free"}`)
	c.ok("POST", "accounts", `{"id":"free","team":"free"}`)
	free := c.ok("POST", "keys", `{"account":"free"}`)["key"].(string)
	calls := 0
	for _, call := range routeCalls(t, c.engine.Routes()) {
		resp, text := call.send(t, c.api.base, free, calls%2 == 0)
		if calls++; call.scope > everyRoute && resp.StatusCode != 200 || resp.StatusCode == 401 || resp.StatusCode == 403 {
			t.Errorf("%s without a limit: %d %s", call, resp.StatusCode, text)
		}
	}
	if calls < 60 || up[0].Count() < 40 {
		t.Fatalf("%d calls, %d to a provider: the routes are not found", calls, up[0].Count())
	}
	for i, kind := range limitKinds() {
		id := fmt.Sprintf("l%d", i)
		c.ok("POST", "teams", `{"id":"`+id+`"}`)
		c.ok("POST", "accounts", `{"id":"`+id+`","team":"`+id+`"}`)
		key := c.ok("POST", "keys", `{"account":"`+id+`"}`)
		for path, change := range map[string]string{"teams/" + id: kind.team, "accounts/" + id: kind.account, "keys/" + key["id"].(string): kind.key} {
			if change != "" {
				c.ok("PATCH", path, change)
			}
		}
		if kind.revoked {
			c.ok("DELETE", "keys/"+key["id"].(string), "")
		}
		t.Run(kind.name, func(t *testing.T) {
			if kind.later {
				c.clock.Add(int64(10 * 365 * 24 * time.Hour))
				defer c.clock.Add(-int64(10 * 365 * 24 * time.Hour))
			}
			asked := up[0].Count()
			for _, call := range routeCalls(t, c.engine.Routes()) {
				if call.scope < kind.when {
					continue
				}
				for _, bearer := range []bool{true, false} {
					resp, text := call.send(t, c.api.base, key["key"].(string), bearer)
					if resp.StatusCode != kind.status || !strings.Contains(text, `"code":"`+kind.code+`"`) {
						t.Errorf("%s, bearer %v: %d %s", call, bearer, resp.StatusCode, text)
					}
				}
			}
			if n := up[0].Count() - asked; n != 0 {
				t.Errorf("%d requests reached the provider", n)
			}
			if b, err := c.store.Balance(id); err != nil || b.Posted != 1000*storage.CreditsPerCredit || b.Held != 0 {
				t.Errorf("the account has %+v, %v", b, err)
			}
		})
	}
}

// routeCall is a request to a route.
type routeCall struct {
	method, path, body string
	scope              limitScope
}

func (c routeCall) String() string { return c.method + " " + c.path }

// routeCalls makes requests for every route that needs a key.
func routeCalls(t *testing.T, routes engine.Routes) (calls []routeCall) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(routes)) {
		if path == "/openapi.json" || strings.HasPrefix(path, "/health") || path == "/api/v1/llm/health" { // for everybody
			continue
		}
		plain := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(path, "/api"), "/v1"), "/llm")
		for method := range routes[path] {
			bodies, scope, full := inferenceBodies(plain), everyCall, path
			switch {
			case plain == "/messages/count_tokens":
				scope = everyModel
			case strings.HasSuffix(path, "/"):
				bodies, scope, full = []string{""}, everyRoute, path+"up0"
				if method == "POST" && plain == "/byok/" {
					full += "/test"
				}
			case method == "GET":
				bodies, scope = []string{""}, everyRoute
			}
			if bodies == nil {
				t.Fatalf("%s %s is served, and no request for it is known: add one to inferenceBodies", method, path)
			}
			for _, body := range bodies {
				calls = append(calls, routeCall{method, full, body, scope})
			}
		}
	}
	return calls
}

// send sends the request, with the key as a bearer token or in Anthropic's header.
func (c routeCall) send(t *testing.T, base, key string, bearer bool) (*http.Response, string) {
	t.Helper()
	var body io.Reader
	if c.body != "" {
		body = strings.NewReader(c.body)
	}
	req, err := http.NewRequest(c.method, base+c.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if req.Header.Set("X-Api-Key", key); bearer {
		req.Header.Del("X-Api-Key")
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if req.Header.Set("Content-Type", "application/json"); strings.HasPrefix(c.body, "--b") {
		req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}
