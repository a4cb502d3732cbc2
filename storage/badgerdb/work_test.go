package badgerdb

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/powerloss"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// chaos is how often a test of what can go wrong tries each way: usual times, or as often as POINTSMAN_CHAOS says.
func chaos(t testing.TB, usual int) int {
	t.Helper()
	text := os.Getenv("POINTSMAN_CHAOS")
	if text == "" {
		if testing.Short() {
			return max(1, usual/4)
		}
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("POINTSMAN_CHAOS is %q, not a number from 1", text)
	}
	return n
}

// errand is what a child process of these tests is to do; it finds it in its environment.
type errand struct {
	Dir       string
	Point     string        // where it kills itself,
	Hit       int64         // the how-many-th time it gets there
	Life      time.Duration // after which it kills itself anyway; 0: its parent does
	Unsynced  bool
	Watched   bool // by a tracer
	MinFreeMB int
	Damaged   *damageRange // instead of work
	Size      bool         // instead of work: so many lines
	Lines     int
}

const errandKey = "POINTSMAN_TEST_ERRAND"

// The ways a child ends by itself.
const (
	exitFailed = 5 // what must not happen; 1 is Badger's
	exitOpen   = 3 // it could not open the ledger, and said so
	exitHalted = 4 // the ledger halted, and refuses work
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killLogDir); dir != "" {
		fmt.Fprintln(os.Stderr, logUntilKilled(dir, os.Getenv(killLogSince)))
		os.Exit(1)
	}
	text := os.Getenv(errandKey)
	if text == "" {
		os.Exit(m.Run())
	}
	var e errand
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		panic(err)
	}
	if e.Damaged != nil {
		e.Damaged.examine()
		os.Exit(0)
	}
	if e.Size {
		panic(e.ingest())
	}
	code, err := e.run()
	fmt.Fprintln(os.Stderr, err)
	os.Exit(code)
}

// config is that of the child: with the records of spenders and heads written often, and files that are full soon.
func (e *errand) config() Config {
	var reached atomic.Int64
	return Config{
		Dir: e.Dir, MinFreeMB: e.MinFreeMB, MemoryMB: 16, headEvery: 64, VerifyMax: someLines(), volume: 32 << 10, segment: 64 << 10,
		at: func(point string) {
			if point == e.Point && reached.Add(1) == e.Hit {
				die()
			}
		},
		tune: func(o badger.Options) badger.Options { // write buffers become tables, and tables are compacted, many times a second
			if e.Watched { // few commits, so each start is to compact
				o = o.WithNumLevelZeroTables(1)
			}
			return o.WithMemTableSize(256 << 10).WithValueThreshold(32 << 10).WithSyncWrites(o.SyncWrites && !e.Unsynced)
		},
		unsynced: e.Unsynced,
	}
}

// someLines is how many lines a start checks at most: so few that it begins anywhere among them.
func someLines() int { return 1 + rand.IntN(300) }

func die() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// run charges requests from sixteen goroutines until the process is killed or the ledger halts, and prints each operation
// once it is acknowledged, in the words of the type told.
func (e *errand) run() (code int, err error) {
	if e.Watched {
		if err := powerloss.Watched(); err != nil {
			return exitFailed, err
		}
	}
	if e.Life > 0 {
		time.AfterFunc(e.Life, die)
	}
	s, err := Open(e.config())
	if err != nil {
		return exitOpen, err
	}
	if err := s.Halted(); err != nil {
		return exitOpen, err
	}
	l, err := OpenLog(e.config())
	if err != nil {
		return exitOpen, err
	}
	if _, err := Reconcile(s, l); err != nil {
		return exitOpen, err
	}
	var r *Results
	if e.Watched {
		if r, err = OpenResults(e.config(), 1<<30); err != nil {
			return exitOpen, err
		}
	}
	for _, id := range workAccounts { // they exist from the second run on
		if err := s.CreateAccount(storage.Account{ID: id}, 1000); err != nil && !errors.Is(err, storage.ErrExists) {
			return exitHalted, err
		}
	}
	go func() {
		for range time.Tick(3 * time.Millisecond) {
			s.sweep()
		}
	}()
	var workers sync.WaitGroup
	failures := make(chan error, 16)
	for w := range cap(failures) {
		workers.Go(func() {
			k := worker{s: s, log: l, results: r, name: fmt.Sprintf("%d-%d", os.Getpid(), w)}
			for n := 0; ; n++ {
				err := k.work(n)
				if errors.Is(err, storage.ErrLowSpace) {
					time.Sleep(10 * time.Millisecond) // it was refused, so there is nothing to do
				} else if err != nil {
					failures <- err
					return
				}
			}
		})
	}
	workers.Wait()
	close(failures)
	for err = range failures {
		// A worker may meet what is broken just before the commit that broke it halts the ledger.
		for deadline := time.Now().Add(10 * time.Second); !errors.Is(err, storage.ErrHalted) && s.Halted() == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return exitFailed, err
			}
		}
	}
	if _, again := s.Grant(storage.Grant{Account: "rich", Amount: 1, Reference: "after the halt"}); !errors.Is(again, storage.ErrHalted) {
		return exitFailed, fmt.Errorf("granting after the halt gave %w", again)
	}
	return exitHalted, err
}

