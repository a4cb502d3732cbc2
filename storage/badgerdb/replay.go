package badgerdb

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// openLedger opens the ledger's database with all that is in its journal, up to the acknowledged record at least. damaged is what is
// wrong with that: the database is open nevertheless, without what is missing.
func openLedger(config Config, acknowledged uint64, opts func(badger.Options) badger.Options) (db *badger.DB, j *journal, damaged, err error) {
	dir := filepath.Join(config.Dir, "ledger")
	if _, err := os.Stat(filepath.Join(dir, badger.ManifestFilename)); err == nil && !hasJournal(dir) {
		if err := endLog(config, opts); err != nil {
			return nil, nil, nil, err
		}
	}
	if db, err = openPrepared(config, "ledger", opts, useJournal); err != nil {
		return nil, nil, nil, err
	}
	size := min(max(db.Opts().MemTableSize/4, firstSegment), 8*firstSegment)
	if j, err = openJournal(dir, size); err != nil {
		return nil, nil, nil, errors.Join(err, db.Close())
	}
	if config.unsynced {
		j.sync = func(*os.File) error { return nil }
	}
	damaged = guard("reading the journal", func() error { return j.into(db, acknowledged) })
	j.kept = damaged != nil
	config.reach("replayed")
	return db, j, damaged, nil
}

// endLog makes tables of what is in Badger's own log, for the last time: a ledger of schema 2 becomes one of schema 3.
func endLog(config Config, opts func(badger.Options) badger.Options) error {
	db, err := openDatabase(config, "ledger", opts)
	if err != nil {
		return err
	}
	have, err := checkSchema(db, []byte{keySchema}, schema)
	switch {
	case err != nil: // it is damaged, which the next step tells
		err = nil
	case have == schema-1:
		err = guard("changing the schema", func() error {
			return db.Update(func(txn *badger.Txn) error {
				return txn.Set([]byte{keySchema}, binary.BigEndian.AppendUint32(nil, schema))
			})
		})
	case have != schema:
		err = errSchema(have, schema)
	}
	return errors.Join(err, guard("closing the database", db.Close))
}

// useJournal prepares the directory of a database that has a journal, or is to have one because it is new or was closed by endLog: Badger
// must not read its own log, which is not synchronized, and its value log holds nothing, for every value that would go there is refused.
// Whoever calls it has the lock on the directory.
func useJournal(dir string) error {
	for _, unused := range []string{"*.mem", "*.vlog", "*" + journalExt + ".new"} {
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

// into brings the records that the database does not have into it.
func (j *journal) into(db *badger.DB, acknowledged uint64) error {
	var has uint64
	err := db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte{keyJournal})
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		has, err = readPosition(item)
		return err
	})
	if err != nil {
		return err
	}
	t := transaction{db: db}
	defer t.discard()
	err = j.replay(has, acknowledged, func(number uint64, body []byte) error {
		if t.full(body) {
			if err := t.commit(); err != nil {
				return err
			}
		}
		return t.add(number, body)
	})
	return errors.Join(err, t.commit())
}
