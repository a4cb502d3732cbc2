package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// prove checks the ledger and returns the standing of every account and every open hold. It follows the lines from the first
// one (most 0), or the last most lines and whatever before them open holds and inexact heads need; accounts without a line
// in there are taken from their last line. The error is one line that names the first fault.
func prove(txn *badger.Txn, mark headMark, most uint64) (*audit, error) {
	end, err := readCheckpoint(txn)
	if err != nil {
		return nil, err
	}
	if err := checkMark(txn, mark, end.position); err != nil {
		return nil, err
	}
	a := &audit{
		whole:    true,
		standing: map[string]*account{},
		holds:    map[storage.RequestID]storage.Entry{},
		lapsed:   map[storage.RequestID]uint64{},
		earlier:  func(position uint64) (storage.Entry, error) { return readEntry(txn, position) },
		seed:     maphash.MakeSeed(),
	}
	if most != 0 && end.position > most {
		if start := min(end.position-most+1, end.oldest, end.indexed); start > 1 {
			before, err := readEntry(txn, start-1)
			if err != nil {
				return nil, err
			}
			a.whole, a.position, a.hash = false, before.Position, before.Hash
		}
	}
	start := a.position + 1
	if err := eachEntry(txn, start, a.add); err != nil {
		return nil, err
	}
	if a.position != end.position || a.hash != end.hash {
		return nil, fmt.Errorf("ledger ends at position %d (hash %x), its checkpoint says %d (%x)",
			a.position, a.hash[:4], end.position, end.hash[:4])
	}
	if err := a.checkHeads(txn, start, end.indexed); err != nil {
		return nil, err
	}
	if a.whole {
		if err := a.checkIndexes(txn); err != nil {
			return nil, err
		}
	}
	return a, a.checkTotals(end)
}

// checkMark makes sure that the last acknowledged line is still there.
func checkMark(txn *badger.Txn, mark headMark, last uint64) error {
	if mark.position == 0 {
		return nil
	}
	if mark.position > last {
		return fmt.Errorf("ledger ends at position %d, but position %d was acknowledged: the tail is lost", last, mark.position)
	}
	e, err := readEntry(txn, mark.position)
	if err == nil && e.Hash != mark.hash {
		err = fault(&e, "is not the line that was acknowledged")
	}
	return err
}

// checkHeads compares the head records with what the lines said, and adds the accounts that had no line at or after start.
// An account's head is exact if its last line is before indexed; later lines may have moved on from it.
func (a *audit) checkHeads(txn *badger.Txn, start, indexed uint64) error {
	headed := map[string]bool{}
	err := eachKey(txn, []byte{keyHead}, func(key []byte, item *badger.Item) error {
		id := string(key[1:])
		headed[id] = true
		position, err := readPosition(item)
		if err != nil {
			return err
		}
		if acc := a.standing[id]; acc != nil {
			if acc.last.position < position || acc.last.position < indexed && acc.last.position != position {
				return fmt.Errorf("account %s seq %d: last line is at ledger position %d, its head says %d",
					id, acc.last.seq, acc.last.position, position)
			}
			return nil
		}
		e, err := readEntry(txn, position)
		if err != nil || e.Account != id || position >= start {
			return fmt.Errorf("account %s: its head names ledger position %d, which is not its last line", id, position)
		}
		a.standing[id] = standing(&e)
		return nil
	})
	if err != nil {
		return err
	}
	for id, acc := range a.standing {
		if !headed[id] && acc.last.position < indexed {
			return fmt.Errorf("account %s seq %d: has no head", id, acc.last.seq)
		}
	}
	return nil
}

// checkIndexes compares the index of requests and grants with what the lines call for.
func (a *audit) checkIndexes(txn *badger.Txn) error {
	found := uint64(0)
	for _, kind := range []byte{keyRequest, keyGrant} {
		err := eachKey(txn, []byte{kind}, func(key []byte, item *badger.Item) error {
			position, err := readPosition(item)
			found++
			a.expectIndex(key, position)
			return err
		})
		if err != nil {
			return err
		}
	}
	if found != a.indexes || a.indexed != 0 {
		return fmt.Errorf("index of requests and grants has %d records, the lines call for %d with other content", found, a.indexes)
	}
	return nil
}

