package envelope

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// AppendCanonical appends the request's members to dst in the order of their keys, each as it was written and with its length
// before it, but those named in without. Two requests that mean different things never have the same form; two that differ in
// the order of their members, or in the space between those, do. body must be the bytes e was parsed from.
func (e *Envelope) AppendCanonical(dst, body []byte, without []string) []byte {
	var room [48]int
	order := room[:0]
	for i := range e.members {
		order = append(order, i)
	}
	key := func(i int) []byte { return body[e.members[i].off+1 : e.members[i].keyEnd-1] }
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(bytes.Compare(key(a), key(b)), cmp.Compare(a, b)) })
	for _, i := range order {
		if slices.ContainsFunc(without, func(name string) bool { return keyIs(key(i), name) }) {
			continue
		}
		for _, part := range [...][]byte{key(i), body[e.members[i].val:e.members[i].end]} {
			dst = append(binary.AppendUvarint(dst, uint64(len(part))), part...)
		}
	}
	return dst
}

// Value is the raw value of a top-level member, nil if the request does not have it. body must be the bytes e was parsed from.
func (e *Envelope) Value(body []byte, name string) []byte {
	for i := range e.members {
		if m := &e.members[i]; keyIs(body[m.off+1:m.keyEnd-1], name) {
			return body[m.val:m.end]
		}
	}
	return nil
}
