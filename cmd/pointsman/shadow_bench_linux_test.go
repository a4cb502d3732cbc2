package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/policies/builtin"
)

// BenchmarkShadow measures what a built-in policy costs as the shadow of another one, in processor time of the whole process: one
// gateway serves the same requests by two policies that are the same module, in short turns, and only one of them has shadows. The
// median difference is reported, with its standard error. Run it with -benchtime 200000x or more. The difference that one shadow makes
// drowns in the noise; a CPU profile tells it apart by the label "part" (docs/rollouts.md).
func BenchmarkShadow(b *testing.B) {
	for _, shadows := range []int{1, 16} {
		b.Run(fmt.Sprint(shadows), func(b *testing.B) { benchmarkShadow(b, shadows) })
	}
}

func benchmarkShadow(b *testing.B, shadows int) {
	const turn = 1000
	dir := b.TempDir()
	var toml strings.Builder
	add := func(name, module, more string) {
		file := filepath.Join(dir, name+".wasm")
		if err := os.WriteFile(file, builtin.Modules()[module], 0o600); err != nil {
			b.Fatal(err)
		}
		fmt.Fprintf(&toml, "[policies.%s]\nfile = %q\n%s\n", name, file, more)
	}
	add("plain", "balanced", "")
	add("shadowed", "balanced", "")
	for i := range shadows {
		add(fmt.Sprintf("shade-%d", i), "eco", "shadow_of = \"shadowed\"")
	}
	g := benchGateway(b, toml.String())
	measure := func(policy string) float64 {
		before := processorTime(b)
		askMany(b, g, policy, 16, turn)
		time.Sleep(120 * time.Millisecond) // the shadows' worker comes after the answers
		return float64((processorTime(b) - before).Nanoseconds()) / turn
	}
	measure("plain")
	measure("shadowed")
	var without, extra []float64
	b.ResetTimer()
	for n := 0; n < b.N; n += 2 * turn {
		order := []string{"plain", "shadowed"}
		if len(extra)%2 == 1 { // neither comes after the other always
			slices.Reverse(order)
		}
		cost := map[string]float64{}
		for _, policy := range order {
			cost[policy] = measure(policy)
		}
		without, extra = append(without, cost["plain"]), append(extra, (cost["shadowed"]-cost["plain"])/float64(shadows))
	}
	b.StopTimer()
	for _, r := range g.engine.Shadows() {
		if r.Decisions < uint64(len(extra))*turn*9/10 || r.Failures > 0 {
			b.Fatalf("%s decided %d times, failed %d times, %d dropped", r.Name, r.Decisions, r.Failures, r.Dropped)
		}
	}
	slices.Sort(extra)
	slices.Sort(without)
	b.ReportMetric(without[len(without)/2], "cpu-ns/request")
	b.ReportMetric(extra[len(extra)/2], "cpu-ns/shadow")
	// The standard error of a median is about the width of its quartiles by the root of their number.
	b.ReportMetric((extra[len(extra)*3/4]-extra[len(extra)/4])*0.93/math.Sqrt(float64(len(extra))), "±cpu-ns/shadow")
	b.ReportMetric(0, "ns/op")
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
