package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/klauspost/compress/s2"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/fields"
)

// ResultsFor is how long the result of a request with an idempotency key is remembered.
const ResultsFor = 24 * time.Hour

const (
	resultsDir    = "results" // of the data directory
	resultsSchema = 1
	markPeriod    = 12 * time.Hour // marks are dropped by so much at once
	chunksOfRoom  = 8              // bodies are dropped by this part of their room at once
	chunkTime     = 3 * time.Hour  // or by what came in this time
	pieceSize     = 128 << 10      // of a body, in bytes; a transaction has room for some
	resultQueue   = 256
)

// Kinds of keys, see the package documentation.
const (
	resultMark = 'm'
	resultBody = 'b'
)

// Results keeps what became of requests with idempotency keys, for a day, in <dir>/results. A mark says how far a request is, in
// some hundred bytes; its answer is kept beside it while there is room, and the oldest answers go first. Every write is synced;
// those of the moment share a commit. There is no database before the first write, for many never have a request with such a key. All methods are safe for concurrent use.
type Results struct {
	config  Config
	db      atomic.Pointer[badger.DB] // nil: nothing was ever kept
	room    int64                     // of answers, in bytes
	queue   chan resultWrite
	stop    chan struct{}
	stopped chan struct{} // closed when the writer has ended
	once    sync.Once
	ended   chan struct{} // closed when all writes have finished

	mu      sync.Mutex
	pending map[*storage.Batch]struct{} // writes that have not finished
	over    error                       // why there are no more

	// The writer's own.
	chunks []bodyChunk // that have answers, the oldest first
	marks  uint32      // the oldest period that may have marks
	broken error       // why nothing is written any more: what is on disk is not known after a commit that failed
}

// bodyChunk is a number of answers that are dropped together.
type bodyChunk struct {
	number uint32
	bytes  int64
	began  time.Time
}

// resultWrite is a result to be written.
type resultWrite struct {
	id     storage.ResultID
	result storage.Result
	forget bool
	done   *storage.Batch
}

// OpenResults opens <config.Dir>/results, if it is there; else the first write creates it. It has room for so many bytes of answers. Errors: the directory is in use,
// damaged, or written by a newer program.
func OpenResults(config Config, room int64) (*Results, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Results{
		config: config, room: room, queue: make(chan resultWrite, resultQueue), stop: make(chan struct{}), stopped: make(chan struct{}),
		ended: make(chan struct{}), pending: map[*storage.Batch]struct{}{},
		marks: markPeriodOf(config.Clock().Add(-ResultsFor)),
	}
	if _, err := os.Lstat(filepath.Join(config.Dir, resultsDir)); !errors.Is(err, fs.ErrNotExist) {
		if err := r.open(); err != nil {
			return nil, err
		}
	}
	go r.writeAll()
	go r.letGo()
	return r, nil
}

// open opens or creates the database.
func (r *Results) open() error {
	db, err := openDatabase(r.config, resultsDir, resultOptions)
	if err != nil {
		return err
	}
	have, err := checkSchema(db, []byte{keySchema}, resultsSchema)
	if err == nil && have != resultsSchema {
		err = errSchema(have, resultsSchema)
	}
	if err == nil {
		err = guard("reading the results", func() error { return r.loadChunks(db) })
	}
	if err != nil {
		return errors.Join(fmt.Errorf("opening the results: %w", err), db.Close())
	}
	r.db.Store(db)
	return nil
}

// markPeriodOf is the period that a mark of a moment is in.
func markPeriodOf(t time.Time) uint32 {
	return uint32(max(0, t.Unix()) / int64(markPeriod/time.Second))
}

func markKey(period uint32, id storage.ResultID) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{resultMark}, period), id[:]...)
}

func pieceKey(chunk uint32, id storage.ResultID, piece int) []byte {
	key := append(binary.BigEndian.AppendUint32([]byte{resultBody}, chunk), id[:]...)
	return binary.BigEndian.AppendUint16(key, uint16(piece))
}

// Result finds what became of a request. An answer that is not kept any more makes it ResultGone. Errors: ErrNotFound, ErrClosed.
func (r *Results) Result(id storage.ResultID) (result storage.Result, err error) {
	select {
	case <-r.stop:
		return result, storage.ErrClosed
	default:
	}
	db := r.db.Load()
	if db == nil {
		return result, storage.ErrNotFound
	}
	now := r.config.Clock()
	err = r.config.givenUp.guard("reading a result", func() error {
		return db.View(func(txn *badger.Txn) error {
			for period := markPeriodOf(now); ; period-- {
				value, err := readValue(txn, markKey(period, id))
				if errors.Is(err, storage.ErrNotFound) && period > 0 && period > markPeriodOf(now.Add(-ResultsFor)) {
					continue
				}
				if err != nil {
					return err
				}
				return r.read(txn, id, value, now, &result)
			}
		})
	})
	return result, err
}

