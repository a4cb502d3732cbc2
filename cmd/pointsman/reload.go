package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/plugins"
	"github.com/pointsman/pointsman/sdk/provider"
)

const (
	// configPoll is how often a watched configuration file is looked at. It is read when it looked the same twice, so that one
	// that is still being written is left alone.
	configPoll = 500 * time.Millisecond
	// lastCalls is how long a plugin that the configuration has no more is kept for requests that began before.
	lastCalls = time.Second
)

// reloads is what is known of reading the configuration again. It is safe for concurrent use.
type reloads struct {
	running sync.Mutex // one at a time
	over    bool       // the gateway stops; guarded by running

	mu      sync.Mutex
	holding *config.Config    // what the gateway goes by; what is read at the start alone is in it as it was then
	probed  map[string]string // where local providers answered
	told    admin.Reload
}

// hold is the state after the start.
func (r *reloads) hold(cfg *config.Config, probed map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holding, r.probed = cfg, probed
	r.told = admin.Reload{Configuration: 1, At: time.Now().UTC(), By: "start", NeedsRestart: []string{}, Warnings: listed(cfg.Warnings)}
}

// close waits for one that is under way, after which there is none.
func (r *reloads) close() {
	r.running.Lock()
	defer r.running.Unlock()
	r.over = true
}

func (r *reloads) last() admin.Reload {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told
}

func (r *reloads) held() (*config.Config, map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.holding, r.probed
}

// reloadByAdmin is reload for the admin API.
func (g *gateway) reloadByAdmin(by string) (admin.Reload, error) {
	err := g.reload(g.life, by)
	return g.reloads.last(), err
}

// reload reads the configuration again, and makes it hold for requests that begin from then on. A file that cannot be used
// changes nothing. The certificate, each policy and each plugin that cannot be used stays as it was; with a plugin, so does all
// that the file says beside those. The error tells of everything that does not hold; that of the certificate and of policies,
// which are watched and may be mended without another reload, is not kept.
func (g *gateway) reload(ctx context.Context, by string) error {
	r := &g.reloads
	r.running.Lock()
	defer r.running.Unlock()
	if r.over {
		return errors.New("the gateway is stopping")
	}
	var restart []string
	var watched error
	next, err := g.readConfig()
	if err == nil {
		if g.options.secrets != nil {
			g.options.secrets(next.Secrets()...) // before anything of it can be logged
		}
		restart = keepStarted(g.cfg, next, g.bodies != nil)
		watched, err = g.apply(ctx, next, by)
	} else if g.certificate != nil {
		watched = g.certificate.reload()
	}
	r.mu.Lock()
	r.told.Configuration, r.told.At, r.told.By, r.told.Error = g.engine.Current().Configuration(), time.Now().UTC(), by, ""
	if next != nil {
		r.told.NeedsRestart, r.told.Warnings = listed(restart), listed(next.Warnings)
	}
	if err != nil {
		r.told.Error = err.Error()
	}
	r.mu.Unlock()
	for _, setting := range restart {
		g.log.Warn("a setting that changed needs a restart", "setting", setting, "config", g.cfg.File)
	}
	if err = errors.Join(err, watched); err != nil {
		g.log.Error("not everything was reloaded; what served before serves on", "config", g.cfg.File, "by", by, "error", err)
		return err
	}
	g.log.Info("the configuration was read again", "config", g.cfg.File, "by", by, "configuration", g.engine.Current().Configuration())
	return nil
}

// readConfig reads the file, or the defaults without one. One that ends within a line, though the one before did not, is taken to
// be still written.
func (g *gateway) readConfig() (*config.Config, error) {
	var next *config.Config
	var err error
	if g.cfg.File == "" {
		next, err = config.Default(g.env)
	} else {
		next, err = config.Load(g.cfg.File, g.env)
	}
	if err != nil {
		return nil, err
	}
	if holding, _ := g.reloads.held(); holding.WholeLines && !next.WholeLines {
		return nil, fmt.Errorf("%s is empty or ends within a line, as a file does that is still being written", g.cfg.File)
	}
	if g.options.adjust != nil {
		g.options.adjust(next)
	}
	return next, nil
}

// apply makes a configuration hold. watched tells of the certificate and of policies.
func (g *gateway) apply(ctx context.Context, next *config.Config, by string) (watched, err error) {
	holding, probed := g.reloads.held()
	models, err := catalog.Build(next.Models)
	if err != nil {
		return nil, err
	}
	if g.certificate != nil {
		watched = g.certificate.use(next.Server.TLSCert, next.Server.TLSKey)
	}
	before, after := pluginEntries(holding), pluginEntries(next)
	both := withRemoved(before, after)
	if err := g.plugins.Reload(ctx, both); err != nil {
		return watched, err
	}
	watched = errors.Join(watched, g.depot.Reload(policyEntries(next), next.Trust, by))
	g.rollouts.check(by)
	probed = probedAgain(ctx, next, probed)
	if err := g.engine.Reload(g.engineConfig(next, models, probed)); err != nil {
		return watched, err
	}
	g.directory.SetDefaults(accountDefaults(next))
	g.reloads.mu.Lock()
	g.reloads.holding, g.reloads.probed = next, probed
	g.reloads.mu.Unlock()
	if !reflect.DeepEqual(before, after) {
		g.engine.ForgetEndpoints() // another adapter may describe them otherwise
	}
	if len(both) > len(after) {
		time.Sleep(lastCalls)
		err = g.plugins.Reload(ctx, after)
	}
	return watched, err
}

// withRemoved adds to plugins those that were there before, if nothing that they are for has gone to another one.
func withRemoved(before, plugins map[string]plugins.Plugin) map[string]plugins.Plugin {
	both := maps.Clone(plugins)
	for name, p := range before {
		if _, kept := plugins[name]; !kept {
			both[name] = p
		}
	}
	return both
}

