package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// evidence is what one gateway leaves behind: its log, and the secrets that must be neither there nor in its data directory.
// Every gateway that a test starts has one, and is searched when it stops.
type evidence struct {
	mu      sync.Mutex
	log     bytes.Buffer
	secrets []string
}

// evidences are those of the gateways that run, by the addresses of their APIs.
var evidences sync.Map

// evidenceOf is that of the gateway that a client talks to, nil if no test started it.
func evidenceOf(c *client) *evidence {
	e, _ := evidences.Load(c.base)
	found, _ := e.(*evidence)
	return found
}

// Write takes in a line of the log.
func (e *evidence) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.log.Write(p)
}

// secret adds a secret.
func (e *evidence) secret(s string) {
	if e == nil || len(s) < 12 {
		return // too short to be unmistakable
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.secrets = append(e.secrets, s)
}

// search looks through the log and the data directory of a gateway that has ended.
func (e *evidence) search(t testing.TB, data string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if found := finds(e.log.Bytes(), e.secrets...); found != "" {
		t.Errorf("the log holds the secret %s", found)
	}
	if hits := search(t, data, e.secrets...); len(hits) > 0 {
		t.Errorf("secrets are in the data directory: %v", hits)
	}
}

// keyFiles are the files of a data directory that are secrets themselves.
var keyFiles = []string{"master.key", "root.key"}

// search lists the files below a directory that hold one of the secrets, in their names or bytes.
func search(t testing.TB, dir string, secrets ...string) (hits []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || slices.Contains(keyFiles, entry.Name()) {
			return err
		}
		data, err := os.ReadFile(path)
		if found := finds(append(written(data), entry.Name()...), secrets...); found != "" {
			hits = append(hits, path+": "+found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

// written is data without its pages of zeros, which databases make their files longer by before they write: all of a directory but some KiB.
func written(data []byte) []byte {
	kept := data[:0]
	for page := range slices.Chunk(data, 4<<10) {
		if bytes.Count(page, []byte{0}) < len(page) {
			kept = append(kept, page...)
		}
	}
	return kept
}

// finds is the first of the secrets that is in data in any of its forms, or "".
func finds(data []byte, secrets ...string) string {
	for _, s := range secrets {
		for _, form := range forms(s) {
			if bytes.Contains(data, []byte(form)) {
				return s
			}
		}
	}
	return ""
}

// forms are the ways in which a secret may be written down: as it is, turned round, escaped, in hexadecimal, in base64 of a text
// that it is in somewhere, and, of a long one, in pieces.
func forms(s string) []string {
	reversed := []byte(s)
	slices.Reverse(reversed)
	escaped, _ := json.Marshal(s)
	all := []string{
		s, string(reversed), strings.Trim(string(escaped), `"`), url.QueryEscape(s), url.PathEscape(s), html.EscapeString(s),
		hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s))),
	}
	if raw, err := hex.DecodeString(s); err == nil {
		all = append(all, string(raw), base64.StdEncoding.EncodeToString(raw))
	}
	for shift := range 3 {
		for _, coding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			coded := coding.EncodeToString([]byte(strings.Repeat("x", shift) + s))
			all = append(all, coded[4:len(coded)-4])
		}
	}
	if len(s) >= 40 {
		all = append(all, s[8:24], s[len(s)-20:len(s)-4]) // the last four are shown
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// The search finds what it is to find.
func TestCanaryIsFoundInEveryForm(t *testing.T) {
	secret := "sk-direct-canary-7f3a9c5e1b"
	for _, text := range []string{
		"x" + secret + "y", "736b2d6469726563742d63616e6172792d37663361396335653162", "736B2D6469726563742D63616E6172792D37663361396335653162",
		"eHhzay1kaXJlY3QtY2FuYXJ5LTdmM2E5YzVlMWJ6", "b1e5c9a3f7-yranac-tcerid-ks",
	} {
		if finds([]byte(text), "sk-other-0123456789", secret) != secret {
			t.Errorf("not found in %s", text)
		}
	}
	for text, secret := range map[string]string{
		`{"k":"a\"b\\c-0123456789"}`: `a"b\c-0123456789`, "k=a%26b%2Fc-0123456789": "a&b/c-0123456789", "a&amp;b-0123456789": "a&b-0123456789",
		"\x01\x23\x45\x67\x89\xab\xcd\xef": "0123456789abcdef",
	} {
		if finds([]byte(text), secret) != secret {
			t.Errorf("%q is not found in %q", secret, text)
		}
	}
	if long := "abcdefghijklmnopqrstuvwxyzabcdefghijklmnop"; finds([]byte("…"+long[8:30]), long) != long {
		t.Error("a piece is not found")
	}
	padded := slices.Concat(make([]byte, 10_000), []byte(secret), make([]byte, 10_000))
	if kept := written(slices.Clone(padded)); finds(kept, secret) != secret || len(kept) != 4<<10 {
		t.Errorf("not found among zeros, of which %d bytes are left", len(kept))
	}
	if finds([]byte("sk-direct-canary-7f3a9c5e1"), secret) != "" {
		t.Error("found where it is not")
	}
	dir := t.TempDir()
	for _, name := range []string{"a/b", "root.key", "with-" + secret} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("…"+secret[:len(name)%2*len(secret)]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if hits := search(t, dir, secret); len(hits) != 2 {
		t.Errorf("found in %v", hits)
	}
}
