package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// ledgerFiles are what a ledger is on disk, beside its head file.
type ledgerFiles struct {
	db      *badger.DB
	journal *journal
	volumes *volumes
	givenUp *givenUp // the database
}

// openLedger opens the ledger's database with all that is in its journal, up to the acknowledged record at least. damaged is what is
// wrong with that: the database is open nevertheless, without what is missing.
func openLedger(config Config, acknowledged uint64, opts func(badger.Options) badger.Options) (f ledgerFiles, damaged, err error) {
	dir := filepath.Join(config.Dir, "ledger")
	if _, err := os.Stat(filepath.Join(dir, badger.ManifestFilename)); err == nil && !hasJournal(dir) {
		if err := endLog(config, opts); err != nil {
			return f, nil, err
		}
	}
	if f.db, err = openPrepared(config, "ledger", func(o badger.Options) badger.Options { return opts(ledgerOptions(o)) }, useJournal); err != nil {
		return f, nil, err
	}
	if f.journal, err = openJournal(dir, config.segment); err != nil {
		return f, nil, errors.Join(err, f.db.Close())
	}
	f.volumes, f.givenUp = newVolumes(dir, config.volume), config.givenUp
	f.volumes.copied = config.copied
	if config.unsynced {
		f.journal.sync = func(*os.File) error { return nil }
		f.volumes.sync = f.journal.sync
	}
	damaged = guard("reading the journal", func() error { return f.catchUp(acknowledged) })
	f.journal.kept = damaged != nil
	config.reach("replayed")
	return f, damaged, nil
}

// close closes all of it; done tells that the journal is not needed any more. Else the database may be one that takes no more, and cannot be closed; what is
// found out on the way ends the waiting, too.
func (f ledgerFiles) close(done bool) error {
	closed := make(chan error, 1)
	go func() { closed <- guard("closing the ledger", f.db.Close) }() // which makes tables of all that is stored
	var patience <-chan time.Time
	if !done {
		patience = time.After(stuckFor)
	}
	var err error
	select {
	case err = <-closed:
	case <-patience:
		err = errStuck
	case <-f.givenUp.done:
		err = errStuck
	}
	err = errors.Join(f.volumes.close(), err)
	return errors.Join(err, f.journal.close(done && err == nil))
}

// errStuck says that Badger does not end.
var errStuck = errors.New("the ledger's database takes no more and cannot be closed; the next start has all of it from the journal")

// endLog makes tables of what is in Badger's own log, for the last time: a ledger of schema 2 becomes one of this schema.
func endLog(config Config, opts func(badger.Options) badger.Options) error {
	db, err := openDatabase(config, "ledger", opts)
	if err != nil {
		return err
	}
	have, err := checkSchema(db, []byte{keySchema}, schema)
	switch {
	case err != nil: // it is damaged, which the next step tells
		err = nil
	case have == 2:
		err = changeSchema(db, []byte{keySchema}, schema)
	case have != schema:
		err = errSchema(have, schema)
	}
	return errors.Join(err, guard("closing the database", db.Close))
}

// changeSchema says in a database that it is of a schema.
func changeSchema(db *badger.DB, key []byte, version uint32) error {
	return guard("changing the schema", func() error {
		return db.Update(func(txn *badger.Txn) error {
			return txn.Set(key, schemaValue(version))
		})
	})
}

// useJournal prepares the directory of a database that has a journal, or is to have one because it is new or was closed by endLog: Badger
// must not read its own log, which is not synchronized, and its value log holds nothing, for every value that would go there is refused.
// Whoever calls it has the lock on the directory.
func useJournal(dir string) error {
	for _, unused := range []string{"*.mem", "*.vlog", "*" + journalExt + ".new", "*" + volumeExt + ".new"} {
		names, _ := filepath.Glob(filepath.Join(dir, unused)) // the pattern is sound
		for _, name := range names {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	if !hasJournal(dir) {
		if err := createJournal(dir); err != nil {
			return err
		}
	}
	return nil
}

// catchUp brings the records that the database does not have into it, and pages that the disk lacks into the volumes.
func (f ledgerFiles) catchUp(acknowledged uint64) error {
	var state journalState
	err := f.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte{keyJournal})
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err == nil {
			state, err = readState(item)
		}
		return err
	})
	if err != nil {
		return err
	}
	if state.cursor.volume > 0 {
		f.volumes.cursor = state.cursor
	}
	t := transaction{db: f.db, journal: f.journal, volumes: f.volumes, synced: state.synced}
	defer t.discard()
	var near group
	restored := restorer{volumes: f.volumes}
	err = f.journal.replay(state.number, acknowledged, func(number uint64, body []byte) error {
		if number <= state.synced {
			return nil
		}
		return f.restore(body, &near, &restored)
	}, func(number uint64, body []byte) error {
		if t.full(body) {
			if err := t.commit(); err != nil {
				return err
			}
		}
		return t.add(number, body)
	})
	if err = errors.Join(err, restored.close(), t.commit()); err != nil || f.journal.last == state.synced {
		return err
	}
	return errors.Join(f.volumes.open(), f.volumes.synchronize())
}

// restore writes the pages of a record that the database has once more. near is the group of the page before, in which the next one is as a rule.
func (f ledgerFiles) restore(body []byte, near *group, to *restorer) error {
	return f.db.View(func(txn *badger.Txn) error {
		return eachSet(body, func(key, page []byte) error {
			if key[0] != keyEntry || len(key) != 9 {
				return nil
			}
			position := binary.BigEndian.Uint64(key[1:])
			place, found := near.at(position)
			if !found {
				var err error
				if *near, err = groupWith(txn, position); err != nil {
					return err
				}
				if place, found = near.at(position); !found { // the record is the remains of one that was never acknowledged
					return nil
				}
			}
			return to.write(place, page)
		})
	})
}

// groupWith returns the group that should have the page at a position; it has no pages if there is none, or they are in the database itself.
func groupWith(txn *badger.Txn, position uint64) (g group, err error) {
	first, err := pageOf(txn, position)
	if err != nil {
		return g, err
	}
	value, err := readValue(txn, appendEntryKey(nil, first))
	if errors.Is(err, storage.ErrNotFound) {
		return g, nil
	}
	if err == nil {
		g, _, err = decodeGroup(first, value)
	}
	return g, err
}

// journalState is how far the database has come with the journal.
type journalState struct {
	number uint64 // of the last record that it has
	synced uint64 // of the last record whose pages are on disk
	cursor cursor // behind the last page; volume 0: in a new volume
}

func (s journalState) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.number)
	b = binary.BigEndian.AppendUint64(b, s.synced)
	b = binary.BigEndian.AppendUint32(b, s.cursor.volume)
	return binary.BigEndian.AppendUint32(b, s.cursor.offset)
}

func readState(item *badger.Item) (s journalState, err error) {
	err = item.Value(func(v []byte) error {
		switch len(v) {
		case 8: // of schema 3
			s.number = binary.BigEndian.Uint64(v)
			s.synced = s.number
		case 24:
			s.number, s.synced = binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])
			s.cursor = cursor{binary.BigEndian.Uint32(v[16:]), binary.BigEndian.Uint32(v[20:])}
		default:
			return fmt.Errorf("the record of the journal's state has %d bytes", len(v))
		}
		return nil
	})
	return s, err
}
