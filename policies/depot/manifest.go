package depot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/policies/signing"
)

// manifest is what manifest.json holds.
type manifest struct {
	Format   int               `json:"format"`
	Policies map[string]record `json:"policies"`
}

const manifestFormat = 1

// record is one policy's versions.
type record struct {
	Active    int       `json:"active"`              // number of the version that serves, 0 for none
	Candidate int       `json:"candidate,omitempty"` // number of the version that is being rolled out, 0 for none
	Previous  []int     `json:"previous"`            // what was active before, the last one at the end; 0 stands for the built-in one
	Last      int       `json:"last"`                // number given last
	Versions  []Version `json:"versions"`            // oldest first
}

// Version is an uploaded module with what it is to be given.
type Version struct {
	Number    int               `json:"number"`
	Digest    string            `json:"sha256"`
	Size      int               `json:"size"`
	Params    map[string]string `json:"params,omitempty"`
	Grants    uint32            `json:"grants"` // abi.Grant* bits
	Fuel      int64             `json:"fuel"`   // 0: the default, or what was signed if that is less
	Signature string            `json:"signature,omitempty"`
	Signer    string            `json:"signer,omitempty"` // key that signed it
	About     string            `json:"description,omitempty"`
	Uploaded  time.Time         `json:"uploaded"`
	By        string            `json:"by,omitempty"`
}

func (m manifest) active(name string) *Version {
	r := m.Policies[name]
	return r.find(r.Active)
}

func (r record) find(number int) *Version {
	for i := range r.Versions {
		if r.Versions[i].Number == number {
			return &r.Versions[i]
		}
	}
	return nil
}

// clone is a copy that can be changed without the original.
func (m manifest) clone() manifest {
	c := manifest{Format: manifestFormat, Policies: map[string]record{}}
	for name, r := range m.Policies {
		r.Previous, r.Versions = slices.Clone(r.Previous), slices.Clone(r.Versions)
		c.Policies[name] = r
	}
	return c
}

func readManifest(dir string) (manifest, error) {
	m := manifest{Format: manifestFormat, Policies: map[string]record{}}
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	in := json.NewDecoder(bytes.NewReader(data))
	in.DisallowUnknownFields()
	if err := in.Decode(&m); err != nil {
		return m, fmt.Errorf("%w: %s is damaged: %w; move it away to start without the uploaded policies", ErrDisk, filepath.Join(dir, "manifest.json"), err)
	}
	if m.Format != manifestFormat {
		return m, fmt.Errorf("%w: %s has format %d, this gateway writes %d", ErrDisk, filepath.Join(dir, "manifest.json"), m.Format, manifestFormat)
	}
	return m, nil
}

// write replaces the manifest, and then removes modules that no version has any more.
func (m manifest) write(dir string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	if err := replaceFile(filepath.Join(dir, "manifest.json"), append(data, '\n')); err != nil {
		return err
	}
	used := map[string]bool{}
	for _, r := range m.Policies {
		for _, v := range r.Versions {
			used[v.Digest+".wasm"] = true
		}
	}
	entries, _ := os.ReadDir(filepath.Join(dir, "modules")) // what cannot be listed is not removed
	for _, e := range entries {
		if !used[e.Name()] {
			_ = os.Remove(filepath.Join(dir, "modules", e.Name()))
		}
	}
	return nil
}

func modulePath(dir, digest string) string { return filepath.Join(dir, "modules", digest+".wasm") }

// keepModule writes a module under its digest, unless it is there.
func keepModule(dir string, wasm []byte) error {
	name := modulePath(dir, signing.Digest(wasm))
	if have, err := os.ReadFile(name); err == nil && bytes.Equal(have, wasm) {
		return nil
	}
	return replaceFile(name, wasm)
}

// replaceFile writes a file as a whole: after a crash there is the old one or the new one.
func replaceFile(name string, data []byte) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	if d, err := os.Open(dir); err == nil { // not every file system can sync a directory
		_ = d.Sync()
		_ = d.Close()
	}
	return nil
}

// maxAudit is the size at which the audit file is put aside.
const maxAudit = 4 << 20

// appendAudit adds one line.
func appendAudit(dir string, e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	name := filepath.Join(dir, "audit.jsonl")
	if info, err := os.Stat(name); err == nil && info.Size() > maxAudit {
		_ = os.Rename(name, name+".1")
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	_, err = f.Write(append(line, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return nil
}

// Audit returns the newest changes and refusals of a policy, newest first, at most so many.
func (d *Depot) Audit(name string, most int) ([]Event, error) {
	var all []Event
	for _, file := range []string{"audit.jsonl.1", "audit.jsonl"} {
		data, err := os.ReadFile(filepath.Join(d.Dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDisk, err)
		}
		for line := range strings.Lines(string(data)) {
			var e Event
			if json.Unmarshal([]byte(line), &e) == nil && e.Policy == name { // a line that a crash cut short says nothing
				all = append(all, e)
			}
		}
	}
	slices.Reverse(all)
	return all[:min(most, len(all))], nil
}
