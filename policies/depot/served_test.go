package depot_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/depot"
	"github.com/pointsman/pointsman/policies/signing"
)

// TestServedIsKept: what a decision was made by can be had when something else serves.
func TestServedIsKept(t *testing.T) {
	dir, eco := t.TempDir(), builtin.Modules()["eco"]
	s := open(t, dir)
	s.start(nil, signing.Trust{})
	one, file := variant(eco, "one"), filepath.Join(t.TempDir(), "p.wasm")
	write(t, file, one)
	entries := []depot.Entry{{Name: "eco", File: file, Params: map[string]string{"min_quality": "0.7"}}}
	if err := s.Reload(entries, signing.Trust{}, ""); err != nil {
		t.Fatal(err)
	}
	info, _ := s.host.Info("eco")
	if err := s.Reload(nil, signing.Trust{}, ""); err != nil {
		t.Fatal(err)
	}
	for _, wasm := range [][]byte{eco, one} {
		if got, err := depot.Served(dir, signing.Digest(wasm)); err != nil || string(got) != string(wasm) {
			t.Errorf("module %.12s: %d bytes, %v", signing.Digest(wasm), len(got), err)
		}
	}
	if text, err := depot.ServedConfig(dir, info.ConfigDigest); err != nil || text != info.Config || text == "" {
		t.Errorf("configuration %q, %v, want %q", text, err, info.Config)
	}

	entries[0].Params, entries[0].Private = map[string]string{"webhook_token": "secret"}, true
	if err := s.Reload(entries, signing.Trust{}, ""); err != nil {
		t.Fatal(err)
	}
	info, _ = s.host.Info("eco")
	if text, err := depot.ServedConfig(dir, info.ConfigDigest); !errors.Is(err, depot.ErrUnknown) {
		t.Errorf("private parameters are kept: %q, %v", text, err)
	}

	for name, want := range map[string]error{signing.Digest([]byte("no")): depot.ErrUnknown, "../manifest": depot.ErrUnknown} {
		if _, err := depot.Served(dir, name); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	write(t, filepath.Join(dir, "served", signing.Digest(one)+".wasm"), append(one[:len(one)-1:len(one)-1], 'x'))
	if _, err := depot.Served(dir, signing.Digest(one)); !errors.Is(err, depot.ErrDisk) {
		t.Errorf("a damaged module: %v", err)
	}
}

// TestServedIsBounded: the modules that served last are kept.
func TestServedIsBounded(t *testing.T) {
	dir, eco := t.TempDir(), builtin.Modules()["eco"]
	s := open(t, dir)
	s.start(nil, signing.Trust{})
	file, last := filepath.Join(t.TempDir(), "p.wasm"), []byte(nil)
	for n := range 130 {
		last = variant(eco, fmt.Sprint(n))
		write(t, file, last)
		if err := s.Reload([]depot.Entry{{Name: "mine", File: file}}, signing.Trust{}, ""); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, "served"))
	if err != nil || len(files) > 128 {
		t.Errorf("%d files, %v", len(files), err)
	}
	if _, err := depot.Served(dir, signing.Digest(last)); err != nil {
		t.Error(err)
	}
	if _, err := depot.Served(dir, signing.Digest(variant(eco, "0"))); !errors.Is(err, depot.ErrUnknown) {
		t.Errorf("the first: %v", err)
	}
}
