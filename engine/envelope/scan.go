package envelope

import (
	"strconv"
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
	widths uint64 // bits of the lengths of all keys, 63 for longer ones
	keyEnd int    // after its closing quote

	text     int // unescaped bytes of all string values so far
	textWide int

	noting bool    // keep the pieces
	pieces []piece // of prompt text

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
	s.widths |= 1 << min(len(s.key), 63)
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
	if s.noting {
		s.note()
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

// unexpected fails at the current byte.
func (s *scanner) unexpected(wanted string) {
	if s.i >= len(s.b) {
		s.fail(s.i, "it ends where %s was expected", wanted)
		return
	}
	s.fail(s.i, "%s where %s was expected", quote(s.b[s.i:s.i+1]), wanted)
}
