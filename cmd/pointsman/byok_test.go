package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
)

type shownKey struct {
	ID, Key, Status, Reason string
	Version                 uint32
	Retry                   string `json:"retry_at"`
}

const byokPath = "/api/v1/llm/byok/up0"

func (c *client) storeKey(t testing.TB, key string) (k shownKey) {
	t.Helper()
	if err := c.call("PUT", byokPath, map[string]string{"key": key}, &k); err != nil {
		t.Fatal(err)
	}
	evidenceOf(c).secret(key)
	return k
}

// testKey tests the key until the pause between two tests is over.
func (c *client) testKey(t testing.TB) (result string) {
	t.Helper()
	var found struct{ Result, Message string }
	if err := c.call("POST", byokPath+"/test", nil, &found); err != nil {
		t.Fatal(err)
	}
	return found.Result + ": " + found.Message
}

// takes makes a provider take one key only, for all it offers.
func takes(s *scripted.Server, key string) {
	s.Script(func(r *scripted.Request) *scripted.Reply {
		if r.Authorization != "Bearer "+key {
			return &scripted.Reply{Status: 401, Body: []byte(`{"error":{"message":"Incorrect API key provided: ` + strings.TrimPrefix(r.Authorization, "Bearer ") + `"}}`)}
		}
		return nil
	})
}

func TestOwnKeyFromStoreToDeletion(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	takes(up[0], "sk-own-second-5678")

	first := g.api.storeKey(t, "sk-own-first-1234")
	if first.Key != "…1234" || first.Version != 1 || first.Status != "unknown" {
		t.Errorf("stored: %+v", first)
	}
	if got := g.api.testKey(t); !strings.HasPrefix(got, "rejected: ") || !strings.Contains(got, "PUT "+byokPath) || strings.Contains(got, "sk-own") {
		t.Errorf("test of a key that is not valid: %s", got)
	}
	if resp, body := g.api.post(t, byokPath+"/test", nil); resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a second test at once: %d %s", resp.StatusCode, body)
	}
	before := up[0].Count()
	for range 5 { // its circuit is open: it fails at once, with advice, and the provider is not asked
		resp, body := g.api.post(t, chatPath, ask("m"))
		if resp.StatusCode != 403 || !strings.Contains(body, "provider_key_rejected") || !strings.Contains(body, "is not tried again for") || !strings.Contains(body, "PUT "+byokPath) ||
			resp.Header.Get("Retry-After") == "" || strings.Contains(body, "sk-") {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	if up[0].Count() != before {
		t.Error("a refused key was tried again at once")
	}

	second := g.api.storeKey(t, "sk-own-second-5678")
	if second.Version != 2 || second.ID == first.ID || second.Key != "…5678" || second.Status != "unknown" {
		t.Errorf("rotated: %+v", second)
	}
	if got := g.api.testKey(t); got != "works: the provider accepts the key" {
		t.Errorf("test of the new key: %s", got)
	}
	if resp, body := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Credits") != "0" {
		t.Errorf("with the new key: %d %s", resp.StatusCode, body)
	}
	var shown shownKey
	if err := g.api.call("GET", byokPath, nil, &shown); err != nil || shown.Status != "healthy" || shown.Key != "…5678" {
		t.Errorf("shown as %+v, %v", shown, err)
	}
	if err := g.api.call("DELETE", byokPath, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "DELETE"} {
		if status, _ := statusOf(g.api.call(method, byokPath, nil, nil)); status != 404 {
			t.Errorf("%s after the deletion: %d", method, status)
		}
	}
	if resp, _ := g.api.post(t, byokPath+"/test", nil); resp.StatusCode != 404 {
		t.Errorf("test after the deletion: %d", resp.StatusCode)
	}
	for _, r := range up[0].Requests() {
		if strings.Contains(r.Authorization, "platform") {
			t.Errorf("the platform's key was used: %s %s", r.Method, r.Path)
		}
		if r.Method == "GET" && r.Path != "/v1/models" {
			t.Errorf("a test asked for %s", r.Path)
		}
	}
}

