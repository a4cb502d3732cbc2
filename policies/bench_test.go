package policies_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

// BenchmarkRoute decides about 47 candidates, with the encoding of the request and the fuel, on a thousand different
// requests in turn.
func BenchmarkRoute(b *testing.B) {
	for _, level := range []string{"eco", "balanced", "precision", "custom"} {
		b.Run(level, func(b *testing.B) { benchmarkRoute(b, builtin.Modules()[level], nil) })
	}
	b.Run("go", func(b *testing.B) { benchmarkRoute(b, compileGo(b), map[string]string{"level": "eco"}) })
}

// situation is a snapshot like the built-in catalog's on an ordinary day, and a thousand requests about it: of all sizes
// and tasks, some in a hurry, with the embedding models and here and there another one excluded.
func situation() (*policy.Published, []*policy.Request) {
	random := policytest.NewRandom(1)
	snap := random.Snapshot(47)
	candidates := snap.Candidates
	for i := range candidates {
		candidates[i].Health = abi.HealthHealthy
		candidates[i].MaxOutput, candidates[i].ContextWindow = 0, 0
	}
	slices.SortFunc(candidates, func(a, b policy.Candidate) int { return int(a.Tier) - int(b.Tier) })
	snap = policy.Publish(policy.Snapshot{Generation: 1, Candidates: candidates})
	requests := make([]*policy.Request, 1000)
	for i := range requests {
		r := random.Request(snap)
		r.Privacy, r.Flags, r.Credits, r.AccountTier = 0, 0, 900_000_000, 2
		for o := range r.Options {
			inflight := uint16(0)
			if random.Intn(8) == 0 {
				inflight = 2
			}
			r.Options[o] = policy.Option{Inflight: inflight}
			if o >= 42 || o == 7 && random.Intn(2) == 0 {
				r.Options[o].Excluded = abi.ReasonMode
			}
		}
		requests[i] = r
	}
	return snap, requests
}

func benchmarkRoute(b *testing.B, module []byte, params map[string]string) {
	h := newHost(b, policies.Config{})
	if _, err := h.Load("p", module, policies.Settings{Params: params}); err != nil {
		b.Fatal(err)
	}
	snap, requests := situation()
	facts := &policy.Facts{Snapshot: snap}
	var plan policy.Plan
	samples := make([]time.Duration, 0, 1<<20)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		facts.Request = requests[i%len(requests)]
		start := time.Now()
		if _, err := h.Route("p", facts, &plan); err != nil {
			b.Fatal(err)
		}
		if len(samples) < cap(samples) {
			samples = append(samples, time.Since(start))
		}
		i++
	}
	slices.Sort(samples)
	b.ReportMetric(float64(samples[len(samples)/20]), "p5-ns")
	b.ReportMetric(float64(samples[len(samples)/2]), "p50-ns")
	b.ReportMetric(float64(samples[len(samples)*99/100]), "p99-ns")
	info, _ := h.Info("p")
	b.ReportMetric(float64(info.LastFuel), "fuel")
}

// BenchmarkRouteParallel is the same on all processors at once.
func BenchmarkRouteParallel(b *testing.B) {
	h := newHost(b, policies.Config{})
	if _, err := h.Load("p", builtin.Modules()["eco"], policies.Settings{}); err != nil {
		b.Fatal(err)
	}
	snap, requests := situation()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		facts := &policy.Facts{Snapshot: snap}
		var plan policy.Plan
		for i := 0; pb.Next(); i++ {
			facts.Request = requests[i%len(requests)]
			if _, err := h.Route("p", facts, &plan); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func newHost(t testing.TB, config policies.Config) *policies.Host {
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

// compileGo compiles the example policy.
func compileGo(t testing.TB) []byte {
	t.Helper()
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
	return module
}
