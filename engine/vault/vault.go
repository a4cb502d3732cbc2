// Package vault keeps secrets unreadable at rest: it hashes virtual keys for look-up and seals the accounts' own provider
// keys.
//
// One 32-byte root secret, from a file with mode 0600 or the environment, yields two keys by HKDF-SHA-256: the pepper of
// the key hashes and the key-encryption key. A provider key is sealed with AES-256-GCM under a key that follows from the
// key-encryption key and a share of its own, see shares.go; its account, provider, id and version are additional
// authenticated data, so a record that is moved or renamed does not open. Destroying the share makes a sealed key noise for
// ever, wherever a copy of it is left.
//
// Sealed layout: 1 byte format (2), 16 bytes number of the share, 16 bytes number of the share of the key that it replaced
// or zeros, 12 bytes nonce, ciphertext with its 16-byte tag. Format 1, of earlier builds, has no share and is sealed under the key-encryption key itself; it opens, and can only be deleted.
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

const (
	formatPlain = 1
	formatShare = 2
)

// ErrSealed: a sealed key does not open under this root secret, was moved from another record, or its share is destroyed.
var ErrSealed = errors.New("sealed key does not open")

// Vault seals and hashes. It is safe for concurrent use.
type Vault struct {
	kek    []byte
	shares *shares
	macs   sync.Pool
	pepper []byte
}

// New derives a vault from a root secret of at least 32 bytes. Its shares are kept in memory: what it seals opens as long as
// it lives. [Open] keeps them.
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
	v := &Vault{kek: kek, shares: newShares(), pepper: pepper}
	v.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, v.pepper)} }
	return v, nil
}

// Open reads the root secret from path, or makes one there with mode 0600 if the file does not exist, and keeps the shares
// in another file. One vault at a time may have that open.
func Open(path, sharesPath string) (*Vault, error) {
	text, err := ReadOrCreateSecret(path, func() string { return hex.EncodeToString(random(32)) })
	if err != nil {
		return nil, err
	}
	root, err := hex.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%s does not hold hex digits; restore it from a backup, without it stored keys cannot be opened", path)
	}
	v, err := New(root)
	if err != nil {
		return nil, err
	}
	if v.shares, err = openShares(sharesPath); err != nil {
		return nil, err
	}
	return v, nil
}

// Close closes the file of shares.
func (v *Vault) Close() error { return v.shares.close() }

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
	m := v.macs.Get().(*mac)
	m.Reset()
	m.Write(key)
	m.Sum(m.sum[:0])
	sum = m.sum
	v.macs.Put(m)
	return sum
}

// mac has a place for its sum, so that hashing allocates nothing.
type mac struct {
	hash.Hash
	sum [32]byte
}

// Seal fills k.Sealed with the encrypted key. The other fields must be final. The share is on disk when it returns. Once the
// record is stored the caller shreds the one it replaces, if any; after a crash between, [Vault.Finish] does.
func (v *Vault) Seal(k *storage.ProviderKey, key string, replaces *storage.ProviderKey) error {
	var before shareNumber
	if replaces != nil {
		before, _ = shareOf(replaces)
	}
	n, share, err := v.shares.create()
	if err != nil {
		return err
	}
	aead, err := v.aead(share)
	if err != nil {
		return err
	}
	nonce := random(aead.NonceSize())
	out := append(append(append([]byte{formatShare}, n[:]...), before[:]...), nonce...)
	k.Sealed = aead.Seal(out, nonce, []byte(key), append(boundTo(k), out[1:1+2*numberSize]...))
	return nil
}

// Unseal returns the key of a record, or ErrSealed.
func (v *Vault) Unseal(k *storage.ProviderKey) (string, error) {
	rest, share, bound := k.Sealed, []byte(nil), boundTo(k)
	switch n, shared := shareOf(k); {
	case shared:
		var ok bool
		if share, ok = v.shares.get(n); !ok {
			return "", ErrSealed
		}
		bound = append(bound, rest[1:1+2*numberSize]...)
		rest = rest[1+2*numberSize:]
	case len(rest) > 0 && rest[0] == formatPlain:
		rest = rest[1:]
	default:
		return "", ErrSealed
	}
	aead, err := v.aead(share)
	if err != nil {
		return "", err
	}
	n := aead.NonceSize()
	if len(rest) < n {
		return "", ErrSealed
	}
	key, err := aead.Open(nil, rest[:n], rest[n:], bound)
	if err != nil {
		return "", ErrSealed
	}
	return string(key), nil
}

// Shred destroys what opens a sealed key: every copy of it is noise from now on. Again it changes nothing.
func (v *Vault) Shred(k *storage.ProviderKey) error {
	n, shared := shareOf(k)
	if !shared {
		return nil
	}
	return v.shares.destroy(n)
}

// Finish shreds what the stored keys have replaced, where a crash came between the record and that. It touches nothing else:
// a store that is empty today may be the wrong one.
func (v *Vault) Finish(keys []storage.ProviderKey) error {
	var errs []error
	for i := range keys {
		if _, shared := shareOf(&keys[i]); shared {
			errs = append(errs, v.shares.destroy(shareNumber(keys[i].Sealed[1+numberSize:1+2*numberSize])))
		}
	}
	return errors.Join(errs...)
}

// shareOf is the number of the share that a sealed key needs; false if it needs none.
func shareOf(k *storage.ProviderKey) (n shareNumber, shared bool) {
	if len(k.Sealed) < 1+2*numberSize || k.Sealed[0] != formatShare {
		return n, false
	}
	return shareNumber(k.Sealed[1 : 1+numberSize]), true
}

// aead is the cipher of one share; without one it is that of format 1.
func (v *Vault) aead(share []byte) (cipher.AEAD, error) {
	key := v.kek
	if share != nil {
		var err error
		if key, err = hkdf.Key(sha256.New, v.kek, share, "pointsman provider key with its share v2", 32); err != nil {
			return nil, fmt.Errorf("deriving the key of a share: %w", err)
		}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("setting up AES: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("setting up GCM: %w", err)
	}
	return aead, nil
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
