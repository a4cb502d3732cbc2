package badgerdb

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
)

// batchSize bounds a batch so that its records always fit into one Badger transaction at the smallest memory setting
// (0.6 MiB, 6,000 records): a line and its index keys take 700 bytes and four records at most.
const batchSize = 800

// pageLines bounds a page, which is read as a whole to find one of its lines.
const pageLines = 100

// batch is what one record of the journal has, and the ledger's standing after it.
type batch struct {
	*commit
	done   *storage.Batch
	mark   headMark // once it is written
	totals ledger.Totals
	oldest uint64 // position of the oldest open hold
	exact  uint64 // spenders of whom no line is at or after this position have exact records
}

// commits are those that nobody needs any more.
var commits = sync.Pool{New: func() any { return new(commit) }}

func (s *Store) newBatch() *batch {
	c := commits.Get().(*commit)
	c.reset(s.maxValue)
	return &batch{commit: c, done: storage.NewBatch(s.lead)}
}

// Enter appends a decided line to the open batch. The machine calls it while the caller of the store's method holds mu, so lines are in
// the order of their decisions.
func (s *Store) Enter(l ledger.Line, joined bool) *storage.Batch {
	done := s.batch.done
	s.batch.lines = append(s.batch.lines, l)
	s.entered = l.Position
	if !s.due {
		s.due = true
		s.unwanted.Reset(max(unwantedFor, s.config.CommitEvery))
	}
	if len(s.batch.lines) >= batchSize && !joined {
		s.seal()
		poke(s.wake)
	}
	return done
}

// seal closes the open batch for commit and begins another. The caller holds mu: the totals are those after its last line.
func (s *Store) seal() {
	b := s.batch
	b.totals, b.oldest = s.machine.Totals()
	b.exact = s.machine.FlushSpending(s.entered-min(s.entered, s.config.headEvery), batchSize, func(who storage.Spender, record []byte) {
		b.set(textKey(keySpending, string(who)), record)
	})
	s.config.reach("sealing")
	s.sealed = append(s.sealed, b)
	s.batch = s.newBatch()
}

// take returns the next batch to write, nil when nothing is waiting, and whether more is.
func (s *Store) take() (b *batch, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.left() {
		return nil, false
	}
	if len(s.sealed) == 0 {
		s.seal()
	}
	b = s.sealed[0]
	s.sealed = s.sealed[1:]
	return b, s.left()
}

// Who commits: the first who waits for a batch, at once, for nobody has to be woken then. It is the committer, a goroutine, while the ledger is busy, when lines
// lie that nobody waits for, and when more is waiting after a commit. Who wants a batch to be written, not synchronized, writes it while others
// synchronize; the next commit is of all that was written.

// lead writes or commits what is decided. The first who waits for a batch calls it.
func (s *Store) lead(synced bool) {
	if !synced && !s.busy.Load() {
		for s.writeNext(nil) {
		}
		return
	}
	s.wanted.Store(true)
	if !s.committing.TryLock() {
		return // who commits looks for more
	}
	if !s.busy.Load() {
		s.commitNext()
	}
	s.committing.Unlock()
	if s.waiting() {
		poke(s.wake)
	}
}

// commitAll is the committer. When stop is closed it ends once nothing is left.
func (s *Store) commitAll() {
	defer close(s.committed)
	for running := true; running; {
		select {
		case <-s.wake:
		case <-s.unwanted.C:
		case <-s.stop:
			running = false
		}
		for more := true; more; {
			s.committing.Lock()
			if s.busy.Load() && running {
				time.Sleep(s.config.CommitEvery - time.Since(s.began))
			}
			more = s.commitNext()
			s.committing.Unlock()
			more = s.waiting() || more && !running // somebody may have begun to wait after the look
		}
	}
}

// waiting tells that a batch is full, or that somebody has been waiting since the last commit began.
func (s *Store) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sealed) > 0 || s.wanted.Load()
}

