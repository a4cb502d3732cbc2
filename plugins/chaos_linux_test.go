package plugins

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/provider"
)

// chaosKey is the environment variable that sets how often each attack of [TestChaos] is made, and has its figures held
// to the targets: with 100, as in the fault matrix, it takes some minutes on an idle machine. Without it each is made once, and a busy
// machine's figures are only told.
const chaosKey = "POINTSMAN_CHAOS"

// Targets of a full run.
const (
	targetReady = time.Second // from the attack to the plugin's next answer
	targetRSS   = 64 << 20    // growth of the host, in bytes
)

func chaosRounds(t testing.TB) (rounds int, full bool) {
	t.Helper()
	text := os.Getenv(chaosKey)
	if text == "" {
		return 1, false
	}
	rounds, err := strconv.Atoi(text)
	if err != nil || rounds < 1 {
		t.Fatalf("%s=%s is not a number of rounds", chaosKey, text)
	}
	return rounds, true
}

// chaosPause follows an attack that took the process, so that the gateway's own pause before the next start can be left out: without
// both, some process would be starting all the time, on a processor that the others use.
const chaosPause = 100 * time.Millisecond

// neighbours is how many callers of another plugin there are, each with its next call at once: traffic that takes all that it gets.
const neighbours = 16

// neighbour calls another plugin and keeps what it took, while a third keeps the host's memory in view.
type neighbour struct {
	mu     sync.Mutex
	took   []time.Duration
	failed int
	rss    int64 // the most
	stop   func()
}

func startNeighbour(h *Host) *neighbour {
	n := &neighbour{}
	done := make(chan struct{})
	var all sync.WaitGroup
	for range neighbours {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				began := time.Now()
				err := h.Call(context.Background(), "probe", &provider.CallRequest{Operation: "echo", Body: []byte("x")}, &answers{})
				n.mu.Lock()
				n.took = append(n.took, time.Since(began))
				if err != nil {
					n.failed++
				}
				n.mu.Unlock()
			}
		})
	}
	all.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				n.rss = max(n.rss, residentBytes())
			}
		}
	})
	n.stop = sync.OnceFunc(func() {
		close(done)
		all.Wait()
	})
	return n
}

func (n *neighbour) p99() time.Duration {
	slices.Sort(n.took)
	return n.took[len(n.took)*99/100]
}

func residentBytes() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// sink counts an answer's bytes and keeps none.
type sink struct{ bytes int }

func (s *sink) Head(int, map[string]string) error { return nil }

func (s *sink) Part(data []byte) error {
	s.bytes += len(data)
	return nil
}

