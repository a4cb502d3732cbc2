// Package ledger is the credits ledger as a state machine: what may be held, what is charged, and which lines say so.
//
// A [Machine] takes one operation at a time, decides it in memory, and hands the lines that tell of it to its [Sink], in the
// order of the decisions. It reads no clock, no disk and no randomness but what it is given, and starts no goroutine, so the
// same operations in the same order always come to the same lines: a simulator can drive it through years of mishaps in
// seconds, and every store decides alike.
//
// An [Audit] is the other half: it follows lines from the first one on, believes none of them, and comes to the standing that
// a machine takes over after a restart. Machine and audit know the same rules and share no code for them, so that a fault in
// one shows in the other.
//
// # Rules
//
// What an account has available is what was posted to it, less what is held, plus the overdraft it is granted; no operation
// takes more than that. A hold is taken once per request and ends once: settled, expired, or interrupted by a restart. A request is
// charged once, whether its hold was still open or not. What a charge exceeds its hold by is taken from what is available, and
// what even that does not cover is a loss that the operator bears: it is written down and never dropped. References make grants and transfers
// happen once. Every line moves credits between accounts and the system accounts so that all of them sum to 0.
package ledger

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/slab"
)

// Sink takes the lines of decided operations, in order, and returns the batch in which a line becomes durable. If joined is
// set, the line and the next one must be in the same batch.
type Sink interface {
	Enter(l Line, joined bool) *storage.Batch
}

// Past is what is on disk of requests, references and spenders that are no longer in memory, or never were since the start.
type Past interface {
	// Ended tells how a request ended; nil if it is not known.
	Ended(id storage.RequestID) (*Ended, error)
	// Granted is the amount granted or transferred under a reference; nil if none was.
	Granted(account, reference string) (*storage.Credits, error)
	// Spending is the newest record of a spender; nil if there is none.
	Spending(s storage.Spender) ([]byte, error)
}

// Ended is how a request's hold ended.
type Ended struct {
	Account      string
	Key, Team    string
	Charged      storage.Credits
	Loss         storage.Credits
	MayBeCharged bool // its hold lapsed, and nothing was charged since
}

// Line is an entry whose hash is still to be made, and what its operation was about.
type Line struct {
	storage.Entry
	Of      *Account
	Request *Request // nil on grants and transfers
	Record  []byte   // the account's record, when the line opens it
}

// Account is an account's standing, ahead of the disk. There may be millions, so it holds as few pointers as it can.
type Account struct {
	ID        string
	Overdraft storage.Credits // that it is granted by its record
	// Link is the writer's, who hashes lines: the account's last line that it has written. The machine never touches it.
	Link Link

	posted, held storage.Credits
	open         uint64 // holds
	seq, last    uint64 // of its last line
	durable      uint64 // position of its last line on disk
	spending     *spending
	keySpending  *spending // of the key that spent last
}

// Link is the end of an account's chain of lines.
type Link struct {
	Position, Seq uint64
	Hash          [HashSize]byte
	DirtySince    uint64 // position of its first line after its head record was written; 0 when that is exact
}

func (a *Account) balance() storage.Balance {
	return storage.Balance{Account: a.ID, Posted: a.posted, Held: a.held, Overdraft: a.Overdraft}
}

// available is what new holds may take; below zero when an overdraft was lowered under what is used of it.
func (a *Account) available() storage.Credits { return a.balance().Available() }

// Request is what the ledger knows of one request: an open hold, or how it ended.
type Request struct {
	ID       storage.RequestID
	Position uint64 // of its hold's line

	account  *Account
	amount   storage.Credits
	expires  time.Time
	state    state
	charged  storage.Credits
	loss     storage.Credits
	batch    *storage.Batch // of its last line; nil once that is on disk and ended it
	endings  int            // its ending lines that are not durable yet, or in the ring of recent ones
	spenders [3]*spending   // key, account, team; nil where there is none
	key      string
	team     string
	caps     []storage.Cap

	older, newer *Request // list of open holds
}

