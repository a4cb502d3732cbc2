package record

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

func manyCandidates(n int) []policy.Candidate {
	random := rand.New(rand.NewPCG(3, 5))
	all := make([]policy.Candidate, n)
	for i := range all {
		all[i] = policy.Candidate{
			Key: uint64(i + 1), Model: uint16(i / 2), Tier: uint8(random.IntN(5)), Quality: random.Float32(), CreditsPer1K: random.Int64N(9),
			PriceIn: random.Int64N(100), PriceOut: random.Int64N(100), Capabilities: random.Uint32() & 0xff, ContextWindow: random.Uint32N(1 << 20),
		}
		if i%7 == 0 {
			all[i].Flags = abi.CandidateOwnKey
		}
		if i%11 == 0 {
			all[i].Mode = abi.ModeImage
		}
	}
	return all
}

// TestShortlists: a list has what was named and the best of its level, is as long as was asked for, and the same whoever asks.
func TestShortlists(t *testing.T) {
	all := manyCandidates(1000)
	lists := NewShortlists(all)
	if lists.Numbers(abi.LevelEco, abi.NoModel, 1000) != nil || lists.Numbers(abi.LevelEco, abi.NoModel, 0) != nil {
		t.Error("a list of all is a list")
	}
	for level := range uint8(abi.LevelCustom + 1) {
		lo, hi := catalog.LevelTiers(level)
		for _, model := range []uint16{abi.NoModel, 0, 7, 499, 9999} {
			for _, n := range []int{1, 16, 64, 900, 999} {
				got := lists.Numbers(level, model, n)
				if len(got) != n || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != n {
					t.Fatalf("level %d, model %d: %d of %d candidates", level, model, len(got), n)
				}
				if again := NewShortlists(slices.Clone(all)).Numbers(level, model, n); !slices.Equal(got, again) {
					t.Fatalf("level %d, model %d: %v, then %v", level, model, got, again)
				}
				for i := range all {
					if all[i].Model == model && n > 1 && !slices.Contains(got, uint16(i)) {
						t.Errorf("level %d: the model that was named is not on the list of %d", level, n)
					}
				}
			}
		}
		own, below := 0, 0
		list := lists.Numbers(level, abi.NoModel, 64)
		for _, i := range list {
			c := &all[i]
			switch {
			case c.Flags != 0 || c.Mode != abi.ModeChat:
				t.Errorf("level %d: candidate %d cannot serve it", level, i)
			case lo > hi || c.Tier >= lo && c.Tier <= hi:
				own++
			case c.Tier < lo:
				below++
			}
		}
		if own+below != 64 || lo > 0 && lo <= hi && below != 16 {
			t.Errorf("level %d: %d of its tiers, %d below", level, own, below)
		}
		for name, first := range map[string]func(a, b *policy.Candidate) int{"best": better, "cheapest": cheaper, "ablest": abler} {
			want := -1
			for i := range all {
				if groupOf(&all[i], level) == groupOwn && (want < 0 || first(&all[i], &all[want]) < 0) {
					want = i
				}
			}
			if !slices.Contains(list, uint16(want)) {
				t.Errorf("level %d: the %s candidate is not on the list", level, name)
			}
		}
	}
}

// TestHead: what says which candidates a decision is about is read without the rest.
func TestHead(t *testing.T) {
	all := manyCandidates(200)
	whole := policy.Publish(policy.Snapshot{Generation: 77, WallMillis: 5, Candidates: all})
	for _, n := range []int{3, 64, 200} {
		d := sample()
		d.Request.Generation, d.Request.Level, d.Request.Model, d.Request.State = 77, abi.LevelBalanced, 9, 1<<40
		d.Request.Text, d.Request.Metadata = []byte("what?"), []byte("user=u\n")
		d.Request.Options = make([]policy.Option, n)
		data := AppendDecision(nil, d)
		h, err := HeadOf(data)
		if err != nil || h != (Head{77, abi.LevelBalanced, 9, n}) {
			t.Errorf("%+v, %v", h, err)
		}
		for cut := range data {
			if _, err := HeadOf(data[:cut]); err == nil && cut < len(data)/4 {
				t.Errorf("%d of %d bytes have a head", cut, len(data))
			}
		}
		part := NewShortlists(all).Of(whole, d.Request)
		if len(part.Candidates) != n || part.Generation != 77 || n == 200 && part != whole {
			t.Errorf("%d candidates of %d", len(part.Candidates), n)
		}
		for i, number := range NewShortlists(all).Numbers(abi.LevelBalanced, 9, n) {
			if part.Candidates[i].Key != all[number].Key {
				t.Fatalf("candidate %d is another one", i)
			}
		}
	}
}
