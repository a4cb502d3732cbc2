package badgerdb

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
)

// prove checks the ledger and returns the standing of every account and every open hold. It follows the lines from the first
// one (most 0), or the last most lines and whatever before them open holds and inexact records need; accounts without a line
// in there are taken from their last line. The error is one line that names the first fault.
func prove(b book, mark headMark, most uint64) (*ledger.Audit, error) {
	return proveSlowly(b, mark, most, nil)
}

// proveSlowly is prove with step, unless nil, called for every line and index record; its error ends the proof.
func proveSlowly(b book, mark headMark, most uint64, step func() error) (*ledger.Audit, error) {
	if step == nil {
		step = func() error { return nil }
	}
	end, err := readCheckpoint(b.Txn)
	if err != nil {
		return nil, err
	}
	if err := checkMark(b, mark, end.Position); err != nil {
		return nil, err
	}
	var before storage.Entry
	if most != 0 && end.Position > most {
		if start := min(end.Position-most+1, end.Oldest, end.Indexed); start > 1 {
			if before, err = readEntry(b, start-1); err != nil {
				return nil, err
			}
		}
	}
	a := ledger.NewAudit(before, disk{b})
	prints := fingerprints{seed: maphash.MakeSeed()}
	if a.Whole {
		a.Index = prints.note
	}
	if err := eachEntry(b, before.Position+1, func(e *storage.Entry, line []byte) error {
		if err := step(); err != nil {
			return err
		}
		return a.Add(e, line)
	}); err != nil {
		return nil, err
	}
	if err := checkHeads(b, a, before.Position+1, end.Indexed); err != nil {
		return nil, err
	}
	if a.Whole {
		if err := prints.compare(b.Txn, step); err != nil {
			return nil, err
		}
		if err := checkSpenders(b.Txn, a); err != nil {
			return nil, err
		}
	}
	return a, a.Finish(end)
}

// disk is what an audit asks of what lies before its start.
type disk struct{ book }

// Line returns one line.
func (d disk) Line(position uint64) (storage.Entry, error) { return readEntry(d.book, position) }

// Spending returns the record of a spender, nil if there is none.
func (d disk) Spending(who storage.Spender) ([]byte, error) {
	value, err := readValue(d.Txn, textKey(keySpending, string(who)))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	return value, err
}

// checkSpenders makes sure that only spenders of whom there are lines have records.
func checkSpenders(txn *badger.Txn, a *ledger.Audit) error {
	return eachKey(txn, []byte{keySpending}, func(key []byte, _ *badger.Item) error {
		if who := storage.Spender(key[1:]); !a.Spends(who) {
			return fmt.Errorf("a record says what %q spent, no line does", who)
		}
		return nil
	})
}

// checkMark makes sure that the last acknowledged line is still there.
func checkMark(b book, mark headMark, last uint64) error {
	if mark.position == 0 {
		return nil
	}
	if mark.position > last {
		return fmt.Errorf("ledger ends at position %d, but position %d was acknowledged: the tail is lost", last, mark.position)
	}
	e, err := readEntry(b, mark.position)
	if err == nil && e.Hash != mark.hash {
		err = fmt.Errorf("account %s seq %d (ledger position %d): is not the line that was acknowledged", e.Account, e.Seq, e.Position)
	}
	return err
}