// requests are those that a machine has forgotten: under load they were a fifth of all that is allocated.
var requests = sync.Pool{New: func() any { return new(Request) }}

// state is where a request's hold stands.
type state uint8

const (
	held    state = iota
	lapsed        // the hold expired or was interrupted: one late settlement is still taken
	settled       // final
)

// RecentSize is how many ended requests stay in memory unless said otherwise.
const RecentSize = 1 << 14

// Config is what a machine is given from outside.
type Config struct {
	Clock  func() time.Time
	Sink   Sink
	Past   Past
	Recent int // ended requests that stay in memory, so that a repeated call is answered without the disk; 0: RecentSize
}

// Machine decides. It is not safe for concurrent use: its owner holds a lock, or is a single goroutine.
type Machine struct {
	clock func() time.Time
	sink  Sink
	past  Past

	accounts       *slab.Table[string, Account]
	room           slab.Values[Account]
	ids            slab.Texts
	requests       map[storage.RequestID]*Request // open holds and recently ended ones
	grants         map[grantRef]pendingGrant
	spenders       map[storage.Spender]*spending
	dirty          []*spending // with changes that no record has, in the order of the first
	calendar       calendar
	totals         Totals
	position       uint64   // of the last line
	oldest, newest *Request // list of open holds, in the order of their lines
	recent         []*Request
	recentAt       int
	forgotten      storage.RequestID // the highest id of an ended request that is on disk only
	fresh          fresh             // of lower ones
}

// grantRef names a grant; pendingGrant is one that is not on disk yet.
type grantRef struct{ account, reference string }

type pendingGrant struct {
	amount storage.Credits
	batch  *storage.Batch
}

// New returns the machine of an empty ledger.
func New(c Config) *Machine {
	seed, recent := maphash.MakeSeed(), cmp.Or(c.Recent, RecentSize)
	return &Machine{
		clock: c.Clock, sink: c.Sink, past: c.Past, recent: make([]*Request, recent), fresh: newFresh(recent),
		accounts: slab.NewTable(func(id string) uint64 { return maphash.String(seed, id) }, func(a *Account) string { return a.ID }),
		requests: map[storage.RequestID]*Request{}, grants: map[grantRef]pendingGrant{},
		spenders: map[storage.Spender]*spending{},
	}
}

// Reserve sets the amount aside if the account has it available and every cap has room. The batch tells when that is on disk.
// The same request with the same account and amount again, while its hold is open, returns the first batch. Errors:
// ErrNotFound (account), ErrInsufficientCredits, ErrBudget (a *BudgetError), ErrConflict (the request id was used otherwise or
// has ended), ErrInvalid (negative amount).
func (m *Machine) Reserve(h storage.Hold) (*storage.Batch, error) {
	if h.Amount < 0 {
		return nil, fmt.Errorf("reserving %s credits: %w", h.Amount, storage.ErrInvalid)
	}
	a := m.accounts.Get(h.Account)
	if a == nil {
		return nil, fmt.Errorf("account %.64q: %w", h.Account, storage.ErrNotFound)
	}
	known, err := m.known(h.Request)
	if err != nil {
		return nil, err
	}
	if known != nil {
		if known.state == held && known.account == a && known.amount == h.Amount {
			return known.batch, nil
		}
		return nil, fmt.Errorf("reserving for request %s: %w", h.Request, storage.ErrConflict)
	}
	if h.Amount > 0 && a.available() < h.Amount {
		return nil, storage.ErrInsufficientCredits
	}
	r := requests.Get().(*Request)
	*r = Request{ID: h.Request, account: a, amount: h.Amount, expires: h.Expires, key: h.Key, team: h.Team, caps: append(r.caps[:0], h.Caps...)}
	if err := m.spends(r); err != nil {
		return nil, err
	}
	if err := m.within(r, r.caps, h.Amount); err != nil {
		return nil, err
	}
	m.requests[r.ID] = r
	m.opened(r)
	a.open++
	m.hold(r, r.amount)
	r.Position = m.position + 1
	r.batch = m.enter(Line{Of: a, Request: r, Entry: storage.Entry{
		Kind: storage.EntryHold, Amount: r.amount, Expires: r.expires, Key: r.key, Team: r.team,
	}}, false)
	return r.batch, nil
}

