package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// tree is an answer as a program reads it.
type tree map[string]any

// ok sends a request to the admin API that must be accepted.
func (g *testGateway) ok(method, path, body string) (out tree) {
	g.t.Helper()
	payload := any([]byte(body))
	if body == "" {
		payload = nil
	}
	resp, text := g.admin.send(g.t, method, "/api/v1/admin/"+path, payload)
	if resp.StatusCode/100 != 2 {
		g.t.Fatalf("%s %s %s: %d %s", method, path, body, resp.StatusCode, text)
	}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			g.t.Fatal(err)
		}
	}
	return out
}

// at follows names and numbers into an answer.
func (o tree) at(path string) any {
	v := any(map[string]any(o))
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			var i int
			fmt.Sscan(name, &i) //nolint:errcheck // the comparison would fail
			v = in[i]
		}
	}
	return v
}

func asJSON(v any) string {
	text, _ := json.Marshal(v) //nolint:errcheck // what came from JSON goes back
	return string(text)
}

// P09: absent, null and 0 are three things, and what is written is read back, also after a restart.
func TestChangesMergeAndAreReadBack(t *testing.T) {
	g := newGateway(t, "", nil)
	g.ok("POST", "teams", `{"id":"red","name":"Red","limits":{"requests_per_minute":9}}`)
	g.ok("POST", "teams", `{"id":"blue"}`)
	g.ok("POST", "accounts", `{"id":"alice","tier":"professional","team":"red","overdraft":"1.5","limits":{"concurrent_requests":3,"budgets":[{"period":"day","credits":"5"}]}}`)
	key := g.ok("POST", "keys", `{"account":"alice","name":"ci","scopes":{"tiers":[0,1]},"expires":"2100-01-01T02:00:00+02:00"}`)["id"].(string)
	keys := "keys/" + key
	steps := []struct{ path, change, at, want string }{
		{"accounts/alice", `{}`, "limits", `{"budgets":[{"credits":"5","period":"day","suspend":false,"tier":null}],"concurrent_requests":3,"requests_per_minute":null,"tokens_per_minute":null}`},
		{"accounts/alice", `{}`, "overdraft", `"1.5"`},
		// Absent leaves, 0 forbids, null allows.
		{"accounts/alice", `{"limits":{"requests_per_minute":7}}`, "limits.concurrent_requests", `3`},
		{"accounts/alice", `{"limits":{"requests_per_minute":0}}`, "limits.requests_per_minute", `0`},
		{"accounts/alice", `{"limits":{"requests_per_minute":null}}`, "limits.requests_per_minute", `null`},
		{"accounts/alice", `{"limits":{"tokens_per_minute":0}}`, "limits.budgets.0.credits", `"5"`},
		{"accounts/alice", `{"limits":{"budgets":[{"period":"month","tier":3,"credits":"0","suspend":true},{"period":"month","credits":"0.000001"}]}}`, "limits.budgets", `[{"credits":"0","period":"month","suspend":true,"tier":3},{"credits":"0.000001","period":"month","suspend":false,"tier":null}]`},
		{"accounts/alice", `{"limits":{"budgets":null}}`, "limits", `{"budgets":[],"concurrent_requests":3,"requests_per_minute":null,"tokens_per_minute":0}`},
		{"accounts/alice", `{"limits":null}`, "limits", `{"budgets":[],"concurrent_requests":null,"requests_per_minute":null,"tokens_per_minute":null}`},
		{"accounts/alice", `{"overdraft":null}`, "overdraft", `"0"`},
		{"accounts/alice", `{"overdraft":"0"}`, "overdraft", `"0"`},
		{"accounts/alice", `{"tier":"free"}`, "tier", `"free"`},
		{"accounts/alice", `{"default_power_level":"eco"}`, "default_power_level", `"eco"`},
		{"accounts/alice", `{"team":"blue"}`, "team", `"blue"`},
		{"accounts/alice", `{"team":null}`, "team", `null`},
		{"accounts/alice", `{"team":"red"}`, "team", `"red"`},
		{"accounts/alice", `{"disabled":"unpaid"}`, "disabled", `"unpaid"`},
		{"accounts/alice", `{"disabled":null}`, "disabled", `null`},
		{"teams/red", `{"name":"Reds"}`, "limits.requests_per_minute", `9`},
		{"teams/red", `{"limits":{"requests_per_minute":0}}`, "limits.requests_per_minute", `0`},
		{"teams/red", `{"disabled":"closed"}`, "disabled", `"closed"`},
		{"teams/red", `{"disabled":""}`, "disabled", `null`},
		{keys, `{}`, "expires", `"2100-01-01T00:00:00Z"`},
		{keys, `{}`, "scopes", `{"endpoints":null,"models":null,"policies":null,"tiers":[0,1]}`},
		{keys, `{"scopes":{"tiers":[],"models":["gpt-4o"]}}`, "scopes", `{"endpoints":null,"models":["gpt-4o"],"policies":null,"tiers":[]}`},
		{keys, `{"scopes":{"tiers":null,"policies":["eco"],"endpoints":["chat","byok"]}}`, "scopes", `{"endpoints":["chat","byok"],"models":["gpt-4o"],"policies":["eco"],"tiers":null}`},
		{keys, `{"scopes":null}`, "scopes", `{"endpoints":null,"models":null,"policies":null,"tiers":null}`},
		{keys, `{"limits":{"budgets":[{"period":"total","credits":"1"}]}}`, "limits.budgets.0.credits", `"1"`},
		{keys, `{"expires":null}`, "expires", `null`},
		{keys, `{"disabled":"lost","name":"new"}`, "disabled", `"lost"`},
	}
	for _, s := range steps {
		changed := g.ok("PATCH", s.path, s.change)
		if got := asJSON(changed.at(s.at)); got != s.want {
			t.Errorf("PATCH %s %s: %s is %s, want %s", s.path, s.change, s.at, got, s.want)
		}
		if read := g.ok("GET", s.path, ""); !reflect.DeepEqual(read, changed) {
			t.Errorf("PATCH %s %s answered %v, GET %v", s.path, s.change, changed, read)
		}
	}
	before := map[string]tree{}
	for _, path := range []string{"accounts", "teams", "keys?account=alice", "accounts/alice", "teams/red", keys} {
		before[path] = g.ok("GET", path, "")
	}
	cfg, data, admin := g.cfg, g.dataDir, g.admin.key
	g.stopAndVerify()
	g = startGateway(t, cfg, data)
	if g.admin.key != admin {
		t.Fatal("another master key")
	}
	for path, want := range before {
		if got := g.ok("GET", path, ""); !reflect.DeepEqual(got, want) {
			t.Errorf("after the restart %s is %v, was %v", path, got, want)
		}
	}
}

