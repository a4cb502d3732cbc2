package badgerdb

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The value log of a ledger is in memory while it is open, holds nothing, and is gone afterwards; what the ledger wrote is not.
func TestValueLogInMemory(t *testing.T) {
	config := Config{Dir: t.TempDir()}
	s := openStore(t, config)
	dir := s.unsyncedDir
	if dir == "" {
		t.Fatal("the machine has no file system in memory, which the simulated power losses need as well")
	}
	fund(t, s, "a", 1000)
	data, err := os.ReadFile(filepath.Join(dir, "000001.vlog"))
	if err != nil || len(bytes.Trim(data[valueLogHeader:], "\x00")) > 0 {
		t.Errorf("the value log holds something, or: %v", err)
	}
	if logs, _ := filepath.Glob(filepath.Join(config.Dir, "ledger", "*.vlog")); len(logs) > 0 {
		t.Errorf("%v are beside the ledger", logs)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s after Close: %v", dir, err)
	}
	if b, err := openStore(t, config).Balance("a"); err != nil || b.Posted != 1000 {
		t.Errorf("balance %+v, %v", b, err)
	}
}

// A ledger whose value log holds something keeps it where it is, as one that is not ours may.
func TestValueLogThatHoldsValues(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "000001.vlog")
	for _, c := range []struct {
		data []byte
		want bool
	}{
		{nil, false},
		{make([]byte, valueLogHeader), false},
		{bytes.Repeat([]byte{1}, valueLogHeader), false},
		{append(bytes.Repeat([]byte{1}, valueLogHeader), make([]byte, 4096)...), false},
		{append(make([]byte, valueLogHeader), 1), true},
		{append(make([]byte, valueLogHeader+10), 1), true},
	} {
		if err := os.WriteFile(log, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := holdsValues(dir); got != c.want {
			t.Errorf("%x: %v", c.data[:min(len(c.data), 40)], got)
		}
		path := unsyncedDir(dir)
		if (path == "") != c.want {
			t.Errorf("%x: the directory is %q", c.data[:min(len(c.data), 40)], path)
		}
		os.RemoveAll(path)
	}
}

// A record that Badger would put into the value log is refused.
func TestTooLargeForTheTree(t *testing.T) {
	s := openStore(t, Config{Dir: t.TempDir()})
	if err := s.fits(make([]byte, s.maxValue-1)); err != nil {
		t.Error(err)
	}
	if err := s.fits(make([]byte, s.maxValue)); err == nil {
		t.Error("a value that is not for the tree fits")
	}
	w := writer{fits: s.fits}
	w.begin(s.db, 10)
	defer w.txn.Discard()
	w.set([]byte("k"), make([]byte, s.maxValue))
	if err := w.commit(); err == nil {
		t.Error("a commit with a value that is not for the tree succeeds")
	}
}
