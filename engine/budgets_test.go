package engine

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/storage"
)

func TestPercentOf(t *testing.T) {
	for _, c := range []struct {
		amount  storage.Credits
		percent int
		want    storage.Credits
	}{
		{0, 80, 0}, {1, 80, 0}, {5, 80, 4}, {99, 100, 99}, {100, 1, 1}, {math.MaxInt64, 100, math.MaxInt64}, {math.MaxInt64, 50, math.MaxInt64 / 2},
	} {
		if got := percentOf(c.amount, c.percent); got != c.want {
			t.Errorf("%d %% of %d is %d, want %d", c.percent, c.amount, got, c.want)
		}
	}
}

// However a budget is spent, each part of it is told once in a period, and never before it is reached; also by a gateway that
// starts in the middle.
func TestPartsAreToldOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	parts := []int{50, 80, 100}
	for range 500 {
		var a alerts
		b := &storage.Cap{Spender: "a:a", Budget: storage.Budget{Period: storage.PeriodDay, Credits: 1 + storage.Credits(r.IntN(1000))}}
		for day := range 3 {
			began := time.Unix(int64(day)*86400, 0)
			told, spent := 0, storage.Credits(0)
			for spent <= b.Credits {
				if r.IntN(20) == 0 {
					a = alerts{} // a restart: what was reached before it was told before it
				}
				charged := 1 + storage.Credits(r.IntN(300))
				spent += charged
				want := 0
				for _, p := range parts {
					if spent >= percentOf(b.Credits, p) && p > told && spent-charged < percentOf(b.Credits, p) {
						want = p
					}
				}
				if got := a.reached(b, parts, began, spent, charged); got != want {
					t.Fatalf("budget %d, spent %d with %d: told %d, want %d", b.Credits, spent, charged, got, want)
				}
				told = max(told, want)
			}
		}
	}
}

func BenchmarkPermit(b *testing.B) {
	models := make([]*catalog.Model, 64)
	for i := range models {
		models[i] = &catalog.Model{Name: string(rune('a' + i)), Tier: uint8(i % 6)}
	}
	caller := &directory.Caller{Account: &storage.Account{}, Key: &storage.VirtualKey{Scopes: storage.Scopes{Models: []string{"a", "b", "c", "d"}, Tiers: []uint8{0, 1}, Policies: []string{"eco", "custom"}}}}
	b.Run("caller", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if barred(caller, time.Now) != nil || permitPolicy(caller, "custom", 0) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("64 models", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, m := range models {
				inScope(&caller.Key.Scopes, m)
			}
		}
	})
}
