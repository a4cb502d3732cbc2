package badgerdb

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
)

// Damage is what is wrong with a ledger that does not prove, and what of it can be believed: the lines from the first to one before
// the first fault. What stands behind that may be whole, but nothing vouches for it.
type Damage struct {
	Fault      string            // the first; "": it proves
	Through    uint64            // position of the last line that is proven
	Last       uint64            // position at which the ledger ends, as far as anything tells
	Standing   []storage.Balance // after the last proven line, by account
	Unproven   uint64            // lines behind it that can be read
	Unreadable uint64            // and that cannot
	Said       map[string]storage.Entry
	// LostAccounts have a record and no proven line. Nameless have proven lines and no record that can be read: a repair gives
	// them one of the tier free.
	LostAccounts, Nameless []string
}

// Assess finds out what is damaged, and calls lost, unless nil, for the lines behind the last proven one that can still be read.
func (s *Snapshot) Assess(lost func(e *storage.Entry) error) (*Damage, error) {
	d := &Damage{Said: map[string]storage.Entry{}}
	if _, err := s.prove(0, s.pace.step); err == nil {
		return d, nil
	} else {
		d.Fault = inOneLine(err).Error()
	}
	a, err := s.believe(nil, nil)
	if err != nil {
		return nil, err
	}
	d.Through, d.Last, d.Standing = a.Position, max(a.Position, s.mark.position), balancesOf(a)
	if err := guard("reading the ledger", func() error {
		end, err := readCheckpoint(s.txn)
		d.Last = max(d.Last, end.Position)
		return err
	}); err != nil {
		d.Fault += "; " + inOneLine(err).Error()
	}
	err = s.unproven(a.Position, func(e *storage.Entry) error {
		d.Unproven++
		d.Last = max(d.Last, e.Position)
		d.Said[e.Account] = *e
		if lost != nil {
			return lost(e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.Unreadable = d.Last - d.Through - min(d.Unproven, d.Last-d.Through)
	records := s.accountRecords()
	for id := range records {
		if a.Standing[id] == nil {
			d.LostAccounts = append(d.LostAccounts, id)
		}
	}
	for id := range a.Standing {
		if _, ok := records[id]; !ok {
			d.Nameless = append(d.Nameless, id)
		}
	}
	slices.Sort(d.LostAccounts)
	slices.Sort(d.Nameless)
	return d, nil
}

// believe follows the lines up to the last one that proves, and hands each to fn and their index records to index, unless nil. The
// first line of a transfer counts only with the second.
func (s *Snapshot) believe(index func(e *storage.Entry, position uint64, added bool), fn func(e *storage.Entry, line []byte) error) (*ledger.Audit, error) {
	a := ledger.NewAudit(storage.Entry{}, nil)
	through, halfTransfer := uint64(0), false
	guard("reading the ledger", func() error { //nolint:errcheck // whatever ends it, what came before is what is believed
		return eachEntry(s.book(), 1, func(e *storage.Entry, line []byte) error {
			if err := a.Add(e, line); err != nil {
				return err
			}
			halfTransfer = e.Kind == storage.EntryTransfer && e.Amount < 0
			through = e.Position
			return s.pace.step()
		})
	})
	if halfTransfer {
		through--
	}
	// A line that was refused may have changed the audit already, so the good ones go through another.
	a = ledger.NewAudit(storage.Entry{}, nil)
	a.Index = index
	if through == 0 {
		return a, nil
	}
	err := guard("reading the ledger", func() error {
		return eachEntry(s.book(), 1, func(e *storage.Entry, line []byte) error {
			if err := a.Add(e, line); err != nil {
				return err
			}
			if fn != nil {
				if err := fn(e, line); err != nil {
					return err
				}
			}
			if e.Position == through {
				return errEnough
			}
			return s.pace.step()
		})
	})
	if !errors.Is(err, errEnough) {
		return nil, errors.Join(errors.New("the ledger is not read twice alike"), err)
	}
	return a, nil
}

// unproven calls fn for the lines behind a position that can be read, page by page; what cannot is passed over.
func (s *Snapshot) unproven(after uint64, fn func(e *storage.Entry) error) error {
	var failed error
	guard("reading the ledger", func() error { //nolint:errcheck // Badger may give up on a damaged file: then there is no more
		return eachKey(s.txn, []byte{keyEntry}, func(key []byte, item *badger.Item) error {
			if len(key) != 9 {
				return nil
			}
			first := binary.BigEndian.Uint64(key[1:])
			page, _ := s.book().page(item)                                   // what is before the damage, if there is some
			eachLine(first, page, func(position uint64, line []byte) error { //nolint:errcheck // the rest of the page is passed over
				e, err := ledger.DecodeEntry(position, line)
				if err != nil || position <= after {
					return err
				}
				failed = fn(&e)
				return failed
			})
			return failed
		})
	})
	return failed
}

// accountRecords are the accounts' records that can be read.
func (s *Snapshot) accountRecords() map[string]storage.Account {
	records := map[string]storage.Account{}
	guard("reading the accounts", func() error { //nolint:errcheck // Badger may give up on a damaged file: then there are no more
		return eachKey(s.txn, []byte{keyAccount}, func(key []byte, item *badger.Item) error {
			var record storage.Account
			value, err := item.ValueCopy(nil)
			if err == nil && json.Unmarshal(value, &record) == nil && record.ID == string(key[1:]) && !record.Created.IsZero() {
				records[record.ID] = record
			}
			return nil
		})
	})
	return records
}

// Repair makes, in a data directory without a ledger, one of the lines that are proven, with all that follows from them, and of the
// keys and other records beside the ledger. Every line keeps its position and hash, so that references that were used stay used.
// It changes nothing here. It returns the standing of the new ledger.
func (s *Snapshot) Repair(dir string) (sum storage.LedgerSummary, err error) {
	db, err := create(dir, "ledger", func(o badger.Options) badger.Options { return o })
	if err != nil {
		return sum, err
	}
	batch := db.NewWriteBatch()
	defer batch.Cancel()
	p := &pages{batch: batch}
	opened := map[string]time.Time{}
	a, err := s.believe(p.index, func(e *storage.Entry, line []byte) error {
		if e.Seq == 1 {
			opened[e.Account] = e.Time
		}
		return p.add(e.Position, line)
	})
	if err == nil && a.Position == 0 {
		err = errors.New("no line of the ledger is proven: restore a backup")
	}
	if err == nil {
		sum, err = s.finishRepair(p, a, opened)
	}
	if err == nil {
		err = s.copyOthers(batch)
	}
	if err == nil {
		err = batch.Flush()
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return sum, fmt.Errorf("repairing the ledger: %w", err)
	}
	return sum, writeHead(dir, sum)
}

// finishRepair writes what follows from the lines. Nothing is said to be exact of heads and spending, so that the next start takes
// them from the lines.
func (s *Snapshot) finishRepair(p *pages, a *ledger.Audit, opened map[string]time.Time) (sum storage.LedgerSummary, err error) {
	if err := p.flush(); err != nil {
		return sum, err
	}
	end := a.Checkpoint
	end.Indexed, end.Oldest = 1, end.Position+1
	for _, hold := range a.Holds {
		end.Oldest = min(end.Oldest, hold.Position)
	}
	if err := a.Finish(end); err != nil {
		return sum, err
	}
	records := s.accountRecords()
	for _, id := range slices.Sorted(maps.Keys(a.Standing)) {
		record, ok := records[id]
		if !ok {
			record = storage.Account{ID: id, Tier: storage.TierFree, DefaultLevel: "balanced", Created: opened[id]}
		}
		value, err := json.Marshal(record)
		if err == nil {
			err = p.batch.Set(textKey(keyAccount, id), value)
		}
		if err != nil {
			return sum, err
		}
	}
	if err := p.batch.Set([]byte{keyCheckpoint}, end.Encode()); err != nil {
		return sum, err
	}
	return summaryOf(end), nil
}

// copyOthers copies the records that do not follow from the ledger, as far as they can be read.
func (s *Snapshot) copyOthers(batch *badger.WriteBatch) error {
	derived := string([]byte{keyCheckpoint, keyEntry, keyHead, keyRequest, keyRun, keyGrant, keySpending, keyAccount})
	var failed error
	guard("reading records", func() error { //nolint:errcheck // Badger may give up on a damaged file: then there are no more
		return eachKey(s.txn, nil, func(key []byte, item *badger.Item) error {
			if strings.IndexByte(derived, key[0]) >= 0 {
				return nil
			}
			value, err := item.ValueCopy(nil)
			if err != nil {
				return nil
			}
			failed = batch.Set(slices.Clone(key), value)
			return failed
		})
	})
	return failed
}

// pages writes lines as pages again, and their index.
type pages struct {
	batch *badger.WriteBatch
	first uint64
	lines int
	page  []byte
	err   error
}

func (p *pages) add(position uint64, line []byte) error {
	if p.lines == 0 {
		p.first, p.page = position, []byte{ledger.PageVersion}
	}
	p.page = append(binary.AppendUvarint(p.page, uint64(len(line))), line...)
	if p.lines++; p.lines == pageLines {
		return p.flush()
	}
	return p.err
}

func (p *pages) flush() error {
	if p.lines > 0 && p.err == nil {
		p.err = p.batch.Set(appendEntryKey(nil, p.first), p.page)
	}
	p.lines, p.page = 0, nil
	return p.err
}

// index keeps the record that finds a line again; a later one of the same request takes its place.
func (p *pages) index(e *storage.Entry, position uint64, added bool) {
	if added && p.err == nil {
		p.err = p.batch.Set(indexKey(e), binary.BigEndian.AppendUint64(nil, position))
	}
}
