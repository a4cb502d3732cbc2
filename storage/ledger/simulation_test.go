package ledger

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

var (
	seeds     = flag.Int("seeds", 400, "how many seeds TestSimulation runs")
	firstSeed = flag.Uint64("seed", 1, "the first seed of TestSimulation")
	events    = flag.Int("events", 400, "how many events a seed has")
)

// simulation drives a machine, its disk and the model through the same events, all drawn from one seed: requests that end in every
// way, repeated and contradictory calls, commits, crashes that lose what was not committed, clocks that jump.
type simulation struct {
	random  *rand.Rand
	disk    *disk
	machine *Machine
	model   *model
	world   world
	journal []step // since the beginning, for the models of restarts

	accounts  []string
	requests  []storage.RequestID
	grants    []storage.Grant
	transfers []storage.Transfer
	settled   map[storage.RequestID]int // the batches of settlements
	done      int                       // events
	print     []byte
}

// step is something the model did, and the batch that makes it durable. Batch 0 is durable at once.
type step struct {
	batch int
	do    func(m *model)
}

// simulate runs a seed and returns a print of everything that happened. A panic is a violation like any other: of the machine, or
// of the model when the machine did something to a request that was never made.
func simulate(seed uint64, events int) (print uint64, err error) {
	random := rand.New(rand.NewPCG(seed, 7))
	s := &simulation{
		random: random, disk: newDisk(random), model: newModel(),
		world: world{time.Date(2026, 1, 30, 22, 0, 0, 0, time.UTC), map[string]storage.Credits{}}, settled: map[storage.RequestID]int{},
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("seed %d, event %d: panic: %v\n%s", seed, s.done, p, debug.Stack())
		}
	}()
	s.boot(New(s.config()))
	if seed%64 == 0 { // a large gateway
		for range 2000 {
			if err := s.open(); err != nil {
				return 0, err
			}
		}
	}
	hash := fnv.New64a()
	for range events {
		if err = s.event(); err != nil {
			return 0, fmt.Errorf("seed %d, event %d: %w", seed, s.done, err)
		}
		hash.Write(s.print)
		s.print = s.print[:0]
	}
	if err = s.end(); err != nil {
		return 0, fmt.Errorf("seed %d, at the end: %w", seed, err)
	}
	hash.Write(s.disk.end.Hash[:])
	return hash.Sum64(), nil
}

func (s *simulation) config() Config {
	return Config{Clock: func() time.Time { return s.world.now }, Sink: s.disk, Past: s.disk, Recent: 1 + s.random.IntN(8)}
}

func (s *simulation) boot(m *Machine) { s.machine, s.disk.machine = m, m }

// event draws one event.
func (s *simulation) event() error {
	s.done++
	switch n := s.random.IntN(100); {
	case n < 30:
		return s.reserve()
	case n < 50:
		return s.settle()
	case n < 56:
		return s.extend()
	case n < 62:
		return s.grant()
	case n < 66:
		return s.transfer()
	case n < 69:
		return s.open()
	case n < 71:
		return s.lend()
	case n < 80:
		s.disk.commit(true)
		return nil
	case n < 90:
		return s.pass()
	case n < 92:
		return s.restart()
	default:
		return s.ask()
	}
}

// do has the model and the machine decide the same operation and compares what they say. The model's part is journaled with the
// batch that the operation's lines go to.
func (s *simulation) do(name string, machine func() error, expect func(m *model, w world) error) error {
	batch, w := s.disk.number, s.world
	want := expect(s.model, w)
	got := machine()
	if kindOf(got) != kindOf(want) {
		return fmt.Errorf("%s gave %v, must give %v", name, got, want)
	}
	s.print = append(append(s.print, name...), fmt.Sprint(kindOf(got))...)
	if got == nil {
		s.journal = append(s.journal, step{batch, func(m *model) { _ = expect(m, w) }})
	}
	return nil
}

func (s *simulation) pick() string {
	if len(s.accounts) == 0 || s.random.IntN(50) == 0 {
		return "nobody"
	}
	return s.accounts[s.random.IntN(len(s.accounts))]
}

// amount is mostly small, sometimes 0, rarely negative.
func (s *simulation) amount(most int) storage.Credits {
	if s.random.IntN(60) == 0 {
		return -1
	}
	return storage.Credits(s.random.IntN(most))
}

func (s *simulation) newRequest() (id storage.RequestID) {
	binary.BigEndian.PutUint64(id[:], uint64(s.world.now.UnixMilli())<<16)
	binary.BigEndian.PutUint64(id[8:], s.random.Uint64())
	return id
}

