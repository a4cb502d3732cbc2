package vault

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	secretSize  = 32 // bytes of the least secret that a key-encryption key is made of
	kekIDSize   = 8
	ringFormat  = 1
	ringFile    = "vault.json"
	sharesFile  = "own.keys"
	rootKeyFile = "root.key"

	defaultSource = Source("file:" + rootKeyFile)
)

// ErrKEK: a key-encryption key that the vault needs is missing or is another one.
var ErrKEK = errors.New("the vault does not open")

type kekID [kekIDSize]byte

// String is the id in hexadecimal.
func (id kekID) String() string { return hex.EncodeToString(id[:]) }

// kek is a key-encryption key. Its id follows from it and tells nothing of it.
type kek struct {
	id     kekID
	source Source
	key    []byte
	// legacy is what records of formats 1 and 2 are sealed under, and pepper that of earlier builds, if it was the vault's first key.
	legacy, pepper []byte
}

// newKEK derives a key-encryption key from a secret, which is cleared.
func newKEK(secret []byte, source Source) (*kek, error) {
	defer clear(secret)
	if len(secret) < secretSize {
		return nil, fmt.Errorf("the key-encryption key is made of %d bytes, needs %d", len(secret), secretSize)
	}
	id, err := derive(secret, "pointsman key-encryption key's id", kekIDSize)
	if err != nil {
		return nil, err
	}
	key, err := derive(secret, "pointsman key-encryption key v3", 32)
	if err != nil {
		return nil, err
	}
	legacy, err := derive(secret, "pointsman provider keys v1", 32)
	if err != nil {
		return nil, err
	}
	pepper, err := derive(secret, "pointsman virtual keys v1", secretSize)
	return &kek{id: kekID(id), source: source, key: key, legacy: legacy, pepper: pepper}, err
}

func (k *kek) clear() {
	clear(k.key)
	clear(k.legacy)
	clear(k.pepper)
}

func derive(secret []byte, purpose string, size int) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, purpose, size)
	if err != nil {
		return nil, fmt.Errorf("deriving %s: %w", purpose, err)
	}
	return key, nil
}

// ring is the file that says which key-encryption keys the vault needs, and holds the pepper sealed under each. It is
// replaced as a whole, so that a crash leaves the one or the other.
type ring struct {
	Format int      `json:"format"`
	Active ringKey  `json:"active"`
	Next   *ringKey `json:"next,omitempty"` // while a rotation goes on
	// Supersedes is the source that the configuration named when the vault was rotated to Active: as long as it names that, it
	// was not edited since, and Active is read from its own source.
	Supersedes Source `json:"supersedes,omitempty"`
}

// ringKey is one key-encryption key of the ring: its id, where it is read from, and the pepper sealed under it.
type ringKey struct {
	ID     string `json:"id"`
	Source Source `json:"source"`
	Pepper []byte `json:"pepper"`
}

// sealPepper makes the ring's entry of a key-encryption key.
func sealPepper(k *kek, pepper []byte) (ringKey, error) {
	aead, err := pepperCipher(k)
	if err != nil {
		return ringKey{}, err
	}
	nonce := random(aead.NonceSize())
	return ringKey{k.id.String(), k.source, aead.Seal(nonce, nonce, pepper, k.id[:])}, nil
}

// openPepper is the pepper of an entry.
func openPepper(k *kek, entry ringKey) ([]byte, error) {
	aead, err := pepperCipher(k)
	if err != nil {
		return nil, err
	}
	n := aead.NonceSize()
	if len(entry.Pepper) < n {
		return nil, errors.New("the pepper is cut short")
	}
	return aead.Open(nil, entry.Pepper[:n], entry.Pepper[n:], k.id[:])
}

func pepperCipher(k *kek) (cipher.AEAD, error) {
	key, err := derive(k.key, "pointsman pepper v3", 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return newAEAD(key)
}

// readRing reads the ring of a directory; nil if there is none.
func readRing(dir string) (*ring, error) {
	data, err := os.ReadFile(filepath.Join(dir, ringFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the vault: %w", err)
	}
	var r ring
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil || r.Format != ringFormat || r.Active.ID == "" {
		return nil, fmt.Errorf("%w: %s is damaged or of a later version; restore it from a backup", ErrKEK, filepath.Join(dir, ringFile))
	}
	return &r, nil
}

// write replaces the ring's file; it is on disk when it returns.
func (r *ring) write(dir string) error {
	if dir == "" {
		return nil // in memory only
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the vault: %w", err)
	}
	tmp, err := os.CreateTemp(dir, ".vault-*") // CreateTemp uses mode 0600
	if err != nil {
		return fmt.Errorf("writing the vault: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(data, '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(dir, ringFile))
	}
	if err == nil {
		err = syncDirectory(dir)
	}
	if err != nil {
		return fmt.Errorf("writing the vault: %w", err)
	}
	return nil
}
