package depot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/pointsman/pointsman/policies/signing"
)

// maxServed is how many files of what has served are kept: the ones that served last.
const maxServed = 128

// keepServed keeps a module and, unless it is private, its configuration text under their digests, so that decisions they made can
// be repeated when something else serves.
func keepServed(dir string, wasm []byte, config string, private bool, now time.Time) error {
	dir = filepath.Join(dir, "served")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	files := map[string][]byte{signing.Digest(wasm) + ".wasm": wasm}
	if !private {
		files[signing.Digest([]byte(config))+".conf"] = []byte(config)
	}
	added := false
	for name, data := range files {
		name = filepath.Join(dir, name)
		if info, err := os.Stat(name); err == nil && info.Size() == int64(len(data)) && os.Chtimes(name, now, now) == nil {
			continue
		}
		if err := os.WriteFile(name, data, 0o600); err != nil { // not synced, for a start must not wait: what is damaged is told from its digest
			return fmt.Errorf("%w: %w", ErrDisk, err)
		}
		added = true
	}
	if !added {
		return nil
	}
	return forgetServed(dir)
}

// KeepServed keeps a module and its configuration text in the depot in dir as if they had served there. Errors: ErrDisk.
func KeepServed(dir string, wasm []byte, config string) error {
	return keepServed(dir, wasm, config, false, time.Now())
}

// forgetServed removes the files of what served longest ago, where there are more than maxServed.
func forgetServed(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	type file struct {
		name string
		at   time.Time
	}
	var files []file
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files = append(files, file{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return b.at.Compare(a.at) })
	for _, f := range files[min(len(files), maxServed):] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, f.name)))
	}
	return err
}

var digestName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Served returns a module that has served from the depot in dir, by its digest. Errors: ErrUnknown, ErrDisk.
func Served(dir, digest string) (wasm []byte, err error) { return readServed(dir, digest, ".wasm") }

// ServedConfig returns the configuration text of a policy that has served from the depot in dir, by its digest. Errors: ErrUnknown, ErrDisk.
func ServedConfig(dir, digest string) (text string, err error) {
	data, err := readServed(dir, digest, ".conf")
	return string(data), err
}

func readServed(dir, digest, suffix string) ([]byte, error) {
	if !digestName.MatchString(digest) {
		return nil, fmt.Errorf("%w: %.80q is no digest", ErrUnknown, digest)
	}
	data, err := readFile(filepath.Join(dir, "served", digest+suffix))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: nothing with the digest %.12s is kept", ErrUnknown, digest)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	case signing.Digest(data) != digest:
		return nil, fmt.Errorf("%w: the kept file %s%s is damaged", ErrDisk, digest, suffix)
	}
	return data, nil
}
