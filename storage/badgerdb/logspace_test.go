package badgerdb

import (
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// diskBytes is what a directory takes on disk, whole.
func diskBytes(t *testing.T, dir string) (total int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // a table that was just merged into another
		}
		if info, err := entry.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				total += st.Blocks * 512
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}

// P22: with steady writing and a retention of a day, the disk space stops growing after that day: over six days it stays within twice
// what is alive.
func TestLogPlateau(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a million requests")
	}
	const retain, perHour = 24 * time.Hour, 4000
	begin := time.Now()
	clock := startClock(begin)
	config := clock.config(t.TempDir())
	config.Retain, config.MemoryMB = retain, 16
	config.KeepSums = [3]time.Duration{retain, retain, 10 * retain}
	l := openLog(t, config)
	var sizes []int64
	for hour := range 6 * 24 {
		clock.set(begin.Add(time.Duration(hour) * time.Hour))
		for n := range perHour {
			l.Append(loadRecord(hour*perHour+n, "acme", true))
			if n%512 == 511 {
				l.Flush()
			}
		}
		if hour%6 == 5 {
			l.Close() // which tidies at the next start, as the writer does every ten minutes
			if hour >= 24 {
				sizes = append(sizes, diskBytes(t, filepath.Join(config.Dir, "log")))
			}
			l = openLog(t, config)
			l.Flush()
		}
	}
	l.Close()
	if l.Dropped() > 0 {
		t.Fatalf("%d requests were dropped", l.Dropped())
	}
	perRequest := aliveBytes(t, perHour)
	alive := int64(perRequest * perHour * 30) // a day and the period that is being filled
	for i, size := range sizes {
		if size > 2*alive {
			t.Errorf("after %d hours the log takes %d KiB, %d KiB are alive", 30+6*i, size>>10, alive>>10)
		}
	}
	t.Logf("%.0f bytes a request; after each six hours %v KiB, %d KiB alive", perRequest, kib(sizes), alive>>10)
}

func kib(sizes []int64) (out []int64) {
	for _, s := range sizes {
		out = append(out, s>>10)
	}
	return out
}

// aliveBytes is what a request takes, indexes and sums included, when nothing was ever dropped.
func aliveBytes(t *testing.T, perHour int) float64 {
	t.Helper()
	begin := time.Now()
	clock := startClock(begin)
	config := clock.config(t.TempDir())
	config.MemoryMB = 16
	l := openLog(t, config)
	total := 0
	for hour := range 24 {
		clock.set(begin.Add(time.Duration(hour) * time.Hour))
		for n := range perHour {
			l.Append(loadRecord(total, "acme", true))
			if total++; n%512 == 511 {
				l.Flush()
			}
		}
	}
	l.Close()
	return float64(diskBytes(t, filepath.Join(config.Dir, "log"))) / float64(total)
}

// P21: a request takes at most 400 bytes on disk with its decision, its indexes and the sums, in full pages and in pages of its own.
func TestLogBytesPerRequest(t *testing.T) {
	for name, perPage := range map[string]int{"full pages": pageRequests, "a page each": 1} {
		clock := startClock(time.Now())
		config := clock.config(t.TempDir())
		config.MemoryMB = 16
		l := openLog(t, config)
		const n = 40_000
		for i := range n {
			r := loadRecord(i, []string{"acme", "globex", "initech"}[i%3], true)
			l.Append(storage.LogRecord{Usage: r.Usage, Decision: r.Decision})
			if i%perPage == perPage-1 {
				l.Flush()
				clock.set(clock.now().Add(time.Duration(perPage) * 30 * time.Millisecond))
			}
		}
		l.Close()
		if l.Dropped() > 0 {
			t.Fatalf("%d requests were dropped", l.Dropped())
		}
		perRequest := float64(l.Size()) / n
		t.Logf("%s: %.0f bytes a request", name, perRequest)
		if perRequest > 400 {
			t.Errorf("%s: a request takes %.0f bytes", name, perRequest)
		}
	}
}
