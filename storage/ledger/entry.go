package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/fields"
)

// PageVersion begins every page. A page holds lines that were committed together: the version, then for each line the length of
// the rest as a varint, its encoding and its hash. Writing many lines as one record takes a fraction of the CPU time of a record
// each.
const PageVersion = 2

// HashSize is the length of a line's hash, in bytes.
const HashSize = sha256.Size

// AppendEntry encodes a line without its position (its place in the page) and without its hash.
func AppendEntry(b []byte, e *storage.Entry) []byte {
	b = append(b, byte(e.Kind))
	b = fields.AppendText(b, e.Account)
	b = binary.AppendUvarint(b, e.Seq)
	b = binary.AppendUvarint(b, e.Previous)
	b = binary.AppendVarint(b, e.Time.UnixMilli())
	b = append(b, e.Request[:]...)
	b = fields.AppendText(b, e.Reference)
	b = fields.AppendText(b, e.Reason)
	b = fields.AppendText(b, e.Key)
	b = fields.AppendText(b, e.Team)
	b = append(b, e.Tier)
	for _, c := range [...]storage.Credits{e.Amount, e.Charged, e.Loss, e.Posted, e.Held, e.Overdraft} {
		b = binary.AppendVarint(b, int64(c))
	}
	b = binary.AppendUvarint(b, e.Open)
	if e.Kind == storage.EntryHold {
		b = binary.AppendVarint(b, e.Expires.UnixMilli())
	}
	return b
}

// EachLine calls fn for the lines of a page until it returns an error; the page's first line has the given position.
func EachLine(first uint64, page []byte, fn func(position uint64, line []byte) error) error {
	r := fields.Reader{Rest: page}
	if v := r.Byte(); v != PageVersion {
		return fmt.Errorf("ledger position %d: page has unknown version %d", first, v)
	}
	for position := first; len(r.Rest) > 0; position++ {
		n := r.Uvarint()
		line := r.Bytes(int(min(n, uint64(len(page)))))
		if r.Bad() || n < HashSize {
			return fmt.Errorf("ledger position %d: %w", position, fields.ErrEncoding)
		}
		if err := fn(position, line); err != nil {
			return err
		}
	}
	return nil
}

// DecodeEntry reads a line of a page: encoding, then hash. It does not check the hash.
func DecodeEntry(position uint64, value []byte) (e storage.Entry, err error) {
	r := fields.Reader{Rest: value[:len(value)-HashSize]}
	e.Position = position
	e.Kind = storage.EntryKind(r.Byte())
	e.Account = r.Text()
	e.Seq = r.Uvarint()
	e.Previous = r.Uvarint()
	e.Time = time.UnixMilli(r.Varint()).UTC()
	copy(e.Request[:], r.Bytes(len(e.Request)))
	e.Reference = r.Text()
	e.Reason = r.Text()
	e.Key = r.Text()
	e.Team = r.Text()
	e.Tier = r.Byte()
	for _, c := range [...]*storage.Credits{&e.Amount, &e.Charged, &e.Loss, &e.Posted, &e.Held, &e.Overdraft} {
		*c = storage.Credits(r.Varint())
	}
	e.Open = r.Uvarint()
	if e.Kind == storage.EntryHold {
		e.Expires = time.UnixMilli(r.Varint()).UTC()
	}
	copy(e.Hash[:], value[len(value)-HashSize:])
	return e, r.End()
}

// Hasher makes the hashes of lines. The zero value is ready for use. It belongs to one goroutine.
type Hasher struct {
	sha     hash.Hash // kept, for one anew would be an eighth of what a request allocates
	scratch []byte
}

// Hash is SHA-256(position || hash of the line before || hash of the account's line before || encoding).
func (h *Hasher) Hash(position uint64, before, accountBefore *[HashSize]byte, encoding []byte) (sum [HashSize]byte) {
	if h.sha == nil {
		h.sha = sha256.New()
	}
	scratch := binary.BigEndian.AppendUint64(h.scratch[:0], position)
	scratch = append(append(scratch, before[:]...), accountBefore[:]...)
	scratch = append(scratch, encoding...)
	h.sha.Reset()
	h.sha.Write(scratch) //nolint:errcheck // a hash takes everything
	h.scratch = h.sha.Sum(scratch[:0])
	copy(sum[:], h.scratch)
	return sum
}

