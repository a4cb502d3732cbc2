package badgerdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// diary is a log with what it should say of each account, newest first.
type diary struct {
	log   *Log
	clock *logClock
	n     int
	said  map[string][]storage.Usage
}

// write logs some requests of some accounts, in pages of some milliseconds to seconds.
func (d *diary) write(pages int) {
	for range pages {
		for range 1 + rand.IntN(8) {
			d.n++
			u := usageAt(d.clock.now(), d.n, fmt.Sprint("account-", rand.IntN(12)))
			d.log.Append(storage.LogRecord{Usage: u})
			d.said[u.Account] = append([]storage.Usage{u}, d.said[u.Account]...)
		}
		d.log.Flush()
		d.clock.set(d.clock.now().Add(time.Duration(1+rand.IntN(4000)) * time.Millisecond))
	}
}

// check reads what each account has, in parts of some size.
func (d *diary) check(t *testing.T, l *Log) {
	t.Helper()
	for account, want := range d.said {
		var got []storage.Usage
		limit := 1 + rand.IntN(len(want)+1)
		for cursor := ""; ; {
			records, next, err := l.Usage(account, cursor, limit)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, records...)
			if cursor = next; next == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s has %d requests, in parts of %d, not the %d that it had", account, len(got), limit, len(want))
		}
	}
}

func (d *diary) open(t *testing.T, dir string) {
	d.log = openLog(t, d.clock.config(dir))
	d.log.Flush() // what the last run gathered is gathered again
	d.log.folding.accounts.most = 1 + rand.IntN(300)
}

// killedLog is what a log that works would leave behind now: a copy in the middle of which no table came or went.
func killedLog(t *testing.T, dir string) string {
	t.Helper()
	for {
		killed := t.TempDir()
		manifest := filepath.Join("log", badger.ManifestFilename)
		before, err := os.ReadFile(filepath.Join(dir, manifest))
		if err == nil {
			err = os.CopyFS(killed, os.DirFS(dir))
		}
		after, readErr := os.ReadFile(filepath.Join(dir, manifest))
		switch {
		case err == nil && readErr == nil && bytes.Equal(before, after):
			return killed
		case err != nil && !errors.Is(err, fs.ErrNotExist), readErr != nil:
			t.Fatal(err, readErr)
		}
	}
}

// TestLogAccounts: every request is found once under its account and in its order, whether the index of it is on disk, in memory or both, over
// minutes and periods, ends and kills, and in copies.
func TestLogAccounts(t *testing.T) {
	d := &diary{clock: startClock(time.Now().Truncate(periodLength).Add(-10 * time.Minute)), said: map[string][]storage.Usage{}}
	dir := t.TempDir()
	d.open(t, dir)
	for run := range 12 {
		d.write(30)
		d.check(t, d.log)
		killed := killedLog(t, dir)
		if err := d.log.Close(); err != nil {
			t.Fatal(err)
		}
		copied, err := OpenLogCopy(dir)
		if err != nil {
			t.Fatal(err)
		}
		d.check(t, copied)
		copied.Close()
		if run%2 == 0 {
			dir = killed
		}
		d.open(t, dir)
		d.check(t, d.log)
	}
}

// TestLogAccountRecords: thousands of accounts that ask now and then have a record each for many of their requests.
func TestLogAccountRecords(t *testing.T) {
	clock := startClock(time.Now())
	l := openLog(t, clock.config(t.TempDir()))
	const requests, accounts = 40_000, 500
	for i := range requests {
		l.Append(storage.LogRecord{Usage: usageAt(clock.now(), i, fmt.Sprint("account-", rand.IntN(accounts)))})
		if i%100 == 99 {
			l.Flush()
			clock.set(clock.now().Add(20 * time.Millisecond))
		}
	}
	l.Flush()
	records := 0
	err := l.read(func(txn *badger.Txn) error {
		for _, period := range l.known() {
			if err := eachKey(txn, appendLogKey(nil, period, logAccount), func([]byte, *badger.Item) error { records++; return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || records == 0 || records > requests/10 {
		t.Errorf("%d records for %d requests, %v", records, requests, err)
	}
}

// TestLogFormerIndex: a log of schema 5, whose pages have index records each, is taken over; its requests are found once, also those of the minute that
// was under way, and those that came after.
func TestLogFormerIndex(t *testing.T) {
	d := &diary{clock: startClock(time.Now()), said: map[string][]storage.Usage{}}
	dir := t.TempDir()
	d.open(t, dir)
	d.write(40)
	d.log.folding.accounts.most = mostGathered // nothing more is written
	former := map[string][]byte{}
	err := d.log.read(func(txn *badger.Txn) error {
		return d.log.eachPageForward(txn, 0, func(seq uint64, head *pageHead) (more bool, err error) {
			usages, err := head.usages()
			for i := range usages {
				key := string(binary.BigEndian.AppendUint64(appendAccountPrefix(nil, periodOf(seq), logAccountPage, usages[i].Account), seq))
				former[key] = binary.AppendUvarint(former[key], uint64(i))
			}
			return true, err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	var obsolete [][]byte
	if err := d.log.db.Update(func(txn *badger.Txn) error {
		err := eachKey(txn, nil, func(key []byte, _ *badger.Item) error {
			if key[4] == logAccount {
				obsolete = append(obsolete, bytes.Clone(key))
			}
			return nil
		})
		for _, key := range obsolete {
			err = errors.Join(err, txn.Delete(key))
		}
		return errors.Join(err, setAll(txn, former), txn.Set(logSchemaKey, schemaValue(5)))
	}); err != nil {
		t.Fatal(err)
	}
	d.log.Close()
	copied, err := OpenLogCopy(dir)
	if err != nil {
		t.Fatal(err)
	}
	d.check(t, copied)
	copied.Close()
	for range 3 {
		d.open(t, dir)
		d.check(t, d.log)
		d.write(10)
		d.check(t, d.log)
		d.log.Close()
	}
}

func TestPlacesDamaged(t *testing.T) {
	x := newAccountIndex(0)
	for i := range 20 {
		x.add("a", uint64(1_000_000+i/3*20_000), i)
	}
	g := x.requests["a"]
	all, err := places(g.first, g.list)
	if err != nil || len(all) != 20 || all[19] != (place{1_120_000, 19}) {
		t.Fatalf("%v, %v", all, err)
	}
	if _, err := places(g.first, g.list[:len(g.list)-1]); err == nil {
		t.Error("a list that ends in the midst is read")
	}
	if _, err := places(1, binary.AppendUvarint([]byte{0}, pageRequests)); err == nil {
		t.Error("an ordinal that no page has is read")
	}
}