// read decodes a mark and fetches the answer to it.
func (r *Results) read(txn *badger.Txn, id storage.ResultID, mark []byte, now time.Time, result *storage.Result) error {
	f := fields.Reader{Rest: mark}
	at := time.UnixMilli(int64(f.Uvarint()))
	copy(result.Request[:], f.Bytes(len(result.Request)))
	copy(result.Fingerprint[:], f.Bytes(len(result.Fingerprint)))
	result.State, result.Status = storage.ResultState(f.Byte()), int(f.Uvarint())
	chunk, pieces := uint32(f.Uvarint()), int(f.Uvarint())
	if err := f.End(); err != nil {
		return err
	}
	if now.Sub(at) >= ResultsFor {
		return storage.ErrNotFound
	}
	if pieces == 0 {
		return nil
	}
	var packed []byte
	for n := range pieces {
		piece, err := readValue(txn, pieceKey(chunk, id, n))
		if errors.Is(err, storage.ErrNotFound) {
			result.State = storage.ResultGone
			return nil
		}
		if err != nil {
			return err
		}
		packed = append(packed, piece...)
	}
	text, err := s2.Decode(nil, packed)
	if err != nil {
		return fields.ErrEncoding
	}
	f = fields.Reader{Rest: text}
	result.Header = f.Sized()
	result.Body = f.Rest
	if f.Bad() {
		return fields.ErrEncoding
	}
	return nil
}

// Keep writes what became of a request, in the place of what was known of it before. It keeps the result's slices until the batch
// is done.
func (r *Results) Keep(id storage.ResultID, result storage.Result) *storage.Batch {
	return r.enqueue(resultWrite{id: id, result: result})
}

// Forget makes a request one that never was.
func (r *Results) Forget(id storage.ResultID) *storage.Batch {
	return r.enqueue(resultWrite{id: id, forget: true})
}

func (r *Results) enqueue(w resultWrite) *storage.Batch {
	w.done = storage.NewBatch(nil)
	r.mu.Lock()
	over := r.over
	if over == nil {
		r.pending[w.done] = struct{}{}
	}
	r.mu.Unlock()
	if over != nil {
		w.done.Finish(over)
		return w.done
	}
	select {
	case r.queue <- w:
	case <-r.ended:
	}
	return w.done
}

// finish ends a write for who waits for it.
func (r *Results) finish(done *storage.Batch, err error) {
	r.mu.Lock()
	_, waits := r.pending[done]
	delete(r.pending, done)
	r.mu.Unlock()
	if waits {
		done.Finish(err)
	}
}

// letGo ends all writes that the writer does not: it has ended, or waits for a database that is given up.
func (r *Results) letGo() {
	defer close(r.ended)
	err := storage.ErrClosed
	select {
	case <-r.stopped:
	case <-r.config.givenUp.done:
		err = errGivenUp
	}
	r.mu.Lock()
	pending := r.pending
	r.over, r.pending = err, nil
	r.mu.Unlock()
	for done := range pending {
		done.Finish(err)
	}
}

// Close writes what is queued and closes the database.
func (r *Results) Close() (err error) {
	r.once.Do(func() {
		close(r.stop)
		err = r.config.givenUp.close("results", r.stopped, r.db.Load)
	})
	return err
}

// writeAll is the writer: whatever is queued goes into one transaction.
func (r *Results) writeAll() {
	defer close(r.stopped)
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	r.tidy()
	var batch []resultWrite
	for running := true; running; {
		select {
		case w := <-r.queue:
			batch = append(batch, w)
		case <-tidy.C:
			r.tidy()
		case <-r.stop:
			running = false
		}
		for more := true; more; {
			select {
			case w := <-r.queue:
				batch = append(batch, w)
			default:
				more = false
			}
		}
		if len(batch) > 0 {
			r.write(batch)
			clear(batch)
			batch = batch[:0]
			r.tidy()
		}
	}
}

// write commits a batch, in several transactions if it is too large for one, unless the disk is nearly full. An answer is on disk
// before the mark that tells of it.
func (r *Results) write(batch []resultWrite) {
	err := error(nil)
	if free, unknown := freeBytes(r.config.Dir); unknown == nil && r.config.MinFreeMB >= 0 && free < openFreeBytes {
		err = storage.ErrLowSpace
	} else if r.db.Load() == nil {
		err = r.open()
	}
	if err != nil { // the next write tries again
		for i := range batch {
			r.finish(batch[i].done, err)
		}
		return
	}
	db := r.db.Load()
	t := resultTxn{db: db, givenUp: r.config.givenUp, finish: r.finish, txn: db.NewTransaction(true), err: r.broken, broken: r.broken}
	now := r.config.Clock()
	for i := range batch {
		r.add(&t, &batch[i], now)
	}
	t.commit()
	t.txn.Discard()
	r.broken = t.broken
}

