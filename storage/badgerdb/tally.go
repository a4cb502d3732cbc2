package badgerdb

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/fields"
)

// tally is the sums of a minute, an hour or a day, by group.
type tally struct {
	groups map[storage.GroupValues]*storage.Sums
	most   int // groups that are kept apart
}

// mostTallied is how many groups of a minute, an hour or a day are kept apart. Beyond them accounts, teams and keys are no
// longer told from each other; models, providers, levels, policies and outcomes, of which there are few, always are.
const mostTallied = 1 << 16

func newTally() *tally {
	return &tally{groups: map[storage.GroupValues]*storage.Sums{}, most: mostTallied}
}

// of returns the sums of a group, which begins if it is new.
func (t *tally) of(values storage.GroupValues) *storage.Sums {
	sums := t.groups[values]
	if sums != nil {
		return sums
	}
	if len(t.groups) >= t.most && values[storage.ByAccount] != storage.OtherValue {
		values[storage.ByAccount], values[storage.ByTeam], values[storage.ByKey] = storage.OtherValue, storage.OtherValue, storage.OtherValue
		return t.of(values)
	}
	sums = new(storage.Sums)
	t.groups[values] = sums
	return sums
}

// merge adds everything of another tally. The order is fixed, for where a limit is reached it decides who is kept apart.
func (t *tally) merge(other *tally) {
	for _, values := range other.sorted() {
		t.of(values).Merge(other.groups[values])
	}
}

// seen is the tally in a view: the groups without the dimensions that it lacks.
func (t *tally) seen(v view) *tally {
	if v == viewAll {
		return t
	}
	out := newTally()
	for _, full := range t.sorted() {
		values := full
		for d := range storage.Dimensions {
			if !v.has(d) {
				values[d] = ""
			}
		}
		out.of(values).Merge(t.groups[full])
	}
	return out
}

func (t *tally) sorted() []storage.GroupValues {
	return slices.SortedFunc(maps.Keys(t.groups), compareValues)
}

func compareValues(a, b storage.GroupValues) int {
	for i := range a {
		if c := strings.Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

// A tally is kept in chunks of groups that are neighbours in their order:
//
//	u8 version
//	sized texts: the first and the last account in it
//	u32 CRC-32C of everything before it and of the block below, big-endian
//	S2 block of: uvarint count, then by column
//	  each dimension: uvarint n, n sized texts, and for each group the uvarint index of its text
//	  each measure: a varint for each group
//	  latency, time to first token: for each group uvarint n, how many buckets are in use; unless 0, uvarint first and uvarint span, the
//	  buckets from the first in use to the last; then a uvarint count of each in the span, or if that is over 2n, n times a uvarint
//	  step from the bucket in use before and a uvarint count
const (
	chunkVersion = 1
	chunkTarget  = 32 << 10 // bytes of a chunk before compression, about
	mostInChunk  = 1 << 14  // groups
)

// chunks encodes the tally. The same groups and sums always give the same bytes.
func (t *tally) chunks() (chunks [][]byte) {
	keys := t.sorted()
	for len(keys) > 0 {
		n, size := 0, 0
		for n < len(keys) && n < mostInChunk && size < chunkTarget {
			sums := t.groups[keys[n]]
			size += 64
			for range sums.Latency.Buckets {
				size += 3
			}
			for range sums.TTFT.Buckets {
				size += 3
			}
			n++
		}
		chunks = append(chunks, t.chunk(keys[:n]))
		keys = keys[n:]
	}
	return chunks
}

func (t *tally) chunk(keys []storage.GroupValues) []byte {
	raw := binary.AppendUvarint(nil, uint64(len(keys)))
	for d := range storage.Dimensions {
		index := map[string]uint64{}
		var texts []string
		for i := range keys {
			if _, known := index[keys[i][d]]; !known {
				index[keys[i][d]] = uint64(len(texts))
				texts = append(texts, keys[i][d])
			}
		}
		raw = binary.AppendUvarint(raw, uint64(len(texts)))
		for _, text := range texts {
			raw = fields.AppendText(raw, text)
		}
		for i := range keys {
			raw = binary.AppendUvarint(raw, index[keys[i][d]])
		}
	}
	for m := range storage.Measures {
		for i := range keys {
			raw = binary.AppendVarint(raw, t.groups[keys[i]].Of[m])
		}
	}
	for i := range keys {
		raw = appendHistogram(raw, &t.groups[keys[i]].Latency)
	}
	for i := range keys {
		raw = appendHistogram(raw, &t.groups[keys[i]].TTFT)
	}
	chunk := fields.AppendText([]byte{chunkVersion}, keys[0][storage.ByAccount])
	chunk = fields.AppendText(chunk, keys[len(keys)-1][storage.ByAccount])
	packed := s2.Encode(nil, raw)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.Update(crc32.Checksum(chunk, castagnoli), castagnoli, packed))
	return append(chunk, packed...)
}

func appendHistogram(b []byte, h *storage.Histogram) []byte {
	n, first, last := uint64(0), uint16(0), uint16(0)
	for bucket := range h.Buckets {
		if n == 0 {
			first = bucket
		}
		n, last = n+1, bucket
	}
	b = binary.AppendUvarint(b, n)
	if n == 0 {
		return b
	}
	span := uint64(last-first) + 1
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(first)), span)
	next := first
	for bucket, count := range h.Buckets {
		if span > 2*n {
			b = binary.AppendUvarint(b, uint64(bucket-next))
		} else {
			for ; next < bucket; next++ {
				b = append(b, 0)
			}
		}
		b = binary.AppendUvarint(b, uint64(count))
		next = bucket + 1
	}
	return b
}

