package envelope

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/pointsman/pointsman/engine/textrun"
)

// str scans the string at the current quote, eight bytes at a time, or 32 in the middle of a long run. It tells whether the string is valid.
func (s *scanner) str() bool {
	b, i := s.b, s.i+1
	s.off, s.escaped, s.wide = i, false, 0
	saved := 0 // bytes that escapes take beyond what they mean
scan:
	for {
		stopped := false
		for words := 0; i+8 <= len(b); words++ {
			stop, high := textrun.Word(binary.LittleEndian.Uint64(b[i:]))
			if stop != 0 {
				at := bits.TrailingZeros64(stop) &^ 7
				if high != 0 {
					s.wide += bits.OnesCount64(high & (1<<at - 1))
				}
				i += at >> 3
				stopped = true
				break
			}
			i += 8
			if high != 0 {
				s.wide += bits.OnesCount64(high)
			}
			if words == 3 { // a long run
				n, wide := textrun.Of(b[i:])
				i += n
				s.wide += wide
			}
		}
		for ; !stopped && i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' '; i++ {
			if b[i] >= utf8.RuneSelf {
				s.wide++
			}
		}
		switch {
		case i >= len(b):
			s.fail(s.off-1, "string without an end")
			return false
		case b[i] == '"':
			break scan
		case b[i] == '\\':
			s.escaped = true
			if i+1 < len(b) && (b[i+1] == 'n' || b[i+1] == '"') { // by far the most common
				saved++
				i += 2
				continue
			}
			width, means := escape(b[i:])
			if width == 0 {
				s.fail(i, "invalid escape in a string")
				return false
			}
			if means > 1 {
				s.wide += means
			}
			saved += width - means
			i += width
		default:
			s.fail(i, "control character in a string")
			return false
		}
	}
	s.end, s.i = i, i+1
	s.size = i - s.off - saved
	if s.wide > 0 && !utf8.Valid(b[s.off:i]) {
		s.fail(s.off-1, "string that is not UTF-8")
		return false
	}
	return true
}

// escape returns the width of the escape that b begins with and the bytes it means; a width of 0 is an invalid one.
func escape(b []byte) (width, means int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, 1
	case 'u':
		r, width := unicodeEscape(b)
		return width, utf8.RuneLen(r)
	}
	return 0, 0
}

// unicodeEscape decodes the \u escape, or pair of them, that b begins with; a width of 0 is an invalid one.
func unicodeEscape(b []byte) (r rune, width int) {
	r, ok := hex4(b)
	switch {
	case !ok:
		return 0, 0
	case !utf16.IsSurrogate(r):
		return r, 6
	}
	low, ok := hex4(b[6:])
	if !ok {
		return 0, 0
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// hex4 reads \uXXXX.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c-'0' < 10:
			c -= '0'
		case c|0x20-'a' < 6:
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape appends the text that the valid raw string contents mean.
func unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		width := 2
		switch c = raw[i+1]; c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			var r rune
			r, width = unicodeEscape(raw[i:])
			dst = utf8.AppendRune(dst, r)
			i += width
			continue
		}
		dst = append(dst, c)
		i += width
	}
	return dst
}

// maxDigits is the longest number accepted; a float64 needs 24 bytes, an int64 20.
const maxDigits = 64

// number scans a number.
func (s *scanner) number() bool {
	s.node()
	b, i := s.b, s.i
	s.off = i
	if b[i] == '-' {
		i++
	}
	switch first := digits(b, i); {
	case first == i:
		s.fail(i, "expected a digit")
		return false
	case b[i] == '0' && first > i+1:
		s.fail(i, "number with a leading zero")
		return false
	default:
		i = first
	}
	if i < len(b) && b[i] == '.' {
		end := digits(b, i+1)
		if end == i+1 {
			s.fail(end, "expected a digit")
			return false
		}
		i = end
	}
	power := i < len(b) && b[i]|0x20 == 'e'
	if power {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		end := digits(b, i)
		if end == i {
			s.fail(end, "expected a digit")
			return false
		}
		i = end
	}
	if i-s.off > maxDigits {
		s.exceed(s.off, "number longer than %d bytes", maxDigits)
		return false
	}
	s.i, s.end = i, i
	if power {
		if _, err := strconv.ParseFloat(view(b[s.off:i]), 64); err != nil {
			s.exceed(s.off, "number out of range")
			return false
		}
	}
	return true
}

// digits returns the end of the run of digits at i.
func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' < 10 {
		i++
	}
	return i
}
