package badgerdb

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/pointsman/pointsman/storage"
)

// books add up the lines of a ledger that is killed again and again, by their own plain reading of them, and hold them against
// what was acknowledged and what the store says of balances and budgets.
type books struct {
	seen     map[string]uint64 // position up to which an account's lines are counted
	posted   map[string]storage.Credits
	requests map[storage.RequestID]*booked
	granted  map[string]storage.Credits // by account and reference
	spent    map[storage.Spender]*[3]storage.Credits
	told     int // operations that were acknowledged
	twice    int // requests that were charged more than once
	lost     int // acknowledged operations that are not in the ledger
	expired  int
	late     int
	open     int // holds that a restart ended
}

// booked is what the lines say of a request.
type booked struct {
	account                       string
	holds, ends, charges          int
	held, extended, charged, loss storage.Credits
	spenders                      string
	lapsed                        bool
}

func openBooks() *books {
	return &books{
		seen: map[string]uint64{}, posted: map[string]storage.Credits{}, requests: map[storage.RequestID]*booked{},
		granted: map[string]storage.Credits{}, spent: map[storage.Spender]*[3]storage.Credits{},
	}
}

// check reads what is new and compares all of it.
func (y *books) check(t testing.TB, s *Store, acknowledged []told) {
	t.Helper()
	for _, account := range workAccounts {
		y.read(t, s, account)
	}
	y.told += len(acknowledged)
	for _, a := range acknowledged {
		if problem := y.find(a); problem != "" {
			y.lost++
			t.Errorf("%q was acknowledged, and the ledger has %s", a.whole, problem)
		}
	}
	for who, want := range y.spent {
		for tier := range uint8(3) {
			if spent, held := s.Spent(who, storage.PeriodTotal, &tier); spent != want[tier] || held != 0 {
				t.Errorf("%s: spent %s of tier %d with %s held, the lines say %s", who, spent, tier, held, want[tier])
			}
		}
		all := want[0] + want[1] + want[2]
		if spent, held := s.Spent(who, storage.PeriodTotal, nil); spent != all || held != 0 || who == storage.SpenderKey+"thrifty" && spent > thriftyBudget {
			t.Errorf("%s: spent %s with %s held, the lines say %s", who, spent, held, all)
		}
	}
	y.checkKeys(t, s, acknowledged)
	y.open += len(s.Interrupted())
	y.repeat(t, s, acknowledged)
}

// read counts the lines of an account that were not there before.
func (y *books) read(t testing.TB, s *Store, account string) {
	t.Helper()
	var fresh []storage.Entry
	for from := uint64(0); ; {
		lines, err := s.Entries(account, from, 256)
		if errors.Is(err, storage.ErrNotFound) {
			return // killed before the account was there
		}
		if err != nil {
			t.Fatal(err)
		}
		known := slices.IndexFunc(lines, func(e storage.Entry) bool { return e.Position <= y.seen[account] })
		if known >= 0 {
			fresh = append(fresh, lines[:known]...)
			break
		}
		fresh = append(fresh, lines...)
		if from = lines[len(lines)-1].Previous; from == 0 {
			break
		}
	}
	slices.Reverse(fresh)
	for i := range fresh {
		y.add(t, &fresh[i])
	}
	if b, err := s.Balance(account); err != nil || b.Posted != y.posted[account] || b.Held != 0 {
		t.Errorf("%s: balance %+v, %v; the lines add up to %s", account, b, err, y.posted[account])
	}
}

func (y *books) add(t testing.TB, e *storage.Entry) {
	t.Helper()
	y.seen[e.Account] = e.Position
	y.posted[e.Account] -= e.Charged
	switch e.Kind {
	case storage.EntryGrant, storage.EntryTransfer:
		y.posted[e.Account] += e.Amount
		if _, ok := y.granted[e.Account+" "+e.Reference]; ok {
			t.Errorf("%s has two lines for reference %s", e.Account, e.Reference)
		}
		y.granted[e.Account+" "+e.Reference] = e.Amount
		return
	}
	r := y.requests[e.Request]
	if r == nil {
		r = &booked{account: e.Account, spenders: e.Key + "/" + e.Team}
		y.requests[e.Request] = r
	}
	switch e.Kind {
	case storage.EntryHold:
		r.holds++
		r.held = e.Amount
	case storage.EntryExtend:
		r.extended += e.Amount
	case storage.EntryExpire, storage.EntryInterrupt:
		r.ends++
		r.lapsed = true
		if e.Kind == storage.EntryExpire {
			y.expired++
		}
	case storage.EntrySettle, storage.EntryLate:
		r.charges++
		r.charged, r.loss = e.Charged, e.Loss
		if e.Kind == storage.EntrySettle {
			r.ends++
		} else {
			y.late++
		}
	}
	if r.charges > 1 {
		y.twice++
	}
	if r.holds != 1 || r.ends > 1 || r.charges > 1 || e.Kind == storage.EntryLate && !r.lapsed || e.Account != r.account || e.Posted != y.posted[e.Account] {
		t.Errorf("line %+v does not fit to what came before: %+v", e, *r)
	}
	if e.Charged == 0 {
		return
	}
	for _, who := range []storage.Spender{storage.SpenderKey + storage.Spender(e.Key), storage.SpenderAccount + storage.Spender(e.Account), storage.SpenderTeam + storage.Spender(e.Team)} {
		if len(who) == len(storage.SpenderKey) {
			continue
		}
		if y.spent[who] == nil {
			y.spent[who] = &[3]storage.Credits{}
		}
		y.spent[who][e.Tier] += e.Charged
	}
}

