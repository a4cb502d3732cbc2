package badgerdb

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// TestLogFindByTime finds requests wherever their page is, by their id alone, before and after a restart.
func TestLogFindByTime(t *testing.T) {
	boundary := time.Now().Truncate(periodLength)
	for _, test := range []struct {
		name           string
		began, written time.Time
	}{
		{"at once", boundary.Add(time.Hour), boundary.Add(time.Hour)},
		{"seconds later", boundary.Add(time.Hour), boundary.Add(time.Hour + 40*time.Second)},
		{"at the end of the search", boundary.Add(time.Hour), boundary.Add(time.Hour + searchWindow)},
		{"over a period's end", boundary.Add(-time.Second), boundary.Add(10 * time.Second)},
		{"a stream of minutes", boundary.Add(time.Hour), boundary.Add(time.Hour + 20*time.Minute)},
		{"a stream over a period's end", boundary.Add(-10 * time.Minute), boundary.Add(10 * time.Minute)},
		{"found missing after days", boundary.Add(-50 * time.Hour), boundary},
		{"the clock went back", boundary.Add(time.Hour), boundary.Add(50 * time.Minute)},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, clock := t.TempDir(), startClock(test.began.Add(-time.Minute))
			l := openLog(t, clock.config(dir))
			clock.set(test.began)
			for i := range 100 { // others, in pages of their own
				l.Append(storage.LogRecord{Usage: usageAt(clock.now(), i, "other")})
				l.Flush()
				clock.set(clock.now().Add(test.written.Sub(test.began) / 100))
			}
			u := usageAt(test.began, 1000, "a")
			clock.set(test.written)
			l.Append(storage.LogRecord{Usage: u, Decision: []byte("why")})
			for range 2 {
				got, decision, err := l.Find("a", u.Request.String())
				if err != nil || got != u || string(decision) != "why" {
					t.Fatalf("got %+v, %q, %v", got, decision, err)
				}
				if _, _, err := l.Find("a", usageAt(test.began, 1000, "a").Request.String()); !errors.Is(err, storage.ErrNotFound) {
					t.Fatalf("a request that is not there gave %v", err)
				}
				l.Close()
				l = openLog(t, clock.config(dir))
			}
		})
	}
}

// TestLogSeqIncreases: pages keep their order while the clock stands still, goes back, and over restarts.
func TestLogSeqIncreases(t *testing.T) {
	now := time.Now()
	dir, clock := t.TempDir(), startClock(now)
	var want []string
	for run := range 3 {
		clock.set(now.Add(-time.Duration(run) * time.Hour))
		l := openLog(t, clock.config(dir))
		for i := range 20 {
			u := usageAt(clock.now(), i, "a")
			l.Append(storage.LogRecord{Usage: u})
			l.Flush()
			want = append([]string{u.Request.String()}, want...)
		}
		records, _, err := l.Usage("a", "", 100)
		if err != nil || len(records) != len(want) {
			t.Fatalf("%d records, %v", len(records), err)
		}
		for i, u := range records {
			if u.Request.String() != want[i] {
				t.Fatalf("record %d is out of order", i)
			}
		}
		l.Close()
	}
}

// TestLogFullPages: more requests than a page holds, of many accounts, come back once each.
func TestLogFullPages(t *testing.T) {
	l := openLog(t, Config{})
	const n = 5 * pageRequests / 2
	now := time.Now()
	for i := range n {
		l.Append(storage.LogRecord{Usage: usageAt(now, i, fmt.Sprint("account-", i%7)), Decision: binary.AppendUvarint(nil, uint64(i))})
	}
	total := 0
	for a := range 7 {
		records, next, err := l.Usage(fmt.Sprint("account-", a), "", n)
		if err != nil || next != "" {
			t.Fatalf("next %q, %v", next, err)
		}
		total += len(records)
		for _, u := range records {
			i := binary.BigEndian.Uint32(u.Request[6:])
			_, decision, err := l.Find(u.Account, u.Request.String())
			if err != nil || !bytes.Equal(decision, binary.AppendUvarint(nil, uint64(i))) || int(i%7) != a {
				t.Fatalf("request %d of account %d has decision %x, %v", i, a, decision, err)
			}
		}
	}
	if total != n || l.Dropped() != 0 {
		t.Fatalf("%d of %d requests, %d dropped", total, n, l.Dropped())
	}
}

// TestLogLargeRecords: a batch too large for one transaction is written in parts, and only a record that alone is too large
// is dropped.
func TestLogLargeRecords(t *testing.T) {
	l := openLog(t, Config{MemoryMB: 16})
	now := time.Now()
	for i := range 20 {
		decision := make([]byte, 60<<10)
		if i == 10 {
			decision = make([]byte, 2<<20)
		}
		rand.Read(decision)
		l.Append(storage.LogRecord{Usage: usageAt(now, i, "a"), Decision: decision})
	}
	records, _, err := l.Usage("a", "", 100)
	if err != nil || len(records) != 19 || l.Dropped() != 1 {
		t.Fatalf("%d records, %d dropped, %v", len(records), l.Dropped(), err)
	}
}

