package engine

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// TestSuits: what is found to suit a usual request is what option lets serve it, with the platform's key; nothing else but what has limits takes the long way for nothing.
func TestSuits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	one := func(n int) bool { return r.IntN(n) == 0 }
	const each = 40
	long, short := 0, 0
	for range 200 {
		e := &Engine{live: snapshot.New(make([]policy.Candidate, each), func() time.Time { return now }, nil)}
		c := &call{caller: &directory.Caller{Account: &storage.Account{}, Key: &storage.VirtualKey{}}, env: envelope.Envelope{Needs: uint32(r.IntN(4)), InputTokens: uint32(r.IntN(3000))}}
		if one(4) {
			c.env.Privacy = abi.PrivacyLocal
		}
		if one(4) {
			c.caller.Key.Scopes.Tiers = []uint8{catalog.TierStarter}
		}
		if one(4) {
			c.op = opEmbeddings
		}
		named := catalog.Model{Name: "named", Tier: catalog.TierStarter}
		if one(4) {
			c.model = &named
		}
		tier := uint8(r.IntN(3))
		for i := range each {
			m := &catalog.Model{Name: "other", Tier: catalog.TierBalanced}
			if one(4) {
				m = &named
			}
			d := &deployment{
				glance: glance{
					model: m, key: new(keyState), limits: new(atomic.Pointer[snapshot.Limits]), index: i, can: uint32(r.IntN(4)), window: uint32(1000 * r.IntN(4)),
					accounts: uint8(r.IntN(8)), local: one(2), platform: !one(6), simulate: one(3),
				},
				Deployment: &catalog.Deployment{Index: i, Model: m, Provider: "p"},
			}
			if one(6) {
				d.mode = abi.ModeEmbedding
			}
			if one(6) {
				d.limits.Store(&snapshot.Limits{At: now, Left: []snapshot.Left{{Tokens: true, Limit: 1000, Reset: now.Add(time.Second)}}})
			}
			if one(6) {
				d.key.circuit.Fail(now, abi.FailureAuth, true)
			}
			excluded, flags := e.option(c, d, tier, now)
			switch fine := excluded == 0 && flags == 0; {
			case !c.usual():
			case e.suits(c, d, tier, now):
				if short++; !fine {
					t.Fatalf("suits, but is excluded for %d with flags %d: %+v", excluded, flags, d.glance)
				}
			case fine && d.limits.Load() == nil:
				long++
			}
		}
	}
	if short == 0 || long > 0 {
		t.Errorf("%d candidates were found to suit, %d of which no limit is told were not", short, long)
	}
}
