package badgerdb

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// populated is the directory of a closed ledger with three accounts, forty requests, an open hold and a loss.
func populated(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := openStore(t, Config{Dir: dir})
	for _, id := range []string{"alice", "bob", "carol"} {
		fund(t, s, id, 1000)
	}
	for i := range 40 {
		charge(t, s, []string{"alice", "bob"}[i%2], storage.Credits(i))
		if err := s.catchUp(); err != nil { // pages of different moments have records of their own
			t.Fatal(err)
		}
	}
	hold := storage.Hold{Request: storagetest.NewRequest(), Account: "alice", Amount: 10, Expires: time.Now().Add(time.Hour)}
	if _, err := s.Reserve(hold); err != nil {
		t.Fatal(err)
	}
	hold.Request, hold.Account = storagetest.NewRequest(), "bob"
	if _, err := s.Reserve(hold); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Settle(storage.Settlement{Request: hold.Request, Charge: 5000}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// editPage rewrites the lines of the page that holds a position; a nil result deletes the page.
func editPage(t *testing.T, txn book, position uint64, edit func(lines [][]byte, at int) [][]byte) {
	t.Helper()
	first, err := pageOf(txn.Txn, position)
	if err != nil {
		t.Fatal(err)
	}
	item, err := txn.Get(appendEntryKey(nil, first))
	if err != nil {
		t.Fatal(err)
	}
	page, err := txn.page(item)
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	if err := ledger.EachLine(first, page, func(_ uint64, line []byte) error {
		lines = append(lines, slices.Clone(line))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	edited := []byte{ledger.PageVersion}
	for _, line := range edit(lines, int(position-first)) {
		edited = append(binary.AppendUvarint(edited, uint64(len(line))), line...)
	}
	if len(edited) == 1 {
		err = txn.Delete(appendEntryKey(nil, first))
	} else {
		err = txn.Set(appendEntryKey(nil, first), edited)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// editEntry changes one line, keeping the chain as it was or, with rehash, giving the line alone a hash that fits.
func editEntry(t *testing.T, txn book, position uint64, rehash bool, edit func(e *storage.Entry)) {
	t.Helper()
	editPage(t, txn, position, func(lines [][]byte, at int) [][]byte {
		e, err := ledger.DecodeEntry(position, lines[at])
		if err != nil {
			t.Fatal(err)
		}
		edit(&e)
		line := ledger.AppendEntry(nil, &e)
		hash := e.Hash
		if rehash {
			before, err := readEntry(txn, position-1)
			if err != nil {
				t.Fatal(err)
			}
			accountBefore, err := readEntry(txn, e.Previous)
			if err != nil {
				t.Fatal(err)
			}
			hash = new(ledger.Hasher).Hash(position, &before.Hash, &accountBefore.Hash, line)
		}
		lines[at] = append(line, hash[:]...)
		return lines
	})
}

// tampering is one edit of a ledger behind its back, and what Verify must say of it.
type tampering struct {
	edit func(t *testing.T, txn book)
	want string
}

func tamperings() map[string]tampering {
	set := func(t *testing.T, txn book, key, value []byte) {
		t.Helper()
		if err := txn.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	checkpointed := func(t *testing.T, txn book) ledger.Checkpoint {
		t.Helper()
		c, err := readCheckpoint(txn.Txn)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	last := func(t *testing.T, txn book) uint64 { return checkpointed(t, txn).Position }
	drop := func([][]byte, int) [][]byte { return nil }
	return map[string]tampering{
		"amount edited": {func(t *testing.T, txn book) {
			editEntry(t, txn, 20, false, func(e *storage.Entry) { e.Amount++ })
		}, "hash does not match"},
		"amount and hash edited": {func(t *testing.T, txn book) {
			editEntry(t, txn, 20, true, func(e *storage.Entry) { e.Amount++ })
		}, "account "},
		"charge forgiven with a fitting hash": {func(t *testing.T, txn book) {
			editEntry(t, txn, 21, true, func(e *storage.Entry) { e.Posted += e.Charged; e.Charged = 0 })
		}, "account "},
		"hash edited": {func(t *testing.T, txn book) {
			editPage(t, txn, 9, func(lines [][]byte, at int) [][]byte {
				lines[at][len(lines[at])-1]++
				return lines
			})
		}, "(ledger position 9): hash does not match"},
		"page dropped": {func(t *testing.T, txn book) { editPage(t, txn, 10, drop) }, "are missing"},
		"first page dropped": {func(t *testing.T, txn book) {
			editPage(t, txn, 1, drop)
		}, "are missing"},
		"line dropped in a page": {func(t *testing.T, txn book) {
			editPage(t, txn, 10, func(lines [][]byte, at int) [][]byte { return slices.Delete(lines, at, at+1) })
		}, ""},
		"seq doubled": {func(t *testing.T, txn book) {
			editPage(t, txn, 10, func(lines [][]byte, at int) [][]byte { return slices.Insert(lines, at, lines[at]) })
		}, "account "},
		"tail dropped": {func(t *testing.T, txn book) { editPage(t, txn, last(t, txn), drop) }, "is missing"},
		"tail and checkpoint dropped": {func(t *testing.T, txn book) {
			n := last(t, txn)
			first, _ := pageOf(txn.Txn, n)
			before, err := readEntry(txn, first-1)
			if err != nil {
				t.Fatal(err)
			}
			editPage(t, txn, n, drop)
			c := checkpointed(t, txn)
			c.Position, c.Hash = before.Position, before.Hash
			set(t, txn, []byte{keyCheckpoint}, c.Encode())
		}, "the tail is lost"},
		"checkpoint dropped": {func(t *testing.T, txn book) {
			if err := txn.Delete([]byte{keyCheckpoint}); err != nil {
				t.Fatal(err)
			}
		}, "the tail is lost"},
		"issued edited": {func(t *testing.T, txn book) {
			c := checkpointed(t, txn)
			c.Issued++
			set(t, txn, []byte{keyCheckpoint}, c.Encode())
		}, "not 0"},
		"totals edited so that they sum to 0": {func(t *testing.T, txn book) {
			c := checkpointed(t, txn)
			c.Issued++
			c.Loss--
			set(t, txn, []byte{keyCheckpoint}, c.Encode())
		}, "the checkpoint says"},
		"open holds edited": {func(t *testing.T, txn book) {
			c := checkpointed(t, txn)
			c.Open++
			set(t, txn, []byte{keyCheckpoint}, c.Encode())
		}, "open holds"},
		"request index dropped": {func(t *testing.T, txn book) {
			key, _ := encodeRun(lastRun(t, txn))
			if err := txn.Delete(key); err != nil {
				t.Fatal(err)
			}
		}, "index of requests"},
		"request index moved": {func(t *testing.T, txn book) {
			run := lastRun(t, txn)
			key, _ := encodeRun(run)
			if err := txn.Delete(key); err != nil {
				t.Fatal(err)
			}
			run[len(run)-1].position++
			key, value := encodeRun(run)
			set(t, txn, key, value)
		}, "index of requests"},
		"request index that does not decode": {func(t *testing.T, txn book) {
			key, value := encodeRun(lastRun(t, txn))
			set(t, txn, key, value[:len(value)-1])
		}, "record does not decode"},
		"request indexed twice": {func(t *testing.T, txn book) {
			set(t, txn, appendRequestKey(nil, lastRun(t, txn)[0].id), binary.BigEndian.AppendUint64(nil, 3))
		}, "index of requests"},
		"grant index added": {func(t *testing.T, txn book) {
			set(t, txn, appendGrantKey(nil, "alice", "x"), binary.BigEndian.AppendUint64(nil, 3))
		}, "index of requests and grants"},
		"account record dropped": {func(t *testing.T, txn book) {
			if err := txn.Delete(textKey(keyAccount, "carol")); err != nil {
				t.Fatal(err)
			}
		}, "account carol seq 1: its record is missing"},
		"account record added": {func(t *testing.T, txn book) {
			set(t, txn, textKey(keyAccount, "mallory"), []byte(`{"id":"mallory"}`))
		}, "account mallory"},
		"head record of another account": {func(t *testing.T, txn book) {
			set(t, txn, textKey(keyHead, "mallory"), binary.BigEndian.AppendUint64(nil, 3))
		}, "account mallory"},
	}
}

// lastRun is the last run of the index of requests.
func lastRun(t *testing.T, txn book) (run []settled) {
	t.Helper()
	last, err := lastSettled(txn.Txn)
	if err != nil {
		t.Fatal(err)
	}
	if err := eachKey(txn.Txn, append([]byte{keyRun}, last[:idHead]...), func(key []byte, item *badger.Item) error {
		run = run[:0]
		return item.Value(func(value []byte) error {
			return decodeRun(key, value, func(id storage.RequestID, position uint64) { run = append(run, settled{id, position}) })
		})
	}); err != nil || len(run) == 0 {
		t.Fatalf("%d requests, %v", len(run), err)
	}
	return run
}

func TestVerifyFindsEdits(t *testing.T) {
	for name, test := range tamperings() {
		t.Run(name, func(t *testing.T) {
			dir := populated(t)
			db, err := badger.Open(badger.DefaultOptions(filepath.Join(dir, "ledger")).WithLogger(nil).WithCompression(0))
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Update(func(txn *badger.Txn) error { test.edit(t, bookOf(db, txn)); return nil }); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			err = Verify(dir, io.Discard)
			if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("Verify says %v, want one line with %q", err, test.want)
			}
			s, err := Open(Config{Dir: dir, VerifyMax: 1 << 30})
			if err != nil {
				t.Fatalf("a broken ledger must open, halted: %v", err)
			}
			defer s.Close()
			if s.Halted() == nil {
				t.Error("the ledger came up working")
			}
		})
	}
}

// TestHalted: a ledger that does not prove refuses credits and still serves keys and accounts.
func TestHalted(t *testing.T) {
	dir := populated(t)
	if err := os.WriteFile(filepath.Join(dir, headName), make([]byte, 600), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	checkHalted(t, s)
	if accounts, err := s.Accounts(); err != nil || len(accounts) != 3 {
		t.Errorf("accounts are %v, %v", accounts, err)
	}
	if err := s.PutVirtualKey(storage.VirtualKey{ID: "key_1", Account: "alice"}); err != nil {
		t.Error(err)
	}
	if keys, err := s.VirtualKeys(); err != nil || len(keys) != 1 {
		t.Errorf("keys are %v, %v", keys, err)
	}
}

func checkHalted(t *testing.T, s *Store) {
	t.Helper()
	_, reserveErr := s.Reserve(storage.Hold{Request: storagetest.NewRequest(), Account: "alice"})
	_, _, settleErr := s.Settle(storage.Settlement{Request: storagetest.NewRequest()})
	_, grantErr := s.Grant(storage.Grant{Account: "alice", Amount: 1, Reference: "r"})
	_, balanceErr := s.Balance("alice")
	createErr := s.CreateAccount(storage.Account{ID: "new"}, 1)
	for what, err := range map[string]error{
		"halted": s.Halted(), "reserve": reserveErr, "settle": settleErr, "grant": grantErr, "balance": balanceErr, "create": createErr,
	} {
		if !errors.Is(err, storage.ErrHalted) {
			t.Errorf("%s gave %v, want ErrHalted", what, err)
		}
	}
}

// TestCommitFailure: what cannot be committed is never acknowledged, and nothing is taken on after it.
func TestCommitFailure(t *testing.T) {
	s := openStore(t, Config{})
	fund(t, s, "alice", 1000)
	s.headFile.f.Close() // the head mark can no longer be written
	batch, err := s.Reserve(storage.Hold{Request: storagetest.NewRequest(), Account: "alice", Amount: 1, Expires: time.Now().Add(time.Hour)})
	if err == nil {
		err = batch.Wait()
	}
	if !errors.Is(err, storage.ErrHalted) {
		t.Fatalf("waiting gave %v", err)
	}
	checkHalted(t, s)
}

// editClosed changes the database of a ledger that nobody has open.
func editClosed(t *testing.T, dir string, change func(txn *badger.Txn) error) {
	t.Helper()
	config, err := Config{Dir: dir}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	db, err := openDatabase(config, "ledger", ledgerOptions)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// edit changes the database behind the store's back, once it has everything.
func edit(s *Store, change func(txn *badger.Txn) error) error {
	return errors.Join(s.catchUp(), s.db.Update(change))
}
