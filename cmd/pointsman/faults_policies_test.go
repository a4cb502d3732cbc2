package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/hostile"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// failingPolicies are policies that fail when a request comes, each in its way: traps, endless ones, greedy ones, bad plans. In
// small there is some of each kind.
func failingPolicies() []hostile.Attack {
	few := []string{
		"unreachable", "division by zero", "out of memory", "recursion", "endless loop", "memory.grow and memory.fill", "buffer at zero",
		"plan of all addresses", "garbage", "not a number as score", "candidate that is not there",
	}
	// How compiled languages run out of memory: they ask for more until there is none, and give up.
	greedy := hostile.Policy(hostile.Cat([]byte{0x03, 0x40}, hostile.I32(16), []byte{0x40, 0}, hostile.I32(0), []byte{0x4E, 0x0D, 0, 0x0B, 0x00}))
	all := append(hostile.Set(), hostile.Attack{Name: "out of memory", When: hostile.AtRoute, Want: hostile.Trap, Module: greedy.Module()})
	return slices.DeleteFunc(all, func(a hostile.Attack) bool {
		return a.When != hostile.AtRoute || a.Want == hostile.Served || !allFaults() && !slices.Contains(few, a.Name)
	})
}

// faultKinds are the names of failures in metrics, and what explanations say of them.
var faultKinds = map[hostile.Outcome][2]string{
	hostile.Fuel: {"fuel", "ran out of fuel"}, hostile.Depth: {"depth", "exceeded its stack"}, hostile.Trap: {"trap", "trapped"},
	hostile.BadPlan: {"bad_plan", "returned a bad plan"}, hostile.Status: {"status", "reported a failure"},
}

// policyFails is a gateway with a policy "worst" that fails, and "eco" that does well. By the engine's own order the model "dear" is asked,
// by every built-in policy "m".
type policyFails struct {
	*testGateway
	t *testing.T
}

func newPolicyFails(t *testing.T) *policyFails {
	_, toml := upstreams(t, 1)
	return &policyFails{newGateway(t, toml+`[[models]]
name = "dear"
tier = 2
credits_per_1k = 20
context_window = 128000
[[models.deployments]]
provider = "up0"
upstream = "gpt-dear"
usd_in_per_1m = 1000
usd_out_per_1m = 2000
`, nil), t}
}

// load makes an attack the policy "worst", which forgets how the one before did.
func (f *policyFails) load(a *hostile.Attack) {
	f.t.Helper()
	if _, err := f.policies.Load("worst", a.Module, policies.Settings{Grants: a.Grants}); err != nil {
		f.t.Fatalf("%s: %v", a.Name, err)
	}
}

// strike asks until the attack has done its worst: it leaves one request in 256 alone, by the end of its id.
func (f *policyFails) strike() (resp *http.Response, text string, took time.Duration) {
	f.t.Helper()
	for {
		began := time.Now()
		resp, text = f.api.post(f.t, chatPath, ask("auto/worst"))
		took = time.Since(began)
		if !strings.HasSuffix(resp.Header.Get("X-Request-Id"), "00") {
			return resp, text, took
		}
	}
}

