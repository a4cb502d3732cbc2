package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// Log keeps usage records, decision records and snapshot generations. Writes are queued and never block; a record that finds
// the queue full is dropped and counted. Reads see everything that was appended before them. All methods are safe for
// concurrent use.
type Log struct {
	config  Config
	db      *badger.DB
	dropped atomic.Uint64
	queue   chan *logItem
	stop    chan struct{}
	stopped chan struct{} // closed when the writer has ended
	hurry   chan struct{} // ends the writer's pause
	once    sync.Once
	discard func() error // of a copy, in place of closing db

	mu      sync.Mutex
	periods []uint32 // that have records, ascending
	shelves []uint32 // the same of sums
	folding folding

	writing sync.Mutex // held by whatever writes to the database: dropping a range of keys fails other writes, and after one that gives the database up there must be none

	// The writer's own.
	seq     uint64 // of the last page
	total   uint64 // requests in all pages so far
	pages   pageWriter
	writer  writer
	volumes logVolumes
}

// logItem is a usage record (unless its request is zero), a generation (if data is set), a state (if policy is, too), a price (if
// price is, too), an alert, or a call to close flushed once everything before it is written.
type logItem struct {
	record     storage.LogRecord
	policy     string
	price      string // its version
	generation uint64 // or the state's number
	data       []byte
	alert      []byte
	flushed    chan struct{}
	decision   []byte // memory of the record's
}

// logItems are those that nobody needs any more.
var logItems = sync.Pool{New: func() any { return new(logItem) }}

// release gives an item back, with the memory of a usual decision.
func (i *logItem) release() {
	decision := i.decision[:0]
	if cap(decision) > usualDecision {
		decision = nil
	}
	*i = logItem{decision: decision}
	logItems.Put(i)
}

const (
	logSchema       = 6
	oldestLogSchema = 4                     // that is taken over, and read as it is
	pageEvery       = 20 * time.Millisecond // from the beginning of one page to the next, unless it is full
	tidyEvery       = 10 * time.Minute
	usualDecision   = 4 << 10 // bytes
)

// OpenLog opens or creates <config.Dir>/log. The last records before a power failure may be missing; of a process that died,
// those of its last 20 ms and what was queued ([Reconcile] restores what the ledger knows of them). A log in the layout of a
// former version is dropped, with a warning. Errors: [ErrInUse]; [ErrDamaged], see [SetLogAside]; it was written by a newer program.
func OpenLog(config Config) (*Log, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	db, err := openDatabase(config, "log", logOptions)
	if err != nil {
		return nil, err
	}
	l := &Log{
		config:  config,
		db:      db,
		queue:   make(chan *logItem, config.Queue),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
		hurry:   make(chan struct{}, 1),
		volumes: logVolumes{volumes: newVolumes(db.Opts().Dir, config.volume)},
	}
	err = l.checkSchema()
	if err == nil {
		err = damageOf(guard("reading the log", l.load))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the log: %w", err), db.Close())
	}
	go l.writeAll()
	return l, nil
}

// SetLogAside gives a log that is damaged another name beside it, which it returns, so that OpenLog begins another one. Nobody reads it or
// removes it.
func SetLogAside(dir string) (aside string, err error) {
	path := filepath.Join(dir, "log")
	lock, err := lockDir(path)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	aside = path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000000Z")
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("setting the log aside: %w", err)
	}
	return aside, syncDir(dir)
}

// checkSchema takes over a log of one of the two schemas before, and empties one in a layout before that: there was no release with it whose
// records would be worth reading two ways.
func (l *Log) checkSchema() error {
	have, err := checkSchema(l.db, logSchemaKey, logSchema)
	if err != nil || have == logSchema {
		return err
	}
	if have > logSchema {
		return errSchema(have, logSchema)
	}
	if have >= oldestLogSchema {
		return l.takeOver()
	}
	l.config.Logger.Warn("the log is in a layout of a former version and begins anew", "dropped_mib", l.Size()>>20)
	if err := guard("dropping the log", l.db.DropAll); err != nil {
		return err
	}
	_, err = checkSchema(l.db, logSchemaKey, logSchema)
	return err
}

