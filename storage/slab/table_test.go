package slab

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

type named struct{ name int }

func newTable(hash func(int) uint64) *Table[int, named] {
	return NewTable(hash, func(v *named) int { return v.name })
}

// TestTableIsAMap puts, removes and finds at random what a map has too, with hashes that are good, and with some that are all alike.
func TestTableIsAMap(t *testing.T) {
	seed := maphash.MakeSeed()
	for name, hash := range map[string]func(int) uint64{
		"good": func(k int) uint64 { return maphash.Comparable(seed, k) },
		"few":  func(k int) uint64 { return uint64(k % 3) },
		"last": func(int) uint64 { return 1<<64 - 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			table, want := newTable(hash), map[int]*named{}
			for range 20_000 {
				switch k := r.IntN(300); {
				case r.IntN(3) == 0:
					table.Remove(k)
					delete(want, k)
				case want[k] == nil:
					want[k] = &named{k}
					table.Put(want[k])
				}
				if k := r.IntN(300); table.Get(k) != want[k] {
					t.Fatalf("%d is %v, want %v", k, table.Get(k), want[k])
				}
			}
			found := map[int]*named{}
			for v := range table.All() {
				if found[v.name] != nil {
					t.Errorf("%d is there twice", v.name)
				}
				found[v.name] = v
			}
			if len(found) != len(want) || table.Len() != len(want) {
				t.Errorf("%d and %d values, want %d", len(found), table.Len(), len(want))
			}
			if places := len(*table.places.Load()); places > 2048 {
				t.Errorf("%d places for %d values", places, len(want))
			}
		})
	}
}

// TestTableIsReadWhileItChanges: what stays is always found, and what was removed before is not.
func TestTableIsReadWhileItChanges(t *testing.T) {
	seed := maphash.MakeSeed()
	table := newTable(func(k int) uint64 { return maphash.Comparable(seed, k) })
	const stay, rounds = 1000, 40_000
	for k := range stay {
		table.Put(&named{k})
	}
	var removed atomic.Int64
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-stop:
					return
				default:
				}
				if v := table.Get(k % stay); v == nil || v.name != k%stay {
					t.Errorf("%d is %v", k%stay, v)
					return
				}
				if last := removed.Load(); last > 0 {
					if v := table.Get(int(last)); v != nil {
						t.Errorf("%d was removed and is %v", last, v)
						return
					}
				}
			}
		})
	}
	for k := stay; k < stay+rounds; k++ {
		table.Put(&named{k})
		if k%5 > 0 {
			table.Remove(k)
			removed.Store(int64(k))
		}
	}
	close(stop)
	readers.Wait()
}
