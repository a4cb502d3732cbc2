package badgerdb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// A stream of records is a database as backups keep it: for each record the length of its key as a varint, the key, the length of
// its value, the value, and the Unix time at which it expires, 0 for never. A key of length 0 ends it, followed by the number of
// records. Keys ascend. What the records mean is said in the package documentation; what Badger's files look like does not matter.

// maxRecord bounds a key or a value that is read back, in bytes: Badger's own limit for what it keeps in the tree is 1 MiB.
const maxRecord = 16 << 20

// Copy writes the ledger's database as a stream of records and returns their number. What it writes to must not block for ever.
func (s *Snapshot) Copy(w io.Writer) (records uint64, err error) {
	return copyRecords(s.txn, &s.pace, w, func(item *badger.Item) ([]byte, error) {
		switch item.Key()[0] {
		case keyEntry:
			return s.book().page(item)
		case keyJournal: // where volumes end is of no use elsewhere
			state, err := readState(item)
			return journalState{number: state.number, synced: state.number}.encode(), err
		}
		return item.ValueCopy(nil)
	})
}

// Copy writes the log's database as a stream of records, with all that was appended before, and returns their number.
func (l *Log) Copy(w io.Writer) (records uint64, err error) {
	err = l.view(func(txn *badger.Txn) error {
		records, err = copyRecords(txn, &pace{percent: snapshotPercent, stop: l.stop}, w, func(item *badger.Item) ([]byte, error) {
			value, err := logValue(item, l.volumes.dir)
			if l.gone(item, err) {
				err = storage.ErrNotFound
			}
			return value, err
		})
		return err
	})
	return records, err
}

// CopyLog is [Log.Copy] for the data directory of a stopped gateway.
func CopyLog(dir string, w io.Writer) (records uint64, err error) {
	db, discard, err := openCopy(dir, "log", openLogCopy)
	if err != nil {
		return 0, err
	}
	err = db.View(func(txn *badger.Txn) error {
		records, err = copyRecords(txn, &pace{percent: 100}, w, func(item *badger.Item) ([]byte, error) { return logValue(item, db.Opts().Dir) })
		return err
	})
	return records, errors.Join(err, discard())
}

// logValue is the value of a log's record, for that of a page the page itself, as it is: it has checksums of its own.
func logValue(item *badger.Item, dir string) ([]byte, error) {
	if isPage(item.Key()) {
		p, elsewhere, err := placeOf(item)
		if err != nil {
			return nil, err
		}
		if elsewhere {
			return p.begin(dir, p.length)
		}
	}
	return item.ValueCopy(nil)
}

