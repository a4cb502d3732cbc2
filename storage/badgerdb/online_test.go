package badgerdb

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

func TestRest(t *testing.T) {
	for percent, want := range map[int]time.Duration{5: 38 * time.Millisecond, 50: 2 * time.Millisecond, 100: 0, 1: 198 * time.Millisecond} {
		if got := rest(2*time.Millisecond, percent); got != want {
			t.Errorf("%d %%: %s, want %s", percent, got, want)
		}
	}
}

// A ledger that works proves, whatever is under way at the moment.
func TestProvesWhileItWorks(t *testing.T) {
	s := openStore(t, Config{VerifyPercent: 100})
	for _, id := range []string{"a", "b", "c"} {
		fund(t, s, id, 1_000_000_000)
	}
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for _, id := range []string{"a", "b", "c"} {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					charge(t, s, id, 3)
				}
			}
		})
	}
	last := uint64(0)
	for n := 0; n < 20 || last < 300; n++ {
		s.proveNow()
		v := s.Verification()
		if err := s.Halted(); err != nil || v.Fault != "" || v.Running || v.Through < last || v.Checked != v.Of || v.Proven.IsZero() {
			t.Fatalf("halted %v, %+v", err, v)
		}
		last = v.Through
	}
	close(stop)
	workers.Wait()
}

// TestProvesAtEachMark: the ledger proves at any moment, also at that when the head file names a commit and nobody was told of it yet.
func TestProvesAtEachMark(t *testing.T) {
	var s *Store
	var working atomic.Bool
	proofs := 0
	s = openStore(t, Config{VerifyPercent: 100, at: func(point string) {
		if point != "marked" || !working.Load() {
			return
		}
		proofs++
		snapshot, err := s.snapshot()
		if err != nil {
			t.Error(err)
			return
		}
		defer snapshot.Close()
		if _, err := snapshot.prove(0, nil); err != nil {
			t.Error(err)
		}
	}})
	fund(t, s, "a", 1000)
	working.Store(true)
	for range 20 {
		charge(t, s, "a", 1)
	}
	working.Store(false)
	if proofs == 0 {
		t.Error("nothing was proven")
	}
}

// What is damaged while the ledger works halts it, in words.
func TestFaultsFoundOnlineHalt(t *testing.T) {
	for name, test := range tamperings() {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Config{Dir: populated(t), VerifyPercent: 100})
			if err := edit(s, func(txn *badger.Txn) error { test.edit(t, bookOf(s.db, txn)); return nil }); err != nil {
				t.Fatal(err)
			}
			s.proveNow()
			v := s.Verification()
			if err := s.Halted(); !errors.Is(err, storage.ErrHalted) || v.Fault == "" || strings.Contains(v.Fault, "\n") || !strings.Contains(err.Error(), v.Fault) {
				t.Fatalf("halted: %v; %+v", err, v)
			}
			checkHalted(t, s)
			if started, err := s.StartVerification(); started || !errors.Is(err, storage.ErrHalted) {
				t.Errorf("again: %v, %v", started, err)
			}
		})
	}
}

// A run that is asked for begins, and a store that is closed in the midst of it ends it without a fault.
func TestVerificationIsAskedForAndEnds(t *testing.T) {
	s := openStore(t, Config{VerifyPercent: 1})
	fund(t, s, "a", 1_000_000_000)
	var last *storage.Batch
	for range 5000 {
		id := storagetest.NewRequest()
		if _, err := s.Reserve(storage.Hold{Request: id, Account: "a", Amount: 1, Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		_, batch, err := s.Settle(storage.Settlement{Request: id, Charge: 1})
		if err != nil {
			t.Fatal(err)
		}
		last = batch
	}
	if err := last.Wait(); err != nil {
		t.Fatal(err)
	}
	if started, err := s.StartVerification(); !started || err != nil {
		t.Fatalf("%v, %v", started, err)
	}
	for !s.Verification().Running {
		time.Sleep(time.Millisecond)
	}
	if started, err := s.StartVerification(); started || err != nil {
		t.Errorf("twice: %v, %v", started, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if v := s.Verification(); v.Running || v.Fault != "" || v.Checked >= v.Of {
		t.Errorf("%+v", v)
	}
	if _, err := s.Snapshot(); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("a snapshot of a closed store: %v", err)
	}
}
