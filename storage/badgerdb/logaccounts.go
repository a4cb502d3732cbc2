package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/fields"
)

// The requests of an account are found by an index that is gathered in memory, for a minute at most, and then has one record of each account. A record in each
// page for each of its accounts, as schema 5 had it, is one of each request where thousands of accounts ask, and a record takes Badger 5 µs of a processor.
//
//	key    period b account S seq(8) of the first page in it
//	value  of each request, in their order: uvarint steps of seq from the page of the one before, uvarint ordinal in its page
//
// A period's record of its own says how far the index is, by pages; a start gathers again what is in the pages behind that.

const (
	logAccount     = 'b'
	logAccountPage = 'a'      // of schema 5: index of a page, ordinals of the account's requests in the page at seq
	mostGathered   = 96 << 10 // bytes; a value must be less than 256 KiB at the smallest memory setting
)

// logIndexedKey is the key of the seq of the last page that the index on disk has.
var logIndexedKey = appendLogKey(nil, 0, logAccount)

// accountIndex is what is gathered of the index.
type accountIndex struct {
	requests map[string]*gathered
	size     int    // bytes of all lists
	most     int    // beyond which it is written
	last     uint64 // page in it
	through  uint64 // last page on disk
}

// gathered are the requests of an account.
type gathered struct {
	first, last uint64 // pages
	list        []byte // as in a record's value
}

func newAccountIndex(through uint64) accountIndex {
	return accountIndex{requests: map[string]*gathered{}, most: mostGathered, last: through, through: through}
}

// add adds a request of the newest page.
func (x *accountIndex) add(account string, seq uint64, ordinal int) {
	if seq <= x.through {
		return
	}
	g := x.requests[account]
	if g == nil {
		g = &gathered{first: seq, last: seq}
		x.requests[account] = g
	}
	before := len(g.list)
	g.list = binary.AppendUvarint(binary.AppendUvarint(g.list, seq-g.last), uint64(ordinal))
	g.last, x.last = seq, seq
	x.size += len(g.list) - before
}

// places are where the requests of an account's record, or of what is gathered, are.
func places(first uint64, list []byte) (all []place, err error) {
	r := fields.Reader{Rest: list}
	for at := (place{seq: first}); len(r.Rest) > 0; all = append(all, at) {
		at.seq += r.Uvarint()
		at.ordinal = int(min(r.Uvarint(), pageRequests))
		if r.Bad() || at.ordinal == pageRequests {
			return nil, fields.ErrEncoding
		}
	}
	return all, nil
}

// putAccounts writes what is gathered, and how far the index is then. False: it could not be written before the log was closed.
func (l *Log) putAccounts() bool {
	x := &l.folding.accounts
	if len(x.requests) == 0 {
		return true
	}
	expires := uint64(l.config.Clock().Add(l.config.Retain).Unix())
	ok := l.insist("writing the index of accounts", func() error {
		txn := l.db.NewTransaction(true)
		defer func() { txn.Discard() }()
		put := func(e *badger.Entry) error {
			err := txn.SetEntry(e)
			if !errors.Is(err, badger.ErrTxnTooBig) {
				return err
			}
			if err := txn.Commit(); err != nil { // one after the other: after one that fails there must be none under way
				return err
			}
			txn = l.db.NewTransaction(true)
			return txn.SetEntry(e)
		}
		for _, account := range slices.Sorted(maps.Keys(x.requests)) {
			g := x.requests[account]
			key := binary.BigEndian.AppendUint64(appendAccountPrefix(nil, periodOf(g.first), logAccount, account), g.first)
			if err := put(&badger.Entry{Key: key, Value: g.list, ExpiresAt: expires}); err != nil {
				return err
			}
		}
		if err := put(&badger.Entry{Key: logIndexedKey, Value: binary.BigEndian.AppendUint64(nil, x.last)}); err != nil {
			return err
		}
		return txn.Commit()
	})
	if ok {
		l.folding.mu.Lock()
		defer l.folding.mu.Unlock()
		x.requests, x.size, x.through = map[string]*gathered{}, 0, x.last
	}
	return ok
}

// loadIndexed reads how far the index is.
func (l *Log) loadIndexed(txn *badger.Txn) error {
	value, err := readValue(txn, logIndexedKey)
	if errors.Is(err, storage.ErrNotFound) {
		value, err = make([]byte, 8), nil
	}
	if err == nil && len(value) != 8 {
		err = fmt.Errorf("record of the index of accounts: %w", fields.ErrEncoding)
	}
	if err == nil {
		l.folding.accounts = newAccountIndex(binary.BigEndian.Uint64(value))
	}
	return err
}

// gather adds to the index what is in the pages behind it; it is for a log without a writer.
func (l *Log) gather(txn *badger.Txn) error {
	x := &l.folding.accounts
	return l.eachPageForward(txn, x.through+1, func(seq uint64, head *pageHead) (more bool, err error) {
		usages, err := head.usages()
		if err != nil {
			l.config.Logger.Warn("the requests of a damaged page are in no index", "cause", pageError(seq, err))
			return true, nil
		}
		for i := range usages {
			x.add(usages[i].Account, seq, i)
		}
		return true, nil
	})
}

// gatheredOf is what is gathered of an account. It is to be asked before a transaction begins to read: what is on its way to the disk is then in one of both at least.
func (l *Log) gatheredOf(account string) (all []place) {
	f := &l.folding
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.accounts.requests[account]; g != nil {
		all, _ = places(g.first, g.list) // it is our own
	}
	return all
}

// eachOf calls visit for the requests of an account that were logged before a place, newest first, while it asks for more. recent is what was gathered of it.
func (l *Log) eachOf(txn *badger.Txn, account string, recent []place, from place, visit func(at place, r pageRecord) (more bool, err error)) error {
	d := descent{log: l, txn: txn, from: from, visit: visit}
	if more, err := d.places(recent); !more || err != nil {
		return err
	}
	return l.eachPeriodBackward(txn, func(it *badger.Iterator, period uint32) (more bool, err error) {
		more, err = d.under(it, appendAccountPrefix(nil, period, logAccount, account), func(item *badger.Item) (more bool, err error) {
			var all []place
			err = item.Value(func(value []byte) error {
				all, err = places(seqOf(item), value)
				return err
			})
			if err != nil {
				return false, fmt.Errorf("index record %x: %w", item.Key(), err)
			}
			return d.places(all)
		})
		if more && err == nil {
			more, err = d.under(it, appendAccountPrefix(nil, period, logAccountPage, account), d.ordinals)
		}
		return more, err
	})
}

func appendAccountPrefix(b []byte, period uint32, kind byte, account string) []byte {
	return append(append(appendLogKey(b, period, kind), account...), 0)
}
