package badgerdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/fields"
)

// The index of settled requests is kept in runs. A run has those of one transaction, several dozen under load, whose ids begin with the same four
// bytes: those of the same 65 seconds. One record of each request, as requests that end otherwise have it, took Badger 5 µs of a processor and 45
// bytes of tables, a run takes a fraction of both. Whoever looks for a request reads the runs of its 65 seconds, which takes two or three
// milliseconds under load; the machine asks only for what it can neither remember nor tell to be fresh.
//
//	key    keyRun, the first 4 bytes of the ids, position of the last request's line(8)
//	value  uvarint count; the other 12 bytes of each id; the position of the first line, and the steps to the next ones, uvarints

// settled is a request and where its last line is.
type settled struct {
	id       storage.RequestID
	position uint64
}

const (
	idHead = 4       // bytes of an id in a run's key
	idRest = 16 - 4  // and in its value
	runMax = 1 << 12 // requests in a run
)

// sortRuns puts requests of the same run one behind the other. They come in the order of their positions.
func sortRuns(all []settled) {
	slices.SortStableFunc(all, func(a, b settled) int { return bytes.Compare(a.id[:idHead], b.id[:idHead]) })
}

// cutRun returns the first run of sorted requests, and the others.
func cutRun(all []settled) (run, rest []settled) {
	n := 1
	for n < len(all) && n < runMax && bytes.Equal(all[n].id[:idHead], all[0].id[:idHead]) {
		n++
	}
	return all[:n], all[n:]
}

// encodeRun returns the record of a run.
func encodeRun(run []settled) (key, value []byte) {
	b := make([]byte, 0, 1+idHead+8+2*binary.MaxVarintLen64+len(run)*(idRest+2))
	b = binary.BigEndian.AppendUint64(append(append(b, keyRun), run[0].id[:idHead]...), run[len(run)-1].position)
	head := len(b)
	b = binary.AppendUvarint(b, uint64(len(run)))
	for i := range run {
		b = append(b, run[i].id[idHead:]...)
	}
	before := uint64(0)
	for i := range run {
		b = binary.AppendUvarint(b, run[i].position-before)
		before = run[i].position
	}
	return b[:head:head], b[head:]
}

// openRun returns what a run's value has: the ids without their first bytes, and the positions.
func openRun(key, value []byte) (ids []byte, positions fields.Reader, err error) {
	positions.Rest = value
	count := positions.Uvarint()
	if ids = positions.Bytes(int(min(count, runMax+1)) * idRest); positions.Bad() || len(key) != 1+idHead+8 || count == 0 || count > runMax {
		return nil, positions, errRun(key)
	}
	return ids, positions, nil
}

func errRun(key []byte) error {
	return fmt.Errorf("run %x of the index of requests: %w", key, fields.ErrEncoding)
}

// decodeRun calls visit for the requests of a run's record.
func decodeRun(key, value []byte, visit func(id storage.RequestID, position uint64)) error {
	ids, positions, err := openRun(key, value)
	if err != nil {
		return err
	}
	var id storage.RequestID
	copy(id[:], key[1:1+idHead])
	position := uint64(0)
	for ; len(ids) > 0 && !positions.Bad(); ids = ids[idRest:] {
		copy(id[idHead:], ids)
		position += positions.Uvarint()
		visit(id, position)
	}
	if positions.End() != nil || position != binary.BigEndian.Uint64(key[1+idHead:]) {
		return errRun(key)
	}
	return nil
}

// eachSettled calls visit for the requests of all runs whose key begins with prefix, and step, unless nil, after each run.
func eachSettled(txn *badger.Txn, prefix []byte, visit func(id storage.RequestID, position uint64), step func() error) error {
	return eachKey(txn, prefix, func(key []byte, item *badger.Item) error {
		err := item.Value(func(value []byte) error { return decodeRun(key, value, visit) })
		if err == nil && step != nil {
			err = step()
		}
		return err
	})
}

// settledAt returns the position of a settled request's last line, 0 if there is no such request.
func settledAt(txn *badger.Txn, id storage.RequestID) (position uint64, err error) {
	err = eachKey(txn, append([]byte{keyRun}, id[:idHead]...), func(key []byte, item *badger.Item) error {
		return item.Value(func(value []byte) error {
			ids, positions, err := openRun(key, value)
			for at := 0; at < len(ids); at += idRest {
				if string(ids[at:at+idRest]) != string(id[idHead:]) {
					continue
				}
				for range at/idRest + 1 {
					position += positions.Uvarint()
				}
				if positions.Bad() {
					return errRun(key)
				}
			}
			return err
		})
	})
	return position, err
}

// lastSettled is the highest id in the runs.
func lastSettled(txn *badger.Txn) (last storage.RequestID, err error) {
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: []byte{keyRun}})
	defer it.Close()
	if it.Seek([]byte{keyRun + 1}); !it.Valid() {
		return last, nil
	}
	newest := slices.Clone(it.Item().Key())
	err = eachSettled(txn, newest[:min(len(newest), 1+idHead)], func(id storage.RequestID, _ uint64) {
		if bytes.Compare(id[:], last[:]) > 0 {
			last = id
		}
	}, nil)
	return last, err
}