// One account's bad key is nobody else's business, neither that of the platform's nor of other accounts.
func TestBadOwnKeyClosesNothingForOthers(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	bad, good := g.account("bad"), g.account("good")
	bad.storeKey(t, "sk-bad-key-12345")
	good.storeKey(t, "sk-good-key-1234")
	for _, status := range []int{401, 403, 402, 404, 429} {
		up[0].Script(func(r *scripted.Request) *scripted.Reply {
			if strings.Contains(r.Authorization, "bad") {
				return &scripted.Reply{Status: status, Header: map[string]string{"Retry-After": "30"}, Body: []byte(`{}`)}
			}
			return nil
		})
		bad.storeKey(t, "sk-bad-key-12345") // a circuit of its own again
		before := up[0].Count()
		for range 6 {
			if resp, _ := bad.post(t, chatPath, ask("m")); resp.StatusCode == 200 {
				t.Errorf("%d: the bad key got an answer", status)
			}
		}
		if asked := up[0].Count() - before; status != 404 && asked != 1 {
			t.Errorf("%d: the provider was asked %d times with the bad key, want once", status, asked)
		}
		for name, c := range map[string]*client{"platform": g.api, "good": good} {
			if resp, body := c.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
				t.Errorf("%d, %s: %d %s", status, name, resp.StatusCode, body)
			}
		}
	}
	if p := g.api.providerHealth(t, "up0"); p.Status != "healthy" {
		t.Errorf("%+v", p)
	}
}

// P08: who pays is never changed in the middle, in either direction, unless the request says so.
func TestKeysOfOwnerAndPlatformDoNotMix(t *testing.T) {
	t.Parallel()
	broken := func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Status: 500, Body: []byte(`{}`)} }
	for _, tc := range []struct {
		name    string
		own     string // provider with an own key
		asked   map[string]bool
		status  int
		credits bool // charged
	}{
		{"own key fails", "up0", nil, 502, false},
		{"own key fails, the platform's allowed", "up0", map[string]bool{"key_fallback": true}, 200, true},
		{"forbidden by name", "up0", map[string]bool{"key_fallback": false}, 502, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up, toml := upstreams(t, 2)
			g := newGateway(t, toml, nil)
			up[0].Script(broken)
			g.api.storeKey(t, "sk-own-key-1234")
			body := ask("m")
			if tc.asked != nil {
				body["pointsman"] = tc.asked
			}
			resp, text := g.api.post(t, chatPath, body)
			if resp.StatusCode != tc.status || (g.api.balance(t) != "1000") != tc.credits {
				t.Errorf("%d, balance %s: %s", resp.StatusCode, g.api.balance(t), text)
			}
			for i, s := range up {
				for _, r := range s.Requests() {
					if own := strings.Contains(r.Authorization, "sk-own"); own != (i == 0) {
						t.Errorf("up%d got the key %s", i, r.Authorization)
					}
				}
			}
		})
	}
}