// chunkReader reads chunks one after the other in memory that it uses again.
type chunkReader struct {
	first, last string // accounts
	packed      []byte
	sum, head   uint32

	raw   []byte
	rest  fields.Reader
	count int
	texts [storage.Dimensions][][]byte // in raw
	index [storage.Dimensions][]uint32
}

// open reads what can be read without unpacking: between which accounts the chunk is.
func (c *chunkReader) open(value []byte) error {
	r := fields.Reader{Rest: value}
	version := r.Byte()
	c.first, c.last = r.Text(), r.Text()
	head := len(value) - len(r.Rest)
	sum := r.Bytes(4)
	if r.Bad() || version != chunkVersion {
		return fields.ErrEncoding
	}
	c.head, c.sum, c.packed = crc32.Checksum(value[:head], castagnoli), binary.BigEndian.Uint32(sum), r.Rest
	return nil
}

// unpack checks the chunk and reads its dimensions.
func (c *chunkReader) unpack() error {
	if crc32.Update(c.head, castagnoli, c.packed) != c.sum {
		return fields.ErrEncoding
	}
	n, err := s2.DecodedLen(c.packed)
	if err != nil || n > mostUnpacked {
		return fields.ErrEncoding
	}
	if c.raw, err = s2.Decode(c.raw[:cap(c.raw)], c.packed); err != nil {
		return fmt.Errorf("%w: %w", fields.ErrEncoding, err)
	}
	c.rest = fields.Reader{Rest: c.raw}
	count := c.rest.Uvarint()
	if count == 0 || count > mostInChunk {
		return fields.ErrEncoding
	}
	c.count = int(count)
	for d := range c.texts {
		c.texts[d], c.index[d] = c.texts[d][:0], c.index[d][:0]
		for range min(c.rest.Uvarint(), mostInChunk) {
			c.texts[d] = append(c.texts[d], c.rest.Sized())
		}
		b := c.rest.Rest
		for range c.count {
			i := uint64(0)
			if i, b = cutUvarint(b); i >= uint64(len(c.texts[d])) {
				return fields.ErrEncoding
			}
			c.index[d] = append(c.index[d], uint32(i))
		}
		if c.rest.Rest = b; c.rest.Bad() || b == nil {
			return fields.ErrEncoding
		}
	}
	return nil
}

// sums adds the measures of each group to its target; groups whose target is nil are passed over.
func (c *chunkReader) sums(targets []*storage.Sums) error {
	b := c.rest.Rest
	for m := range storage.Measures {
		for _, to := range targets {
			n := uint64(0)
			if n, b = cutUvarint(b); to != nil && n != 0 {
				to.Add(m, int64(n>>1)^-int64(n&1))
			}
		}
	}
	for _, to := range targets {
		if to == nil {
			b = cutHistogram(b, nil)
		} else {
			b = cutHistogram(b, &to.Latency)
		}
	}
	for _, to := range targets {
		if to == nil {
			b = cutHistogram(b, nil)
		} else {
			b = cutHistogram(b, &to.TTFT)
		}
	}
	if b == nil || len(b) > 0 {
		return fields.ErrEncoding
	}
	return nil
}

// cutHistogram adds a histogram to h, unless that is nil, and returns what follows, nil if it is damaged.
func cutHistogram(b []byte, h *storage.Histogram) []byte {
	n, b := cutUvarint(b)
	if n == 0 {
		return b
	}
	first, b := cutUvarint(b)
	span, b := cutUvarint(b)
	if first >= storage.HistogramBuckets || span < n || span > storage.HistogramBuckets-first {
		return nil
	}
	dense := span <= 2*n
	if h == nil {
		if dense {
			return skipUvarints(b, int(span))
		}
		return skipUvarints(b, 2*int(n))
	}
	window := h.Window(uint16(first), int(span))
	if dense {
		at := 0
		for i := range window { // what a summary spends most of its time in
			if at < len(b) && b[at] < 0x80 {
				window[i] += uint32(b[at])
				at++
				continue
			}
			count, size := binary.Uvarint(b[at:])
			if size <= 0 {
				return nil
			}
			window[i] += uint32(count)
			at += size
		}
		return b[at:]
	}
	at := uint64(0)
	for range n {
		step, rest := cutUvarint(b)
		count, rest := cutUvarint(rest)
		if at += step; at >= span {
			return nil
		}
		window[at] += uint32(count)
		at++
		b = rest
	}
	return b
}

// skipUvarints returns what follows n numbers.
func skipUvarints(b []byte, n int) []byte {
	for at := 0; at < len(b) && n > 0; at++ {
		if b[at] < 0x80 {
			if n--; n == 0 {
				return b[at+1:]
			}
		}
	}
	return nil
}

// cutUvarint reads a number and returns what follows it, nil if there is none. Most numbers have one or two bytes.
func cutUvarint(b []byte) (uint64, []byte) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), b[1:]
	}
	if len(b) > 1 && b[1] < 0x80 {
		return uint64(b[0]&0x7f) | uint64(b[1])<<7, b[2:]
	}
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, nil
	}
	return n, b[size:]
}

// addTo adds everything in a chunk to a tally.
func (c *chunkReader) addTo(t *tally, value []byte) error {
	err := c.open(value)
	if err == nil {
		err = c.unpack()
	}
	if err != nil {
		return err
	}
	targets := make([]*storage.Sums, c.count)
	for i := range targets {
		targets[i] = t.of(c.values(i))
	}
	return c.sums(targets)
}

// values are the dimensions of a group.
func (c *chunkReader) values(i int) (v storage.GroupValues) {
	for d := range v {
		v[d] = string(c.texts[d][c.index[d][i]])
	}
	return v
}