// oldRequest is one of before, most often a recent one.
func (s *simulation) oldRequest() storage.RequestID {
	if len(s.requests) == 0 || s.random.IntN(40) == 0 {
		return s.newRequest()
	}
	back := s.random.IntN(min(len(s.requests), 1+s.random.IntN(len(s.requests))))
	return s.requests[len(s.requests)-1-back]
}

func (s *simulation) name(kind string, of int) string {
	if s.random.IntN(3) == 0 {
		return ""
	}
	return fmt.Sprint(kind, s.random.IntN(of))
}

func (s *simulation) reserve() error {
	h := storage.Hold{
		Request: s.newRequest(), Account: s.pick(), Amount: s.amount(400), Key: s.name("key", 4), Team: s.name("team", 2),
		Expires: s.world.now.Add(time.Duration(s.random.IntN(600)) * time.Second),
	}
	if s.random.IntN(15) == 0 { // again, the same or another
		h.Request = s.oldRequest()
		if r := s.model.requests[h.Request]; r != nil && s.random.IntN(2) == 0 {
			h.Account, h.Amount = r.Account, r.Amount
		}
	}
	for _, who := range spendersOf(h) {
		for range s.random.IntN(3) {
			c := storage.Cap{Spender: who, Budget: storage.Budget{Period: storage.Period(s.random.IntN(4)), Credits: storage.Credits(s.random.IntN(3000))}}
			if s.random.IntN(3) == 0 {
				tier := uint8(s.random.IntN(3))
				c.Tier = &tier
			}
			h.Caps = append(h.Caps, c)
		}
	}
	s.requests = append(s.requests, h.Request)
	return s.do("reserve", func() error {
		_, err := s.machine.Reserve(h)
		return err
	}, func(m *model, w world) error { return m.reserve(w, h) })
}

func (s *simulation) extend() error {
	id, more := s.oldRequest(), s.amount(200)
	return s.do("extend", func() error {
		_, err := s.machine.Extend(id, more)
		return err
	}, func(m *model, w world) error { return m.extend(w, id, more) })
}

func (s *simulation) settle() error {
	x := storage.Settlement{Request: s.oldRequest(), Charge: s.amount(500), Tier: uint8(s.random.IntN(3)), Reason: "ok"}
	var got, want storage.Receipt
	var batch *storage.Batch
	err := s.do("settle", func() (err error) {
		got, batch, err = s.machine.Settle(x)
		return err
	}, func(m *model, w world) (err error) {
		want, err = m.settle(w, x)
		return err
	})
	if err == nil && (got.Charged != want.Charged || got.Loss != want.Loss || got.Repeat != want.Repeat) {
		err = fmt.Errorf("charging %d gave %+v, must give %+v", x.Charge, got, want)
	}
	switch in := s.settled[x.Request]; {
	case err != nil:
	case !got.Repeat:
		s.settled[x.Request] = s.disk.numbers[batch]
	case batch == nil && in > s.disk.last, batch != nil && in != s.disk.numbers[batch]:
		err = fmt.Errorf("a settlement in batch %d, of which %d are on disk, is to be waited for in batch %d", in, s.disk.last, s.disk.numbers[batch])
	}
	s.print = fmt.Append(s.print, got.Charged, got.Loss)
	return err
}

func (s *simulation) grant() error {
	g := storage.Grant{
		Account: s.pick(), Amount: storage.Credits(s.random.IntN(4000) - 500), Reference: fmt.Sprint("g", s.random.IntN(1000)), Kind: "purchase",
	}
	if len(s.grants) > 0 && s.random.IntN(4) == 0 {
		g = s.grants[s.random.IntN(len(s.grants))]
		g.Amount += storage.Credits(s.random.IntN(2))
	}
	s.grants = append(s.grants, g)
	return s.do("grant", func() error {
		_, err := s.machine.Grant(g)
		return err
	}, func(m *model, _ world) error { return m.grant(g) })
}

func (s *simulation) transfer() error {
	t := storage.Transfer{From: s.pick(), To: s.pick(), Amount: s.amount(500), Reference: fmt.Sprint("t", s.random.IntN(1000))}
	if len(s.transfers) > 0 && s.random.IntN(4) == 0 {
		t = s.transfers[s.random.IntN(len(s.transfers))]
		t.Amount += storage.Credits(s.random.IntN(2))
	}
	s.transfers = append(s.transfers, t)
	return s.do("transfer", func() error {
		_, err := s.machine.Transfer(t)
		return err
	}, func(m *model, _ world) error { return m.transfer(t) })
}

