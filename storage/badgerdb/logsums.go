package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/fields"
)

// Sums are derived from the pages alone. A page belongs to the minute of its seq, so no page is ever added to a minute that has
// passed, and what is written of a minute is a function of its pages: writing it again after a crash changes nothing, and every
// request is counted once. Hours are the sums of their minutes, days those of their hours, in the same way.

// resolution is the length of time that sums are kept for.
type resolution uint8

const (
	minutes resolution = iota
	hours
	days
	resolutions // their number
)

// length is how long one is, in minutes.
func (r resolution) length() uint32 { return [...]uint32{1, 60, 24 * 60}[r] }

// unit is how much is dropped at once, in minutes.
func (r resolution) unit() uint32 { return [...]uint32{6 * 60, 10 * 24 * 60, 100 * 24 * 60}[r] }

// floor is the beginning of the one that holds a minute.
func (r resolution) floor(minute uint32) uint32 { return minute - minute%r.length() }

// shelf is the first byte of the keys of a resolution: periods of the log itself have 0 there.
func (r resolution) shelf() uint32 { return (0x10 + uint32(r)) << 24 }

// view is a set of dimensions that sums are kept by, and the kind of their keys. Every query is answered from the smallest that has
// its dimensions. Minutes, of which few are read at a time, have viewAll alone.
type view byte

const (
	viewAll      view = 'r'
	viewModels   view = 's' // no accounts, teams and keys
	viewAccounts view = 't' // only those, and outcomes
)

// views are those that a resolution has.
func (r resolution) views() []view {
	if r == minutes {
		return []view{viewAll}
	}
	return []view{viewAll, viewModels, viewAccounts}
}

// has tells whether a view has a dimension.
func (v view) has(d storage.Dimension) bool {
	account := d == storage.ByAccount || d == storage.ByTeam || d == storage.ByKey
	return v == viewAll || d == storage.ByOutcome || account == (v == viewAccounts)
}

// logFolded is the kind of the record which says how far the sums are.
const logFolded = 'f'

// appendSumsPrefix is how the keys of a minute, an hour or a day in a view begin.
func appendSumsPrefix(b []byte, r resolution, v view, start uint32) []byte {
	return binary.BigEndian.AppendUint32(appendLogKey(b, r.shelf()|start/r.unit(), byte(v)), start)
}

// minuteOf is the minute of a page, since 1970.
func minuteOf(seq uint64) uint32 { return uint32(seq / uint64(time.Minute.Microseconds())) }

func minuteAt(t time.Time) uint32 { return uint32(min(max(0, t.Unix()/60), math.MaxInt32)) }

func timeOf(minute uint32) time.Time { return time.Unix(int64(minute)*60, 0).UTC() }

// folding is what is summed up and indexed, and not on disk yet. The writer alone changes it.
type folding struct {
	mu       sync.Mutex          // guards start, end, accounts, and under of minutes, against readers
	start    [resolutions]uint32 // of what is under way: all before it is on disk; 0: nothing was counted yet
	under    [resolutions]*tally
	accounts accountIndex
	end      storage.Place // behind the last page
	chunk    chunkReader
}

// counted notes a page that was written now.
func (l *Log) counted(seq uint64, requests int) {
	l.total += uint64(requests)
	l.folding.mu.Lock()
	l.folding.end = storage.Place{Page: seq, Ordinal: uint16(requests), Count: l.total}
	l.folding.mu.Unlock()
}

