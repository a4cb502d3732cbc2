package badgerdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// longestRequest is how long after its beginning a request ends at the latest, with little left of a doubt.
const longestRequest = 2 * time.Hour

// WalkRecords calls visit for the requests that were accepted from the one time until before the other, in about the order of
// their ends. The record is valid during the call only, its texts for good. It returns visit's first error, or ErrClosed; a damaged
// page is passed over and counted. Requests are logged when they end: those that took longer than longestRequest may be missing at the end.
func (l *Log) WalkRecords(from, until time.Time, visit func(r *storage.LogRecord) error) (damaged int, err error) {
	var record storage.LogRecord
	common := Texts{}
	err = l.view(func(txn *badger.Txn) error {
		return l.eachPageForward(txn, uint64(max(0, from.UnixMicro())), func(seq uint64, head *pageHead) (more bool, err error) {
			if until.Before(time.UnixMicro(int64(seq)).Add(-longestRequest)) {
				return false, nil
			}
			records, err := head.records()
			if head.damaged || err != nil {
				damaged++
				return true, nil
			}
			for _, r := range records {
				if at := r.id.Time(); at.Before(from) || !at.Before(until) {
					continue
				}
				if err := DecodeUsageInto(&record.Usage, r.id, r.usage, common); err != nil {
					return false, err
				}
				record.Decision = r.decision
				if err := visit(&record); err != nil {
					return false, err
				}
			}
			return true, nil
		})
	})
	return damaged, err
}

// OpenLogCopy opens the log in the data directory of a stopped gateway for reading, and changes nothing in it: what is appended goes
// nowhere. No gateway can be started there until it is closed. Errors: ErrInUse, fs.ErrNotExist, that it is too damaged to be opened
// or was written by another version.
func OpenLogCopy(dir string) (*Log, error) {
	if _, err := os.Stat(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	db, discard, err := openCopy(dir, "log", openLogCopy)
	if err != nil {
		return nil, err
	}
	config, err := Config{Dir: dir}.withDefaults()
	l := &Log{
		config: config, db: db, queue: make(chan *logItem, 1), stop: make(chan struct{}), stopped: make(chan struct{}), discard: discard,
		volumes: logVolumes{volumes: newVolumes(db.Opts().Dir, config.volume)},
	}
	close(l.stopped) // there is no writer
	var have uint32
	if err == nil {
		if have, err = checkSchema(db, logSchemaKey, logSchema); err == nil && (have < oldestLogSchema || have > logSchema) {
			err = errSchema(have, logSchema)
		}
	}
	if err == nil {
		err = guard("reading the log", l.load)
	}
	if err == nil && have == logSchema {
		err = guard("reading the log", func() error { return db.View(l.gather) })
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening a copy of the log: %w", err), l.Close())
	}
	return l, nil
}
