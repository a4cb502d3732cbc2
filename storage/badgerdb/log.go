package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	queue   chan logItem
	stop    chan struct{}
	stopped chan struct{} // closed when the writer has ended
	once    sync.Once

	mu      sync.Mutex
	periods []uint32 // that have records, ascending
}

// logItem is a usage record (unless its request is zero), a generation (if data is set), or a call to close flushed once
// everything before it is written.
type logItem struct {
	record     storage.LogRecord
	generation uint64
	data       []byte
	flushed    chan struct{}
}

// Kinds of log keys, see the package documentation.
const (
	logUsage      = 'u'
	logDecision   = 'd'
	logAccount    = 'a'
	logClient     = 'c'
	logGeneration = 'g'
)

const (
	periodLength = 6 * time.Hour
	logBatch     = 512                  // items written in one go
	logPause     = 2 * time.Millisecond // between two small batches, so that they become one larger
	tidyEvery    = 10 * time.Minute
)

// OpenLog opens or creates <config.Dir>/log. The last records before a power failure may be missing; what a process that
// died had handed to the system is there.
func OpenLog(config Config) (*Log, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	db, err := openDatabase(config, "log", func(o badger.Options) badger.Options { return o })
	if err != nil {
		return nil, err
	}
	l := &Log{
		config:  config,
		db:      db,
		queue:   make(chan logItem, config.Queue),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	err = checkSchema(db, []byte{0, 0, 0, 0, keySchema})
	if err == nil {
		err = guard("reading the log", l.loadPeriods)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the log: %w", err), db.Close())
	}
	go l.writeAll()
	return l, nil
}

// Append queues the records of one request. It never blocks.
func (l *Log) Append(r storage.LogRecord) { l.enqueue(logItem{record: r}) }

// AppendGeneration queues a snapshot generation and keeps data until it is written. It never blocks.
func (l *Log) AppendGeneration(generation uint64, data []byte) {
	l.enqueue(logItem{generation: generation, data: data})
}

func (l *Log) enqueue(item logItem) {
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
	}
}

// Dropped is how many records were lost so far: the queue was full, or a record could not be stored.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Flush returns when everything appended before it is readable, or the log is closed.
func (l *Log) Flush() {
	flushed := make(chan struct{})
	select {
	case l.queue <- logItem{flushed: flushed}:
	case <-l.stopped:
		return
	}
	select {
	case <-flushed:
	case <-l.stopped:
	}
}

// Close writes what is queued and closes the database.
func (l *Log) Close() (err error) {
	l.once.Do(func() {
		close(l.stop)
		<-l.stopped
		err = guard("closing the log", l.db.Close)
	})
	return err
}

// writeAll is the writer: it drains the queue in batches and tidies up between them.
func (l *Log) writeAll() {
	defer close(l.stopped)
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	l.tidy()
	reported := uint64(0)
	items := make([]logItem, 0, logBatch)
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
			l.write(items)
			full := len(items) == logBatch
			clear(items)
			items = items[:0]
			if !full && running {
				time.Sleep(logPause)
				break
			}
		}
		if dropped := l.dropped.Load(); dropped != reported {
			l.config.Logger.Warn("log records dropped", "now", dropped-reported, "total", dropped)
			reported = dropped
		}
	}
}

