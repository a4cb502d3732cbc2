package policies

import (
	"encoding/binary"
	"math"
	"slices"
)

// generator writes valid modules, decided by bytes: the same bytes give the same module. Code is written as expressions of a
// type and as statements, so that the stack always fits. What it does not write: recursion, and loops without end.
type generator struct {
	choices []byte
	tame    bool // floats that are not numbers are made canonical wherever their bits could be seen
	counted bool // a global counts what is executed
	types   []functionType
	funcs   []int // type of each function
	at      int   // the function being written; it calls those behind it
	locals  []byte
	labels  []label // of the blocks around, innermost last
	out     []byte
}

// label is where a branch leads: the values it takes.
type label struct{ results []byte }

// Globals of a generated module; the last four can be of any use.
const (
	globalTicks = iota // i32, counts down at loops and calls
	globalCount        // i64, statements and expressions executed
	globalFirst        // one of each type
)

// scratch are the locals of each type at the end of a generated function's locals: for making floats canonical.
const scratch = 4

func (g *generator) pick(n int) int {
	if len(g.choices) == 0 {
		return 0
	}
	c := g.choices[0]
	g.choices = g.choices[1:]
	return int(c) % n
}

func (g *generator) chance(in int) bool { return g.pick(in) == in-1 }

func (g *generator) valueType() byte { return []byte{typeI32, typeI64, typeF32, typeF64}[g.pick(4)] }

func (g *generator) emit(b ...byte) { g.out = append(g.out, b...) }

func (g *generator) index(op byte, i int) { g.out = binary.AppendUvarint(append(g.out, op), uint64(i)) }

// generate writes a module with the exports "f", a function of the type, and "memory".
func generate(choices []byte) (module []byte, entry functionType) {
	g := &generator{choices: choices}
	mode := g.pick(4)
	g.tame, g.counted = mode&1 == 0, mode&2 == 0
	for range 5 {
		var t functionType
		for range g.pick(3) {
			t.params = append(t.params, g.valueType())
		}
		for range g.pick(3) {
			t.results = append(t.results, g.valueType())
		}
		g.types = append(g.types, t)
	}
	for range 2 + g.pick(5) {
		g.funcs = append(g.funcs, g.pick(len(g.types)))
	}
	var bodies []byte
	for i := range g.funcs {
		body := g.function(i)
		bodies = append(binary.AppendUvarint(bodies, uint64(len(body))), body...)
	}
	count := byte(len(g.funcs))
	types, declared, table := []byte{byte(len(g.types))}, []byte{count}, []byte{count}
	for _, t := range g.types {
		types = appendType(types, t)
	}
	for i, t := range g.funcs {
		declared = append(declared, byte(t))
		table = append(table, byte(i))
	}
	ticks := appendSigned([]byte{typeI32, 1, opI32Const}, int64(50+g.pick(250)))
	out := []byte(wasmMagic)
	out = appendSection(out, sectionType, types)
	out = appendSection(out, sectionFunction, declared)
	out = appendSection(out, sectionTable, []byte{1, 0x70, 0, 12})
	out = appendSection(out, sectionMemory, []byte{1, 1, 1, 3})
	out = appendSection(out, sectionGlobal, cat([]byte{6}, ticks, []byte{
		opEnd, typeI64, 1, opI64Const, 0, opEnd, typeI32, 1, opI32Const, 5, opEnd, typeI64, 1, opI64Const, 7, opEnd,
		typeF32, 1, opF32Const, 0, 0, 0x80, 0x3F, opEnd, typeF64, 1, opF64Const, 0, 0, 0, 0, 0, 0, 0xF0, 0x7F, opEnd,
	}))
	exports := cat([]byte{3}, name("f"), []byte{kindFunction, 0}, name("memory"), []byte{2, 0}, name("count"), []byte{kindGlobal, globalCount})
	out = appendSection(out, sectionExport, exports)
	passive := slices.Clone(table)
	out = appendSection(out, sectionElement, cat([]byte{2, 0, opI32Const, 0, opEnd}, table, []byte{1, 0}, passive)) // active, passive
	out = appendSection(out, sectionCount, []byte{2})
	out = appendSection(out, sectionCode, cat([]byte{count}, bodies))
	data := []byte("\x00\x00\xc0\x7f\x01\x00\xa0\xff\x00\x00\x00\x00\x00\x00\xf4\xff0123456789")
	out = appendSection(out, sectionData, cat([]byte{2, 0, opI32Const, 8, opEnd, byte(len(data))}, data, []byte{1, byte(len(data))}, data))
	return out, g.types[g.funcs[0]]
}

