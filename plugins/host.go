package plugins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/sdk/provider"
)

const (
	maxSocketPath   = 103                                           // bytes; the least of the systems we know
	socketNameBytes = len("/plugin-dir1234567890/plugin1234567890") // as go-plugin names them
)

// State is what a plugin is doing.
type State string

// The states.
const (
	StateStarting   State = "starting"   // its first start is under way
	StateRunning    State = "running"    // it answers
	StateRestarting State = "restarting" // it was lost, and is being started again
	StateFailed     State = "failed"     // it could not be started; the host goes on trying
	StateStopped    State = "stopped"    // the host was closed
)

// Status is one plugin's state.
type Status struct {
	Plugin    string    // its name, [BuiltinName] for the built-in process
	PID       int       // 0 when not running
	SHA256    string    // checksum of its executable as configured; "" for the built-in process
	Adapters  []string  // names, sorted; kept while it restarts
	Versions  []string  // of the adapters, in their order
	State     State     //
	Restarts  int       // how often it was lost
	Upgrades  int       // how often it was replaced by a newer one
	Since     time.Time // when it entered the state
	LastError string    // why it was lost or could not be started the last time
}

// Host runs the plugin processes. It is safe for concurrent use.
type Host struct {
	config   Config
	dir      string
	launcher *launcher
	running  running
	closing  sync.Once

	reloading sync.Mutex

	mu      sync.Mutex                             // guards plugins, and changes of routes
	plugins []*supervised                          // the built-in process first, the others by name
	routes  atomic.Pointer[map[string]*supervised] // adapter name -> its plugin
}

// running is what goes on until the host is closed.
type running struct {
	sync.WaitGroup
	ctx    context.Context
	cancel context.CancelFunc // nil before the start
}

// New returns a host that runs nothing yet.
func New(config Config) (*Host, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	h := &Host{config: config.withDefaults()}
	h.routes.Store(&map[string]*supervised{})
	if config.Builtin {
		h.plugins = append(h.plugins, newSupervised(h, BuiltinName, nil))
	}
	for _, name := range slices.Sorted(maps.Keys(config.Plugins)) {
		plugin := config.Plugins[name]
		h.plugins = append(h.plugins, newSupervised(h, name, &plugin))
	}
	return h, nil
}

// Start starts the built-in process, then all others at once, and returns when each is running or has failed to start,
// with the failures. If the built-in process failed nothing is left running; otherwise the host keeps the others
// running and goes on trying to start those that failed, until [Host.Close]. ctx bounds the wait only. Start must be
// called once.
func (h *Host) Start(ctx context.Context) error {
	dir, err := os.MkdirTemp(h.config.Dir, "pm-") // mode 0700: nobody else reaches the sockets
	if err != nil {
		return fmt.Errorf("making the directory for plugin sockets: %w", err)
	}
	if len(dir)+socketNameBytes > maxSocketPath {
		_ = os.Remove(dir)
		return fmt.Errorf("making the directory for plugin sockets: %s is %d bytes too long for the address of a unix socket",
			h.config.Dir, len(dir)+socketNameBytes-maxSocketPath)
	}
	h.dir = dir
	h.launcher = newLauncher()
	runCtx, cancel := context.WithCancel(context.Background())
	h.running.ctx, h.running.cancel = runCtx, cancel
	others := h.plugins
	if h.config.Builtin {
		// Its names are taken before any third-party plugin can claim them.
		if err := h.run(runCtx, ctx, h.plugins[:1]); err != nil {
			h.Close()
			return err
		}
		others = h.plugins[1:]
	}
	return h.run(runCtx, ctx, others)
}

// run keeps plugins running until runCtx ends, and waits until each has been tried once or ctx ends.
func (h *Host) run(runCtx, ctx context.Context, plugins []*supervised) error {
	for _, p := range plugins {
		h.running.Go(func() { p.run(runCtx, nil) })
	}
	var errs []error
	for _, p := range plugins {
		select {
		case <-p.tried:
			errs = append(errs, p.firstError)
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("starting plugin %q: %w", p.name, ctx.Err()))
		}
	}
	return errors.Join(errs...)
}

// Close ends all plugins and waits until they are gone; a plugin that does not end by itself within 2 s is killed.
// Calls in flight fail with [provider.ErrUnavailable].
func (h *Host) Close() {
	h.closing.Do(func() {
		if h.running.cancel == nil {
			return
		}
		h.running.cancel()
		h.reloading.Lock() // one under way starts processes
		defer h.reloading.Unlock()
		h.running.Wait()
		h.launcher.close()
		_ = os.RemoveAll(h.dir)
	})
}

