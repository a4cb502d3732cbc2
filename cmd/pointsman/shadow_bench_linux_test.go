package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/policies/builtin"
)

// BenchmarkShadow measures what a built-in policy costs as the shadow of another one, in processor time of the whole process: two
// gateways serve the same requests in turns, one of them with sixteen shadows, so that the difference stands out from the noise of
// requests, and a sixteenth of the median difference is reported. Run it with -benchtime 100000x or more.
func BenchmarkShadow(b *testing.B) {
	const turn, shadows = 500, 16
	file := filepath.Join(b.TempDir(), "eco.wasm")
	if err := os.WriteFile(file, builtin.Modules()["eco"], 0o600); err != nil {
		b.Fatal(err)
	}
	var toml strings.Builder
	for i := range shadows {
		fmt.Fprintf(&toml, "[policies.shade-%d]\nfile = %q\nshadow_of = \"balanced\"\n", i, file)
	}
	plain, shadowed := benchGateway(b, ""), benchGateway(b, toml.String())
	asked := 0 // of both
	measure := func(g *gateway) float64 {
		before := processorTime(b)
		askMany(b, g, 16, turn)
		asked += turn
		for range 400 { // the shadows' worker comes after the answers
			time.Sleep(5 * time.Millisecond)
			if r := g.engine.Shadows(); len(r) == 0 || r[len(r)-1].Decisions+r[len(r)-1].Dropped >= uint64(asked/2) {
				break
			}
		}
		return float64((processorTime(b) - before).Nanoseconds()) / turn
	}
	measure(plain)
	measure(shadowed)
	var without, extra []float64
	b.ResetTimer()
	for n := 0; n < b.N; n += 2 * turn {
		first, second := plain, shadowed
		if len(extra)%2 == 1 { // neither comes after the other always
			first, second = shadowed, plain
		}
		a, s := measure(first), measure(second)
		if first == shadowed {
			a, s = s, a
		}
		without, extra = append(without, a), append(extra, (s-a)/shadows)
	}
	b.StopTimer()
	for _, r := range shadowed.engine.Shadows() {
		if r.Decisions < uint64(len(extra))*turn*9/10 || r.Failures > 0 {
			b.Fatalf("%s decided %d times, failed %d times, %d dropped", r.Name, r.Decisions, r.Failures, r.Dropped)
		}
	}
	median := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	b.ReportMetric(median(without), "cpu-ns/request")
	b.ReportMetric(median(extra), "cpu-ns/shadow")
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