// probedAgain looks again where local providers answer. One that does not answer right now keeps its address.
func probedAgain(ctx context.Context, next *config.Config, before map[string]string) map[string]string {
	found := probeLocal(ctx, next)
	for i := range next.Providers {
		p := &next.Providers[i]
		if address := before[p.Name]; found[p.Name] == "" && slices.Contains(p.Probe, address) {
			found[p.Name] = address
		}
	}
	return found
}

// keepStarted puts what is read at the start alone into a configuration that was read later, and lists what it said otherwise.
func keepStarted(started, next *config.Config, keepsBodies bool) (changed []string) {
	type setting struct {
		name    string
		was, is any // pointers
	}
	a, b := started, next
	settings := []setting{
		{"[server] listen", &a.Server.Listen, &b.Server.Listen},
		{"[server] admin_listen", &a.Server.AdminListen, &b.Server.AdminListen},
		{"[server] max_body_bytes", &a.Server.MaxBodyBytes, &b.Server.MaxBodyBytes},
		{"[policies] check_every", &a.Rounds.CheckEvery, &b.Rounds.CheckEvery},
		{"[cache] idempotency_mb", &a.Cache.IdempotencyMB, &b.Cache.IdempotencyMB},
		{"[overload]", &a.Overload, &b.Overload},
		{"[storage]", &a.Storage, &b.Storage},
		{"[ledger]", &a.Ledger, &b.Ledger},
		{"[vault]", &a.Vault, &b.Vault},
		{"[events]", &a.Events, &b.Events},
		{"[log] max_mb", &a.Log.MaxMB, &b.Log.MaxMB},
		{"[log] minute_days", &a.Log.MinuteDays, &b.Log.MinuteDays},
		{"[log] hour_days", &a.Log.HourDays, &b.Log.HourDays},
		{"[log] day_days", &a.Log.DayDays, &b.Log.DayDays},
		{"[log] bodies_mb", &a.Log.BodiesMB, &b.Log.BodiesMB},
		{"[log] bodies_days", &a.Log.BodiesDays, &b.Log.BodiesDays},
		{"[log] redact_paths", &a.Log.RedactPaths, &b.Log.RedactPaths},
		{"[log] redact_expressions", &a.Log.RedactExpressions, &b.Log.RedactExpressions},
	}
	if !keepsBodies { // the store of them is opened at the start
		settings = append(settings, setting{"[log] bodies", &a.Log.Bodies, &b.Log.Bodies})
	}
	if (a.Server.TLSCert == "") != (b.Server.TLSCert == "") {
		settings = append(settings, setting{"[server] tls_cert", &a.Server.TLSCert, &b.Server.TLSCert}, setting{"[server] tls_key", &a.Server.TLSKey, &b.Server.TLSKey})
	}
	for _, s := range settings {
		if !sameSetting(s.was, s.is) {
			changed = append(changed, s.name)
			reflect.ValueOf(s.is).Elem().Set(reflect.ValueOf(s.was).Elem())
		}
	}
	return changed
}

// sameSetting compares what two pointers point to, of which no secret but that of events can be a part.
func sameSetting(was, is any) bool {
	if e, ok := was.(*config.Events); ok {
		a, b := *e, *is.(*config.Events)
		if a.Secret.Reveal() != b.Secret.Reveal() {
			return false
		}
		a.Secret, b.Secret = provider.Secret{}, provider.Secret{}
		return reflect.DeepEqual(a, b)
	}
	return reflect.DeepEqual(was, is)
}

// watchConfig reads the configuration again when its file has changed, if that is wanted, until the gateway stops.
func (g *gateway) watchConfig(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	seen := fileLook(g.cfg.File)
	last := seen
	for {
		select {
		case <-g.life.Done():
			return
		case <-tick.C:
		}
		holding, _ := g.reloads.held()
		if !holding.Server.Watch {
			seen = nil // what it is when it is switched on counts as known
			continue
		}
		now := fileLook(g.cfg.File)
		switch {
		case seen == nil:
			seen = now
		case now != nil && !sameFile(now, seen) && sameFile(now, last):
			seen = now
			g.reload(g.life, "file") //nolint:errcheck // it is logged
		}
		last = now
	}
}

func fileLook(name string) os.FileInfo {
	info, err := os.Stat(name)
	if err != nil {
		return nil
	}
	return info
}

func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// reloadProblems says for everybody what of the configuration does not hold.
func (g *gateway) reloadProblems() (list []string) {
	if g.reloads.last().Error != "" {
		list = append(list, "the configuration that was last read cannot be used; the one before holds on")
	}
	holding, _ := g.reloads.held()
	serving := g.depot.Serving()
	for _, p := range holding.Policies {
		if s, loaded := serving[p.Name]; !loaded {
			list = append(list, "policy "+p.Name+" is configured and cannot be loaded")
		} else if s.Refused != "" {
			list = append(list, "policy "+p.Name+" serves as it was, for its change was refused")
		}
	}
	return list
}

type reloadCmd struct{ adminFlags }

// Run lets a running gateway read its configuration again.
func (r *reloadCmd) Run(term terminal) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	var done admin.Reload
	if err := c.call("POST", "/api/v1/admin/reload", nil, &done); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "configuration %d holds for requests that begin from now on\n", done.Configuration)
	for _, warning := range done.Warnings {
		fmt.Fprintf(term.out, "warning: %s\n", warning)
	}
	for _, setting := range done.NeedsRestart {
		fmt.Fprintf(term.out, "needs a restart: %s\n", setting)
	}
	return nil
}
