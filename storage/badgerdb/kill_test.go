package badgerdb

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// killFresh is how many kills a data directory lives through before the next one takes its place.
const killFresh = 25

// punished is a data directory whose process is killed again and again.
type punished struct {
	*books
	t         *testing.T
	dir       string
	minFreeMB int
	logged    int           // requests that were in the log without being restored
	restarted time.Duration // longest start
}

func punish(t *testing.T) *punished { return &punished{books: openBooks(), t: t, dir: t.TempDir()} }

// proves verifies the ledger as the process left it, if there is one.
func (p *punished) proves() error {
	if _, err := os.Stat(filepath.Join(p.dir, headName)); err != nil {
		return nil
	}
	return Verify(p.dir, io.Discard)
}

// logOpens opens the log as the process left it.
func (p *punished) logOpens() error {
	l, err := OpenLog(Config{Dir: p.dir, MinFreeMB: p.minFreeMB})
	if err != nil {
		return err
	}
	return l.Close()
}

// recovered proves the ledger as the process left it, opens it, and compares it with what was acknowledged.
func (p *punished) recovered(acknowledged []told) {
	p.t.Helper()
	if _, err := os.Stat(filepath.Join(p.dir, headName)); err != nil && len(acknowledged) == 0 {
		return // killed before the database was there
	}
	if err := p.proves(); err != nil {
		p.t.Fatalf("as it was left: %v", err)
	}
	began := time.Now()
	s := openStore(p.t, Config{Dir: p.dir, MinFreeMB: p.minFreeMB, VerifyMax: someLines()})
	p.restarted = max(p.restarted, time.Since(began))
	p.logged += checkLogged(p.t, p.dir, s, acknowledged)
	p.check(p.t, s, acknowledged)
	if err := s.Close(); err != nil {
		p.t.Fatal(err)
	}
	if err := p.proves(); err != nil {
		p.t.Fatalf("after the restart: %v", err)
	}
}

// sum reports what the books came to.
func (p *punished) sum(what string) {
	p.t.Logf("figure: %s: %d operations acknowledged, %d lost, %d requests charged twice; %d requests, %d holds interrupted, %d expired, %d charged late; %d requests were in the log; longest start %s",
		what, p.told, p.lost, p.twice, len(p.requests), p.open, p.expired, p.late, p.logged, p.restarted.Round(time.Millisecond))
}

// TestKill kills a working process at random moments. After each, the ledger proves, opens, and still has everything that was
// acknowledged; budgets have used what the lines charge; the log opens, and has every request once what it lost is restored.
func TestKill(t *testing.T) {
	rounds := chaos(t, 12)
	for done := 0; done < rounds; done += killFresh {
		p := punish(t)
		for range min(killFresh, rounds-done) {
			o := errand{Dir: p.dir}.send(t, time.Duration(30+rand.IntN(400))*time.Millisecond)
			if o.code != -1 {
				t.Fatalf("the child ended by itself with %d: %s", o.code, o.stderr)
			}
			p.recovered(o.acknowledged)
		}
		p.sum(fmt.Sprintf("%d kills", min(killFresh, rounds-done)))
		if p.told == 0 || p.logged == 0 || p.open == 0 || p.expired == 0 || p.late == 0 || lastVolume(filepath.Join(p.dir, "ledger")) < 3 {
			t.Error("the kills did not find everything that they were to find")
		}
	}
}

// points are where a process is killed on purpose, and about how often each is reached in the life of a child.
var points = map[string]int64{
	"proved": 1, "interrupted": 1, // in Open, before and after the holds of the former run end
	"reconciling": 1,                             // in Reconcile, at the first request that the log lacks
	"sealing":     40,                            // a batch is closed
	"page":        400,                           // a line is on its page
	"writing":     40,                            // before the record of the journal
	"written":     40,                            // after it, before it is on disk
	"committed":   40,                            // after that, before the head mark
	"marked":      40,                            // after that, before anybody is told
	"storing":     20, "paged": 20, "stored": 20, // around the pages and the transaction of the database
	"released": 2,              // segments of the journal are used again
	"replayed": 1,              // a start has all of the journal
	"logging":  4, "logged": 4, // around the transaction of the log
}

