package badgerdb

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// TestVolumes appends pages of all sizes, also after a restart that forgot the last ones: each is where its record says, whole.
func TestVolumes(t *testing.T) {
	dir := t.TempDir()
	type written struct {
		place extent
		page  []byte
	}
	var all []written
	known, at := 0, cursor{} // what the database would have after a kill
	for range 60 {
		v := newVolumes(dir, 4096)
		if at.volume > 0 {
			v.cursor = at
		}
		all = all[:known]
		for range rand.IntN(30) {
			page := bytes.Repeat([]byte{byte(rand.Int())}, 1+rand.IntN(900))
			place, err := v.add(page)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, written{place, page})
			switch rand.IntN(6) {
			case 0:
				err = v.write()
			case 1:
				if err = v.synchronize(); err == nil {
					known, at = len(all), v.cursor
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := v.write(); err != nil {
			t.Fatal(err)
		}
		for i, w := range all {
			p, ok := decodeExtent(w.place.encode())
			if !ok || p != w.place {
				t.Fatalf("%v is read as %v", w.place, p)
			}
			if page, err := p.read(dir); err != nil || !bytes.Equal(page, w.page) {
				t.Fatalf("page %d at %v: %d bytes, %v", i, p, len(page), err)
			}
		}
		if err := v.close(); err != nil {
			t.Fatal(err)
		}
	}
	if lastVolume(dir) < 20 {
		t.Errorf("%d pages are in %d volumes", len(all), lastVolume(dir))
	}
}

// lose damages the last volume of a ledger, and returns its path and what is in it then.
func lose(t *testing.T, dir string, damage func(path string) error) (path string, left []byte) {
	t.Helper()
	path = volumePath(filepath.Join(dir, "ledger"), lastVolume(filepath.Join(dir, "ledger")))
	if err := damage(path); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return path, left
}

var losses = map[string]func(path string) error{
	"removed": os.Remove,
	"cut off": func(path string) error { return os.Truncate(path, 100) },
	"zeroed": func(path string) error {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		clear(content[len(content)/2:])
		return os.WriteFile(path, content, 0o600)
	},
}

// unsynced makes a ledger one whose pages were not synchronized, while its tables were.
func unsynced(t *testing.T, dir string) {
	t.Helper()
	editClosed(t, dir, func(txn *badger.Txn) error {
		item, err := txn.Get([]byte{keyJournal})
		if err != nil {
			return err
		}
		state, err := readState(item)
		if state.synced == 0 || state.synced != state.number {
			t.Errorf("a closed ledger is synchronized to record %d of %d", state.synced, state.number)
		}
		state.synced = 0
		return errors.Join(err, txn.Set([]byte{keyJournal}, state.encode()))
	})
}

// TestVolumesAreRestored: what the volumes lack after the power failed comes from the journal. Verify, which only looks, leaves the volume as it is.
func TestVolumesAreRestored(t *testing.T) {
	for name, damage := range losses {
		t.Run(name, func(t *testing.T) {
			dir := populated(t)
			unsynced(t, dir)
			path, left := lose(t, dir, damage)
			if err := Verify(dir, t.Output()); err != nil {
				t.Error(err)
			}
			if after, err := os.ReadFile(path); !bytes.Equal(after, left) || os.IsNotExist(err) != (name == "removed") {
				t.Errorf("Verify changed the volume: it has %d bytes, %v", len(after), err)
			}
			s := openStore(t, Config{Dir: dir})
			if err := s.Halted(); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := Verify(dir, t.Output()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLostVolumeIsNamed: what neither the volumes nor the journal have halts the ledger.
func TestLostVolumeIsNamed(t *testing.T) {
	for name, damage := range losses {
		t.Run(name, func(t *testing.T) {
			dir := closedLedger(t)
			path, _ := lose(t, dir, damage)
			if err := Verify(dir, t.Output()); err == nil || !strings.Contains(err.Error(), filepath.Base(path)) {
				t.Errorf("Verify says %v", err)
			}
			s, err := Open(Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Halted(); err == nil || !strings.Contains(err.Error(), filepath.Base(path)) {
				t.Errorf("halted by %v", err)
			}
		})
	}
}

// openAgain opens a ledger and checks whether the start has written one of its files of a kind again: that the kernel has what a former run could not
// synchronize does not tell that the disk has it.
func openAgain(t *testing.T, dir, ext string) *Store {
	t.Helper()
	past, again := time.Now().Add(-time.Hour), false
	files, _ := filepath.Glob(filepath.Join(dir, "ledger", "*"+ext))
	for _, path := range files {
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
	}
	s := openStore(t, Config{Dir: dir, at: func(point string) {
		for _, path := range files {
			info, err := os.Stat(path)
			again = again || point == "replayed" && err == nil && info.ModTime().After(past.Add(time.Minute))
		}
	}})
	if !again {
		t.Errorf("none of %v was written again", files)
	}
	return s
}

// TestPagesAreWrittenAgain: pages that were not synchronized are written at a start, also if they can be read.
func TestPagesAreWrittenAgain(t *testing.T) {
	dir := populated(t)
	unsynced(t, dir)
	openAgain(t, dir, volumeExt)
}
