package badgerdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/fields"
)

// A page is what one write keeps of up to pageRequests requests, ascending by their ids:
//
//	u8 version
//	uvarint number of requests in all pages before it, since the log began
//	uvarint count, then per request: id(16)
//	u32 CRC-32C of the block below, u32 CRC-32C of everything before it, both big-endian
//	S2 block of, per request: uvarint length and usage record, uvarint length + 1 and decision record, or 0 without one
//
// The ids are in the clear, so that looking for one among many pages reads their heads only, and decompresses the page that has it.
const (
	logPageVersion = 2
	pageRequests   = 512
	idSize         = len(storage.RequestID{})
	mostPage       = 1 << 20                                                                     // bytes
	mostHead       = 1 + binary.MaxVarintLen64 + binary.MaxVarintLen16 + pageRequests*idSize + 8 // bytes before the block
	mostUnpacked   = 64 << 20                                                                    // what a damaged block may claim to unpack to
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errPage = errors.New("page is damaged or of an unknown version")

// pageHead is the part of a page that can be read as it is.
type pageHead struct {
	before uint64 // requests in all pages before it
	ids    []byte // ascending
	packed []byte
	sum    uint32 // of packed

	damaged bool // it could not be read, and the rest is zero
}

// readHead reads and checks a page's head, of which value is or begins with. The result shares its memory.
func readHead(value []byte) (h pageHead, err error) {
	r := fields.Reader{Rest: value}
	if r.Byte() != logPageVersion {
		return h, errPage
	}
	h.before = r.Uvarint()
	h.ids = r.Bytes(int(min(r.Uvarint(), pageRequests+1)) * idSize)
	sums := r.Bytes(8)
	if r.Bad() || binary.BigEndian.Uint32(sums[4:]) != crc32.Checksum(value[:len(value)-len(r.Rest)-4], castagnoli) {
		return h, errPage
	}
	h.packed, h.sum = r.Rest, binary.BigEndian.Uint32(sums)
	return h, nil
}

func (h *pageHead) count() int { return len(h.ids) / idSize }

func (h *pageHead) id(ordinal int) storage.RequestID {
	return storage.RequestID(h.ids[ordinal*idSize:][:idSize])
}

// find returns the place of a request in the page.
func (h *pageHead) find(id storage.RequestID) (ordinal int, found bool) {
	return sort.Find(h.count(), func(i int) int { return bytes.Compare(id[:], h.ids[i*idSize:][:idSize]) })
}

// pageRecord is what a page holds of one request, encoded. decision is nil when none was recorded.
type pageRecord struct {
	id              storage.RequestID
	usage, decision []byte
}

// records unpacks a page.
func (h *pageHead) records() ([]pageRecord, error) {
	if crc32.Checksum(h.packed, castagnoli) != h.sum {
		return nil, errPage
	}
	raw, err := unpack(h.packed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPage, err)
	}
	r := fields.Reader{Rest: raw}
	records := make([]pageRecord, h.count())
	for i := range records {
		records[i] = pageRecord{id: h.id(i), usage: r.Sized()}
		if n := r.Uvarint(); n > 0 {
			records[i].decision = r.Bytes(int(min(n-1, mostUnpacked)))
		}
	}
	if r.End() != nil {
		return nil, errPage
	}
	return records, nil
}

// unpack returns what an S2 block holds.
func unpack(block []byte) ([]byte, error) {
	if n, err := s2.DecodedLen(block); err != nil || n > mostUnpacked {
		return nil, s2.ErrTooLarge
	}
	return s2.Decode(nil, block)
}

// pageWriter builds pages with their indexes, in memory that is reused from one to the next.
type pageWriter struct {
	items  []*logItem
	page   []byte
	raw    []byte
	packed []byte
	usage  []byte
	names  []byte
	refs   []pageRef
}

// pageRef says that a request of the page is to be found under a prefix, that of its client id.
type pageRef struct {
	prefix  []byte
	ordinal int
}

