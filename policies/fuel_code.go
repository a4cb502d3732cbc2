package policies

import (
	"encoding/binary"
	"fmt"
)

// cost is what a function pays: costs[0] at its entry, costs[n] at the head of its n-th loop.
type cost struct {
	costs    []int64
	calls    bool // it calls others, so it counts in the depth
	branches int  // entries of its branch tables
	blocks   int
	bulks    int  // operations that pay by length
	floats   bool // it computes floats, or may choose from them
}

// work estimates what compiling the function takes, which grows with the square of its blocks, and most of those that
// may trap.
func (c cost) work() int {
	traps := len(c.costs) + 2*c.bulks
	return traps*traps + c.blocks*c.blocks/8
}

// meterCode rewrites every function of the code section.
func (l *layout) meterCode(body []byte) ([]byte, error) {
	r := &reader{b: body}
	if n := r.count(); n != len(l.functions) {
		return nil, refused("%d functions with %d bodies", len(l.functions), n)
	}
	out := binary.AppendUvarint(make([]byte, 0, len(body)+len(body)/4), uint64(len(l.functions))+1)
	branches, work := 0, 0
	var function []byte
	for i, t := range l.functions {
		code := r.bytes(r.u32())
		c, err := l.measure(code, t)
		if err == nil {
			if branches += c.branches; branches > maxBranches {
				err = refused("branch tables of more than %d entries", maxBranches)
			}
			if work += c.work(); work > maxWork {
				err = refused("too many loops, blocks and bulk operations in one function or in all")
			}
		}
		if err != nil {
			return nil, fmt.Errorf("function %d: %w", len(l.imported)+i, err)
		}
		if r.err != nil {
			return nil, r.err
		}
		function = l.rewrite(function[:0], code, t, c)
		out = binary.AppendUvarint(out, uint64(len(function)))
		out = append(out, function...)
	}
	function = l.refuel()
	return append(binary.AppendUvarint(out, uint64(len(function))), function...), r.err
}

// readLocals reads the declarations at the start of a body: how many groups, how many locals with the parameters, and
// where the groups begin.
func (l *layout) readLocals(r *reader, t int) (groups, locals, start int) {
	groups = r.count()
	start = r.at
	total := uint64(len(l.types[t].params))
	for range groups {
		total += uint64(r.u32())
		r.valueType()
		if total > maxLocals {
			r.fail("more than %d locals", maxLocals)
		}
	}
	return groups, int(min(total, maxLocals)), start
}

// measure finds what a function costs and refuses one that is too large, or that names locals, globals or labels which it
// does not have: the rewritten function has more of each.
func (l *layout) measure(code []byte, t int) (cost, error) {
	r := &reader{b: code}
	if len(code) > maxBody {
		r.fail("a body of %d bytes, more than %d", len(code), maxBody)
	}
	_, locals, _ := l.readLocals(r, t)
	c := cost{costs: []int64{int64(locals) / 4}}
	paying := []int{0}          // the part of each enclosing loop, innermost last
	blocks := []bool{false}[:0] // each enclosing block: is it a loop?
	for r.more() {
		in := r.next()
		if _, ok := in.arithmetic(); ok || in.op == opSelect || in.op == opSelectTyped {
			c.floats = true
		}
		part := paying[len(paying)-1]
		c.costs[part] += 1 + in.charge()
		switch in.op {
		case opBlock, opIf, opLoop:
			if len(blocks) >= maxNesting {
				r.fail("more than %d nested blocks", maxNesting)
			}
			c.blocks++
			blocks = append(blocks, in.op == opLoop)
			if in.op == opLoop {
				paying = append(paying, len(c.costs))
				c.costs = append(c.costs, 0)
			}
		case opEnd:
			if len(blocks) == 0 {
				if r.more() {
					r.fail("code after the end of the function")
				}
				return c, r.err
			}
			if blocks[len(blocks)-1] {
				paying = paying[:len(paying)-1]
			}
			blocks = blocks[:len(blocks)-1]
		case opBr, opBrIf, opBrTable:
			c.branches += int(in.size)
			if int64(in.index) > int64(len(blocks)) {
				r.fail("a branch out of %d blocks of %d", in.index, len(blocks))
			}
		case opCall, opCallIndirect:
			c.calls = true
			if in.op == opCall && !l.hasFunction(in.index) {
				r.fail("a call of function %d of %d", in.index, len(l.imported)+len(l.functions))
			}
		case opRefFunc:
			if !l.hasFunction(in.index) {
				r.fail("function %d of %d", in.index, len(l.imported)+len(l.functions))
			}
		case opLocalGet, opLocalSet, opLocalTee:
			if int64(in.index) >= int64(locals) {
				r.fail("local %d of %d", in.index, locals)
			}
		case opGlobalGet, opGlobalSet:
			if int64(in.index) >= int64(len(l.globals)) {
				r.fail("global %d of %d", in.index, len(l.globals))
			}
		case opMemoryGrow, opPrefix:
			if _, ok := in.bulk(); ok {
				c.bulks++
			}
		}
	}
	r.fail("a function without an end")
	return c, r.err
}

