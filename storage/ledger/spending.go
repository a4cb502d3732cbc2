package ledger

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/fields"
)

// spending is what one spender has spent in the current periods, by the tier of the model that answered, and what is held for
// it. It follows from the lines that charge, by the time that stands in them; a record of it on disk spares reading them all.
//
// A period that is over counts as nothing spent. A clock that goes back by less than a period does not bring an old period back,
// one that goes back further does: else a clock that was once years ahead would keep a budget used up for years.
type spending struct {
	spender    storage.Spender
	starts     [4]int32 // days since 1970 on which the counted periods began, by storage.Period; that of PeriodTotal is 0
	tiers      []tierSpending
	held       storage.Credits
	dirtySince uint64 // position of its first line that no record has; 0 when the record is exact
}

// tierSpending is the part of one tier. What is held for a tier is what is held by requests that the tier may answer.
type tierSpending struct {
	tier  uint8
	spent [4]storage.Credits // by storage.Period
	held  storage.Credits
}

func (s *spending) tier(tier uint8) *tierSpending {
	for i := range s.tiers {
		if s.tiers[i].tier == tier {
			return &s.tiers[i]
		}
	}
	s.tiers = append(s.tiers, tierSpending{tier: tier})
	return &s.tiers[len(s.tiers)-1]
}

// over tells whether the period that is counted is over at a day whose period began at start.
func over(p storage.Period, counted, start int32) bool {
	if start >= counted || counted == 0 {
		return start != counted
	}
	return dayOf(p.Next(timeOf(start))) < counted
}

// add counts a charge at a time whose periods are given.
func (s *spending) add(c *calendar, tier uint8, charged storage.Credits) {
	for p := storage.PeriodDay; p <= storage.PeriodMonth; p++ {
		if over(p, s.starts[p], c.starts[p]) {
			s.starts[p] = c.starts[p]
			for i := range s.tiers {
				s.tiers[i].spent[p] = 0
			}
		}
	}
	t := s.tier(tier)
	for p := range t.spent {
		t.spent[p] += charged
	}
}

// in returns what was spent in the period at a time, and what is held; tier nil means all.
func (s *spending) in(c *calendar, p storage.Period, tier *uint8) (spent, held storage.Credits) {
	if tier == nil {
		held = s.held
	}
	gone := over(p, s.starts[p], c.starts[p])
	for i := range s.tiers {
		t := &s.tiers[i]
		if tier != nil && t.tier != *tier {
			continue
		}
		if !gone {
			spent += t.spent[p]
		}
		if tier != nil {
			held = t.held
		}
	}
	return spent, held
}

// hold adds to what is held, and to that of each tier that has a cap of its own among those of the request.
func (s *spending) hold(caps []storage.Cap, amount storage.Credits) {
	s.held += amount
	for i := range caps {
		c := &caps[i]
		if c.Tier == nil || c.Spender != s.spender {
			continue
		}
		named := func(before storage.Cap) bool {
			return before.Tier != nil && *before.Tier == *c.Tier && before.Spender == s.spender
		}
		if !slices.ContainsFunc(caps[:i], named) {
			s.tier(*c.Tier).held += amount
		}
	}
}

// Spent tells what a spender has spent in the current period and what is held for it, by models of a tier or, tier nil, of all.
// It is 0 for a spender who never spent anything.
func (m *Machine) Spent(who storage.Spender, p storage.Period, tier *uint8) (spent, held storage.Credits, err error) {
	s, err := m.spending(who)
	if err != nil || int(p) >= len(s.starts) {
		return 0, 0, err
	}
	m.calendar.turn(m.clock())
	spent, held = s.in(&m.calendar, p, tier)
	return spent, held, nil
}

// within refuses an amount of a request for which a cap has no room. What costs nothing always fits.
func (m *Machine) within(r *Request, caps []storage.Cap, amount storage.Credits) error {
	if amount == 0 || len(caps) == 0 {
		return nil
	}
	now := m.clock()
	m.calendar.turn(now)
	for i := range caps {
		c := &caps[i]
		s, err := m.spender(r, c.Spender)
		if err != nil {
			return err
		}
		var spent, held storage.Credits
		if int(c.Period) < len(s.starts) {
			spent, held = s.in(&m.calendar, c.Period, c.Tier)
		}
		if spent > math.MaxInt64-held-amount || spent+held+amount > c.Credits {
			return &storage.BudgetError{Cap: *c, Spent: spent + held, Next: c.Period.Next(c.Period.Start(now))}
		}
	}
	return nil
}

// spender returns what a spender has spent, who is mostly one of those that the request names.
func (m *Machine) spender(r *Request, who storage.Spender) (*spending, error) {
	for _, s := range r.spenders {
		if s != nil && s.spender == who {
			return s, nil
		}
	}
	return m.spending(who)
}

