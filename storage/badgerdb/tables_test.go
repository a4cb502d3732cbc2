package badgerdb

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// TestStrayTable: a table file that came to nothing is a reason to prove the ledger, and lines that are gone to halt it.
func TestStrayTable(t *testing.T) {
	for _, lost := range []bool{false, true} {
		s := openStore(t, Config{Dir: populated(t)})
		if err := os.WriteFile(table.NewFilename(990, filepath.Join(s.config.Dir, "ledger")), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if lost {
			if err := edit(s, func(txn *badger.Txn) error {
				editPage(t, bookOf(s.db, txn), 10, func([][]byte, int) [][]byte { return nil })
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		s.watchTables()
		if err := s.Halted(); err != nil {
			t.Fatalf("lost: %t, halted at the first sight of a table that is perhaps being written: %v", lost, err)
		}
		before := s.Verification().Proven
		s.watchTables()
		for began := time.Now(); s.Halted() == nil && !s.Verification().Proven.After(before) && time.Since(began) < 10*time.Second; time.Sleep(time.Millisecond) {
		}
		if err := s.Halted(); (err != nil) != lost || lost && !strings.Contains(err.Error(), "are missing") || !lost && !s.Verification().Proven.After(before) {
			t.Errorf("lost: %t, halted: %v, %+v", lost, err, s.Verification())
		}
		if s.watchTables(); len(s.online.asked) > 0 {
			t.Error("the same table is a reason once more")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHalfWrittenTable: a process that is killed while it writes a table leaves a file that is in no manifest. It hinders nobody.
func TestHalfWrittenTable(t *testing.T) {
	dir := populated(t)
	path := table.NewFilename(990, filepath.Join(dir, "ledger"))
	if err := os.WriteFile(path, make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Verify(dir, t.Output()); err != nil {
		t.Fatal(err)
	}
	openStore(t, Config{Dir: dir})
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("it was left: %v", err)
	}
}
