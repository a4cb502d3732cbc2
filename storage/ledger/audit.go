package ledger

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/slab"
)

// Audit follows the ledger line by line and checks each against everything before it. It starts either at the first line,
// or later, with the standing of accounts and spenders taken from what is on disk of them before the start.
type Audit struct {
	Checkpoint                      // what the lines so far add up to; the totals mean something only if Whole
	Whole      bool                 // started at the first line
	Standing   map[string]*Standing // accounts seen
	Holds      map[storage.RequestID]storage.Entry
	// Indexed is called for every record that finds lines again: with added false it takes back what was added for the same
	// request before. Nil: nobody keeps count.
	Index func(e *storage.Entry, position uint64, added bool)

	lapsed   map[storage.RequestID]uint64 // position of the end of holds that may still be charged late
	earlier  Earlier
	spenders map[storage.Spender]*audited
	calendar calendar
	other    *storage.Entry // first line of a transfer whose second must come next
	hasher   Hasher
	room     slab.Values[Standing]
	ids      slab.Texts
}

// Earlier is what an audit that does not begin at the first line asks of what lies before its start.
type Earlier interface {
	Line(position uint64) (storage.Entry, error)
	// Spending is the newest record of a spender; nil if there is none.
	Spending(s storage.Spender) ([]byte, error)
}

// Standing is an account as its last line left it.
type Standing struct {
	Posted, Held, Overdraft storage.Credits
	Open                    uint64
	Link                    Link
	// Granted is the overdraft that its record grants, which a later line will tell; HasRecord, that there is one. Lines know neither.
	Granted   storage.Credits
	HasRecord bool
}

// audited is a spender as the lines say, and its record on disk, which must say the same of the line after which it is exact.
type audited struct {
	spending
	record []byte
	exact  uint64 // position after which the record is exact
}

// NewAudit begins at the line after the given one, which may be the first of a transfer; the zero value is the beginning of the ledger.
func NewAudit(before storage.Entry, earlier Earlier) *Audit {
	a := &Audit{
		Checkpoint: Checkpoint{Position: before.Position, Hash: before.Hash}, Whole: before.Position == 0,
		Standing: map[string]*Standing{}, Holds: map[storage.RequestID]storage.Entry{},
		lapsed: map[storage.RequestID]uint64{}, earlier: earlier, spenders: map[storage.Spender]*audited{},
	}
	if before.Kind == storage.EntryTransfer && before.Amount < 0 {
		a.other = &before
	}
	return a
}

// fault names what is wrong with a line.
func fault(e *storage.Entry, format string, args ...any) error {
	return fmt.Errorf("account %s seq %d (ledger position %d): %s", e.Account, e.Seq, e.Position, fmt.Sprintf(format, args...))
}

// Add checks the next line; stored is its encoding and hash.
func (a *Audit) Add(e *storage.Entry, stored []byte) error {
	if e.Position != a.Position+1 {
		return fault(e, "ledger positions %d to %d are missing", a.Position+1, e.Position-1)
	}
	acc, err := a.account(e)
	if err != nil {
		return err
	}
	hash := a.hasher.Hash(e.Position, &a.Hash, &acc.Link.Hash, stored[:len(stored)-HashSize])
	switch {
	case e.Seq != acc.Link.Seq+1:
		return fault(e, "follows seq %d", acc.Link.Seq)
	case e.Previous != acc.Link.Position:
		return fault(e, "names position %d as the one before it, which is %d", e.Previous, acc.Link.Position)
	case hash != e.Hash:
		return fault(e, "hash does not match its content and the lines before it")
	}
	free := acc.Posted - acc.Held
	if err := a.apply(acc, e); err != nil {
		return err
	}
	switch {
	case e.Posted != acc.Posted:
		return fault(e, "says posted %s, its postings sum to %s", e.Posted, acc.Posted)
	case e.Held != acc.Held || e.Open != acc.Open:
		return fault(e, "says %s held by %d holds, found %s by %d", e.Held, e.Open, acc.Held, acc.Open)
	case acc.Held < 0 || e.Overdraft < 0 || acc.Posted-acc.Held < min(free, -e.Overdraft):
		return fault(e, "takes more than was available: posted %s, held %s, overdraft %s", acc.Posted, acc.Held, e.Overdraft)
	}
	acc.Overdraft = e.Overdraft
	acc.Link = Link{Position: e.Position, Seq: e.Seq, Hash: e.Hash}
	a.Position, a.Hash = e.Position, e.Hash
	return a.spend(e)
}

