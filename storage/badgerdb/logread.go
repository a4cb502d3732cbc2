package badgerdb

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// place is where a request is in the log: its page, and its ordinal there. The latest place is the newest record.
type place struct {
	seq     uint64
	ordinal int
}

// newest is behind every record.
var newest = place{math.MaxUint64, math.MaxUint16}

// cursor is a place as text: 8 and 2 bytes, big-endian, in hexadecimal.
func (p place) cursor() string {
	b := binary.BigEndian.AppendUint64(nil, p.seq)
	return hex.EncodeToString(binary.BigEndian.AppendUint16(b, uint16(p.ordinal)))
}

func parseCursor(cursor string) (place, error) {
	b, err := hex.DecodeString(cursor)
	if err != nil || len(b) != 10 {
		return place{}, fmt.Errorf("usage cursor %.40q: %w", cursor, storage.ErrInvalid)
	}
	return place{binary.BigEndian.Uint64(b), int(binary.BigEndian.Uint16(b[8:]))}, nil
}

// Usage returns up to limit usage records of an account, "" for all accounts, the ones logged last first: requests are
// logged when they end. cursor is "" or what the call before returned as next; next is "" when there are no more. Errors:
// ErrInvalid (cursor), ErrClosed; a damaged page is named.
func (l *Log) Usage(account, cursor string, limit int) (records []storage.Usage, next string, err error) {
	from := newest
	if cursor != "" {
		if from, err = parseCursor(cursor); err != nil {
			return nil, "", err
		}
	}
	var last place
	take := func(at place, r pageRecord) (more bool, err error) {
		if len(records) >= limit {
			if limit > 0 {
				next = last.cursor()
			}
			return false, nil
		}
		u, err := DecodeUsage(r.id, r.usage)
		records, last = append(records, u), at
		return true, err
	}
	l.Flush()
	recent := l.gatheredOf(account)
	err = l.read(func(txn *badger.Txn) error {
		if account == "" {
			return l.eachBefore(txn, func(period uint32) []byte { return appendLogKey(nil, period, logPage) }, from, take)
		}
		return l.eachOf(txn, account, recent, from, take)
	})
	return records, next, err
}

// Find returns the usage and decision record of one request of an account, "" for any account. requestID is the request's
// id as text, or the id its client sent, of which the newest request counts. The decision is nil when none was recorded.
// Errors: ErrNotFound, ErrClosed; a damaged page is named.
func (l *Log) Find(account, requestID string) (found storage.Usage, decision []byte, err error) {
	err = l.view(func(txn *badger.Txn) error {
		take := func(r pageRecord) (wanted bool, err error) {
			u, err := DecodeUsage(r.id, r.usage)
			if err != nil || account != "" && u.Account != account {
				return false, err
			}
			if r.id.String() != requestID && u.ClientID != requestID { // another client id with the same hash
				return false, nil
			}
			found, decision = u, r.decision
			return true, nil
		}
		if id, err := storage.ParseRequestID(requestID); err == nil {
			r, err := l.findRequest(txn, id)
			if err == nil {
				wanted, err := take(r)
				if wanted || err != nil {
					return err
				}
			} else if !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		}
		prefix := func(period uint32) []byte { return appendClientPrefix(nil, period, requestID) }
		err := l.eachBefore(txn, prefix, newest, func(_ place, r pageRecord) (more bool, err error) {
			wanted, err := take(r)
			return !wanted, err
		})
		if err == nil && found.Request == (storage.RequestID{}) {
			err = storage.ErrNotFound
		}
		return err
	})
	if err != nil {
		return storage.Usage{}, nil, fmt.Errorf("request %.64q: %w", requestID, err)
	}
	return found, decision, nil
}

// findRequest returns what the log has of a request, or ErrNotFound.
func (l *Log) findRequest(txn *badger.Txn, id storage.RequestID) (r pageRecord, err error) {
	at, err := l.locate(txn, id)
	if err != nil {
		return r, err
	}
	records, err := l.readPage(txn, at.seq)
	if err == nil && at.ordinal >= len(records) {
		err = pageError(at.seq, errPage)
	}
	if err != nil {
		return r, err
	}
	return records[at.ordinal], nil
}