// TestChaos attacks the host with a plugin while another serves.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	rounds, full := chaosRounds(t)
	megabytes, watch := "64", 200*time.Millisecond
	if full {
		megabytes, watch = "1024", time.Second
	}
	within := func(h *Host, adapter, operation, model string, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		return h.Call(ctx, adapter, &provider.CallRequest{Operation: operation, Model: model, Stream: operation == "pieces"}, &sink{})
	}
	signal := func(s syscall.Signal) func(*Host, int) error {
		return func(_ *Host, pid int) error { return syscall.Kill(pid, s) }
	}
	attacks := []struct {
		name   string
		bad    string
		lost   bool          // the process ends by it
		rounds int           // at most; 0: all
		ready  time.Duration // instead of the target
		load   bool          // is as much work for the host as the others' calls: it shares the processors with them, which may take four times as long
		attack func(h *Host, pid int) error
	}{
		{name: "kill -9", bad: "good", lost: true, attack: signal(syscall.SIGKILL)},
		{name: "stopped", bad: "good", lost: true, attack: signal(syscall.SIGSTOP)},
		{name: "hung", bad: "good", lost: true, rounds: 3, ready: 5 * time.Second, attack: func(h *Host, _ int) error {
			return refused(within(h, "good", "hang", "", 50*time.Millisecond))
		}},
		{name: "exit in a stream", bad: "good", lost: true, attack: func(h *Host, _ int) error { return refused(within(h, "good", "leave", "", time.Second)) }},
		{name: "garbage", bad: "good", lost: true, attack: func(h *Host, _ int) error { return refused(within(h, "good", "garbage", "", time.Second)) }},
		{name: "memory hog", bad: "good", lost: true, attack: func(h *Host, _ int) error { return refused(within(h, "good", "hog", "", 10*time.Second)) }},
		{name: "fork bomb", bad: "good", attack: func(h *Host, _ int) error {
			if err := within(h, "good", "bomb", "", 5*time.Second); err == nil || !strings.Contains(err.Error(), "made 0 processes") {
				return fmt.Errorf("the bomb: %w", err)
			}
			return nil
		}},
		{name: "log flood", bad: "good", attack: func(h *Host, _ int) error { return refused(within(h, "good", "flood", "", 200*time.Millisecond)) }},
		{name: "mute", bad: "good", attack: func(h *Host, _ int) error { return refused(within(h, "good", "mute", "", 50*time.Millisecond)) }},
		{name: "many parts", bad: "good", rounds: 10, load: true, attack: func(h *Host, _ int) error { return within(h, "good", "parts", megabytes, 20*time.Second) }},
		{name: "huge message", bad: "huge", rounds: 10, attack: func(h *Host, _ int) error { return refused(within(h, "huge", "once", megabytes, 20*time.Second)) }},
		{name: "endless event", bad: "huge", load: true, attack: func(h *Host, _ int) error { return tooLarge(within(h, "huge", "pieces", megabytes, 20*time.Second)) }},
	}
	for _, a := range attacks {
		t.Run(strings.ReplaceAll(a.name, " ", "-"), func(t *testing.T) {
			plugin := self(a.bad)
			plugin.MemoryMB = map[string]int{"good": 256, "huge": 6144}[a.bad]
			h := startHost(t, Config{
				Builtin: true, Plugins: map[string]Plugin{"bad": plugin}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			})
			debug.FreeOSMemory()
			idle := startNeighbour(h)
			time.Sleep(watch)
			idle.stop()
			before, base := residentBytes(), idle.p99()

			began, attacked := time.Now(), startNeighbour(h)
			n := rounds
			if a.rounds > 0 {
				n = min(n, a.rounds)
			}
			var slowest time.Duration
			for range n {
				s := h.Status()[1]
				if err := a.attack(h, s.PID); err != nil {
					t.Fatal(err)
				}
				took, err := untilReady(h, s, a.bad, a.lost)
				if err != nil {
					t.Fatal(err)
				}
				slowest = max(slowest, took)
				if n > 1 && took > 10*time.Millisecond {
					freshBackoff(h)
					time.Sleep(chaosPause)
				}
			}
			time.Sleep(max(0, watch-time.Since(began)))
			attacked.stop()
			grown := attacked.rss - before
			t.Logf("figure: a plugin misbehaves %d times: calls of another one have a p99 of %s before and %s meanwhile, %d failed; it is ready again after %s; the host grows by %.1f MiB",
				n, base.Round(time.Microsecond), attacked.p99().Round(time.Microsecond), attacked.failed, slowest.Round(time.Millisecond), float64(grown)/(1<<20))
			if attacked.failed > 0 {
				t.Errorf("%d calls of another plugin failed", attacked.failed)
			}
			if !full {
				return
			}
			if limit := max(a.ready, targetReady); slowest > limit {
				t.Errorf("ready after %s, target %s", slowest, limit)
			}
			times := time.Duration(2)
			if a.load {
				times = 4
			}
			if attacked.p99() > times*base {
				t.Errorf("others' p99 %s -> %s, target %d times", base, attacked.p99(), times)
			}
			if grown > targetRSS {
				t.Errorf("the host grew by %d bytes, target %d", grown, targetRSS)
			}
		})
	}
}

