// Package hostile holds policies that mean harm, as modules, each with what must come of it; and the assembler that writes
// them and other small modules byte by byte. It is for tests, and for measuring a host under attack.
package hostile

import (
	"encoding/binary"
	"slices"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Function types of the modules written here.
const (
	TypeNothing  = iota // () -> ()
	TypeGive            // () -> i32
	TypeMap             // (i32) -> i32
	TypeRoute           // (i32) -> i64
	TypeDescribe        // () -> i64
	TypeLog             // (i32, i32, i32) -> ()
	TypePair            // (i32) -> (i32, i64)
	TypeTwo             // (i32, i32) -> i32
	TypeTake            // (i32) -> ()
)

// Where things lie in the memory of such a module.
const (
	BufferAt = 8192
	PlanAt   = 1024
	NextAt   = 2048
)

// Function is one function of a module.
type Function struct {
	Type   int
	Locals []byte // as encoded, nil for none
	Code   []byte // without the final end
	Export string
}

// Source describes a module; with the functions of [Contract] it is a policy that refuses every request.
type Source struct {
	Functions []Function
	Imports   []byte // encoded entries
	Imported  int
	Tables    []byte // encoded section body
	Elements  []byte // encoded section body
	Memory    []byte // encoded section body; nil: two pages
	Globals   []byte // encoded section body
	Exports   []byte // encoded entries besides the functions and the memory
	Start     []byte
	Next      []byte // what lies at NextAt
	Exported  int
}

// Name encodes a name.
func Name(s string) []byte { return append(binary.AppendUvarint(nil, uint64(len(s))), s...) }

// Cat joins pieces of code.
func Cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

// I32 is a constant.
func I32(v int64) []byte { return signed(0x41, v) }

// I64 is a constant.
func I64(v int64) []byte { return signed(0x42, v) }

// Span is the constant that says where something lies.
func Span(address, length uint32) []byte { return I64(int64(uint64(address)<<32 | uint64(length))) }

// signed is an operation with a signed LEB128 number.
func signed(op byte, v int64) []byte {
	out := []byte{op}
	for v < -64 || v > 63 {
		out = append(out, byte(v&0x7F)|0x80)
		v >>= 7
	}
	return append(out, byte(v&0x7F))
}

// Contract returns the exports every policy has. The route runs the code, which leaves nothing on the stack, when the seed
// of the request is not zero, and then refuses the request.
func Contract(code []byte) []Function {
	route := Cat(I32(BufferAt+abi.RequestSeed), []byte{0x2D, 0, 0, 0x04, 0x40}, code, []byte{0x0B}, Span(PlanAt, abi.PlanHeaderSize))
	return []Function{
		{Type: TypeGive, Code: I32(1), Export: abi.ExportVersion},
		{Type: TypeMap, Code: I32(BufferAt), Export: abi.ExportBuffer},
		{Type: TypeMap, Code: I32(0), Export: abi.ExportConfigure},
		{Type: TypeMap, Code: I32(0), Export: abi.ExportSnapshot},
		{Type: TypeRoute, Code: route, Export: abi.ExportRoute},
	}
}

// FirstFree is the index of the first function behind those of the contract.
const FirstFree = 5

// Policy is a module that keeps the contract and runs the code as [Contract] says.
func Policy(code []byte, more ...Function) Source {
	return Source{Functions: append(Contract(code), more...)}
}

// Module encodes the source.
func (s Source) Module() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, body []byte) {
		out = append(binary.AppendUvarint(append(out, id), uint64(len(body))), body...)
	}
	section(1, Cat([]byte{9}, []byte("\x60\x00\x00\x60\x00\x01\x7F\x60\x01\x7F\x01\x7F\x60\x01\x7F\x01\x7E\x60\x00\x01\x7E"),
		[]byte("\x60\x03\x7F\x7F\x7F\x00\x60\x01\x7F\x02\x7F\x7E\x60\x02\x7F\x7F\x01\x7F\x60\x01\x7F\x00")))
	if s.Imported > 0 {
		section(2, Cat([]byte{byte(s.Imported)}, s.Imports))
	}
	count := binary.AppendUvarint(nil, uint64(len(s.Functions)))
	declared, exports, code := slices.Clone(count), slices.Clone(s.Exports), slices.Clone(count)
	exported := s.Exported + 1
	for i, f := range s.Functions {
		declared = append(declared, byte(f.Type))
		if f.Export != "" {
			exports = Cat(exports, Name(f.Export), binary.AppendUvarint([]byte{0}, uint64(s.Imported+i)))
			exported++
		}
		locals := f.Locals
		if locals == nil {
			locals = []byte{0}
		}
		code = binary.AppendUvarint(code, uint64(len(locals)+len(f.Code)+1))
		code = append(append(append(code, locals...), f.Code...), 0x0B)
	}
	section(3, declared)
	if s.Tables != nil {
		section(4, s.Tables)
	}
	if s.Memory == nil {
		s.Memory = []byte{1, 0, 2}
	}
	section(5, s.Memory)
	if s.Globals != nil {
		section(6, s.Globals)
	}
	section(7, Cat([]byte{byte(exported)}, exports, Name(abi.ExportMemory), []byte{2, 0}))
	if s.Start != nil {
		section(8, s.Start)
	}
	if s.Elements != nil {
		section(9, s.Elements)
	}
	section(10, code)
	plan := policy.AppendPlan(nil, &policy.Plan{Kind: abi.KindReject, Reason: abi.BecauseNothing, Status: 503})
	data := []byte{2}
	for at, bytes := range [][]byte{plan, s.Next} {
		data = Cat(data, []byte{0}, I32(int64(PlanAt+at*(NextAt-PlanAt))), []byte{0x0B}, binary.AppendUvarint(nil, uint64(len(bytes))), bytes)
	}
	section(11, data)
	return out
}
