package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/difficulty"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

// BenchmarkDifficulty decides about 47 candidates with every weight set and a head for each: an ordinary prompt, and the
// longest text that a policy is given.
func BenchmarkDifficulty(b *testing.B) {
	wasm, err := os.ReadFile(examplePolicy(b, "difficulty"))
	if err != nil {
		b.Fatal(err)
	}
	snap, requests := policytest.Ordinary(1)
	m := difficulty.Model{Scale: 0.01, Worth: 0.01}
	for i := range m.Weights {
		m.Weights[i] = int8(i * 37)
	}
	for i := range snap.Candidates {
		m.Heads = append(m.Heads, difficulty.Head{Name: snap.Candidates[i].ModelName, Bias: float64(i%7) / 4, Slope: 1 + float64(i%5)/4, Output: 300})
	}
	host, err := policies.New(context.Background(), policies.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer host.Close() //nolint:errcheck // it never served
	if _, err := host.Load("p", wasm, policies.Settings{Params: m.Params(), Grants: abi.GrantText}); err != nil {
		b.Fatal(err)
	}
	sentence := "Write a function that merges two sorted lists of intervals and explain why it is linear in 2 steps. "
	for _, size := range []int{0, 700, abi.MaxText} {
		b.Run(map[int]string{0: "empty", 700: "ordinary", abi.MaxText: "longest"}[size], func(b *testing.B) {
			r := *requests[0]
			r.Text = []byte(strings.Repeat(sentence, size/len(sentence)+1))[:size]
			facts := &policy.Facts{Snapshot: snap, Request: &r}
			var plan policy.Plan
			samples := make([]time.Duration, 0, 1<<20)
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				if _, err := host.Route("p", facts, &plan); err != nil {
					b.Fatal(err)
				}
				if len(samples) < cap(samples) {
					samples = append(samples, time.Since(start))
				}
			}
			slices.Sort(samples)
			b.ReportMetric(float64(samples[len(samples)/20]), "p5-ns")
			b.ReportMetric(float64(samples[len(samples)/2]), "p50-ns")
			b.ReportMetric(float64(samples[len(samples)*99/100]), "p99-ns")
			info, _ := host.Info("p")
			b.ReportMetric(float64(info.LastFuel), "fuel")
		})
	}
}
