// Package engine is the data plane: it takes requests, lets a policy decide, talks to providers, relays answers and
// settles what they cost.
//
// Read [Engine.serve] in chat.go first: it is the way of a request from top to bottom. The other files are its steps
// (attempt.go, direct.go, proxied.go, stream.go, settle.go), the edges (gate.go, edge.go, routes.go, auth.go, errors.go, disconnect.go), and one
// file per family of endpoints.
//
// The engine knows no database, no Wasm runtime and no plugin protocol: it declares the few methods it needs of them
// below, and the command wires the real ones in.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/engine/cache"
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/engine/limit"
	"github.com/pointsman/pointsman/engine/overload"
	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/engine/tokens"
	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	adapter "github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
)

// Ledger is the credit ledger. Reserve, Extend and Settle decide in memory and return the batch whose Wait tells when the
// decision is on disk.
type Ledger interface {
	Reserve(h storage.Hold) (*storage.Batch, error)
	Extend(id storage.RequestID, more storage.Credits) (*storage.Batch, error)
	Settle(s storage.Settlement) (storage.Receipt, *storage.Batch, error)
	Balance(account string) (storage.Balance, error)
	Halted() error // why the ledger takes no more work, nil while it does
}

// Log keeps usage and decision records. Append never blocks a request.
type Log interface {
	Append(r storage.LogRecord)
	Usage(account, cursor string, limit int) ([]storage.Usage, string, error)
	Find(account, requestID string) (storage.Usage, []byte, error)
}

// Analytics reads the usage log as a whole.
type Analytics interface {
	Summary(q storage.SummaryQuery) (storage.Summary, error)
	Forward(after storage.Place, until time.Time, limit int) (records []storage.Usage, next storage.Place, missed uint64, err error)
}

// Generations keeps the snapshots that decisions were made on.
type Generations interface {
	AppendGeneration(generation uint64, data []byte)
	WalkGenerations(from, to uint64, visit func(generation uint64, data []byte) error) error
}

// Policies decides. Route fails when the policy does, and the engine then uses its own order.
type Policies interface {
	Route(name string, f *policy.Facts, plan *policy.Plan) (digest string, err error)
	Observe(name string, state *policy.State, outcomes []policy.Outcome, dst []byte) ([]byte, error)
	Needs(name string) (grants uint32, ok bool)
	Names() []string
	Version(name string) uint64 // another one whenever the policy was loaded anew
}

// Adapters reaches the provider plugins.
type Adapters interface {
	Prepare(ctx context.Context, adapter string, req *adapter.PrepareRequest) (*adapter.Endpoint, error)
	Call(ctx context.Context, adapter string, req *adapter.CallRequest, answer adapter.AnswerWriter) error
}

// Provider is an operator's settings for one provider.
type Provider struct {
	Name         string
	Adapter      string
	BaseURL      string         // "" for the adapter's default
	Key          adapter.Secret // the platform's key, not set if it has none
	Usable       bool           // the platform can use it: it has a key, or needs none
	AllowPrivate bool
	// NoCollection says that the provider neither keeps nor trains on what it is sent longer than it must, ZeroRetention that it
	// keeps nothing at all: fit for callers who want that.
	NoCollection, ZeroRetention bool
	Settings                    map[string]string
	Timeouts                    upstream.Timeouts
	FirstContent                time.Duration // how long a stream may go on without content while another candidate could still take over; 0: 5 min
}

