package policy

import (
	"bytes"
	"strconv"

	"github.com/pointsman/pointsman/sdk/abi"
)

// Explain appends text to the plan's explanation, cut between characters where that gets too long.
func (p *Plan) Explain(text string) {
	room := abi.MaxExplanation - len(p.Explanation)
	if len(text) > room {
		for room > 0 && text[room]&0xC0 == 0x80 {
			room--
		}
		text = text[:room]
	}
	p.Explanation = append(p.Explanation, text...)
}

// ExplainNumber appends a number in decimal.
func (p *Plan) ExplainNumber(n uint64) {
	var digits [20]byte
	if text := strconv.AppendUint(digits[:0], n, 10); len(p.Explanation)+len(text) <= abi.MaxExplanation {
		p.Explanation = append(p.Explanation, text...)
	}
}

// Lookup is the value of a line of key=value among such lines, for [Request.Metadata]; nil if there is none.
func Lookup(lines []byte, key string) []byte {
	for len(lines) > 0 {
		var line []byte
		line, lines, _ = bytes.Cut(lines, []byte("\n"))
		if name, value, ok := bytes.Cut(line, []byte("=")); ok && string(name) == key {
			return value
		}
	}
	return nil
}
