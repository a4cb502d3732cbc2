package dialect

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math/bits"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/pointsman/pointsman/engine/textrun"
)

// maxDepth bounds the nesting that a cursor follows.
const maxDepth = 256

// cursor walks JSON text once, front to back, without building anything. The text it has walked follows the grammar of
// RFC 8259; like encoding/json it lets invalid UTF-8 and half surrogate pairs inside strings pass as they are, as
// answers of providers contain them. After the first error bad is set and every method does nothing. Each member or
// element must be consumed by exactly one of object, array or value.
//
//	for c.object(); c.member(&key); {
//		switch string(key) {
//		case "n":
//			n = c.value()
//		default:
//			c.value()
//		}
//	}
type cursor struct {
	b     []byte
	i     int
	depth int
	first bool // just inside an opened object or array
	bad   bool
}

func (c *cursor) fail() { c.bad = true }

func (c *cursor) space() {
	for c.i < len(c.b) {
		switch c.b[c.i] {
		case ' ', '\t', '\n', '\r':
			c.i++
		default:
			return
		}
	}
}

// kind returns the first byte of the next value, 0 at the end.
func (c *cursor) kind() byte {
	if c.i < len(c.b) && c.b[c.i] > ' ' && !c.bad { // without white space, as most senders write
		return c.b[c.i]
	}
	return c.kindAfterSpace()
}

func (c *cursor) kindAfterSpace() byte {
	c.space()
	if c.bad || c.i >= len(c.b) {
		return 0
	}
	return c.b[c.i]
}

// object enters an object. Any other value makes the cursor bad.
func (c *cursor) object() { c.open('{') }

// array enters an array. Any other value makes the cursor bad.
func (c *cursor) array() { c.open('[') }

func (c *cursor) open(brace byte) {
	if c.kind() != brace || c.depth == maxDepth {
		c.fail()
		return
	}
	c.i++
	c.depth++
	c.first = true
}

// member steps to the next member of the entered object and sets key to its name; false leaves the object.
func (c *cursor) member(key *[]byte) bool {
	if !c.more('}') {
		return false
	}
	start := c.i
	if c.kind() != '"' {
		c.fail()
		return false
	}
	ok, escaped := c.skipString()
	if !ok {
		c.fail()
		return false
	}
	if *key = c.b[start+1 : c.i-1]; escaped {
		*key = unquoted(c.b[start:c.i])
	}
	if c.kind() != ':' {
		c.fail()
		return false
	}
	c.i++
	return true
}

// element steps to the next element of the entered array; false leaves the array.
func (c *cursor) element() bool { return c.more(']') }

// more steps over the comma, or the brace that closes the container.
func (c *cursor) more(brace byte) bool {
	k := c.kind()
	first := c.first
	c.first = false
	switch {
	case k == brace:
		c.i++
		c.depth--
		return false
	case first && k != 0:
		return true
	case k == ',':
		c.i++
		if c.kind() != 0 {
			return true
		}
	}
	c.fail()
	return false
}

// value consumes the next value and returns its bytes; nil if it is not valid.
func (c *cursor) value() []byte {
	k := c.kind()
	start := c.i
	ok := false
	switch k {
	case '"':
		ok, _ = c.skipString()
	case '{':
		var key []byte
		for c.object(); c.member(&key); {
			c.value()
		}
		ok = !c.bad
	case '[':
		for c.array(); c.element(); {
			c.value()
		}
		ok = !c.bad
	case 't':
		ok = c.skipWord("true")
	case 'f':
		ok = c.skipWord("false")
	case 'n':
		ok = c.skipWord("null")
	default:
		ok = c.skipNumber()
	}
	if !ok {
		c.fail()
		return nil
	}
	return c.b[start:c.i:c.i]
}

// end reports whether the whole text was one valid value.
func (c *cursor) end() bool { return c.kind() == 0 && !c.bad && c.i == len(c.b) }

func (c *cursor) skipWord(word string) bool {
	if len(c.b)-c.i < len(word) || string(c.b[c.i:c.i+len(word)]) != word {
		return false
	}
	c.i += len(word)
	return true
}

func (c *cursor) skipNumber() bool {
	if c.i < len(c.b) && c.b[c.i] == '-' {
		c.i++
	}
	lead := c.i
	n := c.skipDigits()
	if n == 0 || n > 1 && c.b[lead] == '0' {
		return false
	}
	if c.i < len(c.b) && c.b[c.i] == '.' {
		c.i++
		if c.skipDigits() == 0 {
			return false
		}
	}
	if c.i < len(c.b) && c.b[c.i]|0x20 == 'e' {
		c.i++
		if c.i < len(c.b) && (c.b[c.i] == '+' || c.b[c.i] == '-') {
			c.i++
		}
		return c.skipDigits() > 0
	}
	return true
}

func (c *cursor) skipDigits() (n int) {
	for c.i < len(c.b) && c.b[c.i]-'0' < 10 {
		c.i++
		n++
	}
	return n
}

// skipString steps over the string that begins at the cursor.
func (c *cursor) skipString() (ok, escaped bool) {
	b := c.b
	for i := c.i + 1; i < len(b); {
		// Eight bytes at a time as long as they are printable ASCII, neither quote nor backslash. The lowest bit found is exact.
		for words := 0; len(b)-i >= 8; words++ {
			if stop, wide := textrun.Word(binary.LittleEndian.Uint64(b[i:])); stop|wide != 0 {
				i += bits.TrailingZeros64(stop|wide) / 8
				break
			}
			if i += 8; words == 3 { // a long one
				n, _ := textrun.Of(b[i:])
				i += n
			}
		}
		if i == len(b) {
			break
		}
		switch ch := b[i]; {
		case ch == '"':
			c.i = i + 1
			return true, escaped
		case ch == '\\':
			n := escapeLen(b[i:])
			if n == 0 {
				return false, true
			}
			escaped = true
			i += n
		case ch < 0x20:
			return false, escaped
		default: // above ASCII
			n, _ := textrun.Of(b[i:])
			i += max(n, 1)
		}
	}
	return false, escaped
}

// escapeLen returns the length of the escape sequence at the start of b, 0 if it is not one.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, ch := range b[2:6] {
			if ch-'0' >= 10 && (ch|0x20)-'a' >= 6 {
				return 0
			}
		}
		return 6
	}
	return 0
}

// elements are the elements of an array; there are none of any other value, and none after one that is not valid.
func elements(v []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if len(v) == 0 || v[0] != '[' {
			return
		}
		c := cursor{b: v}
		for c.array(); c.element(); {
			if !yield(c.value()) {
				return
			}
		}
	}
}

// isString reports whether a value is a string.
func isString(v []byte) bool { return len(v) >= 2 && v[0] == '"' }

// isNull reports whether a value is absent or null.
func isNull(v []byte) bool { return len(v) == 0 || v[0] == 'n' }

// inner returns a string value without its quotes, escapes and all: joined raw contents are the raw content of the
// joined strings. It is empty for other values.
func inner(v []byte) []byte {
	if !isString(v) {
		return nil
	}
	return v[1 : len(v)-1]
}

// unquoted decodes a valid string value; nil for other values. It copies only if there is an escape.
func unquoted(v []byte) []byte {
	in := inner(v)
	if bytes.IndexByte(in, '\\') < 0 {
		return in
	}
	out, _ := jsontext.AppendUnquote(nil, v)
	return out
}

// appendQuoted appends text as a JSON string; invalid UTF-8 becomes the replacement character.
func appendQuoted[T []byte | string](dst []byte, text T) []byte {
	dst, _ = jsontext.AppendQuote(dst, text) // the error only reports that replacement
	return dst
}
