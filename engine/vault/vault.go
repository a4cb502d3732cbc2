// Package vault keeps secrets unreadable at rest: it hashes virtual keys for look-up and seals the accounts' own provider
// keys.
//
// One 32-byte root secret, from a file with mode 0600 or the environment, yields two keys by HKDF-SHA-256: the pepper of
// the key hashes and the key-encryption key. A provider key is sealed with AES-256-GCM; its account, provider, id and
// version are additional authenticated data, so a record that is moved or renamed does not open.
//
// Sealed layout: 1 byte format (1), 12 bytes nonce, ciphertext with its 16-byte tag.
package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pointsman/pointsman/storage"
)

const sealedFormat = 1

// ErrSealed: a sealed key does not open under this root secret, or was moved from another record.
var ErrSealed = errors.New("sealed key does not open")

// Vault seals and hashes. It is safe for concurrent use.
type Vault struct {
	aead   cipher.AEAD
	macs   sync.Pool
	pepper []byte
}

// New derives a vault from a root secret of at least 32 bytes.
func New(root []byte) (*Vault, error) {
	if len(root) < 32 {
		return nil, fmt.Errorf("root secret has %d bytes, needs 32", len(root))
	}
	kek, err := hkdf.Key(sha256.New, root, nil, "pointsman provider keys v1", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving the key-encryption key: %w", err)
	}
	pepper, err := hkdf.Key(sha256.New, root, nil, "pointsman virtual keys v1", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving the pepper: %w", err)
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, fmt.Errorf("setting up AES: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("setting up GCM: %w", err)
	}
	v := &Vault{aead: aead, pepper: pepper}
	v.macs.New = func() any { return hmac.New(sha256.New, v.pepper) }
	return v, nil
}

// Open reads the root secret from path, or makes one there with mode 0600 if the file does not exist.
func Open(path string) (*Vault, error) {
	text, err := ReadOrCreateSecret(path, func() string { return hex.EncodeToString(random(32)) })
	if err != nil {
		return nil, err
	}
	root, err := hex.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%s does not hold hex digits; restore it from a backup, without it stored keys cannot be opened", path)
	}
	return New(root)
}

// ReadOrCreateSecret returns the trimmed content of the file at path. If there is none, it writes what create returns,
// readable by the owner only, through a temporary file so that no half-written secret is ever read.
func ReadOrCreateSecret(path string, create func() string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		text := strings.TrimSpace(string(data))
		if text == "" {
			return "", fmt.Errorf("%s is empty", path)
		}
		return text, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading secret: %w", err)
	}
	text := create()
	tmp, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // CreateTemp uses mode 0600
	if err != nil {
		return "", fmt.Errorf("creating secret: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text + "\n")
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Link(tmp.Name(), path)
	}
	if errors.Is(err, os.ErrExist) { // another process was first
		return ReadOrCreateSecret(path, create)
	}
	if err != nil {
		return "", fmt.Errorf("creating secret: %w", err)
	}
	return text, nil
}

// NewVirtualKey returns a fresh bearer key: "pm-", 64 hex digits of random, and a 6-digit
// checksum that lets a scanner tell a real key from a look-alike.
func NewVirtualKey() string {
	body := hex.EncodeToString(random(32))
	sum := sha256.Sum256([]byte(body))
	return "pm-" + body + hex.EncodeToString(sum[:3])
}

// NewMasterKey returns a fresh admin key: "sk-pointsman-" and 256 random bits in hex.
func NewMasterKey() string { return "sk-pointsman-" + hex.EncodeToString(random(32)) }

// NewID returns prefix and 16 random hex digits.
func NewID(prefix string) string { return prefix + hex.EncodeToString(random(8)) }

// Hash is HMAC-SHA-256(pepper, key): what the directory stores and looks up instead of a virtual key.
func (v *Vault) Hash(key []byte) (sum [32]byte) {
	mac := v.macs.Get().(hash.Hash)
	mac.Reset()
	mac.Write(key)
	mac.Sum(sum[:0])
	v.macs.Put(mac)
	return sum
}

// Seal fills k.Sealed with the encrypted key. The other fields must be final.
func (v *Vault) Seal(k *storage.ProviderKey, key string) {
	nonce := random(v.aead.NonceSize())
	out := append([]byte{sealedFormat}, nonce...)
	k.Sealed = v.aead.Seal(out, nonce, []byte(key), boundTo(k))
}

// Unseal returns the key of a record, or ErrSealed.
func (v *Vault) Unseal(k *storage.ProviderKey) (string, error) {
	n := v.aead.NonceSize()
	if len(k.Sealed) < 1+n || k.Sealed[0] != sealedFormat {
		return "", ErrSealed
	}
	key, err := v.aead.Open(nil, k.Sealed[1:1+n], k.Sealed[1+n:], boundTo(k))
	if err != nil {
		return "", ErrSealed
	}
	return string(key), nil
}

// boundTo is the additional authenticated data: every field length-prefixed, so that no two records share it.
func boundTo(k *storage.ProviderKey) []byte {
	var b []byte
	for _, s := range []string{k.Account, k.Provider, k.ID} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return binary.BigEndian.AppendUint32(b, k.Version)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return b
}
