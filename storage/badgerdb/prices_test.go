package badgerdb

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// TestPrices: a price is found by its version as long as there is a log, also when everything of its time has been dropped.
func TestPrices(t *testing.T) {
	clock := startClock(time.Now())
	dir := t.TempDir()
	l := openLog(t, clock.config(dir))
	want := bytes.Repeat([]byte(`{"in":"1.5"}`), 20)
	given := bytes.Clone(want)
	l.AppendPrice("0123456789abcdef", given)
	clear(given) // it is copied
	l.AppendPrice("fedcba9876543210", []byte("{}"))
	l.Append(storage.LogRecord{Usage: usageAt(clock.now(), 1, "a")})
	l.Flush()
	clock.set(clock.now().Add(1000 * time.Hour))
	l.tidy()
	for range 2 {
		if got, err := l.Price("0123456789abcdef"); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q, %v", got, err)
		}
		for _, version := range []string{"", "0123456789abcde", "0123456789abcdef0"} {
			if _, err := l.Price(version); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("version %q: %v", version, err)
			}
		}
		l.Close()
		l = openLog(t, clock.config(dir))
	}
	if len(l.known()) != 0 {
		t.Errorf("periods %v", l.known())
	}
}

// TestRecordSize: what is kept of a request takes 400 bytes with its decision and its indexes, of whatever price.
func TestRecordSize(t *testing.T) {
	const n, most = 20_000, 400
	l := openLog(t, Config{})
	versions := make([]string, 200)
	for i := range versions {
		versions[i] = fmt.Sprintf("%016x", rand.Uint64())
	}
	for i := range n {
		r := loadRecord(i, fmt.Sprintf("account-%05d", rand.IntN(1000)), true)
		r.Usage.PriceVersion = versions[rand.IntN(len(versions))]
		r.Usage.CacheWrite, r.Usage.CacheWrite1h = rand.Int64N(5000), rand.Int64N(2000)
		r.Usage.ListedUSD = r.Usage.CostUSD + storage.NanoUSD(rand.Int64N(1000))
		r.Usage.ReportedUSD = r.Usage.CostUSD
		l.Append(r)
		if i%pageRequests == 0 {
			l.Flush()
		}
	}
	l.Flush()
	if l.Dropped() != 0 {
		t.Fatalf("%d dropped", l.Dropped())
	}
	l.Close()
	if size := l.Size() / n; size > most {
		t.Errorf("a request takes %d bytes", size)
	} else {
		t.Logf("a request takes %d bytes", size)
	}
}
