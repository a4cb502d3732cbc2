package policytest

import (
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Ordinary is what benchmarks decide about: a snapshot of 47 healthy candidates, like the built-in catalog's on an ordinary
// day, and so many requests of all sizes and tasks, with five candidates of another kind and now and then one that is warm.
func Ordinary(requests int) (*policy.Published, []*policy.Request) {
	random := NewRandom(1)
	candidates := random.Snapshot(47).Candidates
	for i := range candidates {
		candidates[i].Health = abi.HealthHealthy
		candidates[i].MaxOutput, candidates[i].ContextWindow = 0, 0
	}
	snap := policy.Publish(policy.Snapshot{Generation: 1, Candidates: candidates})
	all := make([]*policy.Request, requests)
	for i := range all {
		r := random.Request(snap)
		r.Privacy, r.Flags, r.Credits, r.AccountTier, r.Text, r.Metadata = 0, 0, 900_000_000, 2, nil, nil
		for o := range r.Options {
			r.Options[o] = policy.Option{}
			if random.Intn(8) == 0 {
				r.Options[o] = policy.Option{Inflight: 2, Flags: abi.OptionWarm}
			}
			if o >= 42 {
				r.Options[o].Excluded = abi.ReasonMode
			}
		}
		all[i] = r
	}
	return snap, all
}
