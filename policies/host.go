// Package policies runs routing policies: WebAssembly modules that follow sdk/abi, each in a sandbox of its own.
//
// A module is untrusted. It is refused at load unless it keeps the contract and the limits; it is rewritten so that every
// call pays fuel and ends (see meter); it has no files, clock, randomness or network; and an instance that failed in any
// way is thrown away. A policy that keeps failing is left alone for some seconds, so that callers use their own order.
//
// Caveats: compiling is not metered, only bounded by the limits in fuel.go, so have modules of strangers compiled by a process
// that may die, see [Config].Compile; and the cache directory holds machine code that is executed as it is: nobody else may
// write there.
package policies

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Defaults of [Config].
const (
	DefaultFuel        = 5_000_000
	DefaultStartFuel   = 200_000_000
	DefaultMemoryPages = 256
)

// A policy that fails this often in a row is left alone for this long.
const (
	failuresToOpen = 5
	openFor        = 5 * time.Second
)

// Config is how a host runs policies. The zero value is ready for use.
type Config struct {
	CacheDir string // where compiled modules are kept, for this user alone; "" keeps none
	// Compile has a module compiled by someone else, who calls CompileInto with the same arguments. It is asked for every
	// module that is not yet in the cache and not among Trusted, one at a time. Nil: this process compiles.
	Compile     func(ctx context.Context, module []byte, dir string) error
	Trusted     []string                                    // digests of modules that this process compiles in any case
	Fuel        int64                                       // of one decision and of one snapshot, for each 64 candidates; about an instruction each
	StartFuel   int64                                       // of starting an instance
	MemoryPages uint32                                      // of 64 KiB that an instance may have
	Instances   int                                         // of one policy at most; 0: twice the processors
	CheckEvery  int                                         // one in so many decisions is repeated on a fresh instance and compared; 0: none
	Now         func() time.Time                            // nil: time.Now
	Log         func(policy string, level int, text string) // lines that policies log, level 0 debug to 3 error; nil: dropped
}

func (c Config) withDefaults() Config {
	if c.Fuel <= 0 {
		c.Fuel = DefaultFuel
	}
	if c.StartFuel <= 0 {
		c.StartFuel = DefaultStartFuel
	}
	if c.MemoryPages == 0 {
		c.MemoryPages = DefaultMemoryPages
	}
	if c.Instances <= 0 {
		c.Instances = 2 * runtime.GOMAXPROCS(0)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = func(string, int, string) {}
	}
	return c
}

// Host holds the loaded policies. It is safe for concurrent use; Route takes no lock that requests to other policies take.
type Host struct {
	ctx    context.Context // for compiling and starting
	config Config

	compiling sync.Mutex // held by who fills the cache

	mu      sync.Mutex // guards changes of the set
	closed  bool
	loads   uint64                             // so far
	modules atomic.Pointer[map[string]*module] // replaced, never changed
}

// New returns a host without policies. It fails if the cache directory cannot be used. The context is for compiling and
// starting modules; no context stops a decision, fuel does.
func New(ctx context.Context, config Config) (*Host, error) {
	h := &Host{ctx: ctx, config: config.withDefaults()}
	h.modules.Store(&map[string]*module{})
	if config.CacheDir != "" {
		if err := openCache(config.CacheDir); err != nil {
			return nil, fmt.Errorf("opening the cache of compiled policies: %w", err)
		}
	} else if config.Compile != nil {
		return nil, errors.New("policies that others compile need a directory for the code")
	}
	return h, nil
}

// Settings are what an operator says about one policy. The zero value grants nothing beyond the plain facts.
type Settings struct {
	Params map[string]string // for its configuration text
	Grants uint32            // abi.Grant* bits it may have
	Fuel   int64             // as in Config, which is used where this is 0
}

