package main

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

func TestContract(t *testing.T) { policytest.Run(t, policytest.Policy(t, newPolicy(), nil)) }

func TestStaysWhereItIsWarm(t *testing.T) {
	route := policytest.Policy(t, newPolicy(), nil)
	candidates := func() []policy.Candidate {
		return []policy.Candidate{
			{Tier: 1, PriceIn: 300_000, PriceOut: 1_000_000},
			{Tier: 1, PriceIn: 400_000, PriceOut: 1_000_000, PriceCacheRead: 40_000},
			{Tier: 1, PriceIn: 1_000, PriceOut: 4_000},
		}
	}
	for _, c := range []struct {
		name   string
		change func(f *policy.Facts)
		first  int
	}{
		{"cold", func(f *policy.Facts) { f.Request.Options[2].Excluded = abi.ReasonNoKey }, 0},
		{"warm", func(f *policy.Facts) {
			f.Request.Options[2].Excluded = abi.ReasonNoKey
			f.Request.Options[1].Flags = abi.OptionWarm
		}, 1},
		{"warm and unwell", func(f *policy.Facts) {
			f.Request.Options[2].Excluded = abi.ReasonNoKey
			f.Request.Options[1].Flags = abi.OptionWarm
			f.Snapshot.Candidates[1].Health = abi.HealthDegraded
		}, 0},
		{"warm but dear", func(f *policy.Facts) { f.Request.Options[1].Flags = abi.OptionWarm }, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := policytest.Situation(candidates()...)
			c.change(f)
			if _, first := policytest.Plan(t, route, f); first != c.first {
				t.Errorf("candidate %d is first, not %d", first, c.first)
			}
		})
	}
}
