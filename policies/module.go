package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Info describes a loaded policy.
type Info struct {
	Name         string
	Digest       string // hexadecimal SHA-256 of the module as it was given
	Size         int    // bytes of the module
	Config       string // configuration text
	ConfigDigest string // hexadecimal SHA-256 of the configuration text
	Description  string // what the module says of itself, "" if it says nothing
	Needs        uint32 // abi.Grant* bits of what it is given beyond the plain facts
	Loaded       time.Time
	Stats
}

// Stats counts what a policy did since it was loaded.
type Stats struct {
	Decisions uint64
	Failures  Failures
	Skipped   uint64 // requests while it was suspended
	LastFuel  int64  // that the last decision used
	Instances int    // alive now
	Suspended bool   // left alone after repeated failures
	Checked   uint64 // decisions that were repeated on a fresh instance
	Impure    uint64 // of those, how many came out differently
}

// Failures counts failed decisions by kind, named like the errors.
type Failures struct {
	Fuel, Depth, Trap, BadPlan, Status uint64
}

// errRetired: the module was replaced; its successor takes the request.
var errRetired = errors.New("policy was replaced")

// module is one loaded policy: compiled code and the instances of it.
type module struct {
	host         *Host
	name         string
	digest       string
	size         int
	config       string
	configDigest string // of config, hexadecimal
	settings     Settings
	needs        uint32 // abi.Grant*
	about        string
	loaded       time.Time
	version      uint64                  // see Host.Version
	cache        wazero.CompilationCache // nil without a cache directory
	runtime      wazero.Runtime
	compiled     wazero.CompiledModule
	drained      chan struct{} // closed when it is retired and its last instance is gone

	mu      sync.Mutex
	idle    []*instance // the last used on top: its memory is warm
	freed   sync.Cond   // an instance came back or went
	retired bool
	stats   Stats
	inARow  int // failures since the last success
	openEnd time.Time
	said    string // the last line it logged
	routed  int    // decisions since the last that was checked
	checks  bool   // a check is under way
	alone   bool   // no instance is used twice, see check
}

// newModule checks, rewrites and compiles a module, and starts one instance of it.
func newModule(h *Host, name string, wasm []byte, settings Settings) (m *module, err error) {
	config, err := policy.FormatConfig(settings.Params)
	if err != nil {
		return nil, err
	}
	if len(config) > abi.MaxConfig {
		return nil, fmt.Errorf("%w: %d bytes of parameters, more than %d", ErrConfigure, len(config), abi.MaxConfig)
	}
	metered, err := meter(wasm, h.config.StartFuel)
	if err != nil {
		return nil, err
	}
	m = &module{
		host: h, name: name, digest: sum(wasm), size: len(wasm), config: config, configDigest: sum([]byte(config)), settings: settings,
		loaded: h.config.Now(), drained: make(chan struct{}),
	}
	if m.settings.Fuel <= 0 {
		m.settings.Fuel = h.config.Fuel
	}
	m.freed.L = &m.mu
	defer func() {
		if p := recover(); p != nil { // a fault of the compiler must not end the gateway
			err = refused("the compiler failed: %v", p)
		}
		if err != nil {
			m.free()
			m = nil
		}
	}()
	return m, m.prepare(metered)
}

// prepare compiles the code, checks what it exports and imports, and starts the first instance.
func (m *module) prepare(code []byte) error {
	if err := m.compile(code); err != nil {
		return err
	}
	if err := checkExports(m.compiled); err != nil {
		return err
	}
	if err := m.provideImports(); err != nil {
		return err
	}
	first, err := m.start()
	if err != nil {
		return err
	}
	m.idle, m.stats.Instances, m.needs = append(m.idle, first), 1, first.needs
	m.about, err = first.describe()
	return err
}

func sum(b []byte) string {
	digest := sha256.Sum256(b)
	return hex.EncodeToString(digest[:])
}

// signature is what a function takes and gives.
type signature struct{ params, results []api.ValueType }

