package engine

import (
	"fmt"
	"hash/maphash"
	"io"
	"math/bits"
	"sync"

	"github.com/VictoriaMetrics/metrics"

	"github.com/pointsman/pointsman/engine/limit"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/slab"
)

// metricSet counts what operators watch. Label values come from the catalog, the configuration and fixed lists only, never
// from requests, so that their number is bounded.
type metricSet struct {
	set      *metrics.Set
	counters *slab.Table[key, counter]
	models   *slab.Table[string, modelCounters]
	adding   sync.Mutex // of a counter
	latency  *metrics.Histogram
	overhead *metrics.Histogram
	ttft     *metrics.Histogram
}

func newMetricSet() *metricSet {
	set, seed := metrics.NewSet(), maphash.MakeSeed()
	hash := func(k key) uint64 { // the values tell nearly all of them apart
		return maphash.String(seed, k.value1) ^ bits.RotateLeft64(maphash.String(seed, k.value2), 1)
	}
	return &metricSet{
		set:      set,
		counters: slab.NewTable(hash, func(c *counter) key { return c.key }),
		models:   slab.NewTable(func(m string) uint64 { return maphash.String(seed, m) }, func(c *modelCounters) string { return c.model }),
		latency:  set.NewHistogram("pointsman_request_duration_seconds"),
		overhead: set.NewHistogram("pointsman_request_overhead_seconds"),
		ttft:     set.NewHistogram("pointsman_time_to_first_token_seconds"),
	}
}

// key is the labels of a counter as a comparable value, so that finding one builds no string.
type key struct{ name, label1, value1, label2, value2 string }

// counter is one of the counters that were used.
type counter struct {
	key
	*metrics.Counter
}

// modelCounters are those of a model, found in one look-up: every answer counts with all of them.
type modelCounters struct {
	model                  string
	input, output, credits *counter
}

func (m *metricSet) add(k key, n int) { m.counter(k).Add(n) }

// counter finds the counter with the labels, or makes it.
func (m *metricSet) counter(k key) *counter {
	if c := m.counters.Get(k); c != nil {
		return c
	}
	return m.first(k)
}

// model finds the counters of a model, or makes them.
func (m *metricSet) model(name string) *modelCounters {
	if c := m.models.Get(name); c != nil {
		return c
	}
	c := &modelCounters{
		model:   name,
		input:   m.counter(key{"pointsman_tokens_total", "direction", "input", "model", name}),
		output:  m.counter(key{"pointsman_tokens_total", "direction", "output", "model", name}),
		credits: m.counter(key{"pointsman_microcredits_total", "model", name, "", ""}),
	}
	m.adding.Lock()
	defer m.adding.Unlock()
	if m.models.Get(name) == nil { // else another one was faster, with the same counters
		m.models.Put(c)
	}
	return c
}

// first makes the counter with the labels, unless another one was faster.
func (m *metricSet) first(k key) *counter {
	m.adding.Lock()
	defer m.adding.Unlock()
	if c := m.counters.Get(k); c != nil {
		return c
	}
	name := k.name + "{" + k.label1 + "=\"" + k.value1 + "\""
	if k.label2 != "" {
		name += "," + k.label2 + "=\"" + k.value2 + "\""
	}
	c := &counter{k, m.set.GetOrCreateCounter(name + "}")}
	m.counters.Put(c)
	return c
}

// each visits the counters of one name.
func (m *metricSet) each(name string, visit func(k key, n uint64)) {
	for c := range m.counters.All() {
		if c.name == name {
			visit(c.key, c.Get())
		}
	}
}

func (m *metricSet) request(u *storage.Usage) {
	m.add(key{"pointsman_requests_total", "outcome", string(u.Outcome), "policy", u.Policy}, 1)
	m.latency.Update(u.Latency.Seconds())
	m.overhead.Update(u.Overhead.Seconds())
	if u.TTFT > 0 {
		m.ttft.Update(u.TTFT.Seconds())
	}
	if u.Outcome == storage.OutcomeOK {
		c := m.model(u.Model)
		c.input.Add(int(u.InputTokens))
		c.output.Add(int(u.OutputTokens))
		c.credits.Add(int(u.Credits))
	}
}

func (m *metricSet) refusal(code string) {
	m.add(key{"pointsman_refusals_total", "code", code, "", ""}, 1)
}

// limited counts a request that a rate limit refused.
func (m *metricSet) limited(r *limit.Refusal) {
	m.add(key{"pointsman_limit_refusals_total", "limit", r.Unit.String(), "of", r.Of.String()}, 1)
}

func (m *metricSet) attempt(provider, outcome string) {
	m.add(key{"pointsman_attempts_total", "provider", provider, "outcome", outcome}, 1)
}

// hedge counts a second copy that was sent: won, lost, or failed, it or the first.
func (m *metricSet) hedge(provider, outcome string) {
	m.add(key{"pointsman_hedges_total", "provider", provider, "outcome", outcome}, 1)
}

// probe counts a free look at a provider.
func (m *metricSet) probe(provider string, works bool) {
	outcome := "failed"
	if works {
		outcome = "ok"
	}
	m.add(key{"pointsman_probes_total", "provider", provider, "outcome", outcome}, 1)
}

func (m *metricSet) policyFailure(name string) {
	m.add(key{"pointsman_policy_failures_total", "policy", name, "", ""}, 1)
}

// cached counts what the cache did for a request. The reason tells why it was bypassed.
func (m *metricSet) cached(result, reason string) {
	m.add(key{"pointsman_cache_requests_total", "result", result, "reason", reason}, 1)
}

// idempotent counts what was done for an idempotency key.
func (m *metricSet) idempotent(what string) {
	m.add(key{"pointsman_idempotent_requests_total", "result", what, "", ""}, 1)
}

// round counts a plan that was not the last of its request.
func (m *metricSet) round(policy, kind string) {
	m.add(key{"pointsman_policy_rounds_total", "policy", policy, "kind", kind}, 1)
}

// WriteMetrics writes all metrics in the Prometheus text format.
func (e *Engine) WriteMetrics(w io.Writer) {
	e.metrics.set.WritePrometheus(w)
	running, limiters := e.rates.Running()
	for of, n := range running {
		fmt.Fprintf(w, "pointsman_limited_requests{of=%q} %d\n", limit.Owner(of), n)
	}
	fmt.Fprintf(w, "pointsman_limiters %d\n", limiters)
	e.writeCacheMetrics(w)
	e.Current().writeShadowMetrics(w)
	e.writeOverloadMetrics(w)
	for _, p := range e.Health(DetailProviders) {
		if p.Configured {
			fmt.Fprintf(w, "pointsman_provider_status{provider=%q,status=%q} 1\n", p.Provider, p.Status)
		}
	}
}
