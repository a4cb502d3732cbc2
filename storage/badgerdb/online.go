package badgerdb

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
)

// online proves the whole ledger while it works. A start checks the recent lines only, and files can be damaged under a
// gateway that runs for months.
type online struct {
	asked   chan struct{} // somebody wants a run now
	ended   chan struct{} // closed when the prover has ended
	checked atomic.Uint64

	mu    sync.Mutex
	state storage.Verification
}

func newOnline() *online {
	return &online{asked: make(chan struct{}, 1), ended: make(chan struct{})}
}

// Verification tells what proving the whole ledger has come to.
func (s *Store) Verification() storage.Verification {
	o := s.online
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.state
	if v.Running {
		v.Checked = min(o.checked.Load(), v.Of)
	}
	return v
}

// StartVerification begins to prove the whole ledger; one run at a time. It returns false if one is under way already, or
// is about to begin. The ledger works on meanwhile; if a line does not prove it halts. Errors: ErrClosed, ErrHalted.
func (s *Store) StartVerification() (started bool, err error) {
	s.mu.Lock()
	err = s.usable()
	s.mu.Unlock()
	if err != nil {
		return false, err
	}
	o := s.online
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state.Running {
		return false, nil
	}
	select {
	case o.asked <- struct{}{}:
		return true, nil
	default:
		return false, nil
	}
}

// proveOften is the prover: it proves the ledger when it is asked to and as often as the configuration says, at once if
// the start has not seen every line.
func (s *Store) proveOften() {
	o := s.online
	defer close(o.ended)
	var again <-chan time.Time
	if every := s.config.VerifyEvery; every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		again = ticker.C
		if s.Halted() == nil && s.Verification().Proven.IsZero() {
			s.proveNow()
		}
	}
	for {
		select {
		case <-o.asked:
		case <-again:
		case <-s.stop:
			return
		}
		if s.Halted() == nil {
			s.proveNow()
		}
	}
}

// proveNow proves the ledger as it is now. A fault halts it, as one found at the start does.
func (s *Store) proveNow() {
	o := s.online
	snapshot, err := s.Snapshot()
	if err != nil {
		return // it is being closed, or its head file cannot be read, which the next commit reports
	}
	defer snapshot.Close()
	began := time.Now()
	sum, err := snapshot.Summary()
	o.checked.Store(0)
	o.change(func(v *storage.Verification) { v.Running, v.Checked, v.Of = true, 0, sum.Position })
	snapshot.pace.percent = s.config.VerifyPercent
	var a *ledger.Audit
	if err == nil {
		a, err = snapshot.prove(0, func() error {
			o.checked.Add(1)
			return snapshot.pace.step()
		})
	}
	switch {
	case errors.Is(err, storage.ErrClosed):
		o.endedAt("")
	case withheld(err):
		o.endedAt("")
		s.config.Logger.Warn("the ledger could not be proven", "cause", err)
	case err != nil:
		err = inOneLine(err)
		o.endedAt(err.Error())
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.fault == nil && !s.closed {
			s.halt(err)
		}
	default:
		o.proven(a, began)
		s.config.Logger.Info("ledger proven", "lines", a.Position, "accounts", len(a.Standing), "took", time.Since(began).Round(time.Millisecond))
	}
}

// withheld tells that an error is about what the system would not give just now, and not about what is on disk.
func withheld(err error) bool {
	for _, refused := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR} {
		if errors.Is(err, refused) {
			return true
		}
	}
	return false
}

// endedAt notes that a run came to no end, because of a fault or "" for nothing that is wrong with the ledger.
func (o *online) endedAt(fault string) {
	o.change(func(v *storage.Verification) {
		v.Running, v.Checked, v.Fault = false, min(o.checked.Load(), v.Of), fault
	})
}

// proven notes that every line was found good.
func (o *online) proven(a *ledger.Audit, began time.Time) {
	o.change(func(v *storage.Verification) {
		*v = storage.Verification{Checked: a.Position, Of: a.Position, Proven: began, Through: a.Position, Took: time.Since(began)}
	})
}

func (o *online) change(by func(v *storage.Verification)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	by(&o.state)
}
