package main

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/hostile"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// TestCompileBombs loads modules that take long to compile: each is refused or ready within the limits, and the policies
// that are there keep deciding.
func TestCompileBombs(t *testing.T) {
	host, err := policies.New(t.Context(), policies.Config{CacheDir: t.TempDir(), Compile: compilePolicy, Trusted: builtin.Digests()})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	if _, err := host.Load("eco", builtin.Modules()["eco"], policies.Settings{}); err != nil {
		t.Fatal(err)
	}
	all := os.Getenv("POINTSMAN_ALL_BOMBS") != "" // they take minutes
	for _, bomb := range hostile.Bombs() {
		if bomb.Want != hostile.Refused && !all && bomb.Name != "many functions" {
			continue
		}
		t.Run(bomb.Name, func(t *testing.T) {
			loaded := make(chan error, 1)
			start := time.Now()
			go func() {
				_, err := host.Load("bomb", bomb.Module, policies.Settings{})
				loaded <- err
			}()
			snap := policy.Publish(policy.Snapshot{Generation: 1})
			request := &policy.Request{Generation: 1, Model: abi.NoModel}
			var plan policy.Plan
			longest := time.Duration(0)
			for {
				asked := time.Now()
				if _, err := host.Route("eco", &policy.Facts{Snapshot: snap, Request: request}, &plan); err != nil {
					t.Fatal(err)
				}
				longest = max(longest, time.Since(asked))
				select {
				case err = <-loaded:
				case <-time.After(time.Millisecond):
					continue
				}
				break
			}
			end := "compiled"
			if err != nil {
				end = "refused"
			}
			t.Logf("a bomb of %d bytes: %v", len(bomb.Module), err)
			t.Logf("figure: a bomb is %s after %v, the longest decision meanwhile took %v", end, time.Since(start).Round(time.Microsecond), longest.Round(time.Microsecond))
			if bomb.Want == hostile.Refused && !errors.Is(err, policies.ErrRefused) || err != nil && !errors.Is(err, policies.ErrRefused) {
				t.Error(err)
			}
		})
	}
}

// TestCompileAmongEndingThreads: the kernel ends a process with the thread that started it, which a goroutine of others may take with it.
func TestCompileAmongEndingThreads(t *testing.T) {
	stop := make(chan struct{})
	var enders sync.WaitGroup
	for range 8 {
		enders.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var one sync.WaitGroup
				one.Go(func() {
					runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
					time.Sleep(100 * time.Microsecond)
				})
				one.Wait()
			}
		})
	}
	defer enders.Wait()
	defer close(stop)
	module := builtin.Modules()["eco"]
	for range 50 {
		if err := compilePolicy(context.Background(), module, t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCompileLimits: what takes too much memory is killed, and the reason is told.
func TestCompileLimits(t *testing.T) {
	if err := compilePolicy(context.Background(), []byte("no module"), t.TempDir()); err == nil || err.Error() != "invalid magic number" {
		t.Errorf("got %v", err)
	}
}