// Extend sets more aside under a request's open hold, for a round of the request that its first hold did not foresee. Errors:
// ErrNotFound (no hold of that request was ever taken), ErrInsufficientCredits, ErrBudget (of the caps the hold was taken
// under), ErrConflict (the hold has ended), ErrInvalid (negative amount).
func (m *Machine) Extend(id storage.RequestID, more storage.Credits) (*storage.Batch, error) {
	if more < 0 {
		return nil, fmt.Errorf("extending a hold by %s credits: %w", more, storage.ErrInvalid)
	}
	r, err := m.find(id)
	if err == nil && r.state != held {
		err = storage.ErrConflict
	}
	if err != nil {
		return nil, fmt.Errorf("extending the hold of request %s: %w", id, err)
	}
	if more > 0 && r.account.available() < more {
		return nil, storage.ErrInsufficientCredits
	}
	if err := m.within(r, r.caps, more); err != nil {
		return nil, err
	}
	r.amount += more
	m.hold(r, more)
	r.batch = m.enter(Line{Of: r.account, Request: r, Entry: storage.Entry{Kind: storage.EntryExtend, Amount: more}}, false)
	return r.batch, nil
}

// Settle ends the request's hold, or charges late for one that has lapsed, exactly once: every later call returns the first
// Charged and Loss with Repeat set and today's balance. A reason above 32 bytes is cut. Errors: ErrNotFound (no hold of
// that request was ever taken), ErrInvalid (negative or absurd charge).
func (m *Machine) Settle(x storage.Settlement) (storage.Receipt, *storage.Batch, error) {
	r, err := m.find(x.Request)
	if err != nil {
		return storage.Receipt{}, nil, fmt.Errorf("settling request %s: %w", x.Request, err)
	}
	if r.state == settled {
		return r.receipt(true), r.batch, nil
	}
	if x.Charge < 0 || x.Charge > math.MaxInt64-m.totals.Revenue {
		return storage.Receipt{}, nil, fmt.Errorf("charging request %s %s credits: %w", x.Request, x.Charge, storage.ErrInvalid)
	}
	if r.spenders[1] == nil { // its hold is from before a restart
		if err := m.spends(r); err != nil {
			return storage.Receipt{}, nil, err
		}
	}
	e := storage.Entry{Kind: storage.EntryLate, Reason: cut(x.Reason, 32), Key: r.key, Team: r.team, Tier: x.Tier}
	if r.state == held {
		e.Kind = storage.EntrySettle
		e.Amount = r.amount
		m.release(r)
	}
	// What the hold set aside is available again by now, so one rule covers a charge below it, above it, and without it.
	e.Charged = min(x.Charge, max(r.account.available(), 0))
	e.Loss = x.Charge - e.Charged
	r.account.posted -= e.Charged
	r.state, r.charged, r.loss = settled, e.Charged, e.Loss
	m.requests[r.ID] = r
	r.batch = m.enter(Line{Of: r.account, Request: r, Entry: e}, false)
	return r.receipt(false), r.batch, nil
}

