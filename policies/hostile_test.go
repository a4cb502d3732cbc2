package policies

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// TestHostile runs modules that never end, or take what they can. Each is stopped; a garbage collection meanwhile ends;
// and the policy serves the next request.
func TestHostile(t *testing.T) {
	const first = 5 // index of the first function behind the contract's
	call := func(f int) []byte { return []byte{opCall, byte(f)} }
	drop := []byte{0x1a}
	fill := cat(i32(1<<16), i32(7), i32(12<<20), []byte{opPrefix, subMemoryFill, 0})
	copyAll := cat(i32(1<<16), i32(1<<17), i32(12<<20), []byte{opPrefix, subMemoryCopy, 0, 0})

	tree := policyOf(call(first))
	for n := range 34 {
		next := []byte(nil)
		if n < 33 {
			next = cat(call(first+n+1), call(first+n+1))
		}
		tree.functions = append(tree.functions, function{typ: typeNothing, code: next})
	}
	ring := policyOf(cat(i32(0), []byte{opCallIndirect, typeNothing, 0}))
	for n := range 3 {
		ring.functions = append(ring.functions, function{typ: typeNothing, code: cat(i32(int64((n+1)%3)), []byte{opCallIndirect, typeNothing, 0})})
	}
	ring.tables = []byte{1, 0x70, 0, 3}
	ring.elements = cat([]byte{1, 0}, i32(0), []byte{opEnd, 3, first, first + 1, first + 2})

	large := []byte{1, 0, 0xC8, 0x01} // memory of 200 pages
	fills := policyOf(bytes.Repeat(fill, 200))
	fills.memory = large
	copies := policyOf(bytes.Repeat(copyAll, 200))
	copies.memory = large
	wide := policyOf(call(first), function{typ: typeNothing, locals: []byte{1, 0xD0, 0x0F, typeI64}, code: call(first)})

	spam := policyOf(cat([]byte{opLoop, typeEmpty}, i32(0), i32(0), i32(100), call(0), []byte{opBr, 0, opEnd}))
	spam.imports, spam.imported = cat(name(abi.HostModule), name(abi.ImportLog), []byte{kindFunction, typeLog}), 1
	tables := policyOf(cat([]byte{opLoop, typeEmpty, 0xD0, 0x70}, i32(30000), []byte{opPrefix, subTableGrow, 0}, drop,
		i32(0), []byte{0xD0, 0x70}, i32(30000), []byte{opPrefix, subTableFill, 0, opBr, 0, opEnd}))
	tables.tables = []byte{1, 0x70, 0, 0}

	for _, c := range []struct {
		name   string
		source source
		want   error
	}{
		{"endless loop", policyOf([]byte{opLoop, typeEmpty, opBr, 0, opEnd}), ErrFuel},
		{"tree of calls without a loop", tree, ErrFuel},
		{"recursion", policyOf(call(first), function{typ: typeNothing, code: call(first)}), ErrDepth},
		{"recursion with many locals", wide, ErrDepth},
		{"straight memory.fill", fills, ErrFuel},
		{"straight memory.copy", copies, ErrFuel},
		{"branch table", policyOf(cat([]byte{opLoop, typeEmpty}, i32(1), []byte{opBrTable, 2, 0, 0, 0, opEnd})), ErrFuel},
		{"ring of indirect calls", ring, ErrDepth},
		{"memory.grow", policyOf(cat([]byte{opLoop, typeEmpty}, i32(1), []byte{opMemoryGrow, 0}, drop, []byte{opBr, 0, opEnd})), ErrFuel},
		{"table.grow", tables, ErrFuel},
		{"calls to the host", spam, ErrFuel},
		{"unreachable", policyOf([]byte{opUnreachable}), ErrTrap},
		{"read out of bounds", policyOf(cat(i32(-8), []byte{0x28, 0, 0}, drop)), ErrTrap},
		{"wild plan", policyOf(cat(i64(-1), []byte{opReturn})), ErrBadPlan},
		{"no plan", policyOf(cat(i64(0), []byte{opReturn})), ErrBadPlan},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := testHost(t, Config{})
			if _, err := h.Load("p", c.source.module(), Settings{}); err != nil {
				t.Fatal(err)
			}
			snap := policy.Publish(policy.Snapshot{Generation: 1})
			var plan policy.Plan
			collected := make(chan struct{})
			go func() {
				runtime.GC()
				close(collected)
			}()
			start := time.Now()
			err := ask(h, snap, 1, &plan)
			took := time.Since(start)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if took > 2*time.Second {
				t.Errorf("stopped only after %v", took)
			}
			<-collected
			if err := ask(h, snap, 0, &plan); err != nil {
				t.Fatalf("the next request: %v", err)
			}
			info, _ := h.Info("p")
			t.Logf("%v: %v", took, err)
			if info.Decisions != 1 || info.Instances != 1 {
				t.Errorf("%+v", info.Stats)
			}
		})
	}
}

