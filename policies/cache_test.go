package policies

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/sdk/policy"
)

// codeFile is the compiled code of the one module in a cache.
func codeFile(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	return files[0]
}

// loadAndAsk loads a module with a cache and lets it decide.
func loadAndAsk(t *testing.T, config Config, module []byte) {
	t.Helper()
	h, err := New(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.Load("p", module, Settings{}); err != nil {
		t.Fatal(err)
	}
	var plan policy.Plan
	if err := ask(h, policy.Publish(policy.Snapshot{Generation: 1}), 0, &plan); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedCache flips bytes of compiled code everywhere: it is compiled again, and never executed.
func TestDamagedCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	config := Config{CacheDir: dir}
	module := policyOf(nil).Module()
	loadAndAsk(t, config, module)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatal(info.Mode(), err)
	}
	file := codeFile(t, dir)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(good); at += 1 + len(good)/60 {
		bad := bytes.Clone(good)
		bad[at] ^= 0x41
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		loadAndAsk(t, config, module)
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, good) {
			t.Fatalf("byte %d: the code was not written again: %v", at, err)
		}
	}
	// Without the sum, a flipped bit in the offset of the first function is a panic of the runtime.
	bad := bytes.Clone(good)
	bad[len("WAZEVO")+1+int(good[6])+4+1] ^= 0x10
	entry := filepath.Dir(filepath.Dir(file))
	if err := errors.Join(os.WriteFile(file, bad, 0o600), seal(entry)); err != nil {
		t.Fatal(err)
	}
	if _, err := testHost(t, config).Load("p", module, Settings{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "the compiler failed") {
		t.Fatal(err)
	}
	for _, text := range []string{"", "half"} {
		if err := os.WriteFile(filepath.Join(entry, sumFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		loadAndAsk(t, config, module)
	}
}

// TestCompileElsewhere: modules that are not trusted are compiled by Compile, once; the host uses that code and adds none.
func TestCompileElsewhere(t *testing.T) {
	ctx := context.Background()
	asked := 0
	config := Config{
		CacheDir: t.TempDir(), Trusted: []string{sum(builtin.Modules()["eco"])},
		Compile: func(ctx context.Context, module []byte, dir string) error {
			asked++
			return CompileInto(ctx, module, dir)
		},
	}
	loadAndAsk(t, config, builtin.Modules()["eco"])
	if asked != 0 {
		t.Error("a trusted module was compiled elsewhere")
	}
	config.CacheDir = t.TempDir()
	for range 2 {
		loadAndAsk(t, config, policyOf(nil).Module())
	}
	if asked != 1 {
		t.Errorf("compiled %d times", asked)
	}
	codeFile(t, config.CacheDir) // one file: what was compiled elsewhere was used

	for _, c := range []struct {
		name    string
		compile func(ctx context.Context, module []byte, dir string) error
		says    string
	}{
		{"a failure", func(context.Context, []byte, string) error { return errors.New("took more than a second") }, "took more than a second"},
		{"no code", func(context.Context, []byte, string) error { return nil }, "0 files"},
		{"too much code", func(ctx context.Context, module []byte, dir string) error {
			return errors.Join(CompileInto(ctx, module, dir), CompileInto(ctx, builtin.Modules()["eco"], dir))
		}, "2 files"},
	} {
		h := testHost(t, Config{CacheDir: t.TempDir(), Compile: c.compile})
		if _, err := h.Load("p", policyOf(nil).Module(), Settings{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		if entries, err := os.ReadDir(h.config.CacheDir); err != nil || len(entries) != 0 {
			t.Errorf("%s left %v, %v", c.name, entries, err)
		}
	}
	if _, err := New(ctx, Config{Compile: CompileInto}); err == nil {
		t.Error("a host without a place for the code")
	}
}

// TestOldCode: only the code used last is kept.
func TestOldCode(t *testing.T) {
	dir := t.TempDir()
	loadAndAsk(t, Config{CacheDir: dir}, policyOf(nil).Module())
	file := codeFile(t, dir)
	for n := range maxCached + 10 {
		if err := os.MkdirAll(filepath.Join(dir, strings.Repeat("0", n+1)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	loadAndAsk(t, Config{CacheDir: dir}, policyOf(nil).Module())
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != maxCached {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}