// checkTotals compares the accounts, the open holds and the checkpoint with each other.
func (a *audit) checkTotals(end checkpoint) error {
	var posted storage.Credits
	var open uint64
	byAccount := map[string]storage.Credits{}
	a.oldest = a.position + 1
	for _, hold := range a.holds {
		byAccount[hold.Account] += hold.Amount
		a.oldest = min(a.oldest, hold.Position)
	}
	for id, acc := range a.standing {
		if byAccount[id] != acc.held {
			return fmt.Errorf("account %s seq %d: open holds sum to %s, its last line says %s",
				id, acc.last.seq, byAccount[id], acc.held)
		}
		posted += acc.posted
		open += acc.open
	}
	switch {
	case open != uint64(len(a.holds)) || open != end.open || a.oldest != end.oldest:
		return fmt.Errorf("accounts have %d open holds, the ledger %d, its checkpoint says %d", open, len(a.holds), end.open)
	case uint64(len(a.standing)) != end.accounts:
		return fmt.Errorf("ledger has %d accounts, its checkpoint says %d", len(a.standing), end.accounts)
	case posted != end.posted:
		return fmt.Errorf("balances sum to %s, the checkpoint says %s", posted, end.posted)
	case end.sum() != 0:
		return fmt.Errorf("balances and system accounts sum to %s, not 0", end.sum())
	case a.whole && a.totals != end.totals:
		return fmt.Errorf("lines sum to %+v, the checkpoint says %+v", a.totals, end.totals)
	}
	a.checkpoint = end
	return nil
}

// checkAccounts gives the accounts their records: each must have one, and no record may be without a line.
func (a *audit) checkAccounts(records []storage.Account) error {
	for _, record := range records {
		acc := a.standing[record.ID]
		if acc == nil {
			return fmt.Errorf("account %s: has no line in the ledger", record.ID)
		}
		acc.record = record
	}
	for id, acc := range a.standing {
		if acc.record.Created.IsZero() {
			return fmt.Errorf("account %s seq %d: its record is missing", id, acc.last.seq)
		}
	}
	return nil
}

// eachEntry decodes the lines from a position to the end.
func eachEntry(txn *badger.Txn, from uint64, fn func(e *storage.Entry, line []byte) error) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{keyEntry}})
	defer it.Close()
	first, err := pageOf(txn, from)
	if err != nil {
		return err
	}
	for it.Seek(appendEntryKey(nil, first)); it.Valid(); it.Next() {
		item := it.Item()
		if len(item.Key()) != 9 {
			return fmt.Errorf("ledger has a malformed key %x", item.Key())
		}
		err := item.Value(func(page []byte) error {
			return eachLine(binary.BigEndian.Uint64(item.Key()[1:]), page, func(position uint64, line []byte) error {
				if position < from {
					return nil
				}
				e, err := decodeEntry(position, line)
				if err != nil {
					return fmt.Errorf("ledger position %d: %w", position, err)
				}
				return fn(&e, line)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pageOf returns the position of the first line of the page that should hold a line; 0 when there is no page before it.
func pageOf(txn *badger.Txn, position uint64) (first uint64, err error) {
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: []byte{keyEntry}})
	defer it.Close()
	if it.Seek(appendEntryKey(nil, position)); !it.Valid() {
		return 0, nil
	}
	if len(it.Item().Key()) != 9 {
		return 0, fmt.Errorf("ledger has a malformed key %x", it.Item().Key())
	}
	return binary.BigEndian.Uint64(it.Item().Key()[1:]), nil
}

// eachKey calls fn for every record under a prefix; the key is valid during the call only.
func eachKey(txn *badger.Txn, prefix []byte, fn func(key []byte, item *badger.Item) error) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := fn(it.Item().Key(), it.Item()); err != nil {
			return err
		}
	}
	return nil
}

func readPosition(item *badger.Item) (position uint64, err error) {
	err = item.Value(func(v []byte) error {
		if len(v) != 8 {
			return fmt.Errorf("index record %q does not hold a ledger position", item.Key())
		}
		position = binary.BigEndian.Uint64(v)
		return nil
	})
	return position, err
}

// readEntry returns one line.
func readEntry(txn *badger.Txn, position uint64) (e storage.Entry, err error) {
	first, err := pageOf(txn, position)
	if err != nil {
		return e, err
	}
	item, err := txn.Get(appendEntryKey(nil, first))
	if err == nil {
		err = item.Value(func(page []byte) error {
			return eachLine(first, page, func(at uint64, line []byte) error {
				if at == position {
					e, err = decodeEntry(position, line)
				}
				return err
			})
		})
	}
	switch {
	case errors.Is(err, badger.ErrKeyNotFound) || err == nil && e.Position == 0:
		return e, fmt.Errorf("ledger position %d is missing", position)
	case err != nil:
		return e, fmt.Errorf("reading ledger position %d: %w", position, err)
	}
	return e, nil
}

// readCheckpoint returns the zero checkpoint of an empty ledger when there is none.
func readCheckpoint(txn *badger.Txn) (c checkpoint, err error) {
	item, err := txn.Get([]byte{keyCheckpoint})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return checkpoint{oldest: 1, indexed: 1}, nil
	}
	if err != nil {
		return c, fmt.Errorf("reading the ledger's checkpoint: %w", err)
	}
	err = item.Value(func(v []byte) error {
		c, err = decodeCheckpoint(v)
		return err
	})
	return c, err
}
