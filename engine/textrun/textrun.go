// Package textrun passes over the plain bytes of JSON strings, 32 at a time.
//
// Most of what a gateway reads is the text of prompts and answers, of which it has to know where it ends, that nothing in it is forbidden, and how many of its bytes are above
// ASCII. On processors with AVX2 three comparisons tell that of 32 bytes; elsewhere the same is done with words of eight. Both are made for the middle of long strings: who
// reads a short one, such as a member's name, is faster without.
package textrun

import (
	"encoding/binary"
	"math/bits"
)

// Of tells how many bytes of b come before the first that is a quote, a backslash or a control character, and how many of those are above ASCII. Fewer than 32 further plain
// bytes may follow what it tells.
func Of(b []byte) (n, wide int) {
	if fast && len(b) >= 32 {
		return run(&b[0], len(b))
	}
	return ofWords(b)
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// ofWords is Of for any processor.
func ofWords(b []byte) (n, wide int) {
	for ; n+32 <= len(b); n += 32 {
		p := b[n : n+32 : n+32]
		one, two, three, four := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:]), binary.LittleEndian.Uint64(p[16:]), binary.LittleEndian.Uint64(p[24:])
		if (stops(one)|stops(two)|stops(three)|stops(four)|one|two|three|four)&highs == 0 {
			continue
		}
		for _, x := range [...]uint64{one, two, three, four} {
			stop, above := Word(x)
			if stop != 0 {
				return n, wide
			}
			wide += bits.OnesCount64(above)
			n += 8
		}
		n -= 32
	}
	return n, wide
}

// Word has the highest bit of each of eight bytes that is a quote, a backslash or a control character, and of each that is above ASCII. Of the first
// kind the lowest is right; above it there may be others that are none.
func Word(x uint64) (stop, wide uint64) { return stops(x) &^ x & highs, x & highs }

// stops is the first of Word, and maybe has the highest bits of those above ASCII too; the other bits mean nothing. With the second bit turned over, a quote follows the control characters.
func stops(x uint64) uint64 {
	return ((x ^ 2*ones) - ('"'-1)*ones) | ((x ^ '\\'*ones) - ones)
}
