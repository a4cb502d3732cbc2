package engine

import (
	"bytes"
	"context"
	"math"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// ProviderHealth is what traffic and free probes say about one provider. Asking for it never causes any.
type ProviderHealth struct {
	Provider    string             `json:"provider"`
	Status      string             `json:"status"` // healthy, degraded, down, unknown (no traffic lately), simulated or unconfigured
	Reason      string             `json:"reason"`
	Since       *time.Time         `json:"since,omitempty"`
	Deployments int                `json:"deployments"`
	Down        int                `json:"down"`
	ErrorRate   float32            `json:"error_rate"` // the worst deployment's moving average, as policies see it
	Samples     uint64             `json:"samples"`    // since the start
	Configured  bool               `json:"configured"` // the platform has a key or needs none
	Window      WindowHealth       `json:"window"`
	Probe       *ProbeResult       `json:"probe,omitempty"`  // the latest
	Models      []DeploymentHealth `json:"models,omitempty"` // where asked for
}

// DeploymentHealth is one deployment of a provider.
type DeploymentHealth struct {
	Model    string       `json:"model"`
	Status   string       `json:"status"`
	Reason   string       `json:"reason"`
	Since    *time.Time   `json:"since,omitempty"`
	Retry    *time.Time   `json:"retry_at,omitempty"` // when it may be asked again
	Inflight uint16       `json:"inflight"`
	Window   WindowHealth `json:"window"`
	Limits   *limitsShown `json:"limits,omitempty"` // of the platform's key, as last told
}

// WindowHealth sums up the attempts of the last five minutes.
type WindowHealth struct {
	Answers         uint64   `json:"answers"`
	Failures        uint64   `json:"failures"`
	SuccessRate     *float64 `json:"success_rate"` // null without attempts
	TTFT50          float64  `json:"ttft_ms_p50"`
	TTFT95          float64  `json:"ttft_ms_p95"`
	Latency50       float64  `json:"latency_ms_p50"`
	Latency95       float64  `json:"latency_ms_p95"`
	TokensPerSecond float64  `json:"tokens_per_second"`
}

func showWindow(s snapshot.Stats) WindowHealth {
	w := WindowHealth{
		Answers: s.Answers, Failures: s.Failures, TTFT50: millis(s.TTFT50), TTFT95: millis(s.TTFT95),
		Latency50: millis(s.Latency50), Latency95: millis(s.Latency95), TokensPerSecond: math.Round(s.TokensPerSecond*10) / 10,
	}
	if s.Answers+s.Failures > 0 {
		rate := math.Round(s.SuccessRate()*10000) / 10000
		w.SuccessRate = &rate
	}
	return w
}

// Detail is how much of the providers' health is told.
type Detail uint8

// The details, each with those before.
const (
	DetailProviders   Detail = iota // a line a provider
	DetailDeployments               // and of each of its deployments
	DetailLimits                    // and what is left of the platform's limits
)

// PluginHealth is the state of one plugin process.
type PluginHealth struct {
	Plugin   string   `json:"plugin"`
	State    string   `json:"state"` // starting, running, restarting, failed, stopped
	Adapters []string `json:"adapters"`
	Restarts int      `json:"restarts"`
}

// LedgerHealth is how far the credit ledger is proven.
type LedgerHealth struct {
	Proven    *time.Time `json:"proven_at"` // when the lines were read that were last proven; null: not since the start
	Through   uint64     `json:"proven_through"`
	Verifying bool       `json:"verifying"`
}

// Health lists the providers with deployments, in catalog order.
func (e *Engine) Health(detail Detail) []ProviderHealth {
	now := e.Now()
	snap := e.live.Current(now)
	out := make([]ProviderHealth, 0, len(e.Catalog.Providers))
	for _, name := range e.Catalog.Providers {
		end := e.providers[name]
		numbers := e.deploymentsOf(end)
		p := ProviderHealth{
			Provider: name, Configured: end.Usable, Deployments: len(numbers), Window: showWindow(e.live.Window(numbers...)), Probe: e.probing.last(name),
		}
		simulated, worst := false, snapshot.State{Reason: "no deployment"}
		for _, i := range numbers {
			d, state := e.deployments[i], e.stateOf(i, now)
			p.Samples += uint64(snap.Candidates[i].Samples)
			p.ErrorRate = max(p.ErrorRate, snap.Candidates[i].ErrorRate)
			simulated = simulated || d.simulate
			if state.Health == abi.HealthDown {
				p.Down++
			}
			if state.Health > worst.Health || worst.Since.IsZero() {
				if worst = state; state.Health > abi.HealthHealthy {
					worst.Reason = d.Model.Name + ": " + state.Reason
				}
			}
			if detail >= DetailDeployments {
				one := DeploymentHealth{
					Model: d.Model.Name, Status: policy.HealthName(state.Health), Reason: state.Reason, Since: moment(state.Since), Retry: moment(state.Retry),
					Inflight: e.live.Inflight(i), Window: showWindow(e.live.Window(i)),
				}
				if detail >= DetailLimits {
					one.Limits = showLimits(d.limits.Load())
				}
				p.Models = append(p.Models, one)
			}
		}
		p.judge(worst, simulated)
		if health, reason, since, _ := end.key.keyReason(now); p.Configured && reason != "" {
			p.Status, p.Reason, p.Since = policy.HealthName(health), reason, moment(since)
		}
		out = append(out, p)
	}
	return out
}

// judge draws the provider's state from the worst of its deployments': it is down only if all are.
func (p *ProviderHealth) judge(worst snapshot.State, simulated bool) {
	p.Reason, p.Since = worst.Reason, moment(worst.Since)
	switch {
	case !p.Configured && simulated:
		p.Status, p.Reason, p.Since = "simulated", "the platform has no key; the simulator answers in its place", nil
	case !p.Configured:
		p.Status, p.Reason, p.Since = "unconfigured", "the platform has no key", nil
	case p.Down > 0 && p.Down < p.Deployments:
		p.Status = policy.HealthName(abi.HealthDegraded)
	default:
		p.Status = policy.HealthName(worst.Health)
	}
}

// stateOf is how a deployment is for requests with the platform's key.
func (e *Engine) stateOf(i int, now time.Time) snapshot.State {
	s, d := e.live.State(i), e.deployments[i]
	if !d.platform || s.Health == abi.HealthDown {
		return s
	}
	if health, reason, since, retry := d.endpoint.key.keyReason(now); reason != "" {
		return snapshot.State{Health: health, Reason: reason, Since: since, Retry: retry}
	}
	if at, limited := d.ready(0, now); limited {
		l := d.limits.Load()
		return snapshot.State{Health: abi.HealthDegraded, Reason: "the platform's rate limit is used up", Since: l.At, Retry: at}
	}
	return s
}

// health answers with the gateway's state and its providers'. The paths without the product's prefix are for load balancers:
// they tell a line a provider. What is left of the platform's limits is told to callers with a key only.
func (e *Engine) health(ctx *fasthttp.RequestCtx) {
	detail := DetailProviders
	if bytes.HasPrefix(ctx.Path(), []byte("/api/")) {
		detail = DetailDeployments
		if _, fault := e.authenticate(ctx); fault == nil {
			detail = DetailLimits
		}
	}
	status, code := "ok", fasthttp.StatusOK
	if !e.ledgerReady() {
		status, code = "unavailable", fasthttp.StatusServiceUnavailable
	}
	answer := map[string]any{
		"status": status, "models": len(e.Catalog.Models), "policies": e.OfferedPolicies(), "window_seconds": int(snapshot.Window.Seconds()), "providers": e.Health(detail),
	}
	if e.Overload != nil {
		answer["overload"] = e.overloadHealth()
	}
	if e.Plugins != nil {
		answer["plugins"] = e.Plugins()
	}
	if e.LedgerHealth != nil {
		answer["ledger"] = e.LedgerHealth()
	}
	if e.Problems != nil {
		if problems := e.Problems(); len(problems) > 0 {
			answer["problems"] = problems
		}
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
		shuttingDown().Write(ctx)
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
	out := []Reach{}
	for _, name := range e.Catalog.Providers {
		p := e.providers[name]
		if !p.Usable {
			continue
		}
		r := Reach{Provider: name}
		_, target, err := p.prepare(e.Now())
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

// deploymentsOf lists the numbers of a provider's deployments.
func (e *Engine) deploymentsOf(p *endpoint) (out []int) {
	for i, d := range e.deployments {
		if d.endpoint == p {
			out = append(out, i)
		}
	}
	return out
}

// retryTime is when a request may go to a deployment with the platform's key that now may not; zero if it may.
func (e *Engine) retryTime(i int, tokens uint32, now time.Time) (at time.Time, limited bool) {
	if s := e.live.State(i); s.Health == abi.HealthDown {
		return s.Retry, false
	}
	return e.deployments[i].ready(tokens, now)
}

// soonest is when the first of the candidates that were left out for a while may be asked again, and whether that is for a
// limit; zero if there is none.
func (e *Engine) soonest(c *call) (at time.Time, limited bool) {
	now := e.Now()
	for i, d := range c.among {
		if c.req.Options[i].Excluded != abi.ReasonDown || c.model != nil && d.Model != c.model {
			continue
		}
		if t, by := e.retryTime(d.Index, c.env.InputTokens, now); !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at, limited = t, by
		}
	}
	return at, limited
}

// limitsShown are limits as the API shows them.
type limitsShown struct {
	At    time.Time   `json:"at"`
	Until *time.Time  `json:"until,omitempty"` // asked for by the provider
	Left  []limitLeft `json:"left,omitempty"`
}

type limitLeft struct {
	Unit      string     `json:"unit"`
	Limit     int64      `json:"limit,omitempty"`
	Remaining int64      `json:"remaining"`
	Reset     *time.Time `json:"reset,omitempty"`
}

func showLimits(l *snapshot.Limits) *limitsShown {
	if l == nil {
		return nil
	}
	out := &limitsShown{At: l.At.UTC(), Until: moment(l.Until)}
	for _, left := range l.Left {
		unit := "requests"
		if left.Tokens {
			unit = "tokens"
		}
		out.Left = append(out.Left, limitLeft{unit, left.Limit, left.Remaining, moment(left.Reset)})
	}
	return out
}

// moment is a time for JSON, nil if it is zero.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