// add puts one result into a transaction.
func (r *Results) add(t *resultTxn, one *resultWrite, now time.Time) {
	period := markPeriodOf(now)
	if !one.forget {
		chunk, pieces := uint32(0), packResult(&one.result)
		if len(pieces) > 0 {
			chunk = r.chunk(now, pieces)
		}
		for n, piece := range pieces {
			t.set(pieceKey(chunk, one.id, n), piece)
		}
		mark := binary.AppendUvarint(nil, uint64(now.UnixMilli()))
		mark = append(append(mark, one.result.Request[:]...), one.result.Fingerprint[:]...)
		mark = binary.AppendUvarint(append(mark, byte(one.result.State)), uint64(one.result.Status))
		mark = binary.AppendUvarint(binary.AppendUvarint(mark, uint64(chunk)), uint64(len(pieces)))
		t.set(markKey(period, one.id), mark)
	}
	for p := markPeriodOf(now.Add(-ResultsFor)); p < period || one.forget && p == period; p++ { // a former mark, which must not be gone before the new one is there
		t.set(markKey(p, one.id), nil)
	}
	t.waiting = append(t.waiting, one.done)
}

// packResult is the answer of a result, compressed, in pieces; none if it has no answer.
func packResult(result *storage.Result) [][]byte {
	if result.State != storage.ResultWhole && result.State != storage.ResultCut {
		return nil
	}
	text := append(fields.AppendText(nil, string(result.Header)), result.Body...)
	return slices.Collect(slices.Chunk(s2.Encode(nil, text), pieceSize))
}

// resultTxn is the transaction that is open.
type resultTxn struct {
	db      *badger.DB
	givenUp *givenUp
	txn     *badger.Txn
	size    int
	err     error            // the first
	broken  error            // of a commit
	waiting []*storage.Batch // for its commit
	finish  func(*storage.Batch, error)
}

// set writes a record, or deletes the one of the key if value is nil.
func (t *resultTxn) set(key, value []byte) {
	if t.size += len(key) + len(value); t.size > 2*pieceSize {
		t.commit()
		t.size = len(key) + len(value)
	}
	err := error(nil)
	if value == nil {
		err = t.txn.Delete(key)
	} else {
		err = t.txn.Set(key, value)
	}
	t.err = errors.Join(t.err, err)
}

// commit writes what has been set, and begins anew. After an error nothing is written any more.
func (t *resultTxn) commit() {
	if t.err == nil {
		t.err = t.givenUp.commit("committing results", t.txn.Commit)
		t.broken = t.err
	}
	t.txn.Discard()
	t.txn = t.db.NewTransaction(true)
	for _, b := range t.waiting {
		t.finish(b, t.err)
	}
	t.waiting = t.waiting[:0]
}

// chunk is where an answer goes.
func (r *Results) chunk(now time.Time, pieces [][]byte) uint32 {
	last := len(r.chunks) - 1
	if last < 0 || r.chunks[last].bytes > r.room/chunksOfRoom || now.Sub(r.chunks[last].began) > chunkTime {
		number := uint32(1)
		if last >= 0 {
			number = r.chunks[last].number + 1
		}
		r.chunks = append(r.chunks, bodyChunk{number: number, began: now})
		last++
	}
	for _, piece := range pieces {
		r.chunks[last].bytes += int64(len(piece))
	}
	return r.chunks[last].number
}

// tidy drops what is older than a day, and the oldest answers while there are more than have room.
func (r *Results) tidy() {
	if r.db.Load() == nil {
		return
	}
	now := r.config.Clock()
	total := int64(0)
	for _, c := range r.chunks {
		total += c.bytes
	}
	for len(r.chunks) > 0 && (total > r.room || now.Sub(r.chunks[0].began) > ResultsFor+chunkTime) {
		if !r.drop(binary.BigEndian.AppendUint32([]byte{resultBody}, r.chunks[0].number)) {
			return
		}
		total -= r.chunks[0].bytes
		r.chunks = slices.Delete(r.chunks, 0, 1)
	}
	for ; r.marks < markPeriodOf(now.Add(-ResultsFor)); r.marks++ {
		if !r.drop(binary.BigEndian.AppendUint32([]byte{resultMark}, r.marks)) {
			return
		}
	}
}

// drop removes all keys of a prefix; false if that failed.
func (r *Results) drop(prefix []byte) bool {
	err := r.config.givenUp.drop("old results", r.db.Load(), prefix)
	if err != nil {
		r.config.Logger.Warn("results not tidied", "cause", err)
	}
	return err == nil
}

// loadChunks finds the chunks that are there, and the oldest marks. When a chunk began is not known any more; that it began now keeps
// its answers a little longer than a day.
func (r *Results) loadChunks(db *badger.DB) error {
	now := r.config.Clock()
	return db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{resultBody}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			key := it.Item().Key()
			if len(key) < 5 {
				return fmt.Errorf("results have a malformed key %x", key)
			}
			number := binary.BigEndian.Uint32(key[1:])
			if last := len(r.chunks) - 1; last < 0 || r.chunks[last].number != number {
				r.chunks = append(r.chunks, bodyChunk{number: number, began: now})
			}
			r.chunks[len(r.chunks)-1].bytes += it.Item().ValueSize()
		}
		marks := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{resultMark}})
		defer marks.Close()
		if marks.Rewind(); marks.Valid() && len(marks.Item().Key()) >= 5 {
			r.marks = min(r.marks, binary.BigEndian.Uint32(marks.Item().Key()[1:]))
		}
		return nil
	})
}
