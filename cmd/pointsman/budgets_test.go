package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// twoTiers is a gateway that counts, with the models m, of tier 1 at up0 and up1, and dear, of tier 2 at up0, at a credit for a
// thousand tokens. Every answer has 30.
func twoTiers(t *testing.T) ([]*scripted.Server, *clockedGateway) {
	t.Helper()
	up, toml := upstreams(t, 2)
	toml += "[[models]]\nname = \"dear\"\ntier = 2\ncredits_per_1k = 1\ncontext_window = 128000\nmax_output = 100000\n[[models.deployments]]\nprovider = \"up0\"\nupstream = \"dear\"\nusd_in_per_1m = 1\nusd_out_per_1m = 2\n"
	toml += "[[models]]\nname = \"free\"\ntier = 0\n[[models.deployments]]\nprovider = \"up0\"\nupstream = \"free\"\nusd_in_per_1m = 1\nusd_out_per_1m = 2\n"
	return up, withClock(t, newGateway(t, toml, nil))
}

// caller makes an account of a team with a key, of which each is as the JSON says, and returns a client and the key's id.
func (c *clockedGateway) caller(id, team, account, key string) (*client, string) {
	c.t.Helper()
	c.ok("POST", "teams", `{"id":"`+id+`"`+team+`}`)
	c.ok("POST", "accounts", `{"id":"`+id+`","team":"`+id+`"`+account+`}`)
	k := c.ok("POST", "keys", `{"account":"`+id+`"`+key+`}`)
	return newClient(c.api.base, k["key"].(string)), k["id"].(string)
}

func budgets(list ...string) string {
	return `,"limits":{"budgets":[{` + strings.Join(list, "},{") + `}]}`
}

// brief asks for an answer of 5 tokens, which the providers here do not keep to.
func brief(model string, extra ...any) map[string]any {
	return ask(model, append([]any{"max_tokens", 5}, extra...)...)
}

func TestScopesBoundWhatIsChosen(t *testing.T) {
	t.Parallel()
	up, c := twoTiers(t)
	models := func(c *client) (names []string) {
		var list struct{ Data []struct{ ID string } }
		if err := c.call("GET", "/v1/models", nil, &list); err != nil {
			t.Fatal(err)
		}
		for _, m := range list.Data {
			names = append(names, m.ID)
		}
		return names
	}
	tier, _ := c.caller("tier", "", "", `,"scopes":{"tiers":[1]}`)
	name, _ := c.caller("name", "", "", `,"scopes":{"models":["dear","free"]}`)
	none, _ := c.caller("none", "", "", `,"scopes":{"tiers":[]}`)
	eco, _ := c.caller("eco", "", "", `,"scopes":{"policies":["eco","custom"]}`)
	for _, tc := range []struct {
		name   string
		caller *client
		body   map[string]any
		status int
		want   string // model that answered, or code
	}{
		{"a model in scope", tier, ask("m"), 200, "m"},
		{"of another tier", tier, ask("dear"), 403, "model_not_allowed"},
		{"of another name", name, ask("m"), 403, "model_not_allowed"},
		{"at a provider", name, ask("up1/m"), 403, "model_not_allowed"},
		{"with a suffix", name, ask("m:floor"), 403, "model_not_allowed"},
		{"in a list", name, ask("dear", "models", []string{"m"}), 403, "model_not_allowed"},
		{"alone in a list", name, map[string]any{"models": []string{"m"}, "messages": user("Hello")}, 403, "model_not_allowed"},
		{"routed to another tier", tier, ask("balanced"), 200, "m"},
		{"nothing to route to", none, ask("eco"), 403, "model_not_allowed"},
		{"the level by name", eco, ask("balanced"), 403, "policy_not_allowed"},
		{"the level by name beside a policy", eco, ask("balanced", "pointsman", map[string]string{"policy": "eco"}), 403, "policy_not_allowed"},
		{"routed to the level beside a policy", eco, ask("auto/balanced", "pointsman", map[string]string{"policy": "eco"}), 403, "policy_not_allowed"},
		{"the level by default", eco, ask("auto"), 403, "policy_not_allowed"},
		{"the level beside a model", eco, ask("m", "power_level", "precision"), 403, "policy_not_allowed"},
		{"the level beside a policy", eco, ask("auto/eco", "power_level", "balanced"), 403, "policy_not_allowed"},
		{"the policy in the object", eco, ask("m", "pointsman", map[string]string{"policy": "balanced"}), 403, "policy_not_allowed"},
		{"a level in scope", eco, ask("eco"), 200, "free"},
		{"a model in scope of policies", eco, ask("dear"), 200, "dear"},
	} {
		resp, body := tc.caller.post(t, chatPath, tc.body)
		got := resp.Header.Get("X-Pointsman-Model")
		if resp.StatusCode != 200 {
			var failed struct{ Error struct{ Code string } }
			json.Unmarshal([]byte(body), &failed) //nolint:errcheck // the comparison would fail
			got = failed.Error.Code
		}
		if resp.StatusCode != tc.status || got != tc.want {
			t.Errorf("%s: %d %s %s", tc.name, resp.StatusCode, got, body)
		}
	}
	for caller, want := range map[*client]string{tier: "[m]", name: "[dear free]", none: "[]"} {
		if got := fmt.Sprint(models(caller)); got != want {
			t.Errorf("listed are %s, want %s", got, want)
		}
	}
	if status, code := statusOf(tier.call("GET", "/v1/models/dear", nil, nil)); status != 404 {
		t.Errorf("a model out of scope is shown: %d %s", status, code)
	}
	// When what is in scope fails, nothing else takes its place.
	for _, s := range up {
		s.Script(func(r *scripted.Request) *scripted.Reply {
			if r.Model == "free" || r.Model == "dear" {
				return nil
			}
			return &scripted.Reply{Status: 500, Body: []byte(`{}`)}
		})
	}
	if resp, body := tier.post(t, chatPath, ask("m", "power_level", "balanced")); resp.StatusCode < 500 {
		t.Errorf("%d by %s: %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Model"), body)
	}
}