// copyRecords copies a database, with the value of each record as a function has it; not what ErrNotFound is said of.
func copyRecords(txn *badger.Txn, p *pace, to io.Writer, value func(*badger.Item) ([]byte, error)) (records uint64, err error) {
	w := bufio.NewWriterSize(to, 64<<10)
	var head []byte
	err = guard("copying the database", func() error {
		err := eachKey(txn, nil, func(key []byte, item *badger.Item) error {
			if err := p.step(); err != nil {
				return err
			}
			value, err := value(item)
			if errors.Is(err, storage.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			records++
			head = append(binary.AppendUvarint(head[:0], uint64(len(key))), key...)
			head = binary.AppendUvarint(head, uint64(len(value)))
			w.Write(head)  //nolint:errcheck // the writer keeps its error for the next call
			w.Write(value) //nolint:errcheck // likewise
			_, err = w.Write(binary.AppendUvarint(head[:0], item.ExpiresAt()))
			return err
		})
		if err != nil {
			return err
		}
		w.Write(binary.AppendUvarint([]byte{0}, records)) //nolint:errcheck // likewise
		return w.Flush()
	})
	return records, err
}

// RestoreLedger makes the ledger's database in a data directory that has none from a stream of records, and its head mark from the
// checkpoint among them.
func RestoreLedger(dir string, r io.Reader) error {
	db, err := create(dir, "ledger", func(o badger.Options) badger.Options { return o })
	if err != nil {
		return err
	}
	if err := restore(db, r, func(*badger.Entry) error { return nil }); err != nil {
		return errors.Join(err, db.Close())
	}
	var sum storage.LedgerSummary
	err = db.View(func(txn *badger.Txn) error {
		end, err := readCheckpoint(txn)
		sum = summaryOf(end)
		return err
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return writeHead(dir, sum)
}

// writeHead writes the head mark of a ledger that was made from records.
func writeHead(dir string, sum storage.LedgerSummary) error {
	if sum.Position == 0 {
		return nil
	}
	head, _, err := openHeadFile(dir)
	if err != nil {
		return err
	}
	return errors.Join(head.write(headMark{position: sum.Position, hash: sum.Hash}), head.close())
}

// RestoreLog makes the log's database in a data directory that has none from a stream of records.
func RestoreLog(dir string, r io.Reader) error {
	db, err := create(dir, "log", logOptions)
	if err != nil {
		return err
	}
	pages := logVolumes{volumes: newVolumes(db.Opts().Dir, volumeSize)}
	err = restore(db, r, func(e *badger.Entry) (err error) {
		switch {
		case bytes.Equal(e.Key, logSchemaKey) && bytes.Equal(e.Value, schemaValue(logSchema-1)):
			e.Value = schemaValue(logSchema)
		case isPage(e.Key):
			e.Value, err = pages.keep(binary.BigEndian.Uint64(e.Key[5:]), e.Value)
		}
		return err
	})
	return errors.Join(err, pages.synchronize(), pages.close(), db.Close())
}

// restore writes a stream of records into a new database, each as a function makes it.
func restore(db *badger.DB, from io.Reader, made func(e *badger.Entry) error) error {
	batch := db.NewWriteBatch()
	return guard("restoring "+db.Opts().Dir, func() error {
		err := eachRecord(from, func(e *badger.Entry) error {
			if err := made(e); err != nil {
				return err
			}
			return batch.SetEntry(e)
		})
		if err != nil {
			batch.Cancel()
			return err
		}
		return errors.Join(batch.Flush(), db.Sync())
	})
}

// create makes a database where there is none.
func create(dir, name string, opts func(badger.Options) badger.Options) (*badger.DB, error) {
	if files, err := os.ReadDir(filepath.Join(dir, name)); err == nil && len(files) > 0 {
		return nil, fmt.Errorf("%s holds something already: a new directory is needed", filepath.Join(dir, name))
	}
	config, err := Config{Dir: dir}.withDefaults()
	if err != nil {
		return nil, err
	}
	return openDatabase(config, name, opts)
}

// CheckRecords reads a stream of records to its end.
func CheckRecords(r io.Reader) error { return eachRecord(r, func(*badger.Entry) error { return nil }) }

// eachRecord reads a stream of records to its end; what it hands out is the caller's.
func eachRecord(from io.Reader, fn func(e *badger.Entry) error) error {
	r := bufio.NewReaderSize(from, 64<<10)
	count := uint64(0)
	for {
		key, err := readPart(r)
		if err != nil {
			return err
		}
		if len(key) == 0 {
			break
		}
		value, err := readPart(r)
		if err != nil {
			return err
		}
		expires, err := binary.ReadUvarint(r)
		if err != nil {
			return cutShort(err)
		}
		count++
		if err := fn(&badger.Entry{Key: key, Value: value, ExpiresAt: expires}); err != nil {
			return err
		}
	}
	said, err := binary.ReadUvarint(r)
	if err != nil {
		return cutShort(err)
	}
	if said != count {
		return fmt.Errorf("the stream has %d records, its end says %d", count, said)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("the stream goes on behind its end")
	}
	return nil
}

func readPart(r *bufio.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, cutShort(err)
	}
	if n > maxRecord {
		return nil, fmt.Errorf("the stream has a record of %d bytes, which no gateway wrote", n)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, cutShort(err)
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the stream of records ends in the midst")
	}
	return err
}