// P09: what cannot be accepted is refused by its name, and changes nothing.
func TestBadChangesAreRefused(t *testing.T) {
	g := newGateway(t, "", nil)
	g.ok("POST", "teams", `{"id":"red"}`)
	g.ok("POST", "accounts", `{"id":"alice","team":"red"}`)
	key := g.ok("POST", "keys", `{"account":"alice"}`)["id"].(string)
	gone := g.ok("POST", "keys", `{"account":"alice"}`)["id"].(string)
	g.ok("DELETE", "keys/"+gone, "")
	before := []tree{g.ok("GET", "accounts", ""), g.ok("GET", "teams", ""), g.ok("GET", "keys", "")}
	for _, c := range []struct {
		method, path, body string
		status             int
		code, param        string
	}{
		{"PATCH", "accounts/alice", `{"limit":{}}`, 400, "unknown_parameter", "limit"},
		{"PATCH", "accounts/alice", `{"id":"bob"}`, 400, "unknown_parameter", "id"},
		{"PATCH", "accounts/alice", `{"Tier":"free"}`, 400, "unknown_parameter", "Tier"},
		{"PATCH", "accounts/alice", `{"limits":{"budget":[]}}`, 400, "unknown_parameter", "limits.budget"},
		{"PATCH", "accounts/alice", `{"limits":{"budgets":[{"period":"day","credits":"1","currency":"EUR"}]}}`, 400, "unknown_parameter", "limits.budgets.0.currency"},
		{"PATCH", "accounts/alice", `{"tier":"free","tier":"free"}`, 400, "duplicate_key", "tier"},
		{"PATCH", "accounts/alice", `{"limits":{"budgets":[{"period":"day","credits":"1","credits":"9"}]}}`, 400, "duplicate_key", "limits.budgets.0.credits"},
		{"PATCH", "accounts/alice", `{"tier":1}`, 400, "invalid_value", "tier"},
		{"PATCH", "accounts/alice", `{"tier":null}`, 400, "invalid_value", "tier"},
		{"PATCH", "accounts/alice", `{"tier":"gold"}`, 400, "invalid_value", "tier"},
		{"PATCH", "accounts/alice", `{"default_power_level":"custom"}`, 400, "invalid_value", "default_power_level"},
		{"PATCH", "accounts/alice", `{"team":"blue"}`, 400, "invalid_value", "team"},
		{"PATCH", "accounts/alice", `{"overdraft":"-1"}`, 400, "invalid_value", "overdraft"},
		{"PATCH", "accounts/alice", `{"overdraft":1}`, 400, "invalid_value", "overdraft"},
		{"PATCH", "accounts/alice", `{"disabled":true}`, 400, "invalid_value", "disabled"},
		{"PATCH", "accounts/alice", `{"disabled":"` + strings.Repeat("x", 201) + `"}`, 400, "invalid_value", "disabled"},
		{"PATCH", "accounts/alice", `{"limits":5}`, 400, "invalid_value", "limits"},
		{"PATCH", "accounts/alice", `{"limits":{"requests_per_minute":"5"}}`, 400, "invalid_value", "limits.requests_per_minute"},
		{"PATCH", "accounts/alice", `{"limits":{"requests_per_minute":-1}}`, 400, "invalid_value", "limits.requests_per_minute"},
		{"PATCH", "accounts/alice", `{"limits":{"tokens_per_minute":1.5}}`, 400, "invalid_value", "limits.tokens_per_minute"},
		{"PATCH", "accounts/alice", `{"limits":{"concurrent_requests":1000000001}}`, 400, "invalid_value", "limits.concurrent_requests"},
		{"PATCH", "accounts/alice", `{"limits":{"budgets":{}}}`, 400, "invalid_value", "limits.budgets"},
		{"PATCH", "accounts/alice", `{"limits":{"budgets":[{"period":"year","credits":"1"}]}}`, 400, "invalid_value", "limits.budgets.0.period"},
		{"PATCH", "accounts/alice", `{"limits":{"budgets":[{"period":"day","credits":5}]}}`, 400, "invalid_value", "limits.budgets.0.credits"},
		{"PATCH", "accounts/alice", `{"limits":{"budgets":[{"period":"day"}]}}`, 400, "invalid_value", "limits.budgets.0.credits"},
		{"PATCH", "accounts/alice", `{"limits":{"budgets":[{"period":"day","credits":"0.0000001"}]}}`, 400, "invalid_value", "limits.budgets.0.credits"},
		{"PATCH", "accounts/alice", `{"limits":{"budgets":[{"period":"day","credits":"1","tier":6}]}}`, 400, "invalid_value", "limits.budgets.0.tier"},
		{"PATCH", "accounts/alice", `{"limits":{"budgets":[{"period":"day","credits":"1"},{"period":"day","credits":"2"}]}}`, 400, "invalid_value", "limits.budgets.1"},
		{"PATCH", "accounts/alice", `{} {}`, 400, "invalid_json", ""},
		{"PATCH", "accounts/alice", `[]`, 400, "invalid_value", ""},
		{"PATCH", "accounts/alice", ``, 400, "invalid_json", ""},
		{"PATCH", "accounts/bob", `{"tier":"free"}`, 404, "not_found", "id"},
		{"POST", "accounts", `{"id":"Bob"}`, 400, "invalid_value", "id"},
		{"POST", "accounts", `{"id":"alice"}`, 409, "already_exists", "id"},
		{"POST", "accounts", `{"id":"bob","team":"blue"}`, 400, "invalid_value", "team"},
		{"POST", "teams", `{"id":"red"}`, 409, "already_exists", "id"},
		{"POST", "teams", `{"id":""}`, 400, "invalid_value", "id"},
		{"PATCH", "teams/red", `{"name":"` + strings.Repeat("x", 129) + `"}`, 400, "invalid_value", "name"},
		{"PATCH", "teams/blue", `{}`, 404, "not_found", "id"},
		{"DELETE", "teams/red", ``, 409, "team_in_use", "id"},
		{"DELETE", "teams/blue", ``, 404, "not_found", "id"},
		{"POST", "keys", `{"account":"bob"}`, 404, "not_found", "account"},
		{"PATCH", "keys/" + key, `{"account":"bob"}`, 400, "unknown_parameter", "account"},
		{"PATCH", "keys/" + key, `{"expires":"tomorrow"}`, 400, "invalid_value", "expires"},
		{"PATCH", "keys/" + key, `{"expires":"0001-01-01T00:00:00Z"}`, 400, "invalid_value", "expires"},
		{"PATCH", "keys/" + key, `{"scopes":{"models":["gpt-5000"]}}`, 400, "invalid_value", "scopes.models.0"},
		{"PATCH", "keys/" + key, `{"scopes":{"models":"gpt-4o"}}`, 400, "invalid_value", "scopes.models"},
		{"PATCH", "keys/" + key, `{"scopes":{"tiers":[0,6]}}`, 400, "invalid_value", "scopes.tiers.1"},
		{"PATCH", "keys/" + key, `{"scopes":{"policies":["nightly"]}}`, 400, "invalid_value", "scopes.policies.0"},
		{"PATCH", "keys/" + key, `{"scopes":{"endpoints":["admin"]}}`, 400, "invalid_value", "scopes.endpoints.0"},
		{"PATCH", "keys/" + gone, `{"name":"x"}`, 409, "key_revoked", "id"},
		{"POST", "keys/" + gone + "/rotate", `{}`, 409, "key_revoked", "id"},
		{"POST", "keys/" + key + "/rotate", `{"overlap":"-1h"}`, 400, "invalid_value", "overlap"},
		{"POST", "keys/" + key + "/rotate", `{"overlap":"a day"}`, 400, "invalid_value", "overlap"},
		{"POST", "keys/" + key + "/renew", `{}`, 404, "not_found", ""},
	} {
		resp, text := g.admin.send(t, c.method, "/api/v1/admin/"+c.path, []byte(c.body))
		var failed struct {
			Error struct{ Code, Param, Message string }
		}
		json.Unmarshal([]byte(text), &failed) //nolint:errcheck // the comparison would fail
		if e := failed.Error; resp.StatusCode != c.status || e.Code != c.code || e.Param != c.param || c.status == 400 && !strings.Contains(e.Message, e.Param) {
			t.Errorf("%s %s %.90s: %d %s", c.method, c.path, c.body, resp.StatusCode, text)
		}
	}
	if after := []tree{g.ok("GET", "accounts", ""), g.ok("GET", "teams", ""), g.ok("GET", "keys", "")}; !reflect.DeepEqual(before, after) {
		t.Errorf("something changed: %v, was %v", after, before)
	}
}

