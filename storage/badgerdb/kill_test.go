package badgerdb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// killDir is set in the child process of TestKill: where its ledger is.
const killDir = "POINTSMAN_TEST_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		if err := workUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if dir := os.Getenv(killLogDir); dir != "" {
		if err := logUntilKilled(dir, os.Getenv(killLogSince)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// workUntilKilled charges requests from eight goroutines and prints each operation once it is acknowledged:
// "H request", "S request charged loss", "G worker-number amount".
func workUntilKilled(dir string) error {
	s, err := Open(Config{Dir: dir})
	if err != nil {
		return err
	}
	if err := s.Halted(); err != nil {
		return err
	}
	l, err := OpenLog(Config{Dir: dir})
	if err != nil {
		return err
	}
	s.CreateAccount(storage.Account{ID: "a"}, 1000) // exists from the second run on
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				if err := work(s, l, fmt.Sprintf("%d-%d-%d", os.Getpid(), w, n)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

func work(s *Store, l *Log, name string) error {
	if _, err := s.Grant(storage.Grant{Account: "a", Amount: 100, Reference: name, Kind: "bonus"}); err != nil {
		return err
	}
	fmt.Printf("G %s\n", name)
	id := storagetest.NewRequest()
	held, err := s.Reserve(storage.Hold{Request: id, Account: "a", Amount: 60, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		return err
	}
	if err := held.Wait(); err != nil {
		return err
	}
	fmt.Printf("H %s\n", id)
	if rand.IntN(3) == 0 {
		if _, err := s.Extend(id, 10); err != nil && !errors.Is(err, storage.ErrInsufficientCredits) {
			return err
		}
	}
	got, settled, err := s.Settle(storage.Settlement{Request: id, Charge: storage.Credits(rand.IntN(120)), Reason: "ok"})
	if err != nil {
		return err
	}
	if err := settled.Wait(); err != nil {
		return err
	}
	l.Append(storage.LogRecord{Usage: storage.Usage{Request: id, Account: "a", Credits: got.Charged}, Decision: []byte(id.String())})
	fmt.Printf("S %s %d %d\n", id, got.Charged, got.Loss)
	return nil
}

// TestKill kills a working process twenty times at random moments. After each, the ledger proves, opens, and still has
// everything that was acknowledged; the log opens, and has every request once what it lost is restored.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	total, logged := 0, 0
	for round := range rounds {
		acknowledged := runAndKill(t, dir, time.Duration(30+rand.IntN(250))*time.Millisecond)
		total += len(acknowledged)
		if _, err := os.Stat(filepath.Join(dir, headName)); err != nil {
			continue // killed before the database was there
		}
		var out strings.Builder
		if err := Verify(dir, &out); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		s := openStore(t, Config{Dir: dir})
		logged += checkLogged(t, dir, s, acknowledged)
		checkAcknowledged(t, s, acknowledged)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := Verify(dir, io.Discard); err != nil {
			t.Fatalf("round %d, after the restart: %v", round, err)
		}
	}
	t.Logf("%d acknowledged operations over %d kills, %d requests were in the log", total, rounds, logged)
	if total == 0 || logged == 0 {
		t.Error("no operation was ever acknowledged, or none was logged")
	}
}

// checkLogged reconciles the log and looks for every settled request. It returns how many had not needed that.
func checkLogged(t *testing.T, dir string, s *Store, lines []string) (logged int) {
	t.Helper()
	l := openLog(t, Config{Dir: dir})
	defer l.Close()
	if _, err := Reconcile(s, l); err != nil {
		t.Fatal(err)
	}
	if added, err := Reconcile(s, l); err != nil || added != 0 {
		t.Fatalf("reconciling again added %d records, %v", added, err)
	}
	for _, line := range lines {
		var kind, id string
		var charged storage.Credits
		if fmt.Sscan(line, &kind, &id, &charged); kind != "S" {
			continue
		}
		u, decision, err := l.Find("a", id)
		if err != nil || u.Credits != charged || decision != nil && string(decision) != id {
			t.Fatalf("%q is in the log as %+v with decision %q, %v", line, u, decision, err)
		}
		if decision != nil {
			logged++
		}
	}
	return logged
}

// runAndKill runs the child for a while and returns the lines it printed whole.
func runAndKill(t *testing.T, dir string, after time.Duration) (lines []string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), killDir+"="+dir)
	child.Stderr = os.Stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { child.Process.Kill() })
	defer timer.Stop()
	for r := bufio.NewReader(stdout); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			break
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	child.Wait()
	if code := child.ProcessState.ExitCode(); code != -1 {
		t.Fatalf("the child ended by itself with %d", code)
	}
	return lines
}

// checkAcknowledged repeats every acknowledged operation: the ledger must say that it was done, and how.
func checkAcknowledged(t *testing.T, s *Store, lines []string) {
	t.Helper()
	settled := map[storage.RequestID]bool{}
	var holds []storage.RequestID
	before, err := s.Balance("a")
	if err != nil && len(lines) > 0 {
		t.Fatal(err)
	}
	for _, line := range lines {
		var kind, name string
		var charged, loss storage.Credits
		fmt.Sscan(line, &kind, &name, &charged, &loss)
		if kind == "G" {
			if b, err := s.Grant(storage.Grant{Account: "a", Amount: 100, Reference: name}); err != nil || b != before {
				t.Fatalf("granting %s again gave %+v, %v; before it was %+v", name, b, err, before)
			}
			continue
		}
		id, err := storage.ParseRequestID(name)
		if err != nil {
			t.Fatalf("child printed %q", line)
		}
		if kind == "H" {
			holds = append(holds, id)
			continue
		}
		settled[id] = true
		got, _, err := s.Settle(storage.Settlement{Request: id, Charge: 999})
		if err != nil || !got.Repeat || got.Charged != charged || got.Loss != loss {
			t.Fatalf("%q: settling again gave %+v, %v", line, got, err)
		}
	}
	interrupted := map[storage.RequestID]bool{}
	for _, hold := range s.Interrupted() {
		interrupted[hold.Request] = true
	}
	for _, id := range holds { // settled without an acknowledgement, or interrupted, but never unknown
		if settled[id] {
			continue
		}
		got, _, err := s.Settle(storage.Settlement{Request: id, Charge: 1})
		if err != nil || got.Repeat == interrupted[id] {
			t.Fatalf("hold %s: settling gave %+v, %v; interrupted: %v", id, got, err, interrupted[id])
		}
	}
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	openStore(t, Config{Dir: dir})
	began := time.Now()
	_, err := Open(Config{Dir: dir})
	want := fmt.Sprintf("in use by process %d", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) || time.Since(began) > time.Second {
		t.Errorf("opening it twice gave %v after %s, want %q", err, time.Since(began), want)
	}
	if err := Verify(dir, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("verifying an open ledger gave %v", err)
	}
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
