package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// TestReturnMemory: what a load has left free goes back to the system soon, and again and again. The runtime by itself keeps a tenth more than the heap's goal,
// and collects a process that allocates nothing every two minutes.
func TestReturnMemory(t *testing.T) {
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
		returnMemory(ctx, 20*time.Millisecond)
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
