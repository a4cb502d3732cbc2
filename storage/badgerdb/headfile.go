package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pointsman/pointsman/storage/ledger"
)

// headFile remembers the last acknowledged position of the ledger, and record of its journal, outside of both. A ledger that ends before it
// has lost its tail, which the ledger alone cannot see: its checkpoint goes with the tail.
//
// It is written after every commit and not synced, so it is never ahead of the disk. Two slots in different sectors take
// turns, so that a torn write leaves the other one. The first mark is synced before the file has its name: no failure of the power leaves
// a file without a mark, which is damage.
type headFile struct {
	path string
	f    *os.File // nil until there is a mark
	turn int64
}

// headMark is what the head file remembers.
type headMark struct {
	position uint64 // of the last line; 0: there is none
	hash     [ledger.HashSize]byte
	record   uint64 // of the journal; 0: it is older than that
}

// after tells whether a mark was made after another one.
func (m *headMark) after(other *headMark) bool {
	return m.record > other.record || m.record == other.record && m.position > other.position
}

const (
	headName     = "ledger.head"
	headSlotSize = 512
	headSlotUsed = 8 + ledger.HashSize + 8 + 4
	headSlotOld  = 8 + ledger.HashSize + 4 // without a record
)

// openHeadFile opens <dir>/ledger.head and returns its newest readable mark; position 0 when there is none.
func openHeadFile(dir string) (*headFile, headMark, error) {
	h := &headFile{path: filepath.Join(dir, headName)}
	f, err := os.OpenFile(h.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return h, headMark{}, nil
	}
	if err != nil {
		return nil, headMark{}, fmt.Errorf("opening the ledger's head file: %w", err)
	}
	mark, err := readHeadMark(f)
	if err != nil || mark == (headMark{}) {
		f.Close()
		return h, mark, err
	}
	h.f = f
	return h, mark, nil
}

// readHeadMark returns the newer of the two slots. A file that has been written but has no readable slot is an error.
func readHeadMark(f io.ReaderAt) (newest headMark, err error) {
	var b [2 * headSlotSize]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return newest, fmt.Errorf("reading the ledger's head file: %w", err)
	}
	for slot := b[:n]; len(slot) >= headSlotUsed; slot = slot[min(headSlotSize, len(slot)):] {
		if mark := readSlot(slot); mark.after(&newest) {
			newest = mark
		}
	}
	if newest == (headMark{}) && n > 0 {
		return newest, errors.New("the ledger's head file " + headName + " is damaged")
	}
	return newest, nil
}

// readSlot returns the mark in a slot, the zero mark if it is not readable.
func readSlot(slot []byte) (mark headMark) {
	whole := func(size int) bool {
		return binary.BigEndian.Uint32(slot[size-4:]) == crc32.ChecksumIEEE(slot[:size-4])
	}
	switch {
	case whole(headSlotUsed):
		mark.record = binary.BigEndian.Uint64(slot[8+ledger.HashSize:])
	case !whole(headSlotOld):
		return mark
	}
	mark.position = binary.BigEndian.Uint64(slot)
	copy(mark.hash[:], slot[8:])
	return mark
}

func (h *headFile) write(mark headMark) error {
	var b [headSlotUsed]byte
	binary.BigEndian.PutUint64(b[:], mark.position)
	copy(b[8:], mark.hash[:])
	binary.BigEndian.PutUint64(b[8+ledger.HashSize:], mark.record)
	binary.BigEndian.PutUint32(b[headSlotUsed-4:], crc32.ChecksumIEEE(b[:headSlotUsed-4]))
	h.turn ^= 1
	var err error
	if h.f == nil {
		err = h.create(b[:])
	} else {
		_, err = h.f.WriteAt(b[:], h.turn*headSlotSize)
	}
	if err != nil {
		return fmt.Errorf("writing the ledger's head file: %w", err)
	}
	return nil
}

// create makes the file with both slots, one of them a mark.
func (h *headFile) create(mark []byte) error {
	f, err := os.OpenFile(h.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	var slots [2 * headSlotSize]byte
	copy(slots[h.turn*headSlotSize:], mark)
	if _, err = f.WriteAt(slots[:], 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), h.path)
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	h.f = f
	return nil
}

func (h *headFile) close() error {
	if h.f == nil {
		return nil
	}
	return errors.Join(h.f.Sync(), h.f.Close())
}
