package badgerdb

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Config says where and how a database is kept. The zero value of every field but Dir means its default.
type Config struct {
	Dir       string           // data directory; the databases are <Dir>/ledger, <Dir>/log, <Dir>/results and <Dir>/bodies
	Logger    *slog.Logger     // default: discard
	Clock     func() time.Time // default: time.Now
	MemoryMB  int              // write buffers of one database under load, in MiB; 16 to 1024, default 128
	MinFreeMB int              // free disk space in MiB under which holds are refused; default 256, negative: no check
	VerifyMax int              // ledger lines checked by Open at most, but for open holds; default 200,000
	// CommitEvery is how long after the beginning of a commit the next one begins at the earliest while the ledger is busy, unless a
	// batch is full: one that is not commits as soon as somebody waits, a busy one spends its time on larger batches instead of on
	// synchronizing the disk. Default 1 ms, at most 1 s, negative: no pause.
	CommitEvery time.Duration
	// VerifyEvery is how often the ledger proves all of itself while it works, taking VerifyPercent of one processor at most. 0: only
	// when it is asked to.
	VerifyEvery   time.Duration
	VerifyPercent int // 1 to 100, default 5
	BallastMB     int // size in MiB of a file that is deleted when space runs low, so that there is some; 0: none

	Retain   time.Duration // age at which log records expire; default 30 days
	MaxLogMB int           // size in MiB above which the oldest periods of the log, six hours each, are dropped; default 4096
	// KeepSums is how long sums of minutes, hours and days are kept: default 2 days, 90 days, 3 years.
	KeepSums [3]time.Duration
	Queue    int // log records that may wait for the writer; default 8192
	// DropNothing keeps whatever the log has, however old: for who looks into the log of a gateway whose settings may be others.
	DropNothing bool

	copied bool // the files are a copy to look into

	// headEvery is how many lines old an account's head record may grow before it is written again: what a start reads at
	// least. It spares a busy account a record in every commit. Default 200,000.
	headEvery uint64
	// free tells the free disk space; tests fill disks with it.
	free func(dir string) (uint64, error)
	// failed is told when the database can no longer be kept, by goroutines of Badger. Nil: nobody.
	failed  func(error)
	givenUp *givenUp
	// For tests: at is told of every point of a commit or a start that is reached, to end the process there; tune changes the
	// options of both databases; unsynced leaves the ledger's journal to the kernel; volume and segment are the sizes in bytes of files of pages, and of
	// the journal.
	at       func(point string)
	tune     func(badger.Options) badger.Options
	unsynced bool
	volume   int64
	segment  int64
}

// reach tells of a point on the way.
func (c *Config) reach(point string) {
	if c.at != nil {
		c.at(point)
	}
}

// withDefaults fills in the defaults and checks the bounds.
func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("storage directory is not set")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	setDefault(&c.MemoryMB, 128)
	setDefault(&c.MinFreeMB, 256)
	setDefault(&c.VerifyMax, 200_000)
	setDefault(&c.CommitEvery, time.Millisecond)
	setDefault(&c.VerifyPercent, 5)
	setDefault(&c.Retain, 30*24*time.Hour)
	setDefault(&c.MaxLogMB, 4096)
	for i, n := range [...]int{2, 90, 3 * 365} {
		setDefault(&c.KeepSums[i], time.Duration(n)*24*time.Hour)
	}
	setDefault(&c.Queue, 8192)
	setDefault(&c.headEvery, 200_000)
	setDefault(&c.volume, volumeSize)
	setDefault(&c.segment, firstSegment)
	if c.free == nil {
		c.free = seldom(freeBytes)
	}
	c.givenUp = &givenUp{done: make(chan struct{})}
	if c.MemoryMB < 16 || c.MemoryMB > 1024 {
		return c, fmt.Errorf("storage memory of %d MiB is not within 16 to 1024", c.MemoryMB)
	}
	if c.CommitEvery > time.Second {
		return c, fmt.Errorf("storage commit interval of %s is above 1s", c.CommitEvery)
	}
	if c.VerifyPercent < 1 || c.VerifyPercent > 100 {
		return c, fmt.Errorf("ledger verification at %d percent of a processor is not within 1 to 100", c.VerifyPercent)
	}
	if c.VerifyMax < 0 || c.VerifyEvery < 0 || c.BallastMB < 0 || c.Retain < 0 || c.MaxLogMB < 0 || c.Queue < 0 {
		return c, errors.New("storage limits must not be negative")
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// badgerOptions maps the one memory knob to Badger's many. Two write buffers and one being flushed are in use at worst;
// tables are not compressed, so blocks are read from the mapped file and need no cache of our own.
func (c Config) badgerOptions(dir string) badger.Options {
	memTable := int64(c.MemoryMB) << 20 / 4
	o := badger.DefaultOptions(dir).
		WithLogger(logger{c.Logger.With("database", dir), c.failed, c.givenUp}).
		WithMetricsEnabled(false).
		WithDetectConflicts(false). // every read-modify-write here is serialized by its owner
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithNumMemtables(2).
		WithBaseTableSize(max(memTable/8, 1<<20)). // an open file each, and a compaction makes up to thirteen at once, each in twice its size of memory
		WithNumLevelZeroTables(4).
		WithNumLevelZeroTablesStall(24).
		WithBaseLevelSize(2 * memTable). // as much as the ledger's tables of level zero: each compaction of those rewrites all of it
		WithNumCompactors(2).
		WithValueLogFileSize(2 << 20)
	o.TableSizeMultiplier = 1 // those of the last level are no larger
	return buffered(o, memTable)
}

// buffered gives a database write buffers of so many bytes.
func buffered(o badger.Options, size int64) badger.Options {
	return o.WithMemTableSize(size).WithValueThreshold(min(1<<20, size/8)) // all values stay in the tree: no value log, no garbage collection of it
}

// ledgerOptions adapts the options to the ledger, whose lines are not in the database. What its write buffers hold is in the journal, too, and read
// from there after a kill. Two of them, which a busy gateway fills in minutes, are merged at once, so that what a merge takes of memory is taken early.
func ledgerOptions(o badger.Options) badger.Options {
	return buffered(o, max(o.MemTableSize/2, leastLedgerBuffer)).WithNumLevelZeroTables(2)
}

// leastLedgerBuffer is how many bytes a write buffer of the ledger has at least, so that a batch fits into a transaction, see batchSize.
const leastLedgerBuffer = 4 << 20

// logOptions adapts the options to the log: few records, most of them sequential, fill a write buffer in some seconds under load, and in a smaller one
// the index records sort faster.
func logOptions(o badger.Options) badger.Options { return buffered(o, max(o.MemTableSize/8, 1<<20)) }

// resultOptions adapts the options to the results, of whose answers a piece must be a value.
func resultOptions(o badger.Options) badger.Options {
	return buffered(o, max(o.MemTableSize/8, 16*pieceSize)).WithSyncWrites(true)
}

// logger hands Badger's messages to slog: they are about files, which operators need only when something is wrong.
type logger struct {
	to      *slog.Logger
	failed  func(error)
	givenUp *givenUp
}

// givenUp tells whether a database is one that nobody waits for any longer. Badger (4.9.6) tries to write a table again every second for as long as there
// is an error: it takes no more then, reads wait for what it has not taken, and it cannot be closed.
type givenUp struct {
	mu          sync.Mutex
	first, last time.Time // of the failures in turn
	done        chan struct{}
}

// mostUntabled is for how long it may try: what passes, as a lack of descriptors, has passed by then.
const mostUntabled = 10 * time.Second

// errGivenUp says that a database takes no more.
var errGivenUp = errors.New("the database takes no more until a restart, for its files cannot be written")

// untabled notes a failure to write a table, and tells whether they have gone on for too long.
func (g *givenUp) untabled(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.last) > mostUntabled/2 {
		g.first = now
	}
	g.last = now
	return now.Sub(g.first) >= mostUntabled
}

