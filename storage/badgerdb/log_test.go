package badgerdb

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

func openLog(t testing.TB, config Config) *Log {
	t.Helper()
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	l, err := OpenLog(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// usageAt is a typical record of a request at that time.
func usageAt(at time.Time, n int, account string) storage.Usage {
	id := storagetest.NewRequest()
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(id[:6], ms[2:])
	binary.BigEndian.PutUint32(id[6:], uint32(n)) // the order within a millisecond
	return storage.Usage{
		Request: id, ClientID: fmt.Sprintf("client-%d", n), Account: account, Key: "key_0123456789abcdef",
		Model: "gpt-4o-mini", Provider: "openai", PowerLevel: "balanced", Policy: "balanced", Endpoint: "chat",
		Stream: true, Outcome: storage.OutcomeOK, Status: 200, Attempts: 1, InputTokens: 812, OutputTokens: 317,
		CachedTokens: 512, CacheWrite: 128, Credits: 2_415, CostUSD: 312_000, ListedUSD: 312_000, SavedUSD: 95_000, PriceVersion: "0123456789abcdef", TTFT: 412 * time.Millisecond,
		Latency: 3127 * time.Millisecond, Overhead: 61 * time.Microsecond,
	}
}

func TestUsageEncoding(t *testing.T) {
	typical := usageAt(time.Now(), 1, "acme-production")
	odd := storage.Usage{
		Request: typical.Request, Key: "key_0123456789ABCDEF", Outcome: "other", Account: "a", Team: "t", BYOK: true, Simulated: true,
		Estimated: true, Status: -1, Credits: math.MinInt64, CostUSD: math.MaxInt64, Latency: -1, ErrorCode: strings.Repeat("x", 300),
		Suspect: true, ServiceTier: "flex", PriceVersion: "x", ListedUSD: -1, ReportedUSD: math.MinInt64, CacheWrite: 1, CacheWrite1h: 2, CacheWrite12h: 3,
		AudioInput: 4, ImageInput: 5, AudioOutput: 6, ImageOutput: 7,
	}
	for _, u := range []storage.Usage{typical, odd, {Request: typical.Request}} {
		b := AppendUsage(nil, &u)
		back, err := DecodeUsage(u.Request, b)
		if err != nil || back != u {
			t.Errorf("round trip of %+v gave %+v, %v", u, back, err)
		}
		for n := range b {
			if _, err := DecodeUsage(u.Request, b[:n]); err == nil {
				t.Errorf("%d of %d bytes decode", n, len(b))
			}
		}
	}
	if n := len(AppendUsage(nil, &typical)); n > 160 {
		t.Errorf("a typical record takes %d bytes", n)
	}
}

func FuzzDecodeUsage(f *testing.F) {
	u := usageAt(time.Now(), 1, "acme")
	f.Add(AppendUsage(nil, &u))
	f.Add([]byte{usageVersion, 0xff, 0, 200})
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := DecodeUsage(storage.RequestID{}, b)
		if err != nil {
			return
		}
		if back, err := DecodeUsage(storage.RequestID{}, AppendUsage(nil, &u)); err != nil || back != u {
			t.Fatalf("%+v came back as %+v, %v", u, back, err)
		}
	})
}

// logClock is a clock that tests set.
type logClock struct{ at atomic.Int64 }

func (c *logClock) now() time.Time           { return time.UnixMicro(c.at.Load()) }
func (c *logClock) set(t time.Time)          { c.at.Store(t.UnixMicro()) }
func (c *logClock) config(dir string) Config { return Config{Dir: dir, Clock: c.now} }

func startClock(t time.Time) *logClock {
	clock := new(logClock)
	clock.set(t)
	return clock
}

// TestLogUsage lists requests of twelve periods, some of them in one page, in pages of all sizes and over a restart.
func TestLogUsage(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	clock := startClock(now)
	l := openLog(t, clock.config(dir))
	var want, wantA []string
	for i := range 50 {
		at := now.Add(time.Duration(i-50) * 90 * time.Minute)
		clock.set(at)
		u := usageAt(at, i, []string{"a", "b"}[i%2])
		l.Append(storage.LogRecord{Usage: u})
		if i%3 > 0 {
			l.Flush()
		}
		want = append(want, u.Request.String())
		if u.Account == "a" {
			wantA = append(wantA, u.Request.String())
		}
	}
	slices.Reverse(want)
	slices.Reverse(wantA)
	for account, want := range map[string][]string{"": want, "a": wantA, "nobody": nil} {
		for _, limit := range []int{1, 7, 25, 100} {
			var got []string
			for cursor := ""; ; {
				page, next, err := l.Usage(account, cursor, limit)
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range page {
					got = append(got, u.Request.String())
				}
				if cursor = next; cursor == "" {
					break
				}
				if limit == 25 { // a cursor outlives the process
					l.Close()
					l = openLog(t, clock.config(dir))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("account %q in pages of %d: got %d records %v, want %v", account, limit, len(got), got, want)
			}
		}
	}
	for _, cursor := range []string{"zz", "00", strings.Repeat("0", 32)} {
		if _, _, err := l.Usage("", cursor, 1); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("cursor %q gave %v", cursor, err)
		}
	}
}

