package badgerdb

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// TestWalkRecords: every request of a time is visited, of the log itself and of a copy that changes nothing.
func TestWalkRecords(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	start := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	var ids []storage.RequestID
	for n := range 2000 {
		u := usageAt(start.Add(time.Duration(n)*time.Second), n, "a")
		ids = append(ids, u.Request)
		l.Append(storage.LogRecord{Usage: u, Decision: []byte{byte(n), byte(n >> 8)}})
	}
	check := func(what string, l *Log, from, until time.Time, want []storage.RequestID) {
		t.Helper()
		var got []storage.RequestID
		damaged, err := l.WalkRecords(from, until, func(r *storage.LogRecord) error {
			n := slices.Index(ids, r.Usage.Request)
			if n < 0 || r.Usage.Account != "a" || len(r.Decision) != 2 || int(r.Decision[0])|int(r.Decision[1])<<8 != n {
				t.Errorf("%s: request %s, record %d: %+v", what, r.Usage.Request, n, r)
			}
			got = append(got, r.Usage.Request)
			return nil
		})
		slices.SortFunc(got, func(a, b storage.RequestID) int { return slices.Compare(a[:], b[:]) })
		if err != nil || damaged != 0 || !slices.Equal(got, want) {
			t.Errorf("%s: %d records of %d, %d damaged, %v", what, len(got), len(want), damaged, err)
		}
	}
	check("all", l, time.Time{}, time.Now(), ids)
	check("a part", l, start.Add(100*time.Second), start.Add(300*time.Second), ids[100:300])
	stop := errors.New("enough")
	if _, err := l.WalkRecords(time.Time{}, time.Now(), func(*storage.LogRecord) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("visit's error: %v", err)
	}

	if _, err := OpenLogCopy(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("a copy of a log in use: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := OpenLogCopy(dir)
	if err != nil {
		t.Fatal(err)
	}
	check("a copy", c, time.Time{}, time.Now(), ids)
	c.Append(storage.LogRecord{Usage: usageAt(time.Now(), 1, "b")})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	check("afterwards", openLog(t, Config{Dir: dir}), time.Time{}, time.Now(), ids)
	if _, err := OpenLogCopy(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no log: %v", err)
	}
}