// locate finds a request's place, or ErrNotFound: by its own index record if it has one, else among the pages that were
// written within searchWindow of its time.
func (l *Log) locate(txn *badger.Txn, id storage.RequestID) (place, error) {
	for _, period := range slices.Backward(l.known()) {
		seq, err := readValue(txn, append(appendLogKey(nil, period, logLate), id[:]...))
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return place{}, err
		}
		if len(seq) != 8 {
			return place{}, fmt.Errorf("index record of request %s: %w", id, errPage)
		}
		item, err := pageItem(txn, binary.BigEndian.Uint64(seq))
		if err != nil {
			return place{}, err
		}
		at, found, err := l.placeIn(item, id)
		if err == nil && !found {
			err = storage.ErrNotFound
		}
		return at, err
	}
	from := firstSeq(id)
	until := from + uint64(searchWindow.Microseconds())
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	for period := periodOf(from); period <= periodOf(until); period++ {
		under := appendLogKey(nil, period, logPage)
		for it.Seek(binary.BigEndian.AppendUint64(bytes.Clone(under), from)); it.ValidForPrefix(under); it.Next() {
			at, found, err := l.placeIn(it.Item(), id)
			if errors.Is(err, storage.ErrNotFound) {
				continue
			}
			if found || err != nil {
				return at, err
			}
			if at.seq > until {
				break
			}
		}
	}
	return place{}, storage.ErrNotFound
}

// placeIn looks for a request in a page.
func (l *Log) placeIn(item *badger.Item, id storage.RequestID) (at place, found bool, err error) {
	head, err := l.head(item)
	at.seq = seqOf(item)
	at.ordinal, found = head.find(id)
	return at, found, err
}

// seqOf is the seq at the end of a page's or an index record's key.
func seqOf(item *badger.Item) uint64 {
	key := item.Key()
	return binary.BigEndian.Uint64(key[len(key)-8:])
}

// placeOf is where the page is whose record an item is; elsewhere is false if it is in the record itself, as in a log of schema 4 or one that
// was restored.
func placeOf(item *badger.Item) (p extent, elsewhere bool, err error) {
	if item.ValueSize() != extentSize {
		return p, false, nil
	}
	err = item.Value(func(value []byte) error {
		p, elsewhere = decodeExtent(value)
		return nil
	})
	return p, elsewhere, err
}

// head reads the head of the page whose record an item is, and page all of it. Errors: ErrNotFound, its period was dropped a moment ago; else what is wrong
// with the page, by its seq.
func (l *Log) head(item *badger.Item) (pageHead, error) { return l.pageHead(item, extent.beginning) }

func (l *Log) page(item *badger.Item) (pageHead, error) { return l.pageHead(item, extent.read) }

func (l *Log) pageHead(item *badger.Item, read func(p extent, dir string) ([]byte, error)) (head pageHead, err error) {
	p, elsewhere, err := placeOf(item)
	var value []byte
	switch {
	case err != nil:
	case elsewhere:
		value, err = read(p, l.volumes.dir)
	default:
		value, err = item.ValueCopy(nil)
	}
	if l.gone(item, err) {
		return head, storage.ErrNotFound
	}
	if err == nil {
		head, err = readHead(value)
	} else if !unreadable(err) {
		err = fmt.Errorf("%w: %w", errPage, err)
	}
	if err != nil {
		return pageHead{damaged: true}, pageError(seqOf(item), err)
	}
	return head, nil
}

// gone tells whether a page could not be read because its period was dropped a moment ago.
func (l *Log) gone(item *badger.Item, err error) bool {
	return errors.Is(err, fs.ErrNotExist) && !slices.Contains(l.known(), periodOf(seqOf(item)))
}

// pageItem returns the page at seq. ErrNotFound: it has expired.
func pageItem(txn *badger.Txn, seq uint64) (*badger.Item, error) {
	item, err := txn.Get(appendPageKey(nil, seq))
	if errors.Is(err, badger.ErrKeyNotFound) {
		err = storage.ErrNotFound
	}
	return item, err
}

// readPage unpacks the page at seq. ErrNotFound: it has expired.
func (l *Log) readPage(txn *badger.Txn, seq uint64) (records []pageRecord, err error) {
	item, err := pageItem(txn, seq)
	if err != nil {
		return nil, err
	}
	head, err := l.page(item)
	if err != nil {
		return nil, err
	}
	if records, err = head.records(); err != nil {
		err = pageError(seq, err)
	}
	return records, err
}

func pageError(seq uint64, err error) error {
	return fmt.Errorf("log page %d of %s: %w", seq, time.UnixMicro(int64(seq)).UTC().Format(time.RFC3339), err)
}

// eachBefore calls visit for the records that the keys under a prefix of each period lead to, which are pages or their index
// records, newest first, beginning before from, while it asks for more. The record's memory is visit's to keep.
func (l *Log) eachBefore(txn *badger.Txn, prefix func(period uint32) []byte, from place, visit func(at place, r pageRecord) (more bool, err error)) error {
	d := descent{log: l, txn: txn, from: from, visit: visit}
	return l.eachPeriodBackward(txn, func(it *badger.Iterator, period uint32) (more bool, err error) {
		return d.under(it, prefix(period), d.ordinals)
	})
}