var workAccounts = []string{"rich", "poor"}

// thriftyBudget is the most that the key named thrifty may spend for ever. Its charges never exceed their holds.
const thriftyBudget = 20_000

// worker is one goroutine of the child.
type worker struct {
	s       *Store
	log     *Log
	results *Results // nil: it keeps none
	name    string
	stale   storage.RequestID // left to expire; charged late in the next turn
	keys    int               // changes of its keys
}

// work is one turn: credits are granted and transferred, a request is held for, and ends in one of the ways there are.
func (k *worker) work(n int) error {
	name := fmt.Sprintf("%s-%d", k.name, n)
	account := workAccounts[rand.IntN(2)]
	if _, err := k.s.Grant(storage.Grant{Account: "rich", Amount: 90, Reference: name, Kind: "bonus"}); err != nil {
		return err
	}
	fmt.Printf("G %s rich 90\n", name)
	if n%4 == 0 {
		if err := k.changeKeys(); err != nil {
			return err
		}
	}
	if n%3 == 0 {
		_, err := k.s.Transfer(storage.Transfer{From: "rich", To: "poor", Amount: 50, Reference: "t" + name})
		if err != nil {
			return unless(err, storage.ErrInsufficientCredits)
		}
		fmt.Printf("T t%s poor 50\n", name)
	}
	if (k.stale != storage.RequestID{}) {
		if err := k.settle(k.stale, storage.Credits(rand.IntN(60))); err != nil {
			return err
		}
		k.stale = storage.RequestID{}
	}
	tier := uint8(n % 3)
	h := storage.Hold{
		Request: storagetest.NewRequest(), Account: account, Amount: 60, Expires: time.Now().Add(time.Hour),
		Key: []string{"thrifty", "k1", "k2", ""}[rand.IntN(4)], Team: []string{"team", ""}[rand.IntN(2)],
		Caps: []storage.Cap{
			{Spender: storage.SpenderKey + "thrifty", Budget: storage.Budget{Credits: thriftyBudget}},
			{Spender: storage.Spender(storage.SpenderAccount + account), Budget: storage.Budget{Period: storage.PeriodDay, Tier: &tier, Credits: 1 << 40}},
			{Spender: storage.SpenderTeam + "team", Budget: storage.Budget{Period: storage.PeriodMonth, Credits: 1 << 40}},
		},
	}
	if h.Key != "thrifty" {
		h.Caps = h.Caps[1:]
	}
	expires := h.Key != "thrifty" && rand.IntN(8) == 0
	if expires {
		h.Expires = time.Now().Add(2 * time.Millisecond)
	}
	held, err := k.s.Reserve(h)
	if err == nil {
		err = held.Wait()
	}
	if err != nil {
		return unless(err, storage.ErrInsufficientCredits, storage.ErrBudget)
	}
	fmt.Printf("H %s %s %d %s/%s\n", h.Request, account, h.Amount, h.Key, h.Team)
	if expires {
		if rand.IntN(2) == 0 {
			k.stale = h.Request // the others are left for good
		}
		return nil
	}
	if rand.IntN(3) == 0 {
		more, err := k.s.Extend(h.Request, 10)
		if err == nil {
			err = more.Wait()
		}
		if err := unless(err, storage.ErrInsufficientCredits, storage.ErrBudget, storage.ErrLowSpace); err != nil {
			return err
		}
		if err == nil {
			fmt.Printf("X %s 10\n", h.Request)
		}
	}
	if h.Key == "thrifty" {
		return k.settle(h.Request, storage.Credits(rand.IntN(61)))
	}
	return k.settle(h.Request, storage.Credits(rand.IntN(120)))
}

