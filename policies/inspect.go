package policies

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Shape is what a module looks like from outside, without running it.
type Shape struct {
	Digest    string   `json:"sha256"`
	Size      int      `json:"size"`             // bytes
	Exports   []string `json:"exports"`          // "name (i32) -> i64", sorted
	Imports   []string `json:"imports"`          // "module.name (i32) -> ()", sorted
	Memory    uint32   `json:"memory_pages"`     // of 64 KiB, at the start
	MaxMemory uint32   `json:"memory_pages_max"` // that it says it may grow to; 0: it does not say
}

// Inspect reads a module within the limits of [Host.Load]. The error wraps [ErrRefused].
func Inspect(wasm []byte) (Shape, error) {
	s := Shape{Digest: sum(wasm), Size: len(wasm)}
	if _, err := meter(wasm, DefaultStartFuel); err != nil {
		return s, err
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2&^api.CoreFeatureSIMD))
	defer r.Close(ctx) //nolint:errcheck // releases memory only
	compiled, err := r.CompileModule(ctx, wasm)
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	exports := compiled.ExportedFunctions()
	for _, name := range slices.Sorted(maps.Keys(exports)) {
		f := exports[name]
		s.Exports = append(s.Exports, name+" "+signature{f.ParamTypes(), f.ResultTypes()}.String())
	}
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		s.Imports = append(s.Imports, module+"."+name+" "+signature{f.ParamTypes(), f.ResultTypes()}.String())
	}
	slices.Sort(s.Imports)
	for _, m := range compiled.ExportedMemories() {
		s.Memory = m.Min()
		if most, ok := m.Max(); ok {
			s.MaxMemory = most
		}
	}
	return s, nil
}
