package templates_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
	"github.com/pointsman/pointsman/sdk/templates"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// TestLanguages builds the reference policy in every language, from a new project outside of this repository, and proves
// that all keep the contract and decide alike, bit for bit: also when a later host sends longer records.
func TestLanguages(t *testing.T) {
	calls, err := policytest.ReferenceCalls()
	if err != nil {
		t.Fatal(err)
	}
	goModule := buildLanguage(t, "go")
	cached := policies.Config{CacheDir: t.TempDir()}
	for _, l := range templates.Languages() {
		t.Run(l.Name, func(t *testing.T) {
			module := goModule
			if l.Name != "go" {
				module = buildLanguage(t, l.Name)
			}
			t.Run("contract", func(t *testing.T) {
				for _, params := range []map[string]string{nil, {"review": "true", "steps": "8", "prefer": "groq,openai"}} {
					one := loadReference(t, cached, module, params)
					policytest.Run(t, one)
					if l.Name != "go" {
						policytest.Same(t, loadReference(t, cached, goModule, params), one, 11, 500)
					}
				}
			})
			t.Run("host", func(t *testing.T) {
				if err := policytest.Replay(calls, &hosted{host: newHost(t, cached), module: module}); err != nil {
					t.Error(err)
				}
			})
			for _, later := range []bool{false, true} {
				t.Run(fmt.Sprintf("longer records %v", later), func(t *testing.T) {
					b := newBare(t, module)
					b.later = later
					if err := policytest.Replay(calls, b); err != nil {
						t.Error(err)
					}
				})
			}
			info, _ := newHost(t, cached).Load("p", module, policies.Settings{Grants: abi.GrantState})
			if info.Description != "reference policy; "+l.Title || info.Needs != abi.GrantState {
				t.Errorf("it describes itself as %q and needs %b", info.Description, info.Needs)
			}
			t.Logf("%d bytes", len(module))
		})
	}
}

// TestOwnTests runs the tests that come with a new project.
func TestOwnTests(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range templates.Languages() {
		if l.Test == nil {
			continue
		}
		t.Run(l.Name, func(t *testing.T) {
			toolchain(t, root, l) // skips where there is none
			command := l.Test
			if l.Name == "zig" {
				command = append([]string{filepath.Join(root, ".cache/zig/zig")}, command[1:]...)
			}
			cmd := exec.Command(command[0], command[1:]...)
			cmd.Dir = filepath.Join(t.TempDir(), "project")
			if err := templates.Write(cmd.Dir, l.Name, "my-policy", templates.Options{Replace: root}); err != nil {
				t.Fatal(err)
			}
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
		})
	}
}

// newHost is a host that is closed with the test.
func newHost(t testing.TB, config policies.Config) *policies.Host {
	t.Helper()
	h, err := policies.New(context.Background(), config)
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

// loadReference is the module on a host of its own.
func loadReference(t testing.TB, config policies.Config, module []byte, params map[string]string) policytest.Route {
	t.Helper()
	h := newHost(t, config)
	if _, err := h.Load("p", module, policies.Settings{Params: params, Grants: abi.GrantState}); err != nil {
		t.Fatal(err)
	}
	return func(f *policy.Facts, plan *policy.Plan) error {
		_, err := h.Route("p", f, plan)
		return err
	}
}

// buildLanguage makes a new project from a template and builds it with the language's own command.
func buildLanguage(t testing.TB, name string) []byte {
	t.Helper()
	return buildProject(t, name, func(string, templates.Language) {})
}

// buildProject is buildLanguage with a change of the project before it is built.
func buildProject(t testing.TB, name string, change func(dir string, l templates.Language)) []byte {
	t.Helper()
	l, ok := templates.Find(name)
	if !ok {
		t.Fatalf("no language %s", name)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	command, env := toolchain(t, root, l)
	dir := filepath.Join(t.TempDir(), "project")
	if err := templates.Write(dir, name, "my-policy", templates.Options{Replace: root}); err != nil {
		t.Fatal(err)
	}
	change(dir, l)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), l.Env...), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, text)
	}
	module, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(l.Module)))
	if err != nil {
		t.Fatal(err)
	}
	return module
}