// patience is how long a process may take to get to its point: most are there at once, but a slow machine takes seconds to fill a segment.
const patience = 20 * time.Second

// TestKillAtPoints kills a process at each of the points on the way of a commit, of a start and of the log.
func TestKillAtPoints(t *testing.T) {
	rounds := chaos(t, 2)
	for point, often := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			p := punish(t)
			hits := 0
			for range rounds {
				former := errand{Dir: p.dir, Point: "committed", Hit: 20 + rand.Int64N(100)} // leaves something to recover
				if point == "reconciling" {
					former.Point, former.Hit = "logging", 1+rand.Int64N(4) // whose requests the log lacks
				}
				o := former.send(t, patience)
				all := o.acknowledged
				began := time.Now()
				o = errand{Dir: p.dir, Point: point, Hit: 1 + rand.Int64N(often)}.send(t, patience)
				if o.code != -1 {
					t.Fatalf("the child ended by itself with %d: %s", o.code, o.stderr)
				}
				if time.Since(began) < patience {
					hits++
				}
				p.recovered(append(all, o.acknowledged...))
			}
			p.sum(fmt.Sprintf("%d of %d kills at the point", hits, rounds))
			if hits == 0 {
				t.Error("no process got there")
			}
		})
	}
}

// checkLogged reconciles the log and looks for every settled request. It returns how many had not needed that.
func checkLogged(t *testing.T, dir string, s *Store, acknowledged []told) (logged int) {
	t.Helper()
	l := openLog(t, Config{Dir: dir, MinFreeMB: s.config.MinFreeMB})
	defer l.Close()
	if _, err := Reconcile(s, l); err != nil {
		t.Fatal(err)
	}
	if added, err := Reconcile(s, l); err != nil || added != 0 {
		t.Fatalf("reconciling again added %d records, %v", added, err)
	}
	for _, a := range acknowledged {
		if a.kind != 'S' {
			continue
		}
		var charged storage.Credits
		fmt.Sscan(a.rest, &charged)
		var u storage.Usage
		var decision []byte
		err := error(storage.ErrNotFound)
		for _, account := range []string{"", "rich", "poor"} { // what is restored knows the account
			if errors.Is(err, storage.ErrNotFound) {
				u, decision, err = l.Find(account, a.name)
			}
		}
		if err != nil || u.Credits != charged || decision != nil && string(decision) != a.name {
			t.Fatalf("%q is in the log as %+v with decision %q, %v", a.whole, u, decision, err)
		}
		if decision != nil {
			logged++
		}
	}
	return logged
}

// TestSecondProcess: whoever has a data directory open has it alone, also when many try at the same moment.
func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Config{Dir: dir})
	want := fmt.Sprintf("in use by process %d", os.Getpid())
	tries := chaos(t, 4)
	for range tries {
		o := errand{Dir: dir, Life: 5 * time.Second}.send(t, 0)
		if o.code != exitOpen || !strings.Contains(o.stderr, want) {
			t.Fatalf("a second process ended with %d: %s", o.code, o.stderr)
		}
	}
	if err := Verify(dir, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("verifying an open ledger gave %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p := punish(t)
	for range tries {
		outcomes := make(chan outcome)
		for range 4 {
			go func() { outcomes <- errand{Dir: p.dir, Life: 700 * time.Millisecond}.send(t, 0) }()
		}
		refused, worked := 0, 0
		var acknowledged []told
		for range 4 {
			switch o := <-outcomes; {
			case o.code == exitOpen && strings.Contains(o.stderr, "in use by") && len(o.acknowledged) == 0:
				refused++
			case o.code == -1:
				worked++
				acknowledged = append(acknowledged, o.acknowledged...)
			default:
				t.Errorf("a process ended with %d: %s", o.code, o.stderr)
			}
		}
		if refused != 3 || worked != 1 {
			t.Errorf("of four processes that started together %d were refused and %d worked", refused, worked)
		}
		p.recovered(acknowledged)
	}
	p.sum(fmt.Sprintf("%d second processes, %d races of four", tries, tries))
}

func TestPrivateFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	openStore(t, Config{Dir: dir})
	openLog(t, Config{Dir: dir})
	for _, path := range []string{dir, filepath.Join(dir, "ledger"), filepath.Join(dir, "log")} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
	}
}
