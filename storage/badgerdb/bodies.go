package badgerdb

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/klauspost/compress/s2"

	"github.com/pointsman/pointsman/storage"
)

// Bodies keeps bodies of requests and answers in <dir>/bodies, a database of its own, so that they are dropped by themselves. Writes
// are queued and never block; a body that finds the queue full is dropped and counted. All methods are safe for concurrent use.
type Bodies struct {
	config  BodiesConfig
	givenUp *givenUp
	db      *badger.DB
	queue   chan storage.Body
	waiting atomic.Int64 // bytes in the queue
	dropped atomic.Uint64
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once

	mu    sync.Mutex
	units []uint32 // that have bodies, ascending
	fill  int64    // bytes in the last one
}

// BodiesConfig says how bodies are kept.
type BodiesConfig struct {
	Dir    string // data directory
	Logger *slog.Logger
	Clock  func() time.Time // nil: time.Now
	MaxMB  int              // of disk space; the oldest bodies go first
	Retain time.Duration
	Redact func(body []byte) []byte // makes of each what may be kept; called before it is written
}

// Bodies are kept in units that are dropped at once: a key is unit(4) request(16), or unit(4) 'c' and a client's id, whose value is the
// request. A unit is named for the time in seconds when it began, and is full after an hour or a sixteenth of the space.
const (
	unitTime       = time.Hour
	unitShare      = 16
	bodiesClient   = 'c'
	bodiesMemoryMB = 64       // of which a sixteenth bounds a value
	mostWaiting    = 64 << 20 // bytes in the queue
)

// OpenBodies opens or creates <config.Dir>/bodies. Errors: those of [OpenLog].
func OpenBodies(config BodiesConfig) (*Bodies, error) {
	base, err := Config{Dir: config.Dir, Logger: config.Logger, Clock: config.Clock, MemoryMB: bodiesMemoryMB}.withDefaults()
	if err != nil {
		return nil, err
	}
	config.Logger, config.Clock = base.Logger, base.Clock
	db, err := openDatabase(base, "bodies", func(o badger.Options) badger.Options { return o })
	if err != nil {
		return nil, err
	}
	b := &Bodies{config: config, givenUp: base.givenUp, db: db, queue: make(chan storage.Body, 4096), stop: make(chan struct{}), stopped: make(chan struct{})}
	if err := guard("reading the bodies", b.load); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the bodies: %w", err), db.Close())
	}
	go b.writeAll()
	return b, nil
}

// load finds the units by hopping from one to the next. Writing goes on in a new one.
func (b *Bodies) load() error {
	return b.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); {
			unit := binary.BigEndian.Uint32(it.Item().Key())
			b.units = append(b.units, unit)
			it.Seek(binary.BigEndian.AppendUint32(nil, unit+1))
		}
		b.fill = int64(b.config.MaxMB) << 20
		return nil
	})
}

// Append queues a body. It never blocks, and keeps the slices.
func (b *Bodies) Append(body storage.Body) {
	size := int64(len(body.Sent) + len(body.Answered))
	if b.waiting.Add(size) > mostWaiting {
		b.waiting.Add(-size)
		b.dropped.Add(1)
		return
	}
	select {
	case b.queue <- body:
	default:
		b.waiting.Add(-size)
		b.dropped.Add(1)
	}
}

// Dropped is how many bodies were lost so far.
func (b *Bodies) Dropped() uint64 { return b.dropped.Load() }

// Close writes what is queued and closes the database.
func (b *Bodies) Close() (err error) {
	b.once.Do(func() {
		close(b.stop)
		err = b.givenUp.close("bodies", b.stopped, func() *badger.DB { return b.db })
	})
	return err
}

func (b *Bodies) writeAll() {
	defer close(b.stopped)
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	b.tidy()
	for {
		select {
		case body := <-b.queue:
			b.write(body)
		case <-tidy.C:
			b.tidy()
		case <-b.stop:
			for {
				select {
				case body := <-b.queue:
					b.write(body)
					continue
				default:
				}
				return
			}
		}
	}
}

