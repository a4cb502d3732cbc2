package plugins

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"sync/atomic"
	"time"
)

// drainTime is how long calls under way may hold up the end of a process that has a successor.
const drainTime = 30 * time.Second

// uses counts the calls under way in one process, so that it can end after the last.
type uses struct {
	count atomic.Int64  // below zero: no further calls
	idle  chan struct{} // closed when there are none left, and none will come
}

func newUses() *uses { return &uses{idle: make(chan struct{})} }

// begin counts a call, or returns false if the process takes none any more.
func (u *uses) begin() bool {
	for {
		n := u.count.Load()
		if n < 0 {
			return false
		}
		if u.count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// end is the end of a call.
func (u *uses) end() {
	if u.count.Add(-1) == math.MinInt64 {
		close(u.idle)
	}
}

// last refuses calls from now on. It is called once.
func (u *uses) last() {
	if u.count.Add(math.MinInt64) == math.MinInt64 {
		close(u.idle)
	}
}

// Reload makes the third-party plugins those given, without losing a call: of a plugin whose settings changed, a new
// process is started first; new calls go to it as soon as it answers, and the old one ends after its last call, or after
// 30 s. A plugin whose new process cannot be started stays as it was. What did not change is not touched. The error tells
// of each plugin that is not as it was asked for; ctx bounds the wait for the processes. Reload must follow Start.
func (h *Host) Reload(ctx context.Context, plugins map[string]Plugin) error {
	next := h.config
	next.Plugins = plugins
	if err := next.Validate(); err != nil {
		return err
	}
	h.reloading.Lock()
	defer h.reloading.Unlock()
	if h.running.ctx == nil || h.running.ctx.Err() != nil {
		return errors.New("the plugin host does not run")
	}
	running := map[string]*supervised{}
	for _, p := range h.list() {
		if p.plugin != nil {
			running[p.name] = p
		}
	}
	var errs []error
	// Removed ones first: their adapters' names may be wanted.
	for _, name := range slices.Sorted(maps.Keys(running)) {
		if _, kept := plugins[name]; !kept {
			h.remove(running[name])
		}
	}
	var added []*supervised
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		plugin := plugins[name]
		old := running[name]
		switch {
		case old == nil:
			p := newSupervised(h, name, &plugin)
			h.add(p)
			added = append(added, p)
		case !reflect.DeepEqual(*old.plugin, plugin):
			errs = append(errs, h.succeed(ctx, old, &plugin))
		}
	}
	return errors.Join(append(errs, h.run(h.running.ctx, ctx, added))...)
}

// succeed starts a plugin's new process and lets the old one end.
func (h *Host) succeed(ctx context.Context, old *supervised, plugin *Plugin) error {
	p := newSupervised(h, old.name, plugin)
	inst, err := launch(ctx, p)
	if err == nil {
		p.current.Store(inst) // before any call is led here
		if err = h.register(p, inst.adapters, old); err != nil {
			inst.close()
		}
	}
	if err != nil {
		p.program.close()
		err = fmt.Errorf("starting plugin %q: %w; the one before serves on", p.name, err)
		old.refuse(err)
		return err
	}
	p.status.Upgrades = old.snapshot().Upgrades + 1
	p.serve(inst)
	h.mu.Lock()
	h.plugins[slices.Index(h.plugins, old)] = p
	h.mu.Unlock()
	close(p.tried)
	h.running.Go(func() { p.run(h.running.ctx, inst) })
	p.logger.Info("plugin replaced", "sha256", plugin.SHA256, "before", old.plugin.SHA256)
	return nil
}

func (h *Host) list() []*supervised {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.plugins)
}

// add puts a plugin into the list, which stays sorted behind the built-in process.
func (h *Host) add(p *supervised) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := len(h.plugins)
	for i, other := range h.plugins {
		if other.plugin != nil && other.name > p.name {
			at = i
			break
		}
	}
	h.plugins = slices.Insert(h.plugins, at, p)
}

// remove takes a plugin out; calls under way may end.
func (h *Host) remove(p *supervised) {
	h.mu.Lock()
	h.plugins = slices.DeleteFunc(h.plugins, func(other *supervised) bool { return other == p })
	routes := maps.Clone(*h.routes.Load())
	maps.DeleteFunc(routes, func(_ string, owner *supervised) bool { return owner == p })
	h.routes.Store(&routes)
	p.retire()
	h.mu.Unlock()
	p.logger.Info("plugin removed")
}