func (s signature) String() string {
	list := func(types []api.ValueType) string {
		text := "("
		for i, t := range types {
			if i > 0 {
				text += ", "
			}
			text += api.ValueTypeName(t)
		}
		return text + ")"
	}
	return list(s.params) + " -> " + list(s.results)
}

func (s signature) matches(f api.FunctionDefinition) bool {
	return slices.Equal(s.params, f.ParamTypes()) && slices.Equal(s.results, f.ResultTypes())
}

// checkExports checks the exports of the contract by name and signature.
func checkExports(compiled wazero.CompiledModule) error {
	i32, i64 := []api.ValueType{api.ValueTypeI32}, []api.ValueType{api.ValueTypeI64}
	functions := compiled.ExportedFunctions()
	for _, want := range []struct {
		name      string
		signature signature
		optional  bool
	}{
		{abi.ExportVersion, signature{nil, i32}, false},
		{abi.ExportBuffer, signature{i32, i32}, false},
		{abi.ExportConfigure, signature{i32, i32}, false},
		{abi.ExportSnapshot, signature{i32, i32}, false},
		{abi.ExportRoute, signature{i32, i64}, false},
		{abi.ExportDescribe, signature{nil, i64}, true},
		{abi.ExportNeeds, signature{nil, i32}, true},
		{abi.ExportNext, signature{i32, i64}, true},
		{abi.ExportState, signature{i32, i32}, true},
		{abi.ExportObserve, signature{i32, i64}, true},
		{abi.ExportStart, signature{nil, nil}, true},
	} {
		f := functions[want.name]
		switch {
		case f == nil && !want.optional:
			return refused("it does not export %s %s", want.name, want.signature)
		case f != nil && !want.signature.matches(f):
			return refused("its export %s is %s, must be %s", want.name, signature{f.ParamTypes(), f.ResultTypes()}, want.signature)
		}
	}
	if compiled.ExportedMemories()[abi.ExportMemory] == nil {
		return refused("it does not export its memory as %q", abi.ExportMemory)
	}
	return nil
}

// route takes an instance, lets it decide, and gives it back or throws it away.
func (m *module) route(f *policy.Facts, plan *policy.Plan) (fuel int64, err error) {
	inst, err := m.acquire(f.Snapshot)
	if err != nil {
		return 0, err
	}
	fuel, err = inst.decide(f, plan)
	if err != nil {
		err = fmt.Errorf("policy %s: %w", m.name, err)
	}
	if m.release(inst, fuel, err, true) {
		m.check(f, plan)
	}
	return fuel, err
}

// observe is like route, off the way of any request.
func (m *module) observe(state *policy.State, outcomes []policy.Outcome, dst []byte) ([]byte, error) {
	inst, err := m.acquire(nil)
	if err != nil {
		return dst, err
	}
	fuel, next, err := inst.observe(state, outcomes, dst)
	if err != nil {
		err = fmt.Errorf("policy %s: %w", m.name, err)
	}
	m.release(inst, fuel, err, false)
	return next, err
}

// acquire returns an instance for one call about a snapshot, nil for none: an idle one, or a new one if there may be more, or else the next that comes
// back. It fails with ErrOpen while the policy is suspended, and with errRetired once it was replaced.
func (m *module) acquire(about *policy.Published) (*instance, error) {
	m.mu.Lock()
	for {
		if m.retired {
			m.mu.Unlock()
			return nil, errRetired
		}
		if m.inARow >= failuresToOpen && m.host.config.Now().Before(m.openEnd) {
			m.stats.Skipped++
			m.mu.Unlock()
			return nil, fmt.Errorf("policy %s: %w", m.name, ErrOpen)
		}
		if len(m.idle) > 0 {
			i := m.suited(about)
			inst := m.idle[i]
			m.idle = slices.Delete(m.idle, i, i+1)
			m.mu.Unlock()
			return inst, nil
		}
		if m.stats.Instances < m.host.config.Instances {
			break
		}
		m.freed.Wait()
	}
	m.stats.Instances++
	m.mu.Unlock()
	inst, err := m.start()
	if err != nil {
		err = fmt.Errorf("policy %s: starting an instance: %w", m.name, err)
		m.release(nil, 0, err, false)
		return nil, err
	}
	return inst, nil
}

