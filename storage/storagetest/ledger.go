// Package storagetest is the conformance suite of credits ledgers: what every store behind Pointsman must do, whatever it
// keeps its records in.
package storagetest

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// Ledger is what the suite calls. A ledger that is also an io.Closer is closed and opened again by the tests of what must
// survive a restart; one that has Interrupted is asked for the holds it ended then.
type Ledger interface {
	CreateAccount(a storage.Account, opening storage.Credits) error
	Holder
	Settle(x storage.Settlement) (storage.Receipt, *storage.Batch, error)
	Grant(g storage.Grant) (storage.Balance, error)
	Balance(account string) (storage.Balance, error)
}

// Holder is the part of a ledger that sets credits aside.
type Holder interface {
	Reserve(h storage.Hold) (*storage.Batch, error)
	Extend(id storage.RequestID, more storage.Credits) (*storage.Batch, error)
}

// RunLedger proves a ledger. open returns the ledger kept in dir, an empty directory of the test's own, and may be called
// again with the same dir after the ledger was closed.
func RunLedger(t *testing.T, open func(t *testing.T, dir string) Ledger) {
	tests := map[string]func(s *suite){
		"reserve":         testReserve,
		"extend":          testExtend,
		"settle":          testSettle,
		"excess and loss": testExcess,
		"repeat":          testRepeat,
		"grant":           testGrant,
		"accounts":        testAccounts,
		"expire and late": testExpire,
		"interruption":    testInterruption,
		"exactly ten":     testExactlyTen,
		"first request":   testCreationRace,
		"random work":     testRandomWork,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &suite{T: t, dir: t.TempDir(), open: open}
			s.Ledger = open(t, s.dir)
			defer s.close()
			test(s)
		})
	}
}

type suite struct {
	*testing.T
	Ledger
	dir  string
	open func(t *testing.T, dir string) Ledger
}

func (s *suite) close() {
	s.Helper()
	if c, ok := s.Ledger.(io.Closer); ok {
		if err := c.Close(); err != nil {
			s.Errorf("closing: %v", err)
		}
	}
}

// reopen restarts the ledger, or skips the rest of the test if it cannot.
func (s *suite) reopen() {
	s.Helper()
	if _, ok := s.Ledger.(io.Closer); !ok {
		s.Skip("the ledger cannot be closed")
	}
	s.close()
	s.Ledger = s.open(s.T, s.dir)
}

// account creates an account with that many micro-credits.
func (s *suite) account(id string, opening storage.Credits) string {
	s.Helper()
	if err := s.CreateAccount(storage.Account{ID: id, Tier: storage.TierFree}, opening); err != nil {
		s.Fatal(err)
	}
	return id
}

// hold reserves and waits until that is durable.
func (s *suite) hold(account string, amount storage.Credits) storage.RequestID {
	s.Helper()
	id := NewRequest()
	batch, err := s.Reserve(storage.Hold{Request: id, Account: account, Amount: amount, Expires: later()})
	if err == nil {
		err = batch.Wait()
	}
	if err != nil {
		s.Fatalf("holding %d: %v", amount, err)
	}
	return id
}

// settle charges, waits, and compares what was charged and lost.
func (s *suite) settle(id storage.RequestID, charge, charged, loss storage.Credits, repeat bool) {
	s.Helper()
	got, batch, err := s.Settle(storage.Settlement{Request: id, Charge: charge, Reason: "ok"})
	if err == nil {
		err = batch.Wait()
	}
	if err != nil || got.Charged != charged || got.Loss != loss || got.Repeat != repeat {
		s.Fatalf("charging %d gave %+v, %v; want charged %d, loss %d, repeat %v", charge, got, err, charged, loss, repeat)
	}
	if b := s.balance(got.Balance.Account); b != got.Balance {
		s.Fatalf("receipt says %+v, the balance is %+v", got.Balance, b)
	}
}

func (s *suite) balance(account string) storage.Balance {
	s.Helper()
	b, err := s.Balance(account)
	if err != nil {
		s.Fatal(err)
	}
	return b
}