// TestF19PolicyThatFails asks by policies that fail in every way there is: the client is served by the engine's own order, the answer
// says so, as its explanation and the metrics do, and a trap costs it less than a millisecond.
func TestF19PolicyThatFails(t *testing.T) {
	if !allFaults() {
		t.Parallel()
	}
	f := newPolicyFails(t)
	attacks := failingPolicies()
	met := map[hostile.Outcome]int{}
	for i := range attacks {
		a := &attacks[i]
		f.load(a)
		met[a.Want]++
		resp, text, took := f.strike()
		if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Pointsman-Policy-Failed") != "true" || resp.Header.Get("X-Pointsman-Model") != "dear" {
			t.Errorf("%s: %d from %q, flagged %q: %s", a.Name, resp.StatusCode, resp.Header.Get("X-Pointsman-Model"),
				resp.Header.Get("X-Pointsman-Policy-Failed"), text)
			continue
		}
		var x struct {
			Failure string `json:"policy_failure"`
			Reason  string `json:"reason"`
		}
		lookUp := func() error {
			return f.api.call("GET", "/api/v1/llm/decisions/"+resp.Header.Get("X-Request-Id"), nil, &x)
		}
		if err := eventually(lookUp); err != nil {
			t.Fatal(err)
		}
		kind := faultKinds[a.Want]
		if !strings.Contains(x.Failure, kind[1]) || x.Reason != policy.ReasonName(abi.BecauseFallback) {
			t.Errorf("%s: explained by %q, after %q", a.Name, x.Reason, x.Failure)
		}
		if _, page := f.admin.send(t, "GET", "/metrics", nil); !strings.Contains(page, fmt.Sprintf("pointsman_policy_faults_total{policy=\"worst\",kind=%q} 1\n", kind[0])) {
			t.Errorf("%s is not counted as %s", a.Name, kind[0])
		}
		if took > time.Second { // whatever it does, within its fuel
			t.Errorf("%s: answered after %v", a.Name, took)
		}
	}
	figure(t, "%d of %d policies that fail are replaced by the engine's own order and flagged: traps %d, too deep %d, out of fuel %d, bad plans %d, refusals %d",
		len(attacks), len(attacks), met[hostile.Trap], met[hostile.Depth], met[hostile.Fuel], met[hostile.BadPlan], met[hostile.Status])
	for outcome := range faultKinds {
		if met[outcome] == 0 {
			t.Errorf("no policy fails by %s", outcome)
		}
	}
	if resp, _ := f.api.post(t, chatPath, ask("auto/eco")); resp.StatusCode != http.StatusOK || resp.Header.Get("X-Pointsman-Policy-Failed") != "" {
		t.Errorf("a good policy: %d, flagged %q", resp.StatusCode, resp.Header.Get("X-Pointsman-Policy-Failed"))
	}
	if allFaults() {
		f.traps(attacks)
	}
}

// traps compares what requests take whose policy traps with those of a good one, in turn. Each policy is loaded anew before it fails
// often enough to be left alone, which would cost nothing.
func (f *policyFails) traps(attacks []hostile.Attack) {
	f.t.Helper()
	const batches, rounds = 3, 100
	names := []string{"unreachable", "read out of bounds", "division by zero", "out of memory", "exit"}
	var added []time.Duration
	for range batches { // the middle one counts: whatever else the machine does, it does to either
		var good, bad []time.Duration
		for _, name := range names {
			a := &attacks[slices.IndexFunc(attacks, func(a hostile.Attack) bool { return a.Name == name })]
			for n := range rounds {
				if n%4 == 0 {
					f.load(a)
				}
				began := time.Now()
				f.api.post(f.t, chatPath, ask("auto/eco"))
				good = append(good, time.Since(began))
				resp, _, took := f.strike()
				bad = append(bad, took)
				if resp.StatusCode != http.StatusOK {
					f.t.Fatalf("%s: %d", name, resp.StatusCode)
				}
			}
			if info, _ := f.policies.Info("worst"); info.Skipped > 0 {
				f.t.Fatalf("%s was left alone %d times", name, info.Skipped)
			}
		}
		added = append(added, quantile(bad, 0.99)-quantile(good, 0.99))
		f.t.Logf("requests by a good policy: p50 %v, p99 %v; by one that traps: %v, %v", quantile(good, 0.5), quantile(good, 0.99), quantile(bad, 0.5), quantile(bad, 0.99))
	}
	middle := quantile(added, 0.5)
	figure(f.t, "a trap adds %v to the p99 of %d requests", middle.Round(time.Microsecond), len(names)*rounds)
	if middle >= time.Millisecond {
		f.t.Errorf("traps add %v to the p99 of requests, target below 1 ms", added)
	}
}
