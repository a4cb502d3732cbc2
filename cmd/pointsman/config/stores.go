package config

import (
	"strconv"
	"time"
)

// Defaults of [storage] and [ledger].
const (
	DefaultMemoryMB      = 128
	DefaultMinFreeMB     = 256
	DefaultBallastMB     = 64
	DefaultVerifyEvery   = 24 * time.Hour
	DefaultVerifyPercent = 5
)

// DurabilityStrict is the durability of a ledger that has holds on disk before a provider is asked, and settlements before an answer ends.
const DurabilityStrict = "strict"

// stores reads [storage] and [ledger].
func (c *Config) stores(root *table) {
	t := root.child("storage", "in [storage]")
	c.Storage = Storage{
		LogDays:   int(t.integer("log_days", DefaultLogDays, 1, 36_500)),
		MemoryMB:  int(t.integer("memory_mb", DefaultMemoryMB, 16, 1024)),
		MinFreeMB: int(t.integer("min_free_mb", DefaultMinFreeMB, 0, 1<<30)),
		BallastMB: int(t.integer("ballast_mb", DefaultBallastMB, 0, 1<<20)),
	}
	if c.Storage.MinFreeMB == 0 && t.has("ballast_mb") && c.Storage.BallastMB > 0 {
		t.fault("ballast_mb", "ballast_mb needs a low-water mark at which the file is deleted, and min_free_mb = 0 is none")
	}
	t.done()
	t = root.child("ledger", "in [ledger]")
	c.Ledger = Ledger{
		VerifyEvery:   time.Duration(t.integer("verify_every", int64(DefaultVerifyEvery/time.Second), 0, 31_536_000)) * time.Second,
		VerifyPercent: int(t.integer("verify_percent", DefaultVerifyPercent, 1, 100)),
		Durability:    t.oneOf("durability", "normal", []string{"normal", DurabilityStrict}),
	}
	if every := c.Ledger.VerifyEvery; every > 0 && every < time.Minute {
		t.fault("verify_every", "verify_every must be at least 60 seconds, or 0 for only on demand")
	}
	t.done()
}

// stores prints [storage] and [ledger].
func (p *printer) stores(c *Config) {
	p.table("[storage]")
	p.pair("log_days", strconv.Itoa(c.Storage.LogDays))
	p.pair("memory_mb", strconv.Itoa(c.Storage.MemoryMB))
	p.pair("min_free_mb", strconv.Itoa(c.Storage.MinFreeMB))
	p.pair("ballast_mb", strconv.Itoa(c.Storage.BallastMB))
	p.table("[ledger]")
	p.pair("verify_every", strconv.Itoa(int(c.Ledger.VerifyEvery.Seconds())))
	p.pair("verify_percent", strconv.Itoa(c.Ledger.VerifyPercent))
	p.pair("durability", quote(c.Ledger.Durability))
}
