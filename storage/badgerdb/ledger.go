package badgerdb

import (
	"fmt"

	"github.com/pointsman/pointsman/storage"
)

// Reserve sets the amount aside if the account has it available and every cap has room. The decision is made at once, in
// memory; the batch tells when it is on disk. The same request with the same account and amount again, while its hold is open,
// returns the first batch. Errors: ErrNotFound (account), ErrInsufficientCredits, ErrBudget (a *BudgetError), ErrConflict (the
// request id was used otherwise or has ended), ErrInvalid (negative amount), ErrLowSpace, ErrHalted, ErrClosed. Safe for
// concurrent use.
func (s *Store) Reserve(h storage.Hold) (*storage.Batch, error) {
	if s.space.low.Load() {
		return nil, storage.ErrLowSpace
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	return s.machine.Reserve(h)
}

// Extend sets more aside under a request's open hold, for a round of the request that its first hold did not foresee. Like
// Reserve it decides at once. Errors: ErrNotFound (no hold of that request was ever taken), ErrInsufficientCredits, ErrBudget,
// ErrConflict (the hold has ended), ErrInvalid (negative amount), ErrLowSpace, ErrHalted, ErrClosed. Safe for concurrent use.
func (s *Store) Extend(id storage.RequestID, more storage.Credits) (*storage.Batch, error) {
	if s.space.low.Load() {
		return nil, storage.ErrLowSpace
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	return s.machine.Extend(id, more)
}

// Settle ends the request's hold, or charges late for one that has lapsed, exactly once: every later call returns the first
// Charged and Loss with Repeat set and today's balance. A reason above 32 bytes is cut. Errors: ErrNotFound (no hold of
// that request was ever taken), ErrInvalid (negative or absurd charge), ErrHalted, ErrClosed. Safe for concurrent use.
func (s *Store) Settle(x storage.Settlement) (storage.Receipt, *storage.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return storage.Receipt{}, nil, err
	}
	return s.machine.Settle(x)
}

// Grant adds credits to an account, or takes available ones back, and returns once that is on disk. The same reference and
// amount again changes nothing and returns today's balance. Errors: ErrNotFound (account), ErrConflict (reference used with
// another amount), ErrInsufficientCredits (taking back more than is available), ErrInvalid, ErrHalted, ErrClosed. Safe for
// concurrent use.
func (s *Store) Grant(g storage.Grant) (storage.Balance, error) {
	err := s.durably(func() (*storage.Batch, error) { return s.machine.Grant(g) })
	if err != nil {
		return storage.Balance{}, fmt.Errorf("granting to account %.64q: %w", g.Account, err)
	}
	return s.Balance(g.Account)
}

// Transfer moves available credits from one account to another and returns once that is on disk, with the balance of the first.
// The same transfer again changes nothing. Errors: those of Grant. Safe for concurrent use.
func (s *Store) Transfer(t storage.Transfer) (storage.Balance, error) {
	err := s.durably(func() (*storage.Batch, error) { return s.machine.Transfer(t) })
	if err != nil {
		return storage.Balance{}, fmt.Errorf("transferring from account %.64q to %.64q: %w", t.From, t.To, err)
	}
	return s.Balance(t.From)
}

// durably decides an operation and waits until it is on disk. Errors: ErrLowSpace, ErrHalted, ErrClosed.
func (s *Store) durably(decide func() (*storage.Batch, error)) error {
	if !s.config.roomy() {
		return storage.ErrLowSpace
	}
	s.mu.Lock()
	err := s.usable()
	var batch *storage.Batch
	if err == nil {
		batch, err = decide()
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return batch.Wait()
}

// Balance is the account's standing including what is not on disk yet. Errors: ErrNotFound, ErrHalted, ErrClosed. Safe for
// concurrent use.
func (s *Store) Balance(id string) (storage.Balance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return storage.Balance{}, err
	}
	return s.machine.Balance(id)
}

// Spent tells what a spender has spent in the current period and what is held for it, by models of a tier or, tier nil, of
// all; 0 while the ledger takes no work. Safe for concurrent use.
func (s *Store) Spent(who storage.Spender, p storage.Period, tier *uint8) (spent, held storage.Credits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usable() != nil {
		return 0, 0
	}
	spent, held, err := s.machine.Spent(who, p, tier)
	if err != nil {
		s.config.Logger.Error("reading what was spent", "spender", who, "error", err)
	}
	return spent, held
}

// usable tells why the ledger takes no work, if so. The caller holds mu.
func (s *Store) usable() error {
	if s.fault != nil {
		return s.fault
	}
	if s.closed {
		return storage.ErrClosed
	}
	return nil
}
