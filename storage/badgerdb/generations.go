package badgerdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// Generation returns one snapshot generation as it was appended. Errors: ErrNotFound.
func (l *Log) Generation(generation uint64) (data []byte, err error) {
	err = l.WalkGenerations(generation, generation, func(_ uint64, found []byte) error {
		data = found
		return nil
	})
	if err == nil && data == nil {
		err = fmt.Errorf("generation %d: %w", generation, storage.ErrNotFound)
	}
	return data, err
}

// WalkGenerations calls visit for the generations from..to that are kept, in ascending order, until it returns an error,
// which is returned. visit may keep data.
func (l *Log) WalkGenerations(from, to uint64, visit func(generation uint64, data []byte) error) error {
	return l.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for _, period := range l.known() {
			prefix := appendLogKey(nil, period, logGeneration)
			for it.Seek(binary.BigEndian.AppendUint64(bytes.Clone(prefix), from)); it.ValidForPrefix(prefix); it.Next() {
				generation := binary.BigEndian.Uint64(it.Item().Key()[len(prefix):])
				if generation > to {
					break
				}
				data, err := unpackGeneration(it.Item())
				if err != nil {
					return fmt.Errorf("generation %d: %w", generation, err)
				}
				if err := visit(generation, data); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func unpackGeneration(item *badger.Item) (data []byte, err error) {
	err = item.Value(func(packed []byte) error {
		data, err = unpack(packed)
		return err
	})
	return data, err
}

// LastGeneration is the highest generation that is kept, 0 if none is: generations go on from there after a restart.
func (l *Log) LastGeneration() (last uint64, err error) {
	err = l.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Reverse: true})
		defer it.Close()
		for _, period := range l.known() {
			prefix := appendLogKey(nil, period, logGeneration)
			if it.Seek(binary.BigEndian.AppendUint64(bytes.Clone(prefix), math.MaxUint64)); it.ValidForPrefix(prefix) {
				last = max(last, binary.BigEndian.Uint64(it.Item().Key()[len(prefix):]))
			}
		}
		return nil
	})
	return last, err
}