// function writes the body of one function: it pays a tick, runs statements, and returns its results.
func (g *generator) function(i int) []byte {
	g.at = i
	t := g.types[g.funcs[i]]
	g.locals = slices.Clone(t.params)
	own := []byte{typeI32, typeI64, typeF32, typeF64}
	g.locals = append(append(g.locals, own...), own...)
	g.labels = []label{{t.results}}
	g.out = []byte{8, 1, typeI32, 1, typeI64, 1, typeF32, 1, typeF64, 1, typeI32, 1, typeI64, 1, typeF32, 1, typeF64}
	g.tick([]byte{opUnreachable})
	g.statements(3)
	for _, result := range t.results {
		g.expression(result, 3)
	}
	if g.chance(3) {
		g.emit(opReturn)
	}
	return append(g.out, opEnd)
}

// tick takes one of the ticks, and does something when there are none.
func (g *generator) tick(without []byte) {
	g.index(opGlobalGet, globalTicks)
	g.emit(opI32Const, 1, opI32Sub)
	g.index(opGlobalSet, globalTicks)
	g.index(opGlobalGet, globalTicks)
	g.emit(opI32Const, 0, 0x48, opIf, typeEmpty) // i32.lt_s
	g.emit(without...)
	g.emit(opEnd)
}

// count adds one to the count of what is executed: four instructions.
func (g *generator) count() {
	if g.counted {
		g.index(opGlobalGet, globalCount)
		g.emit(opI64Const, 1, opI64Add)
		g.index(opGlobalSet, globalCount)
	}
}

// local is one of the locals of a type, not a scratch one.
func (g *generator) local(t byte) int {
	var fit []int
	for i, l := range g.locals[:len(g.locals)-scratch] {
		if l == t {
			fit = append(fit, i)
		}
	}
	return fit[g.pick(len(fit))]
}

func global(t byte) int { return globalFirst + int(typeI32-t) }

// canonicalize makes the float on the stack canonical if it is not a number, in another way than the rewriter does.
func (g *generator) canonicalize(t byte) {
	if !g.tame || t >= typeI64 {
		return
	}
	at := len(g.locals) - scratch + int(typeI32-t)
	g.index(opLocalSet, at)
	ne, constant := byte(0x5C), []byte{opF32Const, 0, 0, 0xC0, 0x7F}
	if t == typeF64 {
		ne, constant = 0x62, []byte{opF64Const, 0, 0, 0, 0, 0, 0, 0xF8, 0x7F}
	}
	g.index(opLocalGet, at)
	g.index(opLocalGet, at)
	g.emit(ne, opIf, t)
	g.emit(constant...)
	g.emit(opElse)
	g.index(opLocalGet, at)
	g.emit(opEnd)
}

func (g *generator) statements(depth int) {
	for range g.pick(5) {
		g.statement(depth)
	}
}

// block writes what stands in a block with the results.
func (g *generator) block(op byte, results []byte, body func()) {
	g.emit(op)
	if len(results) == 0 {
		g.emit(typeEmpty)
	} else {
		g.emit(results[0])
	}
	inside := results
	if op == opLoop {
		inside = nil
	}
	g.labels = append(g.labels, label{inside})
	body()
	g.labels = g.labels[:len(g.labels)-1]
	g.emit(opEnd)
}

// constant writes a constant, often a special one.
func (g *generator) constant(t byte) {
	small := int64(g.pick(256)) - 128
	switch t {
	case typeI32:
		g.out = appendSigned(append(g.out, opI32Const), []int64{small, math.MinInt32, math.MaxInt32, 65532, 0x7FA00001}[g.pick(5)])
	case typeI64:
		g.out = appendSigned(append(g.out, opI64Const), []int64{small, math.MinInt64, math.MaxInt64, 1 << 40, -0xB_0000_0000_0001}[g.pick(5)])
	case typeF32:
		bits := []uint32{math.Float32bits(float32(small)), 0x7F800000, 0x80000000, 0x7FC00000, 0xFFC00000, 0x7FA00001, 0x00000001}[g.pick(7)]
		g.out = binary.LittleEndian.AppendUint32(append(g.out, opF32Const), bits)
	case typeF64:
		bits := []uint64{math.Float64bits(float64(small) / 3), 0x7FF0 << 48, 0x8000 << 48, 0x7FF8 << 48, 0xFFF8 << 48, 0x7FF4000000000001, 1}[g.pick(7)]
		g.out = binary.LittleEndian.AppendUint64(append(g.out, opF64Const), bits)
	}
}

// address writes an address that mostly lies in the memory.
func (g *generator) address(depth int) {
	g.expression(typeI32, depth)
	if !g.chance(16) {
		g.out = appendSigned(append(g.out, opI32Const), 0x7FFF)
		g.emit(0x71) // i32.and
	}
}

// length writes a length of a bulk operation.
func (g *generator) length(depth int) {
	g.expression(typeI32, depth)
	g.out = appendSigned(append(g.out, opI32Const), int64([]int{15, 255, 0x7FFF}[g.pick(3)]))
	g.emit(0x71)
}
