package policies

// expression writes code that leaves one value of the type on the stack.
func (g *generator) expression(t byte, depth int) {
	g.count()
	if depth <= 0 || len(g.choices) == 0 || len(g.out) > 4000 {
		if g.chance(2) {
			g.index(opLocalGet, g.local(t))
		} else {
			g.constant(t)
		}
		return
	}
	depth--
	switch g.pick(16) {
	case 0:
		g.constant(t)
	case 1:
		g.index(opLocalGet, g.local(t))
	case 2:
		g.index(opGlobalGet, global(t))
	case 3:
		g.expression(t, depth)
		g.index(opLocalTee, g.local(t))
	case 4:
		g.address(depth)
		g.load(t)
	case 5:
		g.expression(typeI32, depth)
		g.block(opIf, []byte{t}, func() {
			g.expression(t, depth)
			g.emit(opElse)
			g.expression(t, depth)
		})
	case 6:
		g.block(opBlock, []byte{t}, func() {
			g.statements(depth)
			g.expression(t, depth)
			g.branch(depth)
		})
	case 7:
		g.expression(t, depth)
		g.expression(t, depth)
		g.expression(typeI32, depth)
		g.emit(opSelect)
	case 8:
		g.call(t, depth)
	case 9:
		g.block(opLoop, []byte{t}, func() {
			g.again(depth)
			g.expression(t, depth)
		})
	case 10:
		g.convert(t, depth)
	case 11:
		g.unary(t, depth)
	default:
		g.binary(t, depth)
	}
}

func (g *generator) load(t byte) {
	ops := map[byte][]byte{
		typeI32: {0x28, 0x2C, 0x2D, 0x2E, 0x2F}, typeI64: {0x29, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35}, typeF32: {0x2A}, typeF64: {0x2B},
	}[t]
	g.emit(ops[g.pick(len(ops))], 0, byte(g.pick(9)))
}

// binary writes an operation on two values of the type, or for i32 a comparison of others.
func (g *generator) binary(t byte, depth int) {
	of, first, count := t, byte(0), 0
	switch t {
	case typeI32:
		switch g.pick(5) {
		case 0:
			of, first, count = typeI64, 0x51, 10
		case 1:
			of, first, count = typeF32, 0x5B, 6
		case 2:
			of, first, count = typeF64, 0x61, 6
		case 3:
			first, count = 0x46, 10
		default:
			first, count = 0x6A, 15
		}
	case typeI64:
		first, count = 0x7C, 15
	case typeF32:
		first, count = opF32Add, 7
	case typeF64:
		first, count = opF64Add, 7
	}
	op := first + byte(g.pick(count))
	g.expression(of, depth)
	g.expression(of, depth)
	if op == opF32Max+1 || op == opF64Max+1 { // copysign
		g.canonicalize(t)
	}
	g.emit(op)
}

func (g *generator) unary(t byte, depth int) {
	ops := map[byte][]byte{
		typeI32: {0x45, 0x67, 0x68, 0x69, 0xC0, 0xC1}, typeI64: {0x79, 0x7A, 0x7B, 0xC2, 0xC3, 0xC4},
		typeF32: {0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x91}, typeF64: {0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F},
	}[t]
	op := ops[g.pick(len(ops))]
	g.expression(t, depth)
	g.emit(op)
}

