package envelope

import "slices"

// Text is the value of the request's top-level member of that name, "" if it has none or that is no string. body must be the bytes
// e was parsed from.
func (e *Envelope) Text(body []byte, name string) string {
	for i := range e.members {
		m := &e.members[i]
		if body[m.val] != '"' || !keyIs(body[m.off+1:m.keyEnd-1], name) {
			continue
		}
		text := body[m.val+1 : m.end-1]
		if slices.Contains(text, '\\') {
			text = unescape(nil, text)
		}
		return string(text)
	}
	return ""
}
