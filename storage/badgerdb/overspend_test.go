package badgerdb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// TestOverspend: of ten thousand holds at the same moment on a balance for exactly a hundred, a hundred are taken, and the
// balance is never below zero; half of the rounds let a budget be what is used up.
func TestOverspend(t *testing.T) {
	rounds := chaos(t, 2)
	for round := range rounds {
		s := openStore(t, Config{})
		fund(t, s, "a", 100*7+6)
		h := storage.Hold{Account: "a", Amount: 7, Expires: time.Now().Add(time.Hour), Key: "k"}
		refused := storage.ErrInsufficientCredits
		if round%2 == 1 {
			if _, err := s.Grant(storage.Grant{Account: "a", Amount: 1_000_000, Reference: "more"}); err != nil {
				t.Fatal(err)
			}
			h.Caps = []storage.Cap{{Spender: storage.SpenderKey + "k", Budget: storage.Budget{Period: storage.PeriodMonth, Credits: 100*7 + 6}}}
			refused = storage.ErrBudget
		}
		var accepted atomic.Int64
		var clients sync.WaitGroup
		start, over := make(chan struct{}), make(chan struct{})
		for range 10_000 {
			clients.Go(func() {
				own := h
				own.Request = storagetest.NewRequest()
				<-start
				batch, err := s.Reserve(own)
				if err == nil && batch.Wait() == nil {
					accepted.Add(1)
				} else if !errors.Is(err, refused) {
					t.Errorf("reserving gave %v", err)
				}
			})
		}
		var sampler sync.WaitGroup
		sampler.Go(func() {
			for {
				if b, err := s.Balance("a"); err != nil || b.Available() < 0 {
					t.Errorf("the balance is %+v, %v", b, err)
				}
				select {
				case <-over:
					return
				default:
				}
			}
		})
		close(start)
		clients.Wait()
		close(over)
		sampler.Wait()
		if n := accepted.Load(); n != 100 {
			t.Fatalf("round %d: %d holds were taken, a hundred fit", round, n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("figure: %d times 10,000 holds at once with room for 100: exactly 100 were taken", rounds)
}

// span is one call of a concurrent history: the ledger's length when it began and when it had returned bound the place in the order of lines
// at which it took effect.
type span struct {
	from, to uint64
	line     func(e *storage.Entry) bool // whether a line is this call's; nil: it wrote none
	answer   func(b storage.Balance) bool
	what     string
}

// TestHistory runs calls from many goroutines and then finds, for every answer that was given, a place in the order of the ledger's
// lines that explains it and lies between the call's beginning and its return: the ledger is linearizable, with the lines
// as the order.
func TestHistory(t *testing.T) {
	const goroutines, calls = 8, 150
	for range chaos(t, 2) {
		s := openStore(t, Config{})
		fund(t, s, "a", 5000)
		var mu sync.Mutex
		var history []span
		var running sync.WaitGroup
		for g := range goroutines {
			running.Go(func() {
				var open []storage.RequestID
				for n := range calls {
					x := span{from: length(s)}
					open = oneCall(t, s, &x, open, fmt.Sprintf("%d-%d", g, n))
					x.to = length(s)
					mu.Lock()
					history = append(history, x)
					mu.Unlock()
				}
			})
		}
		running.Wait()
		checkHistory(t, s, history)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// length is how many lines were decided.
func length(s *Store) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entered
}

// oneCall does something at random and notes what its answer says.
func oneCall(t *testing.T, s *Store, x *span, open []storage.RequestID, name string) []storage.RequestID {
	switch kind := rand.IntN(4); {
	case kind == 0:
		b, err := s.Balance("a")
		x.what = fmt.Sprintf("balance %+v, %v", b, err)
		x.answer = func(at storage.Balance) bool { return at == b }
	case kind == 1:
		amount := storage.Credits(rand.IntN(200) - 80)
		_, err := s.Grant(storage.Grant{Account: "a", Amount: amount, Reference: name})
		x.what = fmt.Sprintf("granting %s, %v", amount, err)
		if err == nil {
			x.line = func(e *storage.Entry) bool { return e.Reference == name && e.Amount == amount }
		} else {
			x.answer = func(at storage.Balance) bool {
				return errors.Is(err, storage.ErrInsufficientCredits) && at.Available()+amount < 0
			}
		}
	case kind == 2 && len(open) > 0:
		id, charge := open[0], storage.Credits(rand.IntN(300))
		open = open[1:]
		got, _, err := s.Settle(storage.Settlement{Request: id, Charge: charge})
		x.what = fmt.Sprintf("settling with %s: %+v, %v", charge, got, err)
		x.line = func(e *storage.Entry) bool {
			return err == nil && e.Request == id && e.Kind == storage.EntrySettle && e.Charged == got.Charged && e.Loss == got.Loss && got.Charged+got.Loss == charge &&
				e.Posted == got.Balance.Posted && e.Held == got.Balance.Held
		}
	default:
		id, amount := storagetest.NewRequest(), storage.Credits(rand.IntN(250))
		_, err := s.Reserve(storage.Hold{Request: id, Account: "a", Amount: amount, Expires: time.Now().Add(time.Hour)})
		x.what = fmt.Sprintf("reserving %s, %v", amount, err)
		if err == nil {
			open = append(open, id)
			x.line = func(e *storage.Entry) bool {
				return e.Request == id && e.Kind == storage.EntryHold && e.Amount == amount
			}
		} else {
			x.answer = func(at storage.Balance) bool {
				return errors.Is(err, storage.ErrInsufficientCredits) && at.Available() < amount
			}
		}
	}
	return open
}

// checkHistory looks for the place of every call.
func checkHistory(t *testing.T, s *Store, history []span) {
	t.Helper()
	if _, err := s.Grant(storage.Grant{Account: "a", Amount: 0, Reference: "the end"}); err != nil { // all before it is on disk
		t.Fatal(err)
	}
	lines, err := s.Entries("a", 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(lines)
	refused := 0
	for _, x := range history {
		found := false
		for p := x.from; p <= x.to && !found; p++ { // the state after line p; line p is lines[p-1], for there is one account
			e := &lines[p-1]
			if x.line != nil {
				found = p > x.from && x.line(e)
			} else {
				found = x.answer(storage.Balance{Account: "a", Posted: e.Posted, Held: e.Held})
			}
		}
		if x.line == nil {
			refused++
		}
		if !found {
			t.Fatalf("between lines %d and %d nothing explains %s", x.from, x.to, x.what)
		}
	}
	t.Logf("%d calls, %d of which wrote no line", len(history), refused)
}