func TestLogFind(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	now := time.Now()
	old, recent, other := usageAt(now.Add(-24*time.Hour), 1, "a"), usageAt(now, 1, "a"), usageAt(now.Add(time.Second), 1, "b")
	for _, u := range []storage.Usage{old, recent, other} {
		l.Append(storage.LogRecord{Usage: u, Decision: []byte(u.Account)})
	}
	find := func(account, id string, want *storage.Usage) {
		t.Helper()
		got, decision, err := l.Find(account, id)
		switch {
		case want == nil && !errors.Is(err, storage.ErrNotFound):
			t.Errorf("finding %q of %q gave %+v, %v", id, account, got, err)
		case want != nil && (err != nil || got != *want || string(decision) != want.Account):
			t.Errorf("finding %q of %q gave %+v, %q, %v", id, account, got, decision, err)
		}
	}
	check := func() {
		t.Helper()
		find("a", old.Request.String(), &old)
		find("", old.Request.String(), &old)
		find("b", old.Request.String(), nil)
		find("a", "client-1", &recent)
		find("b", "client-1", &other)
		find("", "client-1", &other)
		find("c", "client-1", nil)
		find("a", "client-2", nil)
		find("a", "", nil)
	}
	check()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, Config{Dir: dir})
	check()
}

func TestLogGenerations(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	l := openLog(t, Config{Dir: dir, Clock: func() time.Time { return now }})
	for g := uint64(1); g <= 20; g++ {
		l.AppendGeneration(g, fmt.Append(nil, "g", g))
		l.Flush()
		now = now.Add(time.Hour)
	}
	var got []uint64
	err := l.WalkGenerations(5, 12, func(g uint64, data []byte) error {
		if string(data) != fmt.Sprint("g", g) {
			t.Errorf("generation %d is %q", g, data)
		}
		got = append(got, g)
		return nil
	})
	if err != nil || !slices.Equal(got, []uint64{5, 6, 7, 8, 9, 10, 11, 12}) {
		t.Fatalf("walked %v, %v", got, err)
	}
	if data, err := l.Generation(20); err != nil || string(data) != "g20" {
		t.Fatalf("generation 20 is %q, %v", data, err)
	}
	if _, err := l.Generation(21); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("generation 21 gave %v", err)
	}
	if last, err := l.LastGeneration(); err != nil || last != 20 {
		t.Fatalf("the last is %d, %v", last, err)
	}
}

// TestLogRetention: records leave by age and by size, with their indexes, oldest first.
func TestLogRetention(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	clock := startClock(now.Add(-60 * time.Hour))
	l := openLog(t, clock.config(dir))
	old, mid := usageAt(now.Add(-60*time.Hour), 1, "a"), usageAt(now.Add(-30*time.Hour), 2, "a")
	l.Append(storage.LogRecord{Usage: old})
	l.Flush()
	clock.set(now.Add(-30 * time.Hour))
	for i := range 20_000 {
		decision := make([]byte, 200)
		rand.Read(decision)
		l.Append(storage.LogRecord{Usage: usageAt(now.Add(-30*time.Hour), 10+i, "a"), Decision: decision})
		if i%4096 == 0 {
			l.Flush()
		}
	}
	l.Append(storage.LogRecord{Usage: mid})
	l.Flush()
	clock.set(now)
	recent := usageAt(now, 3, "a")
	l.Append(storage.LogRecord{Usage: recent})
	l.Close()
	if l.Dropped() != 0 {
		t.Fatalf("%d records dropped", l.Dropped())
	}

	has := func(u storage.Usage) bool {
		_, _, err := l.Find("a", u.ClientID)
		return err == nil
	}
	l = openLog(t, Config{Dir: dir, Retain: 48 * time.Hour})
	l.Flush()
	if has(old) || !has(mid) || !has(recent) {
		t.Fatal("by age, the oldest record alone must be gone")
	}
	l.Close()
	l = openLog(t, Config{Dir: dir, MaxLogMB: 1})
	l.Flush()
	if has(mid) || !has(recent) {
		t.Fatal("by size, the older period must be gone")
	}
	if paths := logVolumePaths(t, dir); len(paths) != 1 {
		t.Fatalf("the volumes are %v", paths)
	}
	if size := l.Size(); size > 1<<20 {
		t.Fatalf("the log still takes %d bytes", size)
	}
	if records, _, err := l.Usage("", "", 10); err != nil || len(records) != 1 {
		t.Fatalf("%d records are left, %v", len(records), err)
	}
}

// TestLogConcurrent appends from many goroutines while others read, then closes: nothing queued is lost.
func TestLogConcurrent(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				u := usageAt(time.Now(), w*1000+i, "a")
				l.Append(storage.LogRecord{Usage: u})
				if i%100 == 0 {
					if _, _, err := l.Find("a", u.Request.String()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	l.Close()
	l.Append(storage.LogRecord{Usage: usageAt(time.Now(), 0, "a")})
	if l.Dropped() != 1 {
		t.Errorf("%d records dropped", l.Dropped())
	}
	if _, _, err := l.Usage("", "", 1); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("reading a closed log gave %v", err)
	}
	l = openLog(t, Config{Dir: dir})
	records, _, err := l.Usage("a", "", 5000)
	if err != nil || len(records) != 4000 {
		t.Fatalf("%d records, %v", len(records), err)
	}
}