// account returns the standing of the line's account before it.
func (a *Audit) account(e *storage.Entry) (*Standing, error) {
	if acc := a.Standing[e.Account]; acc != nil {
		return acc, nil
	}
	if e.Previous == 0 {
		a.Accounts++
	} else if !a.Whole {
		before, err := a.earlier.Line(e.Previous)
		if err != nil || before.Account != e.Account {
			return nil, fault(e, "the account's line before it, at ledger position %d, is missing", e.Previous)
		}
		return a.StandsAfter(&before), nil
	}
	return a.add(e.Account), nil
}

// StandsAfter adds an account as the line left it.
func (a *Audit) StandsAfter(e *storage.Entry) *Standing {
	acc := a.add(e.Account)
	*acc = Standing{
		Posted: e.Posted, Held: e.Held, Open: e.Open, Overdraft: e.Overdraft,
		Link: Link{Position: e.Position, Seq: e.Seq, Hash: e.Hash},
	}
	return acc
}

func (a *Audit) add(id string) *Standing {
	acc := a.room.New()
	a.Standing[a.ids.Copy(id)] = acc
	return acc
}

// apply does to the account what the line says, if the rules of its kind allow it.
func (a *Audit) apply(acc *Standing, e *storage.Entry) error {
	switch e.Kind {
	case storage.EntrySettle, storage.EntryLate:
		if e.Charged < 0 || e.Loss < 0 {
			return fault(e, "charges a negative amount")
		}
	default:
		if e.Charged != 0 || e.Loss != 0 {
			return fault(e, "a %s cannot charge", e.Kind)
		}
	}
	if a.other != nil && e.Kind != storage.EntryTransfer {
		return fault(e, "stands between the two lines of a transfer")
	}
	switch e.Kind {
	case storage.EntryGrant:
		acc.Posted += e.Amount
		a.index(e, e.Position, true)
	case storage.EntryTransfer:
		if err := a.transfer(e); err != nil {
			return err
		}
		acc.Posted += e.Amount
		a.index(e, e.Position, true)
	case storage.EntryHold:
		if _, open := a.Holds[e.Request]; open || e.Amount < 0 {
			return fault(e, "request %s cannot be held for", e.Request)
		}
		a.Holds[e.Request] = *e
		acc.Held += e.Amount
		acc.Open++
	case storage.EntryExtend:
		hold, open := a.Holds[e.Request]
		if !open && a.Whole || open && hold.Account != e.Account || e.Amount < 0 {
			return fault(e, "request %s has no open hold to extend", e.Request)
		}
		if hold.Amount += e.Amount; open {
			a.Holds[e.Request] = hold
		}
		acc.Held += e.Amount
	case storage.EntrySettle, storage.EntryExpire, storage.EntryInterrupt:
		if err := a.endHold(e); err != nil {
			return err
		}
		acc.Held -= e.Amount
		acc.Open--
	case storage.EntryLate:
		before, ok := a.lapsed[e.Request]
		if !ok && a.Whole {
			return fault(e, "request %s has no lapsed hold to settle late", e.Request)
		}
		delete(a.lapsed, e.Request)
		if ok {
			a.index(e, before, false)
		}
		a.index(e, e.Position, true)
	default:
		return fault(e, "unknown kind %d", e.Kind)
	}
	acc.Posted -= e.Charged
	a.post(e)
	return nil
}

func (a *Audit) index(e *storage.Entry, position uint64, added bool) {
	if a.Index != nil {
		a.Index(e, position, added)
	}
}