// count adds a page to the sums and to the index of accounts.
func (l *Log) count(seq uint64, requests func(visit func(u *storage.Usage))) {
	f := &l.folding
	minute := minuteOf(seq)
	if f.start[minutes] == 0 {
		f.mu.Lock()
		for r := range resolutions {
			f.start[r], f.under[r] = r.floor(minute), newTally()
		}
		f.mu.Unlock()
	}
	if f.accounts.size >= f.accounts.most && !l.putAccounts() || minute > f.start[minutes] && !l.fold(minute) {
		return // the log is being closed, and the next start counts what is missing
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	ordinal := 0
	requests(func(u *storage.Usage) {
		f.under[minutes].of(u.Values()).Count(u)
		f.accounts.add(u.Account, seq, ordinal)
		ordinal++
	})
}

// fold writes what has ended when a minute begins, behind the pages that it is made of. False: it could not be written before the log was closed.
func (l *Log) fold(minute uint32) bool {
	f := &l.folding
	start, under := f.start, f.under
	if !l.putAccounts() || !l.insist("writing sums", l.volumes.synchronize) {
		return false
	}
	for r := minutes; r < resolutions && r.floor(minute) > start[r]; r++ {
		if !l.insist("writing sums", func() error { return l.putSums(r, start[r], under[r]) }) {
			return false
		}
		if r+1 < resolutions {
			under[r+1].merge(under[r])
		}
		start[r], under[r] = r.floor(minute), newTally()
	}
	if !l.insist("writing sums", func() error { return l.putFolded(start) }) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.start, f.under = start, under
	return true
}

// insist tries until it succeeds or the log is being closed.
func (l *Log) insist(doing string, try func() error) bool {
	for {
		l.writing.Lock()
		err := l.config.givenUp.commit(doing, try)
		l.writing.Unlock()
		if err == nil {
			return true
		}
		l.config.Logger.Warn("writing the log failed, trying again", "cause", err)
		select {
		case <-time.After(time.Second):
		case <-l.config.givenUp.done:
			return false
		case <-l.stop:
			return false
		}
	}
}

// putSums writes a tally, a chunk a transaction: together they may be larger than one can be.
func (l *Log) putSums(r resolution, start uint32, t *tally) error {
	for _, v := range r.views() {
		for i, chunk := range t.seen(v).chunks() {
			key := binary.BigEndian.AppendUint16(appendSumsPrefix(nil, r, v, start), uint16(i))
			if err := l.db.Update(func(txn *badger.Txn) error { return txn.Set(key, chunk) }); err != nil {
				return err
			}
			l.usedShelf(binary.BigEndian.Uint32(key))
		}
	}
	return nil
}

// putFolded writes how far the sums are, and how many requests the log has had.
func (l *Log) putFolded(start [resolutions]uint32) error {
	value := binary.BigEndian.AppendUint64(nil, l.total)
	for _, at := range start {
		value = binary.BigEndian.AppendUint32(value, at)
	}
	return l.db.Update(func(txn *badger.Txn) error { return txn.Set(appendLogKey(nil, 0, logFolded), value) })
}

// loadFolded reads what putFolded wrote.
func (l *Log) loadFolded(txn *badger.Txn) error {
	value, err := readValue(txn, appendLogKey(nil, 0, logFolded))
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(value) != 8+4*int(resolutions) {
		return fmt.Errorf("record of the sums: %w", fields.ErrEncoding)
	}
	l.total = max(l.total, binary.BigEndian.Uint64(value))
	for r := range resolutions {
		l.folding.start[r], l.folding.under[r] = binary.BigEndian.Uint32(value[8+4*r:]), newTally()
	}
	return nil
}

// resume counts again what was under way when the last run ended: the minutes of its hour, the hours of its day, and pages
// of which no sums were written. It is the first thing that the writer does.
func (l *Log) resume() {
	f := &l.folding
	err := l.db.View(func(txn *badger.Txn) error {
		for r := minutes; r+1 < resolutions; r++ {
			err := l.eachChunk(txn, r, viewAll, f.start[r+1], f.start[r], func(_ uint32, value []byte) error { return f.chunk.addTo(f.under[r+1], value) })
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = l.db.View(func(txn *badger.Txn) error {
			from := uint64(f.start[minutes]) * uint64(time.Minute.Microseconds())
			return l.eachPageForward(txn, from, func(seq uint64, head *pageHead) (more bool, err error) {
				usages, err := head.usages()
				if err != nil {
					l.config.Logger.Warn("the requests of a damaged page are in no summary", "cause", pageError(seq, err))
					return true, nil
				}
				l.count(seq, func(visit func(u *storage.Usage)) {
					for i := range usages {
						visit(&usages[i])
					}
				})
				return true, nil
			})
		})
	}
	if err != nil {
		l.config.Logger.Error("sums of the last run could not be taken up: check them with usage recount", "cause", err)
	}
}

// eachChunk calls visit for the chunks of what begins in from..to, without to, ascending. value is valid during the call only.
func (l *Log) eachChunk(txn *badger.Txn, r resolution, v view, from, to uint32, visit func(start uint32, value []byte) error) error {
	if from >= to {
		return nil
	}
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	for unit := from / r.unit(); unit <= (to-1)/r.unit(); unit++ {
		prefix := appendLogKey(nil, r.shelf()|unit, byte(v))
		for it.Seek(appendSumsPrefix(nil, r, v, max(from, unit*r.unit()))); it.ValidForPrefix(prefix); it.Next() {
			start := binary.BigEndian.Uint32(it.Item().Key()[len(prefix):])
			if start >= to {
				return nil
			}
			if err := it.Item().Value(func(value []byte) error { return visit(start, value) }); err != nil {
				return fmt.Errorf("sums of %s: %w", timeOf(start).Format(time.RFC3339), err)
			}
		}
	}
	return nil
}

// usages are the usage records of a page.
func (h *pageHead) usages() ([]storage.Usage, error) {
	if h.damaged {
		return nil, errPage
	}
	records, err := h.records()
	if err != nil {
		return nil, err
	}
	usages := make([]storage.Usage, len(records))
	for i, r := range records {
		if usages[i], err = DecodeUsage(r.id, r.usage); err != nil {
			return nil, err
		}
	}
	return usages, nil
}

// eachPageForward calls visit for every page from seq on, oldest first, while it asks for more. The head is valid during the
// call only; that of a page whose head is damaged has nothing, and its usages fail.
func (l *Log) eachPageForward(txn *badger.Txn, from uint64, visit func(seq uint64, head *pageHead) (more bool, err error)) error {
	return l.eachPageItem(txn, from, func(item *badger.Item) (more bool, err error) {
		head, err := l.page(item)
		if errors.Is(err, storage.ErrNotFound) {
			return true, nil
		}
		return visit(seqOf(item), &head)
	})
}

// eachPageItem calls visit for the record of every page from seq on, oldest first, while it asks for more.
func (l *Log) eachPageItem(txn *badger.Txn, from uint64, visit func(item *badger.Item) (more bool, err error)) error {
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	for _, period := range l.known() {
		if period < periodOf(from) {
			continue
		}
		under := appendLogKey(nil, period, logPage)
		for it.Seek(binary.BigEndian.AppendUint64(under[:5:5], from)); it.ValidForPrefix(under); it.Next() {
			if more, err := visit(it.Item()); err != nil || !more {
				return err
			}
		}
	}
	return nil
}
