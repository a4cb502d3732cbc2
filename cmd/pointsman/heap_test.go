package main

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// TestMemoryGoesBack: what a load has left free goes back to the system soon, and again and again. The runtime by itself keeps a tenth more than the heap's goal,
// and collects a process that allocates nothing every two minutes.
func TestMemoryGoesBack(t *testing.T) {
	kept := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	held := func() (sum uint64) {
		metrics.Read(kept)
		for i := range kept {
			sum += kept[i].Value.Uint64()
		}
		return sum
	}
	debug.FreeOSMemory() // what other tests have left
	before := held()
	load := make([][]byte, 64)
	fill := func() {
		for i := range load {
			load[i] = make([]byte, 1<<20)
		}
	}
	fill()
	if during := held(); during < before+32<<20 {
		t.Fatalf("64 MiB on the heap, and it holds %d bytes, %d before", during, before)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		tendHeap(ctx, 20*time.Millisecond, math.MaxUint64)
		close(ended)
	}()
	for range 2 {
		clear(load)
		for deadline := time.Now().Add(30 * time.Second); held() > before+32<<20; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d bytes are held, %d were before the load", held(), before)
			}
		}
		fill()
	}
	cancel()
	<-ended
}

// TestLargeHeap: no collection is forced where it would take long, and garbage may take more.
func TestLargeHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(garbagePercent))
	forced := []metrics.Sample{{Name: "/gc/cycles/forced:gc-cycles"}}
	cycles := func(upTo uint64) uint64 {
		metrics.Read(forced)
		before := forced[0].Value.Uint64()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		tendHeap(ctx, 5*time.Millisecond, upTo)
		metrics.Read(forced)
		return forced[0].Value.Uint64() - before
	}
	if n := cycles(0); n != 0 {
		t.Errorf("%d collections of a heap that is too large", n)
	}
	percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	if metrics.Read(percent); percent[0].Value.Uint64() != garbagePercentLarge {
		t.Errorf("%d percent of garbage in it", percent[0].Value.Uint64())
	}
	if cycles(math.MaxUint64) == 0 {
		t.Error("no collection of one that is not")
	}
}

// TestCollectLater: the first collection changes how much garbage there may be, but not once the start is done.
func TestCollectLater(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(garbagePercent))
	percent := func() uint64 {
		read := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(read)
		return read[0].Value.Uint64()
	}
	becomes := func(want uint64) {
		t.Helper()
		for range 100 {
			runtime.GC()
			if time.Sleep(time.Millisecond); percent() == want {
				break
			}
		}
		if got := percent(); got != want {
			t.Errorf("%d percent of garbage, want %d", got, want)
		}
	}
	done := collectLater()
	becomes(garbagePercentLarge)
	done()
	becomes(garbagePercent)
	collectLater()()
	time.Sleep(10 * time.Millisecond)
	runtime.GC()
	time.Sleep(10 * time.Millisecond)
	if got := percent(); got != garbagePercent {
		t.Errorf("%d percent of garbage after the start", got)
	}
}
