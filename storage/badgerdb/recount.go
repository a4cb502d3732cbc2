package badgerdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// Recount makes the sums of every minute again from its pages, of every hour from its minutes and of every day from its hours, as
// far as those are kept whole, and compares them with what is stored. It returns how many differ, telling each; unless check is
// set they are replaced. It needs the log of a stopped gateway. Errors: those of [OpenLog]; a damaged page is named.
func Recount(config Config, check bool, tell func(format string, args ...any)) (differ int, err error) {
	config.DropNothing = true
	l, err := OpenLog(config)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	l.Flush() // it takes up what the last run had under way
	c := recounting{Log: l, check: check, tell: tell}
	err = guard("recounting", func() error {
		for r := range resolutions {
			if err := c.all(r); err != nil {
				return err
			}
		}
		return nil
	})
	return c.differ, err
}

type recounting struct {
	*Log
	check  bool
	tell   func(format string, args ...any)
	differ int
}

// all compares everything of a resolution whose source is kept whole.
func (c *recounting) all(r resolution) error {
	end := c.folding.start[r]
	var from uint32 // where both begin to be whole, by what is to be kept and what is there
	if r == minutes {
		from = max(minuteAt(c.config.Clock().Add(-c.config.Retain))+1, c.oldest(r))
		if known := c.known(); len(known) > 0 {
			from = max(from, minuteOf(uint64(known[0])*uint64(periodLength.Microseconds())))
		}
		if first, ok := c.firstKept(r); ok {
			from = max(from, first)
		}
	} else {
		first, ok := c.firstKept(r - 1)
		if !ok {
			return nil
		}
		from = r.floor(max(first, c.oldest(r-1))) + r.length()
	}
	return c.read(func(txn *badger.Txn) error {
		starts := map[uint32]bool{}
		note := func(start uint32, _ []byte) error { starts[r.floor(start)] = true; return nil }
		err := c.eachChunk(txn, r, viewAll, from, end, note)
		switch {
		case err != nil:
		case r > minutes:
			err = c.eachChunk(txn, r-1, viewAll, from, end, note)
		default:
			err = c.eachPageForward(txn, uint64(from)*uint64(time.Minute.Microseconds()), func(seq uint64, _ *pageHead) (more bool, err error) {
				more = minuteOf(seq) < end
				starts[minuteOf(seq)] = starts[minuteOf(seq)] || more
				return more, nil
			})
		}
		for start, wanted := range starts {
			if err == nil && wanted {
				err = c.one(txn, r, start)
			}
		}
		return err
	})
}

// one compares a minute, an hour or a day.
func (c *recounting) one(txn *badger.Txn, r resolution, start uint32) error {
	fresh := newTally()
	var err error
	if r == minutes {
		err = c.eachPageForward(txn, uint64(start)*uint64(time.Minute.Microseconds()), func(seq uint64, head *pageHead) (more bool, err error) {
			if minuteOf(seq) > start {
				return false, nil
			}
			usages, err := head.usages()
			if err != nil {
				return false, pageError(seq, err)
			}
			for i := range usages {
				fresh.of(usages[i].Values()).Count(&usages[i])
			}
			return true, nil
		})
	} else {
		err = c.eachChunk(txn, r-1, viewAll, start, start+r.length(), func(_ uint32, value []byte) error { return c.folding.chunk.addTo(fresh, value) })
	}
	if err != nil {
		return err
	}
	for _, v := range r.views() {
		if err := c.compare(txn, r, v, start, fresh.seen(v).chunks()); err != nil {
			return err
		}
	}
	return nil
}

// compare compares what is stored in one view.
func (c *recounting) compare(txn *badger.Txn, r resolution, v view, start uint32, chunks [][]byte) error {
	var stored [][]byte
	err := c.eachChunk(txn, r, v, start, start+1, func(_ uint32, value []byte) error {
		stored = append(stored, bytes.Clone(value))
		return nil
	})
	if err != nil || slices.EqualFunc(chunks, stored, bytes.Equal) {
		return err
	}
	c.differ++
	c.tell("%s from %s: %s stored, %s by a recount", [...]string{"minute", "hour", "day"}[r], timeOf(start).Format(time.RFC3339),
		c.describe(stored), c.describe(chunks))
	if c.check {
		return nil
	}
	key := func(i int) []byte {
		return binary.BigEndian.AppendUint16(appendSumsPrefix(nil, r, v, start), uint16(i))
	}
	for i := range max(len(chunks), len(stored)) {
		err := c.db.Update(func(txn *badger.Txn) error {
			if i < len(chunks) {
				return txn.Set(key(i), chunks[i])
			}
			return txn.Delete(key(i))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// describe sums up chunks for people.
func (c *recounting) describe(chunks [][]byte) string {
	t := newTally()
	for _, chunk := range chunks {
		if err := c.folding.chunk.addTo(t, chunk); err != nil {
			return "unreadable sums"
		}
	}
	var all storage.Sums
	for _, sums := range t.groups {
		all.Merge(sums)
	}
	return fmt.Sprintf("%d requests and %s credits", all.Of[storage.SumRequests], storage.Credits(all.Of[storage.SumCredits]))
}
