package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/engine/outbox"
	"github.com/pointsman/pointsman/engine/overload"
	"github.com/pointsman/pointsman/engine/socket"
	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/plugins"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/depot"
	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// gateway is the running system. start wires it, top to bottom: this is the diagram.
//
//	clients ── api ─┐                     ┌─ plugins ── adapter processes
//	                ├─ engine ─┬─ policies (Wasm) ◄─ depot ◄─ files, <data>/policies
//	operators ─ admin ┘        ├─ ledger ── store ─┐
//	                           ├─ directory ───────┴─ <data>/ledger  (a journal, synced; Badger behind it)
//	                           ├─ log ─────────────── <data>/log     (Badger)
//	                           │   └─ events ── billing, webhooks
//	                           ├─ results ─────────── <data>/results (Badger, synced)
//	                           └─ bodies ──────────── <data>/bodies  (Badger; if they are kept)
type gateway struct {
	cfg       *config.Config // that it was started with; see reloads
	dataDir   string
	started   time.Time
	log       *slog.Logger
	env       func(string) string
	options   options
	now       func() time.Time
	masterKey provider.Secret
	firstKey  string // the key of the account made at the first start, shown once

	store     *badgerdb.Store
	usage     *badgerdb.Log
	results   *badgerdb.Results // nil: idempotency keys are not heeded
	vault     *vault.Vault
	rotation  rotation // of the vault
	directory *directory.Directory
	plugins   *plugins.Host
	policies  *policies.Host
	depot     *depot.Depot
	rollouts  rollouts     // of policies
	changes   *metrics.Set // of policies
	unwatch   context.CancelFunc
	guard     *overload.Guard
	engine    *engine.Engine // of the first configuration; Current is that of the newest
	transport *upstream.Transport
	reloads   reloads
	events    *outbox.Sender   // nil: nobody is told
	bodies    *badgerdb.Bodies // nil: none are kept

	api, admin           *engine.Server
	listener, adminListn net.Listener
	certificate          *certificate // of the API; nil: it speaks plain HTTP
	serving              sync.WaitGroup
	life                 context.Context // ends when the gateway begins to stop
	end                  context.CancelFunc
	archiving            sync.WaitGroup // what reads whole databases
}

// options are what the command line adds to the configuration.
type options struct {
	dataDir string
	log     *slog.Logger
	env     func(string) string
	now     func() time.Time // nil: time.Now
	// adjust changes what a configuration says, as the command line wants it, and secrets is told of keys in it; nil: nothing.
	adjust  func(*config.Config)
	secrets func(...string)
	// dropNothing keeps whatever the log has: it is a gateway that somebody only looks at.
	dropNothing bool
}

// start brings the gateway up and returns when it takes requests. On an error nothing is left running.
func start(ctx context.Context, cfg *config.Config, opt options) (g *gateway, err error) {
	g = &gateway{cfg: cfg, dataDir: opt.dataDir, started: time.Now(), log: opt.log, env: opt.env, options: opt, now: opt.now, changes: metrics.NewSet()}
	if g.now == nil {
		g.now = time.Now
	}
	g.life, g.end = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			g.stop(context.Background()) //nolint:errcheck // the first error is the one to tell
		}
	}()
	if err = os.MkdirAll(g.dataDir, 0o700); err != nil {
		return g, fmt.Errorf("creating the data directory: %w", err)
	}
	models, err := catalog.Build(cfg.Models)
	if err != nil {
		return g, err
	}

	// Addresses first: a second gateway fails here, before it touches anything.
	if g.listener, err = net.Listen("tcp", cfg.Server.Listen); err != nil {
		return g, fmt.Errorf("listening for the API: %w", err)
	}
	g.listener = socket.Listen(g.listener)
	if cfg.Server.TLSCert != "" {
		if g.certificate, err = openCertificate(cfg.Server.TLSCert, cfg.Server.TLSKey, g.log); err != nil {
			return g, err
		}
		g.listener = g.certificate.listen(g.listener)
	}
	if g.adminListn, err = net.Listen("tcp", cfg.Server.AdminListen); err != nil {
		return g, fmt.Errorf("listening for the admin API: %w", err)
	}

	// What takes time starts side by side: plugin processes, policies, databases, a look for local models.
	var probed map[string]string
	g.transport = upstream.New(keptConnections())
	err = inParallel(
		func() error { return g.startPlugins(ctx) },
		func() error { return g.loadPolicies(ctx) },
		func() error { return g.openStore() },
		func() error { return g.openLog() },
		func() error { return g.openResults() },
		func() error { return g.openBodies() },
		func() error { probed = probeLocal(ctx, cfg); return nil },
	)
	if err != nil {
		return g, err
	}
	if err = g.openDirectory(opt.env); err != nil {
		return g, err
	}

	g.rollouts.open(g)
	g.guard = g.newGuard()
	if g.engine, err = engine.New(g.engineConfig(cfg, models, probed)); err != nil {
		return g, err
	}
	g.reloads.hold(cfg, probed)
	g.recordInterrupted()
	g.resumeRotation()
	if err = g.startEvents(); err != nil {
		return g, err
	}
	g.api = engine.NewServer(g.engine.Handler(), cfg.Server.MaxBodyBytes)
	g.admin = engine.NewServer(admin.Handler(g.adminConfig()), depot.MaxModule+1<<20)
	g.api.Guard = g.guard
	g.watchPolicies()
	g.serving.Go(g.rollouts.watch)
	g.serving.Go(func() { g.watchConfig(configPoll) })
	g.serve(g.api, g.listener)
	g.serve(g.admin, g.adminListn)
	return g, nil
}

