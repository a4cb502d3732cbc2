package ledger

import (
	"errors"
	"math"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// model is what the ledger must do, in the plainest words: maps, sums over everything, and no thought of speed.
type model struct {
	accounts map[string]*modelAccount
	requests map[storage.RequestID]*modelRequest
	grants   map[grantRef]storage.Credits
	spent    map[modelPeriod]map[uint8]storage.Credits
	since    map[modelPeriod]time.Time // when the period that is counted began
	issued   storage.Credits
	revenue  storage.Credits
}

type modelAccount struct{ posted storage.Credits }

type modelRequest struct {
	storage.Hold
	state         state
	charged, loss storage.Credits
}

type modelPeriod struct {
	who    storage.Spender
	period storage.Period
}

func newModel() *model {
	return &model{
		accounts: map[string]*modelAccount{}, requests: map[storage.RequestID]*modelRequest{}, grants: map[grantRef]storage.Credits{},
		spent: map[modelPeriod]map[uint8]storage.Credits{}, since: map[modelPeriod]time.Time{},
	}
}

// world is what a model is told beside its operations.
type world struct {
	now        time.Time
	overdrafts map[string]storage.Credits
}

func (m *model) held(account string) (sum storage.Credits) {
	for _, r := range m.requests {
		if r.state == held && r.Account == account {
			sum += r.Amount
		}
	}
	return sum
}

func (m *model) available(w world, account string) storage.Credits {
	return m.accounts[account].posted - m.held(account) + w.overdrafts[account]
}

func spendersOf(h storage.Hold) []storage.Spender {
	all := []storage.Spender{storage.SpenderAccount + storage.Spender(h.Account)}
	if h.Key != "" {
		all = append(all, storage.SpenderKey+storage.Spender(h.Key))
	}
	if h.Team != "" {
		all = append(all, storage.SpenderTeam+storage.Spender(h.Team))
	}
	return all
}

// standing is what a spender spent in the period of now, and what is held for it.
func (m *model) standing(w world, who storage.Spender, p storage.Period, tier *uint8) (spent, reserved storage.Credits) {
	at := modelPeriod{who, p}
	if current(p, m.since[at], w.now) {
		for t, c := range m.spent[at] {
			if tier == nil || t == *tier {
				spent += c
			}
		}
	}
	for _, r := range m.requests {
		if r.state != held {
			continue
		}
		for _, s := range spendersOf(r.Hold) {
			if s != who {
				continue
			}
			named := tier == nil
			for _, c := range r.Caps {
				named = named || c.Spender == who && c.Tier != nil && *c.Tier == *tier
			}
			if named {
				reserved += r.Amount
			}
		}
	}
	return spent, reserved
}

// current tells whether what was counted since a time still counts now.
func current(p storage.Period, since, now time.Time) bool {
	start := p.Start(now)
	if p == storage.PeriodTotal || start.Equal(since) {
		return true
	}
	return start.Before(since) && !p.Next(start).Before(since)
}

func (m *model) within(w world, caps []storage.Cap, amount storage.Credits) error {
	for _, c := range caps {
		spent, reserved := m.standing(w, c.Spender, c.Period, c.Tier)
		if amount > 0 && spent+reserved+amount > c.Credits {
			return storage.ErrBudget
		}
	}
	return nil
}

func (m *model) reserve(w world, h storage.Hold) error {
	r := m.requests[h.Request]
	switch {
	case h.Amount < 0:
		return storage.ErrInvalid
	case m.accounts[h.Account] == nil:
		return storage.ErrNotFound
	case r != nil && r.state == held && r.Account == h.Account && r.Amount == h.Amount:
		return nil
	case r != nil:
		return storage.ErrConflict
	case h.Amount > 0 && m.available(w, h.Account) < h.Amount:
		return storage.ErrInsufficientCredits
	}
	if err := m.within(w, h.Caps, h.Amount); err != nil {
		return err
	}
	m.requests[h.Request] = &modelRequest{Hold: h}
	return nil
}

func (m *model) extend(w world, id storage.RequestID, more storage.Credits) error {
	r := m.requests[id]
	switch {
	case more < 0:
		return storage.ErrInvalid
	case r == nil:
		return storage.ErrNotFound
	case r.state != held:
		return storage.ErrConflict
	case more > 0 && m.available(w, r.Account) < more:
		return storage.ErrInsufficientCredits
	}
	err := m.within(w, r.Caps, more)
	if err == nil {
		r.Amount += more
	}
	return err
}

func (m *model) settle(w world, x storage.Settlement) (receipt storage.Receipt, err error) {
	r := m.requests[x.Request]
	switch {
	case r == nil:
		return receipt, storage.ErrNotFound
	case r.state == settled:
		receipt.Repeat = true
	case x.Charge < 0 || x.Charge > math.MaxInt64-m.revenue:
		return receipt, storage.ErrInvalid
	default:
		r.state = settled
		r.charged = min(x.Charge, max(0, m.available(w, r.Account)))
		r.loss = x.Charge - r.charged
		m.accounts[r.Account].posted -= r.charged
		m.revenue += x.Charge
		if r.charged > 0 {
			m.count(w, r, x.Tier)
		}
	}
	receipt.Charged, receipt.Loss = r.charged, r.loss
	return receipt, nil
}

func (m *model) count(w world, r *modelRequest, tier uint8) {
	for _, who := range spendersOf(r.Hold) {
		for p := storage.PeriodTotal; p <= storage.PeriodMonth; p++ {
			at := modelPeriod{who, p}
			if m.spent[at] == nil || !current(p, m.since[at], w.now) {
				m.spent[at], m.since[at] = map[uint8]storage.Credits{}, p.Start(w.now)
			}
			m.spent[at][tier] += r.charged
		}
	}
}

func (m *model) grant(g storage.Grant) error {
	before, known := m.grants[grantRef{g.Account, g.Reference}]
	switch {
	case g.Reference == "":
		return storage.ErrInvalid
	case m.accounts[g.Account] == nil:
		return storage.ErrNotFound
	case known && before == g.Amount:
		return nil
	case known:
		return storage.ErrConflict
	case g.Amount < 0 && m.accounts[g.Account].posted-m.held(g.Account)+g.Amount < 0:
		return storage.ErrInsufficientCredits
	case g.Amount >= math.MaxInt64/2 || m.issued+g.Amount >= math.MaxInt64/2:
		return storage.ErrInvalid
	}
	m.grants[grantRef{g.Account, g.Reference}] = g.Amount
	m.accounts[g.Account].posted += g.Amount
	m.issued += g.Amount
	return nil
}

func (m *model) transfer(t storage.Transfer) error {
	given, gave := m.grants[grantRef{t.From, t.Reference}]
	taken, took := m.grants[grantRef{t.To, t.Reference}]
	switch {
	case t.Amount <= 0 || t.From == t.To:
		return storage.ErrInvalid
	case m.accounts[t.From] == nil || m.accounts[t.To] == nil:
		return storage.ErrNotFound
	case gave && took && given == -t.Amount && taken == t.Amount:
		return nil
	case gave || took:
		return storage.ErrConflict
	case m.accounts[t.From].posted-m.held(t.From) < t.Amount:
		return storage.ErrInsufficientCredits
	}
	m.grants[grantRef{t.From, t.Reference}], m.grants[grantRef{t.To, t.Reference}] = -t.Amount, t.Amount
	m.accounts[t.From].posted -= t.Amount
	m.accounts[t.To].posted += t.Amount
	return nil
}

func (m *model) openAccount(id string, opening storage.Credits) error {
	if m.accounts[id] != nil {
		return storage.ErrExists
	}
	m.accounts[id] = &modelAccount{posted: opening}
	m.grants[grantRef{id, "opening"}] = opening
	m.issued += opening
	return nil
}

// lapse ends open holds: those whose time has passed, or all.
func (m *model) lapse(now time.Time, all bool) {
	for _, r := range m.requests {
		if r.state == held && (all || now.After(r.Expires)) {
			r.state = lapsed
		}
	}
}

// kindOf is the error that callers tell apart.
func kindOf(err error) error {
	for _, kind := range []error{
		storage.ErrNotFound, storage.ErrExists, storage.ErrInsufficientCredits, storage.ErrBudget, storage.ErrConflict, storage.ErrInvalid,
	} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return err
}
