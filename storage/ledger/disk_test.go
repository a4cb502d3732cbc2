package ledger

import (
	"math/rand/v2"

	"github.com/pointsman/pointsman/storage"
)

// disk is a store in memory that loses what was not committed. It commits a batch when it is told to.
type disk struct {
	random  *rand.Rand
	machine *Machine
	writer  Writer
	open    *batch
	sealed  []*batch
	number  int // of the open batch, from 1
	numbers map[*storage.Batch]int

	// What a crash leaves.
	lines    [][]byte // by position, from 1
	ended    map[storage.RequestID]uint64
	granted  map[grantRef]uint64
	spending map[storage.Spender][]byte
	records  map[string]storage.Account
	end      Checkpoint
	last     int // number of the last batch that is durable
}

type batch struct {
	number   int
	lines    []Line
	done     *storage.Batch
	totals   Totals
	oldest   uint64
	exact    uint64
	spending map[storage.Spender][]byte
}

func newDisk(r *rand.Rand) *disk {
	d := &disk{
		random: r, ended: map[storage.RequestID]uint64{}, granted: map[grantRef]uint64{}, spending: map[storage.Spender][]byte{},
		records: map[string]storage.Account{}, numbers: map[*storage.Batch]int{}, end: Checkpoint{Oldest: 1, Indexed: 1},
	}
	d.begin()
	return d
}

func (d *disk) begin() {
	d.number++
	d.open = &batch{number: d.number, done: storage.NewBatch(nil), spending: map[storage.Spender][]byte{}}
	d.numbers[d.open.done] = d.number
}

// Enter takes a line and now and then seals the batch behind it.
func (d *disk) Enter(l Line, joined bool) *storage.Batch {
	done := d.open.done
	d.open.lines = append(d.open.lines, l)
	if !joined && d.random.IntN(4) == 0 {
		d.seal()
	}
	return done
}

func (d *disk) seal() {
	b := d.open
	if len(b.lines) == 0 {
		return
	}
	b.totals, b.oldest = d.machine.Totals()
	before := b.lines[len(b.lines)-1].Position
	before -= min(before, d.random.Uint64N(40))
	b.exact = d.machine.FlushSpending(before, 3, func(s storage.Spender, record []byte) { b.spending[s] = record })
	d.sealed = append(d.sealed, b)
	d.begin()
}

// commit makes the oldest batch durable, and unless the acknowledgement is lost in a crash, tells the machine.
func (d *disk) commit(acknowledge bool) {
	if len(d.sealed) == 0 {
		d.seal()
	}
	if len(d.sealed) == 0 {
		return
	}
	b := d.sealed[0]
	d.sealed = d.sealed[1:]
	page := []byte{PageVersion}
	for i := range b.lines {
		l := &b.lines[i]
		page = d.writer.AppendLine(page, l)
		switch l.Kind {
		case storage.EntryHold, storage.EntryExtend:
		case storage.EntryGrant, storage.EntryTransfer:
			d.granted[grantRef{l.Entry.Account, l.Reference}] = l.Position
		default:
			d.ended[l.Entry.Request] = l.Position
		}
		if l.Record != nil {
			d.records[l.Entry.Account] = storage.Account{ID: string(l.Record), Created: l.Time}
		}
	}
	_ = EachLine(b.lines[0].Position, page, func(_ uint64, line []byte) error {
		d.lines = append(d.lines, line)
		return nil
	})
	for who, record := range b.spending {
		d.spending[who] = record
	}
	d.end = Checkpoint{Position: d.writer.Position, Hash: d.writer.Hash, Totals: b.totals, Oldest: b.oldest, Indexed: b.exact}
	d.last = b.number
	if acknowledge {
		d.machine.Durable(b.lines)
		b.done.Finish(nil)
	}
}

// crash loses what was not committed.
func (d *disk) crash() {
	d.sealed = nil
	d.begin()
}

func (d *disk) Line(position uint64) (storage.Entry, error) {
	return DecodeEntry(position, d.lines[position-1])
}

func (d *disk) Ended(id storage.RequestID) (*Ended, error) {
	at, ok := d.ended[id]
	if !ok {
		return nil, nil
	}
	e, err := d.Line(at)
	return &Ended{e.Account, e.Key, e.Team, e.Charged, e.Loss, e.Kind == storage.EntryExpire || e.Kind == storage.EntryInterrupt}, err
}

func (d *disk) Granted(account, reference string) (*storage.Credits, error) {
	at, ok := d.granted[grantRef{account, reference}]
	if !ok {
		return nil, nil
	}
	e, err := d.Line(at)
	return &e.Amount, err
}

func (d *disk) Spending(s storage.Spender) ([]byte, error) { return d.spending[s], nil }

// audit proves what is durable, from the first line on or from one that a start may begin at.
func (d *disk) audit(whole bool) (*Audit, error) {
	var before storage.Entry
	if start := min(d.end.Oldest, d.end.Indexed); !whole && start > 1 {
		start -= min(start-1, uint64(len(d.lines)%5)) // the lines to check may be more, and begin anywhere
		if start > 1 {
			before, _ = d.Line(start - 1)
		}
	}
	a := NewAudit(before, d)
	for position := before.Position + 1; position <= uint64(len(d.lines)); position++ {
		e, err := d.Line(position)
		if err == nil {
			err = a.Add(&e, d.lines[position-1])
		}
		if err != nil {
			return nil, err
		}
	}
	if !whole { // as head records tell of accounts without a line at or after the start
		for position := before.Position; position > 0; position-- {
			if e, _ := d.Line(position); a.Standing[e.Account] == nil {
				a.StandsAfter(&e)
			}
		}
	}
	if err := a.Finish(d.end); err != nil {
		return nil, err
	}
	var records []storage.Account
	for _, r := range d.records {
		records = append(records, r)
	}
	return a, a.CheckAccounts(records)
}