// changeKeys numbers the worker's virtual key anew, and stores or deletes an own key at a provider.
func (k *worker) changeKeys() error {
	next := strconv.Itoa(k.keys + 1)
	err := k.s.PutVirtualKey(storage.VirtualKey{ID: k.name, Account: "rich", Hint: next})
	if err == nil {
		if k.keys%2 == 0 {
			err = k.s.PutProviderKey(storage.ProviderKey{ID: next, Account: "rich", Provider: k.name})
		} else {
			err = k.s.DeleteProviderKey("rich", k.name)
		}
	}
	if err != nil {
		return err
	}
	k.keys++
	fmt.Printf("K %s %s\n", k.name, next)
	return nil
}

func (k *worker) settle(id storage.RequestID, charge storage.Credits) error {
	got, settled, err := k.s.Settle(storage.Settlement{Request: id, Charge: charge, Tier: uint8(charge % 3), Reason: "ok"})
	written := err == nil && rand.IntN(2) == 0
	switch {
	case written:
		err = settled.Written()
	case err == nil:
		err = settled.Wait()
	}
	if err != nil {
		return err
	}
	k.log.Append(storage.LogRecord{Usage: storage.Usage{Request: id, Credits: got.Charged}, Decision: []byte(id.String()), Settled: settled})
	if written && k.results != nil { // the power will fail, which may take it back
		return nil
	}
	fmt.Printf("S %s %d %d\n", id, got.Charged, got.Loss)
	if k.results == nil {
		return nil
	}
	if err := k.results.Keep(answerTo(id)).Wait(); err != nil {
		return err
	}
	fmt.Printf("R %s kept\n", id)
	return nil
}

// answerTo is what a child keeps as the result of a request.
func answerTo(id storage.RequestID) (storage.ResultID, storage.Result) {
	return sha256.Sum256(id[:]), storage.Result{
		State: storage.ResultWhole, Request: id, Status: 200, Header: []byte("X: y\n"), Body: bytes.Repeat(id[:], 1+int(id[15])),
	}
}

// unless returns err, or nil if it is one of those that may be.
func unless(err error, allowed ...error) error {
	for _, a := range allowed {
		if errors.Is(err, a) {
			return nil
		}
	}
	return err
}

// told is a line that a child printed: an operation that was acknowledged to it.
//
//	G reference account amount
//	T reference account-that-took amount
//	H request account amount key/team
//	X request amount
//	S request charged loss
//	K worker number-of-the-change
//	R request "kept"
type told struct {
	kind  byte
	name  string
	rest  string
	whole string
}

func parseTold(t testing.TB, line string) told {
	t.Helper()
	kind, rest, _ := strings.Cut(line, " ")
	name, rest, ok := strings.Cut(rest, " ")
	if !ok || len(kind) != 1 {
		t.Fatalf("the child printed %q", line)
	}
	return told{kind[0], name, rest, line}
}

// command is the child that runs the errand, under the given command if there is one.
func (e *errand) command(t testing.TB, under ...string) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	args := append(under, os.Args[0])
	child := exec.Command(args[0], args[1:]...)
	child.Env = append(os.Environ(), errandKey+"="+string(text))
	return child
}

// outcome is what became of a child.
type outcome struct {
	acknowledged []told
	code         int // -1: killed
	stderr       string
}

// send runs the child, kills it after a while unless that is 0, and returns what it printed in whole lines.
func (e errand) send(t testing.TB, after time.Duration, under ...string) (o outcome) {
	t.Helper()
	child := e.command(t, under...)
	var stderr strings.Builder
	child.Stderr = &stderr
	stdout, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		timer := time.AfterFunc(after, func() { child.Process.Kill() })
		defer timer.Stop()
	}
	for r := bufio.NewReader(stdout); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			break
		}
		o.acknowledged = append(o.acknowledged, parseTold(t, strings.TrimSpace(line)))
	}
	child.Wait()
	o.code, o.stderr = child.ProcessState.ExitCode(), stderr.String()
	return o
}