// convert writes a conversion from another type.
func (g *generator) convert(t byte, depth int) {
	type conversion struct {
		from byte
		code []byte
	}
	all := map[byte][]conversion{
		typeI32: {
			{typeI64, []byte{0xA7}},
			{typeI64, []byte{0x50}},
			{typeF32, []byte{0xBC}},
			{typeF32, []byte{0xA8}},
			{typeF64, []byte{0xAB}},
			{typeF32, []byte{opPrefix, 0}},
			{typeF32, []byte{opPrefix, 1}},
			{typeF64, []byte{opPrefix, 2}},
			{typeF64, []byte{opPrefix, 3}},
		},
		typeI64: {
			{typeI32, []byte{0xAC}},
			{typeI32, []byte{0xAD}},
			{typeF64, []byte{0xBD}},
			{typeF32, []byte{0xAE}},
			{typeF64, []byte{0xB1}},
			{typeF32, []byte{opPrefix, 4}},
			{typeF32, []byte{opPrefix, 5}},
			{typeF64, []byte{opPrefix, 6}},
			{typeF64, []byte{opPrefix, 7}},
		},
		typeF32: {
			{typeI32, []byte{0xB2}}, {typeI32, []byte{0xB3}}, {typeI64, []byte{0xB4}}, {typeI64, []byte{0xB5}}, {typeF64, []byte{0xB6}}, {typeI32, []byte{0xBE}},
		},
		typeF64: {
			{typeI32, []byte{0xB7}}, {typeI32, []byte{0xB8}}, {typeI64, []byte{0xB9}}, {typeI64, []byte{0xBA}}, {typeF32, []byte{0xBB}}, {typeI64, []byte{0xBF}},
		},
	}[t]
	c := all[g.pick(len(all))]
	g.expression(c.from, depth)
	if c.code[0] == 0xBC || c.code[0] == 0xBD { // reinterpret
		g.canonicalize(c.from)
	}
	g.emit(c.code...)
}

// call writes a call of a later function, directly or through the table, whose first result is used if it is of the type.
func (g *generator) call(t byte, depth int) {
	left := len(g.funcs) - g.at - 1
	if left == 0 {
		g.constant(t)
		return
	}
	called := g.at + 1 + g.pick(left)
	typ := g.funcs[called]
	for _, p := range g.types[typ].params {
		g.expression(p, depth)
	}
	switch g.pick(6) {
	case 0: // any function behind this one, so that nothing calls itself: often of another type, which traps
		g.expression(typeI32, 0)
		g.emit(opI32Const, byte(left), 0x70, opI32Const, byte(g.at+1), opI32Add) // i32.rem_u
		g.index(opCallIndirect, typ)
		g.emit(0)
	case 1, 2:
		g.number(byte(called))
		g.index(opCallIndirect, typ)
		g.emit(0)
	default:
		g.index(opCall, called)
	}
	results := g.types[typ].results
	for i := len(results) - 1; i >= 0; i-- {
		g.index(opLocalSet, g.local(results[i]))
	}
	g.index(opLocalGet, g.local(t))
}

// number writes a small constant.
func (g *generator) number(i byte) { g.emit(opI32Const, i) }

// again goes back to the head of the loop around while there are ticks.
func (g *generator) again(depth int) {
	g.statements(depth)
	g.index(opGlobalGet, globalTicks)
	g.emit(opI32Const, 1, opI32Sub)
	g.index(opGlobalSet, globalTicks)
	g.index(opGlobalGet, globalTicks)
	g.emit(opI32Const, 0, 0x4A) // i32.gt_s
	g.expression(typeI32, depth)
	g.emit(0x71, opBrIf, 0)
}

// branch writes a conditional branch to a block around that takes one value of the type on the stack, or none; the stack
// stays as it is.
func (g *generator) branch(depth int) {
	own := g.labels[len(g.labels)-1].results
	var fit []int
	for i, l := range g.labels {
		if len(l.results) == 1 && len(own) == 1 && l.results[0] == own[0] {
			fit = append(fit, len(g.labels)-1-i)
		}
	}
	if len(fit) == 0 {
		return
	}
	target := fit[g.pick(len(fit))]
	g.expression(typeI32, depth)
	g.index(opBrIf, target)
}