// TestLogDamagedPage: whatever bytes of a page or its record are lost or changed, reads that need it fail and name it, and others go on.
func TestLogDamagedPage(t *testing.T) {
	now := time.Now().Add(-time.Second)
	clock := startClock(now)
	l := openLog(t, clock.config(t.TempDir()))
	damaged, other := usageAt(now, 1, "a"), usageAt(now.Add(500*time.Millisecond), 2, "b")
	l.Append(storage.LogRecord{Usage: damaged, Decision: []byte("why")})
	l.Flush()
	seq := l.seq
	clock.set(now.Add(600 * time.Millisecond))
	l.Append(storage.LogRecord{Usage: other})
	l.Flush()
	var page []byte
	if err := l.db.View(func(txn *badger.Txn) (err error) { page, err = readValue(txn, appendPageKey(nil, seq)); return err }); err != nil {
		t.Fatal(err)
	}
	put := func(value []byte) {
		t.Helper()
		if err := l.db.Update(func(txn *badger.Txn) error { return txn.Set(appendPageKey(nil, seq), value) }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range page {
		flipped := bytes.Clone(page)
		flipped[i] ^= 0x10
		for _, value := range [][]byte{flipped, page[:i]} {
			put(value)
			for _, id := range []string{damaged.Request.String(), damaged.ClientID} {
				if got, _, err := l.Find("a", id); err == nil && got != damaged {
					t.Fatalf("damage at byte %d: found %+v", i, got)
				} else if err != nil && (!errors.Is(err, errPage) || !strings.Contains(err.Error(), fmt.Sprint("log page ", seq))) {
					t.Fatalf("damage at byte %d: %v", i, err)
				}
			}
		}
	}
	put(page)
	p, _ := decodeExtent(page)
	path := volumePath(l.volumes.dir, p.volume)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.length {
		flipped := bytes.Clone(content)
		flipped[p.offset+i] ^= 0x10
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.Find("a", damaged.Request.String()); !errors.Is(err, errPage) || !strings.Contains(err.Error(), fmt.Sprint("log page ", seq)) {
			t.Fatalf("damage at byte %d of the page: %v", i, err)
		}
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	put(page[:len(page)-1])
	if _, _, err := l.Usage("a", "", 10); !errors.Is(err, errPage) {
		t.Errorf("listing a damaged page gave %v", err)
	}
	if got, _, err := l.Find("b", other.Request.String()); err != nil || got != other {
		t.Errorf("a request of another page: %+v, %v", got, err)
	}
	if records, _, err := l.Usage("b", "", 10); err != nil || len(records) != 1 {
		t.Errorf("listing the other page gave %d records, %v", len(records), err)
	}
}

// FuzzReadPage feeds pages to the reader: it errs or returns as many records as the head says.
func FuzzReadPage(f *testing.F) {
	u := usageAt(time.Now(), 1, "acme")
	p := pageWriter{items: []*logItem{{record: storage.LogRecord{Usage: u, Decision: []byte("why")}}}}
	f.Add(p.encode(nil, 7))
	f.Fuzz(func(t *testing.T, value []byte) {
		head, err := readHead(value)
		if err != nil {
			return
		}
		if records, err := head.records(); err == nil && len(records) != head.count() {
			t.Fatalf("%d records of %d", len(records), head.count())
		}
		readOrdinals(value, head.count())
	})
}

// TestLogSchema: a log of a former layout begins anew with one warning, one of a later program is refused.
func TestLogSchema(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	setSchema := func(version uint32) {
		t.Helper()
		err := l.db.Update(func(txn *badger.Txn) error {
			return errors.Join(
				txn.Set([]byte{0, 0, 0, 0, keySchema}, binary.BigEndian.AppendUint32(nil, version)),
				txn.Set(append(appendLogKey(nil, 5, 'u'), make([]byte, idSize)...), []byte("a former record")))
		})
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	setSchema(3)
	var warnings strings.Builder
	logger := slog.New(slog.NewTextHandler(&warnings, &slog.HandlerOptions{Level: slog.LevelWarn}))
	l = openLog(t, Config{Dir: dir, Logger: logger})
	if n := strings.Count(warnings.String(), "\n"); n != 1 || !strings.Contains(warnings.String(), "begins anew") {
		t.Errorf("the warnings are %q", warnings.String())
	}
	u := usageAt(time.Now(), 1, "a")
	l.Append(storage.LogRecord{Usage: u})
	l.Close()
	l = openLog(t, Config{Dir: dir})
	if _, _, err := l.Find("a", u.Request.String()); err != nil || len(l.known()) != 1 {
		t.Errorf("after that: periods %v, %v", l.known(), err)
	}
	setSchema(logSchema + 1)
	if _, err := OpenLog(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("schema %d, this program knows %d", logSchema+1, logSchema)) {
		t.Errorf("a later log gave %v", err)
	}
}