// Prepare asks an adapter for an endpoint. Its errors match those of sdk/provider or of ctx.
func (h *Host) Prepare(ctx context.Context, adapter string, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	inst, err := h.use(adapter)
	if err != nil {
		return nil, err
	}
	defer inst.uses.end()
	endpoint, err := inst.client.Prepare(ctx, adapter, req)
	if err != nil {
		return nil, fmt.Errorf("preparing provider %q by adapter %q: %w", req.Provider, adapter, err)
	}
	return endpoint, nil
}

// Models asks an adapter what its provider offers. The error is a *provider.Error if the provider refused, and matches
// errors.ErrUnsupported if the adapter cannot ask; otherwise it is as that of [Host.Prepare].
func (h *Host) Models(ctx context.Context, adapter string, req *provider.ModelsRequest) ([]provider.Model, error) {
	inst, err := h.use(adapter)
	if err != nil {
		return nil, err
	}
	defer inst.uses.end()
	models, err := inst.client.Models(ctx, adapter, req)
	if err != nil {
		return nil, fmt.Errorf("listing the models of provider %q: %w", req.Provider, err)
	}
	return models, nil
}

// Probe lets an adapter ask whether a provider and a credential work. Its errors are those of [Host.Models].
func (h *Host) Probe(ctx context.Context, adapter string, req *provider.ProbeRequest) error {
	inst, err := h.use(adapter)
	if err != nil {
		return err
	}
	defer inst.uses.end()
	if err := inst.client.Probe(ctx, adapter, req); err != nil {
		return fmt.Errorf("probing provider %q: %w", req.Provider, err)
	}
	return nil
}

// Call lets an adapter perform one request of a proxied endpoint; the answer's methods run on the caller's goroutine.
// Its errors match those of sdk/provider, of ctx, or of the answer. Cancelling ctx ends the adapter's call too.
func (h *Host) Call(ctx context.Context, adapter string, req *provider.CallRequest, answer provider.AnswerWriter) error {
	inst, err := h.use(adapter)
	if err != nil {
		return err
	}
	defer inst.uses.end()
	if err := inst.client.Call(ctx, adapter, req, answer); err != nil {
		return fmt.Errorf("calling adapter %q: %w", adapter, err)
	}
	return nil
}

// Adapters returns the names of the adapters, sorted.
func (h *Host) Adapters() []string {
	return slices.Sorted(maps.Keys(*h.routes.Load()))
}

// Descriptions returns what the adapters say about themselves, sorted by name. Adapters whose plugin is not running
// are left out.
func (h *Host) Descriptions() []provider.Description {
	var out []provider.Description
	for _, p := range h.list() {
		if inst := p.current.Load(); inst != nil {
			out = append(out, inst.adapters...)
		}
	}
	slices.SortFunc(out, func(a, b provider.Description) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Status returns the state of each plugin, the built-in process first, the others by name.
func (h *Host) Status() []Status {
	list := h.list()
	out := make([]Status, 0, len(list))
	for _, p := range list {
		out = append(out, p.snapshot())
	}
	return out
}

// use returns the process that holds an adapter, for one call whose end must be told to its uses.
func (h *Host) use(adapter string) (*instance, error) {
	for {
		p := (*h.routes.Load())[adapter]
		if p == nil {
			return nil, fmt.Errorf("%w %.64q", provider.ErrUnknownAdapter, adapter)
		}
		inst := p.current.Load()
		if inst == nil {
			if p.retired.Load() {
				continue // the routes lead to its successor by now
			}
			return nil, fmt.Errorf("%w: plugin %q is not running", provider.ErrUnavailable, p.name)
		}
		if inst.uses.begin() {
			return inst, nil
		}
	}
}

// register makes p the owner of its adapters. An adapter of another plugin is refused: a third-party plugin must not
// take the place of a built-in adapter, whose credentials it would then see. Those of the plugin that p replaces are free.
func (h *Host) register(p *supervised, adapters []provider.Description, replaces *supervised) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.retired.Load() {
		return errors.New("it was replaced meanwhile")
	}
	routes := make(map[string]*supervised)
	for name, owner := range *h.routes.Load() {
		if owner != p && owner != replaces {
			routes[name] = owner
		}
	}
	for _, adapter := range adapters {
		if owner := routes[adapter.Name]; owner != nil {
			return fmt.Errorf("adapter %q is already provided by plugin %q", adapter.Name, owner.name)
		}
		routes[adapter.Name] = p
	}
	h.routes.Store(&routes)
	if replaces != nil {
		replaces.retire()
	}
	return nil
}
