package envelope

import (
	"math"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Edits says how a request changes on its way to a provider. The zero value only removes what is the gateway's own.
type Edits struct {
	Model          string   // the name to send; "" leaves the client's
	IncludeUsage   bool     // set stream_options.include_usage, keeping the other stream options
	MaxTokensField string   // the name the provider wants for the output limit; "" leaves the client's
	MaxTokens      uint32   // the output limit to send, under MaxTokensField or the form's own name; 0 leaves the client's
	Drop           []string // top-level members to remove; what an edit above sets is then added anew
	Set            []Member // top-level members to write, in place of the client's of the same names
}

// Member is a top-level member to write.
type Member struct {
	Name  string
	Value string // JSON, written as it is
}

// Given appends to dst those of names that the request has as top-level members for the provider. One that is null counts as
// absent. body
// must be the bytes e was parsed from.
func (e *Envelope) Given(dst []string, body []byte, names []string) []string {
	for _, name := range names {
		for i := range e.members {
			m := &e.members[i]
			if m.field != fieldRouting && body[m.val] != 'n' && keyIs(body[m.off+1:m.keyEnd-1], name) {
				dst = append(dst, name)
			}
		}
	}
	return dst
}

// Parts are a request body in pieces, which follow one another. Those of the client's body that stay the same are in its own memory.
type Parts [3][]byte

// Whole is the body in one piece, which is made if there are several.
func (p Parts) Whole() []byte {
	if len(p[1])+len(p[2]) == 0 {
		return p[0]
	}
	return slices.Concat(p[:]...)
}

// leastKept is the smallest piece of a body that is left where it is, in bytes: a smaller one is copied in less time than a further piece takes to send.
const leastKept = 16 << 10

// Edit is the request body with the edits made and the gateway's own members removed (power_level, pointsman, and of conversations provider and models); everything else
// is the client's, byte for byte. body must be the bytes e was parsed from. What is written and copied is appended to dst, which must not overlap body; Edit allocates only
// if dst lacks room, see EditRoom. At most one of max_tokens and max_completion_tokens is left, the one Envelope.MaxTokens came from: a provider might obey the other, and
// write more than was held for.
func (e *Envelope) Edit(dst, body []byte, edits Edits) Parts {
	w := writer{dst: dst, body: body, least: leastKept, e: e, edits: edits}
	w.write()
	return Parts{w.dst[:w.at], w.kept, w.dst[w.at:]}
}

// EditRoom is how many bytes of the body Edit copies at most; what the edits write comes on top of it.
func (e *Envelope) EditRoom(body []byte) int {
	largest := uint32(0)
	for i := range e.members {
		largest = max(largest, e.members[i].end-e.members[i].off)
	}
	if largest < leastKept {
		largest = 0
	}
	return len(body) - int(largest)
}

// Splice appends the same to dst, in one piece.
func (e *Envelope) Splice(dst, body []byte, edits Edits) []byte {
	w := writer{dst: dst, body: body, least: math.MaxInt, e: e, edits: edits}
	w.write()
	return w.dst
}

// drops tells whether the member is left out.
func (e *Envelope) drops(m *member, body []byte, edits Edits) bool {
	switch m.field {
	case fieldPowerLevel, fieldPointsman, fieldRouting:
		return true
	case fieldMaxTokens, fieldMaxCompletionTokens:
		if m.field != e.limit && (e.limit != fieldOther || edits.MaxTokensField != "" || edits.MaxTokens > 0) {
			return true
		}
	}
	key := body[m.off+1 : m.keyEnd-1]
	if edits.MaxTokensField != "" && m.field != e.limit && (e.limit != fieldOther || edits.MaxTokens > 0) && keyIs(key, edits.MaxTokensField) {
		return true // the limit takes this name
	}
	return slices.ContainsFunc(edits.Drop, func(name string) bool { return keyIs(key, name) }) ||
		slices.ContainsFunc(edits.Set, func(set Member) bool { return keyIs(key, set.Name) })
}

// keyIs tells whether the raw key means name.
func keyIs(raw []byte, name string) bool {
	if string(raw) == name {
		return true
	}
	if slices.Contains(raw, '\\') {
		return string(unescape(nil, raw)) == name
	}
	return false
}

// writer copies the body up to edits and writes those.
type writer struct {
	dst, body []byte
	done      uint32 // body is dealt with up to here
	members   int    // written
	e         *Envelope
	edits     Edits

	least int    // a piece of this many bytes is kept, the first one
	kept  []byte // which is this
	at    int    // it belongs at this place of dst

	hasModel, hasUsage, hasLimit bool
}

func (w *writer) write() {
	members := w.e.members
	if len(members) == 0 {
		w.copyTo(uint32(len(w.body)))
		return
	}
	w.copyTo(members[0].off)
	for i := range members {
		m := &members[i]
		if w.e.drops(m, w.body, w.edits) {
			w.remove(i)
			continue
		}
		w.separate(i)
		switch m.field {
		case fieldModel:
			w.model(m)
		case fieldStreamOptions:
			w.streamOptions(m)
		case fieldMaxTokens, fieldMaxCompletionTokens:
			w.limit(m)
		}
		w.copyTo(m.end)
	}
	w.addMissing()
	w.copyTo(uint32(len(w.body)))
}

// copyTo copies the body up to off, or keeps it if it is large.
func (w *writer) copyTo(off uint32) {
	piece := w.body[w.done:off]
	if w.done = off; len(piece) >= w.least {
		w.kept, w.at, w.least = piece, len(w.dst), math.MaxInt
		return
	}
	w.dst = append(w.dst, piece...)
}

// remove skips member i and the separator before it.
func (w *writer) remove(i int) { w.done = w.e.members[i].end }

// separate writes what stands between the member before and member i, or nothing if i is the first one kept.
func (w *writer) separate(i int) {
	if w.members == 0 {
		w.done = w.e.members[i].off
	}
	w.members++
	w.copyTo(w.e.members[i].off)
}

func (w *writer) model(m *member) {
	w.hasModel = true
	if w.edits.Model == "" {
		return
	}
	w.copyTo(m.val)
	w.dst = appendString(w.dst, w.edits.Model)
	w.done = m.end
}

func (w *writer) streamOptions(m *member) {
	w.hasUsage = true
	usage := w.e.usage
	switch {
	case !w.edits.IncludeUsage || w.e.IncludeUsage:
	case w.body[m.val] != '{': // null
		w.copyTo(m.val)
		w.dst = append(w.dst, usageOptions...)
		w.done = m.end
	case usage.end > 0: // false or null
		w.copyTo(usage.off)
		w.dst = append(w.dst, "true"...)
		w.done = usage.end
	default:
		w.copyTo(m.val + 1)
		w.dst = append(w.dst, `"include_usage":true`...)
		if !isEmpty(w.body[m.val:m.end]) {
			w.dst = append(w.dst, ',')
		}
	}
}

// usageOptions are the stream options of a request that has none.
const usageOptions = `{"include_usage":true}`

// isEmpty tells {}, { } and [] from objects and arrays with something in them.
func isEmpty(b []byte) bool {
	for _, c := range b[1 : len(b)-1] {
		if c > ' ' {
			return false
		}
	}
	return true
}

func (w *writer) limit(m *member) {
	w.hasLimit = true
	if w.edits.MaxTokensField != "" {
		w.dst = appendString(w.dst, w.edits.MaxTokensField)
		w.done = m.keyEnd
	}
	if w.edits.MaxTokens > 0 {
		w.copyTo(m.val)
		w.dst = strconv.AppendUint(w.dst, uint64(w.edits.MaxTokens), 10)
		w.done = m.end
	}
}

// addMissing adds the members to be set that the request does not have, after its last one.
func (w *writer) addMissing() {
	if w.edits.Model != "" && !w.hasModel {
		w.add("model")
		w.dst = appendString(w.dst, w.edits.Model)
	}
	if w.edits.IncludeUsage && !w.hasUsage {
		w.add("stream_options")
		w.dst = append(w.dst, usageOptions...)
	}
	if w.edits.MaxTokens > 0 && !w.hasLimit {
		name := w.edits.MaxTokensField
		if name == "" {
			name = w.e.form.limit()
		}
		w.add(name)
		w.dst = strconv.AppendUint(w.dst, uint64(w.edits.MaxTokens), 10)
	}
	for _, set := range w.edits.Set {
		w.add(set.Name)
		w.dst = append(w.dst, set.Value...)
	}
}

func (w *writer) add(name string) {
	if w.members > 0 {
		w.dst = append(w.dst, ',')
	}
	w.members++
	w.dst = append(appendString(w.dst, name), ':')
}

// appendString appends s as a JSON string; what is not UTF-8 in it becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // its only error is the replacement of invalid UTF-8
	return dst
}