// Config is what the engine is built from. Everything is required unless said otherwise.
type Config struct {
	Catalog     *catalog.Catalog
	Providers   []Provider
	Simulate    bool // the simulator answers for models without a usable provider
	Directory   *directory.Directory
	Ledger      Ledger
	Log         Log
	Analytics   Analytics
	CreditUSD   storage.NanoUSD // what a credit is worth, for margins; 0: there are none
	Generations Generations
	States      States
	Prices      Prices
	Markups     catalog.Markups // of the account tiers, where users are charged by the cost
	Policies    Policies
	Adapters    Adapters
	Transport   *upstream.Transport
	Overload    *overload.Guard // nil: any number of requests is taken at once
	Probes      Probes          // which providers are probed, which is always free; zero: those that are down
	Retries     Retries
	Hedges      Hedges
	RoundLimit  storage.Credits // that the rounds of a request before its last may cost in all; 0: no limit of their own
	Limits      Limits          // of rates, beside those of accounts, teams and keys
	KeptBodies  KeptBodies
	RecordTexts bool                  // keep what policies are granted of messages, metadata and side calls in decision records
	MaxBody     int                   // bytes of a request body; 0: 32 MiB
	KeepAlive   KeepAlive             // of silent streams
	Cache       CacheConfig           // of answers; zero: none
	Results     Results               // of requests with idempotency keys; nil: such keys are not heeded
	MaxResult   int                   // bytes of an answer that is kept there
	Plugins     func() []PluginHealth // for /health; nil: none are told
	Budgets     Budgets               // what budgets have left; nil: nobody is warned of them, and answers are not cut short for them
	AlertAt     []int                 // percent of a budget at which the operator is told, ascending
	Alert       func(storage.Alert)   // is told what the log is told of budgets; must not block; nil: nobody else is
	Problems    func() []string       // for /health: what is wrong with the configuration while it serves on; nil: never anything
	// LedgerHealth, for /health, tells how far the ledger is proven; nil: that is not told.
	LedgerHealth func() LedgerHealth
	Logger       *slog.Logger     // nil: the default logger
	Now          func() time.Time // nil: time.Now
}

// Engine serves requests. It is safe for concurrent use.
type Engine struct {
	Config
	providers   map[string]*endpoint
	deployments []*deployment
	live        *snapshot.Live
	watch       *watcher
	metrics     *metricSet
	learners    *learners
	rates       *limit.Set
	keys        ownKeys
	probing     *prober
	sessions    sessions
	dear        [abi.LevelCustom + 1][]*deployment // by power level: those of which one is the dearest
	signers     signers
	tokens      *tokens.Counter
	cache       *cache.Cache[cachedAnswer] // nil: answers are not kept
	claims      claims
	flights     flights
	cacheTime   atomic.Uint64 // counts what makes all kept answers old
	comparing   atomic.Bool   // a count of ours with what a provider reported
	texts       sync.Pool     // of *dialect.Texts
	calls       sync.Pool
	warned      sync.Map // what and of what, [2]string -> time of the last warning, see hourly
	alerts      alerts
	inflight    sync.WaitGroup
	draining    atomic.Bool
}

// deployment is a catalog deployment with what the engine needs to use it.
type deployment struct {
	*catalog.Deployment
	endpoint    *endpoint
	platform    bool                            // the platform can use its provider
	simulate    bool                            // no provider of its model is usable by the platform, so the simulator stands in
	limits      atomic.Pointer[snapshot.Limits] // of the platform's key, as last told; nil: nothing was
	claims      []limit.Claim                   // of its model, then of its provider; none where there are no limits
	family      tokens.Family                   // how its tokens are counted where the provider does not
	ratio       tokens.Ratio                    // of what the provider reports to our count
	answered    atomic.Uint64                   // requests whose usage could have been compared with our count
	version     string                          // of its prices and tariff, see Prices
	bills       bills                           // of the provider's answers
	percentiles percentiles                     // how long its answers take
}

// simulatorName is the provider and adapter that answers in place of providers without a key.
const simulatorName = "simulator"

// New builds the engine. It fails if a deployment names an unknown provider.
func New(cfg Config) (*Engine, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 32 << 20
	}
	cfg.KeepAlive, cfg.Retries, cfg.Hedges = cfg.KeepAlive.orDefault(), cfg.Retries.orDefault(), cfg.Hedges.orDefault()
	e := &Engine{
		Config: cfg, providers: map[string]*endpoint{}, watch: newWatcher(), metrics: newMetricSet(), signers: signers{seed: maphash.MakeSeed()},
		tokens: tokens.New(), rates: limit.NewSet(cfg.Now()),
	}
	if cfg.Cache.Enabled {
		e.cache = cache.New[cachedAnswer](cfg.Cache.MaxBytes, cfg.Cache.MaxEntry)
	}
	for _, p := range append(cfg.Providers, Provider{Name: simulatorName, Adapter: simulatorName}) {
		if e.providers[p.Name] != nil {
			return nil, fmt.Errorf("provider %q is defined twice", p.Name)
		}
		if p.FirstContent == 0 {
			p.FirstContent = 5 * time.Minute
		}
		if p.Timeouts == (upstream.Timeouts{}) {
			p.Timeouts = upstream.DefaultTimeouts()
		}
		e.providers[p.Name] = &endpoint{Provider: p, adapters: cfg.Adapters, transport: cfg.Transport}
	}
	usable := map[*catalog.Model]bool{}
	for _, d := range cfg.Catalog.Deployments {
		p := e.providers[d.Provider]
		if p == nil {
			return nil, fmt.Errorf("model %q is deployed at provider %q, which is not defined", d.Model.Name, d.Provider)
		}
		version, document := d.Sheet(cfg.Markups)
		cfg.Prices.AppendPrice(version, document)
		e.deployments = append(e.deployments, &deployment{Deployment: d, endpoint: p, platform: p.Usable, claims: cfg.Limits.of(d), family: familyOf(d), version: version})
		usable[d.Model] = usable[d.Model] || p.Usable
	}
	for _, d := range e.deployments {
		d.simulate = cfg.Simulate && !usable[d.Model]
	}
	for level := range e.dear {
		e.dear[level] = dearOf(uint8(level), e.deployments)
	}
	e.live = snapshot.New(cfg.Catalog.Candidates(), cfg.Now, e.keepGeneration)
	e.learners = &learners{
		observe: cfg.Policies.Observe, keep: cfg.States, log: cfg.Logger, now: cfg.Now, failed: e.metrics.policyFailure,
		byName: map[string]*learner{},
	}
	e.calls.New = func() any { return new(call) }
	e.texts.New = func() any { return new(dialect.Texts) }
	e.probing = e.startProber()
	return e, nil
}

