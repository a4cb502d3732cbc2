package tokens

import (
	"bufio"
	"compress/flate"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"sync"
)

// The vocabularies as tools/vocabulary packs them.
var (
	//go:embed o200k_base.deflate
	o200kBase string
	//go:embed cl100k_base.deflate
	cl100kBase string
)

const (
	none     = 1<<32 - 1 // the rank of what is no token
	rankBits = 18        // of a slot; the other bits are of the hash
	rankMask = 1<<rankBits - 1
)

// vocabulary is a set of tokens, each with its rank: tokens of low ranks are put together first. It is unpacked when it is
// first needed, which takes some 30 ms and, for the larger one, 5 MB that stay.
type vocabulary struct {
	once  sync.Once
	text  []byte   // the tokens, one after the other
	ends  []uint32 // of token r in text; that of r-1 is its begin
	slots []uint32 // of a hash table: rank+1 and some bits of the hash; 0 is empty
	pairs []uint32 // the ranks of all pairs of bytes
}

// unpack fills the vocabulary. The embedded data are part of the program, so what is wrong with them is a bug.
func (v *vocabulary) unpack(packed string) {
	in := bufio.NewReader(flate.NewReader(strings.NewReader(packed)))
	for {
		length, err := in.ReadByte()
		if err == io.EOF {
			break
		}
		start := len(v.text)
		v.text = append(v.text, make([]byte, length)...)
		if err == nil {
			_, err = io.ReadFull(in, v.text[start:])
		}
		if err != nil || len(v.ends) >= rankMask {
			panic(fmt.Sprintf("tokens: token %d of an embedded vocabulary cannot be read: %v", len(v.ends), err))
		}
		v.ends = append(v.ends, uint32(len(v.text)))
	}
	v.slots = make([]uint32, 1<<bits.Len(uint(2*len(v.ends)-1)))
	for r := range v.ends {
		h := hash(v.token(uint32(r)))
		i := h & uint64(len(v.slots)-1)
		for v.slots[i] != 0 {
			i = (i + 1) & uint64(len(v.slots)-1)
		}
		v.slots[i] = uint32(h>>32)&^rankMask | uint32(r+1)
	}
	v.pairs = make([]uint32, 1<<16)
	for i := range v.pairs {
		v.pairs[i] = v.rank([]byte{byte(i), byte(i >> 8)})
	}
}

func (v *vocabulary) token(rank uint32) []byte {
	start := uint32(0)
	if rank > 0 {
		start = v.ends[rank-1]
	}
	return v.text[start:v.ends[rank]]
}

// rank finds the rank of a token; none if piece is not one.
func (v *vocabulary) rank(piece []byte) uint32 {
	h := hash(piece)
	mask := uint64(len(v.slots) - 1)
	for i := h & mask; v.slots[i] != 0; i = (i + 1) & mask {
		slot := v.slots[i]
		if (slot^uint32(h>>32))&^rankMask != 0 {
			continue
		}
		if r := slot&rankMask - 1; string(v.token(r)) == string(piece) {
			return r
		}
	}
	return none
}

// pair is the rank of two bytes.
func (v *vocabulary) pair(a, b byte) uint32 { return v.pairs[uint(a)|uint(b)<<8] }

// hash mixes a piece, eight bytes at a time.
func hash(b []byte) uint64 {
	const k0, k1 = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	h := uint64(len(b)) * k1
	for len(b) > 8 {
		h = fold(h^binary.LittleEndian.Uint64(b), k0)
		b = b[8:]
	}
	var tail uint64
	switch n := len(b); {
	case n == 8:
		tail = binary.LittleEndian.Uint64(b)
	case n >= 4:
		tail = uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<32
	case n > 0:
		tail = uint64(b[0]) | uint64(b[n/2])<<8 | uint64(b[n-1])<<16
	}
	return fold(h^tail, k1)
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
