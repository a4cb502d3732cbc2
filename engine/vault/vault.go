// Package vault keeps secrets unreadable at rest: it hashes virtual keys for look-up and seals the accounts' own provider
// keys.
//
// A provider key is sealed with AES-256-GCM under a data key of its own; its account, provider, id and version are additional
// authenticated data, so a record that is moved or renamed does not open. The data key is wrapped under a key that follows
// from two things: a key-encryption key (source.go says where it is read from), whose id the record names, and a share of the
// record's own (shares.go). Destroying the share makes a sealed key noise for ever, wherever a copy of it is left.
//
// The key-encryption key is changed while the gateway serves, see [Vault.Begin]: data keys are wrapped anew, each with a new
// share, and no provider key is opened for it. The pepper of the key hashes never changes; it is kept sealed under the
// key-encryption key in the ring (keyring.go), the file that says which key-encryption keys are needed.
//
// Sealed layout, format 3: 1 byte format, 16 bytes number of the share, 16 bytes number of the share of the record that it
// replaced or zeros, 8 bytes id of the key-encryption key, 12 bytes nonce and 48 bytes wrapped data key, 12 bytes nonce and
// ciphertext with its 16-byte tag. Earlier builds wrote two formats without a data key and without an id: 2, which ends after
// the two numbers with nonce and ciphertext under key and share, and 1, which has no share either. Both open under the vault's
// first key-encryption key and become format 3 when that is changed.
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

	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
)

const (
	formatPlain = 1
	formatShare = 2
	formatKEK   = 3

	sharesEnd   = 1 + 2*numberSize // of the numbers of shares in formats 2 and 3
	headSize    = sharesEnd + kekIDSize
	nonceSize   = 12
	dataKeySize = 32
	wrappedSize = nonceSize + dataKeySize + 16
)

// ErrSealed: a sealed key does not open under the vault's key-encryption keys, was moved from another record, or its share is
// destroyed.
var ErrSealed = errors.New("sealed key does not open")

// Config says where a vault is kept.
type Config struct {
	Dir   string              // of vault.json, own.keys and the default key-encryption key
	KEK   Source              // of the key-encryption key; "" for root.key in Dir
	Fresh bool                // nothing was ever hashed or sealed: what is missing may be made
	Env   func(string) string // nil: the environment of the process
}

// Vault seals and hashes. It is safe for concurrent use.
type Vault struct {
	config Config
	shares *shares
	macs   sync.Pool
	pepper []byte

	mu     sync.RWMutex // guards what follows, and the bytes of the keys
	ring   ring
	active *kek
	next   *kek // to which the vault is being rotated, or nil
	drift  string
}

// New makes a vault of a secret of at least 32 bytes that is kept in memory: what it seals opens as long as it lives. [Open]
// keeps one.
func New(secret []byte) (*Vault, error) {
	v := newVault(Config{}, newShares())
	active, err := newKEK(append([]byte{}, secret...), "")
	if err != nil {
		return nil, err
	}
	v.active, v.pepper = active, random(secretSize)
	return v, nil
}

func newVault(cfg Config, s *shares) *Vault {
	if cfg.Env == nil {
		cfg.Env = os.Getenv
	}
	v := &Vault{config: cfg, shares: s}
	v.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, v.pepper)} }
	return v
}

// Open opens the vault of a directory, or makes one if cfg.Fresh. It fails with ErrKEK, saying what is needed, if a
// key-encryption key or one of the vault's files is missing or is another one's. One vault at a time may have a directory open.
func Open(cfg Config) (*Vault, error) {
	found, err := readRing(cfg.Dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(cfg.Dir, sharesFile)
	if _, err := os.Stat(path); found != nil && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing; restore it from the backup of the database, or make an empty file there to go on without the stored provider keys", ErrKEK, path)
	}
	s, err := openShares(path)
	if err != nil {
		return nil, err
	}
	v := newVault(cfg, s)
	if err := v.open(found); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return v, nil
}

// Close closes the file of shares and clears the keys.
func (v *Vault) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range []*kek{v.active, v.next} {
		if k != nil {
			k.clear()
		}
	}
	return v.shares.close()
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
	if err == nil {
		err = syncDirectory(filepath.Dir(path))
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

func newSecretText() string { return hex.EncodeToString(random(secretSize)) }

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
	dataKey, plain := random(dataKeySize), []byte(key)
	defer clear(dataKey)
	defer clear(plain)
	aead, err := newAEAD(dataKey)
	if err != nil {
		return err
	}
	nonce := random(nonceSize)
	return v.wrap(k, replaces, dataKey, aead.Seal(nonce, nonce, plain, append(boundTo(k), formatKEK)))
}

