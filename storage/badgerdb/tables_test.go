package badgerdb

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
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

// TestTablesThatCannotBeWritten: Badger tries to write a table for ever. The ledger halts after a while, nobody waits for it any longer, and it can be
// closed; the next start has all that was acknowledged.
func TestTablesThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := abandoned(t)
	s, err := Open(Config{Dir: dir, MemoryMB: 16})
	if err != nil {
		t.Fatal(err)
	}
	fund(t, s, "alice", 1<<40)
	var inTheWay []string
	for id := range uint64(1000) {
		path := table.NewFilename(id, filepath.Join(dir, "ledger"))
		if os.Mkdir(path, 0o700) == nil {
			inTheWay = append(inTheWay, path)
		}
	}
	charged := storage.Credits(0)
	for began := time.Now(); s.Halted() == nil && time.Since(began) < time.Minute; {
		var last *storage.Batch
		for range 1000 {
			id := storagetest.NewRequest()
			if _, err = s.Reserve(storage.Hold{Request: id, Account: "alice", Amount: 1, Expires: time.Now().Add(time.Hour)}); err != nil {
				break
			}
			if _, last, err = s.Settle(storage.Settlement{Request: id, Charge: 1, Reason: "ok"}); err != nil {
				break
			}
		}
		if err != nil || last.Wait() != nil {
			break
		}
		charged += 1000
	}
	if err := s.Halted(); err == nil || !strings.Contains(err.Error(), "creating table") {
		t.Errorf("halted: %v", err)
	}
	s.Entries("alice", 0, 1) //nolint:errcheck // it does not wait, whether or not the database has them
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "cannot be closed") {
		t.Errorf("closing gave %v", err)
	}
	left := t.TempDir()
	if err := copyDatabase(filepath.Join(dir, "ledger"), filepath.Join(left, "ledger")); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(filepath.Join(dir, headName), filepath.Join(left, headName)); err != nil {
		t.Fatal(err)
	}
	for _, path := range inTheWay { // what is left of this process's database ends in peace
		os.Remove(path)
	}
	after := openStore(t, Config{Dir: left})
	if b, err := after.Balance("alice"); err != nil || b.Posted > 1<<40-charged {
		t.Errorf("%d were charged, %+v, %v", charged, b, err)
	}
}

// TestOthersThatCannotBeWritten: nobody waits for the log, the results or the bodies either when their tables cannot be written.
func TestOthersThatCannotBeWritten(t *testing.T) {
	inTheWay := func(dir, name string) {
		for id := range uint64(1000) {
			path := table.NewFilename(id, filepath.Join(dir, name))
			if os.Mkdir(path, 0o700) == nil {
				t.Cleanup(func() { os.Remove(path) }) // what is left of this process's database ends in peace
			}
		}
	}
	within := func(t *testing.T, doing string, do func() error, want error) {
		t.Helper()
		ended := make(chan error, 1)
		go func() { ended <- do() }()
		select {
		case err := <-ended:
			if !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s: %v", doing, err)
			}
		case <-time.After(2 * mostUntabled):
			t.Fatalf("%s does not end", doing)
		}
	}
	t.Run("log", func(t *testing.T) {
		t.Parallel()
		l := openLog(t, Config{Dir: abandoned(t), MemoryMB: 16})
		inTheWay(l.config.Dir, "log")
		until(t, func() error {
			for n := range uint64(64) {
				l.AppendGeneration(n, randomBytes(64<<10))
			}
			_, err := l.Mark("it")
			return err
		})
		within(t, "writing a mark", func() error { return l.SaveMark("it", nil) }, errGivenUp)
		within(t, "waiting for what is queued", func() error { l.Flush(); return nil }, nil)
		within(t, "closing", l.Close, errGivenUp)
	})
	t.Run("results", func(t *testing.T) {
		t.Parallel()
		r, err := OpenResults(Config{Dir: abandoned(t), MemoryMB: 16}, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		keep := func() error {
			var last *storage.Batch
			for range 8 {
				last = r.Keep(storage.ResultID(randomBytes(len(storage.ResultID{}))), storage.Result{State: storage.ResultWhole, Status: 200, Body: randomBytes(64 << 10)})
			}
			return last.Wait()
		}
		if err := keep(); err != nil { // before, there is no database
			t.Fatal(err)
		}
		inTheWay(r.config.Dir, "results")
		until(t, keep)
		within(t, "keeping", keep, errGivenUp)
		within(t, "reading", func() error { _, err := r.Result(storage.ResultID{}); return err }, errGivenUp)
		within(t, "closing", r.Close, errGivenUp)
	})
	t.Run("bodies", func(t *testing.T) {
		t.Parallel()
		b := openBodies(t, BodiesConfig{Dir: abandoned(t), MaxMB: 1024, Retain: time.Hour})
		inTheWay(b.config.Dir, "bodies")
		until(t, func() error {
			b.Append(storage.Body{Request: storagetest.NewRequest(), Sent: randomBytes(256 << 10)})
			_, err := b.Find("it")
			return err
		})
		within(t, "closing", b.Close, errGivenUp)
	})
}

