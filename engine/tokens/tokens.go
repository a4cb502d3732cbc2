// Package tokens counts the tokens of texts: exactly for OpenAI's vocabularies, which it has on board, and by a calibrated
// estimate for the other families of models, see [Family].
//
// The vocabularies are OpenAI's, as published with tiktoken under the MIT licence.
package tokens

import "sync"

//go:generate go run -C ../../tools/vocabulary . ../../engine/tokens

// Vocabulary is one of those that texts can be tokenized with offline.
type Vocabulary uint8

// The vocabularies.
const (
	O200k  Vocabulary = iota // o200k_base: gpt-4o and what came after it
	CL100k                   // cl100k_base: gpt-4, gpt-3.5, text-embedding-3
)

// Counter counts. It is safe for concurrent use and allocates nothing once it is warm. Its vocabularies are unpacked when
// they are first needed.
type Counter struct {
	once         sync.Once
	classes      *classes
	vocabularies [2]vocabulary
	merges       sync.Pool // of *merge
}

// New returns a Counter.
func New() *Counter {
	return &Counter{merges: sync.Pool{New: func() any { return new(merge) }}}
}

// Count is how many tokens a text has, without whatever a model puts around it. What looks like a special token counts as
// the text it is. Bytes that are not UTF-8 count as symbols.
func (c *Counter) Count(with Vocabulary, text []byte) int {
	var sums [writings]int64
	c.tally(with, text, &sums)
	return int(sums[plain] + sums[eastAsian] + sums[elsewise])
}

// tally adds the tokens of a text, by what they are written in.
func (c *Counter) tally(with Vocabulary, text []byte, sums *[writings]int64) {
	v, cut := c.load(with)
	for i := 0; i < len(text); {
		end := cut(c.classes, text, i)
		piece := text[i:end]
		sums[writing(piece)] += int64(v.count(piece, c))
		i = end
	}
}

// load unpacks a vocabulary, once, and returns it with how it cuts texts into pieces.
func (c *Counter) load(with Vocabulary) (*vocabulary, func(*classes, []byte, int) int) {
	c.once.Do(func() { c.classes = newClasses() })
	v := &c.vocabularies[with]
	if with == CL100k {
		v.once.Do(func() { v.unpack(cl100kBase) })
		return v, (*classes).cl100k
	}
	v.once.Do(func() { v.unpack(o200kBase) })
	return v, (*classes).o200k
}