// find looks for an acknowledged operation among the lines, and returns what is there instead.
func (y *books) find(a told) (problem string) {
	var account, spenders string
	var x, z storage.Credits
	if a.kind == 'K' || a.kind == 'R' {
		return "" // others look
	}
	if a.kind == 'G' || a.kind == 'T' {
		fmt.Sscan(a.rest, &account, &x)
		if got, ok := y.granted[account+" "+a.name]; !ok || got != x {
			return fmt.Sprintf("%s under that reference", got)
		}
		if got := y.granted["rich "+a.name]; a.kind == 'T' && got != -x {
			return fmt.Sprintf("taken %s under that reference", got)
		}
		return ""
	}
	id, err := storage.ParseRequestID(a.name)
	if err != nil {
		return err.Error()
	}
	r := y.requests[id]
	if r == nil {
		return "no such request"
	}
	fits := false
	switch a.kind {
	case 'H':
		fmt.Sscan(a.rest, &account, &x, &spenders)
		fits = r.holds == 1 && r.account == account && r.held == x && r.spenders == spenders
	case 'X':
		fmt.Sscan(a.rest, &x)
		fits = r.extended == x
	case 'S':
		fmt.Sscan(a.rest, &x, &z)
		fits = r.charges == 1 && r.charged == x && r.loss == z
	}
	if fits {
		return ""
	}
	return fmt.Sprintf("%+v", *r)
}

// checkKeys looks whether the keys are as their last acknowledged change left them, or as the next one does.
func (y *books) checkKeys(t testing.TB, s *Store, acknowledged []told) {
	t.Helper()
	last := map[string]int{}
	for _, a := range acknowledged {
		if a.kind == 'K' {
			last[a.name], _ = strconv.Atoi(a.rest)
		}
	}
	virtual, err := s.VirtualKeys()
	if err != nil {
		t.Fatal(err)
	}
	numbers, stored := map[string]int{}, map[string]int{}
	for _, k := range virtual {
		numbers[k.ID], _ = strconv.Atoi(k.Hint)
	}
	own, err := s.ProviderKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range own {
		stored[k.Provider], _ = strconv.Atoi(k.ID)
	}
	for name, n := range last {
		// Odd changes store a key, even ones delete it.
		before, after := n*(n%2), (n+1)*((n+1)%2)
		if got := numbers[name]; got != n && got != n+1 {
			y.lost++
			t.Errorf("change %d of key %s was acknowledged, the store has number %d", n, name, got)
		}
		if got := stored[name]; got != before && got != after {
			y.lost++
			t.Errorf("change %d of the own key at %s was acknowledged, the store has the one of change %d", n, name, got)
		}
	}
}

// repeat does every acknowledged operation once more: the store must say that it was done, and how, and change nothing.
func (y *books) repeat(t testing.TB, s *Store, acknowledged []told) {
	t.Helper()
	for _, a := range acknowledged {
		var x, z storage.Credits
		var account string
		switch a.kind {
		case 'G':
			fmt.Sscan(a.rest, &account, &x)
			if b, err := s.Grant(storage.Grant{Account: account, Amount: x, Reference: a.name}); err != nil || b.Posted != y.posted[account] {
				t.Fatalf("%q again gave %+v, %v", a.whole, b, err)
			}
		case 'T':
			fmt.Sscan(a.rest, &account, &x)
			if b, err := s.Transfer(storage.Transfer{From: "rich", To: account, Amount: x, Reference: a.name}); err != nil || b.Posted != y.posted["rich"] {
				t.Fatalf("%q again gave %+v, %v", a.whole, b, err)
			}
		case 'H':
			id, _ := storage.ParseRequestID(a.name)
			if _, err := s.Reserve(storage.Hold{Request: id, Account: y.requests[id].account, Amount: y.requests[id].held}); !errors.Is(err, storage.ErrConflict) {
				t.Fatalf("%q again gave %v", a.whole, err)
			}
		case 'S':
			fmt.Sscan(a.rest, &x, &z)
			id, _ := storage.ParseRequestID(a.name)
			if got, _, err := s.Settle(storage.Settlement{Request: id, Charge: 999}); err != nil || !got.Repeat || got.Charged != x || got.Loss != z {
				t.Fatalf("%q again gave %+v, %v", a.whole, got, err)
			}
		}
	}
}