// Load makes a module the policy of that name. A policy that had the name before serves until the new one is ready and as
// warm as it is itself, and finishes the requests it has begun. The error wraps [ErrRefused], [ErrGrant] or [ErrConfigure] and says exactly what is
// wrong.
func (h *Host) Load(name string, wasm []byte, settings Settings) (Info, error) {
	m, err := newModule(h, name, wasm, settings)
	if err != nil {
		return Info{}, fmt.Errorf("loading policy %s: %w", name, err)
	}
	if err := m.warm((*h.modules.Load())[name]); err != nil {
		m.retire()
		return Info{}, fmt.Errorf("loading policy %s: %w", name, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		m.retire()
		return Info{}, ErrClosed
	}
	h.loads++
	m.version = h.loads
	h.replace(name, m)
	return m.info(), nil
}

// Unload takes the policy of that name away. It tells whether there was one.
func (h *Host) Unload(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.replace(name, nil)
}

// replace puts m, or nothing if it is nil, in the place of the named policy.
func (h *Host) replace(name string, m *module) bool {
	modules := maps.Clone(*h.modules.Load())
	old := modules[name]
	if delete(modules, name); m != nil {
		modules[name] = m
	}
	h.modules.Store(&modules)
	if old != nil {
		old.retire()
	}
	return old != nil
}

// Route asks a policy for a plan: the first of a request, or with a history the next. The plan's slices are reused. The
// request must be about the snapshot's generation and the state, with one option per candidate. ran is the module that was
// asked, also if it failed. On an error the plan is undefined and the caller goes on with an order of its
// own; the error wraps one of those in errors.go. Route does not allocate when it succeeds.
func (h *Host) Route(name string, f *policy.Facts, plan *policy.Plan) (ran policy.Ran, err error) {
	snap, req := f.Snapshot, f.Request
	if req.Generation != snap.Generation || len(req.Options) != len(snap.Candidates) || len(req.Options) > abi.MaxCandidates {
		return ran, fmt.Errorf("%w: generation %d with %d options, snapshot %d with %d candidates", ErrRequest,
			req.Generation, len(req.Options), snap.Generation, len(snap.Candidates))
	}
	if f.State == nil && req.State != 0 || f.State != nil && req.State != f.State.Number {
		return ran, fmt.Errorf("%w: it is about state %d, which is not given", ErrRequest, req.State)
	}
	for {
		m := (*h.modules.Load())[name]
		if m == nil {
			return ran, fmt.Errorf("%w: %s", ErrUnknown, name)
		}
		fuel, err := m.route(f, plan)
		if !errors.Is(err, errRetired) { // replaced between the two lines above: ask its successor
			return policy.Ran{Digest: m.digest, Config: m.configDigest, Needs: m.needs, Fuel: fuel}, err
		}
	}
}

// Observe tells a learning policy what became of attempts it planned, and appends its new state to dst. State may be nil.
func (h *Host) Observe(name string, state *policy.State, outcomes []policy.Outcome, dst []byte) ([]byte, error) {
	for {
		m := (*h.modules.Load())[name]
		if m == nil {
			return dst, fmt.Errorf("%w: %s", ErrUnknown, name)
		}
		next, err := m.observe(state, outcomes, dst)
		if !errors.Is(err, errRetired) {
			return next, err
		}
	}
}

// Needs are the abi.Grant* bits of what the policy of that name must be given; false if there is none.
func (h *Host) Needs(name string) (grants uint32, ok bool) {
	m := (*h.modules.Load())[name]
	if m == nil {
		return 0, false
	}
	return m.needs, true
}

// Version is a number that no other load of any policy has: it stands for the module, its parameters and its limits together. 0 if
// there is no policy of that name.
func (h *Host) Version(name string) uint64 {
	m := (*h.modules.Load())[name]
	if m == nil {
		return 0
	}
	return m.version
}

// Info describes the policy of that name; false if there is none.
func (h *Host) Info(name string) (Info, bool) {
	m := (*h.modules.Load())[name]
	if m == nil {
		return Info{}, false
	}
	return m.info(), true
}

// List describes all policies, sorted by name.
func (h *Host) List() []Info {
	var all []Info
	for _, name := range h.Names() {
		if info, ok := h.Info(name); ok {
			all = append(all, info)
		}
	}
	return all
}

// Names are the names of all policies, sorted.
func (h *Host) Names() []string { return slices.Sorted(maps.Keys(*h.modules.Load())) }

// Digest is the hexadecimal SHA-256 of the module of that name; false if there is none.
func (h *Host) Digest(name string) (string, bool) {
	m := (*h.modules.Load())[name]
	if m == nil {
		return "", false
	}
	return m.digest, true
}

// Close takes all policies away and waits for the requests they have begun, which end by themselves.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	modules := *h.modules.Swap(&map[string]*module{})
	h.mu.Unlock()
	for _, m := range modules {
		m.retire()
	}
	for _, m := range modules {
		<-m.drained
	}
	return nil
}
