package policies

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/pointsman/pointsman/policies/hostile"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// outcomes are the errors that the outcomes of attacks stand for.
func outcomes() map[hostile.Outcome][]error {
	return map[hostile.Outcome][]error{
		hostile.Refused: {ErrRefused, ErrGrant}, hostile.Fuel: {ErrFuel}, hostile.Depth: {ErrDepth}, hostile.Trap: {ErrTrap},
		hostile.BadPlan: {ErrBadPlan}, hostile.Status: {ErrStatus}, hostile.State: {ErrState}, hostile.Served: {nil},
		hostile.Bounded: {nil, ErrRefused},
	}
}

// attacker is a loaded attack, or one that was refused.
type attacker struct {
	hostile.Attack
	host  *Host
	facts *policy.Facts
	plan  policy.Plan
}

// load loads the attack and tells what came of it.
func (a *attacker) load() error {
	_, err := a.host.Load(a.Name, a.Module, Settings{Grants: a.Grants})
	a.facts = &policy.Facts{
		Snapshot: policy.Publish(policy.Snapshot{Generation: 1, Candidates: make([]policy.Candidate, 1)}),
		Request:  &policy.Request{Generation: 1, Model: abi.NoModel, Options: make([]policy.Option, 1)},
	}
	return err
}

// strike lets the attack do its worst.
func (a *attacker) strike() (err error) {
	a.facts.Request.Seed, a.facts.History = 1, nil
	switch a.When {
	case hostile.AtNext:
		a.facts.History = []policy.Outcome{{Kind: abi.KindAnswer, Failure: abi.FailureServer}}
		fallthrough
	case hostile.AtRoute:
		_, err = a.host.Route(a.Name, a.facts, &a.plan)
	case hostile.AtObserve:
		_, err = a.host.Observe(a.Name, nil, []policy.Outcome{{}}, nil)
	}
	return err
}

// behave lets it serve an ordinary request, so that it is not suspended.
func (a *attacker) behave() error {
	a.facts.Request.Seed, a.facts.History = 0, nil
	_, err := a.host.Route(a.Name, a.facts, &a.plan)
	return err
}

func (a *attacker) check(err error) error {
	for _, want := range outcomes()[a.Want] {
		if errors.Is(err, want) {
			return nil
		}
	}
	return fmt.Errorf("%s: got %v, want %s", a.Name, err, a.Want)
}

