package storage

import (
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"time"
)

// RequestID identifies one accepted request: 6 bytes of Unix milliseconds, big-endian, then 10 random bytes, so that
// byte order is time order. Its text form is 32 lower-case hex digits.
type RequestID [16]byte

// String is the text form.
func (id RequestID) String() string { return hex.EncodeToString(id[:]) }

// Time is when the id was made, to the millisecond.
func (id RequestID) Time() time.Time {
	ms := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
	return time.UnixMilli(ms)
}

// ParseRequestID reads the text form.
func ParseRequestID(text string) (id RequestID, err error) {
	if len(text) != 32 {
		return id, fmt.Errorf("request id %.40q does not have 32 hex digits", text)
	}
	_, err = hex.Decode(id[:], []byte(text))
	return id, err
}

// Balance is an account's standing in the ledger.
type Balance struct {
	Account   string
	Posted    Credits // sum of all settled postings
	Held      Credits // sum of open holds, >= 0
	Overdraft Credits // how far below zero it may go, >= 0
}

// Available is what new holds may take: posted less held, plus the overdraft.
func (b Balance) Available() Credits { return b.Posted - b.Held + b.Overdraft }

// Hold reserves the worst case of a request before it is dispatched.
type Hold struct {
	Request RequestID
	Account string
	Amount  Credits // >= 0
	Expires time.Time
	Key     string // virtual key that spends; "": none is counted
	Team    string // team that spends; "": none is counted
	Caps    []Cap  // budgets that must have room
}

// Settlement ends a hold. Charge 0 is a void. A charge above the hold takes the excess from what the account has
// available at that moment; what even that cannot cover is written as a loss, so that a balance never goes below zero, or below
// the account's overdraft.
type Settlement struct {
	Request RequestID
	Charge  Credits // >= 0
	Tier    uint8   // of the model that answered
	Reason  string  // the usage outcome, <= 32 bytes, kept in the entry
}

// Receipt tells what a settlement did.
type Receipt struct {
	Charged Credits // what the account paid
	Loss    Credits // what it could not pay
	Balance Balance // after it
	Repeat  bool    // the request had been settled before; Charged and Loss are those of the first time
}

// Grant adds (or, negative, takes back) credits outside of requests. Reference makes it idempotent per account: the same
// reference and amount again changes nothing, the same reference with another amount is ErrConflict.
type Grant struct {
	Account   string
	Amount    Credits
	Reference string // 1 to 128 bytes
	Kind      string // purchase, bonus, refund, adjustment, opening
}

// Transfer moves credits between two accounts. Reference makes it idempotent, as with a grant, on both.
type Transfer struct {
	From, To  string
	Amount    Credits // > 0
	Reference string  // 1 to 128 bytes
}

// Batch is one durable commit shared by every operation that was coalesced into it. Its Wait and Written may be called by many goroutines, any
// number of times; a nil batch is durable already.
type Batch struct {
	written, done           chan struct{}
	err                     error // of what Wait waits for
	unwritten               error // of what Written waits for
	writeWanted, syncWanted atomic.Bool
	first                   func(synced bool)
}

// NewBatch returns a batch that is not yet committed. Whoever waits first for its being written, or synced, calls first before, unless that is
// nil. Stores call it; others only wait.
func NewBatch(first func(synced bool)) *Batch {
	return &Batch{written: make(chan struct{}), done: make(chan struct{}), first: first}
}

// Wrote wakes those who wait for the batch to be written. It may be called once, before Finish.
func (b *Batch) Wrote() { close(b.written) }

// Finish wakes every waiter with the commit's result. It must be called exactly once.
func (b *Batch) Finish(err error) {
	select {
	case <-b.written:
	default:
		b.unwritten = err
		close(b.written)
	}
	b.err = err
	close(b.done)
}

// Wait returns when the batch is on disk (nil) or has failed.
func (b *Batch) Wait() error {
	if b == nil {
		return nil
	}
	b.await(b.done, &b.syncWanted, true)
	return b.err
}

// Written returns when the system has the batch (nil), so that nothing but a failure of the power or of the system itself takes it back, or when
// writing it has failed. It is on disk some milliseconds later.
func (b *Batch) Written() error {
	if b == nil {
		return nil
	}
	b.await(b.written, &b.writeWanted, false)
	return b.unwritten
}

func (b *Batch) await(c chan struct{}, wanted *atomic.Bool, synced bool) {
	select {
	case <-c:
	default:
		if wanted.CompareAndSwap(false, true) && b.first != nil {
			b.first(synced)
		}
		<-c
	}
}