func (s *simulation) open() error {
	record := storage.Account{ID: fmt.Sprint("a", len(s.accounts)), Created: s.world.now}
	if len(s.accounts) > 0 && s.random.IntN(5) == 0 {
		record.ID = s.pick()
	}
	opening := storage.Credits(s.random.IntN(5000))
	return s.do("open", func() error {
		_, err := s.machine.OpenAccount(record, opening, []byte(record.ID))
		if err == nil {
			s.accounts = append(s.accounts, record.ID)
		}
		return err
	}, func(m *model, _ world) error { return m.openAccount(record.ID, opening) })
}

// lend changes an overdraft, which is on disk at once, as other changes of records are.
func (s *simulation) lend() error {
	id := s.pick()
	record, durable := s.disk.records[id]
	if !durable {
		return nil
	}
	record.Overdraft = storage.Credits(s.random.IntN(3) * 300)
	s.disk.records[id] = record
	s.machine.Account(id).Overdraft = record.Overdraft
	s.world.overdrafts = maps.Clone(s.world.overdrafts)
	s.world.overdrafts[id] = record.Overdraft
	return nil
}

// pass lets time go by, now and then backwards or by years, and ends what is overdue.
func (s *simulation) pass() error {
	step := time.Duration(s.random.IntN(300)) * time.Second
	switch s.random.IntN(40) {
	case 0, 1, 2:
		step = time.Duration(s.random.IntN(40*24)) * time.Hour
	case 3, 4:
		step = -time.Duration(s.random.IntN(3600)) * time.Second
	case 5:
		step = time.Duration(s.random.IntN(3)-1) * 10 * 365 * 24 * time.Hour
	}
	s.world.now = s.world.now.Add(step)
	s.lapsing(func() { s.machine.Sweep(s.world.now) })
	s.model.lapse(s.world.now, false)
	return nil
}

// lapsing journals which holds something ended: its lines may be in several batches.
func (s *simulation) lapsing(end func()) {
	var open []*Request
	for r := s.machine.oldest; r != nil; r = r.newer {
		open = append(open, r)
	}
	end()
	for _, r := range open {
		if id := r.ID; r.state == lapsed {
			s.journal = append(s.journal, step{s.disk.numbers[r.batch], func(m *model) { m.requests[id].state = lapsed }})
		}
	}
}

// restart crashes, with the last commit perhaps not acknowledged, and starts again from what is on disk.
func (s *simulation) restart() error {
	if s.random.IntN(2) == 0 {
		s.disk.commit(false)
	}
	s.disk.crash()
	a, err := s.disk.audit(s.random.IntN(3) == 0)
	if err != nil {
		return fmt.Errorf("auditing at a restart: %w", err)
	}
	var forgotten storage.RequestID
	for id := range s.disk.ended {
		if bytes.Compare(id[:], forgotten[:]) > 0 {
			forgotten = id
		}
	}
	m := New(s.config())
	s.boot(m)
	m.Adopt(a, forgotten)
	s.model = newModel()
	durable := s.journal[:0]
	for _, step := range s.journal {
		if step.batch <= s.disk.last {
			step.do(s.model)
			durable = append(durable, step)
		}
	}
	s.journal = durable
	s.accounts = s.accounts[:0]
	for id := range s.model.accounts {
		s.accounts = append(s.accounts, id)
	}
	slices.Sort(s.accounts)
	s.lapsing(func() { m.Interrupt() })
	s.model.lapse(s.world.now, true)
	return nil
}

// ask compares what is told of an account and a spender, and the sum over everything.
func (s *simulation) ask() error {
	if totals, _ := s.machine.Totals(); totals.Sum() != 0 {
		return fmt.Errorf("everything sums to %d", totals.Sum())
	}
	id := s.pick()
	if err := s.compare(id); err != nil {
		return err
	}
	who := storage.SpenderAccount + storage.Spender(id)
	switch s.random.IntN(3) {
	case 0:
		who = storage.SpenderKey + storage.Spender(fmt.Sprint("key", s.random.IntN(4)))
	case 1:
		who = storage.SpenderTeam + storage.Spender(fmt.Sprint("team", s.random.IntN(2)))
	}
	p := storage.Period(s.random.IntN(4))
	var tier *uint8
	if s.random.IntN(2) == 0 {
		n := uint8(s.random.IntN(3))
		tier = &n
	}
	spent, held, err := s.machine.Spent(who, p, tier)
	wantSpent, wantHeld := s.model.standing(s.world, who, p, tier)
	if err != nil || spent != wantSpent || held != wantHeld {
		return fmt.Errorf("%s is told to have spent %d this %s and to hold %d, %v; must be %d and %d", who, spent, p, held, err, wantSpent, wantHeld)
	}
	s.print = fmt.Append(s.print, spent, held)
	return nil
}

