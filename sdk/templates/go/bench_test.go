package main

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

// BenchmarkDecision is the decision about 47 candidates without WebAssembly: the function alone, and with facts and plan
// as JSON, both ways, as a contract in JSON would have it. Compare with sdk/templates.
func BenchmarkDecision(b *testing.B) {
	snap, requests := policytest.Ordinary(1000)
	p := newReference()
	if err := p.Configure(policy.Config{}); err != nil {
		b.Fatal(err)
	}
	p.Learn(&snap.Snapshot)
	var plan policy.Plan
	b.Run("function", func(b *testing.B) {
		b.ReportAllocs()
		measure(b, func(i int) {
			plan.Reset()
			p.Route(policy.Config{}, &snap.Snapshot, requests[i%len(requests)], &plan)
		})
	})
	type facts struct {
		Snapshot *policy.Snapshot
		Request  *policy.Request
	}
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		measure(b, func(i int) {
			in, err := json.Marshal(facts{&snap.Snapshot, requests[i%len(requests)]})
			if err != nil {
				b.Fatal(err)
			}
			var f facts
			if err := json.Unmarshal(in, &f); err != nil {
				b.Fatal(err)
			}
			plan.Reset()
			p.Route(policy.Config{}, f.Snapshot, f.Request, &plan)
			out, err := json.Marshal(&plan)
			if err != nil {
				b.Fatal(err)
			}
			var again policy.Plan
			if err := json.Unmarshal(out, &again); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// measure reports the median beside the mean, which says little on a machine with other work.
func measure(b *testing.B, decide func(i int)) {
	samples := make([]time.Duration, 0, 1<<20)
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		decide(i)
		if len(samples) < cap(samples) {
			samples = append(samples, time.Since(start))
		}
	}
	slices.Sort(samples)
	b.ReportMetric(float64(samples[len(samples)/2]), "p50-ns")
}