// checkHeads compares the head records with what the lines said, and adds the accounts that had no line at or after start.
// An account's head is exact if its last line is before indexed; later lines may have moved on from it.
func checkHeads(b book, a *ledger.Audit, start, indexed uint64) error {
	headed := map[string]bool{}
	type head struct {
		position uint64
		account  string
	}
	var older []head // of accounts whose last line is before start
	err := eachKey(b.Txn, []byte{keyHead}, func(key []byte, item *badger.Item) error {
		id := string(key[1:])
		headed[id] = true
		position, err := readPosition(item)
		if err != nil {
			return err
		}
		if acc := a.Standing[id]; acc != nil {
			if acc.Link.Position < position || acc.Link.Position < indexed && acc.Link.Position != position {
				return fmt.Errorf("account %s seq %d: last line is at ledger position %d, its head says %d",
					id, acc.Link.Seq, acc.Link.Position, position)
			}
			return nil
		}
		older = append(older, head{position, id})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(older, func(a, b head) int { return cmp.Compare(a.position, b.position) }) // so that each page is read once
	lines := lineReader{book: b}
	for _, h := range older {
		e, err := lines.read(h.position)
		if err != nil || e.Account != h.account || h.position >= start {
			return fmt.Errorf("account %s: its head names ledger position %d, which is not its last line", h.account, h.position)
		}
		a.StandsAfter(&e)
	}
	for id, acc := range a.Standing {
		if !headed[id] && acc.Link.Position < indexed {
			return fmt.Errorf("account %s seq %d: has no head", id, acc.Link.Seq)
		}
	}
	return nil
}

// fingerprints compare the index of requests and references with what the lines call for: prints of records are combined by
// exclusive or, so that the records in key order can be compared with the lines in ledger order without keeping either.
type fingerprints struct {
	seed  maphash.Seed
	sum   uint64
	count uint64
}

// note adds or takes back the record that a line calls for.
func (f *fingerprints) note(e *storage.Entry, position uint64, added bool) {
	f.add(indexKey(e), position)
	if f.count++; !added {
		f.count -= 2
	}
}

// indexKey is the key of the record that finds a line again.
func indexKey(e *storage.Entry) []byte {
	if e.Kind == storage.EntryGrant || e.Kind == storage.EntryTransfer {
		return appendGrantKey(nil, e.Account, e.Reference)
	}
	return appendRequestKey(nil, e.Request)
}

func (f *fingerprints) add(key []byte, position uint64) {
	f.sum ^= maphash.Bytes(f.seed, binary.BigEndian.AppendUint64(key, position))
}

// compare takes the records on disk away again; nothing must be left.
func (f *fingerprints) compare(txn *badger.Txn, step func() error) error {
	found := uint64(0)
	for _, kind := range []byte{keyRequest, keyGrant} {
		err := eachKey(txn, []byte{kind}, func(key []byte, item *badger.Item) error {
			position, err := readPosition(item)
			found++
			f.add(append([]byte(nil), key...), position)
			if err == nil {
				err = step()
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	err := eachSettled(txn, []byte{keyRun}, func(id storage.RequestID, position uint64) {
		found++
		f.add(appendRequestKey(nil, id), position)
	}, step)
	if err != nil {
		return err
	}
	if found != f.count || f.sum != 0 {
		return fmt.Errorf("index of requests and grants has %d records, the lines call for %d with other content", found, f.count)
	}
	return nil
}

// eachEntry decodes the lines from a position to the end.
func eachEntry(b book, from uint64, fn func(e *storage.Entry, line []byte) error) error {
	it := b.NewIterator(badger.IteratorOptions{Prefix: []byte{keyEntry}})
	defer it.Close()
	first, err := pageOf(b.Txn, from)
	if err != nil {
		return err
	}
	for it.Seek(appendEntryKey(nil, first)); it.Valid(); it.Next() {
		item := it.Item()
		if len(item.Key()) != 9 {
			return fmt.Errorf("ledger has a malformed key %x", item.Key())
		}
		first := binary.BigEndian.Uint64(item.Key()[1:])
		page, damaged := b.page(item)
		next := first
		err := eachLine(first, page, func(position uint64, line []byte) error {
			next = position + 1
			if position < from {
				return nil
			}
			e, err := ledger.DecodeEntry(position, line)
			if err != nil {
				return fmt.Errorf("ledger position %d: %w", position, err)
			}
			return fn(&e, line)
		})
		if err == nil && damaged != nil {
			err = fmt.Errorf("reading ledger position %d: %w", next, damaged)
		}
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
func readEntry(b book, position uint64) (storage.Entry, error) {
	lines := lineReader{book: b}
	return lines.read(position)
}

// lineReader reads lines, and a page anew only for a line of another page.
type lineReader struct {
	book
	first uint64   // position of the first line of the page that was read
	lines [][]byte // of it
}

// read returns the line at a position.
func (r *lineReader) read(position uint64) (e storage.Entry, err error) {
	if position < r.first || position-r.first >= uint64(len(r.lines)) {
		if err := r.open(position); err != nil {
			return e, fmt.Errorf("reading ledger position %d: %w", position, err)
		}
	}
	if position < r.first || position-r.first >= uint64(len(r.lines)) {
		return e, fmt.Errorf("ledger position %d is missing", position)
	}
	if e, err = ledger.DecodeEntry(position, r.lines[position-r.first]); err != nil {
		return e, fmt.Errorf("reading ledger position %d: %w", position, err)
	}
	return e, nil
}

// open reads the page that holds the line at a position; it is empty if there is none.
func (r *lineReader) open(position uint64) (err error) {
	r.lines = r.lines[:0]
	if r.first, err = pageOf(r.Txn, position); err != nil {
		return err
	}
	item, err := r.Get(appendEntryKey(nil, r.first))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	page, damaged := r.page(item)
	err = eachLine(r.first, page, func(_ uint64, line []byte) error {
		r.lines = append(r.lines, line)
		return nil
	})
	if err == nil && position-r.first >= uint64(len(r.lines)) {
		err = damaged
	}
	return err
}

// eachLine calls fn for the lines of a page; of one that could not be read there are none.
func eachLine(first uint64, page []byte, fn func(position uint64, line []byte) error) error {
	if len(page) == 0 {
		return nil
	}
	return ledger.EachLine(first, page, fn)
}

// readCheckpoint returns the zero checkpoint of an empty ledger when there is none.
func readCheckpoint(txn *badger.Txn) (c ledger.Checkpoint, err error) {
	item, err := txn.Get([]byte{keyCheckpoint})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return ledger.Checkpoint{Oldest: 1, Indexed: 1}, nil
	}
	if err != nil {
		return c, fmt.Errorf("reading the ledger's checkpoint: %w", err)
	}
	err = item.Value(func(v []byte) error {
		c, err = ledger.DecodeCheckpoint(v)
		return err
	})
	return c, err
}
