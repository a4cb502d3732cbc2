package badgerdb

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"github.com/klauspost/compress/s2"
)

// AppendPrice queues the prices and the tariff that usage records name by their version, and keeps data until it is written. It
// never blocks. They are kept for good: there are few, and records may outlive a configuration.
func (l *Log) AppendPrice(version string, data []byte) {
	l.enqueue(&logItem{price: version, data: append([]byte{}, data...)})
}

// Price returns what was appended under a version. Errors: ErrNotFound, ErrClosed.
func (l *Log) Price(version string) (data []byte, err error) {
	err = l.view(func(txn *badger.Txn) error {
		value, err := readValue(txn, priceKey(nil, version))
		if err == nil {
			data, err = unpack(value)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("price %.64q: %w", version, err)
	}
	return data, nil
}

// setPrice writes a price, which does not expire.
func setPrice(w *writer, version string, data []byte) {
	expires := w.expires
	w.expires = 0
	w.set(w.cut(priceKey(w.buf, version)), s2.Encode(nil, data))
	w.expires = expires
}

func priceKey(b []byte, version string) []byte {
	return append(appendLogKey(b, 0, logPrice), version...)
}
