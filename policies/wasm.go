package policies

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Section identifiers of the binary format, and the export and import kinds of a function.
const (
	sectionCustom   = 0
	sectionType     = 1
	sectionImport   = 2
	sectionFunction = 3
	sectionTable    = 4
	sectionMemory   = 5
	sectionGlobal   = 6
	sectionExport   = 7
	sectionStart    = 8
	sectionElement  = 9
	sectionCode     = 10
	sectionData     = 11
	sectionCount    = 12

	kindFunction = 0
	kindGlobal   = 3
)

// wasmMagic begins every module: "\0asm" and version 1.
const wasmMagic = "\x00asm\x01\x00\x00\x00"

// reader walks over the binary format. The first error sticks, and everything read after it is zero.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("at byte %d: %w", r.at, refused(format, args...))
		r.at = len(r.b)
	}
}

func (r *reader) more() bool { return r.err == nil && r.at < len(r.b) }

func (r *reader) byte() byte {
	if r.at >= len(r.b) {
		r.fail("the module ends early")
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)-r.at) {
		r.fail("the module ends early")
		return nil
	}
	r.at += int(n)
	return r.b[r.at-int(n) : r.at]
}

func (r *reader) u32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7F) << shift
		if c < 0x80 {
			if v > 0xFFFF_FFFF {
				break
			}
			return uint32(v)
		}
	}
	r.fail("a number does not fit 32 bits")
	return 0
}

// skipLEB passes over a number of at most n bytes whose value does not matter here; the compiler checks it.
func (r *reader) skipLEB(n int) {
	for range n {
		if r.byte() < 0x80 {
			return
		}
	}
	r.fail("a number is too long")
}

// valueType reads a value type of one byte. Types of more bytes are refused wherever a type may stand: the runtime reads
// them whether it supports them or not, and who counts bytes otherwise sees other code than it runs.
func (r *reader) valueType() byte {
	switch t := r.byte(); t {
	case typeI32, typeI64, typeF32, typeF64, typeFunction, typeExternal:
		return t
	default:
		r.fail("a value of type 0x%02x is not supported", t)
		return 0
	}
}

// valueTypes reads a vector of value types.
func (r *reader) valueTypes() []byte {
	n, start := r.count(), r.at
	for range n {
		r.valueType()
	}
	if r.err != nil {
		return nil
	}
	return r.b[start:r.at]
}

// referenceType reads the type of a table's elements, or of a null.
func (r *reader) referenceType() byte {
	t := r.valueType()
	if r.err == nil && t != typeFunction && t != typeExternal {
		r.fail("type 0x%02x where a reference belongs", t)
	}
	return t
}

// blockType passes over the type of a block: nothing, a value type, or the number of a function type. A number that is
// negative, in however many bytes, would be a type again.
func (r *reader) blockType() {
	switch first := r.byte(); {
	case first == typeEmpty, first < typeEmpty:
	case first < 0x80:
		r.at--
		r.valueType()
	default:
		for n := 1; n < 5; n++ {
			if b := r.byte(); b < 0x80 {
				if b >= 0x40 || n == 4 && b > 0x0F {
					r.fail("a block of a type that is no number")
				}
				return
			}
		}
		r.fail("a number is too long")
	}
}

// zero passes over an index that must be 0, in one byte: a module has one memory.
func (r *reader) zero() {
	if r.byte() != 0 {
		r.fail("a second memory is used")
	}
}

// count reads the length of a vector whose elements take at least one byte each.
func (r *reader) count() int {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)-r.at) {
		r.fail("a vector of %d elements in %d bytes", n, len(r.b)-r.at)
		return 0
	}
	return int(n)
}

func (r *reader) name() string { return string(r.bytes(r.u32())) }

// limits reads the bounds of a table or a memory; hasMax tells whether there is an upper one.
func (r *reader) limits() (least, most uint32, hasMax bool) {
	switch flags := r.byte(); flags {
	case 0:
		return r.u32(), 0, false
	case 1:
		return r.u32(), r.u32(), true
	default:
		r.fail("limits of kind %d are not supported", flags)
		return 0, 0, false
	}
}

// section is one part of a module: the bytes between its length and its end.
type section struct {
	id   byte
	body []byte
}

// functionType is a signature; its elements are value types.
type functionType struct{ params, results []byte }

// layout is what the rewriter has to know of a module.
type layout struct {
	sections  []section
	types     []functionType
	imported  []int  // type of each function that is imported; they come first in the index space
	functions []int  // type of each function the module defines
	globals   []byte // type of each
	memories  int
}

// splitSections cuts a module into its sections and refuses those that are unknown, repeated or out of order.
func splitSections(module []byte) ([]section, error) {
	if !bytes.HasPrefix(module, []byte(wasmMagic)) {
		return nil, refused("it is no WebAssembly module of version 1 (a component, perhaps)")
	}
	r := &reader{b: module, at: len(wasmMagic)}
	var sections []section
	last := 0
	for r.more() {
		s := section{id: r.byte()}
		s.body = r.bytes(r.u32())
		if s.id != sectionCustom {
			place := sectionPlace(s.id)
			if place <= last {
				r.fail("section %d is unknown, repeated or out of order", s.id)
			}
			last = place
		}
		sections = append(sections, s)
	}
	return sections, r.err
}

// sectionPlace is where a section belongs, from 1; 0 if it is unknown.
func sectionPlace(id byte) int {
	return 1 + bytes.IndexByte([]byte{
		sectionType, sectionImport, sectionFunction, sectionTable, sectionMemory, sectionGlobal, sectionExport,
		sectionStart, sectionElement, sectionCount, sectionCode, sectionData,
	}, id)
}

func appendSection(out []byte, id byte, body []byte) []byte {
	out = append(out, id)
	out = binary.AppendUvarint(out, uint64(len(body)))
	return append(out, body...)
}

// appendSigned appends a signed LEB128 number.
func appendSigned(out []byte, v int64) []byte {
	for v < -64 || v > 63 {
		out = append(out, byte(v&0x7F)|0x80)
		v >>= 7
	}
	return append(out, byte(v&0x7F))
}