// Writer hashes lines in their order and appends them to pages. It belongs to one goroutine.
type Writer struct {
	Position uint64 // of the last line
	Hash     [HashSize]byte
	line     []byte
	hasher   Hasher
}

// AppendLine makes the line's hash, appends the line to the page, and moves the ends of both chains, the ledger's and the account's.
func (w *Writer) AppendLine(page []byte, l *Line) []byte {
	e, link := &l.Entry, &l.Of.Link
	w.line = AppendEntry(w.line[:0], e)
	e.Hash = w.hasher.Hash(e.Position, &w.Hash, &link.Hash, w.line)
	w.Position, w.Hash = e.Position, e.Hash
	link.Position, link.Seq, link.Hash = e.Position, e.Seq, e.Hash
	page = binary.AppendUvarint(page, uint64(len(w.line)+HashSize))
	return append(append(page, w.line...), e.Hash[:]...)
}

// Checkpoint is the standing of the whole ledger after its last line, rewritten by every commit.
type Checkpoint struct {
	Position uint64         // of the last line
	Oldest   uint64         // of the oldest hold that is open; Position+1 when none is
	Indexed  uint64         // accounts and spenders of which no line is at or after this position have exact records
	Hash     [HashSize]byte // of the last line
	Totals
}

// Totals are the ledger's sums. Posted balances of all accounts, issued, revenue and loss always sum to 0.
type Totals struct {
	Accounts uint64
	Open     uint64          // holds
	Posted   storage.Credits // of all accounts
	Issued   storage.Credits // system account: what grants were taken from, <= 0 in practice
	Revenue  storage.Credits // system account: charges, paid or not
	Loss     storage.Credits // system account: the unpaid part of charges, <= 0
}

// Sum is 0 unless the ledger is broken.
func (t *Totals) Sum() storage.Credits { return t.Posted + t.Issued + t.Revenue + t.Loss }

// post adds the postings of one line, which sum to 0; those of a transfer do together with its other line.
func (t *Totals) post(e *storage.Entry) {
	switch e.Kind {
	case storage.EntryGrant:
		t.Posted += e.Amount
		t.Issued -= e.Amount
	case storage.EntryTransfer:
		t.Posted += e.Amount
	case storage.EntryHold:
		t.Open++
	case storage.EntrySettle, storage.EntryExpire, storage.EntryInterrupt:
		t.Open--
	}
	t.Posted -= e.Charged
	t.Revenue += e.Charged + e.Loss
	t.Loss -= e.Loss
}

// Encode writes the checkpoint as stores keep it.
func (c *Checkpoint) Encode() []byte {
	b := binary.AppendUvarint([]byte{PageVersion}, c.Position)
	b = binary.AppendUvarint(b, c.Oldest)
	b = binary.AppendUvarint(b, c.Indexed)
	b = append(b, c.Hash[:]...)
	b = binary.AppendUvarint(b, c.Accounts)
	b = binary.AppendUvarint(b, c.Open)
	for _, v := range [...]storage.Credits{c.Posted, c.Issued, c.Revenue, c.Loss} {
		b = binary.AppendVarint(b, int64(v))
	}
	return b
}

// DecodeCheckpoint reads what Encode wrote.
func DecodeCheckpoint(value []byte) (c Checkpoint, err error) {
	r := fields.Reader{Rest: value}
	if v := r.Byte(); v != PageVersion {
		return c, fmt.Errorf("checkpoint has unknown version %d", v)
	}
	c.Position = r.Uvarint()
	c.Oldest = r.Uvarint()
	c.Indexed = r.Uvarint()
	copy(c.Hash[:], r.Bytes(HashSize))
	c.Accounts = r.Uvarint()
	c.Open = r.Uvarint()
	for _, v := range [...]*storage.Credits{&c.Posted, &c.Issued, &c.Revenue, &c.Loss} {
		*v = storage.Credits(r.Varint())
	}
	return c, r.End()
}