// commitNext writes a batch, once there is room, and synchronizes what is written; false if there is nothing. The caller holds committing.
func (s *Store) commitNext() bool {
	began := time.Now()
	s.wanted.Store(false)
	s.mu.Lock()
	s.due = false
	s.mu.Unlock()
	if s.writeNext(s.unsynced) { // what is written need not wait for room
		s.wanted.Store(true) // what is left may be what somebody waits for
	}
	batches := s.takeWritten()
	if len(batches) == 0 {
		return false
	}
	lines := 0
	for _, b := range batches {
		lines += len(b.lines)
	}
	s.busy.Store(lines >= busyLines && lines >= busyLines*int(began.Sub(s.began)/busyTime))
	s.began = began
	err := s.finish(guard("committing to the ledger", func() error { return s.synchronize(batches) }))
	for _, b := range batches {
		b.done.Finish(err)
	}
	return true
}

// unsynced tells that something is written that no commit has taken yet.
func (s *Store) unsynced() bool {
	s.writing.Lock()
	defer s.writing.Unlock()
	return len(s.written) > 0
}

func (s *Store) takeWritten() []*batch {
	s.writing.Lock()
	defer s.writing.Unlock()
	batches := s.written
	s.written = nil
	return batches
}

// writeNext writes a batch into the journal, once there is room, and tells whether there is another one. It does not wait for room any
// longer once unless, if there is one, says so.
func (s *Store) writeNext(unless func() bool) (more bool) {
	if !s.pending() {
		return false
	}
	s.applier.awaitRoom()
	room, err := s.config.awaitRoom(s.stop, unless)
	if err != nil {
		s.finish(err) //nolint:errcheck // those who wait are told
	}
	if !room {
		return err == nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	b, more := s.take()
	if b == nil {
		return false
	}
	if err := guard("committing to the ledger", func() error { return s.write(b) }); err != nil {
		b.done.Finish(s.finish(err))
		return more
	}
	s.written = append(s.written, b)
	s.latest.Store(b.done)
	b.done.Wrote()
	return more
}

// pending tells that something is to be written.
func (s *Store) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left()
}

// left is pending for a caller that holds mu.
func (s *Store) left() bool { return len(s.sealed) > 0 || len(s.batch.lines) > 0 }

// catchUp returns when all that is written can be read from the database. Errors: see [applier.catchUp].
func (s *Store) catchUp() error {
	s.awaitSync()
	return s.applier.catchUp()
}

// awaitSync returns when all that is written is on disk, or never will be.
func (s *Store) awaitSync() {
	s.latest.Load().Wait() //nolint:errcheck // what could not be committed cannot be read
}

const (
	// busyLines in busyTime, and so many in a commit, are decided when the ledger is busy: then it is better to gather more of them than to
	// write or synchronize more often.
	busyLines = 4
	busyTime  = 500 * time.Microsecond
	// unwantedFor is how long lines lie that nobody waits for: holds, while a provider works. Most go to disk with the settlement of
	// another request, and with that of their own where the provider is fast.
	unwantedFor = 2 * time.Millisecond
)

// finish halts the ledger if a commit failed: its memory is ahead of the disk and nothing may build on it. It returns what the
// batch's waiters are told.
func (s *Store) finish(err error) error {
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halt(err)
	s.unwritable = s.fault
	return s.fault
}

// stored lets go of what can be read from the database now.
func (s *Store) stored(c *commit) {
	s.mu.Lock()
	s.machine.Durable(c.lines)
	s.mu.Unlock()
	clear(c.lines)
	c.lines = c.lines[:0]
	commits.Put(c)
}

// halt refuses all further work and fails what is waiting. The caller holds mu.
func (s *Store) halt(cause error) {
	s.fault = fmt.Errorf("%w: %w", storage.ErrHalted, cause)
	s.config.Logger.Error("ledger halted", "cause", cause)
	for _, b := range append(s.sealed, s.batch) {
		b.done.Finish(s.fault)
	}
	s.sealed, s.batch = nil, s.newBatch()
}

