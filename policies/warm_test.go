package policies_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

// TestSwap replaces a policy while goroutines decide with it: no decision fails, each is made by one of the modules that
// served, and the successor starts with as many instances as there were.
func TestSwap(t *testing.T) {
	h := newHost(t, policies.Config{Instances: 8, CacheDir: t.TempDir()})
	eco := builtin.Modules()["eco"]
	modules := [][]byte{eco, append(bytes.Clone(eco), 0, 2, 1, 'x')} // the second has an empty custom section more
	digests := map[string]bool{}
	for _, m := range modules {
		sum := sha256.Sum256(m)
		digests[hex.EncodeToString(sum[:])] = true
	}
	load := func(n int) policies.Info {
		info, err := h.Load("p", modules[n%2], policies.Settings{})
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	if n := load(0).Instances; n != 1 {
		t.Errorf("%d instances of the first module", n)
	}
	var stop atomic.Bool
	var decisions atomic.Int64
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			random := policytest.NewRandom(seed + 1)
			snap := random.Snapshot(47)
			var plan policy.Plan
			for !stop.Load() {
				ran, err := h.Route("p", &policy.Facts{Snapshot: snap, Request: random.Request(snap)}, &plan)
				if err != nil || !digests[ran.Digest] {
					t.Errorf("decided by %q, %v", ran.Digest, err)
					return
				}
				decisions.Add(1)
			}
		})
	}
	most := 0
	for n := range 100 {
		before, _ := h.Info("p")
		after := load(n + 1)
		most = max(most, after.Instances)
		if after.Instances == 0 || after.Instances > max(before.Instances, 8) {
			t.Errorf("%d instances after %d", after.Instances, before.Instances)
		}
	}
	stop.Store(true)
	wg.Wait()
	if most < 2 || decisions.Load() == 0 {
		t.Errorf("at most %d instances were started before a swap; %d decisions", most, decisions.Load())
	}
}
