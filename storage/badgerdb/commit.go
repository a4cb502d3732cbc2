package badgerdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// batchSize bounds a batch so that its records always fit into one Badger transaction at the smallest memory setting
// (0.6 MiB, 6,000 records): a line and its index keys take 700 bytes and four records at most.
const batchSize = 800

// pageLines bounds a page, which is read as a whole to find one of its lines.
const pageLines = 100

// recentSize is how many ended requests stay in memory, so that a repeated call is answered without the disk.
const recentSize = 1 << 14

// op is one line on its way to disk. Position, Seq, Previous and Hash of the entry are the committer's to fill in.
type op struct {
	entry   storage.Entry
	account *account
	request *request // nil on grants
	record  []byte   // the account's record, when the line opens it
}

// batch is what one transaction writes, and the ledger's standing after it.
type batch struct {
	ops    []op
	done   *storage.Batch
	totals totals
	oldest *request
}

// grantRef names a grant; pendingGrant is one that is not on disk yet.
type grantRef struct{ account, reference string }

type pendingGrant struct {
	amount storage.Credits
	batch  *storage.Batch
}

// enter appends a decided line to the open batch. The caller holds mu, so lines are in the order of their decisions.
func (s *Store) enter(o op) *storage.Batch {
	a, e := o.account, &o.entry
	e.Account, e.Time = a.record.ID, s.config.Clock()
	e.Posted, e.Held, e.Open = a.posted, a.held, a.open
	if o.request != nil {
		e.Request = o.request.id
		if e.Kind != storage.EntryHold && e.Kind != storage.EntryExtend {
			o.request.queued++
		}
	}
	s.totals.post(e.Kind, e.Amount, e.Charged, e.Loss)
	done := s.batch.done
	s.batch.ops = append(s.batch.ops, o)
	if len(s.batch.ops) == batchSize {
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
	s.batch.totals, s.batch.oldest = s.totals, s.oldest
	s.sealed = append(s.sealed, s.batch)
	s.batch = &batch{ops: s.spare[:0], done: storage.NewBatch()}
	s.spare = nil
}

// take returns the next batch to commit, nil when nothing is waiting.
func (s *Store) take() *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sealed) == 0 {
		if len(s.batch.ops) == 0 {
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
		for b := s.take(); b != nil; b = s.take() {
			began := time.Now()
			err := guard("committing to the ledger", func() error { return s.write(b) })
			full := len(b.ops) == batchSize
			b.done.Finish(s.finish(b, err))
			if running && !full {
				time.Sleep(s.config.CommitEvery - time.Since(began))
			}
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
		return s.fault
	}
	for i := range b.ops {
		o := &b.ops[i]
		o.account.newest = o.entry.Position
		switch o.entry.Kind {
		case storage.EntryHold, storage.EntryExtend:
		case storage.EntryGrant:
			delete(s.grants, grantRef{o.entry.Account, o.entry.Reference})
		default:
			o.request.queued--
			s.remember(o.request)
		}
	}
	clear(b.ops)
	s.spare = b.ops
	return nil
}

// remember puts an ended request that is on disk into the ring of recent ones, and forgets the one it displaces.
func (s *Store) remember(r *request) {
	old := s.recent[s.recentAt]
	s.recent[s.recentAt] = r
	s.recentAt = (s.recentAt + 1) % recentSize
	if old == nil || old.queued > 0 || s.requests[old.id] != old {
		return
	}
	delete(s.requests, old.id)
	if bytes.Compare(old.id[:], s.forgotten[:]) > 0 {
		s.forgotten = old.id
	}
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

// write numbers and chains the lines, commits them with their indexes and the checkpoint in one synced transaction, and
// then moves the head mark. Only the committer calls it.
func (s *Store) write(b *batch) error {
	w := &s.writer
	w.begin(s.db, 2*len(b.ops)+batchSize+2)
	defer w.txn.Discard()
	for lines := range slices.Chunk(b.ops, pageLines) {
		key := w.cut(appendEntryKey(w.buf, s.head.position+1))
		page := append(w.buf, pageVersion)
		for i := range lines {
			page = s.chain(page, &lines[i])
		}
		w.set(key, w.cut(page))
	}
	for i := range b.ops {
		s.index(w, &b.ops[i])
	}
	s.flushHeads(w)
	s.head.totals, s.head.oldest = b.totals, s.head.position+1
	if b.oldest != nil {
		s.head.oldest = b.oldest.position
	}
	w.set([]byte{keyCheckpoint}, s.head.encode())
	if err := w.commit(); err != nil {
		return err
	}
	return s.headFile.write(headMark{s.head.position, s.head.hash})
}

// chain gives the line its place in both orders and appends it to the page.
func (s *Store) chain(page []byte, o *op) []byte {
	e, a, w := &o.entry, o.account, &s.writer
	e.Position, e.Seq, e.Previous = s.head.position+1, a.last.seq+1, a.last.position
	w.line = appendEntry(w.line[:0], e)
	e.Hash, w.hashed = entryHash(w.hashed, e.Position, &s.head.hash, &a.last.hash, w.line)
	s.head.position, s.head.hash = e.Position, e.Hash
	a.last = chainEnd{e.Position, e.Seq, e.Hash}
	if a.dirtySince == 0 {
		a.dirtySince = e.Position
		s.dirty = append(s.dirty, a)
	}
	if e.Kind == storage.EntryHold {
		o.request.position = e.Position
	}
	page = binary.AppendUvarint(page, uint64(len(w.line)+hashSize))
	return append(append(page, w.line...), e.Hash[:]...)
}

// index writes the records that find the line again.
func (s *Store) index(w *writer, o *op) {
	e := &o.entry
	switch e.Kind {
	case storage.EntryHold, storage.EntryExtend:
	case storage.EntryGrant:
		w.point(appendGrantKey(w.buf, e.Account, e.Reference), e.Position)
	default:
		w.point(appendRequestKey(w.buf, e.Request), e.Position)
	}
	if o.record != nil {
		w.set(textKey(keyAccount, e.Account), o.record)
	}
}

// flushHeads writes the head records that have been inexact for long, as many as one transaction bears.
func (s *Store) flushHeads(w *writer) {
	for n := 0; len(s.dirty) > 0 && n < batchSize; n++ {
		a := s.dirty[0]
		if a.dirtySince+s.config.headEvery > s.head.position {
			break
		}
		w.point(append(append(w.buf, keyHead), a.record.ID...), a.last.position)
		a.dirtySince = 0
		s.dirty = s.dirty[1:]
	}
	s.head.indexed = s.head.position + 1
	if len(s.dirty) > 0 {
		s.head.indexed = s.dirty[0].dirtySince
	}
}

// writer builds one transaction in memory that is reused from commit to commit; Badger reads it until the commit is done.
type writer struct {
	txn     *badger.Txn
	buf     []byte
	line    []byte
	hashed  []byte
	records []badger.Entry
	expires uint64 // Unix time at which the records expire, 0: never
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
	if err := w.txn.SetEntry(&w.records[len(w.records)-1]); err != nil && w.err == nil {
		w.err = err
	}
}

func (w *writer) commit() error {
	if w.err != nil {
		return w.err
	}
	return w.txn.Commit()
}
