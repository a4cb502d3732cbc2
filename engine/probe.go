package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/sdk/abi"
	adapter "github.com/pointsman/pointsman/sdk/provider"
)

const (
	probeTick    = time.Second
	probeTimeout = 10 * time.Second
	firstProbe   = 15 * time.Second // between two probes of a provider, doubling
	longestProbe = 5 * time.Minute
)

// Probes says which of the platform's providers are probed without traffic. A probe is the GET request that the adapter
// names as free, its own Probe if it makes the calls itself, or else a mere connection; never anything billable.
type Probes string

// The choices.
const (
	ProbeDown    Probes = "down"    // those with an open circuit
	ProbeUnknown Probes = "unknown" // also those of which nothing is known
	ProbeOff     Probes = "off"     // none
)

// KeyProber is implemented by Adapters that can let a plugin probe. The error is a *provider.Error if the provider answered
// it, and matches errors.ErrUnsupported if the plugin cannot probe.
type KeyProber interface {
	Probe(ctx context.Context, adapter string, req *adapter.ProbeRequest) error
}

// ProbeResult is what a probe found.
type ProbeResult struct {
	At      time.Time `json:"at"`
	Works   bool      `json:"works"`
	Checked string    `json:"checked"`           // "key": the provider accepted it; "connection": only that it can be reached
	Failure string    `json:"failure,omitempty"` // its class
	Millis  float64   `json:"latency_ms"`
}

// prober probes providers in the background, each at most four times a minute and, while it stays as it is, less and less
// often. It is safe for concurrent use.
type prober struct {
	engine *Engine // of any configuration
	stop   context.CancelFunc
	ctx    context.Context
	done   sync.WaitGroup

	mu     sync.Mutex
	states map[string]*probeState
}

type probeState struct {
	wait time.Duration // before the next one; 0: none was needed lately
	due  time.Time
	busy bool
	last *ProbeResult
}

// startProber starts probing.
func (e *Engine) startProber() *prober {
	p := &prober{engine: e, states: map[string]*probeState{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.done.Go(p.run)
	return p
}

func (p *prober) close() {
	p.stop()
	p.done.Wait()
}

func (p *prober) run() {
	tick := time.NewTicker(probeTick)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
			e := p.engine.Current()
			for _, name := range p.due(e, e.Now()) {
				p.done.Go(func() { p.probe(e, name) })
			}
		}
	}
}

// ProbeDue probes the providers that are due, as the engine does by itself once a second, and returns their number when that
// is done.
func (e *Engine) ProbeDue() int {
	e = e.Current()
	due := e.probing.due(e, e.Now())
	for _, name := range due {
		e.probing.probe(e, name)
	}
	return len(due)
}

// due lists the providers that are to be probed now, and plans when they are the next time.
func (p *prober) due(e *Engine, now time.Time) (names []string) {
	mode := cmp.Or(e.Probes, ProbeDown)
	if mode == ProbeOff {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range e.Catalog.Providers {
		end := e.providers[name]
		if !end.Usable {
			continue
		}
		s := p.states[name]
		if s == nil {
			s = &probeState{}
			p.states[name] = s
		}
		if !e.wantsProbe(mode, end, s) {
			s.wait = 0
			continue
		}
		if s.busy || now.Before(s.due) {
			continue
		}
		s.wait = min(max(2*s.wait, firstProbe), longestProbe)
		s.due, s.busy = now.Add(s.wait), true
		names = append(names, name)
	}
	return names
}

// wantsProbe tells whether there is something to learn of a provider.
func (e *Engine) wantsProbe(mode Probes, end *endpoint, s *probeState) bool {
	if _, _, _, open := end.key.circuit.Open(); open {
		return true
	}
	known := false
	for i, d := range e.deployments {
		if d.endpoint != end {
			continue
		}
		if e.live.Broken(i) {
			return true
		}
		known = known || e.live.State(i).Health != abi.HealthUnknown
	}
	return mode == ProbeUnknown && !known && (s.last == nil || !s.last.Works)
}

// probe asks one provider and lets the next request try what was kept away from it, if it answered.
func (p *prober) probe(e *Engine, name string) {
	end := e.providers[name]
	result, _ := e.probe(p.ctx, end, end.Key)
	p.mu.Lock()
	if s := p.states[name]; s != nil {
		s.last, s.busy = result, false
	}
	p.mu.Unlock()
	e.metrics.probe(name, result.Works)
	e.Logger.Debug("probed", "provider", name, "works", result.Works, "checked", result.Checked, "failure", result.Failure)
	if !result.Works {
		return
	}
	end.key.circuit.Retry(e.Now())
	for i, d := range e.deployments {
		if d.endpoint == end && e.live.Cause(i) != abi.FailureNotFound { // which a probe says nothing of
			e.live.Retry(i)
		}
	}
}

// forget drops what was found of a provider, which is another one from now on or none.
func (p *prober) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.states, name)
}

