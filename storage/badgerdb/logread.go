package badgerdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// Usage returns up to limit usage records of an account, "" for all accounts, newest first. cursor is "" or what the call
// before returned as next; next is "" when there are no more. Errors: ErrInvalid (cursor).
func (l *Log) Usage(account, cursor string, limit int) (records []storage.Usage, next string, err error) {
	from := newestID
	if cursor != "" {
		if from, err = storage.ParseRequestID(cursor); err != nil {
			return nil, "", fmt.Errorf("usage cursor: %w: %w", storage.ErrInvalid, err)
		}
	}
	prefix := func(period uint32) []byte { return accountPrefix(period, account) }
	if account == "" {
		prefix = func(period uint32) []byte { return logKey(period, logUsage) }
	}
	err = l.view(func(txn *badger.Txn) error {
		return l.eachRequest(txn, prefix, from, func(u storage.Usage) (more bool) {
			if cursor != "" && u.Request == from {
				return true
			}
			if len(records) >= limit {
				if limit > 0 {
					next = records[limit-1].Request.String()
				}
				return false
			}
			records = append(records, u)
			return true
		})
	})
	return records, next, err
}

// Find returns the usage and decision record of one request of an account, "" for any account. requestID is the request's
// id as text, or the id its client sent, of which the newest request counts. The decision is nil when none was recorded.
// Errors: ErrNotFound.
func (l *Log) Find(account, requestID string) (found storage.Usage, decision []byte, err error) {
	err = l.view(func(txn *badger.Txn) error {
		if id, err := storage.ParseRequestID(requestID); err == nil {
			u, err := readUsage(txn, id)
			if err == nil && (account == "" || u.Account == account) {
				found = u
			} else if err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		}
		if found.Request == (storage.RequestID{}) {
			prefix := func(period uint32) []byte { return clientPrefix(period, requestID) }
			err := l.eachRequest(txn, prefix, newestID, func(u storage.Usage) (more bool) {
				if u.ClientID != requestID || account != "" && u.Account != account {
					return true
				}
				found = u
				return false
			})
			if err != nil {
				return err
			}
		}
		if found.Request == (storage.RequestID{}) {
			return storage.ErrNotFound
		}
		decision, err = readValue(txn, append(logKey(periodOf(found.Request), logDecision), found.Request[:]...))
		if errors.Is(err, storage.ErrNotFound) {
			err = nil
		}
		return err
	})
	if err != nil {
		return storage.Usage{}, nil, fmt.Errorf("request %.64q: %w", requestID, err)
	}
	return found, decision, nil
}

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
			prefix := logKey(period, logGeneration)
			for it.Seek(binary.BigEndian.AppendUint64(bytes.Clone(prefix), from)); it.ValidForPrefix(prefix); it.Next() {
				generation := binary.BigEndian.Uint64(it.Item().Key()[len(prefix):])
				if generation > to {
					break
				}
				data, err := it.Item().ValueCopy(nil)
				if err == nil {
					err = visit(generation, data)
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// LastGeneration is the highest generation that is kept, 0 if none is: generations go on from there after a restart.
func (l *Log) LastGeneration() (last uint64, err error) {
	err = l.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Reverse: true})
		defer it.Close()
		for _, period := range l.known() {
			prefix := logKey(period, logGeneration)
			if it.Seek(binary.BigEndian.AppendUint64(bytes.Clone(prefix), 1<<64-1)); it.ValidForPrefix(prefix) {
				last = max(last, binary.BigEndian.Uint64(it.Item().Key()[len(prefix):]))
			}
		}
		return nil
	})
	return last, err
}

// newestID is above every request id.
var newestID = storage.RequestID(bytes.Repeat([]byte{0xff}, 16))

// view runs a read of everything that was appended before it.
func (l *Log) view(read func(txn *badger.Txn) error) error {
	l.Flush()
	return guard("reading the log", func() error {
		err := l.db.View(read)
		if errors.Is(err, badger.ErrDBClosed) {
			err = storage.ErrClosed
		}
		return err
	})
}

// eachRequest calls visit with the usage of the requests under a prefix of each period, newest first, beginning at from,
// while it asks for more.
func (l *Log) eachRequest(txn *badger.Txn, prefix func(period uint32) []byte, from storage.RequestID, visit func(u storage.Usage) (more bool)) error {
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true})
	defer it.Close()
	for _, period := range slices.Backward(l.known()) {
		under := prefix(period)
		for it.Seek(append(bytes.Clone(under), from[:]...)); it.ValidForPrefix(under); it.Next() {
			key := it.Item().Key()
			u, err := readUsage(txn, storage.RequestID(key[len(key)-len(from):]))
			if errors.Is(err, storage.ErrNotFound) {
				continue // it expired a moment before its index
			}
			if err != nil {
				return err
			}
			if !visit(u) {
				return nil
			}
		}
	}
	return nil
}

func readUsage(txn *badger.Txn, id storage.RequestID) (storage.Usage, error) {
	value, err := readValue(txn, append(logKey(periodOf(id), logUsage), id[:]...))
	if err != nil {
		return storage.Usage{}, err
	}
	u, err := decodeUsage(id, value)
	if err != nil {
		return u, fmt.Errorf("usage of request %s: %w", id, err)
	}
	return u, nil
}

// readValue copies a value; ErrNotFound when the key is not there.
func readValue(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, storage.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return item.ValueCopy(nil)
}
