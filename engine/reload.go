package engine

import (
	"fmt"
	"hash/maphash"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/engine/cache"
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/limit"
	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/engine/tokens"
	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	adapter "github.com/pointsman/pointsman/sdk/provider"
)

// A configuration is changed by building another Engine beside the one that serves, and then letting the handlers take that one,
// which is one pointer. A request is served by the Engine it began with to its end, streams included, so that it sees one
// configuration and no part of another. The two share
//
//   - lasting, which no configuration says anything about;
//   - the endpoints that are configured alike, with their connections;
//   - what is known of deployments and keys that are still the same, whatever else changed.

// lasting is what all configurations of an engine have in common.
type lasting struct {
	current     atomic.Pointer[Engine] // serves what begins now
	reloading   sync.Mutex
	watch       *watcher
	metrics     *metricSet
	learners    *learners
	shadowQueue shadowQueue
	rates       *limit.Set
	keys        ownKeys
	probing     *prober
	sessions    sessions
	tokens      *tokens.Counter
	claims      claims
	cacheTime   atomic.Uint64 // counts what makes all kept answers old
	comparing   atomic.Bool   // a count of ours with what a provider reported
	compareFrom atomic.Int64  // Unix nanoseconds of when the next one may be
	texts       sync.Pool     // of *dialect.Texts
	calls       sync.Pool
	warned      sync.Map // what and of what, [2]string -> time of the last warning, see hourly
	alerts      alerts
	inflight    sync.WaitGroup
	draining    atomic.Bool // not ready
	refusing    atomic.Bool // what begins
}

func newLasting(cfg *Config) *lasting {
	l := &lasting{watch: newWatcher(), metrics: newMetricSet(), tokens: tokens.New(), rates: limit.NewSet(cfg.Now())}
	l.learners = &learners{
		observe: cfg.Policies.Observe, keep: cfg.States, log: cfg.Logger, now: cfg.Now, failed: l.metrics.policyFailure, byName: map[string]*learner{},
	}
	l.calls.New = func() any { return new(call) }
	l.texts.New = func() any { return new(dialect.Texts) }
	return l
}

// learned is what is known of a deployment: it holds as long as its provider has the same address.
type learned struct {
	ratio       tokens.Ratio  // of what the provider reports to our count
	answered    atomic.Uint64 // requests whose usage could have been compared with our count
	bills       bills         // of the provider's answers
	percentiles percentiles   // how long its answers take
}

// Current is the engine of the newest configuration. Whoever keeps an Engine asks it for the current one before each use.
func (e *Engine) Current() *Engine { return e.current.Load() }

// Configuration is the number of the configuration that e serves by, counted from 1.
func (e *Engine) Configuration() uint64 { return e.number }

// Reload lets requests that begin from now on go by cfg; those under way go by what they began with. cfg may differ from the
// Config of the current engine in all that a configuration file says, and must be the same in what it is wired to. An error
// leaves everything as it is. Replay stays exact: the snapshots' generations go on with a complete one.
func (e *Engine) Reload(cfg Config) error {
	e.reloading.Lock()
	defer e.reloading.Unlock()
	old := e.Current()
	next, err := build(cfg.orDefault(), old)
	if err != nil {
		return err
	}
	e.current.Store(next)
	for name, p := range old.providers {
		if next.providers[name] != p {
			p.retire()
			e.probing.forget(name)
		}
	}
	if old.cache != nil { // nobody asks for its answers any more
		old.cache.Drop(func(*cache.Entry[cachedAnswer]) bool { return true })
	}
	return nil
}

// build makes the engine of a configuration that follows the one of old, nil for the first.
func build(cfg Config, old *Engine) (*Engine, error) {
	e := &Engine{Config: cfg, number: 1, providers: map[string]*endpoint{}}
	for _, p := range append(slices.Clone(cfg.Providers), Provider{Name: simulatorName, Adapter: simulatorName}) {
		if e.providers[p.Name] != nil {
			return nil, fmt.Errorf("provider %q is defined twice", p.Name)
		}
		e.providers[p.Name] = newEndpoint(p, &cfg, old.endpoint(p.Name))
	}
	usable := map[*catalog.Model]bool{}
	beside := make([]deployment, len(cfg.Catalog.Deployments))
	for i, d := range cfg.Catalog.Deployments {
		p := e.providers[d.Provider]
		if p == nil {
			return nil, fmt.Errorf("model %q is deployed at provider %q, which is not defined", d.Model.Name, d.Provider)
		}
		e.deployments = append(e.deployments, newDeployment(&beside[i], d, p, cfg.Limits.of(d)))
		usable[d.Model] = usable[d.Model] || p.Usable
	}
	for _, d := range e.deployments {
		d.simulate = cfg.Simulate && !usable[d.Model]
	}
	for level := range e.dear {
		e.dear[level] = dearOf(uint8(level), e.deployments)
	}
	candidates := e.facts()
	e.lists.Shortlists = record.NewShortlists(candidates)
	if old == nil { // from here on nothing fails
		e.lasting, e.signers = newLasting(&cfg), &signers{seed: maphash.MakeSeed()}
		e.live = snapshot.New(candidates, cfg.Now, e.keepGeneration)
	} else {
		e.succeed(old, candidates)
	}
	if cfg.Cache.Enabled && e.cache == nil {
		e.cache = cache.New[cachedAnswer](cfg.Cache.MaxBytes, cfg.Cache.MaxEntry)
	}
	e.notePrices(old)
	e.shadows = newShadows(cfg.Shadows, &e.shadowQueue)
	e.edge = edgeOf(e)
	return e, nil
}

