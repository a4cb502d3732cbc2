package ledger

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/pointsman/pointsman/storage"
)

// idIn is a random id of a span.
func idIn(r *rand.Rand, span uint32) (id storage.RequestID) {
	binary.BigEndian.PutUint32(id[:], span)
	binary.BigEndian.PutUint32(id[4:], r.Uint32())
	binary.BigEndian.PutUint64(id[8:], r.Uint64())
	return id
}

// TestFresh: whatever the order of spans, an id that was noted is never fresh, nor is one that a former life may have noted.
func TestFresh(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(1, seed))
		began := r.Uint32N(20)
		f := newFresh(r.IntN(RecentSize))
		f.since = began
		var noted []storage.RequestID
		for range 500 {
			span := began + r.Uint32N(8)
			if r.IntN(50) == 0 {
				began += r.Uint32N(3)
				span = began + 1000*r.Uint32N(2)
			}
			id := idIn(r, span)
			f.note(id)
			noted = append(noted, id)
			for range 5 {
				if before := noted[r.IntN(len(noted))]; f.is(before) {
					t.Fatalf("seed %d: id %s was noted and counts as fresh", seed, before)
				}
			}
		}
		if id := idIn(r, f.since); f.is(id) {
			t.Fatalf("seed %d: id %s of a span before its time counts as fresh", seed, id)
		}
	}
}

// TestFreshMistakes counts the fresh ids that seem not to be, with as many ids in a span as 6,000 requests a second leave.
func TestFreshMistakes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	f := newFresh(RecentSize)
	for range 400_000 {
		f.note(idIn(r, 7))
	}
	mistakes, tries := 0, 100_000
	for range tries {
		if !f.is(idIn(r, 7)) {
			mistakes++
		}
	}
	if share := float64(mistakes) / float64(tries); share > 0.03 {
		t.Errorf("%.4f of the fresh ids seem not to be", share)
	} else {
		t.Logf("%.4f of the fresh ids seem not to be", share)
	}
}