func (s *simulation) compare(id string) error {
	b, err := s.machine.Balance(id)
	a := s.model.accounts[id]
	switch {
	case a == nil && kindOf(err) == storage.ErrNotFound:
		return nil
	case a == nil || err != nil:
		return fmt.Errorf("the balance of %s is %+v, %w", id, b, err)
	case b.Posted != a.posted || b.Held != s.model.held(id) || b.Available() != s.model.available(s.world, id):
		return fmt.Errorf("%s stands at %+v, must be posted %d, held %d, available %d", id, b, a.posted, s.model.held(id), s.model.available(s.world, id))
	}
	return nil
}

// end lets every hold run out, writes everything and proves the whole ledger.
func (s *simulation) end() error {
	for r := s.machine.oldest; r != nil; r = r.newer { // a clock that went back by years leaves some
		if !s.world.now.After(r.expires) {
			s.world.now = r.expires.Add(time.Second)
		}
	}
	s.lapsing(func() { s.machine.Sweep(s.world.now) })
	s.model.lapse(s.world.now, false)
	for s.disk.end.Position < s.machine.position {
		s.disk.commit(true)
	}
	a, err := s.disk.audit(true)
	if err != nil {
		return err
	}
	if len(a.Holds) != 0 || a.Open != 0 {
		return fmt.Errorf("%d holds are open", len(a.Holds))
	}
	for id, account := range s.model.accounts {
		if err := s.compare(id); err != nil {
			return err
		}
		if a.Standing[id].Posted != account.posted {
			return fmt.Errorf("the lines of %s say %d, must be %d", id, a.Standing[id].Posted, account.posted)
		}
	}
	for id := range s.model.requests {
		if s.disk.ended[id] == 0 {
			return fmt.Errorf("request %s never ended", id)
		}
	}
	if a.Revenue != s.model.revenue || -a.Issued != s.model.issued {
		return fmt.Errorf("the lines charge %d and issue %d, must be %d and %d", a.Revenue, -a.Issued, s.model.revenue, s.model.issued)
	}
	return s.forge()
}

// forge changes one line that is on disk and gives it the hash that fits, as somebody would who may write the disk. The audit
// must see it, by the lines after it or by the checkpoint.
func (s *simulation) forge() error {
	if len(s.disk.lines) == 0 {
		return nil
	}
	at := uint64(1 + s.random.IntN(len(s.disk.lines)))
	e, err := s.disk.Line(at)
	if err != nil {
		return err
	}
	var before, accountBefore storage.Entry
	if at > 1 {
		before, _ = s.disk.Line(at - 1)
	}
	if e.Previous > 0 {
		accountBefore, _ = s.disk.Line(e.Previous)
	}
	e.Time = e.Time.Add(time.Second)
	line := AppendEntry(nil, &e)
	hash := new(Hasher).Hash(at, &before.Hash, &accountBefore.Hash, line)
	original := s.disk.lines[at-1]
	s.disk.lines[at-1] = append(line, hash[:]...)
	_, err = s.disk.audit(true)
	s.disk.lines[at-1] = original
	if err == nil {
		return fmt.Errorf("the audit does not see that ledger position %d was forged", at)
	}
	return nil
}

// TestSimulation runs seeds, each twice: the second time must be the same to the last byte. A seed that fails is run alone by
// -seed N -seeds 1.
func TestSimulation(t *testing.T) {
	var next atomic.Uint64
	var wg sync.WaitGroup
	began := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !t.Failed() {
				n := next.Add(1) - 1
				if n >= uint64(*seeds) {
					return
				}
				first, err := simulate(*firstSeed+n, *events)
				if err != nil {
					t.Error(err)
					return
				}
				if again, err := simulate(*firstSeed+n, *events); err != nil || again != first {
					t.Errorf("seed %d: once %x, then %x, %v", *firstSeed+n, first, again, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("figure: %d seeds of %d events, each twice, in %s", *seeds, *events, time.Since(began).Round(time.Millisecond))
}

// BenchmarkSimulation reports how many events a processor gets through.
func BenchmarkSimulation(b *testing.B) {
	for seed := range b.N {
		if _, err := simulate(uint64(seed), *events); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(*events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
