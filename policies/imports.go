package policies

import (
	"context"
	"fmt"
	"strings"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/tetratelabs/wazero/api"
)

// wasiModule is what toolchains for WASI preview 1 import. It is provided only to modules that import it.
const wasiModule = "wasi_snapshot_preview1"

// Fuel of a call to the host, which leaves the compiled code, and of each byte where it makes many.
const (
	hostCharge = 1_000
	byteCharge = 4
)

// maxLine is how much of a logged line is kept.
const maxLine = 256

// shownValue is how long a parameter's value must be, in bytes, to be left out of lines.
const shownValue = 12

// hostFunction is a function that guests may import. Its first result, if it has one, is a WASI error number.
type hostFunction struct {
	module, name string
	signature    signature
	bytes        int // number of the argument that says how many bytes are made; 0: none are
	run          func(guest api.Module, arguments []uint64) (errno uint64)
}

// provideImports checks the module's imports by name and signature, and defines those functions in its runtime.
func (m *module) provideImports() error {
	wanted := map[string]map[string]hostFunction{}
	for _, f := range m.compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		have, ok := m.hostFunction(module, name)
		if !ok {
			return refused("it imports %s.%s; there is %s.%s and WASI preview 1", module, name, abi.HostModule, abi.ImportLog)
		}
		if !have.signature.matches(f) {
			return refused("its import %s.%s is %s, must be %s", module, name, signature{f.ParamTypes(), f.ResultTypes()}, have.signature)
		}
		if wanted[module] == nil {
			wanted[module] = map[string]hostFunction{}
		}
		wanted[module][name] = have
	}
	for module, functions := range wanted {
		builder := m.runtime.NewHostModuleBuilder(module)
		for name, f := range functions {
			builder.NewFunctionBuilder().WithGoModuleFunction(f.metered(), f.signature.params, f.signature.results).Export(name)
		}
		if _, err := builder.Instantiate(m.host.ctx); err != nil {
			return fmt.Errorf("providing %s: %w", module, err)
		}
	}
	return nil
}

// metered makes the guest pay for a call, whichever way it comes.
func (f hostFunction) metered() api.GoModuleFunc {
	return func(_ context.Context, guest api.Module, stack []uint64) {
		if fuel, ok := guest.ExportedGlobal(exportFuel).(api.MutableGlobal); ok {
			charge := int64(hostCharge)
			if f.bytes > 0 {
				charge += byteCharge * int64(uint32(stack[f.bytes]))
			}
			fuel.Set(uint64(int64(fuel.Get()) - charge))
		}
		errno := f.run(guest, stack)
		if len(f.signature.results) > 0 {
			stack[0] = errno
		}
	}
}

// hostFunction finds what a module may import under a name.
func (m *module) hostFunction(module, name string) (hostFunction, bool) {
	if module == abi.HostModule && name == abi.ImportLog {
		return hostFunction{module: module, name: name, signature: signature{params: types("iii")}, run: m.log}, true
	}
	if module != wasiModule {
		return hostFunction{}, false
	}
	f, ok := wasiFunction(name)
	f.module, f.name = module, name
	return f, ok
}

// log passes a line on to the operator.
func (m *module) log(guest api.Module, a []uint64) uint64 {
	text, ok := guest.Memory().Read(uint32(a[1]), min(uint32(a[2]), 2*maxLine))
	if !ok {
		return 0
	}
	line := m.withoutParameters(string(text))
	line = strings.ToValidUTF8(line[:min(len(line), maxLine)], "")
	m.mu.Lock()
	m.said = line
	m.mu.Unlock()
	m.host.config.Log(m.name, int(min(uint32(a[0]), 3)), line)
	return 0
}

// withoutParameters leaves out of a line the values of parameters that are long enough for secrets: lines go to logs, errors and
// the depot's audit file, and a policy that refuses a parameter likes to quote it.
func (m *module) withoutParameters(line string) string {
	for parameter := range strings.Lines(m.config) {
		if _, value, _ := strings.Cut(strings.TrimSuffix(parameter, "\n"), "="); len(value) >= shownValue {
			line = strings.ReplaceAll(line, value, "…")
		}
	}
	return line
}

// lastLine is what the module logged last, in which a failure is usually explained.
func (m *module) lastLine() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.said
}

// types spells value types: i and I for the integers of 32 and 64 bits.
func types(letters string) []api.ValueType {
	list := make([]api.ValueType, 0, len(letters))
	for _, c := range letters {
		if c == 'I' {
			list = append(list, api.ValueTypeI64)
		} else {
			list = append(list, api.ValueTypeI32)
		}
	}
	return list
}

// The error numbers of WASI that are used here.
const (
	errnoSuccess = 0
	errnoBadFile = 8
	errnoFault   = 21
	errnoInvalid = 28
	errnoNoCall  = 52
)

const (
	frozenNanos = 1_640_995_200_000_000_000 // every clock stands still at 2022-01-01: a policy has no time
	maxRandom   = 4_096                     // bytes of one random_get
	maxVectors  = 16                        // buffers of one fd_write
	eventSize   = 32                        // of a poll_oneoff event, which starts with the subscription's user data
)