// fail halts the ledger because of a write beside its commits.
func (s *Store) fail(cause error) {
	s.mu.Lock()
	if s.fault == nil {
		s.halt(cause)
	}
	s.unwritable = s.fault
	a := s.applier
	s.mu.Unlock()
	if a != nil { // else the ledger is just being opened
		a.giveUp(cause)
	}
}

// write chains the lines and writes them with their indexes and the checkpoint as one record of the journal. The caller holds writing.
func (s *Store) write(b *batch) error {
	if len(b.lines) > 0 {
		s.encode(b)
	}
	if b.err != nil {
		return b.err
	}
	s.config.reach("writing")
	if err := s.journal.write(&b.record); err != nil {
		return err
	}
	if len(b.lines) > 0 {
		s.mark.position, s.mark.hash = s.chain.Position, s.chain.Hash
	}
	s.mark.record = b.number
	b.mark = s.mark
	s.config.reach("written")
	return nil
}

// synchronize brings batches that were written to disk, and then moves the head mark. The caller holds committing.
func (s *Store) synchronize(batches []*batch) error {
	if err := s.journal.flush(); err != nil {
		return err
	}
	s.config.reach("committed")
	for _, b := range batches { // before the mark: who reads that and then waits for the database finds there what the mark names
		s.applier.add(b.commit)
	}
	if s.headFile != nil {
		if err := s.headFile.write(batches[len(batches)-1].mark); err != nil {
			return err
		}
	}
	s.config.reach("marked")
	return nil
}

// encode chains the lines of a batch and adds all that follows from them to its record.
func (s *Store) encode(b *batch) {
	r := &b.record
	for lines := range slices.Chunk(b.lines, pageLines) {
		r.begin(appendEntryKey(s.key[:0], lines[0].Position))
		r.data = append(r.data, ledger.PageVersion)
		for i := range lines {
			r.data = s.chain.AppendLine(r.data, &lines[i])
			s.config.reach("page")
			if lines[i].Record == nil { // else it is the account's first line, which the head written with it names
				s.changed(lines[i].Of)
			}
		}
		r.end()
	}
	for i := range b.lines {
		s.index(r, &b.lines[i])
	}
	end := ledger.Checkpoint{
		Position: s.chain.Position, Hash: s.chain.Hash, Totals: b.totals, Oldest: b.oldest, Indexed: min(s.flushHeads(r), b.exact),
	}
	r.set([]byte{keyCheckpoint}, end.Encode())
}

// changed notes that an account's head record is no longer exact.
func (s *Store) changed(a *ledger.Account) {
	if a.Link.DirtySince == 0 {
		a.Link.DirtySince = a.Link.Position
		s.dirty = append(s.dirty, a)
	}
}

// index adds the records that find the line again.
func (s *Store) index(r *record, l *ledger.Line) {
	switch l.Kind {
	case storage.EntryHold, storage.EntryExtend:
	case storage.EntryGrant, storage.EntryTransfer:
		r.point(appendGrantKey(s.key[:0], l.Account, l.Reference), l.Position)
	case storage.EntrySettle:
		r.point(appendSettledKey(s.key[:0], l.Entry.Request), l.Position)
	default:
		r.point(appendRequestKey(s.key[:0], l.Entry.Request), l.Position)
	}
	if l.Record != nil {
		r.set(textKey(keyAccount, l.Account), l.Record)
		r.point(append(append(s.key[:0], keyHead), l.Account...), l.Position)
	}
}

// flushHeads adds the head records that have been inexact for long, as many as one transaction bears. It returns the position
// before which accounts must have their last line to have an exact one.
func (s *Store) flushHeads(r *record) (exact uint64) {
	for n := 0; len(s.dirty) > 0 && n < batchSize; n++ {
		a := s.dirty[0]
		if a.Link.DirtySince+s.config.headEvery > s.chain.Position {
			break
		}
		r.point(append(append(s.key[:0], keyHead), a.ID...), a.Link.Position)
		a.Link.DirtySince = 0
		s.dirty = s.dirty[1:]
	}
	if len(s.dirty) > 0 {
		return s.dirty[0].Link.DirtySince
	}
	return s.chain.Position + 1
}