// takeOver makes the log one of this schema: pages so far have index records of their own.
func (l *Log) takeOver() error {
	return guard("changing the schema", func() error {
		return l.db.Update(func(txn *badger.Txn) error {
			through := uint64(max(0, l.config.Clock().UnixMicro()))
			return errors.Join(
				txn.Set(logIndexedKey, binary.BigEndian.AppendUint64(nil, through)),
				txn.Set(logSchemaKey, schemaValue(logSchema)))
		})
	})
}

// Append queues the records of one request. It never blocks.
func (l *Log) Append(r storage.LogRecord) {
	item := logItems.Get().(*logItem)
	item.record = r
	if r.Decision != nil {
		item.decision = append(item.decision[:0], r.Decision...)
		item.record.Decision = item.decision
	}
	l.enqueue(item)
}

// AppendGeneration queues a snapshot generation and keeps data until it is written. It never blocks.
func (l *Log) AppendGeneration(generation uint64, data []byte) {
	l.enqueue(&logItem{generation: generation, data: data})
}

func (l *Log) enqueue(item *logItem) {
	select {
	case <-l.stop:
		l.dropped.Add(1)
		return
	default:
	}
	select {
	case l.queue <- item:
	default:
		l.dropped.Add(1)
		item.release()
	}
	if len(l.queue) >= min(pageRequests, cap(l.queue)/2) {
		l.hasten()
	}
}

// hasten makes the writer begin the next page at once.
func (l *Log) hasten() { poke(l.hurry) }

// Dropped is how many records were lost so far: the queue was full, or a record could not be stored.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Flush returns when everything appended before it is readable, or the log is closed or takes no more.
func (l *Log) Flush() {
	flushed := make(chan struct{})
	select {
	case l.queue <- &logItem{flushed: flushed}:
	case <-l.stopped:
		return
	case <-l.config.givenUp.done:
		return
	}
	l.hasten()
	select {
	case <-flushed:
	case <-l.stopped:
	case <-l.config.givenUp.done:
	}
}

// Close writes what is queued and closes the database, unless it takes no more.
func (l *Log) Close() (err error) {
	l.once.Do(func() {
		close(l.stop)
		err = l.config.givenUp.guard("writing the log", func() error { <-l.stopped; return nil })
		switch {
		case err != nil: // the writer is at work in it
		case l.discard != nil:
			err = l.discard()
		default:
			err = errors.Join(l.volumes.synchronize(), l.volumes.close(), l.config.givenUp.guard("closing the log", l.db.Close))
		}
	})
	return err
}

// writeAll is the writer: it drains the queue in batches and tidies up between them.
func (l *Log) writeAll() {
	defer close(l.stopped)
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	l.resume()
	l.tidy()
	reported := uint64(0)
	items := make([]*logItem, 0, pageRequests)
	for running := true; running; {
		select {
		case item := <-l.queue:
			items = append(items, item)
		case <-tidy.C:
			l.tidy()
		case <-l.stop:
			running = false
		}
		for items = l.drain(items); len(items) > 0; items = l.drain(items) {
			began := time.Now()
			l.write(items)
			full := len(items) == pageRequests
			for _, item := range items {
				if item != nil { // it was not left out
					item.release()
				}
			}
			clear(items)
			items = items[:0]
			if !full && running {
				l.pause(pageEvery - time.Since(began))
				break
			}
		}
		if dropped := l.dropped.Load(); dropped != reported {
			l.config.Logger.Warn("log records dropped", "now", dropped-reported, "total", dropped)
			reported = dropped
		}
	}
}

// pause lets requests gather for the next page.
func (l *Log) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-l.hurry:
	case <-l.stop:
	}
}

// drain appends what is queued, up to a full batch.
func (l *Log) drain(items []*logItem) []*logItem {
	for len(items) < pageRequests {
		select {
		case item := <-l.queue:
			items = append(items, item)
		default:
			return items
		}
	}
	return items
}