// stands compares an account's posted and held credits.
func (s *suite) stands(account string, posted, held storage.Credits) {
	s.Helper()
	if b := s.balance(account); b.Account != account || b.Posted != posted || b.Held != held {
		s.Fatalf("account %s stands at posted %d, held %d; want %d, %d", account, b.Posted, b.Held, posted, held)
	}
}

func (s *suite) reserveFails(h storage.Hold, want error) {
	s.Helper()
	if _, err := s.Reserve(h); !errors.Is(err, want) {
		s.Fatalf("reserving %+v gave %v, want %v", h, err, want)
	}
}

func later() time.Time { return time.Now().Add(time.Hour) }

// NewRequest makes a request id of now.
func NewRequest() (id storage.RequestID) {
	rand.Read(id[6:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(time.Now().UnixMilli()))
	copy(id[:6], ms[2:])
	return id
}

func testReserve(s *suite) {
	s.account("a", 100)
	first := s.hold("a", 60)
	s.stands("a", 100, 60)
	s.reserveFails(storage.Hold{Request: NewRequest(), Account: "a", Amount: 41, Expires: later()}, storage.ErrInsufficientCredits)
	s.reserveFails(storage.Hold{Request: NewRequest(), Account: "nobody", Amount: 0, Expires: later()}, storage.ErrNotFound)
	s.reserveFails(storage.Hold{Request: NewRequest(), Account: "a", Amount: -1, Expires: later()}, storage.ErrInvalid)
	s.reserveFails(storage.Hold{Request: first, Account: "a", Amount: 61, Expires: later()}, storage.ErrConflict)
	s.stands("a", 100, 60)
	if batch, err := s.Reserve(storage.Hold{Request: first, Account: "a", Amount: 60, Expires: later()}); err != nil || batch.Wait() != nil {
		s.Fatalf("the same hold again gave %v", err)
	}
	s.stands("a", 100, 60)
	s.hold("a", 40)
	s.hold("a", 0)
	s.stands("a", 100, 100)
}

func testExtend(s *suite) {
	s.account("a", 100)
	extend := func(id storage.RequestID, more storage.Credits, want error) {
		s.Helper()
		batch, err := s.Extend(id, more)
		if err == nil {
			err = batch.Wait()
		}
		if !errors.Is(err, want) {
			s.Fatalf("extending by %d gave %v, want %v", more, err, want)
		}
	}
	id, other := s.hold("a", 40), s.hold("a", 10)
	extend(id, 30, nil)
	extend(id, 0, nil)
	s.stands("a", 100, 80)
	extend(id, 21, storage.ErrInsufficientCredits)
	extend(id, -1, storage.ErrInvalid)
	extend(NewRequest(), 1, storage.ErrNotFound)
	s.stands("a", 100, 80)
	s.settle(id, 75, 75, 0, false)
	s.stands("a", 25, 10)
	extend(id, 1, storage.ErrConflict)
	extend(other, 5, nil)
	s.reopen() // ends the hold with all of its amount
	s.stands("a", 25, 0)
	extend(other, 1, storage.ErrConflict)
	s.hold("a", 25)
}

func testSettle(s *suite) {
	s.account("a", 100)
	whole, part, void, zero := s.hold("a", 30), s.hold("a", 30), s.hold("a", 30), s.hold("a", 0)
	s.settle(whole, 30, 30, 0, false)
	s.stands("a", 70, 60)
	s.settle(part, 10, 10, 0, false)
	s.stands("a", 60, 30)
	s.settle(void, 0, 0, 0, false)
	s.settle(zero, 0, 0, 0, false)
	s.stands("a", 60, 0)
	if _, _, err := s.Settle(storage.Settlement{Request: NewRequest(), Charge: 1}); !errors.Is(err, storage.ErrNotFound) {
		s.Fatalf("settling an unknown request gave %v", err)
	}
	negative := s.hold("a", 10)
	if _, _, err := s.Settle(storage.Settlement{Request: negative, Charge: -1}); !errors.Is(err, storage.ErrInvalid) {
		s.Fatalf("a negative charge gave %v", err)
	}
	s.stands("a", 60, 10)
	s.reserveFails(storage.Hold{Request: whole, Account: "a", Amount: 30, Expires: later()}, storage.ErrConflict)
}

func testExcess(s *suite) {
	s.account("a", 100)
	above, other := s.hold("a", 40), s.hold("a", 20)
	s.settle(above, 70, 70, 0, false) // 40 held and 30 of the 40 available
	s.stands("a", 30, 20)
	s.settle(other, 50, 30, 20, false) // 20 held, 10 available, 20 lost
	s.stands("a", 0, 0)
	free := s.hold("a", 0)
	s.settle(free, 5, 0, 5, false)
	s.stands("a", 0, 0)
}

func testRepeat(s *suite) {
	s.account("a", 100)
	id := s.hold("a", 40)
	s.settle(id, 150, 100, 50, false)
	s.settle(id, 150, 100, 50, true)
	s.settle(id, 1, 100, 50, true)
	s.stands("a", 0, 0)
	s.reopen()
	s.settle(id, 1, 100, 50, true)
	s.reserveFails(storage.Hold{Request: id, Account: "a", Amount: 40, Expires: later()}, storage.ErrConflict)
	s.stands("a", 0, 0)
}

func testGrant(s *suite) {
	s.account("a", 100)
	grant := func(amount storage.Credits, reference string, posted storage.Credits, want error) {
		s.Helper()
		b, err := s.Grant(storage.Grant{Account: "a", Amount: amount, Reference: reference, Kind: "purchase"})
		if !errors.Is(err, want) || err == nil && b.Posted != posted {
			s.Fatalf("granting %d as %q gave %+v, %v; want posted %d, %v", amount, reference, b, err, posted, want)
		}
	}
	grant(50, "p1", 150, nil)
	grant(50, "p1", 150, nil)
	grant(51, "p1", 0, storage.ErrConflict)
	grant(1, "", 0, storage.ErrInvalid)
	grant(1<<62, "huge", 0, storage.ErrInvalid)
	s.hold("a", 100)
	grant(-51, "back", 0, storage.ErrInsufficientCredits)
	grant(-50, "back", 100, nil)
	s.stands("a", 100, 100)
	if _, err := s.Grant(storage.Grant{Account: "nobody", Amount: 1, Reference: "p1", Kind: "bonus"}); !errors.Is(err, storage.ErrNotFound) {
		s.Fatalf("granting to an unknown account gave %v", err)
	}
	s.account("b", 0)
	if _, err := s.Grant(storage.Grant{Account: "b", Amount: 7, Reference: "p1", Kind: "bonus"}); err != nil {
		s.Fatalf("a reference must be free on another account: %v", err)
	}
	s.reopen()
	s.stands("a", 100, 0)
	grant(50, "p1", 100, nil)
	grant(51, "p1", 0, storage.ErrConflict)
	s.stands("b", 7, 0)
}

func testAccounts(s *suite) {
	s.account("a", 5)
	if err := s.CreateAccount(storage.Account{ID: "a"}, 5); !errors.Is(err, storage.ErrExists) {
		s.Fatalf("creating it again gave %v", err)
	}
	for _, id := range []string{"", "A", "a b", "-a", "a/b", "a\x00", string(make([]byte, 65))} {
		if err := s.CreateAccount(storage.Account{ID: id}, 0); !errors.Is(err, storage.ErrInvalid) {
			s.Fatalf("account id %q gave %v", id, err)
		}
	}
	if err := s.CreateAccount(storage.Account{ID: "b"}, -1); !errors.Is(err, storage.ErrInvalid) {
		s.Fatalf("a negative opening gave %v", err)
	}
	if _, err := s.Balance("b"); !errors.Is(err, storage.ErrNotFound) {
		s.Fatalf("balance of an unknown account gave %v", err)
	}
	s.reopen()
	s.stands("a", 5, 0)
}

func testExpire(s *suite) {
	s.account("a", 100)
	id := NewRequest()
	batch, err := s.Reserve(storage.Hold{Request: id, Account: "a", Amount: 60, Expires: time.Now().Add(20 * time.Millisecond)})
	if err != nil || batch.Wait() != nil {
		s.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); s.balance("a").Held != 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatal("the hold did not expire")
		}
	}
	s.stands("a", 100, 0)
	s.hold("a", 70)
	s.settle(id, 60, 30, 30, false) // late: what is available, once
	s.settle(id, 60, 30, 30, true)
	s.stands("a", 70, 70)
}

