package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// TestHash: a line's hash is what the documentation says, of one line after the other.
func TestHash(t *testing.T) {
	var h Hasher
	before, accountBefore := [HashSize]byte{1}, [HashSize]byte{2}
	for position := uint64(1); position < 5; position++ {
		line := slices.Repeat([]byte{byte(position)}, int(200/position))
		want := sha256.Sum256(slices.Concat(binary.BigEndian.AppendUint64(nil, position), before[:], accountBefore[:], line))
		if got := h.Hash(position, &before, &accountBefore, line); got != want {
			t.Errorf("line %d: %x, want %x", position, got, want)
		}
		before, accountBefore = want, before
	}
}

// TestLinesAllocateNothing: every request writes two.
func TestLinesAllocateNothing(t *testing.T) {
	var w Writer
	l := Line{Of: &Account{ID: "alice"}, Entry: storage.Entry{
		Kind: storage.EntryHold, Account: "alice", Time: time.Now(), Key: "key_0123456789abcdef", Expires: time.Now(), Amount: 5, Posted: 10,
	}}
	page := make([]byte, 0, 1<<10)
	allocations := testing.AllocsPerRun(100, func() {
		l.Position++
		page = w.AppendLine(page[:0], &l)
	})
	if allocations != 0 {
		t.Errorf("%v allocations a line", allocations)
	}
}
