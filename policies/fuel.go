package policies

import (
	"encoding/binary"
	"fmt"
)

// Exports that the rewriter adds to a module.
const (
	exportFuel    = "pointsman.fuel"    // mutable i64, what is left of the slice at hand; below zero: exhausted
	exportDepth   = "pointsman.depth"   // mutable i32, weight of the calls under way
	exportReserve = "pointsman.reserve" // mutable i64, what is left beside the slice
)

// Limits of what is accepted, so that compiling a module, its stack and its tables stay small. Measured on Go guests with
// encoding/json, the largest modules authors are likely to bring.
const (
	maxModule    = 4 << 20 // bytes
	maxFunctions = 20_000
	maxBody      = 128 << 10 // bytes of one function
	maxNesting   = 2_048     // blocks within blocks of one function
	maxLocals    = 2_048     // of one function
	maxBranches  = 1 << 18   // entries of all branch tables of a module
	maxWork      = 8_000_000 // of compiling, see work; some two seconds
	maxTables    = 4
	maxTable     = 65_536 // entries of one table
	maxGlobals   = 10_000
	maxResults   = 16 // of one function

	maxDepth = 4_096 // weight of nested calls, see frameWeight
)

// Fuel of what takes longer than most instructions, beside the 1 that each costs, so that a unit is never much more than a
// nanosecond, whatever a module does.
const (
	callCharge   = 3
	loadCharge   = 2      // it may wait for the memory
	divideCharge = 8      // divisions, remainders and square roots
	growCharge   = 16_384 // of a memory.grow, and again of each page: it leaves the compiled code and may copy the memory
	pageShift    = -14
	bytesShift   = 2 // of the bytes of a bulk operation: four for a unit
)

// maxBulk is how many bytes one bulk operation may move. It runs without a stop, and in memory that was never touched it
// takes half a millisecond for each MiB.
const maxBulk = 4 << 20

// slice is how much fuel a guest burns before it passes through the host again. Go cannot interrupt compiled code, so this
// bounds how long a garbage collection waits for a guest, however much fuel the guest has in all.
const slice = 250_000

// meter rewrites a module so that it pays for what it does: at the entry of a function and at the head of each loop it
// pays for all instructions up to the next such place, and traps when the fuel falls below zero. Bulk operations pay by
// their length, and calls within calls add up to a bounded weight. There is no way from one place to the same place again
// without paying, so that every call ends, and the same input costs the same fuel.
//
// The globals and the function it adds have the highest indexes, and code that already named those is refused: a module
// cannot refill.
//
// It also makes the results of floating-point operations equal on every processor: see rewriter.canonical.
func meter(module []byte, initialFuel int64) ([]byte, error) {
	if len(module) > maxModule {
		return nil, refused("it has %d bytes, more than %d", len(module), maxModule)
	}
	l, err := readLayout(module)
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(module)+len(module)/4), wasmMagic...)
	globals := false
	for _, s := range l.sections {
		if !globals && sectionPlace(s.id) >= sectionPlace(sectionExport) {
			out = appendSection(out, sectionGlobal, l.withGlobals([]byte{0}, initialFuel))
			globals = true
		}
		body := s.body
		switch s.id {
		case sectionCustom:
			kept := false
			if body, kept = functionNames(body); !kept {
				continue
			}
		case sectionType:
			body = l.withTypes()
		case sectionFunction:
			body = l.withFunctions()
		case sectionTable:
			body, err = boundTables(body)
		case sectionGlobal:
			body, globals = l.withGlobals(body, initialFuel), true
		case sectionExport:
			body, err = l.withExports(body)
		case sectionStart:
			if r := (&reader{b: body}); !l.hasFunction(r.u32()) {
				err = refused("it starts with a function that it does not have")
			}
		case sectionCode:
			body, err = l.meterCode(body)
		}
		if err != nil {
			return nil, err
		}
		out = appendSection(out, s.id, body)
	}
	switch {
	case !globals:
		return nil, refused("it exports nothing")
	case l.memories == 0:
		return nil, refused("it has no memory")
	case len(l.functions) == 0:
		return nil, refused("it has no functions")
	}
	return out, nil
}

// readLayout reads the sections that the rewriter depends on.
func readLayout(module []byte) (*layout, error) {
	sections, err := splitSections(module)
	if err != nil {
		return nil, err
	}
	l := &layout{sections: sections}
	for _, s := range sections {
		r := &reader{b: s.body}
		switch s.id {
		case sectionType:
			l.readTypes(r)
		case sectionImport:
			l.readImports(r)
		case sectionFunction:
			for range r.countTo(maxFunctions, "functions") {
				l.functions = append(l.functions, l.typeIndex(r))
			}
		case sectionMemory:
			if l.memories = r.count(); l.memories > 1 {
				r.fail("it has %d memories", l.memories)
			}
		case sectionGlobal:
			l.readGlobals(r)
		case sectionElement:
			l.checkElements(r)
		case sectionData:
			l.checkData(r)
		}
		if r.err != nil {
			return nil, fmt.Errorf("section %d: %w", s.id, r.err)
		}
	}
	return l, nil
}

func (l *layout) readTypes(r *reader) {
	for range r.countTo(maxTypes, "types") {
		if form := r.byte(); form != 0x60 {
			r.fail("type of form 0x%02x", form)
		}
		t := functionType{params: r.valueTypes(), results: r.valueTypes()}
		if len(t.results) > maxResults || len(t.params) > maxLocals {
			r.fail("a function of %d parameters and %d results", len(t.params), len(t.results))
		}
		l.types = append(l.types, t)
	}
}

