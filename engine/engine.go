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
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/cache"
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/engine/limit"
	"github.com/pointsman/pointsman/engine/overload"
	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/engine/rollout"
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
	Route(name string, f *policy.Facts, plan *policy.Plan) (ran policy.Ran, err error)
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
	// ProviderTools lets callers buy with the platform's key what the provider sells beside tokens at their listed prices, such as
	// tools that it runs. They are charged for the tokens alone.
	ProviderTools bool
	Settings      map[string]string
	Timeouts      upstream.Timeouts
	FirstContent  time.Duration // how long a stream may go on without content while another candidate could still take over; 0: 5 min
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
	Shortlists  map[string]int  // how many candidates of a larger catalog a policy is asked about, by its name; none: all of them
	Shadows     []Shadow        // of policies, each with a name of its own
	Rollouts    *rollout.Set    // of new versions of policies; nil: there are none
	RoundLimit  storage.Credits // that the rounds of a request before its last may cost in all; 0: no limit of their own
	Limits      Limits          // of rates, beside those of accounts, teams and keys
	KeptBodies  KeptBodies
	Strict      bool                  // a hold is on disk before a provider is asked, and a settlement before an answer ends
	RecordTexts bool                  // keep what policies are granted of messages, metadata and side calls in decision records
	MaxBody     int                   // bytes of a request body; 0: 32 MiB
	Origins     []string              // of web pages that may use the API, scheme://host[:port] as browsers send it; "*" stands for any
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

// Engine serves requests, by one configuration: [Engine.Reload] makes another Engine for those that begin from then on, see
// reload.go. What all of them have in common is in lasting. It is safe for concurrent use.
type Engine struct {
	Config
	*lasting
	number      uint64 // of the configuration, counted from 1
	providers   map[string]*endpoint
	deployments []*deployment
	live        *snapshot.Live
	lists       lists
	signers     *signers
	shadows     shadows
	dear        [abi.LevelCustom + 1][]*deployment // by power level: those of which one is the dearest
	cache       *cache.Cache[cachedAnswer]         // nil: answers are not kept
	flights     flights
	edge        fasthttp.RequestHandler
}

// deployment is a catalog deployment with what the engine needs to use it.
type deployment struct {
	glance
	*catalog.Deployment
	*learned
	endpoint *endpoint
	claims   []limit.Claim     // of its model, then of its provider; none where there are no limits
	family   tokens.Family     // how its tokens are counted where the provider does not
	thinking dialect.Thinking  // by its name at the provider or in the catalog
	version  string            // of its prices and tariff, see Prices
	waits    upstream.Timeouts // its own, else its provider's
	content  time.Duration     // Provider.FirstContent, the same way
}

// glance is what every request looks at in every candidate: a line of the processor's cache each, one behind the other.
type glance struct {
	model    *catalog.Model
	key      *keyState                        // of the platform's key
	limits   *atomic.Pointer[snapshot.Limits] // of the platform's key, as last told; nil in it: nothing was
	index    int
	can      uint32 // its model's capabilities
	window   uint32 // its model's context, tokens; 0: unknown
	mark     uint16 // what sessions know it by, in whatever configuration. Two may have the same, and then count as one
	mode     uint8  // abi.Mode*
	accounts uint8  // which tiers of accounts may use it with the platform's key, a bit for each
	local    bool
	platform bool // the platform can use its provider
	simulate bool // no provider of its model is usable by the platform, so the simulator stands in
	limited  bool // it has claims
}

// newDeployment makes the engine's view of a catalog deployment at a provider, in d.
func newDeployment(d *deployment, of *catalog.Deployment, at *endpoint, claims []limit.Claim) *deployment {
	m, w := of.Model, of.Timeouts
	*d = deployment{
		glance: glance{
			model: m, key: at.key, limits: new(atomic.Pointer[snapshot.Limits]), index: of.Index, can: m.Capabilities, window: m.ContextWindow,
			mark: max(1, uint16(of.Key)), mode: m.Mode, local: of.Local, platform: at.Usable, limited: len(claims) > 0,
		},
		Deployment: of, learned: new(learned), endpoint: at, claims: claims, family: familyOf(of), thinking: cmp.Or(dialect.ThinkingOf(of.Upstream), dialect.ThinkingOf(of.Model.Name)),
		waits:   upstream.Timeouts{Connect: w.Connect, TLS: w.TLS, FirstByte: w.FirstByte, Idle: w.Idle, Total: w.Total}.Or(at.Timeouts),
		content: cmp.Or(w.FirstContent, at.FirstContent),
	}
	for n, tier := range storage.AccountTiers() {
		if m.AllowedFor(tier) {
			d.accounts |= 1 << n
		}
	}
	return d
}

// simulatorName is the provider and adapter that answers in place of providers without a key.
const simulatorName = "simulator"

// New builds the engine. It fails if a deployment names an unknown provider.
func New(cfg Config) (*Engine, error) {
	e, err := build(cfg.orDefault(), nil)
	if err != nil {
		return nil, err
	}
	e.current.Store(e)
	e.probing = e.startProber()
	return e, nil
}

// orDefault fills in what may be left out.
func (cfg Config) orDefault() Config {
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
	return cfg
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
	key       *keyState // of the platform's key
	budget    *retryBudget
	hedges    *retryBudget // of second copies

	mu       sync.Mutex
	stale    bool // its adapter changed
	retired  bool // a later configuration has another one in its place
	prepared *adapter.Endpoint
	target   *upstream.Target // nil when proxied
}

// prepareTime is how long an adapter may take to describe an endpoint.
const prepareTime = 2 * time.Second

// ForgetEndpoints has every provider's descriptor asked from its adapter again when it is next needed; the old one stays
// for the case that the adapter does not answer.
func (e *Engine) ForgetEndpoints() {
	e.cacheTime.Add(1) // another adapter may ask providers otherwise
	for _, p := range e.Current().providers {
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
	prepared.RateLimits = slices.Clone(prepared.RateLimits)
	for i := range prepared.RateLimits { // as answers are asked for them
		r := &prepared.RateLimits[i]
		r.Limit, r.Remaining, r.Reset = http.CanonicalHeaderKey(r.Limit), http.CanonicalHeaderKey(r.Remaining), http.CanonicalHeaderKey(r.Reset)
	}
	if err := p.aim(prepared); err != nil {
		return nil, nil, fmt.Errorf("preparing provider %s: %w", p.Name, err)
	}
	p.prepared, p.stale = prepared, false
	return p.prepared, p.target, nil
}

// aim makes the target of a descriptor, in place of another address's if there is one; p.mu is held.
func (p *endpoint) aim(prepared *adapter.Endpoint) error {
	before := p.target
	if before != nil && prepared.Mode == adapter.ModeDirect && prepared.BaseURL == p.prepared.BaseURL {
		return nil
	}
	var target *upstream.Target
	if prepared.Mode == adapter.ModeDirect {
		var err error
		if target, err = p.transport.Target(prepared.BaseURL, upstream.TargetOptions{AllowPrivate: p.AllowPrivate, Timeouts: p.Timeouts}); err != nil {
			return err
		}
		if p.retired {
			target.Retire()
		}
	}
	if p.target = target; before != nil {
		before.Retire()
	}
	return nil
}
