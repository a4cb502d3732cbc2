package vault

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/storage"
)

// sourceFile makes a key-encryption key in a file of its own.
func sourceFile(t *testing.T, fill byte) Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kek")
	if err := os.WriteFile(path, []byte(hex.EncodeToString(bytes.Repeat([]byte{fill}, 32))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Source("file:" + path)
}

// earlier makes a data directory as earlier builds left it: a root secret, and records of formats 1 and 2.
func earlier(t *testing.T, dir string) (records []storage.ProviderKey, hash [32]byte) {
	t.Helper()
	root := bytes.Repeat([]byte{7}, 32)
	if err := os.WriteFile(filepath.Join(dir, "root.key"), []byte(hex.EncodeToString(root)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openShares(filepath.Join(dir, "own.keys"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	key, _ := derive(root, "pointsman provider keys v1", 32)
	for i, form := range []byte{formatPlain, formatShare} {
		k := storage.ProviderKey{Account: "alice", Provider: "openai", ID: fmt.Sprint("byok_", i), Version: 1}
		aead, err := newAEAD(key)
		head, bound := []byte{form}, boundTo(&k)
		if form == formatShare {
			n, share, cerr := s.create()
			if cerr != nil {
				t.Fatal(cerr)
			}
			aead, err = shareCipher(key, share, "pointsman provider key with its share v2")
			head = append(append(head, n[:]...), make([]byte, numberSize)...)
			bound = append(bound, head[1:]...)
		}
		if err != nil {
			t.Fatal(err)
		}
		nonce := random(nonceSize)
		k.Sealed = aead.Seal(append(head, nonce...), nonce, fmt.Append(nil, "sk-", i), bound)
		records = append(records, k)
	}
	v := newVault(Config{}, newShares())
	v.pepper, _ = derive(root, "pointsman virtual keys v1", secretSize)
	return records, v.Hash([]byte("pm-key"))
}

func opens(t *testing.T, v *Vault, k *storage.ProviderKey, want string) {
	t.Helper()
	if key, err := v.Unseal(k); err != nil || key.Reveal() != want {
		t.Errorf("%s: %q, %v, want %q", k.ID, key.Reveal(), err, want)
	}
}

// A directory of an earlier build goes on as it was: its records open, its virtual keys hash alike, before and after a
// rotation, which makes the records those of this build.
func TestEarlierRecordsOpenAndAreRotated(t *testing.T) {
	dir := t.TempDir()
	records, hash := earlier(t, dir)
	v, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	to := sourceFile(t, 9)
	if err := v.Begin(to); err != nil {
		t.Fatal(err)
	}
	for i := range records {
		opens(t, v, &records[i], fmt.Sprint("sk-", i))
		next, err := v.Rewrap(&records[i])
		if err != nil || !v.Current(&next) || v.Current(&records[i]) {
			t.Fatalf("%v", err)
		}
		if err := v.Shred(&records[i]); err != nil {
			t.Fatal(err)
		}
		records[i] = next
	}
	if err := errors.Join(v.End(), v.Close()); err != nil {
		t.Fatal(err)
	}
	if v, err = Open(Config{Dir: dir, KEK: to}); err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for i := range records {
		opens(t, v, &records[i], fmt.Sprint("sk-", i))
	}
	if v.Hash([]byte("pm-key")) != hash {
		t.Error("virtual keys hash differently")
	}
}

// B3: whoever holds the former key-encryption key, every record there ever was and the shares as they are now opens nothing.
func TestFormerKEKOpensNothing(t *testing.T) {
	dir := t.TempDir()
	v := reopened(t, dir)
	old := sealed(t, v, "byok_1", "sk-one")
	if err := v.Begin(sourceFile(t, 9)); err != nil {
		t.Fatal(err)
	}
	between := sealed(t, v, "byok_2", "sk-two") // sealed under the new one already
	if !v.Current(&between) || v.Current(&old) {
		t.Error("which records are current is not known")
	}
	next, err := v.Rewrap(&old)
	if err != nil {
		t.Fatal(err)
	}
	former := *v.active
	former.key, former.legacy = bytes.Clone(former.key), bytes.Clone(former.legacy)
	retired := v.active
	if err := errors.Join(v.Shred(&old), v.End(), v.End()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(retired.key, make([]byte, 32)) || !bytes.Equal(retired.legacy, make([]byte, 32)) {
		t.Error("the former key-encryption key was not cleared")
	}
	attacker := newVault(Config{}, v.shares)
	attacker.active = &former
	for name, k := range map[string]storage.ProviderKey{"old": old, "rewrapped": next, "between": between} {
		if _, err := attacker.Unseal(&k); !errors.Is(err, ErrSealed) {
			t.Errorf("the former key-encryption key opens the record %q", name)
		}
	}
	opens(t, v, &next, "sk-one")
	opens(t, v, &between, "sk-two")
}

// P39: a wrong or missing part refuses the start in one line that says what is needed.
func TestOpenSaysWhatIsMissing(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg   Config
		spoil func(t *testing.T, dir string)
		want  []string // in the error; none: it opens
	}{
		"as it was":     {want: nil},
		"no root.key":   {spoil: remove("root.key"), want: []string{"root.key: no such file", "needs the key-encryption key with id ID"}},
		"no vault.json": {spoil: remove("vault.json"), want: []string{"vault.json is missing", "backup"}},
		"no own.keys":   {spoil: remove("own.keys"), want: []string{"own.keys is missing", "backup"}},
		"neither": {spoil: func(t *testing.T, dir string) {
			remove("vault.json")(t, dir)
			remove("own.keys")(t, dir)
			remove("root.key")(t, dir)
		}, want: []string{"root.key is missing", "backup"}},
		"empty ring":     {spoil: write("vault.json", "{}"), want: []string{"vault.json is damaged"}},
		"no hex":         {spoil: write("root.key", "not hex"), want: []string{"64 hex digits", "needs the key-encryption key with id ID"}},
		"another":        {spoil: write("root.key", strings.Repeat("ab", 32)), want: []string{"has id", "it needs id ID", "root.key"}},
		"another source": {cfg: Config{KEK: sourceFile(t, 3)}, want: []string{"has id", "it needs id ID", "last read from file:", "pointsman vault rotate"}},
		"unset variable": {cfg: Config{KEK: "env:NO_SUCH_KEK"}, want: []string{"env:NO_SUCH_KEK", "not set", "needs the key-encryption key with id ID"}},
		"no credentials": {cfg: Config{KEK: "credential:kek"}, want: []string{"CREDENTIALS_DIRECTORY", "needs the key-encryption key with id ID"}},
		"bad command":    {cfg: Config{KEK: "command:/bin/false"}, want: []string{"command:/bin/false", "exit status 1", "id ID"}},
		"bad pepper": {spoil: func(t *testing.T, dir string) {
			r, err := readRing(dir)
			if err != nil {
				t.Fatal(err)
			}
			r.Active.Pepper[20] ^= 1
			if err := r.write(dir); err != nil {
				t.Fatal(err)
			}
		}, want: []string{"pepper", "damaged"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			v := reopened(t, dir)
			id := v.Status().KEK
			k := sealed(t, v, "byok_1", "sk-one")
			v.Close()
			if tc.spoil != nil {
				tc.spoil(t, dir)
			}
			tc.cfg.Dir, tc.cfg.Env = dir, func(string) string { return "" }
			v, err := Open(tc.cfg)
			if tc.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				defer v.Close()
				opens(t, v, &k, "sk-one")
				return
			}
			if err == nil {
				v.Close()
				t.Fatal("it opens")
			}
			if !errors.Is(err, ErrKEK) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
			for _, part := range tc.want {
				if part = strings.ReplaceAll(part, "id ID", "id "+id); !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not say %q", err, part)
				}
			}
		})
	}
}

func remove(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func write(name, text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The configuration may name the source from before a rotation until it is edited, and the next one while it goes on; a key
// that moved is found where it is.
func TestConfigurationAndRing(t *testing.T) {
	dir := t.TempDir()
	first, second, third := sourceFile(t, 1), sourceFile(t, 2), sourceFile(t, 3)
	start := func(kek Source, drifts bool) *Vault {
		t.Helper()
		v, err := Open(Config{Dir: dir, KEK: kek, Fresh: true})
		if err != nil {
			t.Fatalf("%s: %v", kek, err)
		}
		if got := v.Status().Drift != ""; got != drifts {
			t.Errorf("%s: drift %v", kek, got)
		}
		return v
	}
	v := start(first, false)
	if err := v.Begin(first); !errors.Is(err, ErrSameKEK) {
		t.Errorf("to the same: %v", err)
	}
	if err := v.Begin(second); err != nil {
		t.Fatal(err)
	}
	if err := v.Begin(third); !errors.Is(err, ErrRotating) {
		t.Errorf("to a third: %v", err)
	}
	if err := errors.Join(v.Begin(second), v.Close()); err != nil {
		t.Fatal(err)
	}
	for _, kek := range []Source{first, second} {
		v = start(kek, false)
		if s := v.Status(); s.NextKEK == "" || s.Source != first || s.NextSource != second {
			t.Errorf("%+v", s)
		}
		if kek == first {
			v.Close()
		}
	}
	v.Close()
	v = start(first, false)
	if err := v.End(); err != nil || v.Status().Drift == "" {
		t.Fatal(err)
	}
	v.Close()
	if err := os.Remove(strings.TrimPrefix(string(first), "file:")); err != nil { // it is not needed any more
		t.Fatal(err)
	}
	start(first, true).Close()
	start(second, false).Close()
	if _, err := Open(Config{Dir: dir, KEK: third}); !errors.Is(err, ErrKEK) {
		t.Errorf("another one opens: %v", err)
	}
	moved := sourceFile(t, 2)
	start(moved, false).Close()
	if err := os.Remove(strings.TrimPrefix(string(second), "file:")); err != nil {
		t.Fatal(err)
	}
	v = start(moved, false)
	defer v.Close()
	if s := v.Status(); s.Source != moved {
		t.Errorf("%+v", s)
	}
}

// A crash between any two writes of a rotation leaves a directory that opens with the listed keys, in which every record
// opens under exactly one of them, and from where the rotation ends.
func TestCrashAtEveryWriteOfARotation(t *testing.T) {
	const records = 3
	to := sourceFile(t, 9)
	crash := errors.New("crash")
	for at := 0; ; at++ {
		dir := t.TempDir()
		v := reopened(t, dir)
		stored := map[string]storage.ProviderKey{}
		for i := range records {
			k := sealed(t, v, fmt.Sprint("byok_", i), fmt.Sprint("sk-", i))
			stored[k.ID] = k
		}
		step := 0
		did := func() error { // before each write
			if step++; step > at {
				return crash
			}
			return nil
		}
		rotate := func(v *Vault) error {
			if err := errors.Join(did(), v.Begin(to)); err != nil {
				return err
			}
			for _, id := range slices.Sorted(maps.Keys(stored)) {
				old := stored[id]
				if v.Current(&old) {
					continue
				}
				next, err := v.Rewrap(&old) // writes a share
				if err != nil {
					return err
				}
				if err := did(); err != nil {
					return err
				}
				stored[id] = next // writes the record
				if err := did(); err != nil {
					return err
				}
				if err := v.Shred(&old); err != nil {
					return err
				}
			}
			if err := did(); err != nil {
				return err
			}
			return v.End()
		}
		err := rotate(v)
		if step > at && !errors.Is(err, crash) {
			t.Fatalf("%d: %v", at, err)
		}
		again := reopened(t, dir)
		if err := again.Finish(slices.Collect(maps.Values(stored))); err != nil {
			t.Fatal(err)
		}
		for i := range records {
			k := stored[fmt.Sprint("byok_", i)]
			opens(t, again, &k, fmt.Sprint("sk-", i))
			only := 0
			for _, held := range []*kek{again.active, again.next} {
				one := newVault(Config{}, again.shares)
				if one.active = held; held == nil {
					continue
				}
				if _, err := one.Unseal(&k); err == nil {
					only++
				}
			}
			if only != 1 {
				t.Errorf("crash at %d: record %d opens under %d keys", at, i, only)
			}
		}
		if !errors.Is(err, crash) {
			return
		}
		at2 := at
		at = 1 << 20 // no more crashes
		if again.Status().NextKEK != "" {
			if err := rotate(again); err != nil {
				t.Fatalf("crash at %d: resuming: %v", at2, err)
			}
		}
		at = at2
	}
}

func TestSources(t *testing.T) {
	dir := t.TempDir()
	key := strings.Repeat("0f", 32)
	path := filepath.Join(dir, "kek")
	for name, text := range map[string]string{"kek": key + "\n", "long": strings.Repeat("0f", 3000), "short": "0f0f", "empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := func(name string) string { return map[string]string{"CREDENTIALS_DIRECTORY": dir, "KEK": key}[name] }
	for text, fault := range map[string]string{
		"file:" + path: "", "credential:kek": "", "env:KEK": "", "command:/bin/cat " + path: "",
		"file:" + dir + "/long": "longer than", "command:/bin/cat " + dir + "/long": "longer than", "file:" + dir + "/short": "at least 64 hex digits",
		"credential:empty": "at least 64 hex digits", "credential:none": "no such file", "env:NONE": "not set", "command:/bin/none": "no such file",
		"command:/bin/sh -c exit": "at least", "command:/bin/cat /none": "exit status 1",
	} {
		source, err := ParseSource(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		secret, err := source.read(env)
		if fault == "" && (err != nil || !bytes.Equal(secret, bytes.Repeat([]byte{15}, 32))) || fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
			t.Errorf("%s: %d bytes, %v", text, len(secret), err)
		}
		if err != nil && strings.Contains(err.Error(), "0f0f") {
			t.Errorf("%s: the error quotes what was read", text)
		}
	}
	for _, text := range []string{"", "file:", "file:relative", "credential:", "credential:../x", "credential:..", "env:", "env:A=B", "command:", "command:cat x", "https://x", path, "file:/x\n"} {
		if source, err := ParseSource(text); !errors.Is(err, ErrSource) {
			t.Errorf("%q gives %q, %v", text, source, err)
		}
	}
}

// BenchmarkUnseal opens an own key, as each request with one does.
func BenchmarkUnseal(b *testing.B) {
	v, err := New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		b.Fatal(err)
	}
	k := storage.ProviderKey{Account: "alice", Provider: "openai", ID: "byok_1", Version: 1}
	if err := v.Seal(&k, "sk-secret-0123456789", nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Unseal(&k); err != nil {
			b.Fatal(err)
		}
	}
}
