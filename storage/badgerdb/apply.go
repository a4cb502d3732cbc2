package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
)

// applier brings what is in the journal into the database and the volumes, in the same order: everything of a moment in one transaction that
// is not synchronized. Once Badger has made tables of it and the volumes are synchronized, the journal's segments are used again.
type applier struct {
	config  *Config
	db      *badger.DB
	journal *journal
	volumes *volumes
	stored  func(*commit) // told of each commit that can be read
	failed  func(error)   // told once of the error after which nothing more is stored
	work    chan struct{} // there is something to do
	hurry   chan struct{} // and somebody waits for it
	stop    chan struct{} // ends it, once all is stored
	ended   chan struct{} // closed when it has ended

	mu      sync.Mutex
	changed sync.Cond // stored, err or stuck did
	queue   []*commit
	size    int    // bytes in queue
	queued  uint64 // number of the last record in it, or before
	done    uint64 // number of the last record that is stored
	stuck   bool   // for want of disk space
	over    bool   // it has ended
	err     error

	// Its own.
	entries []badger.Entry // of the transaction under way
	settled []settled      // likewise
	tabled  []version      // what is stored and in no table, as far as is known
	synced  uint64         // number of the last record whose pages are on disk
}

// commit is a record, and what it is about.
type commit struct {
	record
	lines []ledger.Line
}

// version is the one that Badger gave to the transaction with a record of the journal, the last of several.
type version struct{ record, badger uint64 }

const (
	// applyEvery is how long commits are gathered for one transaction. Memory and the journal know what is in them.
	applyEvery = 50 * time.Millisecond
	// applySize is how many bytes of them are enough to begin at once.
	applySize = 64 << 10
	// applyMost is how many bytes of them may wait before commits do.
	applyMost = 16 << 20
	// stuckFor is how long a database that takes no more has to end a transaction, or to be closed.
	stuckFor = 5 * time.Second
)

func newApplier(config *Config, db *badger.DB, j *journal, v *volumes) *applier {
	a := &applier{
		config: config, db: db, journal: j, volumes: v, queued: j.last, done: j.last, synced: j.last,
		work: make(chan struct{}, 1), hurry: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	a.changed.L = &a.mu
	return a
}

// add queues a commit whose record is in the journal.
func (a *applier) add(c *commit) {
	a.mu.Lock()
	a.queue = append(a.queue, c)
	a.size += len(c.data)
	a.queued = c.number
	enough := a.size >= applySize
	a.mu.Unlock()
	poke(a.work)
	if enough {
		poke(a.hurry)
	}
}

// poke tells whoever reads c that there is something to see; it does not wait.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it was poked already
	}
}

// awaitRoom returns when not too much is waiting.
func (a *applier) awaitRoom() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.size > applyMost && a.err == nil && !a.stuck {
		a.changed.Wait()
	}
}

// catchUp returns when everything that is in the journal now can be read from the database. Errors: ErrLowSpace (there is no room on the
// disk for it), ErrHalted.
func (a *applier) catchUp() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for upTo := a.queued; a.done < upTo; a.changed.Wait() {
		switch {
		case a.err != nil:
			return fmt.Errorf("%w: %w", storage.ErrHalted, a.err)
		case a.stuck:
			return storage.ErrLowSpace
		}
		poke(a.hurry)
	}
	return nil
}

// giveUp lets go of those who wait for the database, because it takes no more.
func (a *applier) giveUp(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
	a.changed.Broadcast()
}

// close ends the applier, and tells whether all that was added is stored, and its pages on disk. Neither is so if the database takes no more: then
// the applier may not end.
func (a *applier) close() (stored, ended bool) {
	close(a.stop)
	a.mu.Lock()
	for a.err == nil && !a.over {
		a.changed.Wait()
	}
	stored = a.err == nil
	a.mu.Unlock()
	select {
	case <-a.ended:
		return stored, true
	case <-time.After(stuckFor):
		return false, false
	}
}