func testInterruption(s *suite) {
	s.account("a", 100)
	open, zero, done := s.hold("a", 40), s.hold("a", 0), s.hold("a", 20)
	s.settle(done, 20, 20, 0, false)
	s.reopen()
	s.stands("a", 80, 0)
	if l, ok := s.Ledger.(interface{ Interrupted() []storage.Hold }); ok {
		holds := l.Interrupted()
		if len(holds) != 2 || holds[0].Request != open || holds[0].Amount != 40 || holds[0].Account != "a" || holds[1].Request != zero {
			s.Fatalf("interrupted holds are %+v", holds)
		}
	}
	s.settle(open, 10, 10, 0, false)
	s.reopen()
	s.settle(open, 10, 10, 0, true)
	s.stands("a", 70, 0)
}

// testExactlyTen: a balance worth ten requests serves ten of two hundred that come at once.
func testExactlyTen(s *suite) {
	s.account("a", 1000)
	var served, refused atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 200 {
		wg.Go(func() {
			<-start
			batch, err := s.Reserve(storage.Hold{Request: NewRequest(), Account: "a", Amount: 100, Expires: later()})
			switch {
			case errors.Is(err, storage.ErrInsufficientCredits):
				refused.Add(1)
			case err == nil && batch.Wait() == nil:
				served.Add(1)
			default:
				s.Errorf("reserving gave %v", err)
			}
		})
	}
	close(start)
	wg.Wait()
	if served.Load() != 10 || refused.Load() != 190 {
		s.Fatalf("%d served, %d refused; want 10 and 190", served.Load(), refused.Load())
	}
	s.stands("a", 1000, 1000)
}

