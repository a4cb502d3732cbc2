package policies

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

// repeatInputs is set for the long run, whose figures are in docs/hostile-policies.md: -repeat.inputs=1000000.
var repeatInputs = flag.Int("repeat.inputs", 1000, "how many random requests TestSameDecision decides with each policy")

// TestSameDecision decides random requests on an instance that decided many before, on a fresh one, and after the module was
// loaded again: the plans are the same, byte for byte.
func TestSameDecision(t *testing.T) {
	for name, module := range builtin.Modules() {
		t.Run(name, func(t *testing.T) { sameDecision(t, module, nil, *repeatInputs, 1) })
	}
	t.Run("go", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "policy.wasm")
		cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "../examples/policy-go")
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("compiling: %v\n%s", err, text)
		}
		module, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		// A Go guest takes milliseconds to start: one in fifty is decided on a fresh instance.
		sameDecision(t, module, map[string]string{"level": "balanced"}, *repeatInputs, 50)
	})
}

func sameDecision(t *testing.T, module []byte, params map[string]string, inputs, freshEvery int) {
	host := testHost(t, Config{CacheDir: t.TempDir()})
	load := func(name string) {
		if _, err := host.Load(name, module, Settings{Params: params}); err != nil {
			t.Fatal(err)
		}
	}
	load("used")
	load("reloaded")
	random := policytest.NewRandom(11)
	var snap *policy.Published
	var plan policy.Plan
	decide := func(n int, name string, f *policy.Facts) []byte {
		if _, err := host.Route(name, f, &plan); err != nil {
			t.Fatalf("request %d, %s: %v", n, name, err)
		}
		return policy.AppendPlan(nil, &plan)
	}
	fresh, most := 0, int64(0)
	for n := range inputs {
		if n%50 == 0 {
			snap = random.Snapshot(random.Intn(64))
		}
		if n%max(500, inputs/200) == 0 {
			load("reloaded")
		}
		f := &policy.Facts{Snapshot: snap, Request: random.Request(snap)}
		want := decide(n, "used", f)
		info, _ := host.Info("used")
		most = max(most, info.LastFuel)
		if got := decide(n, "reloaded", f); !bytes.Equal(got, want) {
			t.Fatalf("request %d: after loading again another plan\n%x\n%x", n, want, got)
		}
		if n%freshEvery != 0 {
			continue
		}
		fresh++
		inst, err := (*host.modules.Load())["used"].start()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := inst.decide(f, &plan); err != nil {
			t.Fatalf("request %d, fresh instance: %v", n, err)
		}
		if got := policy.AppendPlan(nil, &plan); !bytes.Equal(got, want) {
			t.Fatalf("request %d: a fresh instance has another plan\n%x\n%x", n, want, got)
		}
		inst.close()
	}
	t.Logf("%d requests, %d of them on a fresh instance, reloaded %d times; fuel at most %d", inputs, fresh, (inputs+499)/max(500, inputs/200), most)
}