// suited is the idle instance to ask about a snapshot: one that knows it, or else the one that was used last, unless that knows another
// part of the same generation, which others will ask about: then the one that was not used for longest. The lock is held.
func (m *module) suited(about *policy.Published) int {
	last := len(m.idle) - 1
	for i := last; i >= 0; i-- {
		if m.idle[i].known == about {
			return i
		}
	}
	if known := m.idle[last].known; about != nil && known != nil && known.Generation == about.Generation {
		return 0
	}
	return last
}

// release ends a call: it counts the outcome, and keeps the instance only if the call went well. If that was a decision, it tells whether
// it is one of those to be checked, which whoever is told so must do.
func (m *module) release(inst *instance, fuel int64, err error, decision bool) (check bool) {
	m.mu.Lock()
	m.stats.LastFuel = fuel
	if err == nil {
		m.stats.Decisions++
		m.inARow = 0
		if decision {
			m.routed++
		}
		if every := m.host.config.CheckEvery; decision && every > 0 && m.routed >= every && !m.checks && !m.retired {
			m.routed, m.checks, check = 0, true, true
			m.stats.Instances++ // what the check is going to start
		}
	} else {
		m.fail(err)
	}
	keep := err == nil && !m.retired && !m.alone
	if keep {
		m.idle = append(m.idle, inst)
	} else {
		m.stats.Instances--
	}
	last := m.retired && m.stats.Instances == 0
	m.freed.Signal()
	m.mu.Unlock()
	if !keep && inst != nil {
		inst.close()
	}
	if last {
		m.free()
	}
	return check
}

// fail counts a failure and suspends the policy after several in a row. The lock is held.
func (m *module) fail(err error) {
	f := &m.stats.Failures
	switch {
	case errors.Is(err, ErrFuel):
		f.Fuel++
	case errors.Is(err, ErrDepth):
		f.Depth++
	case errors.Is(err, ErrTrap):
		f.Trap++
	case errors.Is(err, ErrBadPlan):
		f.BadPlan++
	default:
		f.Status++
	}
	if m.inARow++; m.inARow >= failuresToOpen {
		m.openEnd = m.host.config.Now().Add(openFor)
		m.freed.Broadcast() // who waits for an instance is told to go on without
	}
}

// retire lets the module end: idle instances now, the others when their calls return.
func (m *module) retire() {
	m.mu.Lock()
	idle := m.idle
	m.idle, m.retired = nil, true
	m.stats.Instances -= len(idle)
	last := m.stats.Instances == 0
	m.freed.Broadcast()
	m.mu.Unlock()
	for _, inst := range idle {
		inst.close()
	}
	if last {
		m.free()
	}
}

// free gives the compiled code back. It is called once, by whoever ended the last instance.
func (m *module) free() {
	// Closing releases memory only: there is nothing to do about a failure, and nobody left who could.
	if m.compiled != nil { // compiled code that came from a cache outlives the runtime
		_ = m.compiled.Close(m.host.ctx)
	}
	if m.runtime != nil {
		_ = m.runtime.Close(m.host.ctx)
	}
	if m.cache != nil {
		_ = m.cache.Close(m.host.ctx)
	}
	close(m.drained)
}

func (m *module) info() Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	info := Info{
		Name: m.name, Digest: m.digest, Size: m.size, Config: m.config, ConfigDigest: m.configDigest,
		Description: m.about, Needs: m.needs, Loaded: m.loaded, Stats: m.stats,
	}
	info.Suspended = m.inARow >= failuresToOpen && m.host.config.Now().Before(m.openEnd)
	return info
}
