package config

import (
	"slices"
	"strconv"
	"strings"
)

// shareDigits are the digits of a share of one that count.
const shareDigits = 6

// ignorable are the fields of requests that say who asks rather than what.
func ignorable() []string {
	return []string{"metadata", "prompt_cache_key", "safety_identifier", "user"}
}

func (c *Config) cache(t *table) {
	c.Cache = Cache{
		Enabled:        t.flag("enabled", false),
		TTL:            seconds(t.number("ttl", 3600, 0.1, 7*86_400)),
		MaxMB:          int(t.integer("max_mb", 256, 1, 1<<20)),
		MaxEntryKB:     int(t.integer("max_entry_kb", 1024, 1, 64<<10)),
		Scope:          t.oneOf("scope", "account", []string{"account", "key", "team"}),
		HitPrice:       t.share("hit_price"),
		AnyTemperature: t.flag("any_temperature", false),
		IgnoreFields:   t.strs("ignore_fields"),
		Coalesce:       t.flag("coalesce", false),
		IdempotencyMB:  int(t.integer("idempotency_mb", 256, 0, 1<<20)),
	}
	for i, name := range c.Cache.IgnoreFields {
		if !slices.Contains(ignorable(), name) {
			t.faultAt(t.path.key("ignore_fields").at(i), "an element of ignore_fields must be one of %s: all else changes the answer", strings.Join(ignorable(), ", "))
		}
	}
	if c.Cache.MaxEntryKB > c.Cache.MaxMB<<10 {
		t.fault("max_entry_kb", "max_entry_kb must not exceed max_mb")
	}
	t.done()
}

// share reads "free", or a number from 0 to 1 exactly, in millionths.
func (t *table) share(key string) uint32 {
	if t.raw(key) == "free" {
		t.has(key)
		return 0
	}
	text, ok := t.decimal(key)
	if !ok {
		return 0
	}
	whole, fraction, _ := strings.Cut(text, ".")
	n, err := strconv.ParseUint(whole+fraction+strings.Repeat("0", max(0, shareDigits-len(fraction))), 10, 32)
	if err != nil || len(fraction) > shareDigits || n > 1_000_000 {
		t.fault(key, "%s must be \"free\" or a number from 0 to 1 with at most %d fractional digits", key, shareDigits)
		return 0
	}
	return uint32(n)
}

func (p *printer) cache(c *Cache) {
	price := `"free"`
	if c.HitPrice > 0 {
		price = strconv.FormatFloat(float64(c.HitPrice)/1_000_000, 'f', -1, 64)
	}
	p.table("[cache]")
	p.pair("enabled", strconv.FormatBool(c.Enabled))
	p.pair("ttl", strconv.FormatFloat(c.TTL.Seconds(), 'g', -1, 64))
	p.pair("max_mb", strconv.Itoa(c.MaxMB))
	p.pair("max_entry_kb", strconv.Itoa(c.MaxEntryKB))
	p.pair("scope", quote(c.Scope))
	p.pair("hit_price", price)
	p.pair("any_temperature", strconv.FormatBool(c.AnyTemperature))
	p.list("ignore_fields", c.IgnoreFields)
	p.pair("coalesce", strconv.FormatBool(c.Coalesce))
	p.pair("idempotency_mb", strconv.Itoa(c.IdempotencyMB))
}
