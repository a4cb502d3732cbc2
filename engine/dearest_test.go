package engine

import (
	"math/rand/v2"
	"testing"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

// TestDearOf: what is left of a power level's deployments has the dearest one for any usage.
func TestDearOf(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var all []*deployment
		for i := range 30 {
			d := &deployment{
				glance:     glance{platform: i%10 > 0},
				Deployment: &catalog.Deployment{Index: i, Model: &catalog.Model{Tier: catalog.TierBalanced}},
			}
			for k := range d.Price.Rates {
				d.Price.Rates[k] = []int64{catalog.Free, 0, 1, 2, 3}[r.IntN(5)] * 1_000_000
			}
			if i%9 == 0 {
				d.Price.Sets = []catalog.Set{{Above: 1000, Rates: catalog.Rates{catalog.RateIn: 4_000_000}}}
			}
			all = append(all, d)
		}
		dear := dearOf(abi.LevelBalanced, all)
		if len(dear) >= len(all) {
			t.Fatal("none was left out")
		}
		for range 50 {
			u := catalog.Usage{Input: r.Int64N(3000), Output: r.Int64N(3000), CacheRead: r.Int64N(500), CacheWrite: r.Int64N(500), AudioInput: r.Int64N(200), Reasoning: r.Int64N(500), ImageOutput: r.Int64N(500)}
			u, _ = u.Clamp(3000, 3000)
			most := func(list []*deployment) (most storage.NanoUSD) {
				for _, d := range list {
					if cost, _ := d.Price.Cost(u); d.platform {
						most = max(most, cost)
					}
				}
				return most
			}
			if got, want := most(dear), most(all); got != want {
				t.Fatalf("%d, want %d for %+v", got, want, u)
			}
		}
	}
}
