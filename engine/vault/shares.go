package vault

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// A share is half of what opens one sealed key; the other half follows from the key-encryption key. Databases keep what was
// overwritten or deleted for a while, in logs and older tables, so a sealed key can be dug up. Its share cannot: shares are
// in a file of their own with a slot each, which is overwritten in place when the key is replaced or deleted. What was
// sealed with it is then noise, also to who holds the key-encryption key.
//
// The file is a row of slots of 64 bytes: 16 bytes number, 32 bytes share, 16 bytes of the SHA-256 over both. A slot that is
// empty, or torn by a crash, does not match its sum and is free.
const (
	slotSize   = 64
	numberSize = 16
	shareSize  = 32
)

type shareNumber [numberSize]byte

// shares is safe for concurrent use.
type shares struct {
	mu    sync.RWMutex
	file  *os.File // nil: in memory only
	at    map[shareNumber]int
	value map[shareNumber][]byte
	free  []int
	size  int // in slots
}

func newShares() *shares {
	return &shares{at: map[shareNumber]int{}, value: map[shareNumber][]byte{}}
}

// openShares reads the file at path, or makes an empty one with mode 0600.
func openShares(path string) (*shares, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the shares of provider keys: %w", err)
	}
	s := newShares()
	s.file = file
	data, err := os.ReadFile(path)
	if err == nil {
		err = syncDirectory(filepath.Dir(path)) // a fresh file must not be lost with keys sealed by it
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("reading the shares of provider keys: %w", err)
	}
	for at := range slices.Chunk(data, slotSize) {
		slot := s.size
		s.size++
		if len(at) < slotSize || !slices.Equal(slotSum(at), at[numberSize+shareSize:]) {
			s.free = append(s.free, slot)
			continue
		}
		n := shareNumber(at[:numberSize])
		s.at[n], s.value[n] = slot, slices.Clone(at[numberSize:numberSize+shareSize])
	}
	return s, nil
}

func slotSum(slot []byte) []byte {
	sum := sha256.Sum256(slot[:numberSize+shareSize])
	return sum[:slotSize-numberSize-shareSize]
}

// create makes a share that is on disk when it returns.
func (s *shares) create() (n shareNumber, share []byte, err error) {
	n = shareNumber(random(numberSize))
	share, err = s.put(n)
	return n, share, err
}

// put makes a share with a number.
func (s *shares) put(n shareNumber) ([]byte, error) {
	share := random(shareSize)
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := s.size
	if len(s.free) > 0 {
		slot = s.free[len(s.free)-1]
	}
	record := append(append(make([]byte, 0, slotSize), n[:]...), share...)
	if err := s.write(slot, append(record, slotSum(record)...)); err != nil {
		return nil, fmt.Errorf("writing a share: %w", err)
	}
	if slot == s.size {
		s.size++
	} else {
		s.free = s.free[:len(s.free)-1]
	}
	s.at[n], s.value[n] = slot, share
	return slices.Clone(share), nil // for it may be destroyed meanwhile
}

// vaultMark is the number of a slot that opens nothing: it says that the file belongs to a vault with a ring, so that a ring
// which got lost is missed.
func vaultMark() shareNumber { return shareNumber([]byte("pointsman vault ")) }

func (s *shares) marked() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.at[vaultMark()]
	return ok
}

// mark marks the file.
func (s *shares) mark() error {
	if s.marked() {
		return nil
	}
	_, err := s.put(vaultMark())
	return err
}

func (s *shares) get(n shareNumber) ([]byte, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	share, ok := s.value[n]
	return slices.Clone(share), ok // for it may be destroyed meanwhile
}

// destroy overwrites a share, on disk when it returns. One that is not there is destroyed already.
func (s *shares) destroy(n shareNumber) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot, ok := s.at[n]
	if !ok {
		return nil
	}
	if err := s.write(slot, make([]byte, slotSize)); err != nil {
		return fmt.Errorf("destroying a share: %w", err)
	}
	clear(s.value[n])
	delete(s.at, n)
	delete(s.value, n)
	s.free = append(s.free, slot)
	return nil
}

func (s *shares) write(slot int, record []byte) error {
	if s.file == nil {
		return nil
	}
	if _, err := s.file.WriteAt(record, int64(slot)*slotSize); err != nil {
		return err
	}
	return s.file.Sync()
}

func (s *shares) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// syncDirectory makes a new name in a directory last. Systems that cannot do without.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
