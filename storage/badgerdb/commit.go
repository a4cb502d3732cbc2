package badgerdb

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
)

// batchSize bounds a batch so that its records always fit into one Badger transaction at the smallest memory setting
// (0.6 MiB, 6,000 records): a line and its index keys take 700 bytes and four records at most.
const batchSize = 800

// pageLines bounds a page, which is read as a whole to find one of its lines.
const pageLines = 100

// batch is what one transaction writes, and the ledger's standing after it.
type batch struct {
	lines    []ledger.Line
	done     *storage.Batch
	totals   ledger.Totals
	oldest   uint64 // position of the oldest open hold
	spending []spendingRecord
	exact    uint64 // spenders of whom no line is at or after this position have exact records
}

// spendingRecord is what a spender has spent, on its way to disk.
type spendingRecord struct {
	spender storage.Spender
	value   []byte
}

// Enter appends a decided line to the open batch. The machine calls it while the caller of the store's method holds mu, so lines are in
// the order of their decisions.
func (s *Store) Enter(l ledger.Line, joined bool) *storage.Batch {
	done := s.batch.done
	s.batch.lines = append(s.batch.lines, l)
	s.entered = l.Position
	if len(s.batch.lines) >= batchSize && !joined {
		s.seal()
	}
	select {
	case s.wake <- struct{}{}:
	default: // the committer is awake already
	}
	return done
}

// seal closes the open batch for commit and begins another. The caller holds mu: the totals are those after its last line.
func (s *Store) seal() {
	b := s.batch
	b.totals, b.oldest = s.machine.Totals()
	b.exact = s.machine.FlushSpending(s.entered-min(s.entered, s.config.headEvery), batchSize, func(who storage.Spender, record []byte) {
		b.spending = append(b.spending, spendingRecord{who, record})
	})
	s.config.reach("sealing")
	s.sealed = append(s.sealed, b)
	s.batch = &batch{lines: s.spare[:0], done: storage.NewBatch()}
	s.spare = nil
}

// take returns the next batch to commit, nil when nothing is waiting.
func (s *Store) take() *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sealed) == 0 {
		if len(s.batch.lines) == 0 {
			return nil
		}
		s.seal()
	}
	b := s.sealed[0]
	s.sealed = s.sealed[1:]
	return b
}

// commitAll is the committer: it writes batches one by one until stop is closed and nothing is left, or a write fails.
func (s *Store) commitAll() {
	defer close(s.committed)
	for running := true; running; {
		select {
		case <-s.wake:
		case <-s.stop:
			running = false
		}
		for {
			if running {
				s.gather()
			}
			b := s.take()
			if b == nil {
				break
			}
			s.began, s.busy = time.Now(), len(b.lines) >= busyLines
			err := s.awaitRoom()
			if err == nil {
				err = guard("committing to the ledger", func() error { return s.write(b) })
			}
			b.done.Finish(s.finish(b, err))
		}
	}
}

const (
	// busyLines is how many lines a batch has when the ledger is busy: then it is better to gather more of them than to synchronize the
	// disk more often.
	busyLines = 4
	// unwantedFor is how long lines lie that nobody waits for: holds, while a provider works. Most go to disk with the settlement of
	// another request, and with that of their own where the provider is fast.
	unwantedFor = 2 * time.Millisecond
)

// gather waits until the open batch is worth a commit: it is full, or somebody waits for it and, if the ledger is busy, the last
// commit began long enough ago.
func (s *Store) gather() {
	var lie <-chan time.Time
	for {
		s.mu.Lock()
		batch, empty, full := s.batch.done, len(s.batch.lines) == 0, len(s.sealed) > 0
		s.mu.Unlock()
		if empty || full {
			return
		}
		if lie == nil {
			timer := time.NewTimer(max(unwantedFor, s.config.CommitEvery))
			defer timer.Stop()
			lie = timer.C
		}
		select {
		case <-batch.Wanted():
			if s.busy {
				time.Sleep(s.config.CommitEvery - time.Since(s.began))
			}
			return
		case <-s.wake: // perhaps it is full
		case <-lie:
			return
		case <-s.stop:
			return
		}
	}
}

// finish lets go of what is on disk now, or halts the ledger: its memory is ahead of the disk and nothing may build on it.
// It returns what the batch's waiters are told.
func (s *Store) finish(b *batch, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.halt(err)
		s.unwritable = s.fault
		return s.fault
	}
	s.machine.Durable(b.lines)
	clear(b.lines)
	s.spare = b.lines
	return nil
}

// halt refuses all further work and fails what is waiting. The caller holds mu.
func (s *Store) halt(cause error) {
	s.fault = fmt.Errorf("%w: %w", storage.ErrHalted, cause)
	s.config.Logger.Error("ledger halted", "cause", cause)
	for _, b := range append(s.sealed, s.batch) {
		b.done.Finish(s.fault)
	}
	s.sealed, s.batch = nil, &batch{done: storage.NewBatch()}
}

