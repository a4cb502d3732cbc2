package badgerdb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// TestForward reads on from place to place, over restarts, and gets every request once in the order of the log. What retention takes
// in between is counted.
func TestForward(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	clock := startClock(now.Add(-100 * time.Hour))
	config := clock.config(dir)
	config.Retain = 200 * time.Hour
	l := openLog(t, config)
	var want []storage.RequestID
	for n := range 300 {
		u := usageAt(clock.now(), n, "a")
		want = append(want, u.Request)
		l.Append(storage.LogRecord{Usage: u})
		if n%7 == 0 {
			l.Flush()
			clock.set(clock.now().Add(20 * time.Second))
		}
	}
	var got []storage.RequestID
	place := storage.Place{}
	for {
		records, next, missed, err := l.Forward(place, time.Time{}, 1+rand.IntN(20))
		if err != nil || missed != 0 || next.Count != uint64(len(got)+len(records)) {
			t.Fatalf("%d missed, then at %+v, %v", missed, next, err)
		}
		if place = next; len(records) == 0 {
			break
		}
		for _, u := range records {
			got = append(got, u.Request)
		}
		if rand.IntN(10) == 0 {
			l.Close()
			l = openLog(t, config)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %d requests of %d, or in another order", len(got), len(want))
	}
	if l.End() != place {
		t.Errorf("the end is %+v, reading ended at %+v", l.End(), place)
	}

	until := now.Add(-100*time.Hour + time.Minute)
	if early, _, _, err := l.Forward(storage.Place{}, until, 1000); err != nil || len(early) != 15 {
		t.Errorf("%d requests in the first minute, %v", len(early), err)
	}
	_, middle, _, err := l.Forward(storage.Place{}, time.Time{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	clock.set(now)
	l.Close()
	config.Retain = 48 * time.Hour
	l = openLog(t, config)
	l.Append(storage.LogRecord{Usage: usageAt(now, 1000, "a")})
	l.Close()
	l = openLog(t, config) // which drops everything but the last
	records, next, missed, err := l.Forward(middle, time.Time{}, 10)
	if err != nil || len(records) != 1 || missed != 200 || next.Count != 301 {
		t.Errorf("%d records, %d missed, then at %+v, %v", len(records), missed, next, err)
	}
}

func TestAlertsAndMarks(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	if _, err := l.Mark("x"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a mark that is not there gave %v", err)
	}
	tier := uint8(3)
	for i := range 10 {
		l.Alert(storage.Alert{Cap: storage.Cap{Spender: "a:acme", Budget: storage.Budget{Tier: &tier, Period: storage.PeriodMonth}}, Percent: i})
		if i%4 == 0 {
			l.Flush()
		}
		if err := l.SaveMark("x", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	var got []int
	for place := (storage.Place{}); ; {
		alerts, next, err := l.Alerts(place, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(alerts) == 0 {
			break
		}
		for _, a := range alerts {
			got = append(got, a.Percent)
			if *a.Tier != 3 || a.Period != storage.PeriodMonth {
				t.Errorf("alert %+v", a)
			}
		}
		place = next
		l.Close()
		l = openLog(t, Config{Dir: dir})
	}
	if len(got) != 10 || !slices.IsSorted(got) {
		t.Errorf("got %v", got)
	}
	if value, err := l.Mark("x"); err != nil || string(value) != "9" {
		t.Errorf("the mark is %q, %v", value, err)
	}
}
