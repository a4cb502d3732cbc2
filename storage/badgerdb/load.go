package badgerdb

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
)

// load proves the ledger and takes over where it stands. A failed proof, or a damaged table, halts the ledger and leaves the
// rest usable.
func (s *Store) load(damaged error) error {
	have, err := checkSchema(s.db, []byte{keySchema}, schema)
	switch {
	case err != nil || have == schema:
	case have >= 3 && have < schema: // its pages, their records, and its index of requests stay as they are
		err = changeSchema(s.db, []byte{keySchema}, schema)
	default:
		err = errSchema(have, schema)
	}
	if err != nil && damaged == nil {
		return err
	}
	began := time.Now()
	var a *ledger.Audit
	err = guard("checking the ledger", func() error {
		head, mark, err := openHeadFile(s.config.Dir)
		if err != nil {
			return err
		}
		s.headFile, s.mark = head, mark
		return s.db.View(func(txn *badger.Txn) error {
			a, err = prove(bookOf(s.db, txn), mark, uint64(s.config.VerifyMax))
			return err
		})
	})
	records, listErr := s.readAccounts()
	err = cmp.Or(damaged, err, listErr)
	if err == nil {
		err = s.adopt(a, records)
	}
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, record := range records {
			s.machine.Know(record)
		}
		s.halt(err)
		return nil
	}
	s.read = records
	if a.Whole {
		s.online.proven(a, began)
	}
	s.config.Logger.Info("ledger checked", "lines", a.Position, "accounts", len(a.Standing), "open_holds", len(a.Holds),
		"whole", a.Whole, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// adopt makes the proven standing the store's own.
func (s *Store) adopt(a *ledger.Audit, records []storage.Account) error {
	if err := a.CheckAccounts(records); err != nil {
		return err
	}
	return s.view("taking over the ledger", func(txn *badger.Txn) error {
		last, err := lastRequest(txn)
		if err != nil {
			return err
		}
		s.dirty = s.machine.Adopt(a, last)
		s.chain.Position, s.chain.Hash, s.entered = a.Position, a.Hash, a.Position
		return nil
	})
}

// lastRequest is the highest id of a request that has ended.
func lastRequest(txn *badger.Txn) (id storage.RequestID, err error) {
	if id, err = lastSettled(txn); err != nil {
		return id, err
	}
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: []byte{keyRequest}})
	defer it.Close()
	if it.Seek([]byte{keyRequest + 1}); it.Valid() && bytes.Compare(it.Item().Key()[1:], id[:]) > 0 {
		copy(id[:], it.Item().Key()[1:])
	}
	return id, nil
}

// Ended tells the machine how a request ended that it has forgotten. The caller holds mu.
func (s *Store) Ended(id storage.RequestID) (ended *ledger.Ended, err error) {
	e, err := s.indexed(func(txn *badger.Txn) (uint64, error) {
		position, err := namedAt(txn, appendRequestKey(nil, id))
		if err == nil && position == 0 {
			position, err = settledAt(txn, id)
		}
		return position, err
	})
	if e == nil || err != nil {
		return nil, err
	}
	return &ledger.Ended{
		Account: e.Account, Key: e.Key, Team: e.Team, Charged: e.Charged, Loss: e.Loss, MayBeCharged: e.Kind == storage.EntryExpire || e.Kind == storage.EntryInterrupt,
	}, nil
}

// Granted tells the machine the amount granted or transferred before under the reference, nil if none was. The caller holds mu.
func (s *Store) Granted(account, reference string) (*storage.Credits, error) {
	e, err := s.indexed(func(txn *badger.Txn) (uint64, error) { return namedAt(txn, appendGrantKey(nil, account, reference)) })
	if e == nil || err != nil {
		return nil, err
	}
	return &e.Amount, nil
}

// Spending tells the machine what the record of a spender says, nil if there is none. The caller holds mu.
func (s *Store) Spending(who storage.Spender) (record []byte, err error) {
	err = s.view("reading what was spent", func(txn *badger.Txn) error {
		record, err = disk{bookOf(s.db, txn)}.Spending(who)
		return err
	})
	return record, err
}

// indexed returns the line at the position that at finds in the index; nil if that is 0.
func (s *Store) indexed(at func(txn *badger.Txn) (position uint64, err error)) (found *storage.Entry, err error) {
	err = s.view("reading the ledger's index", func(txn *badger.Txn) error {
		position, err := at(txn)
		if err != nil || position == 0 {
			return err
		}
		e, err := readEntry(bookOf(s.db, txn), position)
		found = &e
		return err
	})
	return found, err
}

// namedAt returns the position that an index record names, 0 if there is no such record.
func namedAt(txn *badger.Txn, key []byte) (position uint64, err error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return readPosition(item)
}

// Entries returns up to limit ledger lines of an account, newest first, starting at ledger position from (0: its newest
// line). The last one's Previous is where to go on; 0 means there is no more. Lines that are not on disk yet are not seen.
// Errors: ErrNotFound when there is no such account or from is not a line of it.
func (s *Store) Entries(account string, from uint64, limit int) (entries []storage.Entry, err error) {
	if err := s.catchUp(); err != nil { // before the account says which line is its last
		return nil, err
	}
	if from == 0 {
		s.mu.Lock()
		if a := s.machine.Account(account); a != nil {
			from = a.LastDurable()
		}
		s.mu.Unlock()
	}
	err = s.view("reading the ledger", func(txn *badger.Txn) error {
		entries, err = entriesOf(bookOf(s.db, txn), account, from, limit)
		return err
	})
	if err == nil && from == 0 {
		err = fmt.Errorf("account %.64q: %w", account, storage.ErrNotFound)
	}
	return entries, err
}

// entriesOf reads up to limit lines of an account, newest first, from a position on.
func entriesOf(b book, account string, from uint64, limit int) (entries []storage.Entry, err error) {
	for position := from; position != 0 && len(entries) < limit; {
		e, err := readEntry(b, position)
		if err != nil {
			return nil, err
		}
		if e.Account != account {
			return nil, storage.ErrNotFound
		}
		entries = append(entries, e)
		position = e.Previous
	}
	return entries, nil
}
