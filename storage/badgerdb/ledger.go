package badgerdb

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// account is an account's standing. posted, held and open are guarded by Store.mu and run ahead of the disk, newest is
// guarded by it and does not; last and dirtySince belong to the committer.
type account struct {
	record storage.Account
	posted storage.Credits
	held   storage.Credits
	open   uint64 // holds
	newest uint64 // position of the last line on disk

	last       chainEnd
	dirtySince uint64 // position of its first line after its head record was written; 0 when that is exact
}

// chainEnd is where an account's chain of ledger lines stands.
type chainEnd struct {
	position, seq uint64
	hash          [hashSize]byte
}

func (a *account) balance() storage.Balance {
	return storage.Balance{Account: a.record.ID, Posted: a.posted, Held: a.held}
}

// request is what the ledger knows of one request: an open hold, or how it ended.
type request struct {
	id       storage.RequestID
	account  *account
	amount   storage.Credits
	expires  time.Time
	state    state
	charged  storage.Credits
	loss     storage.Credits
	batch    *storage.Batch // of its last line
	queued   int            // its ending lines that are not committed yet
	position uint64         // of its hold; belongs to the committer

	older, newer *request // list of open holds
}

// state is where a request's hold stands.
type state uint8

const (
	held    state = iota
	lapsed        // the hold expired or was interrupted: one late settlement is still taken
	settled       // final
)

// Reserve sets the amount aside if the account has it available. The decision is made at once, in memory; the batch tells
// when it is on disk. The same request with the same account and amount again, while its hold is open, returns the first
// batch. Errors: ErrNotFound (account), ErrInsufficientCredits, ErrConflict (the request id was used otherwise or has
// ended), ErrInvalid (negative amount), ErrLowSpace, ErrHalted, ErrClosed. Safe for concurrent use.
func (s *Store) Reserve(h storage.Hold) (*storage.Batch, error) {
	if h.Amount < 0 {
		return nil, fmt.Errorf("reserving %s credits: %w", h.Amount, storage.ErrInvalid)
	}
	if s.lowSpace.Load() {
		return nil, storage.ErrLowSpace
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	a := s.accounts[h.Account]
	if a == nil {
		return nil, fmt.Errorf("account %.64q: %w", h.Account, storage.ErrNotFound)
	}
	known, err := s.known(h.Request)
	if err != nil {
		return nil, err
	}
	if known != nil {
		if known.state == held && known.account == a && known.amount == h.Amount {
			return known.batch, nil
		}
		return nil, fmt.Errorf("reserving for request %s: %w", h.Request, storage.ErrConflict)
	}
	if a.posted-a.held < h.Amount {
		return nil, storage.ErrInsufficientCredits
	}
	r := &request{id: h.Request, account: a, amount: h.Amount, expires: h.Expires}
	s.requests[r.id] = r
	s.opened(r)
	a.held += r.amount
	a.open++
	r.batch = s.enter(op{account: a, request: r, entry: storage.Entry{
		Kind: storage.EntryHold, Amount: r.amount, Expires: r.expires,
	}})
	return r.batch, nil
}

// Extend sets more aside under a request's open hold, for a round of the request that its first hold did not foresee. Like
// Reserve it decides at once. Errors: ErrNotFound (no hold of that request was ever taken), ErrInsufficientCredits,
// ErrConflict (the hold has ended), ErrInvalid (negative amount), ErrLowSpace, ErrHalted, ErrClosed. Safe for concurrent use.
func (s *Store) Extend(id storage.RequestID, more storage.Credits) (*storage.Batch, error) {
	if more < 0 {
		return nil, fmt.Errorf("extending a hold by %s credits: %w", more, storage.ErrInvalid)
	}
	if s.lowSpace.Load() {
		return nil, storage.ErrLowSpace
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	r, err := s.find(id)
	if err == nil && r.state != held {
		err = storage.ErrConflict
	}
	if err != nil {
		return nil, fmt.Errorf("extending the hold of request %s: %w", id, err)
	}
	a := r.account
	if a.posted-a.held < more {
		return nil, storage.ErrInsufficientCredits
	}
	r.amount += more
	a.held += more
	r.batch = s.enter(op{account: a, request: r, entry: storage.Entry{Kind: storage.EntryExtend, Amount: more}})
	return r.batch, nil
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
	r, err := s.find(x.Request)
	if err != nil {
		return storage.Receipt{}, nil, fmt.Errorf("settling request %s: %w", x.Request, err)
	}
	if r.state == settled {
		return r.receipt(true), r.batch, nil
	}
	if x.Charge < 0 || x.Charge > math.MaxInt64-s.totals.revenue {
		return storage.Receipt{}, nil, fmt.Errorf("charging request %s %s credits: %w", x.Request, x.Charge, storage.ErrInvalid)
	}
	e := storage.Entry{Kind: storage.EntryLate, Reason: cut(x.Reason, 32)}
	if r.state == held {
		e.Kind = storage.EntrySettle
		e.Amount = r.amount
		s.release(r)
	}
	// What the hold set aside is available again by now, so one rule covers a charge below it, above it, and without it.
	e.Charged = min(x.Charge, r.account.posted-r.account.held)
	e.Loss = x.Charge - e.Charged
	r.account.posted -= e.Charged
	r.state, r.charged, r.loss = settled, e.Charged, e.Loss
	s.requests[r.id] = r
	r.batch = s.enter(op{account: r.account, request: r, entry: e})
	return r.receipt(false), r.batch, nil
}

// Grant adds credits to an account, or takes available ones back, and returns once that is on disk. The same reference and
// amount again changes nothing and returns today's balance. Errors: ErrNotFound (account), ErrConflict (reference used with
// another amount), ErrInsufficientCredits (taking back more than is available), ErrInvalid, ErrHalted, ErrClosed. Safe for
// concurrent use.
func (s *Store) Grant(g storage.Grant) (storage.Balance, error) {
	if len(g.Reference) == 0 || len(g.Reference) > 128 || len(g.Kind) > 32 {
		return storage.Balance{}, fmt.Errorf("granting with reference %.128q of kind %.32q: %w", g.Reference, g.Kind, storage.ErrInvalid)
	}
	batch, err := s.grant(g)
	if err != nil {
		return storage.Balance{}, fmt.Errorf("granting to account %.64q: %w", g.Account, err)
	}
	if err := batch.Wait(); err != nil {
		return storage.Balance{}, fmt.Errorf("granting to account %.64q: %w", g.Account, err)
	}
	return s.Balance(g.Account)
}

func (s *Store) grant(g storage.Grant) (*storage.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	a := s.accounts[g.Account]
	if a == nil {
		return nil, storage.ErrNotFound
	}
	before, batch, err := s.granted(g.Account, g.Reference)
	if err != nil {
		return nil, err
	}
	if before != nil {
		if *before != g.Amount {
			return nil, storage.ErrConflict
		}
		return batch, nil
	}
	if g.Amount < 0 && a.posted-a.held+g.Amount < 0 {
		return nil, storage.ErrInsufficientCredits
	}
	if !s.issuable(g.Amount) {
		return nil, storage.ErrInvalid
	}
	return s.issue(a, g, nil), nil
}

// issuable tells whether no sum can leave int64: every posted balance is bounded by what was issued in all.
func (s *Store) issuable(amount storage.Credits) bool {
	const most = math.MaxInt64 / 2
	return amount > -most && amount < most && s.totals.issued-amount > -most && s.totals.issued-amount < most
}

// issue enters a grant that was found good; record is the account's own record when the grant opens it.
func (s *Store) issue(a *account, g storage.Grant, record []byte) *storage.Batch {
	a.posted += g.Amount
	batch := s.enter(op{account: a, record: record, entry: storage.Entry{
		Kind: storage.EntryGrant, Amount: g.Amount, Reference: g.Reference, Reason: g.Kind,
	}})
	s.grants[grantRef{g.Account, g.Reference}] = pendingGrant{g.Amount, batch}
	return batch
}

// Balance is the account's standing including what is not on disk yet. Errors: ErrNotFound, ErrHalted, ErrClosed. Safe for
// concurrent use.
func (s *Store) Balance(id string) (storage.Balance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return storage.Balance{}, err
	}
	a := s.accounts[id]
	if a == nil {
		return storage.Balance{}, fmt.Errorf("account %.64q: %w", id, storage.ErrNotFound)
	}
	return a.balance(), nil
}

// sweep ends every hold whose time has passed.
func (s *Store) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usable() != nil {
		return
	}
	for r := s.oldest; r != nil; {
		next := r.newer
		if now.After(r.expires) {
			s.lapse(r, storage.EntryExpire)
		}
		r = next
	}
}

