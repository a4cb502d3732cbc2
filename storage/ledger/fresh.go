package ledger

import (
	"encoding/binary"

	"github.com/pointsman/pointsman/storage"
)

// fresh tells of most ids that no request of that id has ended, so that the disk need not be asked: a request that waited before it was
// reserved for is older than others that are forgotten already. It remembers the ids that were forgotten in the newest two spans of time, a bit
// for each of four places in one line of the processor's cache (a blocked Bloom filter: Putze, Sanders and Singler, "Cache-, Hash- and
// Space-Efficient Bloom Filters", 2007). With 400,000 ids in a span, of 65 seconds each, one in a hundred that are fresh seem not to be.
type fresh struct {
	size  int    // lines for a span
	since uint32 // ids of this span and those before it may have been forgotten without being noted
	spans [2]freshSpan
}

type freshSpan struct {
	number uint32 // the first half of the time in its ids
	lines  [][8]uint64
}

// newFresh has half a mebibyte for a span when 16,384 ended requests stay in memory, and as much less as there are fewer.
func newFresh(recent int) fresh { return fresh{size: max(1, recent/2)} }

func spanOf(id storage.RequestID) uint32 { return binary.BigEndian.Uint32(id[:]) }

// note remembers that a request's id is on disk only.
func (f *fresh) note(id storage.RequestID) {
	number := spanOf(id)
	if number <= f.since {
		return
	}
	s := &f.spans[number%2]
	switch {
	case number < s.number: // its span has no place any more
		f.since = number
		return
	case number > s.number:
		if f.since = max(f.since, s.number); s.lines == nil {
			s.lines = make([][8]uint64, f.size)
		}
		clear(s.lines)
		s.number = number
	}
	line, places := s.line(id)
	for range 4 {
		line[places>>6&7] |= 1 << (places & 63)
		places >>= 9
	}
}

// is tells that no request of that id was noted or could have been missed. False: there may have been one.
func (f *fresh) is(id storage.RequestID) bool {
	number := spanOf(id)
	if number <= f.since {
		return false
	}
	s := &f.spans[number%2]
	if s.number != number {
		return true // nothing of its span was forgotten
	}
	line, places := s.line(id)
	for range 4 {
		if line[places>>6&7]&(1<<(places&63)) == 0 {
			return true
		}
		places >>= 9
	}
	return false
}

// line is where an id's places are. The second half of an id is random.
func (s *freshSpan) line(id storage.RequestID) (line *[8]uint64, places uint64) {
	random := binary.BigEndian.Uint64(id[8:])
	size := uint64(len(s.lines))
	return &s.lines[random%size], random / size
}