// A policy's side calls and escalations stay in scope, and the tier of its answer is what the ledger is told.
func TestScopesBoundEveryRound(t *testing.T) {
	t.Parallel()
	servers, g := threeModels(t, "cascade", "", "grants = [\"side_calls\"]\n[policies.p.config]\ncheap = \"small\"\njudge = \"critic\"\nstrong = \"large\"\n")
	c := withClock(t, g)
	says(servers["small"], "small answer", "stop")
	says(servers["critic"], "Grade: 2", "stop")
	says(servers["large"], "large answer", "stop")
	question := map[string]any{"model": "auto/p", "max_tokens": 100, "messages": user(long)}
	within, _ := c.caller("within", "", "", `,"scopes":{"models":["small"]}`)
	resp, body := within.post(t, chatPath, question)
	if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Model") != "small" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	for name, s := range servers {
		if n := s.Count(); name != "small" && n != 0 {
			t.Errorf("%s was asked %d times", name, n)
		}
	}
	all, id := c.caller("all", "", "", "")
	resp, body = all.post(t, chatPath, question)
	if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Model") != "large" {
		t.Fatalf("%d by %s: %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Model"), body)
	}
	three := uint8(3) // the tier of large
	all3, _ := c.store.Spent(storage.Spender(storage.SpenderKey+id), storage.PeriodTotal, &three)
	if spent, held := c.store.Spent(storage.Spender(storage.SpenderKey+id), storage.PeriodTotal, nil); spent == 0 || spent != all3 || held != 0 {
		t.Errorf("spent %s, %s of them for tier 3, held %s", spent, all3, held)
	}
	// A tier without room is passed over in later rounds too.
	poor, _ := c.caller("poor", "", budgets(`"period":"day","tier":3,"credits":"0"`, `"period":"day","tier":2,"credits":"0"`), "")
	before := servers["large"].Count() + servers["critic"].Count()
	if resp, body := poor.post(t, chatPath, question); resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Model") != "small" {
		t.Errorf("%d by %s: %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Model"), body)
	}
	if n := servers["large"].Count() + servers["critic"].Count() - before; n != 0 {
		t.Errorf("models of a tier without room were asked %d times", n)
	}
}