// write stores a batch. A transaction that fails is tried again until it succeeds, with the queue filling up behind it; when
// the log is being closed there is one more try only.
func (l *Log) write(items []*logItem) {
	if l.full() || l.config.givenUp.over() {
		l.dropAll(items)
		return
	}
	if items = l.settled(items); len(items) == 0 {
		return
	}
	now := l.config.Clock()
	l.seq = max(l.seq+1, uint64(max(0, now.UnixMicro())))
	for {
		err := l.commit(items, now)
		switch {
		case err == nil:
			if len(l.pages.items) > 0 {
				l.counted(l.seq, len(l.pages.items))
				l.count(l.seq, l.pages.each)
			}
			for i := range items {
				if items[i].flushed != nil {
					close(items[i].flushed)
				}
			}
			return
		case l.writer.err != nil && len(items) > 1: // too large for one transaction, or a record in it is
			l.write(items[:len(items)/2])
			l.write(items[len(items)/2:])
			return
		case l.writer.err != nil:
			l.config.Logger.Warn("log record cannot be stored", "request", items[0].record.Usage.Request, "cause", err)
			l.dropped.Add(1)
			return
		}
		l.config.Logger.Warn("writing the log failed, trying again", "cause", err)
		select {
		case <-time.After(time.Second):
		case <-l.config.givenUp.done:
			l.dropAll(items)
			return
		case <-l.stop:
			if err := l.commit(items, now); err != nil {
				l.dropped.Add(uint64(len(items)))
			}
			return
		}
	}
}

// settled leaves out requests whose settlement is not on disk, for the ledger has halted: the next start adds what its ledger says of them.
func (l *Log) settled(items []*logItem) []*logItem {
	return slices.DeleteFunc(items, func(item *logItem) bool {
		if item.record.Settled.Wait() == nil {
			return false
		}
		l.dropped.Add(1)
		return true
	})
}

// full tells whether so little disk space is left that it must stay with the ledger: a quarter of the low-water mark.
func (l *Log) full() bool {
	if l.config.MinFreeMB < 0 {
		return false
	}
	free, err := l.config.free(l.config.Dir)
	return err == nil && free < uint64(l.config.MinFreeMB)<<20/4
}

// dropAll loses a batch, which is counted.
func (l *Log) dropAll(items []*logItem) {
	for i := range items {
		if items[i].flushed != nil {
			close(items[i].flushed)
		} else {
			l.dropped.Add(1)
		}
	}
}

// commit writes a batch as one page at seq, next to its generations and states.
func (l *Log) commit(items []*logItem, now time.Time) error {
	w := &l.writer
	w.begin(l.db, 3*len(items)+1)
	defer w.txn.Discard()
	w.expires = uint64(now.Add(l.config.Retain).Unix())
	for i := range items {
		if items[i].policy != "" {
			setState(w, periodOf(l.seq), items[i].policy, items[i].generation, items[i].data)
		} else if items[i].price != "" {
			setPrice(w, items[i].price, items[i].data)
		} else if items[i].data != nil {
			key := w.cut(binary.BigEndian.AppendUint64(appendLogKey(w.buf, periodOf(l.seq), logGeneration), items[i].generation))
			w.set(key, w.cut(append(w.buf, l.pages.pack(items[i].data)...)))
		}
	}
	addAlerts(w, items, l.seq)
	page := l.pages.add(w, items, l.seq, l.total)
	if len(page) > mostPage {
		w.err = fmt.Errorf("a page of %d bytes: %w", len(page), badger.ErrTxnTooBig)
	}
	if len(w.records) == 0 && page == nil {
		return nil
	}
	l.used(periodOf(l.seq))
	l.config.reach("logging")
	if !l.config.roomy() {
		return storage.ErrLowSpace
	}
	if page != nil && w.err == nil {
		place, err := l.volumes.keep(l.seq, page)
		if err != nil {
			return err
		}
		w.set(w.cut(appendPageKey(w.buf, l.seq)), place)
	}
	l.writing.Lock()
	err := l.config.givenUp.commit("committing to the log", w.commit)
	l.writing.Unlock()
	if err != nil {
		return err
	}
	l.config.reach("logged")
	return nil
}
