package badgerdb

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestSyncIsOrdered: the kernel that the tests run on takes orders to synchronize, and does what it is told.
func TestSyncIsOrdered(t *testing.T) {
	f := written(t)
	s := takeSyncer()
	if s == nil {
		t.Fatal("the kernel has no queue for orders (io_setup), so every sync waits in it")
	}
	defer s.giveBack()
	for range 3 {
		if !s.order(f) {
			t.Fatal("the kernel does not take the order")
		}
		if err := s.await(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSyncsAtOnce: each has a queue of its own, and no more than a few are kept.
func TestSyncsAtOnce(t *testing.T) {
	f := written(t)
	before := eventfds(t)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for range 8 {
				if err := syncContent(f); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := eventfds(t); n > before+cap(idleSyncers) {
		t.Errorf("%d eventfds are open, %d before: those that are not kept are to be closed", n, before)
	}
}

// TestSyncFails: what cannot be synchronized is told as the call that waits tells it.
func TestSyncFails(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := syncContent(r); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a pipe: %v", err)
	}
	r.Close()
	if err := syncContent(r); !errors.Is(err, syscall.EBADF) {
		t.Errorf("a closed file: %v", err)
	}
}

func BenchmarkSync(b *testing.B) {
	f := written(b)
	for _, way := range []struct {
		name string
		sync func(*os.File) error
	}{{"ordered", syncContent}, {"waiting", syncWaiting}} {
		b.Run(way.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := f.WriteAt([]byte("something"), 0); err != nil {
					b.Fatal(err)
				}
				if err := way.sync(f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func written(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "written"))
	if err == nil {
		t.Cleanup(func() { f.Close() })
		_, err = f.WriteString("something")
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// eventfds is how many are open in this process.
func eventfds(t *testing.T) (n int) {
	t.Helper()
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if to, err := os.Readlink(name); err == nil && strings.Contains(to, "eventfd") { // else it is closed by now
			n++
		}
	}
	return n
}
