package policies

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Function types of the modules that tests write.
const (
	typeNothing  = iota // () -> ()
	typeGive            // () -> i32
	typeMap             // (i32) -> i32
	typeRoute           // (i32) -> i64
	typeDescribe        // () -> i64
	typeLog             // (i32, i32, i32) -> ()
	typePair            // (i32) -> (i32, i64)
)

// Where things lie in the memory of such a module.
const (
	bufferAt = 8192
	planAt   = 1024
	nextAt   = 2048
)

// function is one function of a module under construction.
type function struct {
	typ    int
	locals []byte // as encoded, nil for none
	code   []byte // without the final end
	export string
}

// source describes a module byte by byte; the zero value with contract() is a policy that refuses every request.
type source struct {
	functions []function
	imports   []byte // encoded entries
	imported  int
	tables    []byte // encoded entries
	elements  []byte // encoded section body
	memory    []byte // encoded section body
	globals   []byte // encoded entries
	exports   []byte // encoded entries besides the functions and the memory
	start     []byte
	next      []byte // what lies at nextAt
	exported  int
}

func name(s string) []byte { return append(binary.AppendUvarint(nil, uint64(len(s))), s...) }

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

func i32(v int64) []byte { return appendSigned([]byte{opI32Const}, v) }
func i64(v int64) []byte { return appendSigned([]byte{opI64Const}, v) }

// contract returns the exports every policy has. The route runs the hostile code, which leaves nothing on the stack, when
// the seed of the request is not zero, and then refuses the request.
func contract(hostile []byte) []function {
	route := cat(i32(bufferAt+abi.RequestSeed), []byte{0x2d, 0, 0, opIf, typeEmpty}, hostile, []byte{opEnd}, i64(planAt<<32|abi.PlanHeaderSize))
	return []function{
		{typ: typeGive, code: i32(1), export: abi.ExportVersion},
		{typ: typeMap, code: i32(bufferAt), export: abi.ExportBuffer},
		{typ: typeMap, code: i32(0), export: abi.ExportConfigure},
		{typ: typeMap, code: i32(0), export: abi.ExportSnapshot},
		{typ: typeRoute, code: route, export: abi.ExportRoute},
	}
}

// module encodes the source.
func (s source) module() []byte {
	out := []byte(wasmMagic)
	var types []byte
	for _, t := range []functionType{
		{},
		{nil, []byte{typeI32}},
		{[]byte{typeI32}, []byte{typeI32}},
		{[]byte{typeI32}, []byte{typeI64}},
		{nil, []byte{typeI64}},
		{[]byte{typeI32, typeI32, typeI32}, nil},
		{[]byte{typeI32}, []byte{typeI32, typeI64}},
	} {
		types = appendType(types, t)
	}
	out = appendSection(out, sectionType, cat([]byte{7}, types))
	if s.imported > 0 {
		out = appendSection(out, sectionImport, cat([]byte{byte(s.imported)}, s.imports))
	}
	count := binary.AppendUvarint(nil, uint64(len(s.functions)))
	declared, exports, code := slices.Clone(count), slices.Clone(s.exports), slices.Clone(count)
	exported := s.exported + 1
	for i, f := range s.functions {
		declared = append(declared, byte(f.typ))
		if f.export != "" {
			exports = cat(exports, name(f.export), []byte{kindFunction}, binary.AppendUvarint(nil, uint64(s.imported+i)))
			exported++
		}
		locals := f.locals
		if locals == nil {
			locals = []byte{0}
		}
		body := cat(locals, f.code, []byte{opEnd})
		code = cat(code, binary.AppendUvarint(nil, uint64(len(body))), body)
	}
	out = appendSection(out, sectionFunction, declared)
	if s.tables != nil {
		out = appendSection(out, sectionTable, s.tables)
	}
	memory := s.memory
	if memory == nil {
		memory = []byte{1, 0, 2}
	}
	out = appendSection(out, sectionMemory, memory)
	if s.globals != nil {
		out = appendSection(out, sectionGlobal, s.globals)
	}
	exports = cat(exports, name(abi.ExportMemory), []byte{2, 0})
	out = appendSection(out, sectionExport, cat([]byte{byte(exported)}, exports))
	if s.start != nil {
		out = appendSection(out, sectionStart, s.start)
	}
	if s.elements != nil {
		out = appendSection(out, sectionElement, s.elements)
	}
	out = appendSection(out, sectionCode, code)
	plan := policy.AppendPlan(nil, &policy.Plan{Kind: abi.KindReject, Reason: abi.BecauseNothing, Status: 503})
	data := []byte{2}
	for at, bytes := range [][]byte{plan, s.next} {
		data = cat(data, []byte{0}, i32(int64(planAt+at*(nextAt-planAt))), []byte{opEnd}, binary.AppendUvarint(nil, uint64(len(bytes))), bytes)
	}
	return appendSection(out, sectionData, data)
}

// policyOf is a module that keeps the contract and runs hostile code as contract says.
func policyOf(hostile []byte, more ...function) source {
	return source{functions: append(contract(hostile), more...)}
}

// testHost is a host that is closed with the test.
func testHost(t testing.TB, config Config) *Host {
	t.Helper()
	h, err := New(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// ask sends a request about an empty snapshot; the seed says whether the hostile code runs.
func ask(h *Host, snap *policy.Published, seed uint64, plan *policy.Plan) error {
	_, err := h.Route("p", &policy.Facts{Snapshot: snap, Request: &policy.Request{Generation: snap.Generation, Seed: seed, Model: abi.NoModel}}, plan)
	return err
}
