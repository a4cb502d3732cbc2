package policies

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// outcome is everything one can see of a run.
type outcome struct {
	results []uint64
	memory  []byte
	trap    string
	count   int64 // of the module's own counter
	fuel    int64 // used; 0 of a module without
}

const plenty = 1 << 40

// engines are the two ways to run a module.
type engines struct{ compiler, interpreter wazero.Runtime }

func newEngines(t testing.TB) engines {
	t.Helper()
	ctx := context.Background()
	make := func(c wazero.RuntimeConfig) wazero.Runtime {
		r := wazero.NewRuntimeWithConfig(ctx, c.WithCoreFeatures(api.CoreFeaturesV2&^api.CoreFeatureSIMD).WithMemoryLimitPages(DefaultMemoryPages))
		t.Cleanup(func() { r.Close(ctx) })
		return r
	}
	return engines{make(wazero.NewRuntimeConfigCompiler()), make(wazero.NewRuntimeConfigInterpreter())}
}

// run calls the export "f" of a module.
func run(r wazero.Runtime, module []byte, arguments []uint64) (o outcome, err error) {
	ctx := context.Background()
	compiled, err := r.CompileModule(ctx, module)
	if err != nil {
		return o, err
	}
	defer compiled.Close(ctx)
	guest, err := r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return o, err
	}
	defer guest.Close(ctx)
	results, err := guest.ExportedFunction("f").Call(ctx, arguments...)
	if err != nil {
		o.trap, _, _ = strings.Cut(err.Error(), "\n")
	}
	o.results = results
	memory, _ := guest.Memory().Read(0, guest.Memory().Size())
	o.memory = bytes.Clone(memory)
	o.count = int64(guest.ExportedGlobal("count").Get())
	if fuel := guest.ExportedGlobal(exportFuel); fuel != nil {
		o.fuel = plenty - int64(fuel.Get()) - int64(guest.ExportedGlobal(exportReserve).Get())
		if depth := guest.ExportedGlobal(exportDepth).Get(); err == nil && depth != 0 {
			return o, fmt.Errorf("the depth is %d after the call", depth)
		}
	}
	return o, nil
}

// differs tells how two runs of equal results differ; "" if they do not.
func (o outcome) differs(other outcome) string {
	switch {
	case o.trap != other.trap:
		return fmt.Sprintf("trap %q, %q", o.trap, other.trap)
	case fmt.Sprint(o.results) != fmt.Sprint(other.results):
		return fmt.Sprintf("results %x, %x", o.results, other.results)
	case len(o.memory) != len(other.memory):
		return fmt.Sprintf("memory of %d, %d bytes", len(o.memory), len(other.memory))
	case o.count != other.count:
		return fmt.Sprintf("count %d, %d", o.count, other.count)
	}
	for i := range o.memory {
		if o.memory[i] != other.memory[i] {
			end := min(i+16, len(o.memory))
			return fmt.Sprintf("memory at %d: %x, %x", i, o.memory[i:end], other.memory[i:end])
		}
	}
	return ""
}

// canonicalResults makes floats that are not numbers comparable.
func canonicalResults(o *outcome, types []byte) {
	for i := range o.results {
		switch bits := o.results[i]; {
		case types[i] == typeF32 && bits&0x7FFFFFFF > 0x7F800000:
			o.results[i] = 0x7FC00000
		case types[i] == typeF64 && bits&(1<<63-1) > 0x7FF<<52:
			o.results[i] = 0x7FF8 << 48
		}
	}
}

