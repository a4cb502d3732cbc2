package config

import (
	"strconv"
	"time"
)

// Overload is the [overload] table: what the gateway takes at once, and what it does with more.
type Overload struct {
	Requests       int           // under way at once; 0: by the number of processors
	Queue          int           // that wait for room
	QueueTime      time.Duration // that one waits at most
	MemoryMB       int           // of the process; 0: what GOMEMLIMIT says, or no limit
	Connections    int           // of clients; 0: what descriptors allow
	SlowPerAddress int           // connections of one address that take over a second to send a request; 0: no limit
	WriteTime      time.Duration // in which a client takes what is written to it, at least half of it; 0: any
}

func (c *Config) overload(t *table) {
	c.Overload = Overload{
		Requests:       int(t.integer("requests", 0, 0, 10_000_000)),
		Queue:          int(t.integer("queue", 1000, 0, 1_000_000)),
		QueueTime:      seconds(t.number("queue_time", 1, 0.001, 3600)),
		MemoryMB:       int(t.integer("memory_mb", 0, 0, 1<<24)),
		Connections:    int(t.integer("connections", 0, 0, 10_000_000)),
		SlowPerAddress: int(t.integer("slow_per_address", 1000, 0, 10_000_000)),
		WriteTime:      seconds(t.numberOrZero("write_time", 60, 3600)),
	}
	if c.Overload.MemoryMB > 0 && c.Overload.MemoryMB < 64 {
		t.fault("memory_mb", "memory_mb must be at least 64, or 0 for what GOMEMLIMIT says")
	}
	t.done()
}

func (p *printer) overload(v *Overload) {
	p.table("[overload]")
	p.pair("requests", strconv.Itoa(v.Requests))
	p.pair("queue", strconv.Itoa(v.Queue))
	p.pair("queue_time", strconv.FormatFloat(v.QueueTime.Seconds(), 'f', -1, 64))
	p.pair("memory_mb", strconv.Itoa(v.MemoryMB))
	p.pair("connections", strconv.Itoa(v.Connections))
	p.pair("slow_per_address", strconv.Itoa(v.SlowPerAddress))
	p.pair("write_time", strconv.FormatFloat(v.WriteTime.Seconds(), 'f', -1, 64))
}