// engineConfig is a configuration as the engine takes it: what the file says, and what the engine is wired to.
func (g *gateway) engineConfig(cfg *config.Config, models *catalog.Catalog, probed map[string]string) engine.Config {
	var results engine.Results
	if g.results != nil {
		results = g.results
	}
	return engine.Config{
		Catalog: models, Providers: engineProviders(cfg, probed), Simulate: cfg.Simulator.Enabled,
		Directory: g.directory, Ledger: g.store, Log: g.usage, Analytics: g.usage, Generations: g.usage, States: g.usage, Prices: g.usage, Policies: g.policies, Adapters: g.plugins,
		Retries: engine.Retries(cfg.Retries), Hedges: engine.Hedges{Mode: engine.HedgeMode(cfg.Hedge.Mode), Percent: cfg.Hedge.Percent}, Markups: cfg.Tariff.Markups, Budgets: g.store, AlertAt: cfg.Budgets.AlertAt, RoundLimit: cfg.Rounds.Credits, RecordTexts: cfg.Rounds.RecordTexts, Strict: cfg.Ledger.Durability == config.DurabilityStrict,
		CreditUSD: cfg.Log.CreditUSD, KeptBodies: g.keptBodies(&cfg.Log), Alert: g.usage.Alert,
		Transport: g.transport, Overload: g.guard, Probes: engine.Probes(cfg.Health.Probe), Plugins: g.pluginHealth,
		MaxBody: cfg.Server.MaxBodyBytes, Origins: cfg.Server.CORSOrigins, Problems: g.problems, LedgerHealth: g.ledgerHealth, Logger: g.log, Now: g.now,
		KeepAlive: engine.KeepAlive{After: cfg.Server.KeepAliveAfter, Every: cfg.Server.KeepAliveEvery}, Cache: cacheConfig(&cfg.Cache),
		Shortlists: shortlistsOf(cfg), Shadows: shadowsOf(cfg), Rollouts: &g.rollouts.set,
		Results: results, MaxResult: cfg.Cache.MaxEntryKB << 10,
		Limits: engine.Limits(cfg.Limits),
	}
}

func (g *gateway) adminConfig() admin.Config {
	return admin.Config{
		Engine: g.engine, Directory: g.directory, Ledger: g.store, MasterKey: g.masterKey, Status: g.status, Logger: g.log,
		Policies: policyAdmin{g}, Rollouts: &g.rollouts, Reload: g.reloadByAdmin, Vault: vaultAdmin{g}, Metrics: g.writeMetrics, Books: g.store, Archive: archive{g}, Life: g.life,
	}
}

func (g *gateway) serve(s *engine.Server, ln net.Listener) {
	g.serving.Go(func() {
		if err := s.Serve(ln); err != nil {
			g.log.Error("server stopped", "address", ln.Addr().String(), "error", err)
		}
	})
}

// closeTime is how long connections may stay open on which nothing is under way that could be lost.
const closeTime = 500 * time.Millisecond