// frameWeight bounds what a call takes of the stack: locals and what the compiler may keep of intermediate results.
func frameWeight(locals int, code []byte) int64 {
	return 1 + int64(locals)/16 + int64(len(code))/1024
}

// rewriter writes one metered function.
type rewriter struct {
	out                  []byte
	fuel, depth, reserve uint64 // globals
	more                 uint64 // function that refuels
	left                 uint64 // i64 local that holds the fuel left
	number               uint64 // i32 local that holds a length or a depth
	f32, f64             uint64 // locals that hold a result
}

func (l *layout) rewriter() *rewriter {
	first := uint64(len(l.globals))
	return &rewriter{fuel: first, depth: first + 1, reserve: first + 2, more: uint64(len(l.imported) + len(l.functions))}
}

// rewrite appends the metered body of a function that measure accepted.
//
// A function that calls others becomes one block with its results: a branch out of the function then leads to the end of
// that block, where the depth is taken back, and a return is such a branch.
func (l *layout) rewrite(out, code []byte, t int, c cost) []byte {
	r := &reader{b: code}
	groups, locals, start := l.readLocals(r, t)
	w, own := l.rewriter(), uint64(2)
	w.left, w.number, w.f32, w.f64 = uint64(locals), uint64(locals)+1, uint64(locals)+2, uint64(locals)+3
	if c.floats {
		own = 4
	}
	w.out = binary.AppendUvarint(out, uint64(groups)+own)
	w.out = append(w.out, code[start:r.at]...)
	types := l.newOperands(code[start:r.at], groups, t)
	w.out = append(w.out, []byte{1, typeI64, 1, typeI32, 1, typeF32, 1, typeF64}[:2*own]...)

	weight := frameWeight(locals, code)
	w.payFixed(c.costs[0])
	if c.calls {
		w.enter(weight)
		w.out = append(append(w.out, opBlock), l.blockType(t)...)
	}
	loops, depth := 0, 0
	result := byte(0) // type of the float that the operation before computed
	for r.more() {
		in := r.next()
		if result != 0 && !in.blind() && !(in.pushes() && r.peek().blindToBoth()) {
			w.canonical(result)
		}
		result, _ = in.arithmetic()
		chosen := types.chosen(in)
		types.step(in)
		switch in.op {
		case opReturn:
			if c.calls {
				w.index(opBr, uint64(depth))
				continue
			}
		case opBlock, opIf:
			depth++
		case opEnd:
			depth--
		case opLoop:
			depth++
			loops++
			w.out = append(w.out, in.raw...)
			w.payFixed(c.costs[loops])
			continue
		case opSelect, opSelectTyped:
			if chosen == typeF32 || chosen == typeF64 {
				w.choose(chosen)
				continue
			}
		}
		if shift, ok := in.bulk(); ok {
			w.payLength(shift)
		}
		w.out = append(w.out, in.raw...)
		// wazero 1.12 on amd64 turns a branch on 0 < (x & y) into one on (x & y) < 0, and so with <=, > and >=. It does not
		// recognize the second operand behind an operation that changes nothing.
		switch in.op {
		case opI32And:
			w.out = append(w.out, opI32Const, 0, opI32Or)
		case opI64And:
			w.out = append(w.out, opI64Const, 0, opI64Or)
		}
	}
	if c.calls {
		w.leave(weight)
		w.out = append(w.out, opEnd)
	}
	return w.out
}

func (w *rewriter) index(op byte, i uint64) {
	w.out = binary.AppendUvarint(append(w.out, op), i)
}

// payFixed takes a known cost.
func (w *rewriter) payFixed(cost int64) {
	w.index(opGlobalGet, w.fuel)
	w.out = appendSigned(append(w.out, opI64Const), cost)
	w.settle()
}

// payLength takes a cost that is the number on top of the stack, shifted right, or left if the shift is negative; the number
// stays there.
func (w *rewriter) payLength(shift int64) {
	op := byte(opI64ShrU)
	if shift < 0 {
		op, shift = opI64Shl, -shift
	}
	w.index(opLocalTee, w.number)
	w.index(opGlobalGet, w.fuel)
	w.index(opLocalGet, w.number)
	w.out = appendSigned(append(w.out, opI64ExtendU, opI64Const), shift)
	w.out = append(w.out, op)
	w.settle()
	if shift == bytesShift {
		w.index(opLocalGet, w.number)
		w.out = appendSigned(append(w.out, opI32Const), maxBulk)
		w.out = append(w.out, opI32GtU, opIf, typeEmpty, opUnreachable, opEnd)
	}
}