// Whoever has the data directory as it is after a rotation and a deletion, the root secret in it, and every record there
// ever was, gets no key out of it.
func TestReplacedAndDeletedKeysCannotBeOpened(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	caller, _ := g.gateway.directory.Caller([]byte(g.api.key))
	copies := map[string]storage.ProviderKey{}
	keep := func(name, key string) {
		g.api.storeKey(t, key)
		k, opened, err := g.gateway.directory.OpenOwnKey(caller.Account.ID, "up0")
		if err != nil || opened.Reveal() != key {
			t.Fatalf("%s: %v", name, err)
		}
		copies[name] = *k
	}
	keep("replaced", "sk-own-canary-first")
	keep("deleted", "sk-own-canary-second")
	if err := g.api.call("DELETE", byokPath, nil, nil); err != nil {
		t.Fatal(err)
	}
	data := g.dataDir
	g.stopAndVerify()
	v, err := vault.Open(vault.Config{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for name, k := range copies {
		if key, err := v.Unseal(&k); err == nil {
			t.Errorf("the %s key opens: %s", name, key.Reveal())
		}
	}
	if hits := search(t, data, "sk-own-canary-first", "sk-own-canary-second"); len(hits) > 0 {
		t.Errorf("found in %v", hits)
	}
}

// asked is an adapter whose plugin probes, and finds what it is told to.
type asked struct {
	silent
	found error
	key   *string
}

func (a asked) Probe(_ context.Context, _ string, req *provider.ProbeRequest) error {
	*a.key = req.Credential.Reveal()
	return a.found
}

// A plugin that makes its own calls tests keys itself.
func TestPluginTestsAKey(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	for result, found := range map[string]error{
		"works": nil, "rejected": fmt.Errorf("probing: %w", &provider.Error{Class: provider.ClassAuth, Message: "no"}),
		"untested": fmt.Errorf("probing: %w", errors.ErrUnsupported), "unreachable": errors.New("rpc error"),
	} {
		var key string
		cfg := g.engine.Config
		cfg.Adapters = asked{found: found, key: &key}
		e, err := engine.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close(t.Context())
		api := newClient(serveOn(t, func(ln net.Listener) error { return engine.NewServer(e.Routes().Handler(g.log), 1<<20).Serve(ln) }), g.api.key)
		api.storeKey(t, "sk-own-key-1234")
		if got := api.testKey(t); !strings.HasPrefix(got, result+": ") || key != "sk-own-key-1234" {
			t.Errorf("%s: %s, asked with %q", result, got, key)
		}
	}
}

func TestMalformedKeysAreRefusedAndNotEchoed(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	for _, key := range []string{"", " sk-secretish", "Bearer sk-secretish", "sk-secretish\r\nX-Evil: 1", "sk-secretish\x00", "sk-sécretish", "sk-secretish" + strings.Repeat("x", 10<<10)} {
		resp, body := g.api.send(t, "PUT", byokPath, map[string]string{"key": key})
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "invalid_provider_key") || strings.Contains(body, "cretish") {
			t.Errorf("%.30q: %d %s", key, resp.StatusCode, body)
		}
	}
	for _, field := range []string{"base_url", "api_base", "url", "headers"} {
		resp, body := g.api.send(t, "PUT", byokPath, map[string]string{"key": "sk-own-key-1234", field: "http://127.0.0.1:1"})
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "unknown_parameter") {
			t.Errorf("%s: %d %s", field, resp.StatusCode, body)
		}
	}
}

// A key whose provider is gone can be looked at and deleted, and no other one stored.
func TestOwnKeyOfAProviderThatIsGone(t *testing.T) {
	_, toml := upstreams(t, 2)
	g := newGateway(t, toml, nil)
	g.api.storeKey(t, "sk-own-0123456789")
	without := toml[:strings.Index(toml, "[providers.up0]")] + toml[strings.Index(toml, "[providers.up1]"):]
	i := strings.Index(without, "[[models.deployments]]\nprovider = \"up0\"")
	j := i + 1 + strings.Index(without[i+1:], "[[")
	if _, err := g.reloaded(listening + without[:i] + without[j:]); err != nil {
		t.Fatal(err)
	}
	if resp, text := g.api.send(t, "PUT", byokPath, map[string]string{"key": "sk-own-9876543210"}); resp.StatusCode != 404 || !strings.Contains(text, "provider_not_found") {
		t.Errorf("storing: %d %s", resp.StatusCode, text)
	}
	if resp, text := g.api.send(t, "POST", byokPath+"/test", nil); resp.StatusCode != 404 {
		t.Errorf("testing: %d %s", resp.StatusCode, text)
	}
	for _, want := range []struct {
		method string
		status int
	}{{"GET", 200}, {"DELETE", 204}, {"DELETE", 404}, {"GET", 404}} {
		if resp, text := g.api.send(t, want.method, byokPath, nil); resp.StatusCode != want.status {
			t.Errorf("%s: %d %s", want.method, resp.StatusCode, text)
		}
	}
}