// Grant adds credits to an account, or takes available ones back. The same reference and amount again changes nothing. Errors:
// ErrNotFound (account), ErrConflict (reference used with another amount), ErrInsufficientCredits (taking back more than is
// available without an overdraft), ErrInvalid.
func (m *Machine) Grant(g storage.Grant) (*storage.Batch, error) {
	if len(g.Reference) == 0 || len(g.Reference) > 128 || len(g.Kind) > 32 {
		return nil, fmt.Errorf("granting with reference %.128q of kind %.32q: %w", g.Reference, g.Kind, storage.ErrInvalid)
	}
	a := m.accounts.Get(g.Account)
	if a == nil {
		return nil, storage.ErrNotFound
	}
	if batch, done, err := m.granted(g.Account, g.Reference, g.Amount); done || err != nil {
		return batch, err
	}
	if g.Amount < 0 && a.posted-a.held+g.Amount < 0 {
		return nil, storage.ErrInsufficientCredits
	}
	if !m.issuable(g.Amount) {
		return nil, storage.ErrInvalid
	}
	return m.issue(a, g, nil), nil
}

// Transfer moves available credits from one account to another, without the use of an overdraft. The same reference and amount
// between the same accounts again changes nothing. Errors: as of Grant.
func (m *Machine) Transfer(t storage.Transfer) (*storage.Batch, error) {
	if len(t.Reference) == 0 || len(t.Reference) > 128 || t.Amount <= 0 || t.From == t.To {
		return nil, fmt.Errorf("transferring %s credits with reference %.128q: %w", t.Amount, t.Reference, storage.ErrInvalid)
	}
	from, to := m.accounts.Get(t.From), m.accounts.Get(t.To)
	if from == nil || to == nil {
		return nil, storage.ErrNotFound
	}
	batch, given, err := m.granted(t.From, t.Reference, -t.Amount)
	if err != nil {
		return nil, err
	}
	_, taken, err := m.granted(t.To, t.Reference, t.Amount)
	switch {
	case err != nil:
		return nil, err
	case given && taken:
		return batch, nil
	case given || taken:
		return nil, storage.ErrConflict
	case from.posted-from.held < t.Amount:
		return nil, storage.ErrInsufficientCredits
	}
	from.posted -= t.Amount
	m.enter(Line{Of: from, Entry: storage.Entry{Kind: storage.EntryTransfer, Amount: -t.Amount, Reference: t.Reference, Reason: t.To}}, true)
	to.posted += t.Amount
	batch = m.enter(Line{Of: to, Entry: storage.Entry{Kind: storage.EntryTransfer, Amount: t.Amount, Reference: t.Reference, Reason: t.From}}, false)
	m.grants[grantRef{t.From, t.Reference}] = pendingGrant{-t.Amount, batch}
	m.grants[grantRef{t.To, t.Reference}] = pendingGrant{t.Amount, batch}
	return batch, nil
}

// OpenAccount adds an account with an opening grant; encoded is its record as the writer keeps it. Errors: ErrExists,
// ErrInvalid (amount).
func (m *Machine) OpenAccount(record storage.Account, opening storage.Credits, encoded []byte) (*storage.Batch, error) {
	if m.accounts.Get(record.ID) != nil {
		return nil, storage.ErrExists
	}
	if opening < 0 || !m.issuable(opening) {
		return nil, storage.ErrInvalid
	}
	a := m.Know(record)
	m.totals.Accounts++
	return m.issue(a, storage.Grant{Account: record.ID, Amount: opening, Reference: "opening", Kind: "opening"}, encoded), nil
}

// Sweep ends every hold whose time has passed.
func (m *Machine) Sweep(now time.Time) {
	for r := m.oldest; r != nil; {
		next := r.newer
		if now.After(r.expires) {
			m.lapse(r, storage.EntryExpire)
		}
		r = next
	}
}

// Interrupt ends every hold that is open, as a restart must: nobody is left who would settle them. It returns them and the
// batch of the last, nil if there was none.
func (m *Machine) Interrupt() (holds []storage.Hold, last *storage.Batch) {
	for r := m.oldest; r != nil; r = m.oldest {
		holds = append(holds, storage.Hold{
			Request: r.ID, Account: r.account.ID, Amount: r.amount, Expires: r.expires, Key: r.key, Team: r.team,
		})
		m.lapse(r, storage.EntryInterrupt)
		last = r.batch
	}
	return holds, last
}

// Account returns an account, nil if there is none.
func (m *Machine) Account(id string) *Account { return m.accounts.Get(id) }