// TestRefused loads modules that break a limit or the contract.
func TestRefused(t *testing.T) {
	withCode := func(code ...byte) []byte { return policyOf(code).module() }
	with := func(change func(s *source)) []byte {
		s := policyOf(nil)
		change(&s)
		return s.module()
	}
	replaced := func(old, by string) []byte { return bytes.Replace(policyOf(nil).module(), []byte(old), []byte(by), 1) }
	for _, c := range []struct {
		name   string
		module []byte
		says   string
	}{
		{"nothing", nil, "no WebAssembly module"},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), "component"},
		{"too large", make([]byte, maxModule+1), "4194305 bytes"},
		{"cut short", policyOf(nil).module()[:100], "ends early"},
		{"an export is missing", replaced(abi.ExportRoute, "pointsman_rouse"), "does not export pointsman_route (i32) -> (i64)"},
		{"a wrong signature", with(func(s *source) { s.functions[2].typ, s.functions[2].code = typeRoute, i64(0) }), "pointsman_configure is (i32) -> (i64), must be (i32) -> (i32)"},
		{"no memory exported", replaced("memory", "remora"), "memory"},
		{"another version", with(func(s *source) { s.functions[0].code = i32(2) }), "version 2"},
		{"an unknown import", with(func(s *source) {
			s.imports, s.imported = cat(name("env"), name("abort"), []byte{kindFunction, typeNothing}), 1
		}), "imports env.abort"},
		{"an import of another type", with(func(s *source) {
			s.imports, s.imported = cat(name(abi.HostModule), name(abi.ImportLog), []byte{kindFunction, typeMap}), 1
		}), "must be (i32, i32, i32) -> ()"},
		{"an imported memory", with(func(s *source) {
			s.imports, s.imported = cat(name("env"), name("memory"), []byte{2, 0, 1}), 1
		}), "not a function"},
		{"two memories", with(func(s *source) { s.memory = []byte{2, 0, 1, 0, 1} }), "2 memories"},
		{"a large memory", with(func(s *source) { s.memory = []byte{1, 0, 0x81, 0x02} }), "memory"},
		{"a large table", with(func(s *source) { s.tables = []byte{1, 0x70, 0, 0x81, 0x80, 0x04} }), "table of 65537"},
		{"an endless start", with(func(s *source) {
			s.functions = append(s.functions, function{typ: typeNothing, code: []byte{opLoop, typeEmpty, opBr, 0, opEnd}})
			s.start = []byte{5}
		}), "starting"},
		{"SIMD", withCode(0xFD, 0x0C), "0xfd"},
		{"threads", withCode(0xFE, 0x03, 0x00), "0xfe"},
		{"a tail call", withCode(0x12, 0x00), "0x12"},
		{"exceptions", withCode(0x06, 0x40), "0x06"},
		{"an unknown prefixed operation", withCode(0xFC, 0x12), "0xfc 18"},
		{"refuelling", withCode(cat(i64(1<<40), []byte{opGlobalSet, 0})...), "global 0 of 0"},
		{"an own local that is ours", withCode(cat(i64(1), []byte{opLocalSet, 1})...), "local 1 of 1"},
		{"exporting the fuel", with(func(s *source) { s.exports, s.exported = cat(name("mine"), []byte{kindGlobal, 0}), 1 }), "export"},
		{"our export's name", with(func(s *source) { s.exports, s.exported = cat(name(exportFuel), []byte{kindFunction, 0}), 1 }), "export"},
		{"deep nesting", withCode(cat(bytes.Repeat([]byte{opBlock, typeEmpty}, 3000), bytes.Repeat([]byte{opEnd}, 3000))...), "nested"},
		{"a long function", withCode(bytes.Repeat([]byte{0x01}, maxBody+1)...), "body"},
		{"many locals", with(func(s *source) { s.functions[4].locals = []byte{1, 0x81, 0x80, 0x01, typeI64} }), "locals"},
		{"a branch too far", withCode(opBr, 9), "branch"},
		{"a type error", withCode(opI32Add), "compiling"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := testHost(t, Config{StartFuel: 10_000_000})
			_, err := h.Load("p", c.module, Settings{})
			if !errors.Is(err, ErrRefused) || !bytes.Contains([]byte(err.Error()), []byte(c.says)) {
				t.Fatalf("got %v, want %q", err, c.says)
			}
			if names := h.Names(); len(names) != 0 {
				t.Errorf("loaded %q", names)
			}
		})
	}
}
