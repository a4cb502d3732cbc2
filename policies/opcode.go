package policies

// Opcodes that the rewriter treats in a way of their own, those it writes, and those at the ends of ranges that are alike.
const (
	opUnreachable    = 0x00
	opBlock          = 0x02
	opLoop           = 0x03
	opIf             = 0x04
	opElse           = 0x05
	opEnd            = 0x0B
	opBr             = 0x0C
	opBrIf           = 0x0D
	opBrTable        = 0x0E
	opReturn         = 0x0F
	opCall           = 0x10
	opCallIndirect   = 0x11
	opDrop           = 0x1A
	opSelect         = 0x1B
	opSelectTyped    = 0x1C
	opLocalGet       = 0x20
	opLocalSet       = 0x21
	opLocalTee       = 0x22
	opGlobalGet      = 0x23
	opGlobalSet      = 0x24
	opTableGet       = 0x25
	opTableSet       = 0x26
	opI32Load        = 0x28
	opI64Load        = 0x29
	opF32Load        = 0x2A
	opF64Load        = 0x2B
	opI64Load8S      = 0x30
	opI64Load32U     = 0x35
	opMemorySize     = 0x3F
	opMemoryGrow     = 0x40
	opI32Const       = 0x41
	opI64Const       = 0x42
	opF32Const       = 0x43
	opF64Const       = 0x44
	opI32Eqz         = 0x45
	opI32Eq          = 0x46
	opI32GtU         = 0x4B
	opI64Eqz         = 0x50
	opI64Eq          = 0x51
	opI64LtS         = 0x53
	opI64LeS         = 0x57
	opF32Eq          = 0x5B
	opF64Eq          = 0x61
	opF64Ge          = 0x66
	opI32Add         = 0x6A
	opI32Sub         = 0x6B
	opI32DivS        = 0x6D
	opI32RemU        = 0x70
	opI32And         = 0x71
	opI32Or          = 0x72
	opI64Clz         = 0x79
	opI64Add         = 0x7C
	opI64Sub         = 0x7D
	opI64DivS        = 0x7F
	opI64RemU        = 0x82
	opI64And         = 0x83
	opI64Or          = 0x84
	opI64Shl         = 0x86
	opI64ShrU        = 0x88
	opF32Abs         = 0x8B
	opF32Ceil        = 0x8D
	opF32Sqrt        = 0x91
	opF32Add         = 0x92
	opF32Div         = 0x95
	opF32Max         = 0x97
	opF64Abs         = 0x99
	opF64Ceil        = 0x9B
	opF64Sqrt        = 0x9F
	opF64Add         = 0xA0
	opF64Div         = 0xA3
	opF64Max         = 0xA5
	opI32Wrap        = 0xA7
	opI32TruncF32S   = 0xA8
	opI32TruncF64U   = 0xAB
	opI64ExtendU     = 0xAD
	opI64TruncF32S   = 0xAE
	opI64TruncF64U   = 0xB1
	opF32Demote      = 0xB6
	opF64Promote     = 0xBB
	opI32Reinterpret = 0xBC
	opI64Reinterpret = 0xBD
	opF32Reinterpret = 0xBE
	opF64Reinterpret = 0xBF
	opI32Extend8S    = 0xC0
	opI32Extend16S   = 0xC1
	opI64Extend32S   = 0xC4
	opRefNull        = 0xD0
	opRefIsNull      = 0xD1
	opRefFunc        = 0xD2
	opPrefix         = 0xFC

	subI32TruncSatLast = 3
	subTruncSatLast    = 7

	subMemoryInit = 8
	subDataDrop   = 9
	subMemoryCopy = 10
	subMemoryFill = 11
	subTableInit  = 12
	subElemDrop   = 13
	subTableCopy  = 14
	subTableGrow  = 15
	subTableSize  = 16
	subTableFill  = 17

	typeF64   = 0x7C
	typeF32   = 0x7D
	typeI64   = 0x7E
	typeI32   = 0x7F
	typeEmpty = 0x40

	typeFunction = 0x70 // funcref
	typeExternal = 0x6F // externref
)

// instruction is one operation as it stands in the code.
type instruction struct {
	op    byte
	sub   uint32 // of a prefixed operation
	index uint32 // label, function, local or global it names, if it names one
	size  uint32 // entries of a br_table
	raw   []byte
}