// eachPeriodBackward calls visit with an iterator that goes backward, for each period from the newest on, while it asks for more.
func (l *Log) eachPeriodBackward(txn *badger.Txn, visit func(it *badger.Iterator, period uint32) (more bool, err error)) error {
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true})
	defer it.Close()
	for _, period := range slices.Backward(l.known()) {
		if more, err := visit(it, period); !more || err != nil {
			return err
		}
	}
	return nil
}

// descent goes through places of the log, newest first. One that is not before the last one is passed over.
type descent struct {
	log     *Log
	txn     *badger.Txn
	from    place // before which the next place is
	visit   func(at place, r pageRecord) (more bool, err error)
	seq     uint64 // of the page that was read last, and what is in it
	records []pageRecord
}

// under calls visit for the records under a prefix that may lead to places before from.
func (d *descent) under(it *badger.Iterator, prefix []byte, visit func(item *badger.Item) (more bool, err error)) (more bool, err error) {
	for it.Seek(binary.BigEndian.AppendUint64(bytes.Clone(prefix), d.from.seq)); it.ValidForPrefix(prefix); it.Next() {
		if more, err := visit(it.Item()); !more || err != nil {
			return false, err
		}
	}
	return true, nil
}

// ordinals visits what a page, or a record that leads to some of its requests, has.
func (d *descent) ordinals(item *badger.Item) (more bool, err error) {
	records, err := d.page(seqOf(item))
	if records == nil || err != nil {
		return err == nil, err
	}
	ordinals, err := ordinalsOf(item, len(records))
	if err != nil {
		return false, err
	}
	for _, ordinal := range slices.Backward(ordinals) {
		if more, err := d.place(place{seqOf(item), ordinal}); !more || err != nil {
			return false, err
		}
	}
	return true, nil
}

// places visits places, which ascend.
func (d *descent) places(all []place) (more bool, err error) {
	for _, at := range slices.Backward(all) {
		if more, err := d.place(at); !more || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (d *descent) place(at place) (more bool, err error) {
	if at.seq > d.from.seq || at.seq == d.from.seq && at.ordinal >= d.from.ordinal {
		return true, nil
	}
	records, err := d.page(at.seq)
	if records == nil || err != nil {
		return err == nil, err
	}
	if at.ordinal >= len(records) {
		return false, pageError(at.seq, errPage)
	}
	d.from = at
	return d.visit(at, records[at.ordinal])
}

// page returns what is in a page; nil if it has expired a moment before its index.
func (d *descent) page(seq uint64) (records []pageRecord, err error) {
	if seq != d.seq {
		if d.records, err = d.log.readPage(d.txn, seq); errors.Is(err, storage.ErrNotFound) {
			err = nil
		}
		d.seq = seq
	}
	return d.records, err
}

// ordinalsOf are the requests that a key leads to, of a page with so many: all of them for the page itself.
func ordinalsOf(item *badger.Item, count int) (ordinals []int, err error) {
	if item.Key()[4] == logPage {
		for i := range count {
			ordinals = append(ordinals, i)
		}
		return ordinals, nil
	}
	err = item.Value(func(value []byte) error {
		ordinals, err = readOrdinals(value, count)
		return err
	})
	if err != nil {
		err = fmt.Errorf("index record %x: %w", item.Key(), err)
	}
	return ordinals, err
}

// eachPageBackward calls visit for every page, newest first, while it asks for more.
func (l *Log) eachPageBackward(txn *badger.Txn, visit func(seq uint64, item *badger.Item) (more bool, err error)) error {
	d := descent{from: newest}
	return l.eachPeriodBackward(txn, func(it *badger.Iterator, period uint32) (more bool, err error) {
		return d.under(it, appendLogKey(nil, period, logPage), func(item *badger.Item) (more bool, err error) { return visit(seqOf(item), item) })
	})
}

// recentRequests are the requests of the newest pages, at least so many if there are.
func (l *Log) recentRequests(txn *badger.Txn, enough int) (map[storage.RequestID]bool, error) {
	recent := map[storage.RequestID]bool{}
	err := l.eachPageBackward(txn, func(seq uint64, item *badger.Item) (more bool, err error) {
		head, err := l.head(item)
		for i := range head.count() {
			recent[head.id(i)] = true
		}
		if errors.Is(err, storage.ErrNotFound) {
			err = nil
		}
		return len(recent) < enough, err
	})
	return recent, err
}

// view runs a read of everything that was appended before it.
func (l *Log) view(read func(txn *badger.Txn) error) error {
	l.Flush()
	return l.read(read)
}

// read runs a read of what is written.
func (l *Log) read(read func(txn *badger.Txn) error) error {
	return l.config.givenUp.guard("reading the log", func() error {
		err := l.db.View(read)
		if errors.Is(err, badger.ErrDBClosed) {
			err = storage.ErrClosed
		}
		return err
	})
}

// readValue copies a value; ErrNotFound when the key is not there.
func readValue(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		err = storage.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return item.ValueCopy(nil)
}
