// Package depot decides which module serves under the name of a policy, and changes it while requests are under way.
//
// A name is served, in this order, by the file that the configuration names, by the uploaded version that was activated,
// or by the built-in module. A change takes the same way wherever it comes from (a file that was replaced, a
// configuration that was read again, an upload that is activated):
//
//  1. its signature and the limits in it are checked,
//  2. it is loaded in a host of its own, and decides some generated requests there: what traps or breaks the contract ends here,
//  3. the serving host loads it, warm, beside the old one, and swaps a pointer.
//
// Whatever fails leaves the old one serving. The first load, when the gateway starts, skips the second step: there is
// nothing better to keep.
//
// # On disk
//
//	DIR/modules/<sha256>.wasm   every uploaded module once
//	DIR/manifest.json           versions, parameters, signatures, what is active; replaced as a whole, synced
//	DIR/rollouts.json           evidence about the candidates of rollouts, which others keep here
//	DIR/served/<sha256>.wasm    modules that have served, and .conf their configuration texts, for repeating decisions
//	DIR/audit.jsonl             one line a change or refusal, appended; audit.jsonl.1 holds the older ones
//
// A module whose bytes do not have its name's digest is not loaded. Writing a manifest comes before serving by it: what
// was answered as active is active after a crash.
package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/signing"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

// Errors of this package, beside those of policies and signing.
var (
	// ErrUnknown: there is no such policy or version.
	ErrUnknown = errors.New("no such policy version")
	// ErrPinned: the configuration names a file for the policy, which decides.
	ErrPinned = errors.New("the configuration file decides about this policy")
	// ErrInvalid: a name, parameter or limit cannot be right.
	ErrInvalid = errors.New("not valid")
	// ErrConformance: the module loads and does not keep the contract.
	ErrConformance = errors.New("policy does not conform")
	// ErrBusy: a version of the policy is being rolled out, which has to end first.
	ErrBusy = errors.New("a rollout is under way")
	// ErrDisk: the manifest or a module cannot be written or is damaged.
	ErrDisk = errors.New("policy store")
)

// Limits.
const (
	MaxModule   = 4 << 20 // bytes of a module, as the host has it
	MaxName     = 32      // bytes of a policy's name: what a request may ask for
	MaxVersions = 32      // of one policy that are kept
	MaxFuel     = 1_000_000_000
	proofs      = 20 // generated requests that a change must decide
)

// Config is what a depot is built from. Everything is required unless said otherwise.
type Config struct {
	Dir     string                            // of the uploaded versions
	Host    *policies.Host                    // that serves
	Sandbox func() (*policies.Host, error)    // an empty host with the same limits, to try modules in
	Builtin map[string][]byte                 // modules by name
	Notice  func(Event)                       // told of every change and refusal; nil: nobody
	Now     func() time.Time                  // nil: time.Now
	Read    func(name string) ([]byte, error) // of a module or signature; nil: from the file system
}

// Entry is what the configuration says about one policy.
type Entry struct {
	Name      string
	File      string // "" for the uploaded or built-in one
	Signature string // file
	MustSign  bool   // the signature's file must exist
	Params    map[string]string
	Private   bool // Params may hold a secret: they are not kept
	Grants    uint32
	Fuel      int64  // 0: the default
	Place     string // in the configuration, for messages
}

// Actions of an [Event].
const (
	ActionLoad     = "load" // at the start
	ActionReload   = "reload"
	ActionUnload   = "unload"
	ActionUpload   = "upload"
	ActionActivate = "activate"
	ActionRollback = "rollback"
	// Of rollouts: a candidate came, came to serve, was taken away for what it did, or by the operator.
	ActionRolloutStart = "rollout-start"
	ActionPromote      = "rollout-promote"
	ActionRolloutBack  = "rollout-back"
	ActionRolloutAbort = "rollout-abort"
)

// Event is a change, or one that was refused.
type Event struct {
	Time     time.Time `json:"time"`
	Action   string    `json:"action"`
	Policy   string    `json:"policy"`
	Source   string    `json:"source,omitempty"` // of the new module
	Version  int       `json:"version,omitempty"`
	Digest   string    `json:"sha256,omitempty"`
	Previous string    `json:"previous_sha256,omitempty"` // what served before
	Signer   string    `json:"signer,omitempty"`
	By       string    `json:"by,omitempty"`
	Note     string    `json:"note,omitempty"`   // figures of a rollout
	Error    string    `json:"error,omitempty"`  // why it was refused: the previous one serves on
	Unkept   string    `json:"unkept,omitempty"` // why the module is not kept for repeating its decisions; it serves all the same
}

