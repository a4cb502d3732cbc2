package badgerdb

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
)

// ErrInUse: a gateway has the data directory open. Errors that wrap it name the directory and, where it is known, the process.
var ErrInUse = errors.New("is in use by")

// snapshotPercent is how much of one processor reading a snapshot of a ledger at work takes at most: requests have the rest.
const snapshotPercent = 25

// Snapshot is the ledger's database as it was at one moment. It belongs to one goroutine and must be closed; until then the
// store that it is of does not close. Its methods fail with ErrClosed once the store wants to.
type Snapshot struct {
	db   *badger.DB
	txn  *badger.Txn
	mark headMark
	// damaged is what is wrong with the head file or the journal.
	damaged error
	pace    pace
	close   func() error
}

// Snapshot returns the ledger with all that was acknowledged. Errors: ErrClosed, ErrLowSpace, ErrHalted (the disk failed).
func (s *Store) Snapshot() (*Snapshot, error) {
	s.awaitSync()
	return s.snapshot()
}

// snapshot returns the ledger as it is on disk now.
func (s *Store) snapshot() (*Snapshot, error) {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.readers.Add(1)
	}
	s.mu.Unlock()
	if closed {
		return nil, storage.ErrClosed
	}
	mark, err := s.acknowledged()
	if err != nil {
		s.readers.Done()
		return nil, err
	}
	if err := s.applier.catchUp(); err != nil { // the mark must not be ahead of the database
		s.readers.Done()
		return nil, err
	}
	return &Snapshot{
		db: s.db, txn: s.db.NewTransaction(false), mark: mark, pace: pace{percent: snapshotPercent, stop: s.stop},
		close: func() error { s.readers.Done(); return nil },
	}, nil
}

// acknowledged is the head mark as it was a moment ago. Commits write its file meanwhile, so that a look at it may find
// both slots half written.
func (s *Store) acknowledged() (mark headMark, err error) {
	for range 10 {
		if mark, err = readHeadFile(s.config.Dir); err == nil {
			return mark, nil
		}
	}
	return mark, err
}

// OpenSnapshot returns the ledger in the data directory of a stopped gateway and changes nothing in it. No gateway can be
// started there until it is closed. Errors: ErrInUse, and that the database is too damaged to be opened.
func OpenSnapshot(dir string) (*Snapshot, error) {
	mark, markErr := readHeadFile(dir)
	var damaged error
	db, discard, err := openCopy(dir, "ledger", func(config Config) (*badger.DB, error) {
		f, fault, err := openLedger(config, mark.record, uncompacted)
		if err != nil {
			return nil, err
		}
		damaged = fault
		return f.db, errors.Join(f.volumes.close(), f.journal.close(false))
	})
	if err != nil {
		return nil, err
	}
	return &Snapshot{db: db, txn: db.NewTransaction(false), mark: mark, damaged: cmp.Or(markErr, damaged), pace: pace{percent: 100}, close: discard}, nil
}

// openLogCopy opens the copy of a log's database.
func openLogCopy(config Config) (*badger.DB, error) { return openDatabase(config, "log", uncompacted) }

// openCopy has a private copy of a database opened, in which Badger may repair what it likes (a database that was killed cannot be
// opened without that); table files never change once written and are linked, not copied. discard closes and removes it.
func openCopy(dir, name string, open func(Config) (*badger.DB, error)) (db *badger.DB, discard func() error, err error) {
	source := filepath.Join(dir, name)
	lock, err := lockDir(source)
	if err != nil {
		return nil, nil, err
	}
	scratch, err := os.MkdirTemp(dir, ".verify-")
	if err != nil {
		scratch, err = os.MkdirTemp("", "pointsman-verify-")
	}
	if err == nil {
		err = copyDatabase(source, filepath.Join(scratch, name))
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("copying %s: %w", source, err), removeScratch(scratch), lock.Close())
	}
	config, err := Config{Dir: scratch, MinFreeMB: -1, copied: true}.withDefaults()
	if err == nil {
		db, err = open(config)
	}
	if err != nil {
		return nil, nil, errors.Join(err, removeScratch(scratch), lock.Close())
	}
	return db, func() error {
		return errors.Join(guard("closing a copy of "+source, db.Close), removeScratch(scratch), lock.Close())
	}, nil
}

func removeScratch(dir string) error {
	if dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}

// book is the ledger at that moment.
func (s *Snapshot) book() book { return bookOf(s.db, s.txn) }

// Close lets go of the moment.
func (s *Snapshot) Close() error {
	s.txn.Discard()
	return s.close()
}

// Summary is the standing of the ledger on disk. Errors: those of Snapshot.
func (s *Store) Summary() (storage.LedgerSummary, error) {
	snapshot, err := s.Snapshot()
	if err != nil {
		return storage.LedgerSummary{}, err
	}
	defer snapshot.Close()
	return snapshot.Summary()
}

// Summary is what the checkpoint says.
func (s *Snapshot) Summary() (sum storage.LedgerSummary, err error) {
	err = guard("reading the ledger", func() error {
		end, err := readCheckpoint(s.txn)
		sum = summaryOf(end)
		return err
	})
	return sum, err
}

