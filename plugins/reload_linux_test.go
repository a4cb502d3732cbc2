package plugins

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/provider"
)

// callers make calls without a pause until they are stopped.
type callers struct {
	calls, failed atomic.Int64
	stop          func()
	first         atomic.Pointer[error]
}

func startCallers(h *Host, adapter string, n int) *callers {
	c := &callers{}
	done := make(chan struct{})
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				err := h.Call(context.Background(), adapter, &provider.CallRequest{Operation: "echo", Body: []byte("x")}, &answers{})
				c.calls.Add(1)
				if err != nil {
					c.failed.Add(1)
					c.first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	c.stop = sync.OnceFunc(func() {
		close(done)
		all.Wait()
	})
	return c
}

func TestReloadLosesNoCall(t *testing.T) {
	version := func(n int) map[string]Plugin {
		plugin := self("good")
		plugin.Args = append(plugin.Args, fmt.Sprint("version ", n))
		return map[string]Plugin{"good": plugin}
	}
	h := startHost(t, Config{Builtin: true, Plugins: version(0)})
	builtin, first := h.Status()[0].PID, h.Status()[1].PID

	// A stream that goes on over the change, on the old process.
	begun, proceed := make(chan struct{}), make(chan struct{})
	streamed := make(chan error, 1)
	go func() {
		got := answers{onPart: func(n int) error {
			if n == 1 {
				close(begun)
				<-proceed
			}
			return nil
		}}
		err := h.Call(context.Background(), "good", &provider.CallRequest{Operation: "count", Stream: true, Body: make([]byte, 5000)}, &got)
		if err == nil && len(got.parts) != 5000 {
			err = fmt.Errorf("%d parts", len(got.parts))
		}
		streamed <- err
	}()
	<-begun
	traffic := startCallers(h, "good", 4)
	defer traffic.stop()
	for n := 1; n <= 3; n++ {
		if err := h.Reload(context.Background(), version(n)); err != nil {
			t.Fatal(err)
		}
	}
	s := h.Status()[1]
	if s.PID == first || s.State != StateRunning || s.Upgrades != 3 || s.Restarts != 0 {
		t.Errorf("status %+v", s)
	}
	if !alive(first) {
		t.Error("the old process ended under a call")
	}
	close(proceed)
	if err := <-streamed; err != nil {
		t.Errorf("the stream: %v", err)
	}
	within(t, 2*time.Second, "old process ended", func() bool { return !alive(first) })
	if err := h.Reload(context.Background(), version(3)); err != nil || h.Status()[1].PID != s.PID {
		t.Errorf("what did not change was restarted: %v", err)
	}
	traffic.stop()
	if traffic.failed.Load() != 0 {
		t.Errorf("%d of %d calls failed: %v", traffic.failed.Load(), traffic.calls.Load(), *traffic.first.Load())
	}
	t.Logf("%d calls", traffic.calls.Load())
	if h.Status()[0].PID != builtin {
		t.Error("the built-in process was restarted")
	}
}

func TestReloadKeepsWhatWorks(t *testing.T) {
	h := startHost(t, Config{Builtin: true, Plugins: map[string]Plugin{"good": self("good")}})
	before := h.Status()[1].PID
	broken := self("good")
	broken.SHA256 = strings.Repeat("0", 64)
	thief := self("thief")
	for _, bad := range []Plugin{broken, thief, self("exits")} {
		err := h.Reload(context.Background(), map[string]Plugin{"good": bad})
		if err == nil || !strings.Contains(err.Error(), "serves on") {
			t.Errorf("error %v", err)
		}
		if s := h.Status()[1]; s.PID != before || s.State != StateRunning || s.LastError == "" {
			t.Errorf("status %+v", s)
		}
		if err := h.Call(context.Background(), "good", &provider.CallRequest{Operation: "echo"}, &answers{}); err != nil {
			t.Error(err)
		}
	}
}

func TestReloadAddsAndRemoves(t *testing.T) {
	h := startHost(t, Config{Builtin: true, Plugins: map[string]Plugin{"good": self("good")}})
	pid := h.Status()[1].PID
	if err := h.Reload(context.Background(), map[string]Plugin{"another": self("good")}); err != nil { // the same adapter
		t.Fatal(err)
	}
	if s := h.Status(); len(s) != 2 || s[1].Plugin != "another" || s[1].State != StateRunning {
		t.Errorf("status %+v", s)
	}
	within(t, 2*time.Second, "removed process ended", func() bool { return !alive(pid) })
	if err := h.Call(context.Background(), "good", &provider.CallRequest{Operation: "echo"}, &answers{}); err != nil {
		t.Error(err)
	}
	if err := h.Reload(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if err := h.Call(context.Background(), "good", &provider.CallRequest{Operation: "echo"}, &answers{}); !errors.Is(err, provider.ErrUnknownAdapter) {
		t.Errorf("error %v", err)
	}
	h.Close()
	if err := h.Reload(context.Background(), nil); err == nil {
		t.Error("a closed host was reloaded")
	}
}