// run is the applier.
func (a *applier) run() {
	defer a.end()
	for stopping := false; !stopping; {
		select {
		case <-a.work:
			pause := time.NewTimer(applyEvery)
			select {
			case <-pause.C:
			case <-a.hurry:
			case <-a.stop:
			}
			pause.Stop()
		case <-a.hurry:
		case <-a.stop:
			stopping = true
		}
		for commits := a.take(); len(commits) > 0; commits = a.take() {
			if err := a.store(commits); err != nil {
				a.fail(err)
				return
			}
		}
	}
	if err := a.finish(); err != nil {
		a.fail(err)
	}
}

func (a *applier) end() {
	close(a.ended)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	a.changed.Broadcast()
}

// finish notes that all pages are on disk, so that the next start need not look.
func (a *applier) finish() error {
	if a.synced == a.done {
		return nil
	}
	if err := a.synchronize(); err != nil {
		return err
	}
	return guard("storing the ledger", func() error {
		return a.db.Update(func(txn *badger.Txn) error {
			return txn.Set([]byte{keyJournal}, journalState{a.journal.reached(a.done), a.journal.reached(a.synced), a.volumes.cursor}.encode())
		})
	})
}

// synchronize makes the pages of all that is stored durable.
func (a *applier) synchronize() error {
	if err := a.volumes.synchronize(); err != nil {
		return err
	}
	a.synced = a.done
	return nil
}

// take returns the commits for the next transaction.
func (a *applier) take() []*commit {
	most, size := int(a.db.MaxBatchCount()/2), min(applySize, int(a.db.MaxBatchSize()/2))
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for sets, bytes := 0, 0; n < len(a.queue); n++ {
		sets, bytes = sets+a.queue[n].sets, bytes+len(a.queue[n].data)
		if n > 0 && (sets > most || bytes > size) {
			break
		}
	}
	return a.queue[:n]
}

// store writes commits into the database, and sees to the journal.
func (a *applier) store(commits []*commit) error {
	if err := a.awaitDisk(); err != nil {
		return err
	}
	a.config.reach("storing")
	t := transaction{db: a.db, journal: a.journal, volumes: a.volumes, synced: a.synced, entries: a.entries, settled: a.settled}
	err := guard("storing the ledger", func() error {
		defer t.discard()
		for _, c := range commits {
			if err := t.add(c.number, c.data[journalHead:]); err != nil {
				return err
			}
		}
		if err := t.volumes.write(); err != nil {
			return err
		}
		a.config.reach("paged")
		return t.commit()
	})
	a.entries, a.settled = t.entries, t.settled
	if err != nil {
		return err
	}
	a.config.reach("stored")
	last := commits[len(commits)-1].number
	size := 0
	for _, c := range commits {
		size += len(c.data)
		a.stored(c)
	}
	a.mu.Lock()
	a.queue = slices.Delete(a.queue, 0, len(commits))
	a.size -= size
	a.done = last
	a.changed.Broadcast()
	a.mu.Unlock()
	a.tabled = append(a.tabled, version{last, t.version})
	return a.provide()
}

// provide sees to it that a segment of the journal lies ready when the one in use is full. If there is no room for one, the next commit makes
// one, or fails.
func (a *applier) provide() error {
	if !a.journal.wantsSpare() {
		return nil
	}
	tables := uint64(0) // the newest version in them: Badger makes tables of what is stored in the order of versions
	for _, t := range a.db.Tables() {
		tables = max(tables, t.MaxVersion)
	}
	n := 0
	for n < len(a.tabled) && a.tabled[n].badger <= tables {
		n++
	}
	if n > 0 {
		if err := a.synchronize(); err != nil {
			return err
		}
		a.journal.release(a.tabled[n-1].record)
	}
	a.tabled = slices.Delete(a.tabled, 0, n)
	a.config.reach("released")
	if a.journal.wantsSpare() && a.config.roomy() {
		if err := a.journal.addSpare(); err != nil {
			a.config.Logger.Warn("no segment of the ledger's journal lies ready", "error", err)
		}
	}
	return nil
}

// awaitDisk returns when there is room on the disk for a transaction and the tables that follow from it.
func (a *applier) awaitDisk() error {
	if a.config.roomy() {
		return nil
	}
	a.setStuck(true)
	defer a.setStuck(false)
	_, err := a.config.awaitRoom(a.stop, nil) // what is not stored then, the next start takes from the journal
	return err
}

func (a *applier) setStuck(stuck bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stuck = stuck
	a.changed.Broadcast()
}

