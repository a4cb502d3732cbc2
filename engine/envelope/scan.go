package envelope

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// scanner walks JSON text strictly. After a fault every step of it does nothing and every loop over it ends, so that
// callers need not look at the fault until they are done.
type scanner struct {
	b     []byte
	i     int
	lim   Limits
	depth int
	nodes int

	fault   *Error
	limited bool // the fault is a limit, not a syntax fault

	// The string or number scanned last: its raw bytes without quotes, and of a string its unescaped size.
	off, end int
	escaped  bool
	size     int
	wide     int // bytes above ASCII

	key    []byte // unescaped key of the member being read, valid until the next member
	keyOff int    // where its quote opens
	keyEnd int    // after its closing quote

	text     int // unescaped bytes of all string values so far
	textWide int

	names   []name // keys of the open objects, innermost last
	scratch []byte // unescaped text that names and key refer to; only ever grows during a pass
}

// name is a key of an open object: a range of the body, or of scratch if the key was written with escapes.
type name struct {
	off, end uint32
	escaped  bool
}

// frame is one open object or array.
type frame struct {
	close byte
	base  int // names of outer objects
	n     int // members or elements begun
	seen  uint64
	keys  map[string]struct{} // takes over from names in large objects, whose keys would take quadratic time to compare
}

// manyKeys is when an object changes from comparing keys to a map of them.
const manyKeys = 32

func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) space() {
	if s.i < len(s.b) && s.b[s.i] <= ' ' {
		s.spaces()
	}
}

func (s *scanner) spaces() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\n', '\t', '\r':
			s.i++
		default:
			return
		}
	}
}

// node counts one value against the limit.
func (s *scanner) node() {
	if s.nodes++; s.nodes > s.lim.MaxNodes {
		s.exceed(s.i, "more than %d values", s.lim.MaxNodes)
	}
}

// begin opens the object or array at the current byte.
func (s *scanner) begin(f *frame) {
	s.node()
	f.close = s.b[s.i] + 2 // '{' to '}', '[' to ']'
	f.base = len(s.names)
	if s.depth++; s.depth > s.lim.MaxDepth {
		s.exceed(s.i, "nested deeper than %d", s.lim.MaxDepth)
	}
	s.i++
}

// next moves to the start of the next member or element; false when the container closed or the scan failed.
func (s *scanner) next(f *frame) bool {
	if s.fault != nil {
		return false
	}
	s.space()
	c := s.peek()
	if c == f.close {
		s.i++
		s.depth--
		s.names = s.names[:f.base]
		return false
	}
	if f.n > 0 {
		if c != ',' {
			s.unexpected("a comma or " + strconv.Quote(string(f.close)))
			return false
		}
		s.i++
		s.space()
	}
	f.n++
	return true
}

// element moves to the next value of an array; false at its end.
func (s *scanner) element(f *frame) bool { return s.next(f) }

// member reads the next key of an object into s.key and moves to its value; false at its end.
func (s *scanner) member(f *frame) bool {
	if !s.next(f) {
		return false
	}
	if s.peek() != '"' {
		s.unexpected("a key")
		return false
	}
	s.keyOff = s.i
	if !s.str() {
		return false
	}
	s.keyEnd = s.i
	s.key = s.b[s.off:s.end]
	n := name{uint32(s.off), uint32(s.end), s.escaped}
	if s.escaped {
		n.off = uint32(len(s.scratch))
		s.scratch = unescape(s.scratch, s.key)
		n.end = uint32(len(s.scratch))
		s.key = s.scratch[n.off:n.end]
	}
	if !s.unique(f, n) {
		s.duplicate(s.keyOff, s.key)
		return false
	}
	s.space()
	if s.peek() != ':' {
		s.unexpected("a colon")
		return false
	}
	s.i++
	s.space()
	return true
}

// unique adds s.key to the keys of its object, and tells whether it is new there.
func (s *scanner) unique(f *frame, n name) bool {
	key := s.key
	if f.keys != nil {
		if _, dup := f.keys[string(key)]; dup {
			return false
		}
		f.keys[view(key)] = struct{}{}
		return true
	}
	// One bit of a cheap hash tells most new keys from all those before.
	h := uint(len(key))
	if h > 0 {
		h = h*7 + uint(key[0])*31 + uint(key[h-1])*17 + uint(key[h/2])*13
	}
	bit := uint64(1) << (h & 63)
	if f.seen&bit != 0 {
		for _, other := range s.names[f.base:] {
			if string(s.name(other)) == string(key) {
				return false
			}
		}
	}
	f.seen |= bit
	s.names = append(s.names, n)
	if f.n == manyKeys {
		f.keys = make(map[string]struct{}, 4*manyKeys)
		for _, other := range s.names[f.base:] {
			f.keys[view(s.name(other))] = struct{}{}
		}
	}
	return true
}

func (s *scanner) name(n name) []byte {
	if n.escaped {
		return s.scratch[n.off:n.end]
	}
	return s.b[n.off:n.end]
}

// view is b as a string, for use while the pass runs and b cannot change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// value scans any value.
func (s *scanner) value() {
	switch c := s.peek(); c {
	case '"':
		s.textValue()
	case '{':
		var f frame
		for s.begin(&f); s.member(&f); {
			s.value()
		}
	case '[':
		var f frame
		for s.begin(&f); s.element(&f); {
			s.value()
		}
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	default:
		if c == '-' || c-'0' < 10 {
			s.number()
		} else {
			s.unexpected("a value")
		}
	}
}

// textValue scans a string value and counts its text.
func (s *scanner) textValue() bool {
	s.node()
	if !s.str() {
		return false
	}
	s.text += s.size
	s.textWide += s.wide
	return true
}

func (s *scanner) literal(word string) {
	s.node()
	end := s.i + len(word)
	if end > len(s.b) || string(s.b[s.i:end]) != word {
		s.fail(s.i, "expected %s", word)
		return
	}
	s.i = end
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// str scans the string at the current quote, eight bytes at a time. It tells whether the string is valid.
func (s *scanner) str() bool {
	b, i := s.b, s.i+1
	s.off, s.escaped, s.wide = i, false, 0
	saved := 0 // bytes that escapes take beyond what they mean
scan:
	for {
		stopped := false
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			quotes, slashes := x^('"'*ones), x^('\\'*ones)
			// The lowest bit set marks the first quote, backslash or control character; higher ones may be false.
			stop := ((x - ' '*ones) | (quotes - ones) | (slashes - ones)) &^ x & highs
			high := x & highs
			if stop != 0 {
				at := bits.TrailingZeros64(stop) &^ 7
				if high != 0 {
					s.wide += bits.OnesCount64(high & (1<<at - 1))
				}
				i += at >> 3
				stopped = true
				break
			}
			if high != 0 {
				s.wide += bits.OnesCount64(high)
			}
			i += 8
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

// unexpected fails at the current byte.
func (s *scanner) unexpected(wanted string) {
	if s.i >= len(s.b) {
		s.fail(s.i, "it ends where %s was expected", wanted)
		return
	}
	s.fail(s.i, "%s where %s was expected", quote(s.b[s.i:s.i+1]), wanted)
}