// fail halts the ledger because of a write beside its commits.
func (s *Store) fail(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		s.halt(cause)
	}
	s.unwritable = s.fault
}

// write chains the lines, commits them with their indexes and the checkpoint in one synced transaction, and then moves the head
// mark. Only the committer calls it.
func (s *Store) write(b *batch) error {
	w := &s.writer
	w.begin(s.db, 2*len(b.lines)+2*batchSize+2)
	defer w.txn.Discard()
	for lines := range slices.Chunk(b.lines, pageLines) {
		key := w.cut(appendEntryKey(w.buf, lines[0].Position))
		page := append(w.buf, ledger.PageVersion)
		for i := range lines {
			page = s.chain.AppendLine(page, &lines[i])
			s.config.reach("page")
			s.changed(lines[i].Of)
		}
		w.set(key, w.cut(page))
	}
	for i := range b.lines {
		s.index(w, &b.lines[i])
	}
	for _, r := range b.spending {
		w.set(textKey(keySpending, string(r.spender)), r.value)
	}
	end := ledger.Checkpoint{
		Position: s.chain.Position, Hash: s.chain.Hash, Totals: b.totals, Oldest: b.oldest, Indexed: min(s.flushHeads(w), b.exact),
	}
	w.set([]byte{keyCheckpoint}, end.Encode())
	s.config.reach("committing")
	if err := w.commit(); err != nil {
		return err
	}
	s.config.reach("committed")
	if err := s.headFile.write(headMark{end.Position, end.Hash}); err != nil {
		return err
	}
	s.config.reach("marked")
	return nil
}

// changed notes that an account's head record is no longer exact.
func (s *Store) changed(a *ledger.Account) {
	if a.Link.DirtySince == 0 {
		a.Link.DirtySince = a.Link.Position
		s.dirty = append(s.dirty, a)
	}
}

// index writes the records that find the line again.
func (s *Store) index(w *writer, l *ledger.Line) {
	switch l.Kind {
	case storage.EntryHold, storage.EntryExtend:
	case storage.EntryGrant, storage.EntryTransfer:
		w.point(appendGrantKey(w.buf, l.Account, l.Reference), l.Position)
	default:
		w.point(appendRequestKey(w.buf, l.Entry.Request), l.Position)
	}
	if l.Record != nil {
		w.set(textKey(keyAccount, l.Account), l.Record)
	}
}

// flushHeads writes the head records that have been inexact for long, as many as one transaction bears. It returns the position
// before which accounts must have their last line to have an exact one.
func (s *Store) flushHeads(w *writer) (exact uint64) {
	for n := 0; len(s.dirty) > 0 && n < batchSize; n++ {
		a := s.dirty[0]
		if a.Link.DirtySince+s.config.headEvery > s.chain.Position {
			break
		}
		w.point(append(append(w.buf, keyHead), a.Record.ID...), a.Link.Position)
		a.Link.DirtySince = 0
		s.dirty = s.dirty[1:]
	}
	if len(s.dirty) > 0 {
		return s.dirty[0].Link.DirtySince
	}
	return s.chain.Position + 1
}

// writer builds one transaction in memory that is reused from commit to commit; Badger reads it until the commit is done.
type writer struct {
	txn     *badger.Txn
	buf     []byte
	records []badger.Entry
	expires uint64             // Unix time at which the records expire, 0: never
	fits    func([]byte) error // nil: every value does
	err     error
}

func (w *writer) begin(db *badger.DB, most int) {
	w.txn, w.err, w.buf = db.NewTransaction(true), nil, w.buf[:0]
	if cap(w.records) < most {
		w.records = make([]badger.Entry, 0, most)
	}
	clear(w.records)
	w.records = w.records[:0]
}

// cut takes what was appended to buf as a slice of its own.
func (w *writer) cut(extended []byte) []byte {
	piece := extended[len(w.buf):len(extended):len(extended)]
	w.buf = extended
	return piece
}

// point adds an index record: the key that was appended to buf, and a ledger position.
func (w *writer) point(extended []byte, position uint64) {
	key := w.cut(extended)
	w.set(key, w.cut(binary.BigEndian.AppendUint64(w.buf, position)))
}

// set adds a record; the first error is kept for commit.
func (w *writer) set(key, value []byte) {
	w.records = append(w.records, badger.Entry{Key: key, Value: value, ExpiresAt: w.expires})
	err := w.txn.SetEntry(&w.records[len(w.records)-1])
	if err == nil && w.fits != nil {
		err = w.fits(value)
	}
	if err != nil && w.err == nil {
		w.err = err
	}
}

func (w *writer) commit() error {
	if w.err != nil {
		return w.err
	}
	return w.txn.Commit()
}
