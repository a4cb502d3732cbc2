package kept

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// TestSizes: memory has room for what it was taken for and not twice as much more, and what is given back is had again for that size, never for a longer one.
func TestSizes(t *testing.T) {
	for _, size := range []int{1, 100, Usual, Usual + 1, 2*Usual - 1, 2 * Usual, 2*Usual + 1, 100_000, Most - 1, Most, Most + 1, 3 * Most} {
		m := Take(size)
		if got := cap(m.Bytes); len(m.Bytes) != 0 || got < size || got > max(2*Usual, 2*size) {
			t.Errorf("%d bytes get %d of %d", size, len(m.Bytes), got)
		}
		m.Bytes = m.Bytes[:size]
		m.Give()
	}
	grown := Take(Usual + 1)
	grown.Bytes = append(make([]byte, 0, 100), "of somebody else"...)
	grown.Give()
	(*Memory)(nil).Give()
	for range 100 {
		for size := 1; size <= Most; size *= 2 {
			if m := Take(size); len(m.Bytes) != 0 || cap(m.Bytes) < size {
				t.Fatalf("%d bytes get %d of %d", size, len(m.Bytes), cap(m.Bytes))
			}
		}
	}
}

// TestOwners: no two have the same memory at a time.
func TestOwners(t *testing.T) {
	var all sync.WaitGroup
	for seed := range uint64(8) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			held := map[*Memory]byte{}
			for n := range 2000 {
				m, mark := Take(1+random.IntN(4*Usual)), byte(n)
				if _, twice := held[m]; twice {
					t.Error("memory that is held is given out")
				}
				m.Bytes = append(m.Bytes, mark, byte(seed))
				held[m] = mark
				for m, mark := range held {
					if m.Bytes[0] != mark || m.Bytes[1] != byte(seed) {
						t.Errorf("%v in the place of %d and %d", m.Bytes, mark, seed)
					}
					if len(held) > 4 {
						delete(held, m)
						m.Give()
					}
				}
			}
		})
	}
	all.Wait()
}