// TestHostile runs every attack once: it comes to what it must, within twice its fuel, and the policy serves the next
// request if it ever does.
func TestHostile(t *testing.T) {
	t.Logf("figure: %d modules that mean harm come to what they must, within twice their fuel", len(hostile.Set()))
	for _, attack := range hostile.Set() {
		t.Run(attack.Name, func(t *testing.T) {
			a := &attacker{Attack: attack, host: testHost(t, Config{})}
			err := a.load()
			if a.When == hostile.AtLoad {
				if err := a.check(err); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			err = a.strike()
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if err := a.check(err); err != nil {
				t.Fatal(err)
			}
			info, _ := a.host.Info(a.Name)
			if copied := after.TotalAlloc - before.TotalAlloc; a.Want == hostile.BadPlan && copied > 64<<10 {
				t.Errorf("%d bytes of a bad plan were copied", copied)
			}
			if info.LastFuel > 2*DefaultFuel {
				t.Errorf("it burnt %d of %d", info.LastFuel, DefaultFuel)
			}
			t.Logf("%v, fuel %d: %v", took, info.LastFuel, err)
			if err := a.behave(); err != nil && a.Want != hostile.Status {
				t.Errorf("the next request: %v", err)
			}
		})
	}
}

// TestRefused loads modules that break a limit or the contract.
func TestRefused(t *testing.T) {
	withCode := func(code ...byte) []byte { return policyOf(code).Module() }
	with := func(change func(s *source)) []byte {
		s := policyOf(nil)
		change(&s)
		return s.Module()
	}
	replaced := func(old, by string) []byte { return bytes.Replace(policyOf(nil).Module(), []byte(old), []byte(by), 1) }
	for _, c := range []struct {
		name   string
		module []byte
		says   string
	}{
		{"nothing", nil, "no WebAssembly module"},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), "component"},
		{"too large", make([]byte, maxModule+1), "4194305 bytes"},
		{"cut short", policyOf(nil).Module()[:100], "ends early"},
		{"an export is missing", replaced(abi.ExportRoute, "pointsman_rouse"), "does not export pointsman_route (i32) -> (i64)"},
		{"a wrong signature", with(func(s *source) { s.Functions[2].Type, s.Functions[2].Code = typeRoute, i64(0) }), "pointsman_configure is (i32) -> (i64), must be (i32) -> (i32)"},
		{"no memory exported", replaced("memory", "remora"), "memory"},
		{"another version", with(func(s *source) { s.Functions[0].Code = i32(2) }), "version 2"},
		{"an unknown import", with(func(s *source) {
			s.Imports, s.Imported = cat(name("env"), name("abort"), []byte{kindFunction, typeNothing}), 1
		}), "imports env.abort"},
		{"an import of another type", with(func(s *source) {
			s.Imports, s.Imported = cat(name(abi.HostModule), name(abi.ImportLog), []byte{kindFunction, typeMap}), 1
		}), "must be (i32, i32, i32) -> ()"},
		{"an imported memory", with(func(s *source) {
			s.Imports, s.Imported = cat(name("env"), name("memory"), []byte{2, 0, 1}), 1
		}), "not a function"},
		{"two memories", with(func(s *source) { s.Memory = []byte{2, 0, 1, 0, 1} }), "2 memories"},
		{"a large memory", with(func(s *source) { s.Memory = []byte{1, 0, 0x81, 0x02} }), "memory"},
		{"a large table", with(func(s *source) { s.Tables = []byte{1, 0x70, 0, 0x81, 0x80, 0x04} }), "table of 65537"},
		{"an endless start", with(func(s *source) {
			s.Functions = append(s.Functions, function{Type: typeNothing, Code: []byte{opLoop, typeEmpty, opBr, 0, opEnd}})
			s.Start = []byte{5}
		}), "starting"},
		{"SIMD", withCode(0xFD, 0x0C), "0xfd"},
		{"threads", withCode(0xFE, 0x03, 0x00), "0xfe"},
		{"a tail call", withCode(0x12, 0x00), "0x12"},
		{"exceptions", withCode(0x06, 0x40), "0x06"},
		{"an unknown prefixed operation", withCode(0xFC, 0x12), "0xfc 18"},
		{"refuelling", withCode(cat(i64(1<<40), []byte{opGlobalSet, 0})...), "global 0 of 0"},
		{"an own local that is ours", withCode(cat(i64(1), []byte{opLocalSet, 1})...), "local 1 of 1"},
		{"exporting the fuel", with(func(s *source) { s.Exports, s.Exported = cat(name("mine"), []byte{kindGlobal, 0}), 1 }), "export"},
		{"our export's name", with(func(s *source) { s.Exports, s.Exported = cat(name(exportFuel), []byte{kindFunction, 0}), 1 }), "export"},
		{"deep nesting", withCode(cat(bytes.Repeat([]byte{opBlock, typeEmpty}, 3000), bytes.Repeat([]byte{opEnd}, 3000))...), "nested"},
		{"a long function", withCode(bytes.Repeat([]byte{0x01}, maxBody+1)...), "body"},
		{"many locals", with(func(s *source) { s.Functions[4].Locals = []byte{1, 0x81, 0x80, 0x01, typeI64} }), "locals"},
		{"a branch too far", withCode(opBr, 9), "branch"},
		{"a type error", withCode(opI32Add), "compiling"},
		// Types of more bytes than one, which the runtime reads: whoever skips one byte meters other code than runs.
		{"a local of a long type", with(func(s *source) { s.Functions[4].Locals = []byte{1, 1, 0x63, 0x70} }), "type 0x63"},
		{"a local of a longer type", with(func(s *source) { s.Functions[4].Locals = []byte{1, 1, 0x64, 0xF0, 0x7F} }), "type 0x64"},
		{"a block of a long type", withCode(opBlock, 0x63, 0x70, 0xD0, 0x70, opEnd, opDrop), "type 0x63"},
		{"a block of a long type, written longer", withCode(opBlock, 0xE3, 0x7F, 0x70, 0xD0, 0x70, opEnd, opDrop), "no number"},
		{"a block of a type of five bytes", withCode(opBlock, 0xE3, 0xFF, 0xFF, 0xFF, 0x7F, 0x70, 0xD0, 0x70, opEnd, opDrop), "no number"},
		{"a null of a long type", withCode(0xD0, 0xF0, 0x7F, opDrop), "type 0xf0"},
		{"a null that is no reference", withCode(0xD0, typeI32, opDrop), "where a reference belongs"},
		{"a selection of a long type", withCode(0xD0, 0x70, 0xD0, 0x70, opI32Const, 0, 0x1C, 1, 0x63, 0x70, opDrop), "type 0x63"},
		{"a global of a long type", with(func(s *source) { s.Globals = []byte{1, 0x63, 0x70, 0, 0xD0, 0x70, opEnd} }), "type 0x63"},
		{"a table of a long type", with(func(s *source) { s.Tables = []byte{1, 0x63, 0x70, 0, 1} }), "type 0x63"},
		{"a table with a value in it", with(func(s *source) { s.Tables = []byte{1, 0x40, 0, 0x70, 0, 1, 0xD0, 0x70, opEnd} }), "type 0x40"},
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