func TestBudgetsEndAndStartAnew(t *testing.T) {
	t.Parallel()
	up, c := twoTiers(t)
	c.clock.Store(time.Date(2100, 3, 10, 12, 0, 0, 0, time.UTC).UnixNano()) // a Wednesday
	for _, tc := range []struct {
		period, text string
		retry        string
		next         time.Time
	}{
		{"day", "starts anew at 2100-03-11T00:00:00Z", "43200", time.Date(2100, 3, 11, 0, 0, 0, 0, time.UTC)},
		{"week", "starts anew at 2100-03-15T00:00:00Z", "", time.Date(2100, 3, 15, 0, 0, 0, 0, time.UTC)},
		{"month", "starts anew at 2100-04-01T00:00:00Z", "", time.Date(2100, 4, 1, 0, 0, 0, 0, time.UTC)},
		{"total", "does not start anew", "", time.Date(2100, 4, 1, 0, 0, 0, 0, time.UTC)},
	} {
		c.clock.Store(time.Date(2100, 3, 10, 12, 0, 0, 0, time.UTC).UnixNano())
		caller, _ := c.caller(tc.period, "", budgets(fmt.Sprintf(`"period":%q,"credits":"0.06"`, tc.period)), "")
		for i := range 3 {
			asked := up[0].Count()
			c.clock.Add(int64(time.Millisecond)) // by which usage is ordered
			resp, body := caller.post(t, chatPath, brief("dear"))
			if i < 2 {
				if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Credits") != "0.03" {
					t.Errorf("%s: request %d: %d %s", tc.period, i, resp.StatusCode, body)
				}
				continue
			}
			if resp.StatusCode != http.StatusPaymentRequired || !strings.Contains(body, "budget_exceeded") || !strings.Contains(body, "insufficient_credits_error") || !strings.Contains(body, tc.text) ||
				!strings.Contains(body, tc.period+" budget of account "+tc.period) || resp.Header.Get("Retry-After") != tc.retry || up[0].Count() != asked {
				t.Errorf("%s: %d, Retry-After %q: %s", tc.period, resp.StatusCode, resp.Header.Get("Retry-After"), body)
			}
			u := caller.lastUsage(t)
			for range 200 { // until the last request is recorded
				if u["error_code"] == "budget_exceeded" {
					break
				}
				time.Sleep(10 * time.Millisecond)
				u = caller.lastUsage(t)
			}
			if u["error_code"] != "budget_exceeded" || u["credits"] != "0" || u["attempts"] != 0.0 || u["status"] != 402.0 {
				t.Errorf("usage %v", u)
			}
		}
		if resp, body := caller.post(t, chatPath, brief("free")); resp.StatusCode != 200 {
			t.Errorf("%s: what costs nothing: %d %s", tc.period, resp.StatusCode, body)
		}
		want := 402
		for _, at := range []time.Time{tc.next.Add(-time.Second), tc.next} {
			c.clock.Store(at.UnixNano())
			if at.Equal(tc.next) && tc.period != "total" {
				want = 200
			}
			if resp, body := caller.post(t, chatPath, brief("dear")); resp.StatusCode != want {
				t.Errorf("%s at %v: %d %s", tc.period, at, resp.StatusCode, body)
			}
		}
		if err := caller.call("PUT", byokPath, map[string]string{"key": "sk-own-key-1234"}, nil); err != nil {
			t.Fatal(err)
		}
		if resp, body := caller.post(t, chatPath, brief("dear")); resp.StatusCode != 200 {
			t.Errorf("%s: with the caller's own key: %d %s", tc.period, resp.StatusCode, body)
		}
	}
}

// The budget of a tier takes its models out of the plan, and no others.
func TestTierBudgetLeavesTheOtherTiers(t *testing.T) {
	_, c := twoTiers(t)
	caller, _ := c.caller("poor", budgets(`"period":"day","tier":2,"credits":"0.03"`), "", "")
	for i, want := range []string{"dear", "m", "m"} {
		if resp, body := caller.post(t, chatPath, brief("dear", "models", []string{"m"})); resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Model") != want {
			t.Errorf("request %d: %d by %s: %s", i, resp.StatusCode, resp.Header.Get("X-Pointsman-Model"), body)
		}
	}
	if resp, body := caller.post(t, chatPath, brief("dear")); resp.StatusCode != 402 || !strings.Contains(body, "of team poor for models of tier 2") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	// Once it is overdrawn by an answer that was longer than expected, what costs nothing is left.
	caller, _ = c.caller("over", "", budgets(`"period":"day","credits":"0.025"`), "")
	for i, want := range []string{"dear", "free"} {
		if resp, body := caller.post(t, chatPath, brief("dear", "models", []string{"free"})); resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Model") != want {
			t.Errorf("request %d: %d by %s: %s", i, resp.StatusCode, resp.Header.Get("X-Pointsman-Model"), body)
		}
	}
	// A budget of all tiers leaves what still fits.
	caller, _ = c.caller("thrifty", "", budgets(`"period":"day","credits":"0.01"`), "")
	if resp, body := caller.post(t, chatPath, brief("dear", "models", []string{"m"})); resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Model") != "m" {
		t.Errorf("%d by %s: %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Model"), body)
	}
}

