package badgerdb

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// load proves the ledger and takes over where it stands. A failed proof halts the ledger and leaves the rest usable.
func (s *Store) load() error {
	have, err := checkSchema(s.db, []byte{keySchema}, schema)
	if err == nil && have != schema {
		err = errSchema(have, schema)
	}
	if err != nil {
		return err
	}
	began := time.Now()
	var a *audit
	err = guard("checking the ledger", func() error {
		var mark headMark
		var err error
		if s.headFile, mark, err = openHeadFile(s.config.Dir); err != nil {
			return err
		}
		return s.db.View(func(txn *badger.Txn) error {
			a, err = prove(txn, mark, uint64(s.config.VerifyMax))
			return err
		})
	})
	records, listErr := s.readAccounts()
	if err == nil {
		err = listErr
	}
	if err == nil {
		err = s.adopt(a, records)
	}
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, record := range records {
			s.accounts[record.ID] = &account{record: record}
		}
		s.halt(err)
		return nil
	}
	s.config.Logger.Info("ledger checked", "lines", a.position, "accounts", len(a.standing), "open_holds", len(a.holds),
		"whole", a.whole, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// adopt makes the proven standing the store's own.
func (s *Store) adopt(a *audit, records []storage.Account) error {
	if err := a.checkAccounts(records); err != nil {
		return err
	}
	s.accounts, s.totals, s.head = a.standing, a.totals, a.checkpoint
	for _, acc := range s.accounts {
		acc.newest = acc.last.position
		if acc.last.position >= s.head.indexed {
			acc.dirtySince = s.head.indexed
			s.dirty = append(s.dirty, acc)
		}
	}
	holds := make([]storage.Entry, 0, len(a.holds))
	for _, hold := range a.holds {
		holds = append(holds, hold)
	}
	slices.SortFunc(holds, func(x, y storage.Entry) int { return int(x.Position) - int(y.Position) })
	for _, e := range holds {
		r := &request{
			id: e.Request, account: s.accounts[e.Account], amount: e.Amount, expires: e.Expires, position: e.Position,
		}
		s.requests[r.id] = r
		s.opened(r)
	}
	return s.db.View(func(txn *badger.Txn) error {
		s.forgotten = lastRequest(txn)
		return nil
	})
}

// lastRequest is the highest id of a request that has ended.
func lastRequest(txn *badger.Txn) (id storage.RequestID) {
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: []byte{keyRequest}})
	defer it.Close()
	if it.Seek([]byte{keyRequest + 1}); !it.Valid() {
		return id
	}
	copy(id[:], it.Item().Key()[1:])
	return id
}

// readRequest returns what the disk knows of an ended request, nil if nothing. The caller holds mu.
func (s *Store) readRequest(id storage.RequestID) (r *request, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(appendRequestKey(nil, id))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		position, err := readPosition(item)
		if err != nil {
			return err
		}
		e, err := readEntry(txn, position)
		if err != nil {
			return err
		}
		r = &request{id: id, account: s.accounts[e.Account], state: settled, charged: e.Charged, loss: e.Loss}
		if e.Kind == storage.EntryExpire || e.Kind == storage.EntryInterrupt {
			r.state = lapsed
		}
		return nil
	})
	return r, err
}

// granted returns the amount granted before under the reference, nil if none was, and the batch it is in if that may not be
// on disk yet. The caller holds mu.
func (s *Store) granted(account, reference string) (amount *storage.Credits, batch *storage.Batch, err error) {
	if p, ok := s.grants[grantRef{account, reference}]; ok {
		return &p.amount, p.batch, nil
	}
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(appendGrantKey(nil, account, reference))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		position, err := readPosition(item)
		if err != nil {
			return err
		}
		e, err := readEntry(txn, position)
		amount = &e.Amount
		return err
	})
	return amount, nil, err
}

// Entries returns up to limit ledger lines of an account, newest first, starting at ledger position from (0: its newest
// line). The last one's Previous is where to go on; 0 means there is no more. Lines that are not on disk yet are not seen.
// Errors: ErrNotFound when there is no such account or from is not a line of it.
func (s *Store) Entries(account string, from uint64, limit int) (entries []storage.Entry, err error) {
	if from == 0 {
		s.mu.Lock()
		if a := s.accounts[account]; a != nil {
			from = a.newest
		}
		s.mu.Unlock()
	}
	err = guard("reading the ledger", func() error {
		return s.db.View(func(txn *badger.Txn) error {
			for position := from; position != 0 && len(entries) < limit; {
				e, err := readEntry(txn, position)
				if err != nil {
					return err
				}
				if e.Account != account {
					return storage.ErrNotFound
				}
				entries = append(entries, e)
				position = e.Previous
			}
			return nil
		})
	})
	if err == nil && from == 0 {
		err = fmt.Errorf("account %.64q: %w", account, storage.ErrNotFound)
	}
	return entries, err
}