// wrap fills k.Sealed with a data key, wrapped under the newest key-encryption key and a share of its own, and the body that
// the data key opens.
func (v *Vault) wrap(k, replaces *storage.ProviderKey, dataKey, body []byte) error {
	var before shareNumber
	if replaces != nil {
		before, _ = shareOf(replaces)
	}
	n, share, err := v.shares.create()
	if err != nil {
		return err
	}
	defer clear(share)
	v.mu.RLock()
	newest := v.newest()
	id := newest.id
	aead, err := shareCipher(newest.key, share, wrapPurpose)
	v.mu.RUnlock()
	if err != nil {
		return err
	}
	out := append([]byte{formatKEK}, n[:]...)
	out = append(append(out, before[:]...), id[:]...)
	nonce := random(nonceSize)
	bound := append(boundTo(k), out...)
	k.Sealed = append(aead.Seal(append(out, nonce...), nonce, dataKey, bound), body...)
	return nil
}

// newest is the key-encryption key that records are sealed under. The caller holds v.mu.
func (v *Vault) newest() *kek {
	if v.next != nil {
		return v.next
	}
	return v.active
}

// Unseal returns the key of a record, or ErrSealed.
func (v *Vault) Unseal(k *storage.ProviderKey) (provider.Secret, error) {
	var plain []byte
	if format(k) == formatKEK {
		dataKey, err := v.unwrap(k)
		if err != nil {
			return provider.Secret{}, err
		}
		defer clear(dataKey)
		aead, err := newAEAD(dataKey)
		if err != nil {
			return provider.Secret{}, err
		}
		plain, err = open(aead, k.Sealed[headSize+wrappedSize:], append(boundTo(k), formatKEK))
		if err != nil {
			return provider.Secret{}, err
		}
	} else {
		var err error
		if plain, err = v.unsealEarlier(k); err != nil {
			return provider.Secret{}, err
		}
	}
	defer clear(plain)
	return provider.NewSecret(string(plain)), nil
}

// unwrap returns the data key of a record of format 3.
func (v *Vault) unwrap(k *storage.ProviderKey) ([]byte, error) {
	n, _ := shareOf(k)
	share, ok := v.shares.get(n)
	if !ok || len(k.Sealed) < headSize+wrappedSize {
		return nil, ErrSealed
	}
	defer clear(share)
	aead, err := v.wrapCipher(kekID(k.Sealed[sharesEnd:headSize]), share)
	if err != nil {
		return nil, err
	}
	return open(aead, k.Sealed[headSize:headSize+wrappedSize], append(boundTo(k), k.Sealed[:headSize]...))
}

// wrapCipher is the cipher of a share under the key-encryption key with an id, or ErrSealed if the vault does not hold that.
func (v *Vault) wrapCipher(id kekID, share []byte) (cipher.AEAD, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, held := range []*kek{v.active, v.next} {
		if held != nil && held.id == id {
			return shareCipher(held.key, share, wrapPurpose)
		}
	}
	return nil, ErrSealed
}

// unsealEarlier returns the key of a record of format 1 or 2.
func (v *Vault) unsealEarlier(k *storage.ProviderKey) ([]byte, error) {
	rest, share, bound := k.Sealed, []byte(nil), boundTo(k)
	switch n, shared := shareOf(k); {
	case shared:
		var ok bool
		if share, ok = v.shares.get(n); !ok {
			return nil, ErrSealed
		}
		defer clear(share)
		bound = append(bound, rest[1:sharesEnd]...)
		rest = rest[sharesEnd:]
	case format(k) == formatPlain:
		rest = rest[1:]
	default:
		return nil, ErrSealed
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, held := range []*kek{v.active, v.next} {
		if held == nil {
			continue
		}
		aead, err := newAEAD(held.legacy)
		if share != nil {
			aead, err = shareCipher(held.legacy, share, "pointsman provider key with its share v2")
		}
		if err != nil {
			return nil, err
		}
		if plain, err := open(aead, rest, bound); err == nil {
			return plain, nil
		}
	}
	return nil, ErrSealed
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
			errs = append(errs, v.shares.destroy(shareNumber(keys[i].Sealed[1+numberSize:sharesEnd])))
		}
	}
	return errors.Join(errs...)
}

// format is the format of a sealed key, 0 for none.
func format(k *storage.ProviderKey) byte {
	if len(k.Sealed) == 0 {
		return 0
	}
	return k.Sealed[0]
}

// shareOf is the number of the share that a sealed key needs; false if it needs none.
func shareOf(k *storage.ProviderKey) (n shareNumber, shared bool) {
	if f := format(k); len(k.Sealed) < sharesEnd || f != formatShare && f != formatKEK {
		return n, false
	}
	return shareNumber(k.Sealed[1 : 1+numberSize]), true
}

const wrapPurpose = "pointsman data key with its share v3"

// shareCipher is the cipher of one share under a key.
func shareCipher(key, share []byte, purpose string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, key, share, purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of a share: %w", err)
	}
	defer clear(key)
	return newAEAD(key)
}

func newAEAD(key []byte) (cipher.AEAD, error) {
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

// open opens what begins with its nonce, or fails with ErrSealed.
func open(aead cipher.AEAD, sealed, bound []byte) ([]byte, error) {
	if len(sealed) < nonceSize {
		return nil, ErrSealed
	}
	plain, err := aead.Open(nil, sealed[:nonceSize], sealed[nonceSize:], bound)
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
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
