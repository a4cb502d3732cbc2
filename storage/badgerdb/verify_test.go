package badgerdb

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// A gateway that is killed again and again before Badger compacts leaves tables at the lowest level until that is full, and
// from then on a log each time. Verify must read them all and not wait for a compaction that it does not run.
func TestVerifyAfterManyKills(t *testing.T) {
	dir, killed := t.TempDir(), t.TempDir()
	s := openStore(t, Config{Dir: dir})
	if err := s.CreateAccount(storage.Account{ID: "a"}, 1000); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		db := openUncompacted(t, dir)
		if err := db.Update(setSchemaAgain); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(killed); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil { // what a kill at this moment leaves
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	repeatLog(t, filepath.Join(killed, "ledger"))
	done := make(chan error, 1)
	go func() { done <- Verify(killed, io.Discard) }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no end of it after ten seconds")
	}
}

func openUncompacted(t *testing.T, dir string) *badger.DB {
	t.Helper()
	config, err := Config{Dir: dir}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	options := config.badgerOptions(filepath.Join(dir, "ledger")).WithNumCompactors(0).WithNumLevelZeroTablesStall(math.MaxInt)
	db, err := badger.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// repeatLog makes the log of an open database several, as many as fill the queue of logs to become tables.
func repeatLog(t *testing.T, dir string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs %v, %v", logs, err)
	}
	var number int
	if _, err := fmt.Sscanf(filepath.Base(logs[0]), "%d.mem", &number); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		if err := copyFile(logs[0], filepath.Join(dir, fmt.Sprintf("%05d.mem", number+1+n))); err != nil {
			t.Fatal(err)
		}
	}
}

// setSchemaAgain writes something that changes nothing.
func setSchemaAgain(txn *badger.Txn) error {
	item, err := txn.Get([]byte{keySchema})
	if err != nil {
		return err
	}
	value, err := item.ValueCopy(nil)
	if err != nil {
		return err
	}
	return txn.Set([]byte{keySchema}, value)
}

// A process that is being started holds a copy of every descriptor for a moment. It must not keep the lock with it.
func TestLockIsNotLeftToACopy(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	inherited, err := syscall.Dup(int(lock.f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(inherited)
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// A kill may come between the making of a log and its first byte.
func TestEmptyLogs(t *testing.T) {
	config := Config{Dir: t.TempDir()}
	if err := openStore(t, config).Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"000099.vlog", "00099.mem"} {
		if err := os.WriteFile(filepath.Join(config.Dir, "ledger", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Verify(config.Dir, io.Discard); err != nil {
		t.Error(err)
	}
	if err := openStore(t, config).Close(); err != nil {
		t.Error(err)
	}
}