// last is what the latest probe of a provider found, nil if there was none.
func (p *prober) last(name string) *ProbeResult {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.states[name]; s != nil {
		return s.last
	}
	return nil
}

// probe asks a provider whether it and a key work, for free.
func (e *Engine) probe(ctx context.Context, p *endpoint, key adapter.Secret) (*ProbeResult, *failure) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	began := e.Now()
	checked, f := e.probeWith(ctx, p, key)
	result := &ProbeResult{At: began, Works: f == nil, Checked: checked, Millis: millis(e.Now().Sub(began))}
	if f != nil {
		result.Failure = f.label()
	}
	return result, f
}

func (e *Engine) probeWith(ctx context.Context, p *endpoint, key adapter.Secret) (checked string, f *failure) {
	desc, target, err := p.prepare(e.Now())
	if err != nil {
		return "connection", transportFailure(err)
	}
	if desc.Mode == adapter.ModeProxied {
		return e.probePlugin(ctx, p, key)
	}
	if desc.Probe.Path == "" {
		if err := target.Reach(ctx); err != nil {
			return "connection", transportFailure(err)
		}
		return "connection", nil
	}
	x := target.Begin(desc.Probe.Path)
	x.Request.Method = fasthttp.MethodGet
	for name, value := range desc.Headers {
		x.Request.Set(name, value)
	}
	checked = "connection"
	if desc.Auth.Header != "" && key.IsSet() {
		x.Request.Set(desc.Auth.Header, desc.Auth.Prefix+key.Reveal())
		checked = "key"
	}
	x.Timeouts.Total = probeTimeout
	release := context.AfterFunc(ctx, x.Cancel)
	err = x.Do(false)
	release()
	if err != nil {
		x.Close(false)
		if ctx.Err() != nil && errors.Is(err, upstream.ErrCancelled) {
			err = fmt.Errorf("%w: the probe", upstream.ErrTimeout)
		}
		return "connection", transportFailure(err)
	}
	if status := x.Response.StatusCode(); status != fasthttp.StatusOK {
		f = (&answer{rules: desc.Errors, key: key}).failure(status, errorBody(x, false))
		f.retryAfter = retryAfter(func(name string) string { return string(x.Response.Header.Peek(name)) }, e.Now())
	}
	x.Close(true)
	return checked, f
}

// probePlugin lets the plugin ask. One that cannot is at least running.
func (e *Engine) probePlugin(ctx context.Context, p *endpoint, key adapter.Secret) (checked string, f *failure) {
	plugin, ok := e.Adapters.(KeyProber)
	if !ok {
		return "connection", nil
	}
	err := plugin.Probe(ctx, p.Adapter, &adapter.ProbeRequest{
		Provider: p.Name, BaseURL: p.BaseURL, Credential: key, Settings: p.Settings, AllowPrivate: p.AllowPrivate,
	})
	var refused *adapter.Error
	switch {
	case err == nil:
		return "key", nil
	case errors.Is(err, errors.ErrUnsupported):
		return "connection", nil
	case errors.As(err, &refused):
		return "key", &failure{class: refused.Class}
	default:
		return "connection", transportFailure(err)
	}
}
