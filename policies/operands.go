package policies

// operands follows the types on the stack while a function's code is read: what WebAssembly's validation does, reduced to
// what tells of which type the operands of a select are. It accepts any code, because the compiler validates the module
// afterwards: a type that it cannot know, of code that is never reached or not valid, is 0.
type operands struct {
	l      *layout
	locals []byte // types, parameters first
	stack  []byte
	blocks []frame
}

// frame is an enclosing block: how high the stack was where it began, and its signature.
type frame struct {
	height int
	functionType
}

// newOperands begins at the start of a body of type t; groups are its declarations of locals, which readLocals has checked.
func (l *layout) newOperands(groups []byte, n, t int) *operands {
	o := &operands{l: l, locals: append([]byte(nil), l.types[t].params...)}
	for r := (&reader{b: groups}); n > 0; n-- {
		count, local := r.u32(), r.valueType()
		for range count {
			o.locals = append(o.locals, local)
		}
	}
	o.blocks = append(o.blocks, frame{functionType: l.types[t]})
	return o
}

// top is the type of the n-th value from the top of the stack; 0 is the top.
func (o *operands) top(n int) byte {
	if at := len(o.stack) - 1 - n; len(o.blocks) > 0 && at >= o.blocks[len(o.blocks)-1].height {
		return o.stack[at]
	}
	return 0
}

func (o *operands) pop(n int) {
	bottom := 0
	if len(o.blocks) > 0 {
		bottom = o.blocks[len(o.blocks)-1].height
	}
	o.stack = o.stack[:max(len(o.stack)-n, bottom)]
}

func (o *operands) push(types ...byte) { o.stack = append(o.stack, types...) }

// step does to the stack what the operation does.
func (o *operands) step(in instruction) {
	switch op := in.op; {
	case op == opUnreachable, op == opBr, op == opBrTable, op == opReturn:
		o.pop(len(o.stack))
	case op == opBlock, op == opLoop:
		o.enter(in.raw[1:])
	case op == opIf:
		o.pop(1)
		o.enter(in.raw[1:])
	case op == opElse:
		o.pop(len(o.stack))
		o.push(o.blocks[len(o.blocks)-1].params...)
	case op == opEnd:
		o.pop(len(o.stack))
		results := o.blocks[len(o.blocks)-1].results
		if o.blocks = o.blocks[:len(o.blocks)-1]; len(o.blocks) > 0 {
			o.push(results...)
		}
	case op == opCall:
		o.call(o.l.typeOf(in.index))
	case op == opCallIndirect:
		o.pop(1)
		o.call(o.l.typeAt(in.raw[1:]))
	case op == opSelect, op == opSelectTyped:
		result := o.chosen(in)
		o.pop(3)
		o.push(result)
	case op == opLocalGet:
		o.push(o.locals[in.index])
	case op == opGlobalGet:
		o.push(o.l.globals[in.index])
	default:
		taken, result := in.effect()
		o.pop(taken)
		if result != 0 {
			o.push(result)
		}
	}
}

// enter begins a block of the type that stands in the code.
func (o *operands) enter(raw []byte) {
	var signature functionType
	switch first := raw[0]; {
	case first == typeEmpty:
	case first > typeEmpty && first < 0x80:
		signature.results = raw[:1]
	default:
		signature = o.l.typeAt(raw)
	}
	o.pop(len(signature.params))
	o.blocks = append(o.blocks, frame{len(o.stack), signature})
	o.push(signature.params...)
}

func (o *operands) call(signature functionType) {
	o.pop(len(signature.params))
	o.push(signature.results...)
}

// chosen tells of which type the values are that a select chooses from; 0 if it is none, or that is not known.
func (o *operands) chosen(in instruction) byte {
	switch in.op {
	case opSelect:
		return max(o.top(1), o.top(2))
	case opSelectTyped:
		return in.raw[len(in.raw)-1]
	}
	return 0
}

// effect tells how many values an operation takes that does the same everywhere, and the type of the one that it leaves, 0
// if it leaves none or what it took.
func (in instruction) effect() (taken int, result byte) {
	switch op := in.op; {
	case op == opDrop, op == opBrIf, op == opLocalSet, op == opGlobalSet:
		return 1, 0
	case op > opI64Load32U && op < opMemorySize, op == opTableSet: // stores
		return 2, 0
	case op == opRefNull, op == opRefFunc:
		return 0, typeFunction
	case op == opMemorySize:
		return 0, typeI32
	case op >= opI32Const && op <= opF64Const:
		return 0, typeI32 - (op - opI32Const)
	case op == opTableGet:
		return 1, typeFunction
	case op == opPrefix:
		return in.prefixedEffect()
	case op >= opI32Eq && op < opI64Eqz, op >= opI64Eq && op <= opF64Ge, op >= opI32Add && op < opI64Clz:
		return 2, typeI32
	case op >= opI64Add && op < opF32Abs:
		return 2, typeI64
	case op >= opF32Add && op < opF64Abs:
		return 2, typeF32
	case op >= opF64Add && op < opI32Wrap:
		return 2, typeF64
	case op == opI32Load, op > opF64Load && op < opI64Load8S, op == opMemoryGrow, op == opI32Eqz, op == opI64Eqz, op > opF64Ge && op < opI32Add,
		op >= opI32Wrap && op <= opI32TruncF64U, op == opI32Reinterpret, op == opI32Extend8S, op == opI32Extend16S, op == opRefIsNull:
		return 1, typeI32
	case op == opI64Load, op >= opI64Load8S && op <= opI64Load32U, op >= opI64Clz && op < opI64Add, op > opI32TruncF64U && op <= opI64TruncF64U,
		op == opI64Reinterpret, op > opI32Extend16S && op <= opI64Extend32S:
		return 1, typeI64
	case op == opF32Load, op >= opF32Abs && op < opF32Add, op > opI64TruncF64U && op <= opF32Demote, op == opF32Reinterpret:
		return 1, typeF32
	case op == opF64Load, op >= opF64Abs && op < opF64Add, op > opF32Demote && op <= opF64Promote, op == opF64Reinterpret:
		return 1, typeF64
	}
	return 0, 0
}

// prefixedEffect is effect for the operations that begin with 0xFC.
func (in instruction) prefixedEffect() (taken int, result byte) {
	switch sub := in.sub; {
	case sub <= subI32TruncSatLast:
		return 1, typeI32
	case sub <= subTruncSatLast:
		return 1, typeI64
	case sub == subDataDrop, sub == subElemDrop:
		return 0, 0
	case sub == subTableGrow:
		return 2, typeI32
	case sub == subTableSize:
		return 0, typeI32
	}
	return 3, 0
}