// checkRewriter generates a module and compares it with what the rewriter makes of it: the same results, memory and trap,
// the same on both engines bit for bit, and a fuel that is repeatable and no less than what was executed.
func (e engines) checkRewriter(choices []byte) error {
	module, entry := generate(choices)
	var arguments []uint64
	for i := range entry.params {
		arguments = append(arguments, uint64(i+3))
	}
	metered, err := meter(module, plenty)
	if err != nil {
		return fmt.Errorf("metering: %w", err)
	}
	plain, err := run(e.interpreter, module, arguments) // the compiler has faults that the rewriter avoids
	if err != nil {
		return fmt.Errorf("plain: %w", err)
	}
	compiled, err := run(e.compiler, metered, arguments)
	if err != nil {
		return fmt.Errorf("metered: %w", err)
	}
	interpreted, err := run(e.interpreter, metered, arguments)
	if err != nil {
		return fmt.Errorf("interpreted: %w", err)
	}
	if how := compiled.differs(interpreted); how != "" {
		return fmt.Errorf("compiled and interpreted: %s", how)
	}
	if compiled.fuel != interpreted.fuel {
		return fmt.Errorf("fuel %d compiled, %d interpreted", compiled.fuel, interpreted.fuel)
	}
	if again, err := run(e.compiler, metered, arguments); err != nil || again.fuel != compiled.fuel || compiled.differs(again) != "" {
		return fmt.Errorf("once more: %s, fuel %d and %d, %v", compiled.differs(again), compiled.fuel, again.fuel, err)
	}
	if executed := 4 * compiled.count; compiled.fuel < executed {
		return fmt.Errorf("fuel %d for at least %d instructions", compiled.fuel, executed)
	}
	if tame := len(choices) == 0 || choices[0]&1 == 0; tame {
		canonicalResults(&plain, entry.results)
		canonicalResults(&compiled, entry.results)
		if how := plain.differs(compiled); how != "" {
			return fmt.Errorf("plain and metered: %s", how)
		}
	}
	return nil
}

// TestRewriter checks the rewriter on random modules.
func TestRewriter(t *testing.T) {
	e := newEngines(t)
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 150 {
		choices := make([]byte, 20+random.IntN(1500))
		for i := range choices {
			choices[i] = byte(random.Uint32())
		}
		if err := e.checkRewriter(choices); err != nil {
			t.Fatalf("module %d: %v", n, err)
		}
	}
}