// add puts the index records that lead to the page of a batch's requests, at seq, into the transaction, and returns the page, which is
// valid until the next call; nil without requests, which stay in p.items. before is how many there were in all pages before.
func (p *pageWriter) add(w *writer, batch []*logItem, seq, before uint64) (page []byte) {
	p.items = p.items[:0]
	for _, item := range batch {
		if item.record.Usage.Request != (storage.RequestID{}) {
			p.items = append(p.items, item)
		}
	}
	if len(p.items) == 0 {
		return nil
	}
	slices.SortStableFunc(p.items, func(a, b *logItem) int {
		return bytes.Compare(a.record.Usage.Request[:], b.record.Usage.Request[:])
	})
	p.index(w, seq)
	for _, item := range p.items {
		if id := item.record.Usage.Request; !expected(id, seq) {
			w.point(append(appendLogKey(w.buf, periodOf(seq), logLate), id[:]...), seq)
		}
	}
	p.page = p.encode(p.page[:0], before)
	return p.page
}

// each calls visit for the requests of the page that was added last.
func (p *pageWriter) each(visit func(u *storage.Usage)) {
	for _, item := range p.items {
		visit(&item.record.Usage)
	}
}

// encode appends the page.
func (p *pageWriter) encode(dst []byte, before uint64) []byte {
	start := len(dst)
	dst = binary.AppendUvarint(append(dst, logPageVersion), before)
	dst = binary.AppendUvarint(dst, uint64(len(p.items)))
	p.raw = p.raw[:0]
	for _, item := range p.items {
		dst = append(dst, item.record.Usage.Request[:]...)
		p.usage = AppendUsage(p.usage[:0], &item.record.Usage)
		p.raw = append(binary.AppendUvarint(p.raw, uint64(len(p.usage))), p.usage...)
		if item.record.Decision == nil {
			p.raw = append(p.raw, 0)
			continue
		}
		p.raw = append(binary.AppendUvarint(p.raw, uint64(len(item.record.Decision))+1), item.record.Decision...)
	}
	packed := p.pack(p.raw)
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(packed, castagnoli))
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	return append(dst, packed...)
}

// pack returns an S2 block, in memory that the next call uses again.
func (p *pageWriter) pack(raw []byte) []byte {
	packed := s2.Encode(p.packed[:cap(p.packed)], raw)
	p.packed = packed
	return packed
}

// index adds one record for each client id of the page: under their prefix the page's seq, and the
// ordinals of their requests.
func (p *pageWriter) index(w *writer, seq uint64) {
	p.names, p.refs = p.names[:0], p.refs[:0]
	period := periodOf(seq)
	for i, item := range p.items {
		if item.record.Usage.ClientID != "" {
			p.refer(appendClientPrefix(p.names, period, item.record.Usage.ClientID), i)
		}
	}
	slices.SortStableFunc(p.refs, func(a, b pageRef) int { return bytes.Compare(a.prefix, b.prefix) })
	for i := 0; i < len(p.refs); {
		prefix := p.refs[i].prefix
		key := w.cut(binary.BigEndian.AppendUint64(append(w.buf, prefix...), seq))
		ordinals := w.buf
		for ; i < len(p.refs) && bytes.Equal(p.refs[i].prefix, prefix); i++ {
			ordinals = binary.AppendUvarint(ordinals, uint64(p.refs[i].ordinal))
		}
		w.set(key, w.cut(ordinals))
	}
}

// refer notes a request under the prefix that was appended to names.
func (p *pageWriter) refer(extended []byte, ordinal int) {
	p.refs = append(p.refs, pageRef{prefix: extended[len(p.names):len(extended):len(extended)], ordinal: ordinal})
	p.names = extended
}

// readOrdinals reads an index record of a page with so many requests.
func readOrdinals(value []byte, count int) (ordinals []int, err error) {
	r := fields.Reader{Rest: value}
	for len(r.Rest) > 0 {
		n := r.Uvarint()
		if r.Bad() || n >= uint64(count) {
			return nil, errPage
		}
		ordinals = append(ordinals, int(n))
	}
	return ordinals, nil
}

// searchWindow is how long after a request's beginning its page is looked for by time. Requests that took longer have an
// index record of their own.
const searchWindow = time.Minute

// expected tells whether a search by the request's time passes the page.
func expected(id storage.RequestID, seq uint64) bool {
	from := firstSeq(id)
	return seq >= from && seq <= from+uint64(searchWindow.Microseconds())
}

// firstSeq is the lowest seq of a page with this request, if the clock did not go back.
func firstSeq(id storage.RequestID) uint64 { return uint64(id.Time().UnixMicro()) }
