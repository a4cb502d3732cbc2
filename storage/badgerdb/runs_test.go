package badgerdb

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// someSettled are n requests in the order of their positions, with ids of a few spans of time.
func someSettled(r *rand.Rand, n int) (all []settled) {
	position := r.Uint64N(1 << 40)
	for range n {
		var id storage.RequestID
		binary.BigEndian.PutUint32(id[:], 7+r.Uint32N(3))
		binary.BigEndian.PutUint32(id[4:], r.Uint32())
		binary.BigEndian.PutUint64(id[8:], r.Uint64())
		position += 1 + r.Uint64N(300)
		all = append(all, settled{id, position})
	}
	return all
}

// TestRuns: whatever is put into runs comes out of them, by all that reads them.
func TestRuns(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	db, err := badger.Open(badger.DefaultOptions("").WithInMemory(true).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := slices.Concat(someSettled(r, 1), someSettled(r, 300), someSettled(r, 3*runMax))
	highest := storage.RequestID{}
	for _, s := range all {
		if slices.Compare(s.id[:], highest[:]) > 0 {
			highest = s.id
		}
	}
	sorted := slices.Clone(all)
	sortRuns(sorted)
	records := 0
	if err := db.Update(func(txn *badger.Txn) error {
		for run, rest := []settled(nil), sorted; len(rest) > 0; records++ {
			run, rest = cutRun(rest)
			key, value := encodeRun(run)
			if err := txn.Set(key, value); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if records < 3 || records > 9 {
		t.Errorf("%d runs", records)
	}
	if err := db.View(func(txn *badger.Txn) error {
		for i := 0; i < len(all); i += 97 {
			if position, err := settledAt(txn, all[i].id); err != nil || position != all[i].position {
				return fmt.Errorf("%s is at %d: %d, %v", all[i].id, all[i].position, position, err)
			}
		}
		for _, id := range []storage.RequestID{{}, {0, 0, 0, 7}, {0, 0, 0, 200}} {
			if position, err := settledAt(txn, id); err != nil || position != 0 {
				return fmt.Errorf("%s, which is not there: %d, %v", id, position, err)
			}
		}
		last, err := lastSettled(txn)
		if err != nil || last != highest {
			return fmt.Errorf("the highest is %s: %s, %v", highest, last, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// TestDamagedRuns: a run of which a byte is missing or changed is an error or another run, never a panic.
func TestDamagedRuns(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	run, _ := cutRun(someSettled(r, 1))
	run = append(run, settled{run[0].id, run[0].position + 400})
	key, value := encodeRun(run)
	for n := range value {
		if err := decodeRun(key, value[:n], func(storage.RequestID, uint64) {}); err == nil {
			t.Errorf("%d of %d bytes are a run", n, len(value))
		}
		changed := slices.Clone(value)
		changed[n] ^= 1 << r.IntN(8)
		_ = decodeRun(key, changed, func(storage.RequestID, uint64) {})
	}
	for _, wrong := range [][]byte{nil, key[:5], append(slices.Clone(key), 0)} {
		if err := decodeRun(wrong, value, func(storage.RequestID, uint64) {}); err == nil {
			t.Errorf("key %x is a run's", wrong)
		}
	}
}

// BenchmarkSettledAt looks for a request among those of 65 seconds with 6,000 a second.
func BenchmarkSettledAt(b *testing.B) {
	db, err := badger.Open(badger.DefaultOptions(b.TempDir()).WithLogger(nil))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	r := rand.New(rand.NewPCG(9, 10))
	position := uint64(1)
	for range 1300 {
		var run []settled
		for range 300 {
			position += 2
			s := settled{position: position}
			s.id[3] = 9
			binary.BigEndian.PutUint64(s.id[8:], r.Uint64())
			run = append(run, s)
		}
		if err := db.Update(func(txn *badger.Txn) error { return txn.Set(encodeRun(run)) }); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := db.View(func(txn *badger.Txn) error {
			_, err := settledAt(txn, storage.RequestID{0, 0, 0, 9, 1})
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}