func (l *layout) readImports(r *reader) {
	for range r.countTo(maxImports, "imports") {
		module, name := r.name(), r.name()
		if kind := r.byte(); kind != kindFunction {
			r.fail("import %s.%s is not a function", module, name)
		}
		l.imported = append(l.imported, l.typeIndex(r))
	}
}

func (l *layout) typeIndex(r *reader) int {
	i := r.u32()
	if int64(i) >= int64(len(l.types)) {
		r.fail("type %d of %d", i, len(l.types))
		return 0
	}
	return int(i)
}

// hasFunction tells whether the module has, or imports, a function of that number.
func (l *layout) hasFunction(index uint32) bool {
	return int64(index) < int64(len(l.imported)+len(l.functions))
}

// typeOf is the type of a function that the module has.
func (l *layout) typeOf(index uint32) functionType {
	if imports := len(l.imported); int(index) >= imports {
		return l.types[l.functions[int(index)-imports]]
	}
	return l.types[l.imported[index]]
}

// typeAt reads the index of a type in code; a wrong one is left to the compiler to refuse.
func (l *layout) typeAt(code []byte) functionType { return l.types[l.typeIndex(&reader{b: code})] }

// readGlobals refuses initial values that name what is not there yet.
func (l *layout) readGlobals(r *reader) {
	for range r.countTo(maxGlobals, "globals") {
		l.globals = append(l.globals, r.valueType())
		if mutable := r.byte(); mutable > 1 {
			r.fail("a global of mutability %d", mutable)
		}
		l.expression(r)
	}
}

// withTypes appends a type without parameters for each signature of several results: the block that wraps such a
// function's body needs one. They come in the order of the types. The last type is that of the function that refuels.
func (l *layout) withTypes() []byte {
	out := []byte{}
	count := len(l.types)
	for _, t := range l.types {
		out = appendType(out, t)
	}
	for _, t := range l.types {
		if len(t.results) > 1 {
			out = appendType(out, functionType{results: t.results})
			count++
		}
	}
	out = appendType(out, functionType{})
	return append(binary.AppendUvarint(nil, uint64(count)+1), out...)
}

// withFunctions appends the function that refuels.
func (l *layout) withFunctions() []byte {
	out := binary.AppendUvarint(nil, uint64(len(l.functions))+1)
	last := len(l.types)
	for _, t := range l.functions {
		out = binary.AppendUvarint(out, uint64(t))
	}
	for _, t := range l.types {
		if len(t.results) > 1 {
			last++
		}
	}
	return binary.AppendUvarint(out, uint64(last))
}

func appendType(out []byte, t functionType) []byte {
	out = binary.AppendUvarint(append(out, 0x60), uint64(len(t.params)))
	out = binary.AppendUvarint(append(out, t.params...), uint64(len(t.results)))
	return append(out, t.results...)
}

// blockType is the type of a block with the results of a function type.
func (l *layout) blockType(t int) []byte {
	switch results := l.types[t].results; len(results) {
	case 0:
		return []byte{typeEmpty}
	case 1:
		return results
	}
	at := len(l.types)
	for _, before := range l.types[:t] {
		if len(before.results) > 1 {
			at++
		}
	}
	return appendSigned(nil, int64(at))
}

// boundTables gives every table an upper bound, because the memory limit of the runtime does not count tables.
func boundTables(body []byte) ([]byte, error) {
	r := &reader{b: body}
	count := r.count()
	if count > maxTables {
		r.fail("it has %d tables, more than %d", count, maxTables)
	}
	out := binary.AppendUvarint(nil, uint64(count))
	for range count {
		element := r.referenceType()
		least, most, hasMax := r.limits()
		if least > maxTable {
			r.fail("a table of %d entries, more than %d", least, maxTable)
		}
		if !hasMax || most > maxTable {
			most = maxTable
		}
		out = binary.AppendUvarint(append(out, element, 1), uint64(least))
		out = binary.AppendUvarint(out, uint64(most))
	}
	return out, r.err
}

// withGlobals appends the fuel, the depth and the reserve to the globals.
func (l *layout) withGlobals(body []byte, fuel int64) []byte {
	r := &reader{b: body}
	r.u32()
	out := binary.AppendUvarint(nil, uint64(len(l.globals))+3)
	out = append(out, body[r.at:]...)
	out = appendSigned(append(out, typeI64, 1, opI64Const), min(fuel, slice))
	out = append(out, opEnd, typeI32, 1, opI32Const, 0, opEnd)
	out = appendSigned(append(out, typeI64, 1, opI64Const), fuel-min(fuel, slice))
	return append(out, opEnd)
}

// withExports appends the three globals to the exports, and refuses a module that exports others under their names, or
// what the rewriter adds.
func (l *layout) withExports(body []byte) ([]byte, error) {
	r := &reader{b: body}
	count := r.countTo(maxExports, "exports")
	rest := r.at
	for range count {
		name, kind, index := r.name(), r.byte(), r.u32()
		ours := name == exportFuel || name == exportDepth || name == exportReserve
		if ours || kind == kindGlobal && int64(index) >= int64(len(l.globals)) || kind == kindFunction && !l.hasFunction(index) {
			r.fail("export %q is not its own", name)
		}
	}
	out := binary.AppendUvarint(nil, uint64(count)+3)
	out = append(out, body[rest:r.at]...)
	for i, name := range []string{exportFuel, exportDepth, exportReserve} {
		out = binary.AppendUvarint(out, uint64(len(name)))
		out = append(append(out, name...), kindGlobal)
		out = binary.AppendUvarint(out, uint64(len(l.globals)+i))
	}
	return out, r.err
}
