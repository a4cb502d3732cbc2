package scrub

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// piece is a string in one event of a stream, by its place in the body.
type piece struct{ from, to int }

// acrossEvents takes out the secrets that lie in several events: what the strings at the same place of each event make up together.
func (r *Redactor) acrossEvents(body []byte) []byte {
	texts := map[jsontext.Pointer][]piece{}
	at := 0
	for line := range bytes.Lines(body) {
		if data, is := bytes.CutPrefix(line, []byte("data:")); is {
			for place, p := range stringsOf(data) {
				from := at + len(line) - len(data)
				texts[place] = append(texts[place], piece{from + p.from, from + p.to})
			}
		}
		at += len(line)
	}
	var cuts []cut
	for _, pieces := range texts {
		cuts = r.cuts(cuts, body, pieces)
	}
	slices.SortFunc(cuts, func(a, b cut) int { return cmp.Compare(a.from, b.from) })
	var out []byte
	kept := 0
	for _, c := range cuts {
		out = append(append(out, body[kept:c.from]...), c.put...)
		kept = c.to
	}
	return append(out, body[kept:]...)
}

// stringsOf are the strings that are values in a JSON text, by where they are in it, as far as it can be read.
func stringsOf(text []byte) map[jsontext.Pointer]piece {
	found := map[jsontext.Pointer]piece{}
	d := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		if d.PeekKind() != '"' {
			if _, err := d.ReadToken(); err != nil {
				return found
			}
			continue
		}
		in, n := d.StackIndex(d.StackDepth())
		raw, err := d.ReadValue()
		if err != nil {
			return found
		}
		if name := in == '{' && n%2 == 0; !name {
			end := int(d.InputOffset())
			found[d.StackPointer()] = piece{end - len(raw) + 1, end - 1}
		}
	}
}

// cut is a range of the body, and what takes its place.
type cut struct {
	piece
	put string
}

// cuts appends what has to go of pieces that are one text.
func (r *Redactor) cuts(cuts []cut, body []byte, pieces []piece) []cut {
	var whole []byte
	for _, p := range pieces {
		whole = append(whole, body[p.from:p.to]...)
	}
	for _, found := range r.secrets.FindAllSubmatchIndex(whole, -1) {
		from, to, put := max(found[0], found[3]), found[1], mark
		begin := 0 // of the piece in the whole
		for _, p := range pieces {
			end := begin + p.to - p.from
			if first, last := max(from, begin), min(to, end); first < last {
				cuts = append(cuts, cut{piece{p.from + first - begin, p.from + last - begin}, put})
				put = ""
			}
			begin = end
		}
	}
	return cuts
}
