package badgerdb

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
)

// Store keeps accounts, keys and the credits ledger. All methods are safe for concurrent use.
type Store struct {
	ledgerFiles
	config      Config
	applier     *applier
	maxValue    int64 // bytes from which on Badger would put a value into its value log, which is not synchronized
	interrupted []storage.Hold
	space       space

	// One lock for all accounts: it is held for less than a microsecond, and every decision appends to the same batch anyway.
	mu    sync.Mutex
	fault error // why the ledger halted
	// unwritable is why nothing else is written either: the disk has failed, while a ledger that does not prove lets keys change.
	unwritable error
	closed     bool
	machine    *ledger.Machine
	entered    uint64   // position of the last line that was decided
	batch      *batch   // open
	sealed     []*batch // to be written before it
	due        bool     // a commit is due before unwanted has run out

	keysMu  sync.Mutex        // serializes read-modify-write of keys
	read    []storage.Account // at the start, until they are asked for or one changes; guarded by mu
	online  *online
	readers sync.WaitGroup // snapshots, whose database must not be closed under them

	committing sync.Mutex  // held by whoever commits; taken before writing
	headFile   *headFile   // nil: it cannot be read, which halts the ledger
	began      time.Time   // of the last commit
	busy       atomic.Bool // much was decided before it, see busyLines
	wanted     atomic.Bool // somebody has been waiting since it began

	writing sync.Mutex                    // held by whoever writes into the journal; taken before mu
	written []*batch                      // no commit has taken them yet
	latest  atomic.Pointer[storage.Batch] // that was written
	chain   ledger.Writer
	dirty   []*ledger.Account // accounts whose head record is not exact, in the order of their first line that it does not know
	mark    headMark          // of what is written
	key     [256]byte         // of a record that is being encoded

	wake      chan struct{} // something is waiting for the committer
	unwanted  *time.Timer   // lines have lain for long enough
	stop      chan struct{}
	committed chan struct{} // closed when the committer has ended
	tended    chan struct{} // closed when the sweeper has ended

	stray map[uint64]bool // files that are no tables, and whether they have been judged; the sweeper's own
}

// Open opens or creates <config.Dir>/ledger, checks the ledger and ends the holds that a former run left open (see
// [Store.Interrupted]). It fails at once, naming the process, when another one has the directory open.
//
// A ledger whose proof does not hold does not fail Open: it comes up halted ([Store.Halted] tells why), so that keys still
// work and requests that cost nothing go on.
func Open(config Config) (*Store, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{
		wake:      make(chan struct{}, 1),
		unwanted:  time.NewTimer(time.Hour),
		stop:      make(chan struct{}),
		committed: make(chan struct{}),
		tended:    make(chan struct{}),
		online:    newOnline(),
		space:     space{config: config},
	}
	config.failed = s.fail // Badger may fail from its first moment on
	s.config = config
	s.batch = s.newBatch()
	var tables, damaged error           // what is wrong with them
	mark, _ := readHeadFile(config.Dir) // what is wrong with it is told when the ledger is checked
	s.ledgerFiles, damaged, err = openLedger(config, mark.record, func(o badger.Options) badger.Options {
		if tables = checkTables(o, checkBytes); tables != nil {
			o = uncompacted(o)
		}
		return o
	})
	if err != nil {
		return nil, err
	}
	applier := newApplier(&s.config, s.db, s.journal, s.volumes)
	applier.stored, applier.failed = s.stored, s.fail
	s.mu.Lock()
	s.applier = applier
	s.maxValue = s.db.Opts().ValueThreshold
	s.batch = s.newBatch()
	s.mu.Unlock()
	s.space.watch() // before the first hold
	s.machine = ledger.New(ledger.Config{Clock: config.Clock, Sink: s, Past: s})
	if err := s.load(cmp.Or(tables, damaged)); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the ledger: %w", err), s.close(false))
	}
	if damaged != nil && !errors.As(damaged, new(lost)) { // the next start may do better, if no other record has taken the number of one in the journal
		s.unwritable = s.fault
	}
	go s.applier.run()
	go s.commitAll()
	config.reach("proved")
	err = s.interrupt()
	config.reach("interrupted")
	go s.proveOften()
	go s.tend() // after it, so that no hold of a former run is taken for one that expired in this
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ending interrupted holds: %w", err), s.Close())
	}
	return s, nil
}

// view reads the database; a panic of Badger, which some damaged files lead to, is an error.
func (s *Store) view(doing string, read func(txn *badger.Txn) error) error {
	return guard(doing, func() error { return s.db.View(read) })
}

// viewNow is view with all that was acknowledged.
func (s *Store) viewNow(doing string, read func(txn *badger.Txn) error) error {
	if err := s.catchUp(); err != nil {
		return err
	}
	return s.view(doing, read)
}

// Halted returns why the ledger takes no work, wrapped in ErrHalted; nil while it does.
func (s *Store) Halted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// Interrupted returns the holds that Open found left behind by a former run and ended without a charge.
func (s *Store) Interrupted() []storage.Hold { return s.interrupted }

// interrupt ends every hold that was found open.
func (s *Store) interrupt() error {
	s.mu.Lock()
	holds, last := s.machine.Interrupt()
	s.mu.Unlock()
	s.interrupted = holds
	return last.Wait()
}

// tend ends expired holds and watches the disk, once a second, and the tables, once a minute.
func (s *Store) tend() {
	defer close(s.tended)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for second := 1; ; second++ {
		s.sweep()
		s.space.watch()
		if second%60 == 0 {
			s.watchTables()
		}
		select {
		case <-tick.C:
		case <-s.stop:
			return
		}
	}
}

// sweep ends every hold whose time has passed.
func (s *Store) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usable() == nil {
		s.machine.Sweep(s.config.Clock())
	}
}

// Close commits what is waiting and closes the database. Holds that are still open stay so; the next Open ends them.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	<-s.committed
	stored, ended := s.applier.close()
	<-s.tended
	<-s.online.ended
	s.readers.Wait()
	if !ended {
		return errStuck
	}
	err := s.close(stored)
	if s.headFile != nil {
		err = errors.Join(err, s.headFile.close())
	}
	return err
}