// transfer matches the two lines of a transfer.
func (a *Audit) transfer(e *storage.Entry) error {
	from := a.other
	if from == nil {
		if e.Amount >= 0 {
			return fault(e, "takes a transfer that nobody gave")
		}
		first := *e
		a.other = &first
		return nil
	}
	if e.Amount != -from.Amount || e.Reference != from.Reference || e.Reason != from.Account || from.Reason != e.Account {
		return fault(e, "is not the other side of the transfer of account %s over %s credits", from.Account, -from.Amount)
	}
	a.other = nil
	return nil
}

// endHold matches the end of a hold with its beginning.
func (a *Audit) endHold(e *storage.Entry) error {
	hold, open := a.Holds[e.Request]
	switch {
	case !open && a.Whole:
		return fault(e, "request %s has no open hold to end", e.Request)
	case open && (hold.Account != e.Account || hold.Amount != e.Amount):
		return fault(e, "ends the hold of account %s over %s credits with %s", hold.Account, hold.Amount, e.Amount)
	case open && (hold.Key != e.Key || hold.Team != e.Team):
		return fault(e, "ends the hold of key %q and team %q for key %q and team %q", hold.Key, hold.Team, e.Key, e.Team)
	}
	delete(a.Holds, e.Request)
	if e.Kind != storage.EntrySettle {
		a.lapsed[e.Request] = e.Position
	}
	a.index(e, e.Position, true)
	return nil
}

// spend counts what a line charges for those who spend it, and compares their records on disk when they must be exact.
func (a *Audit) spend(e *storage.Entry) error {
	if e.Charged == 0 {
		return nil
	}
	a.calendar.turn(e.Time)
	for _, who := range [...]storage.Spender{storage.SpenderKey + storage.Spender(e.Key), storage.SpenderAccount + storage.Spender(e.Account), storage.SpenderTeam + storage.Spender(e.Team)} {
		if len(who) == len(storage.SpenderKey) {
			continue
		}
		s, err := a.spender(who)
		if err != nil {
			return fault(e, "the record of what %s spent: %v", who, err)
		}
		if s.exact != 0 && e.Position > s.exact && a.Whole {
			if err := s.compare(); err != nil {
				return fault(e, "%v", err)
			}
		}
		if a.Whole || e.Position > s.exact {
			s.add(&a.calendar, e.Tier, e.Charged)
		}
	}
	return nil
}

// spender returns a spender as the lines before left it, or, if they do not begin at the first, as its record does.
func (a *Audit) spender(who storage.Spender) (*audited, error) {
	if s := a.spenders[who]; s != nil {
		return s, nil
	}
	s := &audited{spending: spending{spender: who}}
	a.spenders[who] = s
	if a.earlier == nil {
		return s, nil
	}
	record, err := a.earlier.Spending(who)
	if err != nil || record == nil {
		return s, err
	}
	s.record = record
	if a.Whole {
		s.exact, err = new(spending).decode(record)
	} else {
		s.exact, err = s.decode(record)
	}
	return s, err
}

// Spends tells whether the lines so far charged anything that the spender spends.
func (a *Audit) Spends(who storage.Spender) bool { return a.spenders[who] != nil }

// compare checks the record against the lines up to where it is exact, once.
func (s *audited) compare() error {
	position := s.exact
	s.exact = 0
	if string(s.encode(position)) != string(s.record) {
		return fmt.Errorf("the record of what %s spent up to ledger position %d is not what the lines say", s.spender, position)
	}
	return nil
}