// A rotated key does what the old one did, which goes on until the overlap is over.
func TestRotationOverlaps(t *testing.T) {
	g := newGateway(t, "", nil)
	old := g.ok("POST", "keys", `{"account":"default","name":"ci","scopes":{"endpoints":["models"]},"limits":{"requests_per_minute":5}}`)
	next := g.ok("POST", "keys/"+old["id"].(string)+"/rotate", `{"overlap":"24h"}`)
	for _, field := range []string{"account", "name", "scopes", "limits", "spends_as"} {
		if !reflect.DeepEqual(next[field], old[field]) {
			t.Errorf("%s is %v, was %v", field, next[field], old[field])
		}
	}
	if next["replaces"] != old["id"] || next["key"] == old["key"] {
		t.Errorf("%v replaces %v", next, old)
	}
	for _, key := range []tree{old, next} {
		if status, code := statusOf(newClient(g.api.base, key["key"].(string)).call("GET", "/v1/models", nil, nil)); status != 0 {
			t.Errorf("within the overlap: %d %s", status, code)
		}
	}
	expires, err := time.Parse(time.RFC3339, g.ok("GET", "keys/"+old["id"].(string), "")["expires"].(string))
	if left := time.Until(expires); err != nil || left > 24*time.Hour || left < 23*time.Hour {
		t.Errorf("the old key expires at %v, %v", expires, err)
	}
	third := g.ok("POST", "keys/"+next["id"].(string)+"/rotate", `{}`)
	if third["spends_as"] != old["id"] {
		t.Errorf("it spends as %v", third["spends_as"])
	}
	if status, code := statusOf(newClient(g.api.base, next["key"].(string)).call("GET", "/v1/models", nil, nil)); status != http.StatusUnauthorized || code != "key_expired" {
		t.Errorf("without an overlap: %d %s", status, code)
	}
	if bytes.Contains([]byte(asJSON(g.ok("GET", "keys", ""))), []byte(third["key"].(string))) {
		t.Error("a key is listed")
	}
}

// Where budgets stand is shown beside them.
func TestStandings(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	g.ok("PATCH", "accounts/default", `{"limits":{"budgets":[{"period":"day","credits":"0.001"},{"period":"total","tier":1,"credits":"0.00001"},{"period":"month","tier":2,"credits":"1"}]}}`)
	if resp, body := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 402 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	g.ok("PATCH", "accounts/default", `{"limits":{"budgets":[{"period":"day","credits":"0.001"},{"period":"total","tier":1,"credits":"0.1"},{"period":"month","tier":2,"credits":"1"}]}}`)
	if resp, body := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	stands := g.ok("GET", "accounts/default", "")["budget_standings"].([]any)
	for i, want := range []string{"day <nil> 0.001 0.00006 0 0.00094 true", "total 1 0.1 0.00006 0 0.09994 false", "month 2 1 0 0 1 true"} {
		s := stands[i].(map[string]any)
		if got := fmt.Sprint(s["period"], s["tier"], " ", s["credits"], " ", s["spent"], " ", s["held"], " ", s["remaining"], " ", s["began"] != nil && s["next_begin"] != nil); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("budget %d stands at %s, want %s", i, got, want)
		}
	}
}
