package envelope

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"unicode/utf8"
)

// AppendPrompt appends the text of the last user message, or as much of it as fits into limit bytes: cut between
// characters. Body is what the envelope was read from.
func (e *Envelope) AppendPrompt(dst, body []byte, limit int) []byte {
	return appendText(dst, body[e.prompt.off:e.prompt.end], limit)
}

// HasThinking says that the request has thinking of earlier turns in it that some model may have signed.
func (e *Envelope) HasThinking() bool { return e.thinking }

// MayHold tells whether any object of the request may have a member of that name; false is certain.
func (e *Envelope) MayHold(name string) bool { return e.widths>>min(len(name), 63)&1 > 0 }

// Opening is the beginning of the conversation as it was sent, up to its first user message: every later turn repeats it. later
// tells that the request is such a turn. Body is what the envelope was read from.
func (e *Envelope) Opening(body []byte) (opening []byte, later bool) {
	return body[e.opening.off:e.opening.end], e.later
}

// appendText appends the meaning of a string's raw contents.
func appendText(dst, raw []byte, limit int) []byte {
	start, cut := len(dst), 0
	for n := 0; n < limit && cut < len(raw); n++ { // each step is a byte of the meaning, or an escape of one or more
		cut += escapeLen(raw[cut:])
	}
	for cut < len(raw) && !utf8.RuneStart(raw[cut]) {
		cut++
	}
	dst = unescape(dst, raw[:cut])
	if len(dst)-start <= limit {
		return dst
	}
	end := start + limit
	for end > start && !utf8.RuneStart(dst[end]) {
		end--
	}
	return dst[:end]
}

// escapeLen is the length of the escape at the beginning of b, both halves of a surrogate pair, or 1 if there is none.
func escapeLen(b []byte) int {
	switch {
	case b[0] != '\\':
		return 1
	case b[1] != 'u':
		return 2
	case b[2]|0x20 == 'd' && b[3] >= '8':
		return 12
	default:
		return 6
	}
}

// AppendMetadata appends what the request says about itself as "key=value\n" lines, sorted: user, and the members of
// metadata that are strings, as "metadata.KEY". Line breaks in values become spaces, and members whose names hold a line
// break or an equals sign are left out, as are lines beyond limit bytes.
func (e *Envelope) AppendMetadata(dst, body []byte, limit int) []byte {
	start := len(dst)
	line := func(key string, value []byte) {
		if len(dst)-start+len(key)+len(value)+2 > limit || bytes.ContainsAny([]byte(key), "=\r\n") {
			return
		}
		dst = append(append(dst, key...), '=')
		for _, c := range value {
			if c == '\n' || c == '\r' {
				c = ' '
			}
			dst = append(dst, c)
		}
		dst = append(dst, '\n')
	}
	var notes map[string]json.RawMessage
	if e.notes.end > 0 && json.Unmarshal(body[e.notes.off:e.notes.end], &notes) == nil {
		for _, key := range slices.Sorted(maps.Keys(notes)) {
			if v := notes[key]; len(v) > 1 && v[0] == '"' {
				line("metadata."+key, appendText(nil, v[1:len(v)-1], limit))
			}
		}
	}
	if e.user.end > e.user.off {
		line("user", appendText(nil, body[e.user.off:e.user.end], limit))
	}
	return dst
}