// facts are the static facts of the candidates.
func (e *Engine) facts() []policy.Candidate {
	candidates := e.Catalog.Candidates()
	for i, d := range e.deployments {
		if !d.platform && !d.simulate {
			candidates[i].Flags |= abi.CandidateOwnKey
		}
	}
	return candidates
}

// succeed takes over from old what is the same.
func (e *Engine) succeed(old *Engine, candidates []policy.Candidate) {
	e.lasting, e.number = old.lasting, old.number+1
	known := map[uint64]int{}
	for i, d := range old.deployments {
		known[d.Key] = i
	}
	was := make([]int, len(e.deployments))
	for i, d := range e.deployments {
		was[i] = -1
		if n, found := known[d.Key]; found && old.deployments[n].endpoint.sameAddress(&d.endpoint.Provider) {
			was[i], d.learned = n, old.deployments[n].learned
			if before := old.deployments[n]; before.endpoint.key == d.endpoint.key {
				d.limits = before.limits
			}
		}
	}
	sameModels := slices.EqualFunc(e.Catalog.Models, old.Catalog.Models, func(a, b *catalog.Model) bool { return a.Name == b.Name })
	if e.signers = old.signers; !sameModels { // they go by the models' numbers
		e.signers = &signers{seed: maphash.MakeSeed()}
	}
	if c := &old.Cache; e.Cache.Enabled && c.Enabled && c.MaxBytes == e.Cache.MaxBytes && c.MaxEntry == e.Cache.MaxEntry {
		e.cache = old.cache
	}
	e.live = old.live.Succeed(candidates, was)
}

// notePrices keeps the prices of the deployments, but those that old kept already.
func (e *Engine) notePrices(old *Engine) {
	kept := map[string]bool{}
	if old != nil {
		for _, d := range old.deployments {
			kept[d.version] = true
		}
	}
	for _, d := range e.deployments {
		version, document := d.Sheet(e.Markups)
		if d.version = version; !kept[version] {
			e.Prices.AppendPrice(version, document)
		}
	}
}

// endpoint is that of a provider, nil if there is none.
func (e *Engine) endpoint(name string) *endpoint {
	if e == nil {
		return nil
	}
	return e.providers[name]
}

// newEndpoint is the endpoint of a provider that had the endpoint old before, nil for none: the same one if nothing about it
// changed.
func newEndpoint(p Provider, cfg *Config, old *endpoint) *endpoint {
	if p.FirstContent == 0 {
		p.FirstContent = 5 * time.Minute
	}
	p.Timeouts = p.Timeouts.Or(upstream.DefaultTimeouts())
	fresh := &endpoint{Provider: p, adapters: cfg.Adapters, transport: cfg.Transport, key: new(keyState), budget: new(retryBudget), hedges: new(retryBudget)}
	if old == nil || !old.sameAddress(&p) {
		return fresh
	}
	fresh.budget, fresh.hedges = old.budget, old.hedges
	if p.Key.Reveal() == old.Key.Reveal() {
		if fresh.key = old.key; p.sameSettings(&old.Provider) {
			return old
		}
	}
	return fresh
}

// sameAddress tells whether a provider is reached in the same way and place as through p, with whatever key and limits.
func (p *endpoint) sameAddress(other *Provider) bool {
	return p.Name == other.Name && p.Adapter == other.Adapter && p.BaseURL == other.BaseURL
}

// sameSettings tells whether nothing but the key may differ.
func (p Provider) sameSettings(other *Provider) bool {
	a, b := p, *other
	a.Key, b.Key = adapter.Secret{}, adapter.Secret{} // these cannot be compared
	return reflect.DeepEqual(a, b)
}

// retire closes its connections, those in use when they are given back.
func (p *endpoint) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired = true; p.target != nil {
		p.target.Retire()
	}
}
