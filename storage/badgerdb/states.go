package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"github.com/klauspost/compress/s2"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/fields"
)

// AppendState queues a state of a learning policy, whose numbers must grow, and keeps data until it is written. It never
// blocks.
func (l *Log) AppendState(policy string, number uint64, data []byte) {
	l.enqueue(&logItem{policy: policy, generation: number, data: append([]byte{}, data...)})
}

// State returns a state of a policy by its number, or the newest for number 0, which is kept for good while the others go
// with their periods. Errors: ErrNotFound, ErrClosed.
func (l *Log) State(policy string, number uint64) (found uint64, data []byte, err error) {
	err = l.view(func(txn *badger.Txn) error {
		if number == 0 {
			value, err := readValue(txn, newestStateKey(nil, policy))
			if err != nil {
				return err
			}
			if len(value) < 8 {
				return fields.ErrEncoding
			}
			found = binary.BigEndian.Uint64(value)
			data, err = unpack(value[8:])
			return err
		}
		found = number
		for _, period := range l.known() {
			value, err := readValue(txn, appendStateKey(nil, period, policy, number))
			if errors.Is(err, storage.ErrNotFound) {
				continue
			}
			if err == nil {
				data, err = unpack(value)
			}
			return err
		}
		return storage.ErrNotFound
	})
	if err != nil {
		return 0, nil, fmt.Errorf("state %d of policy %.64q: %w", number, policy, err)
	}
	return found, data, nil
}

// setState writes a state under its number and as the newest.
func setState(w *writer, period uint32, policy string, number uint64, data []byte) {
	key := w.cut(appendStateKey(w.buf, period, policy, number))
	packed := s2.Encode(nil, data)
	w.set(key, packed)
	expires := w.expires
	w.expires = 0
	key = w.cut(newestStateKey(w.buf, policy))
	w.set(key, w.cut(append(binary.BigEndian.AppendUint64(w.buf, number), packed...)))
	w.expires = expires
}

func appendStateKey(b []byte, period uint32, policy string, number uint64) []byte {
	b = append(append(appendLogKey(b, period, logState), policy...), 0)
	return binary.BigEndian.AppendUint64(b, number)
}

func newestStateKey(b []byte, policy string) []byte {
	return append(appendLogKey(b, 0, logState), policy...)
}