// stop ends the gateway in the reverse order: no new requests, those under way finish until ctx ends and are cut then, at last
// everything is written and closed.
func (g *gateway) stop(ctx context.Context) error {
	var errs []error
	g.end()
	g.reloads.close()
	if g.unwatch != nil {
		g.unwatch()
	}
	if g.engine != nil {
		errs = append(errs, g.engine.Finish(ctx))
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	for _, s := range []*engine.Server{g.api, g.admin} {
		if s != nil {
			s.ShutdownWithContext(ctx) //nolint:errcheck // it tells of connections on which half a request came
		}
	}
	for _, ln := range []net.Listener{g.listener, g.adminListn} {
		if ln != nil {
			ln.Close() // closed already where its server was started
		}
	}
	if g.engine != nil {
		ending, done := context.WithTimeout(context.Background(), closeTime)
		defer done()
		errs = append(errs, g.engine.Close(ending))
	}
	g.rollouts.close()
	g.guard.Close()
	g.rotation.close()
	if g.events != nil {
		g.events.Close()
	}
	g.archiving.Wait()
	if g.usage != nil {
		errs = append(errs, g.usage.Close())
	}
	if g.results != nil {
		errs = append(errs, g.results.Close())
	}
	if g.bodies != nil {
		errs = append(errs, g.bodies.Close())
	}
	if g.store != nil {
		errs = append(errs, g.store.Close())
	}
	if g.vault != nil {
		errs = append(errs, g.vault.Close())
	}
	if g.policies != nil {
		errs = append(errs, g.policies.Close())
	}
	if g.plugins != nil {
		g.plugins.Close()
	}
	g.serving.Wait()
	return errors.Join(errs...)
}

func (g *gateway) openStore() (err error) {
	c := g.storeConfig()
	c.VerifyEvery, c.VerifyPercent = g.cfg.Ledger.VerifyEvery, g.cfg.Ledger.VerifyPercent
	g.store, err = badgerdb.Open(c)
	if err == nil && g.store.Halted() != nil {
		g.log.Error("the credit ledger is halted: requests that cost credits are refused", "error", g.store.Halted())
	}
	return err
}

func (g *gateway) openLog() (err error) {
	c, all := logConfig(g.cfg, g.dataDir, g.log), g.storeConfig()
	c.Clock, c.MemoryMB, c.MinFreeMB, c.DropNothing = all.Clock, all.MemoryMB, all.MinFreeMB, g.options.dropNothing
	if g.usage, err = badgerdb.OpenLog(c); !errors.Is(err, badgerdb.ErrDamaged) {
		return err
	}
	// What counts is in the ledger, so that nobody has to wait for somebody who looks into it.
	aside, asideErr := badgerdb.SetLogAside(c.Dir)
	if asideErr != nil {
		return errors.Join(err, asideErr)
	}
	g.log.Error("the usage log is damaged: it is kept aside, and another one begins", "kept", aside, "cause", err)
	g.usage, err = badgerdb.OpenLog(c)
	return err
}

func (g *gateway) openResults() (err error) {
	if g.cfg.Cache.IdempotencyMB > 0 {
		g.results, err = badgerdb.OpenResults(g.storeConfig(), int64(g.cfg.Cache.IdempotencyMB)<<20)
	}
	return err
}

// storeConfig is what all databases are given.
func (g *gateway) storeConfig() badgerdb.Config {
	c := badgerdb.Config{
		Dir: g.dataDir, Logger: g.log, Clock: g.now,
		MemoryMB: g.cfg.Storage.MemoryMB, MinFreeMB: g.cfg.Storage.MinFreeMB, BallastMB: g.cfg.Storage.BallastMB,
	}
	if c.MinFreeMB == 0 {
		c.MinFreeMB = -1 // no check
	}
	return c
}

// openDirectory opens the vault and the directory, and makes the first account with a key when there is none.
func (g *gateway) openDirectory(env func(string) string) (err error) {
	master := env("POINTSMAN_MASTER_KEY")
	if master == "" {
		if master, err = vault.ReadOrCreateSecret(g.masterKeyPath(), vault.NewMasterKey); err != nil {
			return err
		}
	}
	if len(master) < 16 {
		return errors.New("the master key has fewer than 16 characters")
	}
	g.masterKey = provider.NewSecret(master)
	if err := g.openVault(); err != nil {
		return err
	}
	g.directory, err = directory.Open(g.store, g.store, g.store, g.vault, accountDefaults(g.cfg), g.now)
	if err != nil || g.directory.CountAccounts() > 0 || g.store.Halted() != nil {
		return err
	}
	if _, err = g.directory.CreateAccount(storage.Account{ID: "default"}); err != nil {
		return fmt.Errorf("creating the first account: %w", err)
	}
	_, g.firstKey, err = g.directory.CreateKey(storage.VirtualKey{Account: "default", Name: "made at the first start"})
	return err
}

// accountDefaults is what a new account gets.
func accountDefaults(cfg *config.Config) directory.Defaults {
	a := cfg.Accounts
	return directory.Defaults{Credits: a.DefaultCredits, Tier: a.DefaultTier, Level: a.DefaultPowerLevel}
}

func (g *gateway) masterKeyPath() string { return filepath.Join(g.dataDir, masterKeyFile) }

// recordInterrupted writes a usage record for every request that the last run of the gateway left without an end, and for
// those whose record was lost with it. A damaged log is no reason not to serve.
func (g *gateway) recordInterrupted() {
	for _, h := range g.store.Interrupted() {
		g.usage.Append(storage.LogRecord{Usage: storage.Usage{
			Request: h.Request, Account: h.Account, Endpoint: "chat", Outcome: storage.OutcomeInterrupted, ErrorCode: "interrupted",
		}})
	}
	if n := len(g.store.Interrupted()); n > 0 {
		g.log.Warn("the last run ended with requests under way; their holds were released without a charge", "requests", n)
	}
	switch n, err := badgerdb.Reconcile(g.store, g.usage); {
	case err != nil:
		g.log.Warn("usage that the last run charged for may be missing from the log", "error", err)
	case n > 0:
		g.log.Warn("the last run lost usage records; they were restored from the ledger without their details", "requests", n)
	}
}

// status is the state of everything, for `pointsman doctor`.
func (g *gateway) status() admin.Status {
	serving, e := g.depot.Serving(), g.engine.Current()
	s := admin.Status{
		Version: version, Started: g.started, Config: g.cfg.File, DataDir: g.dataDir, Listen: g.listener.Addr().String(),
		Models: len(e.Catalog.Models), Accounts: g.directory.CountAccounts(), Providers: e.Health(engine.DetailLimits), Ledger: "ok",
		Simulated: e.Simulated(), Reload: g.reloads.last(), Policies: []admin.PolicyStatus{}, Vault: g.vaultSummary(),
	}
	if err := g.store.Halted(); err != nil {
		s.Ledger = err.Error()
	}
	for _, p := range g.policies.List() {
		s.Policies = append(s.Policies, admin.PolicyStatus{Name: p.Name, Digest: p.Digest, Source: serving[p.Name].Source, Decisions: p.Decisions, Failures: failures(p), Refused: serving[p.Name].Refused})
	}
	s.Plugins = g.pluginStatus()
	return s
}

// engineProviders turns the configured providers into the engine's, local ones at the address where they answered.
func engineProviders(cfg *config.Config, probed map[string]string) []engine.Provider {
	var out []engine.Provider
	for i := range cfg.Providers {
		p := &cfg.Providers[i]
		e := engine.Provider{
			Name: p.Name, Adapter: p.Adapter, BaseURL: p.BaseURL, Key: p.APIKey, Usable: p.Usable(),
			AllowPrivate: p.AllowPrivate, NoCollection: p.NoCollection, ZeroRetention: p.ZeroRetention, ProviderTools: p.ProviderTools, Settings: p.Settings, FirstContent: p.Timeouts.FirstContent,
			Timeouts: upstream.Timeouts{Connect: p.Timeouts.Connect, TLS: p.Timeouts.TLS, FirstByte: p.Timeouts.FirstByte, Idle: p.Timeouts.Idle, Total: p.Timeouts.Total},
		}
		if len(p.Probe) > 0 {
			e.BaseURL, e.Usable = cmp.Or(probed[p.Name], p.BaseURL), e.Usable && probed[p.Name] != ""
		}
		out = append(out, e)
	}
	return out
}

func cacheConfig(c *config.Cache) engine.CacheConfig {
	return engine.CacheConfig{
		Enabled: c.Enabled, TTL: c.TTL, MaxBytes: c.MaxMB << 20, MaxEntry: c.MaxEntryKB << 10, Scope: engine.CacheScope(c.Scope), HitShare: c.HitPrice,
		AnyTemperature: c.AnyTemperature, Ignore: c.IgnoreFields, Coalesce: c.Coalesce,
	}
}

// probeLocal finds out which local providers answer, and where. Nothing listening on loopback says so at once.
func probeLocal(ctx context.Context, cfg *config.Config) map[string]string {
	found := map[string]string{}
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	for _, p := range cfg.Providers {
		for _, base := range p.Probe {
			if found[p.Name] == "" && answers(ctx, base) {
				found[p.Name] = base
			}
		}
	}
	return found
}

func answers(ctx context.Context, base string) bool {
	_, rest, _ := strings.Cut(base, "://")
	host, _, _ := strings.Cut(rest, "/")
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func inParallel(jobs ...func() error) error {
	errs := make([]error, len(jobs))
	var wg sync.WaitGroup
	for i, job := range jobs {
		wg.Go(func() { errs[i] = job() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