// Drain makes the gateway answer that it is not ready, so that no new requests are sent to it.
func (e *Engine) Drain() { e.draining.Store(true) }

// Close waits until every request under way has been settled, or until ctx ends.
func (e *Engine) Close(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		e.inflight.Wait()
		e.learners.close()
		close(done)
	}()
	defer e.watch.close()
	e.probing.close()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.New("requests were still under way when the time to finish them ran out")
	}
}

// keepGeneration writes a new generation to the log.
func (e *Engine) keepGeneration(previous, next *policy.Published) {
	var base *policy.Snapshot
	if previous != nil {
		base = &previous.Snapshot
	}
	e.Generations.AppendGeneration(next.Generation, record.AppendGeneration(nil, base, &next.Snapshot, next.Bytes))
}

// endpoint is a provider with its descriptor, which is asked from the adapter when it is first needed and when it
// expires.
type endpoint struct {
	Provider
	adapters  Adapters
	transport *upstream.Transport
	key       keyState // of the platform's key
	budget    retryBudget
	hedges    retryBudget // of second copies

	mu       sync.Mutex
	stale    bool // its adapter changed
	prepared *adapter.Endpoint
	target   *upstream.Target // nil when proxied
}

// prepareTime is how long an adapter may take to describe an endpoint.
const prepareTime = 2 * time.Second

// ForgetEndpoints has every provider's descriptor asked from its adapter again when it is next needed; the old one stays
// for the case that the adapter does not answer.
func (e *Engine) ForgetEndpoints() {
	e.cacheTime.Add(1) // another adapter may ask providers otherwise
	for _, p := range e.providers {
		p.mu.Lock()
		p.stale = true
		p.mu.Unlock()
	}
}

// prepare returns the descriptor, and the target of a direct one.
func (p *endpoint) prepare(now time.Time) (*adapter.Endpoint, *upstream.Target, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.prepared != nil && !p.stale && (p.prepared.Expires.IsZero() || now.Before(p.prepared.Expires)) {
		return p.prepared, p.target, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), prepareTime)
	defer cancel()
	prepared, err := p.adapters.Prepare(ctx, p.Adapter, &adapter.PrepareRequest{Provider: p.Name, BaseURL: p.BaseURL, Settings: p.Settings})
	if err != nil {
		if p.prepared != nil { // an expired descriptor beats none while the plugin restarts
			return p.prepared, p.target, nil
		}
		return nil, nil, fmt.Errorf("preparing provider %s: %w", p.Name, err)
	}
	for name, text := range prepared.Body.Set {
		if !json.Valid([]byte(text)) {
			return nil, nil, fmt.Errorf("preparing provider %s: the adapter sets %.64q to something that is not JSON", p.Name, name)
		}
	}
	if prepared.Mode == adapter.ModeDirect {
		if p.target, err = p.transport.Target(prepared.BaseURL, upstream.TargetOptions{AllowPrivate: p.AllowPrivate, Timeouts: p.Timeouts}); err != nil {
			return nil, nil, fmt.Errorf("preparing provider %s: %w", p.Name, err)
		}
	}
	p.prepared, p.stale = prepared, false
	return p.prepared, p.target, nil
}