// Know adds an account of which nothing but the record is known: one that is being opened, or any of a ledger that is halted.
func (m *Machine) Know(record storage.Account) *Account {
	return m.add(Account{ID: record.ID, Overdraft: record.Overdraft})
}

func (m *Machine) add(a Account) *Account {
	a.ID = m.ids.Copy(a.ID)
	added := m.room.New()
	*added = a
	m.accounts.Put(added)
	return added
}

// Balance is the account's standing including what is not on disk yet. Errors: ErrNotFound.
func (m *Machine) Balance(id string) (storage.Balance, error) {
	a := m.accounts.Get(id)
	if a == nil {
		return storage.Balance{}, fmt.Errorf("account %.64q: %w", id, storage.ErrNotFound)
	}
	return a.balance(), nil
}

// Totals are the ledger's sums, OldestHold the position of the oldest open hold's line, or that of the next line if none is open.
func (m *Machine) Totals() (t Totals, oldestHold uint64) {
	if m.oldest != nil {
		return m.totals, m.oldest.Position
	}
	return m.totals, m.position + 1
}

// Durable tells the machine that lines are on disk, where its Past finds them: it lets go of what it only kept until then.
func (m *Machine) Durable(lines []Line) {
	for i := range lines {
		l := &lines[i]
		l.Of.durable = l.Position
		switch l.Kind {
		case storage.EntryHold, storage.EntryExtend:
		case storage.EntryGrant, storage.EntryTransfer:
			delete(m.grants, grantRef{l.Entry.Account, l.Reference})
		default:
			if final := l.Kind == storage.EntrySettle || l.Kind == storage.EntryLate; final == (l.Request.state == settled) {
				l.Request.batch = nil // no line follows: a batch for each that is remembered would be as much memory again
			}
			m.remember(l.Request)
		}
	}
}

// LastDurable is the position of the account's last line on disk; 0 if it has none.
func (a *Account) LastDurable() uint64 { return a.durable }

// enter numbers a decided line and hands it on.
func (m *Machine) enter(l Line, joined bool) *storage.Batch {
	a, e := l.Of, &l.Entry
	m.position++
	a.seq++
	e.Position, e.Seq, e.Previous = m.position, a.seq, a.last
	a.last = e.Position
	e.Account, e.Time = a.ID, m.clock()
	e.Posted, e.Held, e.Open, e.Overdraft = a.posted, a.held, a.open, a.Overdraft
	if r := l.Request; r != nil {
		e.Request = r.ID
		if e.Kind != storage.EntryHold && e.Kind != storage.EntryExtend {
			r.endings++
		}
		if e.Charged > 0 {
			m.spent(r, e)
		}
	}
	m.totals.post(e)
	return m.sink.Enter(l, joined)
}

// lapse ends an open hold without a charge.
func (m *Machine) lapse(r *Request, kind storage.EntryKind) {
	m.release(r)
	r.state = lapsed
	r.batch = m.enter(Line{Of: r.account, Request: r, Entry: storage.Entry{Kind: kind, Amount: r.amount, Key: r.key, Team: r.team}}, false)
}

// hold sets credits aside, for the account and for those who spend them.
func (m *Machine) hold(r *Request, amount storage.Credits) {
	r.account.held += amount
	for _, s := range r.spenders {
		if s != nil {
			s.hold(r.caps, amount)
		}
	}
}

// release gives back what the hold set aside.
func (m *Machine) release(r *Request) {
	m.unlink(r)
	m.hold(r, -r.amount)
	r.account.open--
}

// known returns what is known of a request that is about to be reserved, nil if it is new. Ids are ordered by time and
// requests leave memory in about that order, so only an id at or below the highest that left may need the disk.
func (m *Machine) known(id storage.RequestID) (*Request, error) {
	if r := m.requests[id]; r != nil {
		return r, nil
	}
	if bytes.Compare(id[:], m.forgotten[:]) > 0 || m.fresh.is(id) {
		return nil, nil
	}
	return m.ended(id)
}

