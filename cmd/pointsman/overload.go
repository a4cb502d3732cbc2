package main

import (
	"math"
	"os"
	"runtime/debug"

	"github.com/pointsman/pointsman/engine/overload"
	"github.com/pointsman/pointsman/engine/upstream"
)

// reservedFiles are descriptors that clients and providers leave to the databases, the admin API and plugins.
const reservedFiles = 64

// newGuard is what the configuration says about overload, and what the process's limits do.
func (g *gateway) newGuard() *overload.Guard {
	c := g.cfg.Overload
	if c.MemoryMB > 0 {
		debug.SetMemoryLimit(int64(c.MemoryMB) << 20)
	}
	memory := debug.SetMemoryLimit(-1)
	if memory == math.MaxInt64 {
		memory = 0
	}
	return overload.New(overload.Config{
		Requests: c.Requests, Queue: c.Queue, Wait: c.QueueTime, Memory: memory, Connections: c.Connections, Senders: c.SlowPerAddress,
		WriteWithin: c.WriteTime, Descriptors: spareFiles(), Now: g.now,
	})
}

// spareFiles is how many descriptors clients and providers may use; 0: nobody counts them.
func spareFiles() int {
	limit := fileLimit()
	if limit == 0 {
		return 0
	}
	next, err := os.Open(os.DevNull) // gets the lowest number that is free
	if err != nil {
		return 1
	}
	defer next.Close()
	return max(limit-int(next.Fd())-reservedFiles, 1)
}

// keptConnections is how many unused connections are kept for each provider, so that not all descriptors are.
func keptConnections() upstream.Config {
	if limit := fileLimit(); limit > 0 {
		return upstream.Config{MaxIdle: min(max(limit/32, 4), 256)}
	}
	return upstream.Config{}
}
