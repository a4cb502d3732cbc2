package engine

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/engine/kept"
	"github.com/pointsman/pointsman/storage"
)

// TestRoom: a call keeps its buffer for the next request, unless that is large; then others have it meanwhile.
func TestRoom(t *testing.T) {
	c := new(call)
	for _, tc := range []struct{ size, kept int }{
		{100, 100}, {kept.Usual, kept.Usual}, {50, kept.Usual}, {kept.Usual + 1, 0}, {100, 100}, {kept.Most, 0}, {kept.Most + 1, 0},
	} {
		b := c.room(tc.size)
		if len(b) != 0 || tc.size > kept.Usual && cap(b) < tc.size {
			t.Fatalf("%d bytes: room for %d behind %d", tc.size, cap(b), len(b))
		}
		c.scratch = append(b, bytes.Repeat([]byte("x"), tc.size)...)
		if again := c.room(tc.size); &again[:1][0] != &c.scratch[0] {
			t.Errorf("%d bytes: another buffer for the next attempt", tc.size)
		}
		c.giveRoom()
		if got := cap(c.scratch); got < tc.kept || (got > 0) != (tc.kept > 0) || got > kept.Usual || c.large != nil {
			t.Errorf("%d bytes: %d are kept, not %d", tc.size, got, tc.kept)
		}
	}
}

// refusingLedger takes holds and refuses to extend them.
type refusingLedger struct{ Ledger }

func (refusingLedger) Reserve(storage.Hold) (*storage.Batch, error) {
	return storage.NewBatch(nil), nil
}

func (refusingLedger) Extend(storage.RequestID, storage.Credits) (*storage.Batch, error) {
	return nil, storage.ErrInsufficientCredits
}

// TestRefusedExtension: a hold that cannot be extended has to be on disk as before, ere anything leaves.
func TestRefusedExtension(t *testing.T) {
	e := &Engine{Config: Config{Ledger: refusingLedger{}}}
	c := &call{caller: &directory.Caller{Account: &storage.Account{ID: "alice"}, Key: &storage.VirtualKey{}}}
	if err := e.holdAtLeast(c, 5, nil); err != nil || c.held == nil || c.hold != 5 {
		t.Fatalf("%+v, %v", c.hold, err)
	}
	held := c.held
	if err := e.holdAtLeast(c, 9, nil); !errors.Is(err, storage.ErrInsufficientCredits) || c.held != held || c.hold != 5 {
		t.Errorf("after a refusal %v of %d is held, %v", c.held, c.hold, err)
	}
}
