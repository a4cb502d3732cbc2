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
	askingTimeout  = 50 * time.Millisecond
	closingTimeout = 2 * time.Second
	brokenTimeout  = 20 * time.Millisecond // in which a process whose connection broke is seen to have ended
)

// supervised is one plugin through all its processes.
type supervised struct {
	host    *Host
	name    string
	plugin  *Plugin // nil for the built-in process
	program program // of run, once that goes
	logger  *slog.Logger
	current atomic.Pointer[instance] // nil while not running
	retired atomic.Bool              // it has a successor, or was removed
	retire  func()                   // lets its process end after the last call
	ending  <-chan struct{}          // closed by retire
	tries   atomic.Int64             // starts in a row that did not lead to a healthy process

	tried      chan struct{} // closed after the first start
	firstError error         // of the first start; read after tried

	mu     sync.Mutex
	status Status
}

func newSupervised(h *Host, name string, plugin *Plugin) *supervised {
	p := &supervised{
		host: h, name: name, plugin: plugin, logger: h.config.Logger.With("plugin", name), tried: make(chan struct{}),
		status: Status{Plugin: name, State: StateStarting, Since: time.Now()},
	}
	if plugin != nil {
		p.status.SHA256 = plugin.SHA256
	}
	ending := make(chan struct{})
	p.ending, p.retire = ending, sync.OnceFunc(func() {
		p.retired.Store(true)
		close(ending)
	})
	return p
}

// run keeps the plugin running until ctx ends or it is retired. inst is its process, if it was started already.
func (p *supervised) run(ctx context.Context, inst *instance) {
	host := ctx
	ctx, cancel := context.WithCancel(host)
	defer cancel()
	defer p.program.close()
	go func() {
		select {
		case <-p.ending:
			cancel() // stops a start or a wait at once; a running process gets its time below
		case <-ctx.Done():
		}
	}()
	for first := inst == nil; ; first = false {
		began := time.Now()
		var err error
		if inst == nil {
			inst, err = p.start(ctx)
		}
		if err != nil && ctx.Err() == nil {
			p.set(StateFailed, nil, err)
			p.logger.Error("plugin not started", "error", err)
			p.tries.CompareAndSwap(0, 1)
		}
		if first {
			p.firstError = err
			close(p.tried)
		}
		if err == nil {
			err = p.watch(ctx, inst)
			p.leave(ctx, host, inst, err)
			if time.Since(began) >= healthyAfter {
				p.tries.Store(0)
			}
		}
		inst = nil
		select {
		case <-ctx.Done():
			p.set(StateStopped, nil, nil)
			return
		case <-time.After(backoff(int(p.tries.Load()))):
		}
		p.tries.Add(1)
	}
}

// leave ends a process: at once when it was lost or the host is closed, after its last call when it was retired.
func (p *supervised) leave(ctx, host context.Context, inst *instance, reason error) {
	if p.retired.Load() {
		inst.uses.last()
		select {
		case <-inst.uses.idle:
		case <-inst.process.exited:
		case <-time.After(drainTime):
			p.logger.Warn("the replaced plugin still had calls; they are cut", "after", drainTime.String())
		case <-host.Done():
		}
		p.current.Store(nil)
		inst.close()
		return
	}
	p.current.Store(nil)
	if ctx.Err() == nil {
		p.set(StateRestarting, nil, reason)
		p.logger.Warn("plugin lost, restarting", "error", reason)
		inst.process.kill()
	}
	inst.close()
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
	if err := p.host.register(p, inst.adapters, nil); err != nil {
		inst.close()
		return nil, fmt.Errorf("starting plugin %q: %w", p.name, err)
	}
	p.serve(inst)
	return inst, nil
}

// serve lets a registered process take calls.
func (p *supervised) serve(inst *instance) {
	p.current.Store(inst)
	p.set(StateRunning, inst, nil)
	p.logger.Info("plugin running", "pid", inst.process.pid, "adapters", names(inst.adapters))
}

// refuse keeps why the plugin was not replaced.
func (p *supervised) refuse(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.LastError = err.Error()
}

// watch returns when the process is of no more use, and why.
func (p *supervised) watch(ctx context.Context, inst *instance) error {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	broken := inst.broken(ctx)
	misses := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-inst.process.exited:
			return fmt.Errorf("the process ended: %w", inst.process.reason())
		case <-inst.process.stopped:
			return errors.New("the process was stopped by a signal")
		case <-broken:
			select {
			case <-inst.process.exited: // that is why
				return fmt.Errorf("the process ended: %w", inst.process.reason())
			case <-time.After(brokenTimeout):
				return errors.New("the connection to the process broke")
			}
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
		p.status.PID, p.status.Adapters, p.status.Versions = inst.process.pid, names(inst.adapters), versions(inst.adapters)
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

func versions(adapters []provider.Description) []string {
	out := make([]string, 0, len(adapters))
	for _, a := range adapters {
		out = append(out, a.Version)
	}
	return out
}
