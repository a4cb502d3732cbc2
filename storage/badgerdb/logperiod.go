package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// Kinds of log keys, see the package documentation.
const (
	logPage       = 'p'
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

// beginOf is when a period begins.
func beginOf(period uint32) time.Time {
	return time.Unix(int64(period)*int64(periodLength/time.Second), 0)
}

func appendLogKey(b []byte, period uint32, kind byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, period), kind)
}

// logSchemaKey is the key of the schema version.
var logSchemaKey = []byte{0, 0, 0, 0, keySchema}

// isPage tells whether a key is that of a page.
func isPage(key []byte) bool { return len(key) == 13 && key[4] == logPage }

func appendPageKey(b []byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendLogKey(b, periodOf(seq), logPage), seq)
}

func appendClientPrefix(b []byte, period uint32, clientID string) []byte {
	h := fnv.New64a()
	h.Write([]byte(clientID))
	return h.Sum(appendLogKey(b, period, logClient))
}

// tidy drops what is older than the log keeps, and the oldest periods, then the oldest sums of minutes, while it is too large.
func (l *Log) tidy() {
	if l.config.DropNothing {
		return
	}
	now, most := l.config.Clock(), int64(l.config.MaxLogMB)<<20
	oldest := periodAt(now.Add(-l.config.Retain))
	for _, period := range l.known() {
		if period >= oldest && l.Size() <= most {
			break
		}
		if !l.drop(&l.periods, period, beginOf(period+1)) {
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

// droppedMark is the mark that says until when the log has dropped what it had, in microseconds.
const droppedMark = "log: dropped"

// keptSince is the time before which the log has dropped what it had; zero if it has dropped nothing.
func (l *Log) keptSince() (time.Time, error) {
	value, err := l.Mark(droppedMark)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return time.Time{}, nil
	case err == nil && len(value) != 8:
		err = fmt.Errorf("the mark of what the log has dropped has %d bytes", len(value))
	}
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(value))), nil
}

// drop deletes all keys under a period, or a shelf's unit.
func (l *Log) drop(list *[]uint32, period uint32, until time.Time) bool {
	l.writing.Lock()
	defer l.writing.Unlock()
	err := l.config.givenUp.drop("old log records", l.db, binary.BigEndian.AppendUint32(nil, period))
	if err == nil && list == &l.periods {
		if now := l.config.Clock(); until.After(now) { // it is under way
			until = now
		}
		err = l.putMark(droppedMark, binary.BigEndian.AppendUint64(nil, uint64(until.UnixMicro())))
	}
	if err != nil {
		l.config.Logger.Warn("log not tidied", "cause", err)
		return false
	}
	l.mu.Lock()
	*list = slices.DeleteFunc(*list, func(p uint32) bool { return p == period })
	l.mu.Unlock()
	if err := l.removeVolumes(); err != nil {
		l.config.Logger.Warn("log not tidied", "cause", err)
		return false
	}
	l.config.Logger.Info("old log records dropped", "until", until.UTC(), "sums", period >= minutes.shelf(), "log_mib", l.Size()>>20)
	return true
}

// removeVolumes removes the volumes before that of the oldest page which is kept.
func (l *Log) removeVolumes() error {
	oldest := l.volumes.cursor.volume
	err := l.read(func(txn *badger.Txn) error {
		return l.eachPageItem(txn, 0, func(item *badger.Item) (more bool, err error) {
			p, elsewhere, err := placeOf(item)
			if elsewhere {
				oldest = min(oldest, p.volume)
			}
			return !elsewhere, err
		})
	})
	if err != nil {
		return err
	}
	names, _ := filepath.Glob(filepath.Join(l.volumes.dir, "*"+volumeExt)) // the pattern is sound
	for _, name := range names {
		if uint32(numberOf(name)) < oldest {
			err = errors.Join(err, os.Remove(name))
		}
	}
	return err
}

// Size is what the log's tables and pages take on disk, in bytes.
func (l *Log) Size() int64 { return tableBytes(l.config.Dir, "log") }

// tableBytes is what the tables of a database take on disk, and what lies in volumes beside it.
func tableBytes(dir, name string) (total int64) {
	files, err := os.ReadDir(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	for _, file := range files {
		ext := filepath.Ext(file.Name())
		if info, err := file.Info(); err == nil && (ext == ".sst" || ext == volumeExt) {
			total += info.Size()
		}
	}
	return total
}

// load finds the periods that have records by hopping from one to the next, and the last page.
func (l *Log) load() error {
	if err := l.db.View(l.loadPeriods); err != nil {
		return err
	}
	if err := l.mend(); err != nil {
		return err
	}
	return l.db.View(func(txn *badger.Txn) error {
		err := l.eachPageBackward(txn, func(seq uint64, item *badger.Item) (more bool, err error) {
			l.seq, l.folding.end.Page = seq, seq
			if head, err := l.head(item); err == nil { // else the record of the sums knows it nearly
				l.total = max(l.total, head.before+uint64(head.count()))
				l.folding.end.Ordinal = uint16(head.count())
			}
			return false, nil
		})
		l.folding.end.Count = l.total
		return err
	})
}

// mend lets go of the pages that the disk lacks, as a power failure leaves them; the ledger knows of their requests ([Reconcile]). Only pages since the
// last sums can be lacking, for those are written behind the volumes' synchronization, as those of the last run are here.
func (l *Log) mend() error {
	var lost [][]byte
	var cause error
	settled := uint32(0)
	err := l.db.View(func(txn *badger.Txn) error {
		from := uint64(l.folding.start[minutes]) * uint64(time.Minute.Microseconds())
		return l.eachPageItem(txn, from, func(item *badger.Item) (more bool, err error) {
			p, elsewhere, err := placeOf(item)
			if err != nil || !elsewhere {
				return true, err
			}
			_, err = p.read(l.volumes.dir)
			switch {
			case err == nil && p.volume == settled:
			case err == nil:
				settled = p.volume
				return true, l.volumes.settle(p.volume)
			case unreadable(err):
				return false, err
			default:
				lost, cause = append(lost, item.KeyCopy(nil)), err
			}
			return true, nil
		})
	})
	if err != nil || len(lost) == 0 {
		return err
	}
	l.config.Logger.Warn("pages of the log are not on the disk and are let go, as after a power failure: their requests are missing, but for what the ledger knows",
		"pages", len(lost), "cause", cause)
	batch := l.db.NewWriteBatch()
	defer batch.Cancel()
	for _, key := range lost {
		if err := batch.Delete(key); err != nil {
			return err
		}
	}
	return batch.Flush()
}

// loadPeriods finds the periods and units by hopping from one to the next, and how far the sums are.
func (l *Log) loadPeriods(txn *badger.Txn) error {
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
	return errors.Join(l.loadFolded(txn), l.loadIndexed(txn))
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

// firstKept is the first minute of the oldest unit that has sums of a resolution; false if none has.
func (l *Log) firstKept(r resolution) (minute uint32, ok bool) {
	for _, shelf := range l.knownShelves() { // ascending
		if shelf&^0xffffff == r.shelf() {
			return (shelf & 0xffffff) * r.unit(), true
		}
	}
	return 0, false
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