// now gives the database up.
func (g *givenUp) now() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.over() {
		close(g.done)
	}
}

// guard is [guard], but does not wait for a database that is given up. What fn uses is not to be touched after errGivenUp.
func (g *givenUp) guard(doing string, fn func() error) error {
	ended := make(chan error, 1)
	if !g.over() {
		go func() { ended <- guard(doing, fn) }()
	}
	select {
	case err := <-ended:
		return err
	case <-g.done:
		return fmt.Errorf("%s: %w", doing, errGivenUp)
	}
}

// over tells that it is given up.
func (g *givenUp) over() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

// commit is [guard] for what writes to the database. If that leaves it without a write buffer, the database is given up: Badger (4.9.6) ends the process at the
// next that is written.
func (g *givenUp) commit(doing string, fn func() error) error {
	if g.over() {
		return fmt.Errorf("%s: %w", doing, errGivenUp)
	}
	err := guard(doing, fn)
	if err != nil && strings.Contains(err.Error(), "cannot create new mem table") {
		g.now()
	}
	return err
}

// drop removes all keys of a prefix. If that fails, the database is given up: where Badger (4.9.6) could not make a table of its write buffer, that is among those that are
// to become tables and is written to nevertheless, and the process ends when it is full.
func (g *givenUp) drop(what string, db *badger.DB, prefix []byte) error {
	err := g.commit("dropping "+what, func() error { return db.DropPrefix(prefix) })
	if err != nil && !errors.Is(err, badger.ErrBlockedWrites) && !errors.Is(err, badger.ErrDBClosed) {
		g.now()
	}
	return err
}

// close closes a database once its writer has stopped.
func (g *givenUp) close(name string, stopped <-chan struct{}, db func() *badger.DB) error {
	err := g.guard("writing the "+name, func() error { <-stopped; return nil })
	if open := db(); err == nil && open != nil {
		err = g.guard("closing the "+name, open.Close)
	}
	return err
}

func (l logger) Errorf(format string, args ...any)   { l.warn(format, args) }
func (l logger) Warningf(format string, args ...any) { l.warn(format, args) }
func (l logger) Infof(format string, args ...any)    { l.to.Debug(message(format, args)) }
func (l logger) Debugf(format string, args ...any)   {}

// warn also looks for the failures in the background that Badger only tells its log and that trying again does not mend: a manifest
// that could not be written names tables that are not there, and the next start would find them missing; and a table that cannot be written.
func (l logger) warn(format string, args []any) {
	l.to.Warn(message(format, args))
	for _, arg := range args {
		var at *fs.PathError
		err, ok := arg.(error)
		if !ok {
			continue
		}
		if errors.As(err, &at) && filepath.Base(at.Path) == badger.ManifestFilename || strings.HasPrefix(format, "error flushing memtable") && l.givenUp.untabled(time.Now()) {
			l.givenUp.now()
			if l.failed != nil {
				l.failed(err)
			}
		}
	}
}
