package policies

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"golang.org/x/sys/cpu"
)

// sumFile stands beside the compiled code and holds its SHA-256. The runtime's own checksum covers the machine code and not
// the offsets of the functions in it: one flipped bit there would send the gateway anywhere.
const sumFile = "sum"

// maxCached is how many compiled modules are kept; those used last.
const maxCached = 64

// runtimeConfig is how modules are compiled, here and elsewhere.
func runtimeConfig(memoryPages uint32) wazero.RuntimeConfig {
	return wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2 &^ api.CoreFeatureSIMD).
		WithMemoryLimitPages(memoryPages)
}

// CompileInto compiles a module that the host has rewritten, and leaves the code in the directory, where the host that called
// [Config].Compile looks for it. It is for the process that is started to compile: it takes the time and memory it takes.
func CompileInto(ctx context.Context, module []byte, dir string) error {
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return fmt.Errorf("opening the cache of compiled policies: %w", err)
	}
	// The limit on memory is no part of the code; a module that needs more is refused when it is loaded.
	r := wazero.NewRuntimeWithConfig(ctx, runtimeConfig(1<<16).WithCompilationCache(cache))
	_, err = r.CompileModule(ctx, module)
	return errors.Join(err, r.Close(ctx), cache.Close(ctx))
}

// openCache makes the directory of compiled modules, for this user alone, and drops what was not used for long.
func openCache(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= maxCached {
		return err
	}
	used := func(e fs.DirEntry) int64 {
		info, err := os.Stat(filepath.Join(dir, e.Name(), sumFile))
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return int(min(1, max(-1, used(b)-used(a)))) })
	for _, e := range entries[maxCached:] {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// entryName names the place of a module's code: another module, another version of the compiler, or a processor with other
// abilities has another.
func entryName(module []byte) string {
	compiler := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/tetratelabs/wazero" {
				compiler = dep.Version
			}
		}
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s %v %v\n", compiler, runtime.GOOS, runtime.GOARCH, cpu.X86, cpu.ARM64)
	h.Write(module)
	return hex.EncodeToString(h.Sum(nil))
}

// codeSum is the SHA-256 of the code in an entry: of the one file below its one directory.
func codeSum(entry string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(entry, "*", "*"))
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("%d files of compiled code, must be 1", len(files))
	}
	code, err := os.ReadFile(files[0])
	return []byte(sum(code)), err
}

// intact tells whether an entry holds code that is as it was written.
func intact(entry string) bool {
	want, err := os.ReadFile(filepath.Join(entry, sumFile))
	if err != nil {
		return false
	}
	have, err := codeSum(entry)
	return err == nil && bytes.Equal(have, want)
}

// seal notes the sum of the code in an entry. It comes last, so that an entry without it is not finished.
func seal(entry string) error {
	have, err := codeSum(entry)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(entry, sumFile), have, 0o600)
}

// compile compiles a module, or finds it compiled: in this process, or through Config.Compile if the module is not one that
// is trusted. It returns a runtime for this module alone, because the memory limit belongs to the runtime.
func (m *module) compile(code []byte) error {
	h := m.host
	rc := runtimeConfig(h.config.MemoryPages)
	entry, found := "", false
	if h.config.CacheDir != "" {
		h.compiling.Lock() // one at a time: two could fill the same entry
		defer h.compiling.Unlock()
		entry = filepath.Join(h.config.CacheDir, entryName(code))
		if found = intact(entry); !found {
			if err := os.RemoveAll(entry); err != nil {
				return fmt.Errorf("making room for compiled code: %w", err)
			}
		}
		if !found && h.config.Compile != nil && !slices.Contains(h.config.Trusted, m.digest) {
			if err := compileElsewhere(h, code, entry); err != nil {
				return err
			}
			found = true
		}
		var err error
		if m.cache, err = wazero.NewCompilationCacheWithDir(entry); err != nil {
			return fmt.Errorf("opening the cache of compiled policies: %w", err)
		}
		rc = rc.WithCompilationCache(m.cache)
	}
	m.runtime = wazero.NewRuntimeWithConfig(h.ctx, rc)
	compiled, err := m.runtime.CompileModule(h.ctx, code)
	if err != nil {
		return fmt.Errorf("%w: compiling: %w", ErrRefused, err)
	}
	m.compiled = compiled
	if entry == "" {
		return nil
	}
	if found {
		now := h.config.Now()
		err = os.Chtimes(filepath.Join(entry, sumFile), now, now) // used
	} else {
		err = seal(entry)
	}
	if err != nil {
		return fmt.Errorf("keeping compiled code: %w", err)
	}
	return nil
}

// compileElsewhere has a module compiled and checks that its code is there.
func compileElsewhere(h *Host, code []byte, entry string) error {
	err := h.config.Compile(h.ctx, code, entry)
	if err == nil {
		err = seal(entry)
	}
	if err != nil {
		_ = os.RemoveAll(entry) // what is there is not sealed and will not be used
		return fmt.Errorf("%w: compiling: %w", ErrRefused, err)
	}
	return nil
}
