package tokens

import (
	"unicode"
	"unicode/utf8"
)

// What the patterns that split a text tell apart: the letters by how they take part in a word that changes its case.
const (
	other   = iota // neither letter, mark, number nor white space; also a byte that is not UTF-8
	upper          // Lu, Lt
	lower          // Ll
	letter         // Lm, Lo: as good as either case
	mark           // M
	number         // N
	space          // white space but for line breaks
	newline        // \r, \n
	nothing        // after the end of the text
)

// pageSize is how many runes share a page.
const pageSize = 256

// classes is the class of every rune, in two steps. Runes of the pages that are not there are other.
type classes struct {
	first [utf8.RuneSelf]uint8 // the classes of ASCII
	index [(unicode.MaxRune + 1) / pageSize]uint16
	pages [][pageSize]uint8 // pages[0] is of the runes that are not assigned
}

func newClasses() *classes {
	c := &classes{pages: make([][pageSize]uint8, 1)}
	for _, t := range []struct {
		class  uint8
		tables []*unicode.RangeTable
	}{
		{upper, []*unicode.RangeTable{unicode.Lu, unicode.Lt}},
		{lower, []*unicode.RangeTable{unicode.Ll}},
		{letter, []*unicode.RangeTable{unicode.Lm, unicode.Lo}},
		{mark, []*unicode.RangeTable{unicode.M}},
		{number, []*unicode.RangeTable{unicode.N}},
		{space, []*unicode.RangeTable{unicode.White_Space}},
	} {
		for _, table := range t.tables {
			for _, r := range table.R16 {
				c.set(rune(r.Lo), rune(r.Hi), rune(r.Stride), t.class)
			}
			for _, r := range table.R32 {
				c.set(rune(r.Lo), rune(r.Hi), rune(r.Stride), t.class)
			}
		}
	}
	c.set('\n', '\r', '\r'-'\n', newline)
	copy(c.first[:], c.pages[c.index[0]][:])
	return c
}

func (c *classes) set(lo, hi, stride rune, class uint8) {
	for r := lo; r <= hi; r += stride {
		page := &c.index[r/pageSize]
		if *page == 0 {
			*page = uint16(len(c.pages))
			c.pages = append(c.pages, [pageSize]uint8{})
		}
		c.pages[*page][r%pageSize] = class
	}
}

// at is the class of the rune at i, and how many bytes it has.
func (c *classes) at(text []byte, i int) (class uint8, width int) {
	if i < len(text) && text[i] < utf8.RuneSelf {
		return c.first[text[i]], 1
	}
	return c.wide(text, i)
}

func (c *classes) wide(text []byte, i int) (class uint8, width int) {
	if i >= len(text) {
		return nothing, 0
	}
	r, width := utf8.DecodeRune(text[i:])
	return c.pages[c.index[r/pageSize]][r%pageSize], width
}
