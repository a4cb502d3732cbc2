package badgerdb

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"

	"github.com/pointsman/pointsman/storage"
)

// audit follows the ledger line by line and checks each against everything before it. It starts either at the first line,
// or later with the standing of the accounts taken from their last line before the start.
type audit struct {
	checkpoint                     // what the lines so far add up to; the totals mean something only if whole
	whole      bool                // started at the first line
	standing   map[string]*account // accounts seen
	holds      map[storage.RequestID]storage.Entry
	lapsed     map[storage.RequestID]uint64 // position of the end of holds that may still be charged late
	earlier    func(position uint64) (storage.Entry, error)
	indexes    uint64 // number of index records the lines call for
	indexed    uint64 // their fingerprint, see expectIndex
	seed       maphash.Seed
	hashed     []byte
}

// fault names what is wrong with a line.
func fault(e *storage.Entry, format string, args ...any) error {
	return fmt.Errorf("account %s seq %d (ledger position %d): %s", e.Account, e.Seq, e.Position, fmt.Sprintf(format, args...))
}

// add checks the next line; stored is its encoding and hash.
func (a *audit) add(e *storage.Entry, stored []byte) error {
	if e.Position != a.position+1 {
		return fault(e, "ledger positions %d to %d are missing", a.position+1, e.Position-1)
	}
	acc, err := a.account(e)
	if err != nil {
		return err
	}
	var hash [hashSize]byte
	hash, a.hashed = entryHash(a.hashed, e.Position, &a.hash, &acc.last.hash, stored[:len(stored)-hashSize])
	switch {
	case e.Seq != acc.last.seq+1:
		return fault(e, "follows seq %d", acc.last.seq)
	case e.Previous != acc.last.position:
		return fault(e, "names position %d as the one before it, which is %d", e.Previous, acc.last.position)
	case hash != e.Hash:
		return fault(e, "hash does not match its content and the lines before it")
	}
	if err := a.apply(acc, e); err != nil {
		return err
	}
	switch {
	case e.Posted != acc.posted:
		return fault(e, "says posted %s, its postings sum to %s", e.Posted, acc.posted)
	case e.Held != acc.held || e.Open != acc.open:
		return fault(e, "says %s held by %d holds, found %s by %d", e.Held, e.Open, acc.held, acc.open)
	case acc.held < 0 || acc.posted < acc.held:
		return fault(e, "leaves less than nothing available: posted %s, held %s", acc.posted, acc.held)
	}
	acc.last = chainEnd{e.Position, e.Seq, e.Hash}
	a.position, a.hash = e.Position, e.Hash
	return nil
}

// account returns the standing of the line's account before it.
func (a *audit) account(e *storage.Entry) (*account, error) {
	if acc := a.standing[e.Account]; acc != nil {
		return acc, nil
	}
	acc := &account{record: storage.Account{ID: e.Account}}
	if e.Previous != 0 && !a.whole {
		before, err := a.earlier(e.Previous)
		if err != nil || before.Account != e.Account {
			return nil, fault(e, "the account's line before it, at ledger position %d, is missing", e.Previous)
		}
		acc = standing(&before)
	}
	if e.Previous == 0 {
		a.accounts++
	}
	a.standing[e.Account] = acc
	return acc, nil
}

// standing is an account as its last line left it.
func standing(e *storage.Entry) *account {
	return &account{
		record: storage.Account{ID: e.Account},
		posted: e.Posted, held: e.Held, open: e.Open,
		last: chainEnd{e.Position, e.Seq, e.Hash},
	}
}

// apply does to the account what the line says, if the rules of its kind allow it.
func (a *audit) apply(acc *account, e *storage.Entry) error {
	if e.Charged < 0 || e.Loss < 0 {
		return fault(e, "charges a negative amount")
	}
	if (e.Kind == storage.EntryGrant || e.Kind == storage.EntryHold || e.Kind == storage.EntryExtend) && (e.Charged != 0 || e.Loss != 0) {
		return fault(e, "a %s cannot charge", e.Kind)
	}
	switch e.Kind {
	case storage.EntryGrant:
		acc.posted += e.Amount
		a.indexes++
		a.expectIndex(appendGrantKey(nil, e.Account, e.Reference), e.Position)
	case storage.EntryHold:
		if _, open := a.holds[e.Request]; open || e.Amount < 0 {
			return fault(e, "request %s cannot be held for", e.Request)
		}
		a.holds[e.Request] = *e
		acc.held += e.Amount
		acc.open++
	case storage.EntryExtend:
		hold, open := a.holds[e.Request]
		if !open && a.whole || open && hold.Account != e.Account || e.Amount < 0 {
			return fault(e, "request %s has no open hold to extend", e.Request)
		}
		if hold.Amount += e.Amount; open {
			a.holds[e.Request] = hold
		}
		acc.held += e.Amount
	case storage.EntrySettle, storage.EntryExpire, storage.EntryInterrupt:
		if err := a.endHold(e); err != nil {
			return err
		}
		acc.held -= e.Amount
		acc.open--
	case storage.EntryLate:
		before, ok := a.lapsed[e.Request]
		if !ok && a.whole {
			return fault(e, "request %s has no lapsed hold to settle late", e.Request)
		}
		delete(a.lapsed, e.Request)
		a.expectIndex(appendRequestKey(nil, e.Request), before)
		a.expectIndex(appendRequestKey(nil, e.Request), e.Position)
	default:
		return fault(e, "unknown kind %d", e.Kind)
	}
	acc.posted -= e.Charged
	a.post(e.Kind, e.Amount, e.Charged, e.Loss)
	return nil
}

// endHold matches the end of a hold with its beginning.
func (a *audit) endHold(e *storage.Entry) error {
	hold, open := a.holds[e.Request]
	switch {
	case !open && a.whole:
		return fault(e, "request %s has no open hold to end", e.Request)
	case open && (hold.Account != e.Account || hold.Amount != e.Amount):
		return fault(e, "ends the hold of account %s over %s credits with %s", hold.Account, hold.Amount, e.Amount)
	case e.Kind != storage.EntrySettle && (e.Charged != 0 || e.Loss != 0):
		return fault(e, "a %s cannot charge", e.Kind)
	}
	delete(a.holds, e.Request)
	if e.Kind != storage.EntrySettle {
		a.lapsed[e.Request] = e.Position
	}
	a.indexes++
	a.expectIndex(appendRequestKey(nil, e.Request), e.Position)
	return nil
}

// expectIndex notes that the lines call for an index record (or, the second time, no longer do). Prints of records are
// combined by exclusive or, so that the records in key order can be compared with the lines in ledger order without keeping
// either.
func (a *audit) expectIndex(key []byte, position uint64) {
	a.indexed ^= maphash.Bytes(a.seed, binary.BigEndian.AppendUint64(key, position))
}