// A key and the one that replaces it have one budget.
func TestRotationFillsNoBudget(t *testing.T) {
	_, c := twoTiers(t)
	old, id := c.caller("rotating", "", "", budgets(`"period":"total","credits":"0.06"`))
	if resp, body := old.post(t, chatPath, brief("dear")); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	next := newClient(old.base, c.ok("POST", "keys/"+id+"/rotate", `{"overlap":"1h"}`)["key"].(string))
	for i, caller := range []*client{next, next, old} {
		want := 402
		if i == 0 {
			want = 200
		}
		if resp, body := caller.post(t, chatPath, brief("dear")); resp.StatusCode != want {
			t.Errorf("request %d: %d %s", i, resp.StatusCode, body)
		}
	}
}

// An answer whose length nobody limits is limited to what the budget has left.
func TestBudgetLimitsTheLongestAnswer(t *testing.T) {
	up, c := twoTiers(t)
	caller, _ := c.caller("short", "", budgets(`"period":"day","credits":"5"`), "")
	if resp, body := caller.post(t, chatPath, map[string]any{"model": "dear", "messages": user("Hello")}); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	var sent struct {
		MaxTokens           int `json:"max_tokens"`
		MaxCompletionTokens int `json:"max_completion_tokens"`
	}
	if err := json.Unmarshal(up[0].Requests()[0].Body, &sent); err != nil {
		t.Fatal(err)
	}
	if most := max(sent.MaxTokens, sent.MaxCompletionTokens); most < 4000 || most > 5000 {
		t.Errorf("the provider was allowed %d tokens", most)
	}
}

// The operator is told of each part of a budget once in a period, and who has used one up that says so is disabled.
func TestAlertsAndSuspension(t *testing.T) {
	_, c := twoTiers(t)
	c.clock.Store(time.Date(2100, 3, 10, 12, 0, 0, 0, time.UTC).UnixNano())
	told := func() (list []string) {
		for len(c.alerts) > 0 {
			a := <-c.alerts
			list = append(list, fmt.Sprint(a.Spender[:2], a.Period, a.Percent, a.Suspended))
		}
		slices.Sort(list)
		return list
	}
	caller, id := c.caller("warned", budgets(`"period":"week","credits":"0.3"`), budgets(`"period":"day","tier":1,"credits":"0.3"`, `"period":"day","tier":2,"credits":"0.3"`), "")
	c.ok("PATCH", "keys/"+id, `{"limits":{"budgets":[{"period":"day","credits":"0.3","suspend":true}]}}`)
	for i := range 10 {
		resp, body := caller.post(t, chatPath, brief("dear"))
		if resp.StatusCode != 200 {
			t.Fatalf("request %d: %d %s", i, resp.StatusCode, body)
		}
		want := []string{}
		switch i {
		case 7:
			want = []string{"a:day 80 false", "k:day 80 false", "t:week 80 false"}
		case 9:
			want = []string{"a:day 100 false", "k:day 100 true", "t:week 100 false"}
		}
		if got := told(); !slices.Equal(got, want) {
			t.Errorf("request %d: told %v, want %v", i, got, want)
		}
	}
	resp, body := caller.post(t, chatPath, brief("dear"))
	if resp.StatusCode != 403 || !strings.Contains(body, "key_disabled") || !strings.Contains(body, "budget of day used up") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	// It stays so on the next day, until the operator enables it.
	c.clock.Store(time.Date(2100, 3, 15, 12, 0, 0, 0, time.UTC).UnixNano())
	if resp, _ := caller.post(t, chatPath, brief("dear")); resp.StatusCode != 403 {
		t.Errorf("on the next day: %d", resp.StatusCode)
	}
	c.ok("PATCH", "keys/"+id, `{"disabled":null}`)
	for i := range 8 {
		if resp, body := caller.post(t, chatPath, brief("dear")); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		if got := told(); (len(got) == 3) != (i == 7) {
			t.Errorf("in the next period, request %d: told %v", i, got)
		}
	}
}