// find returns the request from memory or disk, or ErrNotFound.
func (m *Machine) find(id storage.RequestID) (*Request, error) {
	if r := m.requests[id]; r != nil {
		return r, nil
	}
	r, err := m.ended(id)
	if err == nil && r == nil {
		err = storage.ErrNotFound
	}
	return r, err
}

func (m *Machine) ended(id storage.RequestID) (*Request, error) {
	e, err := m.past.Ended(id)
	if e == nil || err != nil {
		return nil, err
	}
	r := &Request{ID: id, account: m.accounts.Get(e.Account), state: settled, charged: e.Charged, loss: e.Loss, key: e.Key, team: e.Team}
	if e.MayBeCharged {
		r.state = lapsed
	}
	if r.account == nil {
		return nil, fmt.Errorf("request %s: account %.64q: %w", id, e.Account, storage.ErrNotFound)
	}
	return r, nil
}

// granted tells whether the reference was used before, with the same amount, and the batch it is in if that may not be on disk
// yet. Another amount is ErrConflict.
func (m *Machine) granted(account, reference string, amount storage.Credits) (batch *storage.Batch, done bool, err error) {
	if p, ok := m.grants[grantRef{account, reference}]; ok {
		if p.amount != amount {
			return nil, false, storage.ErrConflict
		}
		return p.batch, true, nil
	}
	before, err := m.past.Granted(account, reference)
	switch {
	case err != nil || before == nil:
		return nil, false, err
	case *before != amount:
		return nil, false, storage.ErrConflict
	}
	return nil, true, nil
}

// issuable tells whether no sum can leave int64: every posted balance is bounded by what was issued in all.
func (m *Machine) issuable(amount storage.Credits) bool {
	const most = math.MaxInt64 / 2
	return amount > -most && amount < most && m.totals.Issued-amount > -most && m.totals.Issued-amount < most
}

// issue enters a grant that was found good; record is the account's own record when the grant opens it.
func (m *Machine) issue(a *Account, g storage.Grant, record []byte) *storage.Batch {
	a.posted += g.Amount
	batch := m.enter(Line{Of: a, Record: record, Entry: storage.Entry{
		Kind: storage.EntryGrant, Amount: g.Amount, Reference: g.Reference, Reason: g.Kind,
	}}, false)
	m.grants[grantRef{g.Account, g.Reference}] = pendingGrant{g.Amount, batch}
	return batch
}

// remember puts an ended request that is on disk into the ring of recent ones, and forgets the one it displaces.
func (m *Machine) remember(r *Request) {
	old := m.recent[m.recentAt]
	m.recent[m.recentAt] = r
	m.recentAt = (m.recentAt + 1) % len(m.recent)
	if old == nil {
		return
	}
	if old.endings--; old.endings > 0 {
		return
	}
	delete(m.requests, old.ID)
	m.fresh.note(old.ID)
	if bytes.Compare(old.ID[:], m.forgotten[:]) > 0 {
		m.forgotten = old.ID
	}
	requests.Put(old)
}

func (r *Request) receipt(repeat bool) storage.Receipt {
	return storage.Receipt{Charged: r.charged, Loss: r.loss, Balance: r.account.balance(), Repeat: repeat}
}

// opened appends the hold to the list of open ones.
func (m *Machine) opened(r *Request) {
	r.older = m.newest
	if m.newest != nil {
		m.newest.newer = r
	} else {
		m.oldest = r
	}
	m.newest = r
}

// unlink takes the hold off the list of open ones.
func (m *Machine) unlink(r *Request) {
	if r.older != nil {
		r.older.newer = r.newer
	} else {
		m.oldest = r.newer
	}
	if r.newer != nil {
		r.newer.older = r.older
	} else {
		m.newest = r.older
	}
	r.older, r.newer = nil, nil
}

func cut(text string, n int) string { return text[:min(n, len(text))] }
