package vault

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pointsman/pointsman/storage"
)

func reopened(t *testing.T, dir string) *Vault {
	t.Helper()
	v, err := Open(Config{Dir: dir, Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func sealed(t *testing.T, v *Vault, id, key string) storage.ProviderKey {
	t.Helper()
	k := storage.ProviderKey{Account: "alice", Provider: "openai", ID: id, Version: 1}
	if err := v.Seal(&k, key, nil); err != nil {
		t.Fatal(err)
	}
	return k
}

// Who has the root secret, the shares file as it is now and every record there ever was cannot open what was shredded.
func TestShreddedKeyIsNoiseForEver(t *testing.T) {
	dir := t.TempDir()
	v := reopened(t, dir)
	old, kept := sealed(t, v, "byok_1", "sk-old"), sealed(t, v, "byok_2", "sk-kept")
	before, err := os.ReadFile(filepath.Join(dir, "own.keys"))
	if err != nil || len(before) != 3*slotSize {
		t.Fatalf("%d bytes, %v", len(before), err)
	}
	if err := errors.Join(v.Shred(&old), v.Shred(&old)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := v.Unseal(&old); !errors.Is(err, ErrSealed) {
			t.Errorf("the shredded key opens: %v", err)
		}
		if key, err := v.Unseal(&kept); err != nil || key.Reveal() != "sk-kept" {
			t.Errorf("%q, %v", key, err)
		}
		v = reopened(t, dir)
	}
	n, _ := shareOf(&old)
	after, err := os.ReadFile(filepath.Join(dir, "own.keys"))
	if err != nil || bytes.Contains(after, n[:]) || bytes.Contains(after, before[slotSize+numberSize:slotSize+numberSize+shareSize]) || len(after) != len(before) {
		t.Errorf("the share is still in the file, %v", err)
	}
	info, _ := os.Stat(filepath.Join(dir, "own.keys"))
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode().Perm())
	}
	sealed(t, v, "byok_3", "sk-next")
	if again, _ := os.ReadFile(filepath.Join(dir, "own.keys")); len(again) != len(before) {
		t.Error("the free slot was not used again")
	}
}

// A crash between a record and the end of the one it replaces leaves the share of that: the next start finds it, and nothing
// but it. A slot that was torn is free.
func TestFinishShredsWhatWasReplacedOnly(t *testing.T) {
	dir := t.TempDir()
	v := reopened(t, dir)
	replaced, other := sealed(t, v, "byok_1", "sk-replaced"), sealed(t, v, "byok_2", "sk-other")
	next := storage.ProviderKey{Account: "alice", Provider: "openai", ID: "byok_3", Version: 2}
	if err := v.Seal(&next, "sk-next", &replaced); err != nil {
		t.Fatal(err)
	}
	v.Close()
	file, err := os.OpenFile(filepath.Join(dir, "own.keys"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	file.Write(bytes.Repeat([]byte{7}, slotSize+20)) // one slot that does not match its sum, and the beginning of another
	file.Close()
	v = reopened(t, dir)
	if len(v.shares.free) != 2 || v.shares.size != 6 {
		t.Errorf("%d of %d slots are free", len(v.shares.free), v.shares.size)
	}
	if err := errors.Join(v.Finish(nil), v.Finish([]storage.ProviderKey{next})); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Unseal(&replaced); !errors.Is(err, ErrSealed) {
		t.Errorf("the replaced key opens: %v", err)
	}
	for i, k := range []storage.ProviderKey{other, next} {
		if key, err := v.Unseal(&k); err != nil || key.Reveal() != []string{"sk-other", "sk-next"}[i] {
			t.Errorf("%s: %q, %v", k.ID, key, err)
		}
	}
	for _, id := range []string{"byok_4", "byok_5", "byok_6", "byok_7"} {
		k := sealed(t, v, id, "sk-"+id)
		if key, err := reopened(t, dir).Unseal(&k); err != nil || key.Reveal() != "sk-"+id {
			t.Errorf("%s: %q, %v", id, key, err)
		}
	}
}
