package main

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

func levels() []string { return []string{"eco", "balanced", "precision", "custom"} }

// native runs this policy without WebAssembly.
func native(t *testing.T, params map[string]string) policytest.Route {
	t.Helper()
	text, err := policy.FormatConfig(params)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := policy.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	var r router
	route, err := policytest.Native(policy.Policy{Configure: r.configure, Learn: r.learn, Route: r.route}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return route
}

func host(t *testing.T, config policies.Config) *policies.Host {
	t.Helper()
	h, err := policies.New(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func load(t *testing.T, h *policies.Host, name string, module []byte, params map[string]string) policytest.Route {
	t.Helper()
	if _, err := h.Load(name, module, policies.Settings{Params: params}); err != nil {
		t.Fatal(err)
	}
	return func(f *policy.Facts, plan *policy.Plan) error {
		_, err := h.Route(name, f, plan)
		return err
	}
}

// variants are parameters that change what a level does.
func variants() []map[string]string {
	return []map[string]string{
		{},
		{"free_accounts": "0", "max_steps": "8", "attempts": "2", "timeout_ms": "1500", "hedge_ms": "300"},
		{"providers": "openai,groq", "min_quality": "0.3", "band": "1,3", "weight_price": "1.25", "latency": "instant"},
		{"spend_share": "0.000001", "max_credits": "123.456", "instant_tokens": "100000", "prior_latency": "0.9"},
	}
}

// TestAlike proves that this policy and the built-in ones decide alike, bit for bit.
func TestAlike(t *testing.T) {
	h := host(t, policies.Config{})
	for _, level := range levels() {
		for n, params := range variants() {
			builtIn := load(t, h, level, builtin.Modules()[level], params)
			params["level"] = level
			policytest.Same(t, native(t, params), builtIn, uint64(n), 2000)
		}
	}
}

// TestAlikeAtTheEdge does the same where costs and credits are as large as numbers go.
func TestAlikeAtTheEdge(t *testing.T) {
	h := host(t, policies.Config{})
	for _, level := range levels() {
		params := map[string]string{"spend_share": "999999999"}
		builtIn := load(t, h, level, builtin.Modules()[level], params)
		params["level"] = level
		twin := native(t, params)
		random := policytest.NewRandom(5)
		for _, credits := range []int64{math.MinInt64, -1, 0, 1, 1 << 43, 1 << 53, math.MaxInt64 / 1000, math.MaxInt64} {
			snap := random.Snapshot(47)
			for i := range snap.Candidates {
				snap.Candidates[i].CreditsPer1K <<= random.Intn(24)
			}
			snap = policy.Publish(snap.Snapshot)
			for range 50 {
				f := &policy.Facts{Snapshot: snap, Request: random.Request(snap)}
				f.Request.Credits = credits
				var a, b policy.Plan
				if err := errors.Join(twin(f, &a), builtIn(f, &b)); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(policy.AppendPlan(nil, &a), policy.AppendPlan(nil, &b)) {
					t.Fatalf("%s with %d credits:\n%+v\n%+v", level, credits, a, b)
				}
			}
		}
	}
}

// TestCompiled proves that the compiled module decides like the same code without WebAssembly, and keeps the contract.
func TestCompiled(t *testing.T) {
	h := host(t, policies.Config{})
	module := compile(t)
	for _, level := range levels() {
		params := map[string]string{"level": level}
		compiled := load(t, h, level, module, params)
		policytest.Run(t, compiled)
		policytest.Same(t, native(t, params), compiled, 7, 400)
	}
}

// TestNative runs the conformance kit the way an author does while writing a policy.
func TestNative(t *testing.T) {
	for _, level := range levels() {
		policytest.Run(t, native(t, map[string]string{"level": level}))
	}
}

func compile(t testing.TB) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "policy.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, ".")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling: %v\n%s", err, text)
	}
	module, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return module
}

func TestParameters(t *testing.T) {
	for _, c := range []struct {
		name   string
		params map[string]string
		ok     bool
	}{
		{"none", nil, true},
		{"unknown level", map[string]string{"level": "deluxe"}, false},
		{"unknown key", map[string]string{"speed": "1"}, false},
		{"no number", map[string]string{"min_quality": "high"}, false},
		{"seven decimals", map[string]string{"min_quality": "0.1234567"}, false},
		{"no tier", map[string]string{"band": "0,9"}, false},
		{"empty band", map[string]string{"band": ""}, true},
		{"too many steps", map[string]string{"max_steps": "9"}, false},
		{"trailing comma", map[string]string{"providers": "groq,"}, false},
		{"negative", map[string]string{"hedge_ms": "-1"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := policy.FormatConfig(c.params)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := policy.ParseConfig(text)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := newParams(cfg); (err == nil) != c.ok {
				t.Errorf("native: %v", err)
			}
			if c.params["level"] == "deluxe" {
				return // to a built-in module the level is a mere name
			}
			h := host(t, policies.Config{})
			if _, err := h.Load("balanced", builtin.Modules()["balanced"], policies.Settings{Params: c.params}); (err == nil) != c.ok {
				t.Errorf("built-in: %v", err)
			} else if err != nil {
				t.Log(err)
			}
		})
	}
}