// Depot is safe for concurrent use.
type Depot struct {
	Config
	change sync.Mutex  // one change at a time; held while modules compile
	unkept atomic.Bool // the manifest is not written down

	mu       sync.RWMutex // guards what follows, never for long
	trust    signing.Trust
	entries  map[string]Entry
	serving  map[string]Serving
	manifest manifest
	seen     map[string]fingerprint   // files that were looked at, by policy
	proved   map[string]policies.Info // what was tried and found good, so that activating what was staged takes no second trial
}

// Serving is what serves under a name.
type Serving struct {
	Name    string
	Source  string // "built-in", "version N", or the file
	Version int    // of an uploaded one, else 0
	Digest  string
	Signer  string // key that signed it, "" for none
	Grants  uint32
	Fuel    int64
	Params  map[string]string
	Since   time.Time
	Refused string // why what should serve does not, "" if it does
}

// Open reads what was uploaded before. Nothing serves until Start.
func Open(cfg Config) (*Depot, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Notice == nil {
		cfg.Notice = func(Event) {}
	}
	if cfg.Read == nil {
		cfg.Read = readFile
	}
	d := &Depot{Config: cfg, serving: map[string]Serving{}, seen: map[string]fingerprint{}, proved: map[string]policies.Info{}}
	var err error
	d.manifest, err = readManifest(cfg.Dir)
	return d, err
}

// readFile reads a file that is not larger than a module may be.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxModule+1))
	if err == nil && len(data) > MaxModule {
		err = fmt.Errorf("%s has more than %d bytes", name, MaxModule)
	}
	return data, err
}

// Start loads everything. A module that the configuration names must load. An active version that does not is passed over
// for the built-in one, with an event, so that a gateway starts whatever was uploaded to it.
func (d *Depot) Start(entries []Entry, trust signing.Trust) error {
	d.change.Lock()
	defer d.change.Unlock()
	d.adopt(entries, trust)
	var errs []error
	for _, name := range d.names() {
		errs = append(errs, d.settle(name, ActionLoad, ""))
	}
	d.standAgain()
	return errors.Join(errs...)
}

// Try goes through what a reload with these entries would load, and loads nothing. It needs neither Host nor what was
// uploaded.
func (d *Depot) Try(entries []Entry, trust signing.Trust) error {
	d.adopt(entries, trust)
	var errs []error
	for _, e := range entries {
		c, ok := d.builtin(e.Name)
		var err error
		if e.File != "" {
			c, err = d.readFiles(e)
		} else if !ok {
			continue
		}
		var s Serving
		if err == nil {
			s, err = d.vouch(c)
		}
		if err == nil {
			_, err = d.prove(c, s.Fuel)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: policy %s (%s): %w", e.Place, e.Name, c.source, err))
		}
	}
	return errors.Join(errs...)
}

// Reload makes the configuration that was read again the one that holds. What fails is told in the error and serves on as
// it was.
func (d *Depot) Reload(entries []Entry, trust signing.Trust, by string) error {
	d.change.Lock()
	defer d.change.Unlock()
	before := d.names()
	d.adopt(entries, trust)
	var errs []error
	now := d.names()
	for _, name := range before {
		if !slices.Contains(now, name) {
			d.unload(name, by)
		}
	}
	for _, name := range now {
		errs = append(errs, d.settle(name, ActionReload, by))
	}
	return errors.Join(errs...)
}

func (d *Depot) adopt(entries []Entry, trust signing.Trust) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trust, d.entries = trust, map[string]Entry{}
	for _, e := range entries {
		d.entries[e.Name] = e
	}
}