// testCreationRace: of many who create the same account one does, and the opening grant is given once.
func testCreationRace(s *suite) {
	var created atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := s.CreateAccount(storage.Account{ID: "new"}, 1000)
			if err == nil {
				created.Add(1)
			} else if !errors.Is(err, storage.ErrExists) {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	if created.Load() != 1 {
		s.Fatalf("created %d times", created.Load())
	}
	s.stands("new", 1000, 0)
}

// testRandomWork runs random operations at once and then compares every balance with what the callers were told.
func testRandomWork(s *suite) {
	const accounts, workers, rounds = 5, 8, 400
	var granted, charged [accounts]atomic.Int64
	for i := range accounts {
		s.account(fmt.Sprint("a", i), 0)
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := mathrand.New(mathrand.NewPCG(1, uint64(w)))
			for n := range rounds {
				i := r.IntN(accounts)
				id := fmt.Sprint("a", i)
				if n%10 == 0 {
					g := storage.Grant{Account: id, Amount: storage.Credits(r.IntN(2000)), Reference: fmt.Sprint(w, "-", n), Kind: "bonus"}
					if _, err := s.Grant(g); err != nil {
						s.Error(err)
					}
					granted[i].Add(int64(g.Amount))
				}
				request := NewRequest()
				hold := storage.Credits(r.IntN(300))
				_, err := s.Reserve(storage.Hold{Request: request, Account: id, Amount: hold, Expires: later()})
				if errors.Is(err, storage.ErrInsufficientCredits) {
					continue
				}
				if n%3 == 0 {
					if _, err := s.Extend(request, storage.Credits(r.IntN(100))); err != nil && !errors.Is(err, storage.ErrInsufficientCredits) {
						s.Error(err)
					}
				}
				receipt, _, err2 := s.Settle(storage.Settlement{Request: request, Charge: storage.Credits(r.IntN(400))})
				again, batch, err3 := s.Settle(storage.Settlement{Request: request, Charge: 7})
				if err := errors.Join(err, err2, err3, batch.Wait()); err != nil {
					s.Error(err)
				}
				if !again.Repeat || again.Charged != receipt.Charged || receipt.Balance.Available() < 0 {
					s.Errorf("first %+v, then %+v", receipt, again)
				}
				charged[i].Add(int64(receipt.Charged))
			}
		})
	}
	wg.Wait()
	check := func() {
		s.Helper()
		for i := range accounts {
			s.stands(fmt.Sprint("a", i), storage.Credits(granted[i].Load()-charged[i].Load()), 0)
		}
	}
	check()
	s.reopen()
	check()
}