func summaryOf(end ledger.Checkpoint) storage.LedgerSummary {
	return storage.LedgerSummary{
		Position: end.Position, Hash: end.Hash, Accounts: end.Accounts, OpenHolds: end.Open,
		Posted: end.Posted, Issued: end.Issued, Revenue: end.Revenue, Loss: end.Loss,
	}
}

// Prove checks every line from the first to the last, and every record that follows from them. The error is one line that names
// the first fault.
func (s *Snapshot) Prove() (storage.LedgerSummary, error) {
	a, err := s.prove(0, s.pace.step)
	if err != nil {
		return storage.LedgerSummary{}, inOneLine(err)
	}
	return summaryOf(a.Checkpoint), nil
}

// Balances are the accounts as their last lines left them, ordered by id, of a ledger whose last lines prove.
func (s *Snapshot) Balances() (list []storage.Balance, err error) {
	config, err := Config{Dir: "."}.withDefaults()
	if err != nil {
		return nil, err
	}
	a, err := s.prove(uint64(config.VerifyMax), s.pace.step)
	if err != nil {
		return nil, err
	}
	return balancesOf(a), nil
}

func (s *Snapshot) prove(most uint64, step func() error) (a *ledger.Audit, err error) {
	if s.damaged != nil {
		return nil, s.damaged
	}
	err = guard("verifying the ledger", func() error {
		if a, err = proveSlowly(s.book(), s.mark, most, step); err != nil {
			return err
		}
		records, err := listIn[storage.Account](s.txn, []byte{keyAccount})
		if err != nil {
			return err
		}
		return a.CheckAccounts(records)
	})
	return a, err
}

// balancesOf lists the accounts of an audit by id.
func balancesOf(a *ledger.Audit) []storage.Balance {
	list := make([]storage.Balance, 0, len(a.Standing))
	for id, acc := range a.Standing {
		list = append(list, storage.Balance{Account: id, Posted: acc.Posted, Held: acc.Held, Overdraft: acc.Overdraft})
	}
	slices.SortFunc(list, func(x, y storage.Balance) int { return strings.Compare(x.Account, y.Account) })
	return list
}

// Entries returns up to limit lines of an account, newest first, from ledger position from (0: its newest line) on. The last
// one's Previous is where to go on. Errors: ErrNotFound when there is no such account or from is not a line of it.
func (s *Snapshot) Entries(account string, from uint64, limit int) (entries []storage.Entry, err error) {
	err = guard("reading the ledger", func() error {
		if from == 0 { // head records may be old
			if err := eachEntry(s.book(), 1, func(e *storage.Entry, _ []byte) error {
				if e.Account == account {
					from = e.Position
				}
				return nil
			}); err != nil {
				return err
			}
		}
		entries, err = entriesOf(s.book(), account, from, limit)
		return err
	})
	if err == nil && from == 0 {
		err = fmt.Errorf("account %.64q: %w", account, storage.ErrNotFound)
	}
	return entries, err
}

// Each calls fn for the lines at positions from to to, in their order, until it returns an error; to 0 means to the last one.
// A line that is missing ends it with an error.
func (s *Snapshot) Each(from, to uint64, fn func(e *storage.Entry) error) error {
	next := max(from, 1)
	err := guard("reading the ledger", func() error {
		end, err := readCheckpoint(s.txn)
		if err != nil {
			return err
		}
		if to == 0 || to > end.Position {
			to = end.Position
		}
		err = eachEntry(s.book(), next, func(e *storage.Entry, _ []byte) error {
			if e.Position > to {
				return errEnough
			}
			if e.Position != next {
				return fmt.Errorf("ledger positions %d to %d are missing", next, e.Position-1)
			}
			next++
			if err := s.pace.step(); err != nil {
				return err
			}
			return fn(e)
		})
		if err != nil {
			return err
		}
		if next <= to {
			return fmt.Errorf("ledger positions %d to %d are missing", next, to)
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

var errEnough = errors.New("enough was read")

// Spenders are the accounts, teams and virtual keys.
func (s *Snapshot) Spenders() (accounts []storage.Account, teams []storage.Team, keys []storage.VirtualKey, err error) {
	err = guard("reading accounts and keys", func() error {
		var err error
		if accounts, err = listIn[storage.Account](s.txn, []byte{keyAccount}); err != nil {
			return err
		}
		if teams, err = listIn[storage.Team](s.txn, []byte{keyTeam}); err != nil {
			return err
		}
		keys, err = listIn[storage.VirtualKey](s.txn, []byte{keyVirtualKey})
		return err
	})
	return accounts, teams, keys, err
}

// ProviderKeys are the accounts' own keys, sealed.
func (s *Snapshot) ProviderKeys() (keys []storage.ProviderKey, err error) {
	err = guard("reading provider keys", func() error {
		keys, err = listIn[storage.ProviderKey](s.txn, []byte{keyProviderKey})
		return err
	})
	return slices.DeleteFunc(keys, func(k storage.ProviderKey) bool { return k.ID == "" }), err
}
