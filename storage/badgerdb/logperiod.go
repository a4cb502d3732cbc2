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
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Kinds of log keys, see the package documentation.
const (
	logPage       = 'p'
	logAccount    = 'a'
	logClient     = 'c'
	logLate       = 'l'
	logGeneration = 'g'
	logState      = 's'
	logPrice      = 'm'
)

// periodLength is how much of the log is dropped at once.
const periodLength = 6 * time.Hour

// periodAt is the number of six-hour periods since 1970; 0 is for the log's own records.
func periodAt(t time.Time) uint32 { return periodOf(uint64(max(0, t.UnixMicro()))) }

// periodOf is the period of a page.
func periodOf(seq uint64) uint32 { return uint32(max(1, seq/uint64(periodLength.Microseconds()))) }

func appendLogKey(b []byte, period uint32, kind byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, period), kind)
}

func appendPageKey(b []byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendLogKey(b, periodOf(seq), logPage), seq)
}

func appendAccountPrefix(b []byte, period uint32, account string) []byte {
	return append(append(appendLogKey(b, period, logAccount), account...), 0)
}

func appendClientPrefix(b []byte, period uint32, clientID string) []byte {
	h := fnv.New64a()
	h.Write([]byte(clientID))
	return h.Sum(appendLogKey(b, period, logClient))
}

// tidy drops what is older than the log keeps, and the oldest periods, then the oldest sums of minutes, while it is too large.
func (l *Log) tidy() {
	now, most := l.config.Clock(), int64(l.config.MaxLogMB)<<20
	oldest := periodAt(now.Add(-l.config.Retain))
	for _, period := range l.known() {
		if period >= oldest && l.Size() <= most {
			break
		}
		if !l.drop(&l.periods, period, time.Unix(int64(period+1)*int64(periodLength/time.Second), 0)) {
			return
		}
	}
	for _, shelf := range l.knownShelves() {
		r := resolution(shelf>>24 - 0x10)
		until := timeOf((shelf&0xffffff + 1) * r.unit())
		if expired := until.Before(now.Add(-l.config.KeepSums[r])); !expired && (r > minutes || l.Size() <= most) {
			continue
		}
		if !l.drop(&l.shelves, shelf, until) {
			return
		}
	}
}

// drop deletes all keys under a period, or a shelf's unit.
func (l *Log) drop(list *[]uint32, period uint32, until time.Time) bool {
	l.dropping.Lock()
	defer l.dropping.Unlock()
	err := guard("dropping old log records", func() error {
		return l.db.DropPrefix(binary.BigEndian.AppendUint32(nil, period))
	})
	if err != nil {
		l.config.Logger.Warn("log not tidied", "cause", err)
		return false
	}
	l.mu.Lock()
	*list = slices.DeleteFunc(*list, func(p uint32) bool { return p == period })
	l.mu.Unlock()
	l.config.Logger.Info("old log records dropped", "until", until.UTC(), "sums", period >= minutes.shelf(), "log_mib", l.Size()>>20)
	return true
}

// Size is what the log's tables take on disk, in bytes.
func (l *Log) Size() int64 { return tableBytes(l.config.Dir, "log") }

// tableBytes is what the tables of a database take on disk.
func tableBytes(dir, name string) (total int64) {
	files, err := os.ReadDir(filepath.Join(dir, name))
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

// loadPeriods finds the periods that have records by hopping from one to the next, and the last page.
func (l *Log) loadPeriods() error {
	return l.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for period := uint32(1); ; period++ {
			it.Seek(binary.BigEndian.AppendUint32(nil, period))
			if !it.Valid() {
				break
			}
			if len(it.Item().Key()) < 5 {
				return fmt.Errorf("log has a malformed key %x", it.Item().Key())
			}
			period = binary.BigEndian.Uint32(it.Item().Key())
			if period < minutes.shelf() {
				l.periods = append(l.periods, period)
			} else {
				l.shelves = append(l.shelves, period)
			}
		}
		err := l.eachPageBackward(txn, func(seq uint64, item *badger.Item) (more bool, err error) {
			l.seq, l.folding.end.Page = seq, seq
			return false, item.Value(func(value []byte) error {
				if head, err := readHead(value); err == nil { // else the record of the sums knows it nearly
					l.total = head.before + uint64(head.count())
					l.folding.end.Ordinal = uint16(head.count())
				}
				return nil
			})
		})
		err = errors.Join(err, l.loadFolded(txn))
		l.folding.end.Count = l.total
		return err
	})
}

// used notes that a period has records, and usedShelf that a unit has sums.
func (l *Log) used(period uint32) { l.note(&l.periods, period) }

func (l *Log) usedShelf(shelf uint32) { l.note(&l.shelves, shelf) }

func (l *Log) note(list *[]uint32, period uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, found := slices.BinarySearch(*list, period); !found {
		*list = slices.Insert(*list, at, period)
	}
}

// known returns the periods that have records, ascending, and knownShelves the units that have sums.
func (l *Log) known() []uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.periods)
}

func (l *Log) knownShelves() []uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.shelves)
}