// wasiFunction is WASI preview 1 for a policy: no arguments, environment, files or sockets; output is dropped, clocks
// stand still, and random bytes are the same at each call, so that an answer never depends on what an instance did before.
func wasiFunction(name string) (hostFunction, bool) {
	switch name {
	case "args_get", "environ_get":
		return wasi("ii", func(api.Module, []uint64) uint64 { return errnoSuccess })
	case "args_sizes_get", "environ_sizes_get":
		return wasi("ii", func(g api.Module, a []uint64) uint64 { return put(g, 4, 0, a[0], a[1]) })
	case "clock_res_get":
		return wasi("ii", func(g api.Module, a []uint64) uint64 { return put(g, 8, 1, a[1]) })
	case "clock_time_get":
		return wasi("iIi", func(g api.Module, a []uint64) uint64 { return put(g, 8, frozenNanos, a[2]) })
	case "fd_write":
		return wasi("iiii", discard)
	case "poll_oneoff":
		return wasi("iiii", pollOnce)
	case "random_get":
		f, ok := wasi("ii", random)
		f.bytes = 1
		return f, ok
	case "sched_yield":
		return wasi("", func(api.Module, []uint64) uint64 { return errnoSuccess })
	case "proc_exit":
		f := hostFunction{signature: signature{params: types("i")}, run: exit}
		return f, true
	}
	if parameters, ok := wasiRefusals()[name]; ok {
		errno := uint64(errnoNoCall)
		if strings.HasPrefix(name, "fd_") { // there is no open file: how a libc finds the end of its list
			errno = errnoBadFile
		}
		return wasi(parameters, func(api.Module, []uint64) uint64 { return errno })
	}
	return hostFunction{}, false
}

func wasi(parameters string, run func(api.Module, []uint64) uint64) (hostFunction, bool) {
	return hostFunction{signature: signature{types(parameters), types("i")}, run: run}, true
}

// wasiRefusals are the functions that exist and always fail, with their parameters.
func wasiRefusals() map[string]string {
	return map[string]string{
		"fd_advise": "iIIi", "fd_allocate": "iII", "fd_close": "i", "fd_datasync": "i", "fd_fdstat_get": "ii",
		"fd_fdstat_set_flags": "ii", "fd_fdstat_set_rights": "iII", "fd_filestat_get": "ii", "fd_filestat_set_size": "iI",
		"fd_filestat_set_times": "iIIi", "fd_pread": "iiiIi", "fd_prestat_get": "ii", "fd_prestat_dir_name": "iii",
		"fd_pwrite": "iiiIi", "fd_read": "iiii", "fd_readdir": "iiiIi", "fd_renumber": "ii", "fd_seek": "iIii",
		"fd_sync": "i", "fd_tell": "ii", "path_create_directory": "iii", "path_filestat_get": "iiiii",
		"path_filestat_set_times": "iiiiIIi", "path_link": "iiiiiii", "path_open": "iiiiiIIii", "path_readlink": "iiiiii",
		"path_remove_directory": "iii", "path_rename": "iiiiii", "path_symlink": "iiiii", "path_unlink_file": "iii",
		"proc_raise": "i", "sock_accept": "iii", "sock_recv": "iiiiii", "sock_send": "iiiii", "sock_shutdown": "ii",
	}
}

// put writes a number of 4 or 8 bytes to each address.
func put(guest api.Module, size int, value uint64, addresses ...uint64) uint64 {
	for _, address := range addresses {
		ok := false
		if size == 4 {
			ok = guest.Memory().WriteUint32Le(uint32(address), uint32(value))
		} else {
			ok = guest.Memory().WriteUint64Le(uint32(address), value)
		}
		if !ok {
			return errnoFault
		}
	}
	return errnoSuccess
}

// discard takes what is written to standard output or error, and drops it.
func discard(guest api.Module, a []uint64) uint64 {
	if fd := uint32(a[0]); fd != 1 && fd != 2 {
		return errnoBadFile
	}
	if uint32(a[2]) > maxVectors {
		return errnoInvalid
	}
	written := uint64(0)
	for i := range uint32(a[2]) {
		length, ok := guest.Memory().ReadUint32Le(uint32(a[1]) + 8*i + 4)
		if !ok {
			return errnoFault
		}
		written += uint64(length)
	}
	return put(guest, 4, written, a[3])
}

// pollOnce reports at once that the first subscription is over: whoever sleeps wakes up in the same moment.
func pollOnce(guest api.Module, a []uint64) uint64 {
	if uint32(a[2]) == 0 {
		return errnoInvalid
	}
	userData, ok := guest.Memory().ReadUint64Le(uint32(a[0]))
	if !ok || !guest.Memory().Write(uint32(a[1]), make([]byte, eventSize)) {
		return errnoFault
	}
	if errno := put(guest, 8, userData, a[1]); errno != errnoSuccess {
		return errno
	}
	return put(guest, 4, 1, a[3])
}

// random fills a buffer with bytes of a fixed sequence.
func random(guest api.Module, a []uint64) uint64 {
	if uint32(a[1]) > maxRandom {
		return errnoInvalid
	}
	buffer, ok := guest.Memory().Read(uint32(a[0]), uint32(a[1]))
	if !ok {
		return errnoFault
	}
	state := uint64(0x9E3779B97F4A7C15)
	for i := range buffer {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		buffer[i] = byte(state >> 32)
	}
	return errnoSuccess
}

// exit ends the guest as a trap does: a policy has nothing to exit from.
func exit(_ api.Module, a []uint64) uint64 {
	panic(fmt.Errorf("the module exited with code %d", uint32(a[0])))
}
