package envelope

import "math"

// piece is a part of the prompt: the raw contents of a string, or JSON that is prompt text as it stands.
type piece struct {
	off, end uint32
	escaped  bool
	after    int // the count of text after it
}

// note keeps the string scanned last. Where the count of text was set back, what had been counted is no prompt text.
func (s *scanner) note() {
	s.forget(s.text)
	if s.size > 0 {
		s.pieces = append(s.pieces, piece{uint32(s.off), uint32(s.end), s.escaped, s.text + s.size})
	}
}

// forget drops the pieces beyond a count of text.
func (s *scanner) forget(text int) {
	for n := len(s.pieces); n > 0 && s.pieces[n-1].after > text; n-- {
		s.pieces = s.pieces[:n-1]
	}
}

// sift keeps what a member added to the prompt, of the pieces from mark on: nothing, its strings, or its JSON.
func (p *parser) sift(mark int, m member, counted, strings int) {
	switch counted {
	case 0:
		p.pieces = p.pieces[:mark]
	case strings:
		p.forget(p.text)
	default:
		p.pieces = append(p.pieces[:mark], piece{off: m.val, end: m.end, after: p.text})
	}
}

// EachText calls visit with the prompt's text, piece by piece in the order of the body: strings of messages unescaped, tools
// and schemas as JSON, TextBytes in all. Body is what the envelope was read from; it is read again. A text is valid until
// visit returns. What is returned are the estimated tokens of all else: frames of messages, images, files, audio.
func (e *Envelope) EachText(body []byte, visit func(text []byte)) (otherTokens int) {
	p := parser{
		scanner: scanner{b: body, lim: Limits{MaxDepth: math.MaxInt, MaxNodes: math.MaxInt}, noting: true, names: e.names, scratch: e.scratch},
		e:       &Envelope{form: e.form},
	}
	p.body()
	e.names, e.scratch = p.names[:0], p.scratch[:0]
	var unescaped []byte
	for _, part := range p.pieces {
		raw := body[part.off:part.end]
		if part.escaped {
			unescaped = unescape(unescaped[:0], raw)
			raw = unescaped
		}
		visit(raw)
	}
	return p.besideText()
}