// settle subtracts the cost on the stack from the fuel below it, stores what is left, and asks for more if that is below
// zero.
func (w *rewriter) settle() {
	w.out = append(w.out, opI64Sub)
	w.index(opLocalTee, w.left)
	w.index(opGlobalSet, w.fuel)
	w.index(opLocalGet, w.left)
	w.out = append(w.out, opI64Const, 0, opI64LtS, opIf, typeEmpty)
	w.index(opCall, w.more)
	w.out = append(w.out, opEnd)
}

// refuel is the body of the function that moves slices from the reserve to the fuel until that is no longer below zero, and
// traps when there is none. Growing the memory by nothing leads through the host, where Go can stop the goroutine.
func (l *layout) refuel() []byte {
	w := l.rewriter()
	w.out = append(w.out, 1, 1, typeI64) // local 0: what is moved
	w.out = append(w.out, opLoop, typeEmpty)
	w.index(opGlobalGet, w.reserve)
	w.out = append(w.out, opI64Const, 0, opI64LeS, opIf, typeEmpty, opUnreachable, opEnd)
	w.index(opGlobalGet, w.reserve) // the lesser of the reserve and a slice
	w.out = appendSigned(append(w.out, opI64Const), slice)
	w.index(opGlobalGet, w.reserve)
	w.out = appendSigned(append(w.out, opI64Const), slice)
	w.out = append(w.out, opI64LtS, opSelect)
	w.index(opLocalSet, 0)
	w.index(opGlobalGet, w.reserve)
	w.index(opLocalGet, 0)
	w.out = append(w.out, opI64Sub)
	w.index(opGlobalSet, w.reserve)
	w.index(opGlobalGet, w.fuel)
	w.index(opLocalGet, 0)
	w.out = append(w.out, opI64Add)
	w.index(opGlobalSet, w.fuel)
	w.index(opGlobalGet, w.fuel)
	w.out = append(w.out, opI64Const, 0, opI64LtS, opBrIf, 0, opEnd)
	return append(w.out, opI32Const, 0, opMemoryGrow, 0, opDrop, opEnd)
}

// canonical replaces the float on top of the stack, if it is not a number, by the one with a plus sign and no payload.
// WebAssembly lets each processor choose those bits (amd64 sets the sign, arm64 does not), and code can look at them. With
// this behind each operation that computes a float, its result is the one of WebAssembly's deterministic profile. It is left
// out where the next operation, or the one after that has got its second operand, takes the float and does not look.
func (w *rewriter) canonical(float byte) {
	own := w.bits(float)
	w.index(opLocalTee, own.local)
	w.out = append(append(w.out, own.toInteger), own.noNumber...)
	w.index(opLocalGet, own.local)
	w.index(opLocalGet, own.local)
	w.out = append(w.out, own.equal, opSelect, own.fromInteger)
}

// choose is a select between floats, made between their bits: the compiler of wazero 1.12 for amd64 may choose garbage
// instead of the second operand when it has to load the first from the stack.
func (w *rewriter) choose(float byte) {
	own := w.bits(float)
	w.index(opLocalSet, w.number)
	w.index(opLocalSet, own.local)
	w.out = append(w.out, own.toInteger)
	w.index(opLocalGet, own.local)
	w.out = append(w.out, own.toInteger)
	w.index(opLocalGet, w.number)
	w.out = append(w.out, opSelect, own.fromInteger)
}

// floatBits is how the bits of a type of floats are reached.
type floatBits struct {
	local                         uint64 // holds a value
	equal, toInteger, fromInteger byte   // operations
	noNumber                      []byte // code of a constant: the bits of what is no number
}

func (w *rewriter) bits(float byte) floatBits {
	if float == typeF64 {
		return floatBits{w.f64, opF64Eq, opI64Reinterpret, opF64Reinterpret, appendSigned([]byte{opI64Const}, 0x7FF8<<48)}
	}
	return floatBits{w.f32, opF32Eq, opI32Reinterpret, opF32Reinterpret, appendSigned([]byte{opI32Const}, 0x7FC0<<16)}
}

// enter adds the weight of a call and traps if all calls under way weigh too much.
func (w *rewriter) enter(weight int64) {
	w.index(opGlobalGet, w.depth)
	w.out = appendSigned(append(w.out, opI32Const), weight)
	w.out = append(w.out, opI32Add)
	w.index(opLocalTee, w.number)
	w.index(opGlobalSet, w.depth)
	w.index(opLocalGet, w.number)
	w.out = appendSigned(append(w.out, opI32Const), maxDepth)
	w.out = append(w.out, opI32GtU, opIf, typeEmpty, opUnreachable, opEnd)
}

// leave takes the weight of a call back.
func (w *rewriter) leave(weight int64) {
	w.index(opGlobalGet, w.depth)
	w.out = appendSigned(append(w.out, opI32Const), weight)
	w.out = append(w.out, opI32Sub)
	w.index(opGlobalSet, w.depth)
}
