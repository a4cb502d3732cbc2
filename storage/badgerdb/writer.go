package badgerdb

import (
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"
)

// writer builds one transaction in memory that is reused from commit to commit; Badger reads it until the commit is done.
type writer struct {
	txn     *badger.Txn
	buf     []byte
	records []badger.Entry
	expires uint64 // Unix time at which the records expire, 0: never
	err     error
}

func (w *writer) begin(db *badger.DB, most int) {
	w.txn, w.err, w.buf = db.NewTransaction(true), nil, w.buf[:0]
	if cap(w.records) < most {
		w.records = make([]badger.Entry, 0, most)
	}
	clear(w.records)
	w.records = w.records[:0]
}

// cut takes what was appended to buf as a slice of its own.
func (w *writer) cut(extended []byte) []byte {
	piece := extended[len(w.buf):len(extended):len(extended)]
	w.buf = extended
	return piece
}

// point adds an index record: the key that was appended to buf, and where what it finds is.
func (w *writer) point(extended []byte, position uint64) {
	key := w.cut(extended)
	w.set(key, w.cut(binary.BigEndian.AppendUint64(w.buf, position)))
}

// set adds a record; the first error is kept for commit.
func (w *writer) set(key, value []byte) {
	w.records = append(w.records, badger.Entry{Key: key, Value: value, ExpiresAt: w.expires})
	err := w.txn.SetEntry(&w.records[len(w.records)-1])
	if err != nil && w.err == nil {
		w.err = err
	}
}

func (w *writer) commit() error {
	if w.err != nil {
		return w.err
	}
	return w.txn.Commit()
}
