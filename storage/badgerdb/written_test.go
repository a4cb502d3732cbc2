package badgerdb

import (
	"cmp"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// gated is a store with a request of alice's that is held for, whose journal is synchronized by what the test says from then on.
func gated(t *testing.T, sync func(*os.File) error) (*Store, storage.RequestID) {
	t.Helper()
	var open atomic.Bool
	s := openStore(t, Config{Dir: t.TempDir(), BallastMB: 0})
	plain := s.journal.sync
	s.journal.sync = func(f *os.File) error {
		if open.Load() {
			return sync(f)
		}
		return plain(f)
	}
	fund(t, s, "alice", 1000)
	id := storagetest.NewRequest()
	held, err := s.Reserve(storage.Hold{Request: id, Account: "alice", Amount: 10, Expires: time.Now().Add(time.Hour)})
	if err == nil {
		err = held.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	open.Store(true)
	return s, id
}

func settleWritten(t *testing.T, s *Store, id storage.RequestID) *storage.Batch {
	t.Helper()
	_, settled, err := s.Settle(storage.Settlement{Request: id, Charge: 7, Reason: "ok"})
	if err == nil {
		err = settled.Written()
	}
	if err != nil {
		t.Fatal(err)
	}
	return settled
}

// TestWrittenBeforeSynced: what is written outlives the process while a sync hangs, whoever waits for the sync waits on, and so do reads and the log.
func TestWrittenBeforeSynced(t *testing.T) {
	gate := make(chan struct{})
	s, id := gated(t, func(*os.File) error { <-gate; return nil })
	l := openLog(t, Config{Dir: s.config.Dir})
	settled := settleWritten(t, s, id)
	l.Append(storage.LogRecord{Usage: usageAt(time.Now(), 1, "alice"), Settled: settled})
	ends := make(chan string, 3)
	go func() { settled.Wait(); ends <- "sync" }()
	go func() { s.Entries("alice", 0, 100); ends <- "read" }()
	go func() { l.Flush(); ends <- "log" }()
	select {
	case end := <-ends:
		t.Errorf("%s did not wait", end)
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := s.Reserve(storage.Hold{Request: storagetest.NewRequest(), Account: "alice", Amount: 1, Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Error(err)
	}
	left := t.TempDir() // as a process that is killed now leaves it
	if err := os.CopyFS(left, os.DirFS(s.config.Dir)); err != nil {
		t.Fatal(err)
	}
	close(gate)
	for range cap(ends) {
		<-ends
	}
	if err := settled.Wait(); err != nil {
		t.Error(err)
	}
	after := openStore(t, Config{Dir: left})
	if b, err := after.Balance("alice"); err != nil || b.Posted != 993 || b.Held != 0 {
		t.Errorf("after a kill: %+v, %v", b, err)
	}
	if got, _, err := after.Settle(storage.Settlement{Request: id, Charge: 3}); err != nil || !got.Repeat || got.Charged != 7 {
		t.Errorf("settled again: %+v, %v", got, err)
	}
}

// TestWrittenIsSyncedSoon: nobody has to wait for what is written to be on disk soon.
func TestWrittenIsSyncedSoon(t *testing.T) {
	synced := make(chan struct{}, 100)
	s, id := gated(t, func(f *os.File) error { synced <- struct{}{}; return syncContent(f) })
	settled := settleWritten(t, s, id)
	select {
	case <-synced:
	case <-time.After(10 * time.Second):
		t.Fatal("it was not synchronized")
	}
	if err := settled.Wait(); err != nil {
		t.Error(err)
	}
}

// TestSyncFailsBehindWritten: the ledger halts, and the next start has what was written if the system still has it.
func TestSyncFailsBehindWritten(t *testing.T) {
	s, id := gated(t, func(*os.File) error { return syscall.EIO })
	l := openLog(t, Config{Dir: s.config.Dir})
	settled := settleWritten(t, s, id)
	u := usageAt(time.Now(), 1, "alice")
	u.Request, u.Credits = id, 0 // as the client was told
	l.Append(storage.LogRecord{Usage: u, Settled: settled})
	if err := settled.Wait(); !errors.Is(err, storage.ErrHalted) || !errors.Is(err, syscall.EIO) {
		t.Errorf("waiting gave %v", err)
	}
	if err := settled.Written(); err != nil {
		t.Errorf("it was written, and is not any more: %v", err)
	}
	if _, _, err := s.Settle(storage.Settlement{Request: storagetest.NewRequest()}); !errors.Is(err, storage.ErrHalted) {
		t.Errorf("settling after it gave %v", err)
	}
	s.Close() //nolint:errcheck // the disk has failed
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	after := openStore(t, Config{Dir: s.config.Dir})
	if b, err := after.Balance("alice"); err != nil || b.Posted != 993 || b.Held != 0 {
		t.Errorf("after a start: %+v, %v", b, err)
	}
	l = openLog(t, Config{Dir: s.config.Dir})
	if _, err := Reconcile(after, l); err != nil {
		t.Fatal(err)
	}
	if u, _, err := l.Find("alice", id.String()); err != nil || u.Credits != 7 {
		t.Errorf("the log tells of %d credits, %v", u.Credits, err)
	}
}

// TestNotWritten: who waits for a batch to be written is told why it is not.
func TestNotWritten(t *testing.T) {
	s, id := gated(t, syncContent)
	s.journal.current.f.Close() //nolint:errcheck // it is never synchronized again
	_, settled, err := s.Settle(storage.Settlement{Request: id, Charge: 7, Reason: "ok"})
	if err != nil {
		t.Fatal(err)
	}
	if err := settled.Written(); !errors.Is(err, storage.ErrHalted) || !errors.Is(err, os.ErrClosed) {
		t.Errorf("writing gave %v", err)
	}
	if err := settled.Wait(); !errors.Is(err, storage.ErrHalted) {
		t.Errorf("waiting gave %v", err)
	}
}

// TestFullDiskBehindWritten: what is written when the disk fills up is synchronized all the same, what is not waits for room, and reads wait for neither.
func TestFullDiskBehindWritten(t *testing.T) {
	var full, filling atomic.Bool
	s := openStore(t, Config{Dir: t.TempDir(), free: func(string) (uint64, error) {
		if full.Load() {
			return 0, nil
		}
		return 1 << 40, nil
	}, at: func(point string) {
		if point == "written" && filling.Load() {
			full.Store(true)
		}
	}})
	fund(t, s, "alice", 1000)
	var ids [2]storage.RequestID
	for i := range ids {
		ids[i] = storagetest.NewRequest()
		held, err := s.Reserve(storage.Hold{Request: ids[i], Account: "alice", Amount: 10, Expires: time.Now().Add(time.Hour)})
		if err != nil || held.Wait() != nil {
			t.Fatal(err)
		}
	}
	filling.Store(true)
	first := settleWritten(t, s, ids[0])
	written := make(chan error, 1)
	_, second, err := s.Settle(storage.Settlement{Request: ids[1], Charge: 7, Reason: "ok"})
	if err != nil {
		t.Fatal(err)
	}
	go func() { written <- cmp.Or(second.Wait(), second.Written()) }()
	if err := first.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := s.Entries("alice", 0, 10); !errors.Is(err, storage.ErrLowSpace) {
		t.Errorf("entries gave %v", err)
	}
	select {
	case err := <-written:
		t.Errorf("the second was written to a full disk: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	filling.Store(false)
	full.Store(false)
	if err := <-written; err != nil {
		t.Error(err)
	}
	lines, err := s.Entries("alice", 0, 10)
	for began := time.Now(); errors.Is(err, storage.ErrLowSpace) && time.Since(began) < 10*time.Second; time.Sleep(time.Millisecond) { // until the room is seen
		lines, err = s.Entries("alice", 0, 10)
	}
	if err != nil || len(lines) != 5 {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}

// TestWrittenBehindWhoWaitsForRoom: a settlement that was written because there was room for a moment is synchronized, although the committer waits
// for room by then.
func TestWrittenBehindWhoWaitsForRoom(t *testing.T) {
	var full atomic.Bool
	s := openStore(t, Config{Dir: t.TempDir(), free: func(string) (uint64, error) {
		if full.Load() {
			return 0, nil
		}
		return 1 << 40, nil
	}})
	fund(t, s, "alice", 1000)
	var ids [2]storage.RequestID
	for i := range ids {
		ids[i] = storagetest.NewRequest()
		held, err := s.Reserve(storage.Hold{Request: ids[i], Account: "alice", Amount: 10, Expires: time.Now().Add(time.Hour)})
		if err != nil || held.Wait() != nil {
			t.Fatal(err)
		}
	}
	full.Store(true)
	if _, _, err := s.Settle(storage.Settlement{Request: ids[0], Charge: 7, Reason: "ok"}); err != nil {
		t.Fatal(err)
	}
	for s.committing.TryLock() { // until the committer has come for it, and waits
		s.committing.Unlock()
		time.Sleep(time.Millisecond)
	}
	full.Store(false)
	settled := settleWritten(t, s, ids[1])
	full.Store(true)
	done := make(chan error, 1)
	go func() { done <- settled.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it is not synchronized")
		full.Store(false)
	}
}
