package badgerdb

import (
	"fmt"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// verified is a store that is verified whenever it is closed.
type verified struct {
	*Store
	t   *testing.T
	dir string
}

func (v verified) Close() error {
	if err := v.Store.Close(); err != nil {
		return err
	}
	return Verify(v.dir, v.t.Output())
}

func TestLedgerConforms(t *testing.T) {
	storagetest.RunLedger(t, func(t *testing.T, dir string) storagetest.Ledger {
		return verified{openStore(t, Config{Dir: dir}), t, dir}
	})
}

func openStore(t testing.TB, config Config) *Store {
	t.Helper()
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Halted(); err != nil {
		t.Fatal(err)
	}
	return s
}

func fund(t testing.TB, s *Store, id string, opening storage.Credits) {
	t.Helper()
	if err := s.CreateAccount(storage.Account{ID: id, Tier: storage.TierFree}, opening); err != nil {
		t.Fatal(err)
	}
}

// charge reserves and settles the same amount.
func charge(t testing.TB, s *Store, account string, amount storage.Credits) storage.RequestID {
	t.Helper()
	id := storagetest.NewRequest()
	if _, err := s.Reserve(storage.Hold{Request: id, Account: account, Amount: amount, Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	_, batch, err := s.Settle(storage.Settlement{Request: id, Charge: amount, Reason: "ok"})
	if err != nil || batch.Wait() != nil {
		t.Fatal(err)
	}
	return id
}

// TestForgotten: what left memory is still answered from disk.
func TestForgotten(t *testing.T) {
	s := openStore(t, Config{})
	fund(t, s, "a", 1_000_000)
	first := charge(t, s, "a", 7)
	var last *storage.Batch
	for range ledger.RecentSize + batchSize {
		id := storagetest.NewRequest()
		if _, err := s.Reserve(storage.Hold{Request: id, Account: "a", Amount: 1, Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		_, batch, err := s.Settle(storage.Settlement{Request: id, Charge: 0})
		if err != nil {
			t.Fatal(err)
		}
		last = batch
	}
	if err := last.Wait(); err != nil {
		t.Fatal(err)
	}
	if got, _, err := s.Settle(storage.Settlement{Request: first, Charge: 9}); err != nil || !got.Repeat || got.Charged != 7 {
		t.Fatalf("settling it again gave %+v, %v", got, err)
	}
	if _, err := s.Reserve(storage.Hold{Request: first, Account: "a", Amount: 7}); err == nil {
		t.Fatal("its id was taken again")
	}
}

func TestEntries(t *testing.T) {
	s := openStore(t, Config{})
	fund(t, s, "a", 100)
	fund(t, s, "b", 100)
	for range 5 {
		charge(t, s, "a", 1)
		charge(t, s, "b", 1)
	}
	var seqs []uint64
	for from := uint64(0); ; {
		entries, err := s.Entries("a", from, 4)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			seqs = append(seqs, e.Seq)
		}
		if from = entries[len(entries)-1].Previous; from == 0 {
			break
		}
	}
	if len(seqs) != 11 || seqs[0] != 11 || seqs[10] != 1 {
		t.Fatalf("entries have seqs %v", seqs)
	}
	if _, err := s.Entries("nobody", 0, 1); err == nil {
		t.Fatal("an unknown account has entries")
	}
}

// TestSuffix: with a low bound Open starts late, at an open hold if that is older, and still knows everything.
func TestSuffix(t *testing.T) {
	config := Config{Dir: t.TempDir(), VerifyMax: 10, headEvery: 7}
	s := openStore(t, config)
	fund(t, s, "idle", 50)
	fund(t, s, "a", 1000)
	charge(t, s, "a", 1)
	hold := storage.Hold{Request: storagetest.NewRequest(), Account: "a", Amount: 5, Expires: time.Now().Add(time.Hour)}
	if _, err := s.Reserve(hold); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		charge(t, s, "a", 1)
	}
	posted := storage.Credits(899)
	for range 4 {
		s.Close()
		if err := Verify(config.Dir, t.Output()); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, config)
		b, _ := s.Balance("a")
		idle, _ := s.Balance("idle")
		if b.Posted != posted || b.Held != 0 || idle.Posted != 50 {
			t.Fatalf("balances are %+v and %+v", b, idle)
		}
		if indexed(t, s) == 1 {
			t.Error("the heads were never brought up to date")
		}
		for range 20 {
			charge(t, s, "a", 1)
		}
		posted -= 20
	}
}

// TestSuffixWithinTransfer: what Open checks may begin between the two lines of a transfer.
func TestSuffixWithinTransfer(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Config{Dir: dir, headEvery: 5})
	fund(t, s, "rich", 1000)
	fund(t, s, "poor", 1)
	for i := range 30 {
		if _, err := s.Transfer(storage.Transfer{From: "rich", To: "poor", Amount: 1, Reference: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for most := 8; most < 14; most++ {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, Config{Dir: dir, headEvery: 5, VerifyMax: most})
		if b, err := s.Balance("poor"); s.Halted() != nil || err != nil || b.Posted != 31 {
			t.Fatalf("with %d lines: %+v, %v, %v", most, b, err, s.Halted())
		}
	}
}

// indexed is up to which line the records of accounts and spenders are exact.
func indexed(t *testing.T, s *Store) (position uint64) {
	t.Helper()
	err := s.viewNow("reading", func(txn *badger.Txn) error {
		end, err := readCheckpoint(txn)
		position = end.Indexed
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return position
}

// TestOpenReadsSuffixOnly: damage before what Open checks is left to Verify, and the whole of it is found there.
func TestOpenReadsSuffixOnly(t *testing.T) {
	config := Config{Dir: t.TempDir(), VerifyMax: 10, headEvery: 7}
	s := openStore(t, config)
	fund(t, s, "a", 1000)
	for range 50 {
		charge(t, s, "a", 1)
	}
	err := edit(s, func(txn *badger.Txn) error {
		editEntry(t, bookOf(s.db, txn), 5, false, func(e *storage.Entry) { e.Amount++ })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	openStore(t, config).Close()
	if err := Verify(config.Dir, t.Output()); err == nil {
		t.Fatal("the damage was not found")
	}
}

func FuzzDecodeEntry(f *testing.F) {
	e := storage.Entry{
		Kind: storage.EntryHold, Account: "a", Seq: 3, Previous: 9, Time: time.UnixMilli(1).UTC(), Amount: -5, Posted: 7, Held: 5,
		Expires: time.UnixMilli(9).UTC(), Reason: "ok", Reference: "r", Open: 1,
	}
	f.Add(append(ledger.AppendEntry(nil, &e), make([]byte, ledger.HashSize)...))
	f.Fuzz(func(t *testing.T, page []byte) {
		_ = ledger.EachLine(1, append([]byte{ledger.PageVersion}, page...), func(uint64, []byte) error { return nil }) // must not panic
		if len(page) < ledger.HashSize {
			return
		}
		e, decodeErr := ledger.DecodeEntry(1, page)
		if decodeErr != nil {
			return
		}
		again, err := ledger.DecodeEntry(1, append(ledger.AppendEntry(nil, &e), e.Hash[:]...))
		if err != nil || again != e {
			t.Fatalf("%+v came back as %+v, %v", e, again, err)
		}
	})
}
