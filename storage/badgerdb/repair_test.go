package badgerdb

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// damagedBy is the directory of a populated ledger that was edited behind its back.
func damagedBy(t *testing.T, edit func(t *testing.T, txn book)) string {
	t.Helper()
	dir := populated(t)
	db, err := badger.Open(badger.DefaultOptions(filepath.Join(dir, "ledger")).WithLogger(nil).WithCompression(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(txn *badger.Txn) error { edit(t, bookOf(db, txn)); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func opened(t *testing.T, dir string) *Snapshot {
	t.Helper()
	s, err := OpenSnapshot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// lines are all lines of a ledger that proves.
func lines(t *testing.T, dir string) (all []storage.Entry) {
	t.Helper()
	s, err := OpenSnapshot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Each(0, 0, func(e *storage.Entry) error { all = append(all, *e); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// checkRepaired proves a repaired ledger and compares its lines with those of a whole one, and its standing with what was
// promised. Then it works.
func checkRepaired(t *testing.T, dir string, d *Damage, whole []storage.Entry) {
	t.Helper()
	if err := Verify(dir, t.Output()); err != nil {
		t.Fatalf("the repaired ledger: %v", err)
	}
	got := lines(t, dir)
	if uint64(len(got)) != d.Through {
		t.Fatalf("%d lines, %d are proven", len(got), d.Through)
	}
	for i := range whole[:min(len(whole), len(got))] {
		if got[i] != whole[i] {
			t.Fatalf("line %+v, was %+v", got[i], whole[i])
		}
	}
	s := openStore(t, Config{Dir: dir, VerifyPercent: 100})
	for _, b := range d.Standing {
		now, err := s.Balance(b.Account)
		if now.Held, b.Held = 0, 0; err != nil || now != b { // what was held is interrupted
			t.Errorf("%+v, promised %+v, %v", now, b, err)
		}
	}
	if _, err := s.Grant(storage.Grant{Account: d.Standing[0].Account, Amount: 5, Reference: "after the repair", Kind: "bonus"}); err != nil {
		t.Error(err)
	}
	charge(t, s, d.Standing[0].Account, 1)
	s.proveNow()
	if err := s.Halted(); err != nil {
		t.Error(err)
	}
	s.Close()
	openStore(t, Config{Dir: dir}).Close()
}

func TestRepair(t *testing.T) {
	for name, test := range tamperings() {
		t.Run(name, func(t *testing.T) {
			dir := damagedBy(t, test.edit)
			s := opened(t, dir)
			lost := uint64(0)
			d, err := s.Assess(func(*storage.Entry) error { lost++; return nil })
			if err != nil {
				t.Fatal(err)
			}
			if d.Fault == "" || !strings.Contains(d.Fault, test.want) || lost != d.Unproven || d.Through+d.Unproven+d.Unreadable < d.Last {
				t.Errorf("%+v; %d lines lost", d, lost)
			}
			to := filepath.Join(t.TempDir(), "new")
			if _, err := s.Repair(to); (err == nil) != (d.Through > 0) {
				t.Fatalf("repairing with %d lines proven: %v", d.Through, err)
			}
			if d.Through > 0 {
				checkRepaired(t, to, d, nil)
			}
			if err := Verify(dir, io.Discard); err == nil {
				t.Error("the damaged ledger was changed")
			}
		})
	}
}

// What is told of a lost page: which lines it took, what can still be read behind it, and what accounts said last.
func TestAssessAfterALostPage(t *testing.T) {
	whole := lines(t, populated(t))
	at := uint64(30)
	dir := damagedBy(t, func(t *testing.T, txn book) {
		editPage(t, txn, at, func([][]byte, int) [][]byte { return nil })
	})
	d, err := opened(t, dir).Assess(nil)
	if err != nil {
		t.Fatal(err)
	}
	if d.Through >= at || d.Unreadable == 0 || d.Unproven == 0 || d.Last != uint64(len(whole)) || d.Through+d.Unproven+d.Unreadable != d.Last {
		t.Errorf("%+v of %d lines", d, len(whole))
	}
	if len(d.LostAccounts) != 0 || d.Said["alice"].Posted == 0 || len(d.Standing) != 3 {
		t.Errorf("%+v", d)
	}
}

// An account that was opened behind the damage is lost, and said to be. References before it stay used.
func TestRepairTellsLostAccountsAndKeepsReferences(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Config{Dir: dir})
	fund(t, s, "alice", 1000)
	if _, err := s.Grant(storage.Grant{Account: "alice", Amount: 5, Reference: "invoice 1", Kind: "purchase"}); err != nil {
		t.Fatal(err)
	}
	fund(t, s, "bob", 1000)
	if _, err := s.Transfer(storage.Transfer{From: "alice", To: "bob", Amount: 3, Reference: "gift"}); err != nil {
		t.Fatal(err)
	}
	fund(t, s, "carol", 7)
	if err := s.PutVirtualKey(storage.VirtualKey{ID: "key_1", Account: "alice"}); err != nil {
		t.Fatal(err)
	}
	if err := edit(s, func(txn *badger.Txn) error {
		editEntry(t, bookOf(s.db, txn), 5, false, func(e *storage.Entry) { e.Amount++ }) // the second line of the transfer
		return txn.Delete(textKey(keyAccount, "bob"))
	}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	damaged := opened(t, dir)
	d, err := damaged.Assess(nil)
	if err != nil {
		t.Fatal(err)
	}
	if d.Through != 3 || strings.Join(d.LostAccounts, " ") != "carol" || strings.Join(d.Nameless, " ") != "bob" {
		t.Fatalf("%+v", d)
	}
	to := t.TempDir()
	if _, err := damaged.Repair(to); err != nil {
		t.Fatal(err)
	}
	repaired := openStore(t, Config{Dir: to})
	if b, err := repaired.Grant(storage.Grant{Account: "alice", Amount: 5, Reference: "invoice 1"}); err != nil || b.Posted != 1005 {
		t.Errorf("the reference was taken again: %+v, %v", b, err)
	}
	if bob, err := repaired.Account("bob"); err != nil || bob.Tier != storage.TierFree || time.Since(bob.Created) > time.Hour {
		t.Errorf("%+v, %v", bob, err)
	}
	if keys, err := repaired.VirtualKeys(); err != nil || len(keys) != 1 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	if _, err := damaged.Repair(to); err == nil {
		t.Error("repaired over a ledger")
	}
}

// Whatever eight flipped bytes make of a file, what is repaired proves and holds nothing that the whole ledger does not.
func TestRepairAfterFlippedBytes(t *testing.T) {
	source := populated(t)
	whole := lines(t, source)
	r := rand.New(rand.NewPCG(3, 4))
	files, err := os.ReadDir(filepath.Join(source, "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	repaired := 0
	for _, file := range files {
		for range 4 {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
				t.Fatal(err)
			}
			flip(t, filepath.Join(dir, "ledger", file.Name()), r)
			s, err := OpenSnapshot(dir)
			if err != nil {
				continue // Badger cannot open it: a backup must
			}
			d, err := s.Assess(nil)
			if err == nil && d.Fault != "" && d.Through > 0 {
				to := filepath.Join(dir, "new")
				if _, err = s.Repair(to); err == nil {
					checkRepaired(t, to, d, whole)
					repaired++
				}
			}
			if err != nil {
				t.Logf("%s: %v", file.Name(), err)
			}
			s.Close()
		}
	}
	t.Logf("%d repaired", repaired)
}

// flip changes eight bytes in the written part of a file.
func flip(t *testing.T, path string, r *rand.Rand) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := len(b)
	for used > 0 && b[used-1] == 0 {
		used--
	}
	if used == 0 {
		return
	}
	at := r.IntN(used)
	for i := at; i < min(at+8, used); i++ {
		b[i] ^= byte(1 + r.IntN(255))
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
