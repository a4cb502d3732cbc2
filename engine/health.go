package engine

import (
	"context"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// ProviderHealth is what traffic says about one provider. It never causes any.
type ProviderHealth struct {
	Provider    string  `json:"provider"`
	Status      string  `json:"status"` // healthy, degraded, down, unknown (no traffic yet), simulated or unconfigured
	Deployments int     `json:"deployments"`
	Down        int     `json:"down"`
	ErrorRate   float32 `json:"error_rate"` // the worst deployment's
	Samples     uint64  `json:"samples"`
	Configured  bool    `json:"configured"` // the platform has a key or needs none
}

// PluginHealth is the state of one plugin process.
type PluginHealth struct {
	Plugin   string   `json:"plugin"`
	State    string   `json:"state"` // starting, running, restarting, failed, stopped
	Adapters []string `json:"adapters"`
	Restarts int      `json:"restarts"`
}

// Health lists the providers with deployments, in catalog order.
func (e *Engine) Health() []ProviderHealth {
	snap := e.live.Current()
	out := make([]ProviderHealth, len(e.Catalog.Providers))
	best := make([]uint8, len(out))
	simulated := make([]bool, len(out))
	for i, name := range e.Catalog.Providers {
		out[i] = ProviderHealth{Provider: name, Configured: e.providers[name].Usable}
	}
	for i, d := range e.deployments {
		p, c := &out[d.ProviderNumber], &snap.Candidates[i]
		p.Deployments++
		p.Samples += uint64(c.Samples)
		p.ErrorRate = max(p.ErrorRate, c.ErrorRate)
		if c.Health == abi.HealthDown {
			p.Down++
		} else {
			best[d.ProviderNumber] = max(best[d.ProviderNumber], c.Health)
		}
		simulated[d.ProviderNumber] = simulated[d.ProviderNumber] || d.simulate
	}
	for i := range out {
		p := &out[i]
		switch {
		case !p.Configured && simulated[i]:
			p.Status = "simulated"
		case !p.Configured:
			p.Status = "unconfigured"
		case p.Down == p.Deployments:
			p.Status = policy.HealthName(abi.HealthDown)
		case p.Down > 0:
			p.Status = policy.HealthName(abi.HealthDegraded)
		default:
			p.Status = policy.HealthName(best[i])
		}
	}
	return out
}

// health answers with the gateway's state and its providers'.
func (e *Engine) health(ctx *fasthttp.RequestCtx) {
	status, code := "ok", fasthttp.StatusOK
	if !e.ledgerReady() {
		status, code = "unavailable", fasthttp.StatusServiceUnavailable
	}
	answer := map[string]any{"status": status, "models": len(e.Catalog.Models), "policies": e.Policies.Names(), "providers": e.Health()}
	if e.Plugins != nil {
		answer["plugins"] = e.Plugins()
	}
	WriteJSON(ctx, code, answer)
}

// alive answers as long as the process serves.
func (e *Engine) alive(ctx *fasthttp.RequestCtx) {
	WriteJSON(ctx, fasthttp.StatusOK, map[string]string{"status": "alive"})
}

// ready answers whether requests can be taken.
func (e *Engine) ready(ctx *fasthttp.RequestCtx) {
	if e.draining.Load() {
		(&Fault{Status: fasthttp.StatusServiceUnavailable, Type: typeServer, Code: "draining", Message: "the gateway is shutting down"}).Write(ctx)
		return
	}
	if !e.ledgerReady() {
		storageUnavailable().Write(ctx)
		return
	}
	WriteJSON(ctx, fasthttp.StatusOK, map[string]string{"status": "ready"})
}

func (e *Engine) ledgerReady() bool { return e.Ledger.Halted() == nil }

// Simulated counts the models that only the simulator answers for.
func (e *Engine) Simulated() int {
	n := 0
	for _, m := range e.Catalog.Models {
		if e.deployments[m.Deployments[0].Index].simulate {
			n++
		}
	}
	return n
}

// Reach is whether a provider's address takes connections.
type Reach struct {
	Provider string `json:"provider"`
	Error    string `json:"error,omitempty"` // "" if it does
}

// Reach connects to every configured provider and closes again, which costs nothing and sends nothing.
func (e *Engine) Reach(ctx context.Context) []Reach {
	var out []Reach
	for _, name := range e.Catalog.Providers {
		p := e.providers[name]
		if !p.Usable {
			continue
		}
		r := Reach{Provider: name}
		_, target, err := p.prepare(ctx, e.Now())
		if err == nil && target != nil {
			err = target.Reach(ctx)
		}
		if err != nil {
			r.Error = err.Error()
		}
		out = append(out, r)
	}
	return out
}