// Finish compares what the lines add up to with the checkpoint, after the last line and once Standing holds every account.
func (a *Audit) Finish(end Checkpoint) error {
	if a.Position != end.Position || a.Hash != end.Hash {
		return fmt.Errorf("ledger ends at position %d (hash %x), its checkpoint says %d (%x)",
			a.Position, a.Hash[:4], end.Position, end.Hash[:4])
	}
	if a.other != nil {
		return fault(a.other, "gives a transfer that nobody took")
	}
	for _, s := range a.spenders {
		if a.Whole && s.exact != 0 {
			if err := s.compare(); err != nil {
				return err
			}
		}
	}
	var posted storage.Credits
	var open uint64
	byAccount := map[string]storage.Credits{}
	a.Oldest = a.Position + 1
	for _, hold := range a.Holds {
		byAccount[hold.Account] += hold.Amount
		a.Oldest = min(a.Oldest, hold.Position)
	}
	for id, acc := range a.Standing {
		if byAccount[id] != acc.Held {
			return fmt.Errorf("account %s seq %d: open holds sum to %s, its last line says %s",
				id, acc.Link.Seq, byAccount[id], acc.Held)
		}
		posted += acc.Posted
		open += acc.Open
	}
	switch {
	case open != uint64(len(a.Holds)) || open != end.Open || a.Oldest != end.Oldest:
		return fmt.Errorf("accounts have %d open holds, the ledger %d, its checkpoint says %d", open, len(a.Holds), end.Open)
	case uint64(len(a.Standing)) != end.Accounts:
		return fmt.Errorf("ledger has %d accounts, its checkpoint says %d", len(a.Standing), end.Accounts)
	case posted != end.Posted:
		return fmt.Errorf("balances sum to %s, the checkpoint says %s", posted, end.Posted)
	case end.Sum() != 0:
		return fmt.Errorf("balances and system accounts sum to %s, not 0", end.Sum())
	case a.Whole && a.Totals != end.Totals:
		return fmt.Errorf("lines sum to %+v, the checkpoint says %+v", a.Totals, end.Totals)
	}
	a.Checkpoint = end
	return nil
}

// CheckAccounts gives the accounts their records: each must have one, and no record may be without a line.
func (a *Audit) CheckAccounts(records []storage.Account) error {
	for _, record := range records {
		acc := a.Standing[record.ID]
		if acc == nil {
			return fmt.Errorf("account %s: has no line in the ledger", record.ID)
		}
		acc.Granted, acc.HasRecord = record.Overdraft, !record.Created.IsZero()
	}
	for id, acc := range a.Standing {
		if !acc.HasRecord {
			return fmt.Errorf("account %s seq %d: its record is missing", id, acc.Link.Seq)
		}
	}
	return nil
}

// Adopt makes the machine of a ledger that was found good; forgotten is the highest id of a request that has ended. Accounts
// whose last line is at or after the checkpoint's Indexed are returned in dirty: their head records may be old.
func (m *Machine) Adopt(a *Audit, forgotten storage.RequestID) (dirty []*Account) {
	m.totals, m.position, m.forgotten = a.Totals, a.Position, forgotten
	m.fresh.since = spanOf(forgotten)
	for id, s := range a.Standing {
		acc := m.add(Account{
			ID: id, Overdraft: s.Granted, posted: s.Posted, held: s.Held, open: s.Open, seq: s.Link.Seq, last: s.Link.Position, durable: s.Link.Position, Link: s.Link,
		})
		if s.Link.Position >= a.Indexed {
			acc.Link.DirtySince = a.Indexed
			dirty = append(dirty, acc)
		}
	}
	for who, s := range a.spenders {
		own := s.spending
		if own.dirtySince = a.Indexed; a.Indexed > a.Position {
			own.dirtySince = 0
		} else {
			m.dirty = append(m.dirty, &own)
		}
		m.spenders[who] = &own
	}
	holds := make([]storage.Entry, 0, len(a.Holds))
	for _, hold := range a.Holds {
		holds = append(holds, hold)
	}
	slices.SortFunc(holds, func(x, y storage.Entry) int { return cmp.Compare(x.Position, y.Position) })
	for i := range holds {
		e := &holds[i]
		r := &Request{
			ID: e.Request, Position: e.Position, account: m.accounts.Get(e.Account), amount: e.Amount, expires: e.Expires, key: e.Key, team: e.Team,
		}
		m.requests[r.ID] = r
		m.opened(r)
	}
	return dirty
}
