package badgerdb

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// A page holds lines that were committed together: pageVersion, then for each line the length of the rest as a varint, its
// encoding and its hash. Writing many lines as one record takes a fraction of the CPU time of a record each.
const pageVersion = 1

const hashSize = sha256.Size

// appendEntry encodes a line without its position (its place in the page) and without its hash.
func appendEntry(b []byte, e *storage.Entry) []byte {
	b = append(b, byte(e.Kind))
	b = appendText(b, e.Account)
	b = binary.AppendUvarint(b, e.Seq)
	b = binary.AppendUvarint(b, e.Previous)
	b = binary.AppendVarint(b, e.Time.UnixMilli())
	b = append(b, e.Request[:]...)
	b = appendText(b, e.Reference)
	b = appendText(b, e.Reason)
	for _, c := range [...]storage.Credits{e.Amount, e.Charged, e.Loss, e.Posted, e.Held} {
		b = binary.AppendVarint(b, int64(c))
	}
	b = binary.AppendUvarint(b, e.Open)
	if e.Kind == storage.EntryHold {
		b = binary.AppendVarint(b, e.Expires.UnixMilli())
	}
	return b
}

// eachLine calls fn for the lines of a page until it returns an error; the page's first line has the given position.
func eachLine(first uint64, page []byte, fn func(position uint64, line []byte) error) error {
	r := reader{rest: page}
	if v := r.byte(); v != pageVersion {
		return fmt.Errorf("ledger position %d: page has unknown version %d", first, v)
	}
	for position := first; len(r.rest) > 0; position++ {
		n := r.uvarint()
		line := r.bytes(int(min(n, uint64(len(page)))))
		if r.bad || n < hashSize {
			return fmt.Errorf("ledger position %d: %w", position, errEncoding)
		}
		if err := fn(position, line); err != nil {
			return err
		}
	}
	return nil
}

// decodeEntry reads a line of a page: encoding, then hash. It does not check the hash.
func decodeEntry(position uint64, value []byte) (e storage.Entry, err error) {
	r := reader{rest: value[:len(value)-hashSize]}
	e.Position = position
	e.Kind = storage.EntryKind(r.byte())
	e.Account = r.text()
	e.Seq = r.uvarint()
	e.Previous = r.uvarint()
	e.Time = time.UnixMilli(r.varint()).UTC()
	copy(e.Request[:], r.bytes(len(e.Request)))
	e.Reference = r.text()
	e.Reason = r.text()
	for _, c := range [...]*storage.Credits{&e.Amount, &e.Charged, &e.Loss, &e.Posted, &e.Held} {
		*c = storage.Credits(r.varint())
	}
	e.Open = r.uvarint()
	if e.Kind == storage.EntryHold {
		e.Expires = time.UnixMilli(r.varint()).UTC()
	}
	copy(e.Hash[:], value[len(value)-hashSize:])
	return e, r.end()
}

// entryHash is SHA-256(position || hash of the line before || hash of the account's line before || encoding). The scratch
// buffer is returned for reuse.
func entryHash(scratch []byte, position uint64, before, accountBefore *[hashSize]byte, encoding []byte) ([hashSize]byte, []byte) {
	scratch = binary.BigEndian.AppendUint64(scratch[:0], position)
	scratch = append(append(scratch, before[:]...), accountBefore[:]...)
	scratch = append(scratch, encoding...)
	return sha256.Sum256(scratch), scratch
}

// checkpoint is the standing of the whole ledger after its last line, rewritten by every commit.
type checkpoint struct {
	position uint64         // of the last line
	oldest   uint64         // of the oldest hold that is open; position+1 when none is
	indexed  uint64         // accounts whose last line is before this position have an exact head record
	hash     [hashSize]byte // of the last line
	totals
}

// totals are the ledger's sums. Posted balances of all accounts, issued, revenue and loss always sum to 0.
type totals struct {
	accounts uint64
	open     uint64          // holds
	posted   storage.Credits // of all accounts
	issued   storage.Credits // system account: what grants were taken from, <= 0 in practice
	revenue  storage.Credits // system account: charges, paid or not
	loss     storage.Credits // system account: the unpaid part of charges, <= 0
}

// sum is 0 unless the ledger is broken.
func (t *totals) sum() storage.Credits { return t.posted + t.issued + t.revenue + t.loss }

// post adds the postings of one line, which sum to 0.
func (t *totals) post(kind storage.EntryKind, amount, charged, loss storage.Credits) {
	switch kind {
	case storage.EntryGrant:
		t.posted += amount
		t.issued -= amount
	case storage.EntryHold:
		t.open++
	case storage.EntrySettle, storage.EntryExpire, storage.EntryInterrupt:
		t.open--
	}
	t.posted -= charged
	t.revenue += charged + loss
	t.loss -= loss
}

func (c *checkpoint) encode() []byte {
	b := binary.AppendUvarint([]byte{pageVersion}, c.position)
	b = binary.AppendUvarint(b, c.oldest)
	b = binary.AppendUvarint(b, c.indexed)
	b = append(b, c.hash[:]...)
	b = binary.AppendUvarint(b, c.accounts)
	b = binary.AppendUvarint(b, c.open)
	for _, v := range [...]storage.Credits{c.posted, c.issued, c.revenue, c.loss} {
		b = binary.AppendVarint(b, int64(v))
	}
	return b
}

func decodeCheckpoint(value []byte) (c checkpoint, err error) {
	r := reader{rest: value}
	if v := r.byte(); v != pageVersion {
		return c, fmt.Errorf("checkpoint has unknown version %d", v)
	}
	c.position = r.uvarint()
	c.oldest = r.uvarint()
	c.indexed = r.uvarint()
	copy(c.hash[:], r.bytes(hashSize))
	c.accounts = r.uvarint()
	c.open = r.uvarint()
	for _, v := range [...]*storage.Credits{&c.posted, &c.issued, &c.revenue, &c.loss} {
		*v = storage.Credits(r.varint())
	}
	return c, r.end()
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// reader decodes fields in order. After the first field that does not fit it returns zero values; end tells.
type reader struct {
	rest []byte
	bad  bool
}

var errEncoding = errors.New("record does not decode")

func (r *reader) end() error {
	if r.bad || len(r.rest) != 0 {
		return errEncoding
	}
	return nil
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *reader) sized() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	return r.bytes(int(n))
}

func (r *reader) text() string { return string(r.sized()) }