// write redacts and stores a body. One that cannot be stored is dropped: it is no record that anything rests on.
func (b *Bodies) write(body storage.Body) {
	b.waiting.Add(-int64(len(body.Sent) + len(body.Answered)))
	body.Sent, body.Answered = b.config.Redact(body.Sent), b.config.Redact(body.Answered)
	err := b.givenUp.commit("storing a body", func() error {
		raw, err := json.Marshal(&body)
		if err != nil {
			return err
		}
		packed := s2.EncodeBetter(nil, raw)
		unit := binary.BigEndian.AppendUint32(nil, b.unit(int64(len(packed))))
		if b.givenUp.over() { // by tidying up for the next unit
			return errGivenUp
		}
		return b.db.Update(func(txn *badger.Txn) error {
			err := txn.Set(append(unit[:4:4], body.Request[:]...), packed)
			if err == nil && body.ClientID != "" {
				err = txn.Set(append(append(unit[:4:4], bodiesClient), body.ClientID...), body.Request[:])
			}
			return err
		})
	})
	if err != nil {
		b.dropped.Add(1)
		b.config.Logger.Warn("a body was not kept", "request", body.Request, "cause", err)
	}
}

// unit is where the next body of that size goes.
func (b *Bodies) unit(size int64) uint32 {
	now := uint32(max(0, b.config.Clock().Unix()))
	b.mu.Lock()
	last := uint32(0)
	if len(b.units) > 0 {
		last = b.units[len(b.units)-1]
	}
	full := b.fill >= int64(b.config.MaxMB)<<20/unitShare || now >= last+uint32(unitTime.Seconds())
	if full {
		last, b.fill = max(now, last+1), 0
		b.units = append(b.units, last)
	}
	b.fill += size
	b.mu.Unlock()
	if full {
		b.tidy()
	}
	return last
}

// tidy drops the units that are too old, and the oldest while all take too much space, but for the last one.
func (b *Bodies) tidy() {
	for {
		b.mu.Lock()
		units := append([]uint32(nil), b.units...)
		b.mu.Unlock()
		if len(units) == 0 {
			return
		}
		expired := time.Unix(int64(units[0]), 0).Add(unitTime).Before(b.config.Clock().Add(-b.config.Retain))
		if !expired && (len(units) == 1 || tableBytes(b.config.Dir, "bodies") <= int64(b.config.MaxMB)<<20) {
			return
		}
		err := b.givenUp.drop("old bodies", b.db, binary.BigEndian.AppendUint32(nil, units[0]))
		if err != nil {
			b.config.Logger.Warn("bodies not tidied", "cause", err)
			return
		}
		b.mu.Lock()
		b.units = b.units[1:]
		b.mu.Unlock()
	}
}

// Find returns the body of a request by its id, or the id that its client sent, of which the newest counts. Errors: ErrNotFound.
func (b *Bodies) Find(requestID string) (found storage.Body, err error) {
	b.mu.Lock()
	units := append([]uint32(nil), b.units...)
	b.mu.Unlock()
	err = b.givenUp.guard("reading the bodies", func() error {
		return b.db.View(func(txn *badger.Txn) error {
			id, idErr := storage.ParseRequestID(requestID)
			for i := len(units) - 1; i >= 0; i-- {
				unit := binary.BigEndian.AppendUint32(nil, units[i])
				value, err := []byte(nil), storage.ErrNotFound
				if idErr == nil {
					value, err = readValue(txn, append(unit[:4:4], id[:]...))
				}
				if errors.Is(err, storage.ErrNotFound) {
					if request, clientErr := readValue(txn, append(append(unit[:4:4], bodiesClient), requestID...)); clientErr == nil {
						value, err = readValue(txn, append(unit[:4:4], request...))
					}
				}
				if errors.Is(err, storage.ErrNotFound) {
					continue
				}
				if err == nil {
					value, err = unpack(value)
				}
				if err != nil {
					return err
				}
				return json.Unmarshal(value, &found)
			}
			return storage.ErrNotFound
		})
	})
	if err != nil {
		return found, fmt.Errorf("body of request %.64q: %w", requestID, err)
	}
	return found, nil
}
