package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/hostile"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// How long decisions may take while a policy is compiled, which has the processor after all others: 99 of 100, and each.
const (
	targetDecision = 5 * time.Millisecond
	longestOfAll   = time.Second
)

// besideCompiling lets a policy decide every millisecond until the work, which is done in processes of its own, is over. It tells how long that
// took, and the processor, and how long the longest decision. size is that of what is compiled, once it is known.
func besideCompiling(t *testing.T, host *policies.Host, size *atomic.Int64, work func() error) (took, processor, longest time.Duration, err error) {
	t.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before, began, done := used(), time.Now(), make(chan error, 1)
	go func() { done <- work() }()
	facts := &policy.Facts{Snapshot: policy.Publish(policy.Snapshot{Generation: 1}), Request: &policy.Request{Generation: 1, Model: abi.NoModel}}
	var plan policy.Plan
	var decisions []time.Duration
	for {
		asked := time.Now()
		if _, err := host.Route("eco", facts, &plan); err != nil {
			t.Fatal(err)
		}
		decisions = append(decisions, time.Since(asked))
		select {
		case err = <-done:
			took, processor = time.Since(began), used()-before
		case <-time.After(time.Millisecond):
			continue
		}
		break
	}
	// The kernel counts in ticks, and ends the process at the first after the limit.
	if seconds := compileSeconds(int(size.Load())); processor > time.Duration(seconds)*time.Second+500*time.Millisecond {
		t.Errorf("compiling %d bytes took %v of processor time, limit %d s", size.Load(), processor, seconds)
	}
	longest = quantile(decisions, 1)
	if p99 := quantile(decisions, 0.99); p99 > targetDecision && len(decisions) > 100 && allFaults() || longest > longestOfAll {
		t.Errorf("decisions took %v at the p99 meanwhile and %v at most, targets %v and %v", p99, longest, targetDecision, longestOfAll)
	}
	return took, processor, longest, err
}

// compilingHost compiles in processes of their own, and has a policy that decides. size is that of the last that was compiled.
func compilingHost(t *testing.T) (host *policies.Host, size *atomic.Int64) {
	t.Helper()
	size = new(atomic.Int64)
	compile := func(ctx context.Context, module []byte, dir string) error {
		size.Store(int64(len(module)))
		return compilePolicy(ctx, module, dir)
	}
	host, err := policies.New(t.Context(), policies.Config{CacheDir: t.TempDir(), Compile: compile, Trusted: builtin.Digests()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	if _, err := host.Load("eco", builtin.Modules()["eco"], policies.Settings{}); err != nil {
		t.Fatal(err)
	}
	return host, size
}

// TestCompileBombs loads modules that take long to compile: each is refused or ready within the limits, and the policies
// that are there keep deciding.
func TestCompileBombs(t *testing.T) {
	host, size := compilingHost(t)
	all := allFaults() || os.Getenv("POINTSMAN_ALL_BOMBS") != "" // they take minutes
	for _, bomb := range hostile.Bombs() {
		if bomb.Want != hostile.Refused && !all && bomb.Name != "many functions" {
			continue
		}
		t.Run(bomb.Name, func(t *testing.T) {
			took, processor, longest, err := besideCompiling(t, host, size, func() error {
				_, err := host.Load("bomb", bomb.Module, policies.Settings{})
				return err
			})
			end := "compiled"
			if err != nil {
				end = "refused"
			}
			t.Logf("a bomb of %d bytes: %v", len(bomb.Module), err)
			figure(t, "a bomb is %s after %v, %v of the processor; the longest decision meanwhile took %v", end, took.Round(time.Millisecond),
				processor.Round(time.Millisecond), longest.Round(time.Microsecond))
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

// TestCompileLimits has the process that compiles meet each of its limits, by modules that the host would not even hand on: it is ended, the
// reason is told, and the policies that are there keep deciding.
func TestCompileLimits(t *testing.T) {
	if err := compilePolicy(context.Background(), []byte("no module"), t.TempDir()); err == nil || err.Error() != "invalid magic number" {
		t.Errorf("got %v", err)
	}
	if !allFaults() {
		return // the others take seconds each
	}
	host, size := compilingHost(t)
	module := func(code []byte) []byte {
		return hostile.Policy(nil, hostile.Function{Type: hostile.TypeNothing, Locals: []byte{1, 1, 0x7E}, Code: code}).Module()
	}
	nested := hostile.Cat(bytes.Repeat([]byte{0x02, 0x40}, 200_000), bytes.Repeat([]byte{0x0B}, 200_000))
	table := hostile.Cat([]byte{0x02, 0x40}, hostile.I32(1), binary.AppendUvarint([]byte{0x0E}, 1<<20), make([]byte, 1<<20+1), []byte{0x0B})
	sums := hostile.Cat(hostile.I64(1), bytes.Repeat([]byte{0x22, 0, 0x20, 0, 0x7C}, 8<<20), []byte{0x1A})
	for _, c := range []struct {
		name   string
		module []byte
		says   string
	}{
		{"deep nesting", module(nested), "it took more than 3 s of processor time"},
		{"a large branch table", module(table), "it took more than 5 s of processor time"},
		{"one long function", module(sums), "it took more than 1024 MiB of memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			took, processor, longest, err := besideCompiling(t, host, size, func() error {
				size.Store(int64(len(c.module)))
				return compilePolicy(context.Background(), c.module, t.TempDir())
			})
			if err == nil || err.Error() != c.says {
				t.Fatalf("got %v, want %s", err, c.says)
			}
			figure(t, "beyond a limit it is ended after %v, %v of the processor; the longest decision meanwhile took %v", took.Round(time.Millisecond),
				processor.Round(time.Millisecond), longest.Round(time.Microsecond))
		})
	}
}
