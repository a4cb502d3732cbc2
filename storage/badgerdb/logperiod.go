package badgerdb

import (
	"encoding/binary"
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
			l.periods = append(l.periods, period)
		}
		return l.eachPageBackward(txn, func(seq uint64, _ *badger.Item) (more bool, err error) {
			l.seq = seq
			return false, nil
		})
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