// untilReady waits until the bad plugin answers again, by another process if the one before was lost.
func untilReady(h *Host, before Status, adapter string, lost bool) (time.Duration, error) {
	began := time.Now()
	for time.Since(began) < 20*time.Second {
		if lost && h.Status()[1].PID == before.PID {
			time.Sleep(time.Millisecond)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		_, err := h.Prepare(ctx, adapter, &provider.PrepareRequest{})
		cancel()
		if err == nil || !errors.Is(err, provider.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
			return time.Since(began), nil
		}
		time.Sleep(time.Millisecond)
	}
	return 0, fmt.Errorf("plugin %+v is not ready again: %+v", before, h.Status()[1])
}

// freshBackoff lets many rounds stand for attacks that are hours apart: the delay before a restart grows with each that
// comes soon after the one before.
func freshBackoff(h *Host) {
	p := h.list()[1]
	p.tries.Store(0)
}

// refused wants the attack to have failed, in whatever way.
func refused(err error) error {
	if err == nil {
		return errors.New("the attack met no resistance")
	}
	return nil
}

func tooLarge(err error) error {
	if !errors.Is(err, provider.ErrTooLarge) {
		return fmt.Errorf("error %w, not that the message is too large", err)
	}
	return nil
}

// TestJunk starts a plugin whose socket speaks no gRPC.
func TestJunk(t *testing.T) {
	plugin := self("junk")
	plugin.PlainSocket = true
	h, err := New(Config{Plugins: map[string]Plugin{"bad": plugin}, Dir: shortDir(t), StartTimeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	before := residentBytes()
	if err := h.Start(context.Background()); err == nil || !strings.Contains(err.Error(), `plugin "bad"`) {
		t.Errorf("error %v", err)
	}
	if grown := residentBytes() - before; grown > targetRSS {
		t.Errorf("the host grew by %d bytes", grown)
	}
}

// TestSwapRace replaces and overwrites the executable while it is opened, as an attacker would who waits for the moment
// between the check and the start.
func TestSwapRace(t *testing.T) {
	rounds, full := chaosRounds(t)
	rounds *= 100
	if !full {
		rounds = 200
	}
	for _, kind := range []struct {
		name, good, evil string
		overwrite        bool
	}{
		{"program replaced", "good program" + strings.Repeat(".", 9000), "evil program" + strings.Repeat(".", 9000), false},
		{"program overwritten", "good program" + strings.Repeat(".", 9000), "evil program" + strings.Repeat(".", 9000), true},
		{"script replaced", "#!/bin/good" + strings.Repeat(".", 9000), "#!/bin/evil" + strings.Repeat(".", 9000), false},
	} {
		t.Run(strings.ReplaceAll(kind.name, " ", "-"), func(t *testing.T) {
			swapRace(t, rounds, kind.good, kind.evil, kind.overwrite)
		})
	}
}

func swapRace(t *testing.T, rounds int, good, evil string, overwrite bool) {
	dir := t.TempDir()
	path := dir + "/plugin"
	put := func(text string) {
		target := path
		if !overwrite {
			target = dir + "/next"
		}
		if err := os.WriteFile(target, []byte(text), 0o700); err != nil {
			t.Error(err)
		}
		if !overwrite {
			if err := os.Rename(target, path); err != nil {
				t.Error(err)
			}
		}
	}
	put(good)
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				put(evil)
				time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
				put(good)
				time.Sleep(time.Duration(rand.IntN(400)) * time.Microsecond)
			}
		}
	})
	defer swapping.Wait()
	defer close(stop)
	plugin := Plugin{Path: path, SHA256: sumOf(good)}
	opened, refusals := 0, 0
	for opened < rounds {
		file, _, err := openChecked(&plugin)
		if err != nil {
			refusals++
			time.Sleep(20 * time.Microsecond)
			continue
		}
		opened++
		if opened%3 == 0 {
			time.Sleep(50 * time.Microsecond) // let the swap happen
		}
		text := make([]byte, len(good)+1)
		n, _ := file.ReadAt(text, 0)
		if string(text[:n]) != good {
			t.Fatalf("what would be executed is %.20q", text[:n])
		}
		_ = file.Close()
	}
	t.Logf("figure: %d opened, %d refused", opened, refusals)
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
