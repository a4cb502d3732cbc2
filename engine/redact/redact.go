// Package redact blanks what looks like a key in text on its way out: in the gateway's log, and in what providers say that is
// passed on. It is the last net, below types that do not print and code that does not log: it knows the common beginnings of
// keys, and the values that it is told.
package redact

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"sync/atomic"
)

// least is how long what follows the beginning must be, in bytes, to be taken for a key.
const least = 16

// Bytes returns text with stars for everything of a key but its beginning, byte for byte as long. It returns text itself if
// there is nothing to blank, and never changes it.
func Bytes(text []byte) []byte {
	out := text
	blanked := 0    // up to here
	var ends [2]int // of the latest run of a key's bytes, and of a token's
	for i, c := range text {
		switch c { // most bytes are none of these
		case 's', 'p', 'g', 'h', 'f', 't', 'x', 'n', 'A', 'B', 'b':
		default:
			continue
		}
		n := beginning(text[i:])
		if n == 0 {
			continue
		}
		kind := 0
		if text[i+n-1] == ' ' {
			kind = 1
		}
		if ends[kind] < i+n {
			ends[kind] = i + n + length(text[i+n:], kind == 1)
		}
		from, to := max(i+n, blanked), ends[kind]
		if to-(i+n) < least || to <= blanked {
			continue
		}
		if blanked == 0 {
			out = bytes.Clone(text)
		}
		for j := from; j < to; j++ {
			out[j] = '*'
		}
		blanked = to // and look on inside, for another key may begin there that goes on behind
	}
	return out
}

// String is [Bytes] of a string.
func String(text string) string { return new(Redactor).String(text) }

// Redactor also blanks values that it was told. The zero value was told none. It is safe for concurrent use.
type Redactor struct{ values atomic.Pointer[[][]byte] }

// New returns a redactor for some values. Those under 8 bytes are left out: they would be found in ordinary words.
func New(values ...string) *Redactor {
	r := &Redactor{}
	r.Add(values...)
	return r
}

// Add tells it more values, beside those it knows. Calls of Add must not overlap.
func (r *Redactor) Add(values ...string) {
	known := slices.Clone(r.told())
	add := func(value []byte) {
		if !slices.ContainsFunc(known, func(other []byte) bool { return bytes.Equal(other, value) }) {
			known = append(known, value)
		}
	}
	for _, value := range values {
		if len(value) < 8 {
			continue
		}
		add([]byte(value))
		if escaped, err := json.Marshal(value); err == nil {
			add(escaped[1 : len(escaped)-1])
		}
	}
	r.values.Store(&known)
}

func (r *Redactor) told() [][]byte {
	if values := r.values.Load(); values != nil {
		return *values
	}
	return nil
}

// Bytes is [Bytes], with the values blanked too.
func (r *Redactor) Bytes(text []byte) []byte {
	out := Bytes(text)
	for _, value := range r.told() {
		for from := 0; ; from += len(value) {
			at := bytes.Index(text[from:], value)
			if at < 0 {
				break
			}
			if &out[0] == &text[0] {
				out = bytes.Clone(text)
			}
			from += at
			copy(out[from:], bytes.Repeat([]byte("*"), len(value)))
		}
	}
	return out
}

// String is Bytes of a string.
func (r *Redactor) String(text string) string {
	if out := r.Bytes([]byte(text)); !bytes.Equal(out, []byte(text)) {
		return string(out)
	}
	return text
}

// beginning is the length of the beginning of a key that text begins with, or 0.
func beginning(text []byte) int {
	known := ""
	switch text[0] {
	case 's':
		known = "sk-" // OpenAI, Anthropic, DeepInfra, OpenRouter; our master key
	case 'p':
		known = "pm-" // our virtual keys
	case 'g':
		known = "gsk_" // Groq
	case 'h':
		known = "hf_" // Hugging Face
	case 'f':
		known = "fw_" // Fireworks
	case 't':
		known = "tgp_" // Together
	case 'x':
		known = "xai-"
	case 'n':
		known = "nvapi-"
	case 'A':
		if len(text) < 4 {
			return 0
		}
		switch string(text[:4]) {
		case "AIza", "AKIA", "ASIA": // Google, AWS
			return 4
		}
		return 0
	case 'B', 'b':
		if len(text) > 7 && text[6] == ' ' && bytes.EqualFold(text[:6], []byte("bearer")) {
			return 7
		}
		return 0
	default:
		return 0
	}
	if len(text) > len(known) && text[1] == known[1] && string(text[:len(known)]) == known {
		return len(known)
	}
	return 0
}

// length is how many bytes may belong to a key; a token of HTTP's authentication has some more.
func length(text []byte, token bool) int {
	for i, c := range text {
		switch {
		case c|0x20 >= 'a' && c|0x20 <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		case token && (c == '.' || c == '~' || c == '+' || c == '/' || c == '='):
		default:
			return i
		}
	}
	return len(text)
}

// Writer blanks keys in all that is written through it. A key that is split between two writes is not found: a logger writes
// whole lines.
func (r *Redactor) Writer(w io.Writer) io.Writer { return writer{r, w} }

type writer struct {
	by *Redactor
	to io.Writer
}

// Write writes all of p.
func (w writer) Write(p []byte) (int, error) { return w.to.Write(w.by.Bytes(p)) }