func (a *applier) fail(err error) {
	a.mu.Lock()
	a.err = err
	a.changed.Broadcast()
	a.mu.Unlock()
	if !errors.Is(err, storage.ErrLowSpace) {
		a.failed(err)
	}
}

// transaction writes records of the journal into the volumes and the database, and with them how far both have come.
type transaction struct {
	db      *badger.DB
	journal *journal
	volumes *volumes
	synced  uint64         // number of the last record whose pages are on disk
	txn     *badger.Txn    // nil: nothing was added
	entries []badger.Entry // reused; Badger reads them until the commit is done
	settled []settled      // reused; goes into runs
	group   group          // of the pages added last
	number  uint64
	sets    int
	size    int
	version uint64 // that Badger gave to the last commit
}

func (t *transaction) add(number uint64, body []byte) error {
	if t.txn == nil {
		t.txn = t.db.NewTransaction(true)
		clear(t.entries)
		t.entries, t.settled, t.group.pages = t.entries[:0], t.settled[:0], t.group.pages[:0]
		t.size, t.sets = 0, 0
	}
	t.number = number
	t.size += len(body)
	return eachSet(body, t.set)
}

func (t *transaction) set(key, value []byte) error {
	switch key[0] {
	case keyEntry:
		if len(key) != 9 {
			return fmt.Errorf("a record of the ledger's journal has a page at %x", key)
		}
		return t.addPage(binary.BigEndian.Uint64(key[1:]), value)
	case keySettled:
		if len(key) != 1+idHead+idRest || len(value) != 8 {
			return fmt.Errorf("a record of the ledger's journal names a settled request by %x", key)
		}
		t.settled = append(t.settled, settled{storage.RequestID(key[1:]), binary.BigEndian.Uint64(value)})
		return nil
	}
	return t.put(key, value)
}

// addPage adds a page to the volumes, and its place to the group under way if it lies behind that.
func (t *transaction) addPage(position uint64, page []byte) error {
	p, err := t.volumes.add(page)
	if err != nil {
		return err
	}
	if !t.group.takes(p) {
		if err := t.endGroup(); err != nil {
			return err
		}
	}
	t.group.pages = append(t.group.pages, grouped{position, p})
	return nil
}

// endGroup adds the record of the group under way.
func (t *transaction) endGroup() error {
	if len(t.group.pages) == 0 {
		return nil
	}
	defer func() { t.group.pages = t.group.pages[:0] }()
	return t.put(appendEntryKey(nil, t.group.pages[0].position), t.group.encode())
}

func (t *transaction) put(key, value []byte) error {
	t.sets++
	if len(t.entries) == cap(t.entries) { // what Badger has of the former slice stays valid
		t.entries = make([]badger.Entry, 0, max(1024, 2*cap(t.entries)))
	}
	t.entries = append(t.entries, badger.Entry{Key: key, Value: value})
	return t.txn.SetEntry(&t.entries[len(t.entries)-1])
}

// full tells whether a body should go into the next transaction.
func (t *transaction) full(body []byte) bool {
	return t.txn != nil && (int64(t.size+len(body)) > t.db.MaxBatchSize()/2 || int64(t.sets+len(body)/setHead) > t.db.MaxBatchCount()/2)
}

func (t *transaction) discard() {
	if t.txn != nil {
		t.txn.Discard()
		t.txn = nil
	}
}

// commit commits what was added since the last one.
func (t *transaction) commit() error {
	if t.txn == nil {
		return nil
	}
	defer t.discard()
	if err := errors.Join(t.volumes.write(), t.endGroup()); err != nil {
		return err
	}
	sortRuns(t.settled)
	for run, rest := []settled(nil), t.settled; len(rest) > 0; {
		run, rest = cutRun(rest)
		if err := t.put(encodeRun(run)); err != nil {
			return err
		}
	}
	if err := t.txn.Set([]byte{keyJournal}, journalState{t.journal.reached(t.number), t.journal.reached(t.synced), t.volumes.cursor}.encode()); err != nil {
		return err
	}
	if err := t.txn.Commit(); err != nil {
		return err
	}
	return t.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte{keyJournal})
		if err == nil {
			t.version = item.Version()
		}
		return err
	})
}