// lapse ends an open hold without a charge.
func (s *Store) lapse(r *request, kind storage.EntryKind) {
	s.release(r)
	r.state = lapsed
	r.batch = s.enter(op{account: r.account, request: r, entry: storage.Entry{Kind: kind, Amount: r.amount}})
}

// release gives back what the hold set aside.
func (s *Store) release(r *request) {
	s.unlink(r)
	r.account.held -= r.amount
	r.account.open--
}

// known returns what is known of a request that is about to be reserved, nil if it is new. Ids are ordered by time and
// requests leave memory in about that order, so only an id at or below the highest that left needs the disk.
func (s *Store) known(id storage.RequestID) (*request, error) {
	if r := s.requests[id]; r != nil {
		return r, nil
	}
	if bytes.Compare(id[:], s.forgotten[:]) > 0 {
		return nil, nil
	}
	return s.readRequest(id)
}

// find returns the request from memory or disk, or ErrNotFound.
func (s *Store) find(id storage.RequestID) (*request, error) {
	if r := s.requests[id]; r != nil {
		return r, nil
	}
	r, err := s.readRequest(id)
	if err == nil && r == nil {
		err = storage.ErrNotFound
	}
	return r, err
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

func (r *request) receipt(repeat bool) storage.Receipt {
	return storage.Receipt{Charged: r.charged, Loss: r.loss, Balance: r.account.balance(), Repeat: repeat}
}

// opened appends the hold to the list of open ones.
func (s *Store) opened(r *request) {
	r.older = s.newest
	if s.newest != nil {
		s.newest.newer = r
	} else {
		s.oldest = r
	}
	s.newest = r
}

// unlink takes the hold off the list of open ones.
func (s *Store) unlink(r *request) {
	if r.older != nil {
		r.older.newer = r.newer
	} else {
		s.oldest = r.newer
	}
	if r.newer != nil {
		r.newer.older = r.older
	} else {
		s.newest = r.older
	}
	r.older, r.newer = nil, nil
}

func cut(text string, n int) string { return text[:min(n, len(text))] }
