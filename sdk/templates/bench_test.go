package templates_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
	"github.com/pointsman/pointsman/sdk/templates"
)

// BenchmarkDecision is the reference policy's decision about 47 candidates in each language, with the encoding of the
// request, the fuel and the check of the plan. sdk/templates/go has the same without WebAssembly.
func BenchmarkDecision(b *testing.B) {
	for _, l := range templates.Languages() {
		b.Run(l.Name, func(b *testing.B) {
			h := newHost(b, policies.Config{})
			if _, err := h.Load("p", buildLanguage(b, l.Name), policies.Settings{Grants: abi.GrantState}); err != nil {
				b.Fatal(err)
			}
			snap, requests := policytest.Ordinary(1000)
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
			b.ReportMetric(float64(samples[len(samples)/2]), "p50-ns")
			b.ReportMetric(float64(samples[len(samples)/20]), "p5-ns")
			info, _ := h.Info("p")
			b.ReportMetric(float64(info.LastFuel), "fuel")
		})
	}
}
