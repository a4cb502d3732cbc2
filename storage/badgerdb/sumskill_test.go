package badgerdb

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// killLogDir and killLogSince are set in the child process of TestSumsKill: where its log is, and when its clock began.
const (
	killLogDir   = "POINTSMAN_TEST_KILL_LOG"
	killLogSince = "POINTSMAN_TEST_KILL_SINCE"
)

// fastClock runs four hours a second, so that minutes, hours and days end all the time.
func fastClock(since time.Time) func() time.Time {
	return func() time.Time { return since.Add(time.Since(since) * 4 * 3600) }
}

// fastConfig keeps everything, however fast the clock.
func fastConfig(dir string, clock func() time.Time) Config {
	const long = 3000 * 24 * time.Hour
	return Config{Dir: dir, Clock: clock, MaxLogMB: 1 << 20, Retain: long, KeepSums: [3]time.Duration{long, long, long}}
}

// logUntilKilled logs requests as fast as it can.
func logUntilKilled(dir, since string) error {
	begin, err := time.Parse(time.RFC3339Nano, since)
	if err != nil {
		return err
	}
	clock := fastClock(begin)
	l, err := OpenLog(fastConfig(dir, clock))
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 1))
	for n := 0; ; n++ {
		l.Append(storage.LogRecord{Usage: randomUsage(r, clock(), n)})
		if n%50 == 0 {
			l.Flush()
		}
	}
}

// P17: whenever the process is killed, every page that it wrote is counted once, in minutes, hours and days.
func TestSumsKill(t *testing.T) {
	dir, since := t.TempDir(), time.Now()
	rounds := 15
	if testing.Short() {
		rounds = 3
	}
	config := fastConfig(dir, fastClock(since))
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killLogDir+"="+dir, killLogSince+"="+since.Format(time.RFC3339Nano))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(30+rand.IntN(400)) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		if differ, err := Recount(config, true, t.Logf); err != nil || differ > 0 {
			t.Fatalf("round %d: %d sums differ from a recount, %v", round, differ, err)
		}
	}
	l := openLog(t, config)
	s, err := l.Summary(storage.SummaryQuery{From: since.Add(-time.Hour), To: config.Clock().Add(time.Hour)})
	if err != nil || len(s.Rows) != 1 {
		t.Fatalf("%d rows, %v", len(s.Rows), err)
	}
	if got := uint64(s.Rows[0].Sums.Of[storage.SumRequests]); got != l.End().Count || got == 0 {
		t.Errorf("%d requests are counted, the pages have %d", got, l.End().Count)
	}
	t.Log(fmt.Sprint(l.End().Count, " requests"))
}
