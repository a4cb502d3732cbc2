package envelope

import "slices"

// Text is the value of the request's last top-level member of that name, if it is a string without escapes. body must be the
// bytes e was parsed from.
func (e *Envelope) Text(body []byte, name string) string {
	for i := range slices.Backward(e.members) {
		m := &e.members[i]
		if !keyIs(body[m.off+1:m.keyEnd-1], name) {
			continue
		}
		v := body[m.val:m.end]
		if len(v) < 2 || v[0] != '"' || slices.Contains(v, '\\') {
			return ""
		}
		return string(v[1 : len(v)-1])
	}
	return ""
}
