package scenario

import (
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

// Situations are requests of all sizes, tasks and levels about the built-in catalog on an ordinary day, always the same ones.
func Situations(n int) ([]*policy.Facts, error) {
	entries, err := catalog.Builtin()
	if err != nil {
		return nil, err
	}
	models, err := catalog.Build(entries)
	if err != nil {
		return nil, err
	}
	random := policytest.NewRandom(1)
	candidates := models.Candidates()
	for i := range candidates {
		c := &candidates[i]
		c.Health, c.Samples = abi.HealthHealthy, 200
		c.TTFT, c.TokensPerSec, c.ErrorRate = 80+random.Float32()*1500, 20+random.Float32()*200, random.Float32()*0.02
	}
	snap := policy.Publish(policy.Snapshot{Generation: 1, WallMillis: 1_700_000_000_000, Candidates: candidates})
	all := make([]*policy.Facts, n)
	for i := range all {
		r := random.Request(snap)
		r.Credits, r.AccountTier = 900_000_000, 3
		w := &world{catalog: models}
		for o, c := range candidates {
			w.all = append(w.all, place{Candidate: c, option: policy.Option{Inflight: r.Options[o].Inflight % 3}})
		}
		r.Options = w.options(r, "")
		all[i] = &policy.Facts{Snapshot: snap, Request: r}
	}
	return all, nil
}