// toolchain is the language's build command with the tools of this machine, as scripts/test-setup.sh provides them. Without
// them the test is skipped.
func toolchain(t testing.TB, root string, l templates.Language) (command, env []string) {
	t.Helper()
	build := l.Build
	instead := func(tool string, arguments []string) []string {
		if path := filepath.Join(root, tool); exists(path) {
			return append([]string{path}, arguments...)
		}
		return nil
	}
	switch l.Name {
	case "go":
		return build, nil
	case "c":
		command = instead(".cache/c/clang", build[1:])
	case "zig":
		command = instead(".cache/zig/zig", build[1:])
	case "assemblyscript":
		command = instead("policies/builtin/node_modules/.bin/asc", build[2:]) // instead of npx asc
	case "rust":
		if compiler := filepath.Join(root, ".cache/rust/rustc"); exists(compiler) {
			return append(build[:len(build):len(build)], "--offline"), []string{"RUSTC=" + compiler}
		}
	}
	if command != nil {
		return command, nil
	}
	t.Skipf("there is no toolchain for %s: run scripts/test-setup.sh", l.Title)
	return nil, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// hosted replays calls through a host: it decodes them into facts, which the host encodes again.
type hosted struct {
	host   *policies.Host
	module []byte
	snap   *policy.Published
	state  *policy.State
	states uint64 // so many there were
}

func (h *hosted) Start(config []byte) error {
	params := map[string]string{}
	for _, line := range strings.Split(strings.TrimSuffix(string(config), "\n"), "\n") {
		if key, value, ok := strings.Cut(line, "="); ok {
			params[key] = value
		}
	}
	h.state, h.snap = nil, policy.Publish(policy.Snapshot{Generation: 1})
	_, err := h.host.Load("p", h.module, policies.Settings{Params: params, Grants: abi.GrantState})
	if errors.Is(err, policies.ErrConfigure) {
		return err
	}
	if err != nil {
		panic(err)
	}
	return nil
}

func (h *hosted) Snapshot(b []byte) error {
	var s policy.Snapshot
	if err := policy.DecodeSnapshot(b, &s); err != nil {
		return err
	}
	h.snap = policy.Publish(s)
	if !bytes.Equal(h.snap.Bytes, b) {
		return errors.New("the snapshot is encoded in another way")
	}
	return nil
}

// State asks about no outcomes on the new state, which the host has to deliver first.
func (h *hosted) State(b []byte) error {
	h.states++
	h.state = &policy.State{Number: h.states, Bytes: b}
	_, err := h.host.Observe("p", h.state, nil, nil)
	return err
}

func (h *hosted) Decide(b []byte, further bool) ([]byte, error) {
	var request policy.Request
	var history []policy.Outcome
	var err error
	if further {
		history, err = policy.DecodeOutcomes(b, nil, &request)
	} else {
		err = policy.DecodeRequest(b, &request)
	}
	if err != nil {
		return nil, err
	}
	if request.State = 0; h.state != nil {
		request.State = h.state.Number
	}
	var plan policy.Plan
	_, err = h.host.Route("p", &policy.Facts{Snapshot: h.snap, State: h.state, Request: &request, History: history}, &plan)
	return policy.AppendPlan(nil, &plan), err
}

func (h *hosted) Observe(b []byte) ([]byte, error) {
	outcomes, err := policy.DecodeOutcomes(b, nil, nil)
	if err != nil {
		return nil, err
	}
	return h.host.Observe("p", h.state, outcomes, nil)
}

// bare calls a module's exports with bytes, without the host, its fuel and its checks.
type bare struct {
	t        *testing.T
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	guest    api.Module
	size     uint64
	address  uint32
	later    bool     // send records as a later version of the contract will
	logged   []string // what the guest logged
}

func newBare(t *testing.T, module []byte) *bare {
	t.Helper()
	ctx := context.Background()
	config := wazero.NewRuntimeConfig()
	if len(module) > 1<<20 { // to compile it does not pay for so few calls
		config = wazero.NewRuntimeConfigInterpreter()
	}
	b := &bare{t: t, runtime: wazero.NewRuntimeWithConfig(ctx, config)}
	t.Cleanup(func() { _ = b.runtime.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, b.runtime)
	_, err := b.runtime.NewHostModuleBuilder(abi.HostModule).NewFunctionBuilder().
		WithFunc(func(_ context.Context, guest api.Module, level int32, at, size uint32) {
			text, _ := guest.Memory().Read(at, size)
			b.logged = append(b.logged, fmt.Sprintf("%d %s", level, text))
		}).Export(abi.ImportLog).Instantiate(ctx)
	if err == nil {
		b.compiled, err = b.runtime.CompileModule(ctx, module)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// call writes the input into the guest's buffer and returns the result of the export.
func (b *bare) call(export string, input []byte) (uint64, error) {
	ctx := context.Background()
	if need := uint64(len(input)); b.size < need || b.address == 0 {
		results, err := b.guest.ExportedFunction(abi.ExportBuffer).Call(ctx, need)
		if err != nil {
			return 0, err
		}
		b.address, b.size = uint32(results[0]), need
	}
	if !b.guest.Memory().Write(b.address, input) {
		return 0, errors.New("the buffer is not in the guest's memory")
	}
	results, err := b.guest.ExportedFunction(export).Call(ctx, uint64(len(input)))
	if err != nil {
		return 0, err
	}
	return results[0], nil
}

func (b *bare) accept(export string, input []byte) error {
	status, err := b.call(export, input)
	if err == nil && status != 0 {
		err = fmt.Errorf("status %d", status)
	}
	return err
}

func (b *bare) give(export string, input []byte) ([]byte, error) {
	span, err := b.call(export, input)
	if err != nil {
		return nil, err
	}
	answer, ok := b.guest.Memory().Read(uint32(span>>32), uint32(span))
	if !ok {
		return nil, errors.New("the answer is not in the guest's memory")
	}
	return bytes.Clone(answer), nil
}

func (b *bare) Start(config []byte) (err error) {
	ctx := context.Background()
	if b.guest != nil {
		if err := b.guest.Close(ctx); err != nil {
			return err
		}
	}
	b.size, b.address = 0, 0
	b.guest, err = b.runtime.InstantiateModule(ctx, b.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.accept(abi.ExportConfigure, config)
}

func (b *bare) Snapshot(in []byte) error {
	if b.later {
		in = widen(in, abi.SnapshotHeaderSize, abi.CandidateSize, abi.SnapshotBlobOff)
	}
	return b.accept(abi.ExportSnapshot, in)
}

func (b *bare) State(in []byte) error { return b.accept(abi.ExportState, in) }

func (b *bare) Decide(in []byte, further bool) ([]byte, error) {
	if !further {
		if b.later {
			in = widenRequest(in)
		}
		return b.give(abi.ExportRoute, in)
	}
	if b.later {
		in = widenRounds(in)
	}
	return b.give(abi.ExportNext, in)
}

func (b *bare) Observe(in []byte) ([]byte, error) {
	if b.later {
		in = widen(in, abi.OutcomesHeaderSize, abi.OutcomeSize, abi.OutcomesBlobOff)
	}
	return b.give(abi.ExportObserve, in)
}

// widen is a buffer as a later version would write it: eight unknown bytes behind the header and behind each record, and
// the offsets at some fields moved on. Header size, count and stride stand in the same place in every buffer.
func widen(b []byte, header, record int, offsets ...int) []byte {
	count := int(binary.LittleEndian.Uint16(b[abi.SnapshotCount:]))
	unknown := bytes.Repeat([]byte{0xEE}, 8)
	out := append(bytes.Clone(b[:header]), unknown...)
	for i := range count {
		out = append(append(out, b[header+i*record:][:record]...), unknown...)
	}
	out = append(out, b[header+count*record:]...)
	binary.LittleEndian.PutUint16(out[abi.SnapshotHeader:], uint16(header+8))
	binary.LittleEndian.PutUint16(out[abi.SnapshotStride:], uint16(record+8))
	for _, at := range offsets {
		binary.LittleEndian.PutUint32(out[at:], binary.LittleEndian.Uint32(out[at:])+uint32(8+8*count))
	}
	return out
}

func widenRequest(b []byte) []byte {
	var texts []int
	for _, at := range []int{abi.RequestTextOff, abi.RequestMetadataOff} {
		if binary.LittleEndian.Uint32(b[at:]) != 0 {
			texts = append(texts, at)
		}
	}
	return widen(b, abi.RequestHeaderSize, abi.OptionSize, texts...)
}

// widenRounds widens outcomes and the request behind them.
func widenRounds(b []byte) []byte {
	get := func(at int) int { return int(binary.LittleEndian.Uint32(b[at:])) }
	at, length, texts := get(abi.OutcomesRequestOff), get(abi.OutcomesRequestLen), get(abi.OutcomesBlobOff)
	request := widenRequest(b[at : at+length])
	for len(request)%8 != 0 {
		request = append(request, 0xEE)
	}
	all := append(append(bytes.Clone(b[:at]), request...), b[texts:]...)
	binary.LittleEndian.PutUint32(all[abi.OutcomesRequestLen:], uint32(len(request)))
	binary.LittleEndian.PutUint32(all[abi.OutcomesBlobOff:], uint32(at+len(request)))
	return widen(all, abi.OutcomesHeaderSize, abi.OutcomeSize, abi.OutcomesRequestOff, abi.OutcomesBlobOff)
}
