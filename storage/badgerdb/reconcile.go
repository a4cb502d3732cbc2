package badgerdb

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
)

// reconcileEnough is how many requests in a row must have their usage record before Reconcile stops looking further back:
// records reach the log in about the order in which the ledger ends their holds, so what a crash took is the end of the log.
const reconcileEnough = 4096

// Reconcile gives every charged or interrupted request that the ledger knows and the log does not a usage record, and returns
// their number. The log is asynchronous, so a gateway that died may have settled requests whose records were still queued.
// Such a record has the ledger's account, outcome and credits only. Call it once, after opening both and before serving.
func Reconcile(s *Store, l *Log) (added int, err error) {
	if s.Halted() != nil {
		return 0, nil
	}
	if err := s.catchUp(); err != nil {
		return 0, err
	}
	oldest, err := l.keptSince() // it may have retained less than now
	if err != nil {
		return 0, err
	}
	if retained := s.config.Clock().Add(-l.config.Retain); retained.After(oldest) {
		oldest = retained
	}
	present := 0
	err = guard("reconciling the log", func() error {
		return s.db.View(func(lines *badger.Txn) error {
			return l.view(func(log *badger.Txn) error {
				recent, err := l.recentRequests(log, 2*reconcileEnough) // nearly all of them, without a search for each
				if err != nil {
					return err
				}
				return eachEndBackward(bookOf(s.db, lines), func(e *storage.Entry) (more bool, err error) {
					if e.Time.Before(oldest) {
						return false, nil
					}
					if !recent[e.Request] {
						_, err = l.locate(log, e.Request)
					}
					if errors.Is(err, storage.ErrNotFound) {
						added++
						present = 0
						l.Append(storage.LogRecord{Usage: usageOfEnd(e)})
						s.config.reach("reconciling")
						if added%reconcileEnough == 0 {
							l.Flush() // what it finds must not overflow the queue
						}
						return true, nil
					}
					present++
					return present < reconcileEnough, err
				})
			})
		})
	})
	l.Flush()
	return added, err
}

// usageOfEnd is what the ledger alone can tell about a request.
func usageOfEnd(e *storage.Entry) storage.Usage {
	u := storage.Usage{Request: e.Request, Account: e.Account, Key: e.Key, Outcome: storage.OutcomeInterrupted, Credits: e.Charged}
	for _, o := range outcomes[1:] {
		if e.Reason == string(o) {
			u.Outcome = o
		}
	}
	return u
}

// eachEndBackward calls visit for the last line of every request that has ended, newest first.
func eachEndBackward(b book, visit func(e *storage.Entry) (more bool, err error)) error {
	it := b.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: []byte{keyEntry}})
	defer it.Close()
	late := map[storage.RequestID]bool{} // their hold's end, further back, is not the last line
	for it.Seek([]byte{keyEntry + 1}); it.Valid(); it.Next() {
		page, err := b.page(it.Item())
		if err != nil {
			return err
		}
		var ends []storage.Entry
		first := binary.BigEndian.Uint64(it.Item().Key()[1:])
		err = ledger.EachLine(first, page, func(position uint64, line []byte) error {
			e, err := ledger.DecodeEntry(position, line)
			if e.Ends() || e.Kind == storage.EntryLate {
				ends = append(ends, e)
			}
			return err
		})
		if err != nil {
			return err
		}
		for i := range slices.Backward(ends) {
			e := &ends[i]
			if late[e.Request] {
				continue
			}
			if e.Kind == storage.EntryLate {
				late[e.Request] = true
			}
			if more, err := visit(e); !more || err != nil {
				return err
			}
		}
	}
	return nil
}
