package plugins

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/sdk/provider"
)

const (
	healthyAfter   = 30 * time.Second // a process that lived this long restarts without delay
	firstDelay     = 50 * time.Millisecond
	maxDelay       = 5 * time.Second
	pingInterval   = time.Second
	pingTimeout    = time.Second
	allowedMisses  = 3 // pings in a row; a hung process is gone within 4 s
	closingTimeout = 2 * time.Second
)

// supervised is one plugin through all its processes.
type supervised struct {
	host    *Host
	name    string
	plugin  *Plugin // nil for the built-in process
	logger  *slog.Logger
	current atomic.Pointer[instance] // nil while not running

	tried      chan struct{} // closed after the first start
	firstError error         // of the first start; read after tried

	mu     sync.Mutex
	status Status
}

func newSupervised(h *Host, name string, plugin *Plugin) *supervised {
	return &supervised{
		host: h, name: name, plugin: plugin, logger: h.config.Logger.With("plugin", name), tried: make(chan struct{}),
		status: Status{Plugin: name, State: StateStarting, Since: time.Now()},
	}
}

// run keeps the plugin running until ctx ends.
func (p *supervised) run(ctx context.Context) {
	tries := 0 // starts in a row that did not lead to a healthy process
	for first := true; ; first = false {
		began := time.Now()
		inst, err := p.start(ctx)
		if first {
			p.firstError = err
			close(p.tried)
		}
		if err == nil {
			err = p.watch(ctx, inst)
			p.current.Store(nil)
			if ctx.Err() == nil {
				p.set(StateRestarting, nil, err)
				p.logger.Warn("plugin lost, restarting", "error", err)
				inst.process.kill()
			}
			inst.close()
			if time.Since(began) >= healthyAfter {
				tries = 0
			}
		} else if ctx.Err() == nil {
			p.set(StateFailed, nil, err)
			p.logger.Error("plugin not started", "error", err)
			tries = max(tries, 1)
		}
		select {
		case <-ctx.Done():
			p.set(StateStopped, nil, nil)
			return
		case <-time.After(backoff(tries)):
		}
		tries++
	}
}

// backoff returns the delay before a restart: the first comes at once, then the delay doubles.
func backoff(tries int) time.Duration {
	if tries == 0 {
		return 0
	}
	return min(firstDelay<<min(tries-1, 10), maxDelay)
}

func (p *supervised) start(ctx context.Context) (*instance, error) {
	inst, err := launch(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("starting plugin %q: %w", p.name, err)
	}
	if err := p.host.register(p, inst.adapters); err != nil {
		inst.close()
		return nil, fmt.Errorf("starting plugin %q: %w", p.name, err)
	}
	p.current.Store(inst)
	p.set(StateRunning, inst, nil)
	p.logger.Info("plugin running", "pid", inst.process.pid, "adapters", names(inst.adapters))
	return inst, nil
}

// watch returns when the process is of no more use, and why.
func (p *supervised) watch(ctx context.Context, inst *instance) error {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	misses := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-inst.process.exited:
			return fmt.Errorf("the process ended: %w", inst.process.reason())
		case <-ticker.C:
		}
		pingCtx, cancel := context.WithTimeout(ctx, pingTimeout)
		err := inst.client.Ping(pingCtx)
		cancel()
		if err == nil {
			misses = 0
			continue
		}
		if misses++; misses == allowedMisses {
			return errors.New("the process does not answer")
		}
	}
}

func (p *supervised) set(state State, inst *instance, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.State, p.status.Since, p.status.PID = state, time.Now(), 0
	if state == StateRestarting {
		p.status.Restarts++
	}
	if inst != nil {
		p.status.PID, p.status.Adapters = inst.process.pid, names(inst.adapters)
	}
	if err != nil {
		p.status.LastError = err.Error()
	}
}

func (p *supervised) snapshot() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status // Adapters is replaced, never changed
}

func names(adapters []provider.Description) []string {
	out := make([]string, 0, len(adapters))
	for _, a := range adapters {
		out = append(out, a.Name)
	}
	return out
}
