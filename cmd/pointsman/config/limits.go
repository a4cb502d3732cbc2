package config

import (
	"maps"
	"slices"
	"strconv"

	"github.com/pointsman/pointsman/storage"
)

// maxLimit is the largest limit that can be set; more is none.
const maxLimit = 1_000_000_000_000

// Limits is the [limits] table. A limit that is not in the file is nil.
type Limits struct {
	Keys      storage.Limits            // of each key that has none of its own
	Accounts  storage.Limits            // of each account, likewise
	Models    map[string]storage.Limits // by public name
	Providers map[string]storage.Limits
}

func (c *Config) limits(t *table) {
	c.Limits = Limits{
		Keys:     t.child("keys", "in [limits.keys]").rateLimits(),
		Accounts: t.child("accounts", "in [limits.accounts]").rateLimits(),
	}
	models := make([]string, len(c.Models))
	for i := range c.Models {
		models[i] = c.Models[i].Name
	}
	providers := make([]string, len(c.Providers))
	for i := range c.Providers {
		providers[i] = c.Providers[i].Name
	}
	c.Limits.Models = t.limitsOf("models", "model", models)
	c.Limits.Providers = t.limitsOf("providers", "provider", providers)
	t.done()
}

// limitsOf reads a table of limits by name; a misspelt name would limit nothing.
func (t *table) limitsOf(key, what string, known []string) map[string]storage.Limits {
	tables := t.child(key, "in [limits."+key+"]")
	out := map[string]storage.Limits{}
	for _, name := range tables.keys() {
		one := tables.child(name, "in [limits."+key+"."+bare(name)+"]")
		if !slices.Contains(known, name) {
			one.missing("there is no %s %.140q to limit%s", what, name, meant(name, known))
		}
		out[name] = one.rateLimits()
	}
	return out
}

// rateLimits reads the limits of one table.
func (t *table) rateLimits() (l storage.Limits) {
	one := func(key string) *int64 {
		if !t.has(key) {
			return nil
		}
		n := t.integer(key, 0, 0, maxLimit)
		return &n
	}
	l.RequestsPerMinute, l.TokensPerMinute, l.Concurrent = one("requests_per_minute"), one("tokens_per_minute"), one("concurrent_requests")
	t.done()
	return l
}

func (p *printer) limits(l *Limits) {
	p.rates("[limits.keys]", &l.Keys)
	p.rates("[limits.accounts]", &l.Accounts)
	for _, of := range []struct {
		key  string
		list map[string]storage.Limits
	}{{"models", l.Models}, {"providers", l.Providers}} {
		for _, name := range slices.Sorted(maps.Keys(of.list)) {
			limits := of.list[name]
			p.rates("[limits."+of.key+"."+bare(name)+"]", &limits)
		}
	}
}

func (p *printer) rates(title string, l *storage.Limits) {
	if l.RequestsPerMinute == nil && l.TokensPerMinute == nil && l.Concurrent == nil {
		return
	}
	p.table(title)
	one := func(key string, n *int64) {
		if n != nil {
			p.pair(key, strconv.FormatInt(*n, 10))
		}
	}
	one("requests_per_minute", l.RequestsPerMinute)
	one("tokens_per_minute", l.TokensPerMinute)
	one("concurrent_requests", l.Concurrent)
}