// spends finds those who spend what a request costs.
func (m *Machine) spends(r *Request) (err error) {
	a := r.account
	if r.key != "" {
		if s := a.keySpending; s == nil || string(s.spender[len(storage.SpenderKey):]) != r.key {
			if a.keySpending, err = m.spending(storage.SpenderKey + storage.Spender(r.key)); err != nil {
				return err
			}
		}
		r.spenders[0] = a.keySpending
	}
	if a.spending == nil {
		if a.spending, err = m.spending(storage.SpenderAccount + storage.Spender(a.ID)); err != nil {
			return err
		}
	}
	r.spenders[1] = a.spending
	if r.team != "" {
		r.spenders[2], err = m.spending(storage.SpenderTeam + storage.Spender(r.team))
	}
	return err
}

// spending returns what a spender has spent, from memory or the disk.
func (m *Machine) spending(who storage.Spender) (*spending, error) {
	if s := m.spenders[who]; s != nil {
		return s, nil
	}
	s := &spending{spender: who}
	record, err := m.past.Spending(who)
	if err == nil && record != nil {
		_, err = s.decode(record)
	}
	if err != nil {
		return nil, err
	}
	m.spenders[who] = s
	return s, nil
}

// spent counts a charge for those who spend it.
func (m *Machine) spent(r *Request, e *storage.Entry) {
	m.calendar.turn(e.Time)
	for _, s := range r.spenders {
		if s == nil {
			continue
		}
		s.add(&m.calendar, e.Tier, e.Charged)
		if s.dirtySince == 0 {
			s.dirtySince = e.Position
			m.dirty = append(m.dirty, s)
		}
	}
}

// FlushSpending calls keep for the records of spenders that have been inexact since position before or earlier, most of them at
// most, as they are after the last line that was entered. It returns the position from which on lines tell more than records do.
func (m *Machine) FlushSpending(before uint64, most int, keep func(s storage.Spender, record []byte)) (exactBefore uint64) {
	for ; len(m.dirty) > 0 && most > 0 && m.dirty[0].dirtySince <= before; most-- {
		s := m.dirty[0]
		keep(s.spender, s.encode(m.position))
		s.dirtySince = 0
		m.dirty = m.dirty[1:]
	}
	if len(m.dirty) > 0 {
		return m.dirty[0].dirtySince
	}
	return m.position + 1
}

const spendingVersion = 1

// encode writes the record: a version, the position of the line after which it is exact, when the periods began, and what was spent by
// tier and period.
func (s *spending) encode(position uint64) []byte {
	b := binary.AppendUvarint([]byte{spendingVersion}, position)
	for _, start := range s.starts[1:] {
		b = binary.AppendVarint(b, int64(start))
	}
	spent := slices.DeleteFunc(slices.Clone(s.tiers), func(t tierSpending) bool { return t.spent[storage.PeriodTotal] == 0 }) // some only hold
	slices.SortFunc(spent, func(x, y tierSpending) int { return int(x.tier) - int(y.tier) })
	b = binary.AppendUvarint(b, uint64(len(spent)))
	for _, t := range spent {
		b = append(b, t.tier)
		for _, c := range t.spent {
			b = binary.AppendVarint(b, int64(c))
		}
	}
	return b
}

// decode reads a record and returns the position after which it is exact.
func (s *spending) decode(record []byte) (position uint64, err error) {
	r := fields.Reader{Rest: record}
	if r.Byte() != spendingVersion {
		return 0, errors.New("record of spending has an unknown version")
	}
	position = r.Uvarint()
	for i := range s.starts[1:] {
		s.starts[i+1] = int32(r.Varint())
	}
	for n := r.Uvarint(); n > 0 && !r.Bad(); n-- {
		t := tierSpending{tier: r.Byte()}
		for i := range t.spent {
			t.spent[i] = storage.Credits(r.Varint())
		}
		s.tiers = append(s.tiers, t)
	}
	return position, r.End()
}

// calendar knows when the periods of a moment began. It keeps the last answer: most moments are of the same day.
type calendar struct {
	day    int32 // since 1970
	starts [4]int32
}

// turn moves the calendar to a moment.
func (c *calendar) turn(t time.Time) {
	day := dayOf(t)
	if day == c.day && c.starts[storage.PeriodDay] == day {
		return
	}
	c.day = day
	for p := storage.PeriodDay; p <= storage.PeriodMonth; p++ {
		c.starts[p] = dayOf(p.Start(t))
	}
}

const daySeconds = 24 * 60 * 60

// dayOf is the number of a moment's day since 1970, rounded down.
func dayOf(t time.Time) int32 {
	s := t.Unix()
	day := s / daySeconds
	if s%daySeconds < 0 {
		day--
	}
	return int32(day)
}

func timeOf(day int32) time.Time { return time.Unix(int64(day)*daySeconds, 0).UTC() }
