package badgerdb

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// Kinds of keys: alerts have period n seq(8) ordinal(2), marks period(0) k name.
const (
	logAlert = 'n'
	logMark  = 'k'
)

// Forward returns up to limit requests behind a place, in the order in which they were logged, and the place behind the last of
// them; none that was logged at until or later, unless that is zero. missed are requests in between that are no longer kept, or in a page that is damaged. Errors: ErrClosed.
func (l *Log) Forward(after storage.Place, until time.Time, limit int) (records []storage.Usage, next storage.Place, missed uint64, err error) {
	next = after
	err = l.view(func(txn *badger.Txn) error {
		return l.eachPageForward(txn, after.Page, func(seq uint64, head *pageHead) (more bool, err error) {
			skip := 0
			if seq == after.Page {
				skip = min(int(after.Ordinal), head.count())
			}
			if skip == head.count() && !head.damaged {
				return true, nil
			}
			if len(records) >= limit || !until.IsZero() && seq >= uint64(until.UnixMicro()) {
				return false, nil
			}
			usages, err := head.usages()
			if err != nil {
				l.config.Logger.Warn("requests of a damaged page are passed over", "cause", pageError(seq, err))
				return true, nil // the next page tells how many they were
			}
			if before := head.before + uint64(skip); before > next.Count && next.Count > 0 {
				missed += before - next.Count
			}
			usages = usages[skip:min(len(usages), skip+limit-len(records))]
			records = append(records, usages...)
			end := skip + len(usages)
			next = storage.Place{Page: seq, Ordinal: uint16(end), Count: head.before + uint64(end)}
			return true, nil
		})
	})
	return records, next, missed, err
}

// End is the place behind the last request that is written.
func (l *Log) End() storage.Place {
	l.folding.mu.Lock()
	defer l.folding.mu.Unlock()
	return l.folding.end
}

// Alert queues an alert, which [Log.Alerts] returns as long as requests of its time are kept. It never blocks.
func (l *Log) Alert(a storage.Alert) {
	data, err := json.Marshal(&a)
	if err != nil { // it holds nothing that cannot be written
		l.dropped.Add(1)
		return
	}
	l.enqueue(&logItem{alert: data})
}

// Alerts returns up to limit alerts behind a place among them, and the place behind the last; only Page and Ordinal count.
func (l *Log) Alerts(after storage.Place, limit int) (alerts []storage.Alert, next storage.Place, err error) {
	next = after
	err = l.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for _, period := range l.known() {
			if period < periodOf(after.Page) {
				continue
			}
			under := appendLogKey(nil, period, logAlert)
			from := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(under[:5:5], after.Page), after.Ordinal)
			for it.Seek(from); it.ValidForPrefix(under) && len(alerts) < limit; it.Next() {
				key := it.Item().Key()[len(under):]
				var a storage.Alert
				if err := it.Item().Value(func(value []byte) error { return json.Unmarshal(value, &a) }); err != nil {
					return fmt.Errorf("alert %x: %w", key, err)
				}
				alerts = append(alerts, a)
				next.Page, next.Ordinal = binary.BigEndian.Uint64(key), binary.BigEndian.Uint16(key[8:])+1
			}
		}
		return nil
	})
	return alerts, next, err
}

// addAlerts puts a batch's alerts into the transaction.
func addAlerts(w *writer, batch []*logItem, seq uint64) {
	for i := range batch {
		if batch[i].alert != nil && i < math.MaxUint16 {
			key := binary.BigEndian.AppendUint64(appendLogKey(w.buf, periodOf(seq), logAlert), seq)
			w.set(w.cut(binary.BigEndian.AppendUint16(key, uint16(i))), batch[i].alert)
		}
	}
}

// SaveMark keeps a small value under a name for good, and returns when it is written.
func (l *Log) SaveMark(name string, value []byte) error {
	return l.config.givenUp.guard("writing to the log", func() error {
		l.writing.Lock()
		defer l.writing.Unlock()
		err := l.putMark(name, value)
		if errors.Is(err, badger.ErrDBClosed) || errors.Is(err, badger.ErrBlockedWrites) {
			err = storage.ErrClosed
		}
		return err
	})
}

// putMark writes a mark. The caller holds writing.
func (l *Log) putMark(name string, value []byte) error {
	return l.config.givenUp.commit("saving a mark", func() error {
		return l.db.Update(func(txn *badger.Txn) error { return txn.Set(append(appendLogKey(nil, 0, logMark), name...), value) })
	})
}

// Mark is what was saved under a name last. Errors: ErrNotFound, ErrClosed.
func (l *Log) Mark(name string) (value []byte, err error) {
	err = l.read(func(txn *badger.Txn) (err error) {
		value, err = readValue(txn, append(appendLogKey(nil, 0, logMark), name...))
		return err
	})
	return value, err
}