// drain appends what is queued, up to a full batch.
func (l *Log) drain(items []logItem) []logItem {
	for len(items) < logBatch {
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
func (l *Log) write(items []logItem) {
	var entries []*badger.Entry
	for i := range items {
		entries = l.encode(entries, &items[i])
	}
	for len(entries) > 0 {
		n, err := l.commit(entries)
		switch {
		case err == nil:
			entries = entries[n:]
		case n == 0: // a record that alone is too large for a transaction
			l.config.Logger.Warn("log record cannot be stored", "bytes", len(entries[0].Value), "cause", err)
			l.dropped.Add(1)
			entries = entries[1:]
		default:
			l.config.Logger.Warn("writing the log failed, trying again", "cause", err)
			select {
			case <-time.After(time.Second):
			case <-l.stop:
				if _, err = l.commit(entries); err != nil {
					l.dropped.Add(uint64(len(items)))
					return
				}
			}
		}
	}
	for i := range items {
		if items[i].flushed != nil {
			close(items[i].flushed)
		}
	}
}

// commit writes as many of the entries as fit into one transaction and returns their number.
func (l *Log) commit(entries []*badger.Entry) (n int, err error) {
	txn := l.db.NewTransaction(true)
	defer txn.Discard()
	for n < len(entries) {
		if err := txn.SetEntry(entries[n]); err != nil {
			if n == 0 {
				return 0, err
			}
			break
		}
		n++
	}
	return n, guard("committing to the log", txn.Commit)
}

// encode appends the records of an item.
func (l *Log) encode(entries []*badger.Entry, item *logItem) []*badger.Entry {
	now := l.config.Clock()
	expires := uint64(now.Add(l.config.Retain).Unix())
	add := func(key, value []byte) {
		entries = append(entries, &badger.Entry{Key: key, Value: value, ExpiresAt: expires})
	}
	u := &item.record.Usage
	switch {
	case item.data != nil:
		period := periodAt(now)
		l.used(period)
		add(binary.BigEndian.AppendUint64(logKey(period, logGeneration), item.generation), item.data)
	case u.Request != storage.RequestID{}:
		period := periodOf(u.Request)
		l.used(period)
		add(append(logKey(period, logUsage), u.Request[:]...), appendUsage(nil, u))
		add(append(accountPrefix(period, u.Account), u.Request[:]...), nil)
		if u.ClientID != "" {
			add(append(clientPrefix(period, u.ClientID), u.Request[:]...), nil)
		}
		if item.record.Decision != nil {
			add(append(logKey(period, logDecision), u.Request[:]...), item.record.Decision)
		}
	}
	return entries
}

// tidy drops the periods that are older than the log keeps, and the oldest ones while it is too large.
func (l *Log) tidy() {
	oldest := periodAt(l.config.Clock().Add(-l.config.Retain))
	for _, period := range l.known() {
		size := l.size()
		if period >= oldest && size <= int64(l.config.MaxLogMB)<<20 {
			return
		}
		err := guard("dropping old log records", func() error {
			return l.db.DropPrefix(binary.BigEndian.AppendUint32(nil, period))
		})
		if err != nil {
			l.config.Logger.Warn("log not tidied", "cause", err)
			return
		}
		l.mu.Lock()
		l.periods = slices.DeleteFunc(l.periods, func(p uint32) bool { return p == period })
		l.mu.Unlock()
		l.config.Logger.Info("old log records dropped", "until", time.Unix(int64(period+1)*int64(periodLength/time.Second), 0).UTC(),
			"log_mib", size>>20)
	}
}

// size is what the log's tables take on disk, in bytes.
func (l *Log) size() (total int64) {
	files, err := os.ReadDir(filepath.Join(l.config.Dir, "log"))
	if err != nil {
		return 0
	}
	for _, file := range files {
		if info, err := file.Info(); err == nil && strings.HasSuffix(file.Name(), ".sst") {
			total += info.Size()
		}
	}
	return total
}

// loadPeriods finds the periods that have records by hopping from one to the next.
func (l *Log) loadPeriods() error {
	return l.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for period := uint32(1); ; period++ {
			it.Seek(binary.BigEndian.AppendUint32(nil, period))
			if !it.Valid() {
				return nil
			}
			if len(it.Item().Key()) < 5 {
				return fmt.Errorf("log has a malformed key %x", it.Item().Key())
			}
			period = binary.BigEndian.Uint32(it.Item().Key())
			l.periods = append(l.periods, period)
		}
	})
}

// used notes that a period has records.
func (l *Log) used(period uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, found := slices.BinarySearch(l.periods, period); !found {
		l.periods = slices.Insert(l.periods, at, period)
	}
}

// known returns the periods that have records, ascending.
func (l *Log) known() []uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.periods)
}

func logKey(period uint32, kind byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 32), period), kind)
}

func accountPrefix(period uint32, account string) []byte {
	return append(append(logKey(period, logAccount), account...), 0)
}

func clientPrefix(period uint32, clientID string) []byte {
	h := fnv.New64a()
	h.Write([]byte(clientID))
	return h.Sum(logKey(period, logClient))
}

// periodAt is the number of six-hour periods since 1970; 0 is for the log's own records.
func periodAt(t time.Time) uint32 {
	return uint32(max(1, t.UnixMilli()/periodLength.Milliseconds()))
}

// periodOf is the period of a request's time.
func periodOf(id storage.RequestID) uint32 {
	var ms [8]byte
	copy(ms[2:], id[:6])
	return periodAt(time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))))
}