// FuzzRewriter is TestRewriter without an end.
func FuzzRewriter(f *testing.F) {
	e := newEngines(f)
	random := rand.New(rand.NewPCG(3, 4))
	for n := range 8 {
		choices := make([]byte, 50<<n)
		for i := range choices {
			choices[i] = byte(random.Uint32())
		}
		f.Add(choices)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		if len(choices) > 1<<14 {
			t.Skip("long")
		}
		if err := e.checkRewriter(choices); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzModule meters any bytes: it never panics, and what it accepts is a valid module if the bytes were one.
func FuzzModule(f *testing.F) {
	e := newEngines(f)
	ctx := context.Background()
	f.Add(policyOf(nil).Module())
	f.Add(needing(everyGrant))
	random := rand.New(rand.NewPCG(5, 6))
	for range 6 {
		choices := make([]byte, 400)
		for i := range choices {
			choices[i] = byte(random.Uint32())
		}
		module, _ := generate(choices)
		f.Add(module)
	}
	f.Fuzz(func(t *testing.T, module []byte) {
		if len(module) > 1<<14 {
			t.Skip("long")
		}
		metered, err := meter(module, DefaultStartFuel)
		if err != nil {
			if !errors.Is(err, ErrRefused) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		compiled, err := e.interpreter.CompileModule(ctx, module)
		if err != nil {
			return
		}
		compiled.Close(ctx)
		compiled, err = e.compiler.CompileModule(ctx, metered)
		if err != nil {
			t.Fatalf("valid, and after metering: %v", err)
		}
		compiled.Close(ctx)
	})
}

// TestCanonicalNaN makes floats that are not numbers by every operation, and looks at their bits in every way.
func TestCanonicalNaN(t *testing.T) {
	e := newEngines(t)
	for _, c := range nanOperations() {
		for looked, look := range c.looks() {
			code := cat(c.code, look)
			s := source{Functions: []function{{Type: typeDescribe, Locals: []byte{2, 1, typeF32, 1, typeF64}, Code: code, Export: "f"}}}
			s.Globals = []byte{1, typeI64, 0, opI64Const, 0, opEnd}
			s.Exports, s.Exported = cat(name("count"), []byte{kindGlobal, 0}), 1
			metered, err := meter(s.Module(), plenty)
			if err != nil {
				t.Fatal(err)
			}
			for engine, r := range map[string]wazero.Runtime{"compiler": e.compiler, "interpreter": e.interpreter} {
				o, err := run(r, metered, nil)
				if err != nil || o.trap != "" {
					t.Fatalf("%s, %s: %v %s", c.name, looked, err, o.trap)
				}
				if o.results[0] != c.want {
					t.Errorf("%s, %s, %s: %x, want %x", c.name, looked, engine, o.results[0], c.want)
				}
			}
		}
	}
}

// nanOperation leaves a float that is not a number on the stack.
type nanOperation struct {
	name string
	code []byte
	typ  byte
	want uint64
}

func f32(bits uint32) []byte { return binary.LittleEndian.AppendUint32([]byte{opF32Const}, bits) }
func f64(bits uint64) []byte { return binary.LittleEndian.AppendUint64([]byte{opF64Const}, bits) }

func nanOperations() (all []nanOperation) {
	const (
		infinity32, one32, canonical32 = 0x7F800000, 0x3F800000, 0x7FC00000
		infinity64, one64, canonical64 = 0x7FF0 << 48, 0x3FF0 << 48, 0x7FF8 << 48
	)
	for _, nan := range []uint64{0x7FC00000, 0xFFC00000, 0x7FA00001, 0xFFE12345} {
		small, large := f32(uint32(nan)), f64(nan>>31<<63|0x7FF<<52|nan&0x7FFFFF<<29)
		for op := byte(opF32Ceil); op < opF32Add; op++ {
			all = append(all, nanOperation{fmt.Sprintf("0x%x of %x", op, nan), cat(small, []byte{op}), typeF32, canonical32})
			all = append(all, nanOperation{fmt.Sprintf("0x%x of %x", op+14, nan), cat(large, []byte{op + 14}), typeF64, canonical64})
		}
		for op := byte(opF32Add); op <= opF32Max; op++ {
			for side, code := range map[string][2][]byte{"left": {cat(small, f32(one32)), cat(large, f64(one64))}, "right": {cat(f32(one32), small), cat(f64(one64), large)}, "both": {cat(small, small), cat(large, large)}} {
				all = append(all, nanOperation{fmt.Sprintf("0x%x of %x %s", op, nan, side), cat(code[0], []byte{op}), typeF32, canonical32})
				all = append(all, nanOperation{fmt.Sprintf("0x%x of %x %s", op+14, nan, side), cat(code[1], []byte{op + 14}), typeF64, canonical64})
			}
		}
		all = append(all, nanOperation{"demote", cat(large, []byte{opF32Demote}), typeF32, canonical32}, nanOperation{"promote", cat(small, []byte{opF64Promote}), typeF64, canonical64})
		// What only moves bits leaves them.
		all = append(all,
			nanOperation{fmt.Sprintf("constant %x", nan), small, typeF32, nan},
			nanOperation{fmt.Sprintf("abs %x", nan), cat(small, []byte{0x8B}), typeF32, nan & 0x7FFFFFFF},
			nanOperation{fmt.Sprintf("neg %x", nan), cat(small, []byte{0x8C}), typeF32, nan ^ 0x80000000},
			nanOperation{fmt.Sprintf("copysign %x", nan), cat(small, f32(1<<31), []byte{0x98}), typeF32, nan | 0x80000000})
	}
	return append(all,
		nanOperation{"0/0", cat(f32(0), f32(0), []byte{0x95}), typeF32, canonical32},
		nanOperation{"0/0", cat(f64(0), f64(0), []byte{0xA3}), typeF64, canonical64},
		nanOperation{"infinity - infinity", cat(f64(infinity64), f64(infinity64), []byte{0xA1}), typeF64, canonical64},
		nanOperation{"0 * infinity", cat(f32(0), f32(infinity32), []byte{0x94}), typeF32, canonical32},
		nanOperation{"root of -1", cat(f64(0xBFF0<<48), []byte{0x9F}), typeF64, canonical64},
		nanOperation{"neg of 0/0", cat(f32(0), f32(0), []byte{0x95, 0x8C}), typeF32, canonical32 | 1<<31},
		nanOperation{"1 with the sign of 0/0", cat(f32(one32), f32(0), f32(0), []byte{0x95, 0x98}), typeF32, one32})
}

// looks are the ways to get at the bits, as an i64.
func (c nanOperation) looks() map[string][]byte {
	local, bits, store, load := byte(0), []byte{0xBC, 0xAD}, byte(0x38), []byte{0x35, 0, 0} // reinterpret and extend; i64.load32_u
	if c.typ == typeF64 {
		local, bits, store, load = 1, []byte{0xBD}, 0x39, []byte{0x29, 0, 0}
	}
	return map[string][]byte{
		"reinterpreted":   bits,
		"through a local": cat([]byte{opLocalSet, local, opLocalGet, local}, bits),
		"through memory":  cat([]byte{opLocalSet, local}, i32(64), []byte{opLocalGet, local, store, 0, 0}, i32(64), load),
		"out of a block":  cat([]byte{opLocalSet, local, opBlock, c.typ, opLocalGet, local, opEnd}, bits),
	}
}