// names are the policies that should serve, sorted.
func (d *Depot) names() []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := map[string]bool{}
	for name := range d.Builtin {
		all[name] = true
	}
	for name := range d.entries {
		all[name] = true
	}
	for name, p := range d.manifest.Policies {
		if p.Active > 0 {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// candidate is a module that may come to serve.
type candidate struct {
	name      string
	source    string
	version   int
	wasm      []byte
	signature []byte
	params    map[string]string
	grants    uint32
	fuel      int64
	builtin   bool
	private   bool // params may hold a secret
}

// settle makes what should serve under a name serve. The error says where it comes from.
func (d *Depot) settle(name, action, by string) error {
	c, err := d.find(name)
	if err == nil {
		err = d.serve(c, action, by, "")
	}
	if err == nil || c.version == 0 {
		return err
	}
	if action != ActionLoad {
		return err
	}
	// At the start an uploaded version that cannot serve gives way to what is below it.
	if fallback, ok := d.builtin(name); ok {
		return d.serve(fallback, action, by, "")
	}
	return nil
}

// find reads what should serve under a name.
func (d *Depot) find(name string) (candidate, error) {
	d.mu.RLock()
	entry, configured := d.entries[name]
	active := d.manifest.active(name)
	d.mu.RUnlock()
	switch {
	case configured && entry.File != "":
		return d.fromFile(entry)
	case active != nil:
		return d.fromVersion(name, *active)
	}
	c, ok := d.builtin(name)
	if !ok {
		return c, fmt.Errorf("%s: policy %s: no file is given and no built-in policy has that name", entry.Place, name)
	}
	return c, nil
}

func (d *Depot) builtin(name string) (candidate, bool) {
	wasm, ok := d.Builtin[name]
	d.mu.RLock()
	entry := d.entries[name]
	d.mu.RUnlock()
	return candidate{name: name, source: "built-in", wasm: wasm, params: entry.Params, private: entry.Private, grants: entry.Grants, fuel: entry.Fuel, builtin: true}, ok
}

func (d *Depot) fromFile(e Entry) (candidate, error) {
	d.mu.Lock()
	d.seen[e.Name] = look(e) // before reading: a file that changes meanwhile is looked at again
	d.mu.Unlock()
	c, err := d.readFiles(e)
	if err != nil {
		err = fmt.Errorf("%s: policy %s: %w", e.Place, e.Name, err)
		d.refuse(c, ActionReload, "", err)
	}
	return c, err
}

// readFiles reads a module and its signature.
func (d *Depot) readFiles(e Entry) (c candidate, err error) {
	c = candidate{name: e.Name, source: e.File, params: e.Params, private: e.Private, grants: e.Grants, fuel: e.Fuel}
	if c.wasm, err = d.Read(e.File); err != nil || e.Signature == "" {
		return c, err
	}
	c.signature, err = d.Read(e.Signature)
	if errors.Is(err, os.ErrNotExist) && !e.MustSign {
		err = nil
	}
	return c, err
}

// serve brings a candidate to serve unless the very same serves already.
func (d *Depot) serve(c candidate, action, by, note string) error {
	s, err := d.vouch(c)
	if err == nil && d.same(s) {
		d.mu.Lock()
		defer d.mu.Unlock()
		now := d.serving[c.name]
		now.Refused = ""
		d.serving[c.name] = now
		return nil
	}
	if err == nil && action != ActionLoad && !c.builtin {
		_, err = d.prove(c, s.Fuel)
	}
	var info policies.Info
	previous, _ := d.Host.Digest(c.name)
	if err == nil {
		info, err = d.Host.Load(c.name, c.wasm, policies.Settings{Params: c.params, Grants: c.grants, Fuel: s.Fuel})
	}
	if err != nil {
		if entry, ok := d.entry(c.name); ok && entry.Place != "" {
			err = fmt.Errorf("%s: policy %s (%s): %w", entry.Place, c.name, c.source, err)
		} else {
			err = fmt.Errorf("policy %s (%s): %w", c.name, c.source, err)
		}
		d.refuse(c, action, by, err)
		return err
	}
	s.Since = info.Loaded
	event := Event{Action: action, Policy: c.name, Source: c.source, Version: c.version, Digest: s.Digest, Previous: previous, Signer: s.Signer, By: by, Note: note}
	if err := keepServed(d.Dir, c.wasm, info.Config, c.private, info.Loaded); err != nil { // it serves all the same
		event.Unkept = err.Error()
	}
	d.mu.Lock()
	d.serving[c.name] = s
	d.mu.Unlock()
	d.tell(event)
	return nil
}

// vouch checks the signature and the limits that it sets. The built-in modules are the gateway's own.
func (d *Depot) vouch(c candidate) (Serving, error) {
	s := Serving{Name: c.name, Source: c.source, Version: c.version, Digest: signing.Digest(c.wasm), Grants: c.grants, Fuel: c.fuel, Params: c.params}
	if c.builtin {
		if s.Fuel == 0 {
			s.Fuel = policies.DefaultFuel
		}
		return s, nil
	}
	d.mu.RLock()
	trust := d.trust
	d.mu.RUnlock()
	signer, statement, err := trust.Verify(c.wasm, c.signature)
	if err != nil {
		return s, err
	}
	s.Signer = signer
	s.Fuel, err = statement.Limit(c.grants, c.fuel, policies.DefaultFuel)
	return s, err
}

// same tells whether exactly this serves already.
func (d *Depot) same(s Serving) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	now, ok := d.serving[s.Name]
	return ok && now.Digest == s.Digest && now.Source == s.Source && now.Grants == s.Grants && now.Fuel == s.Fuel &&
		now.Signer == s.Signer && maps.Equal(now.Params, s.Params)
}

// maxProved is how many trials are remembered; then all are forgotten.
const maxProved = 256

// prove loads a module where nobody is served by it, and lets it decide, unless the same was tried before.
func (d *Depot) prove(c candidate, fuel int64) (policies.Info, error) {
	config, err := policy.FormatConfig(c.params)
	if err != nil {
		return policies.Info{}, fmt.Errorf("%w: %w", policies.ErrConfigure, err)
	}
	key := fmt.Sprintf("%s %d %d %s", signing.Digest(c.wasm), c.grants, fuel, config)
	d.mu.RLock()
	info, known := d.proved[key]
	d.mu.RUnlock()
	if known {
		return info, nil
	}
	if info, err = d.attempt(c, fuel); err != nil {
		return info, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.proved) >= maxProved {
		clear(d.proved)
	}
	d.proved[key] = info
	return info, nil
}

// attempt is a trial.
func (d *Depot) attempt(c candidate, fuel int64) (policies.Info, error) {
	sandbox, err := d.Sandbox()
	if err != nil {
		return policies.Info{}, err
	}
	defer sandbox.Close() //nolint:errcheck // it never served
	info, err := sandbox.Load(c.name, c.wasm, policies.Settings{Params: c.params, Grants: c.grants, Fuel: fuel})
	if err != nil {
		return info, err
	}
	err = policytest.Check(func(f *policy.Facts, plan *policy.Plan) error {
		_, err := sandbox.Route(c.name, f, plan)
		return err
	}, proofs)
	if err != nil {
		return info, fmt.Errorf("%w: %w", ErrConformance, err)
	}
	return info, nil
}

func (d *Depot) entry(name string) (Entry, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e, ok := d.entries[name]
	return e, ok
}

func (d *Depot) unload(name, by string) {
	previous, _ := d.Host.Digest(name)
	d.Host.Unload(name)
	d.mu.Lock()
	delete(d.serving, name)
	delete(d.seen, name)
	d.mu.Unlock()
	d.tell(Event{Action: ActionUnload, Policy: name, Previous: previous, By: by})
}

// refuse notes that a change did not happen.
func (d *Depot) refuse(c candidate, action, by string, err error) {
	d.mu.Lock()
	if s, ok := d.serving[c.name]; ok && (action == ActionReload || action == ActionLoad) { // others are told who asked
		s.Refused = err.Error()
		d.serving[c.name] = s
	}
	d.mu.Unlock()
	e := Event{Action: action, Policy: c.name, Source: c.source, Version: c.version, By: by, Error: err.Error()}
	if len(c.wasm) > 0 {
		e.Digest = signing.Digest(c.wasm)
	}
	e.Previous, _ = d.Host.Digest(c.name)
	d.tell(e)
}

func (d *Depot) tell(e Event) {
	e.Time = d.Now().UTC()
	if e.Action != ActionLoad || e.Error != "" {
		if err := appendAudit(d.Dir, e); err != nil {
			e.Error = strings.TrimPrefix(e.Error+"; and "+err.Error(), "; and ")
		}
	}
	d.Notice(e)
}

// Serving lists what serves, by name.
func (d *Depot) Serving() map[string]Serving {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return maps.Clone(d.serving)
}

// Watch looks at the configured files until ctx ends, and loads those that were replaced.
func (d *Depot) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	changing := map[string]fingerprint{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.poll(changing)
		}
	}
}
