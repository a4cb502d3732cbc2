// Package kept has memory for large messages, used for one after the other. Fasthttp keeps no body that is larger than 19 of 20 of late, and a call that keeps its own
// would have room for the largest it ever had: where one message in thirty is large, or all of a sudden all are, each would be new memory, filled with zeros, and so much
// garbage that the collector runs all the time and throws away whatever else is kept.
//
// Memory comes in sizes that are powers of two, so that what a short message had is never thrown away for a long one, and none holds more than twice what it needs.
// What nobody uses is freed by the second collection after its last use. Everything here is safe for concurrent use, but for a piece of memory, which has one owner.
package kept

import (
	"math/bits"
	"sync"
)

const (
	// Usual is the length, in bytes, of messages that need nothing of this: they have their memory with whatever is theirs.
	Usual = 1 << usualBits
	// Most is the length, in bytes, up to which memory is kept; what is longer is new, and the collector's when it is given back.
	Most = 1 << mostBits

	usualBits, mostBits = 14, 20
)

// Keeps tells whether memory for size bytes is kept.
func Keeps(size int) bool { return size > Usual && size <= Most }

// Memory is for one message. Bytes is empty, with room for it at least; it may be replaced by what an append to it gave.
type Memory struct{ Bytes []byte }

// sizes have memory of 32 KiB, 64 KiB and so on.
var sizes [mostBits - usualBits]sync.Pool

// sizeOf is the place in sizes of the smallest that has room for size bytes, which are Most at most.
func sizeOf(size int) int { return max(bits.Len(uint(size-1))-usualBits-1, 0) }

// Take gives memory with room for size bytes, 1 at least.
func Take(size int) *Memory {
	if size > Most {
		return &Memory{make([]byte, 0, size)}
	}
	n := sizeOf(size)
	if m, ok := sizes[n].Get().(*Memory); ok {
		return m
	}
	return &Memory{make([]byte, 0, 2*Usual<<n)}
}

// Give gives the memory back: nobody may refer to it any more. Of nil there is nothing to give.
func (m *Memory) Give() {
	if m == nil {
		return
	}
	if size := cap(m.Bytes); Keeps(size) && size&(size-1) == 0 {
		m.Bytes = m.Bytes[:0]
		sizes[sizeOf(size)].Put(m)
	}
}
