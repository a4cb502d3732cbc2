package badgerdb

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// logVolumePaths are the volumes of a log, ascending.
func logVolumePaths(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "log", "*"+volumeExt))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// twoRuns makes a log of two runs of a gateway, each in a minute, and a volume, of its own, and returns their requests.
func twoRuns(t *testing.T) (config Config, runs [2][]storage.Usage) {
	t.Helper()
	now := time.Now().Truncate(time.Minute).Add(-time.Hour)
	clock := startClock(now)
	config = clock.config(t.TempDir())
	for run := range runs {
		l := openLog(t, config)
		for i := range 30 {
			at := now.Add(time.Duration(run)*time.Minute + time.Duration(i)*time.Second)
			clock.set(at)
			u := usageAt(at, i, fmt.Sprint("account-", i%3))
			l.Append(storage.LogRecord{Usage: u, Decision: []byte("why")})
			if runs[run] = append(runs[run], u); i%10 == 9 {
				l.Flush()
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if n := len(logVolumePaths(t, config.Dir)); n != run+1 {
			t.Fatalf("after run %d there are %d volumes", run, n)
		}
	}
	return config, runs
}

// found are how many of the requests the log has.
func found(t *testing.T, l *Log, requests []storage.Usage) (n int) {
	t.Helper()
	for _, u := range requests {
		got, _, err := l.Find("", u.Request.String())
		switch {
		case err == nil && got == u:
			n++
		case !errors.Is(err, storage.ErrNotFound):
			t.Errorf("request %s: %+v, %v", u.Request, got, err)
		}
	}
	return n
}

// TestLogLosesItsEnd: pages that the disk lacks after the power failed are let go with one warning; everything else is as if they had never been
// written, and sums equal a recount.
func TestLogLosesItsEnd(t *testing.T) {
	for name, damage := range losses {
		t.Run(name, func(t *testing.T) {
			config, runs := twoRuns(t)
			if err := damage(logVolumePaths(t, config.Dir)[1]); err != nil {
				t.Fatal(err)
			}
			var warnings strings.Builder
			config.Logger = slog.New(slog.NewTextHandler(&warnings, &slog.HandlerOptions{Level: slog.LevelWarn}))
			l := openLog(t, config)
			before, after := found(t, l, runs[0]), found(t, l, runs[1])
			if before != len(runs[0]) || after >= len(runs[1]) {
				t.Errorf("%d requests of the first run are there, %d of the second", before, after)
			}
			if n := strings.Count(warnings.String(), "\n"); n != 1 || !strings.Contains(warnings.String(), "not on the disk") || !strings.Contains(warnings.String(), volumeExt) {
				t.Errorf("the warnings are %q", warnings.String())
			}
			again := usageAt(config.Clock(), 99, "account-0")
			l.Append(storage.LogRecord{Usage: again})
			if records, _, err := l.Usage("", "", 1000); err != nil || len(records) != before+after+1 || records[0] != again {
				t.Errorf("%d requests are listed, %v", len(records), err)
			}
			sum, err := l.Summary(storage.SummaryQuery{From: config.Clock().Add(-time.Hour), To: config.Clock().Add(time.Hour)})
			if err != nil || len(sum.Rows) != 1 || sum.Rows[0].Sums.Of[storage.SumRequests] != int64(before+after+1) {
				t.Errorf("the summary is %+v, %v", sum.Rows, err)
			}
			if end := l.End(); end.Count < uint64(before+after+1) || end.Count > 61 { // it may count what was lost
				t.Errorf("the end is %+v", end)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if differ, err := Recount(config, true, t.Logf); differ != 0 || err != nil {
				t.Errorf("%d sums differ, %v", differ, err)
			}
		})
	}
}

// TestLogNamesALostVolume: pages whose sums are written were on the disk, so what became of them is damage and is told.
func TestLogNamesALostVolume(t *testing.T) {
	for name, damage := range losses {
		t.Run(name, func(t *testing.T) {
			config, runs := twoRuns(t)
			path := logVolumePaths(t, config.Dir)[0]
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			l := openLog(t, config)
			if n := found(t, l, runs[1]); n != len(runs[1]) {
				t.Errorf("%d requests of the second run are there", n)
			}
			_, _, err := l.Usage("", "", 1000)
			if !errors.Is(err, errPage) || !strings.Contains(err.Error(), filepath.Base(path)) {
				t.Errorf("listing them gave %v", err)
			}
			_, _, missed, err := l.Forward(storage.Place{Page: 1, Count: 1}, time.Time{}, 1000)
			if err != nil || missed == 0 {
				t.Errorf("%d were missed on the way of events, %v", missed, err)
			}
			var copied bytes.Buffer
			if _, err := l.Copy(&copied); (err == nil) != (name == "zeroed") {
				t.Errorf("a backup gave %v", err)
			}
		})
	}
}

// TestLogPagesInTheDatabase: a log of schema 4 has its pages in the database; they stay there and are read, and new ones lie in volumes. So does a backup of it.
func TestLogPagesInTheDatabase(t *testing.T) {
	config, runs := twoRuns(t)
	var backup bytes.Buffer
	if _, err := CopyLog(config.Dir, &backup); err != nil {
		t.Fatal(err)
	}
	db, err := create(t.TempDir(), "log", logOptions)
	if err != nil {
		t.Fatal(err)
	}
	err = restore(db, bytes.NewReader(backup.Bytes()), func(e *badger.Entry) error {
		if bytes.Equal(e.Key, logSchemaKey) {
			e.Value = schemaValue(4)
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	config.Dir = filepath.Dir(db.Opts().Dir)
	copied, err := OpenLogCopy(config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if n := found(t, copied, runs[0]); n != len(runs[0]) {
		t.Errorf("a copy has %d requests", n)
	}
	backup.Reset()
	if _, err := copied.Copy(&backup); err != nil {
		t.Error(err)
	}
	copied.Close()

	l := openLog(t, config)
	if n := len(logVolumePaths(t, config.Dir)); n != 0 {
		t.Fatalf("a log with its pages in the database has %d volumes", n)
	}
	more := usageAt(config.Clock(), 99, "account-0")
	l.Append(storage.LogRecord{Usage: more})
	if n := found(t, l, append(append(runs[0], runs[1]...), more)); n != 61 || len(logVolumePaths(t, config.Dir)) != 1 {
		t.Errorf("%d requests, %d volumes", n, len(logVolumePaths(t, config.Dir)))
	}
	to := t.TempDir()
	if err := RestoreLog(to, &backup); err != nil {
		t.Fatal(err)
	}
	config.Dir = to
	l = openLog(t, config)
	if n := found(t, l, append(runs[0], runs[1]...)); n != 60 || len(logVolumePaths(t, to)) != 1 {
		t.Errorf("%d requests after a restore, %d volumes", n, len(logVolumePaths(t, to)))
	}
}

// TestLogVolumeFails: a page that cannot be written is tried again, and nothing is lost by it.
func TestLogVolumeFails(t *testing.T) {
	config := Config{Dir: t.TempDir()}
	l := openLog(t, config)
	l.Flush()
	path := volumePath(filepath.Join(config.Dir, "log"), 1)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	u := usageAt(time.Now(), 1, "a")
	l.Append(storage.LogRecord{Usage: u})
	time.Sleep(2 * pageEvery)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if n := found(t, l, []storage.Usage{u}); n != 1 || l.Dropped() != 0 {
		t.Errorf("%d found, %d dropped", n, l.Dropped())
	}
}

// TestLogSetAside: a log whose files are damaged says so, is kept under another name, and another one begins; what is no damage is not called that.
func TestLogSetAside(t *testing.T) {
	for name, harm := range map[string]func(dir string) error{
		"a table is missing": func(dir string) error {
			tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
			if err != nil || len(tables) == 0 {
				return fmt.Errorf("tables: %v, %v", tables, err)
			}
			return os.Remove(tables[0])
		},
		"the manifest is zeroed": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, badger.ManifestFilename), make([]byte, 100), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			config, runs := twoRuns(t)
			if err := harm(filepath.Join(config.Dir, "log")); err != nil {
				t.Fatal(err)
			}
			_, err := OpenLog(config)
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			aside, err := SetLogAside(config.Dir)
			if err != nil {
				t.Fatal(err)
			}
			l := openLog(t, config)
			l.Append(storage.LogRecord{Usage: runs[0][0]})
			if n := found(t, l, runs[0]); n != 1 {
				t.Errorf("the log that begins has %d requests", n)
			}
			if pages, err := filepath.Glob(filepath.Join(aside, "*"+volumeExt)); err != nil || len(pages) == 0 {
				t.Errorf("%s has %v, %v", aside, pages, err)
			}
		})
	}
	l := openLog(t, Config{Dir: t.TempDir()})
	if _, err := OpenLog(Config{Dir: l.config.Dir}); !errors.Is(err, ErrInUse) || errors.Is(err, ErrDamaged) {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := SetLogAside(l.config.Dir); !errors.Is(err, ErrInUse) {
		t.Errorf("set aside while it is in use: %v", err)
	}
	for _, refused := range []error{&os.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}, errors.New("while opening memtables error: " + syscall.ENOMEM.Error())} {
		if errors.Is(damageOf(refused), ErrDamaged) {
			t.Errorf("%v is called damage", refused)
		}
	}
}
