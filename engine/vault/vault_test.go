package vault

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/storage"
)

func TestSealedKeyOpensOnlyInItsOwnRecord(t *testing.T) {
	v, err := New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	k := storage.ProviderKey{Account: "alice", Provider: "openai", ID: "byok_1", Version: 1}
	if err := v.Seal(&k, "sk-secret", nil); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(k.Sealed, []byte("sk-secret")) {
		t.Fatal("sealed bytes hold the key")
	}
	if got, err := v.Unseal(&k); err != nil || got.Reveal() != "sk-secret" {
		t.Fatalf("Unseal = %q, %v", got, err)
	}
	for name, change := range map[string]func(*storage.ProviderKey){
		"account":      func(k *storage.ProviderKey) { k.Account = "bob" },
		"provider":     func(k *storage.ProviderKey) { k.Provider = "groq" },
		"id":           func(k *storage.ProviderKey) { k.ID = "byok_2" },
		"version":      func(k *storage.ProviderKey) { k.Version = 2 },
		"field border": func(k *storage.ProviderKey) { k.Account, k.Provider = "aliceo", "penai" },
		"flipped bit":  func(k *storage.ProviderKey) { k.Sealed[20] ^= 1 },
		"other key id": func(k *storage.ProviderKey) { k.Sealed[sharesEnd] ^= 1 },
		"last bit":     func(k *storage.ProviderKey) { k.Sealed[len(k.Sealed)-1] ^= 1 },
		"format":       func(k *storage.ProviderKey) { k.Sealed[0] = formatShare },
		"truncated":    func(k *storage.ProviderKey) { k.Sealed = k.Sealed[:5] },
		"no body":      func(k *storage.ProviderKey) { k.Sealed = k.Sealed[:headSize+wrappedSize] },
		"empty":        func(k *storage.ProviderKey) { k.Sealed = nil },
	} {
		moved := k
		moved.Sealed = bytes.Clone(k.Sealed)
		change(&moved)
		if _, err := v.Unseal(&moved); !errors.Is(err, ErrSealed) {
			t.Errorf("changed %s: err = %v, want ErrSealed", name, err)
		}
	}
	other, _ := New(bytes.Repeat([]byte{8}, 32))
	if _, err := other.Unseal(&k); !errors.Is(err, ErrSealed) {
		t.Error("another root secret opened the key")
	}
}

func TestSecretFileIsPrivateAndStable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	first, err := ReadOrCreateSecret(path, NewMasterKey)
	if err != nil || !strings.HasPrefix(first, "sk-pointsman-") {
		t.Fatalf("%q, %v", first, err)
	}
	if again, err := ReadOrCreateSecret(path, NewMasterKey); err != nil || again != first {
		t.Fatalf("second read gave another secret: %v", err)
	}
	info, _ := os.Stat(path)
	if info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, want 0600", info.Mode().Perm())
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadOrCreateSecret(path, NewMasterKey); err == nil {
		t.Fatal("an empty secret file must be refused")
	}
}

func TestHashSeparatesKeys(t *testing.T) {
	v, _ := New(bytes.Repeat([]byte{7}, 32))
	a, b := NewVirtualKey(), NewVirtualKey()
	again := v.Hash([]byte(a))
	if a == b || v.Hash([]byte(a)) == v.Hash([]byte(b)) || v.Hash([]byte(a)) != again {
		t.Fatal("hashes must be equal for equal keys only")
	}
}