// statement writes code that leaves the stack as it is.
func (g *generator) statement(depth int) {
	g.count()
	if depth <= 0 || len(g.choices) == 0 || len(g.out) > 4000 {
		g.emit(0x01)
		return
	}
	depth--
	t := g.valueType()
	switch g.pick(18) {
	case 0, 1:
		g.expression(t, depth)
		g.index(opLocalSet, g.local(t))
	case 2:
		g.expression(t, depth)
		g.index(opGlobalSet, global(t))
	case 3, 4, 5:
		g.address(depth)
		g.expression(t, depth)
		g.canonicalize(t)
		ops := map[byte][]byte{typeI32: {0x36, 0x3A, 0x3B}, typeI64: {0x37, 0x3C, 0x3D, 0x3E}, typeF32: {0x38}, typeF64: {0x39}}[t]
		g.emit(ops[g.pick(len(ops))], 0, byte(g.pick(9)))
	case 6:
		g.expression(typeI32, depth)
		g.block(opIf, nil, func() {
			g.statements(depth)
			if g.chance(2) {
				g.emit(opElse)
				g.statements(depth)
			}
		})
	case 7:
		g.block(opLoop, nil, func() { g.again(depth) })
	case 8:
		g.block(opBlock, nil, func() {
			g.statements(depth)
			g.expression(typeI32, depth)
			g.emit(opBrIf, 0)
			g.statements(depth)
		})
	case 9:
		g.table(depth)
	case 10, 11:
		g.bulk(depth)
	case 12:
		g.call(t, depth)
		g.emit(opDrop)
	case 13:
		g.expression(typeI32, depth)
		g.emit(opI32Const, 1, 0x71, opMemoryGrow, 0, opDrop, 0x3F, 0, opDrop)
	case 14:
		g.tables(depth)
	case 15:
		g.leave(depth)
	default:
		g.expression(t, depth)
		g.emit(opDrop)
	}
}

// table writes a br_table out of three blocks.
func (g *generator) table(depth int) {
	g.block(opBlock, nil, func() {
		g.block(opBlock, nil, func() {
			g.block(opBlock, nil, func() {
				g.expression(typeI32, depth)
				g.emit(opI32Const, 7, 0x71, opBrTable, 3, byte(g.pick(3)), byte(g.pick(3)), byte(g.pick(3)), byte(g.pick(3)))
			})
			g.statements(depth)
		})
		g.statements(depth)
	})
}

func (g *generator) bulk(depth int) {
	g.address(depth)
	switch g.pick(4) {
	case 0:
		g.expression(typeI32, depth)
		g.length(depth)
		g.emit(opPrefix, subMemoryFill, 0)
	case 1:
		g.address(depth)
		g.length(depth)
		g.emit(opPrefix, subMemoryCopy, 0, 0)
	case 2:
		g.number(byte(g.pick(4)))
		g.number(byte(g.pick(20)))
		g.emit(opPrefix, subMemoryInit, 1, 0)
	case 3:
		g.emit(opDrop, opPrefix, 9, byte(g.pick(2))) // data.drop
	}
}

// tables writes operations on the table that leave what is called through it, but for entries at the end.
func (g *generator) tables(depth int) {
	switch g.pick(4) {
	case 0:
		g.emit(opI32Const, 10, 0xD0, 0x70)
		g.expression(typeI32, depth)
		g.emit(opI32Const, 3, 0x71, opPrefix, subTableFill, 0)
	case 1:
		g.emit(0xD0, 0x70)
		g.expression(typeI32, depth)
		g.emit(opI32Const, 7, 0x71, opPrefix, subTableGrow, 0, opDrop)
	case 2:
		g.emit(opI32Const, 9, opI32Const, 8)
		g.expression(typeI32, depth)
		g.emit(opI32Const, 3, 0x71, opPrefix, subTableCopy, 0, 0)
	case 3:
		g.emit(opI32Const, 0, opI32Const, 0)
		g.expression(typeI32, depth)
		g.emit(opI32Const, 1, 0x71, opPrefix, subTableInit, 1, 0)
	}
}

// leave writes a conditional return, or a rare trap.
func (g *generator) leave(depth int) {
	g.expression(typeI32, depth)
	g.block(opIf, nil, func() {
		if g.chance(8) {
			g.emit(opUnreachable)
			return
		}
		for _, result := range g.labels[0].results {
			g.expression(result, depth)
		}
		if g.chance(2) {
			g.emit(opReturn)
		} else {
			g.index(opBr, len(g.labels)-1)
		}
	})
}
