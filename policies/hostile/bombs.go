package hostile

import (
	"bytes"
	"encoding/binary"
)

// Bombs are modules that take long to compile, or much memory: as large as the limits on modules let them be, or larger.
func Bombs() []Attack {
	bomb := func(name string, want Outcome, s Source) Attack {
		return Attack{Name: name, When: AtLoad, Want: want, Module: s.Module()}
	}
	nested := func(n int) []byte { return Cat(bytes.Repeat([]byte{0x02, 0x40}, n), bytes.Repeat([]byte{0x0B}, n)) }
	table := func(n int) []byte {
		return Cat([]byte{0x02, 0x40}, I32(1), binary.AppendUvarint([]byte{0x0E}, uint64(n)), bytes.Repeat([]byte{0}, n+1), []byte{0x0B})
	}
	one := func(code []byte) Source { return Policy(nil, Function{Type: TypeNothing, Code: code}) }
	many := func(n int, f Function) Source {
		s := Policy(nil)
		for range n {
			s.Functions = append(s.Functions, f)
		}
		return s
	}
	loads := bytes.Repeat(Cat(I32(64), []byte{0x28, 2, 0}, drop()), 120<<10/7)
	divisions := Cat(I32(64), bytes.Repeat([]byte{0x22, 0, 0x20, 0, 0x6D}, 120<<10/5), drop())
	calls := bytes.Repeat(call(0), 120<<10/3)
	calls = bytes.ReplaceAll(calls, call(0), Cat(call(0), drop()))
	adds := Cat(I64(1), bytes.Repeat([]byte{0x22, 0, 0x20, 0, 0x7C}, 120<<10/5), drop())
	local := []byte{1, 1, 0x7F}
	wide := []byte{1, 1, 0x7E}
	locals := []byte{1, 0xFF, 0x0F, 0x7E} // 2,047
	return []Attack{
		bomb("too many functions", Refused, many(20_001, Function{Type: TypeNothing})),
		bomb("many functions", Bounded, many(19_990, Function{Type: TypeNothing, Code: []byte{0x10, 0, 0x1A}})),
		bomb("nested too deep", Refused, one(nested(2_049))),
		bomb("nested deep", Bounded, one(nested(2_040))),
		bomb("nested deep, often", Bounded, many(900, Function{Type: TypeNothing, Code: nested(1_000)})),
		bomb("branch table too large", Refused, one(table(300_000))),
		bomb("branch tables", Bounded, many(2, Function{Type: TypeNothing, Code: table(120_000)})),
		bomb("too many locals", Refused, many(1, Function{Type: TypeNothing, Locals: []byte{1, 0x80, 0x80, 0x80, 1, 0x7E}})),
		bomb("many locals", Bounded, many(19_990, Function{Type: TypeNothing, Locals: locals})),
		bomb("many locals across calls", Bounded, many(30, Function{Type: TypeNothing, Locals: locals, Code: calls})),
		bomb("many loops", Refused, one(bytes.Repeat([]byte{0x03, 0x40, 0x0B}, 40_000))),
		bomb("loads that may trap", Bounded, many(32, Function{Type: TypeNothing, Code: loads})),
		bomb("divisions that may trap", Bounded, many(32, Function{Type: TypeNothing, Locals: local, Code: divisions})),
		bomb("calls", Bounded, many(32, Function{Type: TypeNothing, Code: calls})),
		bomb("additions", Bounded, many(32, Function{Type: TypeNothing, Locals: wide, Code: adds})),
		bomb("long function", Refused, one(bytes.Repeat([]byte{0x01}, 200<<10))),
	}
}