// TestWriteBuffersThatCannotBeMade: a database that gets no new write buffer, or fails to drop what is old, is given up; what is written next must not end the process.
func TestWriteBuffersThatCannotBeMade(t *testing.T) {
	inTheWay := func(dir, name string) {
		for id := range uint64(1000) {
			path := filepath.Join(dir, name, fmt.Sprintf("%05d.mem", id))
			if os.Mkdir(path, 0o700) == nil {
				t.Cleanup(func() { os.Remove(path) })
			}
		}
	}
	t.Run("log", func(t *testing.T) {
		t.Parallel()
		l := openLog(t, Config{Dir: abandoned(t), MemoryMB: 16})
		inTheWay(l.config.Dir, "log")
		until(t, func() error {
			for n := range uint64(64) {
				l.AppendGeneration(n, randomBytes(64<<10))
			}
			_, err := l.Mark("it")
			return err
		})
		dropped := l.Dropped()
		l.AppendGeneration(1, randomBytes(64<<10))
		l.Flush()
		if err := l.SaveMark("it", nil); !errors.Is(err, errGivenUp) {
			t.Errorf("saving a mark: %v", err)
		}
		if err := l.Close(); !errors.Is(err, errGivenUp) || l.Dropped() < dropped {
			t.Errorf("%d records dropped, closing: %v", l.Dropped()-dropped, err)
		}
	})
	t.Run("bodies", func(t *testing.T) {
		t.Parallel()
		b := openBodies(t, BodiesConfig{Dir: abandoned(t), MaxMB: 1024, Retain: time.Hour})
		inTheWay(b.config.Dir, "bodies")
		until(t, func() error {
			b.Append(storage.Body{Request: storagetest.NewRequest(), Sent: randomBytes(256 << 10)})
			_, err := b.Find("it")
			return err
		})
		if err := b.Close(); !errors.Is(err, errGivenUp) {
			t.Error(err)
		}
	})
	t.Run("results that are dropped", func(t *testing.T) {
		t.Parallel()
		r, err := OpenResults(Config{Dir: abandoned(t), MemoryMB: 16}, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		keep := func() error {
			return r.Keep(storage.ResultID(randomBytes(len(storage.ResultID{}))), storage.Result{State: storage.ResultWhole, Status: 200, Body: randomBytes(64 << 10)}).Wait()
		}
		if err := keep(); err != nil {
			t.Fatal(err)
		}
		for id := range uint64(1000) {
			if path := table.NewFilename(id, filepath.Join(r.config.Dir, "results")); os.Mkdir(path, 0o700) == nil {
				t.Cleanup(func() { os.Remove(path) })
			}
		}
		if r.drop([]byte{resultMark}) {
			t.Error("it was dropped, without a table")
		}
		for range 100 {
			if err := keep(); !errors.Is(err, errGivenUp) {
				t.Fatal(err)
			}
		}
		if err := r.Close(); !errors.Is(err, errGivenUp) {
			t.Error(err)
		}
	})
}

// until does something again and again until the database is given up.
func until(t *testing.T, do func() error) {
	t.Helper()
	for began := time.Now(); !errors.Is(do(), errGivenUp); {
		if time.Since(began) > time.Minute {
			t.Fatal("the database is not given up")
		}
	}
}

// abandoned is a directory of a database that cannot be closed: what is left of it may still make files there.
func abandoned(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "abandoned")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // it never fails
	return b
}
