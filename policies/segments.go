package policies

import "encoding/binary"

// Limits of what a module lists. Who reads a module makes room for a list before it reads the elements: a few bytes that
// claim a long one would take gigabytes.
const (
	maxTypes    = 10_000
	maxImports  = 1_000
	maxExports  = 20_000
	maxSegments = 10_000  // of elements
	maxData     = 100_000 // segments of data; Go's linker makes a small policy of 24,000
	maxElements = 100_000 // of all segments of elements
)

// countTo reads the length of a vector and refuses one that is longer.
func (r *reader) countTo(most int, what string) int {
	n := r.count()
	if n > most {
		r.fail("it has %d %s, more than %d", n, what, most)
		return 0
	}
	return n
}

// expression passes over a constant expression.
func (l *layout) expression(r *reader) {
	for r.err == nil {
		in := r.next()
		if in.op == opGlobalGet && int64(in.index) >= int64(len(l.globals)) {
			r.fail("global %d of %d", in.index, l.globals)
		}
		if in.op == opRefFunc && !l.hasFunction(in.index) {
			r.fail("function %d of %d", in.index, len(l.imported)+len(l.functions))
		}
		if in.op == opEnd {
			return
		}
	}
}

// checkElements reads the segments of elements: the bits of their kind say which fields they have.
func (l *layout) checkElements(r *reader) {
	const passive, explicit, expressions = 1, 2, 4
	all := 0
	for range r.countTo(maxSegments, "segments of elements") {
		kind := r.u32()
		if kind > 7 {
			r.fail("a segment of elements of kind %d", kind)
		}
		if kind&passive == 0 {
			if kind&explicit != 0 {
				r.u32() // table
			}
			l.expression(r)
		}
		if kind&(passive|explicit) != 0 {
			if kind&expressions != 0 {
				r.referenceType()
			} else if what := r.byte(); what != 0 {
				r.fail("elements of kind 0x%02x", what)
			}
		}
		n := r.count()
		if all += n; all > maxElements {
			r.fail("it has more than %d elements", maxElements)
		}
		for range n {
			if r.err != nil {
				return
			}
			if kind&expressions != 0 {
				l.expression(r)
			} else if f := r.u32(); !l.hasFunction(f) {
				r.fail("function %d of %d", f, len(l.imported)+len(l.functions))
			}
		}
	}
}

// checkData reads the segments of data.
func (l *layout) checkData(r *reader) {
	for range r.countTo(maxData, "segments of data") {
		switch kind := r.u32(); kind {
		case 0, 2:
			if kind == 2 {
				r.zero()
			}
			l.expression(r)
		case 1:
		default:
			r.fail("a segment of data of kind %d", kind)
		}
		r.bytes(r.u32())
	}
}

// functionNames is what of a section of names is kept: the functions', which traps are told with. False if there are none.
func functionNames(body []byte) ([]byte, bool) {
	r := &reader{b: body}
	if r.name() != "name" {
		return nil, false
	}
	for r.more() {
		id, names := r.byte(), r.bytes(r.u32())
		if id != 1 {
			continue
		}
		n := &reader{b: names}
		for range n.countTo(maxFunctions+maxImports, "names") {
			n.u32()
			n.name()
		}
		if n.err != nil || n.more() || r.err != nil {
			return nil, false
		}
		out := append([]byte("\x04name\x01"), binary.AppendUvarint(nil, uint64(len(names)))...)
		return append(out, names...), true
	}
	return nil, false
}
