package badgerdb

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// fakeDisk stands in for one of a size, on which the ballast takes its space. The store's goroutines ask it at any time.
func fakeDisk(dir string, free *atomic.Uint64) func(string) (uint64, error) {
	return func(string) (uint64, error) {
		left := free.Load()
		if info, err := os.Stat(filepath.Join(dir, ballastName)); err == nil {
			left -= min(left, uint64(info.Size()))
		}
		return left, nil
	}
}

// TestP15LowSpace: holds are refused below the mark, settlements go on, the ballast makes room and comes back, and none of it
// needs a restart.
func TestP15LowSpace(t *testing.T) {
	const mib = 1 << 20
	dir := t.TempDir()
	var free atomic.Uint64
	free.Store(1000 * mib)
	s := openStore(t, Config{Dir: dir, MinFreeMB: 100, BallastMB: 8, free: fakeDisk(dir, &free)})
	fund(t, s, "alice", 1000)
	hold := storage.Hold{Request: storagetest.NewRequest(), Account: "alice", Amount: 10, Expires: time.Now().Add(time.Hour)}
	if _, err := s.Reserve(hold); err != nil {
		t.Fatal(err)
	}
	w := &space{config: s.config} // as the store's own watcher, at the test's own times
	for _, step := range []struct {
		name    string
		free    uint64 // without the ballast
		low     bool
		ballast bool
	}{
		{"room", 1000 * mib, false, true},
		{"just above the mark", 108 * mib, false, true},
		{"at the mark", 107 * mib, true, false},
		{"the ballast's own room does not end it", 107 * mib, true, false},
		{"not enough for the ballast", 107 * mib, true, false},
		{"room again", 108 * mib, false, true},
		{"nearly nothing", 2 * mib, true, false},
		{"a little", 102 * mib, true, false},
		{"all", 1000 * mib, false, true},
	} {
		free.Store(step.free)
		w.watch()
		info, err := os.Stat(filepath.Join(dir, ballastName))
		if got := w.low.Load(); got != step.low || (err == nil) != step.ballast || err == nil && info.Size() != 8*mib {
			t.Errorf("%s: low %v, ballast %v", step.name, got, err)
		}
	}
	s.space.low.Store(true)
	if _, err := s.Reserve(storage.Hold{Request: storagetest.NewRequest(), Account: "alice", Amount: 10}); !errors.Is(err, storage.ErrLowSpace) {
		t.Errorf("reserving: %v", err)
	}
	if _, err := s.Extend(hold.Request, 1); !errors.Is(err, storage.ErrLowSpace) {
		t.Errorf("extending: %v", err)
	}
	if _, batch, err := s.Settle(storage.Settlement{Request: hold.Request, Charge: 10}); err != nil || batch.Wait() != nil {
		t.Errorf("settling: %v", err)
	}
	if _, err := s.Grant(storage.Grant{Account: "alice", Amount: 1, Reference: "r"}); err != nil {
		t.Errorf("granting: %v", err)
	}
}

// A full disk can be opened again at the cost of the ballast.
func TestP15OpenOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	var free atomic.Uint64
	free.Store(1 << 30)
	config := Config{Dir: dir, MinFreeMB: 100, BallastMB: 64, free: fakeDisk(dir, &free)}
	if err := openStore(t, config).Close(); err != nil {
		t.Fatal(err)
	}
	free.Store(70 << 20) // of which the ballast takes all but six
	s := openStore(t, config)
	if low, left := s.Space(); !low || left != 70<<20 {
		t.Errorf("low %v, %d MiB free", low, left>>20)
	}
	s.Close()
	free.Store(40 << 20)
	if s, err := Open(config); err == nil {
		s.Close()
		t.Error("opened with 40 MiB free")
	}
}

// A ballast of another size gives way, and without one configured there is none.
func TestBallastFollowsTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	for _, mb := range []int{2, 1, 0} {
		s := openStore(t, Config{Dir: dir, MinFreeMB: 1, BallastMB: mb})
		info, err := os.Stat(filepath.Join(dir, ballastName))
		if (err == nil) != (mb > 0) || err == nil && info.Size() != int64(mb)<<20 {
			t.Errorf("with %d MiB: %v", mb, err)
		}
		s.Close()
	}
}

// The log gives up what is left of the disk to the ledger, counts what it loses, and goes on when there is room.
func TestP15LogLeavesTheLastSpace(t *testing.T) {
	dir := t.TempDir()
	var free atomic.Uint64
	free.Store(1 << 30)
	l, err := OpenLog(Config{Dir: dir, MinFreeMB: 400, free: func(string) (uint64, error) { return free.Load(), nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	add := func() {
		l.Append(storage.LogRecord{Usage: storage.Usage{Request: storagetest.NewRequest(), Account: "alice"}})
		l.Flush()
	}
	count := func() int {
		records, _, err := l.Usage("alice", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		return len(records)
	}
	add()
	l.Flush()
	free.Store(99 << 20)
	add()
	if n := count(); n != 1 || l.Dropped() != 1 {
		t.Errorf("%d records, %d dropped", n, l.Dropped())
	}
	free.Store(100 << 20)
	add()
	if n := count(); n != 2 || l.Dropped() != 1 {
		t.Errorf("%d records, %d dropped", n, l.Dropped())
	}
}
