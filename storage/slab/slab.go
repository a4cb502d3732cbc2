// Package slab keeps millions of small values that live as long as the process: [Values] and [Texts] make them out of few
// allocations, and a [Table] finds them.
//
// The garbage collector goes to each allocation on its own, which is a cache miss or two: with a dozen for each of a million
// accounts that is most of what a collection takes. What lies side by side in a few thousand slices it walks through from end
// to end. The price: a slice is free again once nothing points into it any more, so what is often replaced does not belong here.
package slab

import "strings"

// Sizes of the slices: small at first, so that a few values take no more than they need.
const (
	fewest = 8
	most   = 1024
	texts  = 32 << 10 // bytes
)

// Values makes values of a type. The zero value is ready for use. It is not safe for concurrent use.
type Values[T any] struct {
	free []T
	size int // of the last slice
}

// New returns a zero value.
func (s *Values[T]) New() *T {
	if len(s.free) == 0 {
		s.size = min(max(2*s.size, fewest), most)
		s.free = make([]T, s.size)
	}
	p := &s.free[0]
	s.free = s.free[1:]
	return p
}

// Texts keeps copies of strings one behind the other. The zero value is ready for use. It is not safe for concurrent use.
type Texts struct {
	kept strings.Builder
	size int // of the last piece of memory, in bytes
}

// Copy returns a copy of the text.
func (t *Texts) Copy(text string) string {
	if t.kept.Cap()-t.kept.Len() < len(text) {
		t.size = min(max(2*t.size, 32*fewest), texts)
		t.kept = strings.Builder{}
		t.kept.Grow(max(t.size, len(text)))
	}
	t.kept.WriteString(text)
	return t.kept.String()[t.kept.Len()-len(text):]
}