// next reads one instruction and refuses what it does not know: only known operations can be metered.
func (r *reader) next() instruction {
	start := r.at
	in := instruction{op: r.byte()}
	switch op := in.op; {
	case op <= 0x01, op == opElse, op == opEnd, op == opReturn, op == opDrop, op == opSelect, op >= opI32Eqz && op <= opI64Extend32S, op == opRefIsNull:
	case op == opBlock, op == opLoop, op == opIf:
		r.blockType()
	case op == opBr, op == opBrIf, op == opCall, op >= opLocalGet && op <= opTableSet, op == opRefFunc:
		in.index = r.u32()
	case op == opBrTable:
		in.size = uint32(r.count()) + 1
		for range in.size {
			in.index = max(in.index, r.u32())
		}
	case op == opCallIndirect:
		r.skipLEB(5)
		r.skipLEB(5)
	case op == opSelectTyped:
		r.valueTypes()
	case op >= opI32Load && op < opMemorySize:
		r.skipLEB(5)
		r.skipLEB(5)
	case op == opMemorySize, op == opMemoryGrow:
		r.zero()
	case op == opI32Const:
		r.skipLEB(5)
	case op == opI64Const:
		r.skipLEB(10)
	case op == opF32Const:
		r.bytes(4)
	case op == opF64Const:
		r.bytes(8)
	case op == opRefNull:
		r.referenceType()
	case op == opPrefix:
		in.sub = r.u32()
		r.prefixed(in.sub)
	default:
		r.fail("operation 0x%02x is not supported (no threads, exceptions, tail calls, SIMD or garbage collection)", op)
	}
	if r.err == nil {
		in.raw = r.b[start:r.at]
	}
	return in
}

// peek reads the next instruction and does not pass over it.
func (r *reader) peek() instruction {
	ahead := *r
	return ahead.next()
}

// prefixed passes over the operands of an operation that begins with 0xFC.
func (r *reader) prefixed(sub uint32) {
	switch sub {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating conversions
	case subMemoryInit:
		r.skipLEB(5)
		r.zero()
	case subMemoryCopy:
		r.zero()
		r.zero()
	case subMemoryFill:
		r.zero()
	case subDataDrop, subElemDrop, subTableGrow, subTableSize, subTableFill:
		r.skipLEB(5)
	case subTableInit, subTableCopy:
		r.skipLEB(5)
		r.skipLEB(5)
	default:
		r.fail("operation 0xfc %d is not supported", sub)
	}
}

// charge is the fuel of an operation beside the unit that each costs.
func (in instruction) charge() int64 {
	switch op := in.op; {
	case op == opCall, op == opCallIndirect:
		return callCharge
	case op >= opI32Load && op <= opI64Load32U:
		return loadCharge
	case op >= opI32DivS && op <= opI32RemU, op >= opI64DivS && op <= opI64RemU, op == opF32Sqrt, op == opF32Div, op == opF64Sqrt, op == opF64Div:
		return divideCharge
	case op == opMemoryGrow:
		return growCharge
	}
	return 0
}

// bulk tells whether the operation works in proportion to the number on top of the stack, and how many of its units cost
// one unit of fuel, as a shift.
func (in instruction) bulk() (shift int64, ok bool) {
	if in.op == opMemoryGrow {
		return pageShift, true
	}
	if in.op != opPrefix {
		return 0, false
	}
	switch in.sub {
	case subMemoryInit, subMemoryCopy, subMemoryFill:
		return bytesShift, true
	case subTableInit, subTableCopy, subTableGrow, subTableFill:
		return 0, true
	}
	return 0, false
}

// arithmetic tells whether the operation computes a float, of which type. If that is not a number, WebAssembly leaves its
// sign and payload to the processor. Operations that only move bits (loads, constants, abs, neg, copysign, reinterpret) are
// exact and not among them.
func (in instruction) arithmetic() (float byte, ok bool) {
	switch op := in.op; {
	case op >= opF32Ceil && op <= opF32Max, op == opF32Demote:
		return typeF32, true
	case op >= opF64Ceil && op <= opF64Max, op == opF64Promote:
		return typeF64, true
	}
	return 0, false
}

// blind tells whether the operation takes a float from the top of the stack and comes to the same whatever the sign and
// payload of one that is not a number: arithmetic, comparisons, conversions to integers.
func (in instruction) blind() bool {
	if _, ok := in.arithmetic(); ok {
		return true
	}
	switch op := in.op; {
	case op >= opF32Eq && op <= opF64Ge, op >= opI32TruncF32S && op <= opI32TruncF64U, op >= opI64TruncF32S && op <= opI64TruncF64U,
		op == opDrop, op == opPrefix && in.sub <= subTruncSatLast:
		return true
	}
	return false
}

// pushes tells whether the operation does nothing but put a value on the stack.
func (in instruction) pushes() bool {
	return in.op == opLocalGet || in.op == opGlobalGet || in.op >= opI32Const && in.op <= opF64Const
}

// blindToBoth tells whether the operation takes two floats and comes to the same whatever the sign and payload of those that
// are not a number.
func (in instruction) blindToBoth() bool {
	switch op := in.op; {
	case op >= opF32Add && op <= opF32Max, op >= opF64Add && op <= opF64Max, op >= opF32Eq && op <= opF64Ge:
		return true
	}
	return false
}
