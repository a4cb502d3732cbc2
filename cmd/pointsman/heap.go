package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// How much garbage there may be, in percent of what lives: of a small heap little, for write buffers, most of which nothing was written to yet,
// count as living; of a large one as much as lives, for a collection goes through all of it.
const (
	garbagePercent      = 50
	garbagePercentLarge = 100
)

// largeHeap is the most that lives in a small heap, in bytes: to collect that takes milliseconds of a processor, and seconds where a million accounts live.
const largeHeap = 256 << 20

// collectLater puts the first collection of garbage off until the start is done, which the function that it returns tells, or has
// allocated 80 MiB. Databases make write buffers at the start, of tens of MiB, and where others left garbage the runtime overwrites a buffer with zeros,
// so that all of it is in memory for good; a process that is idle had 37 or 58 MiB, as it happened.
func collectLater() (done func()) {
	if !choosesPercent() {
		return func() {}
	}
	debug.SetGCPercent(2000)
	var mu sync.Mutex
	started := false
	runtime.AddCleanup(new([64]byte), func(percent int) { // at the first collection
		mu.Lock()
		defer mu.Unlock()
		if !started { // much lives already, and more comes
			debug.SetGCPercent(percent)
		}
	}, garbagePercentLarge)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		started = true
		debug.SetGCPercent(garbagePercent)
	}
}

// choosesPercent tells whether the percentage is left to the gateway.
func choosesPercent() bool { return os.Getenv("GOGC") == "" }

// tendHeap gives the system back what is free, now and again and again, unless the heap is large: it takes a collection each time. The runtime by itself
// keeps about as much as the heap had at its largest of late, which a compaction of a database doubles for a moment.
func tendHeap(ctx context.Context, every time.Duration, large uint64) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	percent := garbagePercent
	for {
		fits := garbagePercent
		if metrics.Read(live); live[0].Value.Uint64() > large {
			fits = garbagePercentLarge
		} else {
			debug.FreeOSMemory()
		}
		if fits != percent && choosesPercent() {
			percent = fits
			debug.SetGCPercent(percent)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
