package plugins

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/provider"
)

func TestBuiltinProcess(t *testing.T) {
	began := time.Now()
	h := startHost(t, Config{Builtin: true})
	t.Logf("started in %s", time.Since(began))
	ctx := context.Background()

	if got, want := h.Adapters(), []string{
		"anthropic", "azure", "bedrock", "deepinfra", "fireworks", "groq", "huggingface", "local", "openai", "openrouter", "probe", "simulator",
		"together",
	}; !slices.Equal(got, want) {
		t.Errorf("adapters %v, want %v", got, want)
	}
	if d := h.Descriptions(); len(d) != 13 || d[8].Name != "openai" || d[8].Version == "" {
		t.Errorf("descriptions %+v", d)
	}
	if s := h.Status(); len(s) != 1 || s[0].State != StateRunning || s[0].PID == 0 || s[0].Restarts != 0 {
		t.Errorf("status %+v", s)
	}
	got, err := h.Prepare(ctx, "probe", &provider.PrepareRequest{Provider: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := (probe{}).Prepare(ctx, &provider.PrepareRequest{}); !reflect.DeepEqual(got, want) {
		t.Errorf("endpoint %+v, want %+v", got, want)
	}
	for _, adapter := range []string{"openai", "anthropic", "simulator"} {
		if _, err := h.Prepare(ctx, adapter, &provider.PrepareRequest{Provider: "p"}); err != nil {
			t.Error(err)
		}
	}
}

func TestErrors(t *testing.T) {
	h := startHost(t, Config{Builtin: true})
	ctx := context.Background()
	calls := []struct {
		name, adapter, operation string
		want                     error
		text                     string
	}{
		{"unknown adapter", "nobody", "echo", provider.ErrUnknownAdapter, "nobody"},
		{"direct adapter", "openai", "chat", provider.ErrNotProxied, "openai"},
		{"adapter unavailable", "probe", "unavailable", provider.ErrUnavailable, "today"},
		{"failed", "probe", "fail", nil, "no route"},
		{"no answer", "probe", "none", nil, "without an answer"},
		{"panic", "probe", "panic", nil, "panicked"},
	}
	for _, test := range calls {
		t.Run(test.name, func(t *testing.T) {
			err := h.Call(ctx, test.adapter, &provider.CallRequest{Operation: test.operation}, &answers{})
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.text)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v repeats what the adapter panicked with", err)
			}
		})
	}
	if _, err := h.Prepare(ctx, "probe", &provider.PrepareRequest{Provider: "p", BaseURL: "setting"}); !errors.Is(err, provider.ErrSetting) || !strings.Contains(err.Error(), "region") {
		t.Errorf("error %v", err)
	}
	if _, err := h.Prepare(ctx, "probe", &provider.PrepareRequest{BaseURL: "panic"}); err == nil {
		t.Error("no error of a panic")
	}
	if s := h.Status()[0]; s.Restarts != 0 {
		t.Errorf("an adapter's errors restarted the process: %+v", s)
	}
}

func TestStreamOrder(t *testing.T) {
	h := startHost(t, Config{Builtin: true})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			var got answers
			err := h.Call(context.Background(), "probe", &provider.CallRequest{Operation: "count", Stream: true, Body: make([]byte, 1000)}, &got)
			if err != nil || got.status != 200 || got.header["k"] != "v" || len(got.parts) != 1000 {
				t.Errorf("error %v, status %d, %d parts", err, got.status, len(got.parts))
			}
			for i, part := range got.parts {
				if string(part) != fmt.Sprint(i) {
					t.Fatalf("part %d is %s", i, part)
				}
			}
		})
	}
	all.Wait()
}

func TestCancellation(t *testing.T) {
	h := startHost(t, Config{Builtin: true})
	mark := t.TempDir() + "/ended"
	t.Run("by context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		got := answers{onPart: func(n int) error {
			if n == 3 {
				cancel()
			}
			return nil
		}}
		began := time.Now()
		err := h.Call(ctx, "probe", &provider.CallRequest{Operation: "endless", Stream: true, Model: mark + "1"}, &got)
		if !errors.Is(err, context.Canceled) || time.Since(began) > time.Second {
			t.Errorf("error %v after %s", err, time.Since(began))
		}
		within(t, time.Second, "adapter's call ended", func() bool { return exists(mark + "1") })
	})
	t.Run("by the reader", func(t *testing.T) {
		full := errors.New("the client left")
		got := answers{onPart: func(int) error { return full }}
		err := h.Call(context.Background(), "probe", &provider.CallRequest{Operation: "endless", Stream: true, Model: mark + "2"}, &got)
		if !errors.Is(err, full) {
			t.Errorf("error %v", err)
		}
		within(t, time.Second, "adapter's call ended", func() bool { return exists(mark + "2") })
	})
	t.Run("by deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		err := h.Call(ctx, "probe", &provider.CallRequest{Operation: "endless", Stream: true, Model: mark + "3"}, &answers{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

func TestMessageSizes(t *testing.T) {
	h := startHost(t, Config{Builtin: true})
	const limit = 32 << 20
	tests := []struct {
		name string
		size int
		want error
	}{
		{"below gRPC's default", 4<<20 - 1, nil},
		{"above gRPC's default", 4<<20 + 1, nil},
		{"20 MiB", 20 << 20, nil},
		{"just fits", limit - 64, nil},
		{"limit + 1", limit + 1, provider.ErrTooLarge},
	}
	for _, test := range tests {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s stream=%v", test.name, stream), func(t *testing.T) {
				var got answers
				body := []byte(strings.Repeat("0123456789abcdef", test.size/16+1)[:test.size])
				err := h.Call(context.Background(), "probe", &provider.CallRequest{Operation: "echo", Stream: stream, Body: body}, &got)
				if !errors.Is(err, test.want) {
					t.Fatalf("error %v, want %v", err, test.want)
				}
				if err == nil && got.text() != string(body) {
					t.Errorf("the answer differs: %d bytes", len(got.text()))
				}
				if err == nil && stream && len(got.parts) != 1 {
					t.Errorf("one event came as %d parts", len(got.parts))
				}
			})
		}
	}
}

func TestCloseEndsCalls(t *testing.T) {
	h := startHost(t, Config{Builtin: true})
	pid := h.Status()[0].PID
	failed := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		got := answers{onPart: func(n int) error {
			if n == 1 {
				close(begun)
			}
			return nil
		}}
		failed <- h.Call(context.Background(), "probe", &provider.CallRequest{Operation: "endless", Stream: true}, &got)
	}()
	<-begun
	began := time.Now()
	h.Close()
	t.Logf("closed in %s", time.Since(began))
	if err := <-failed; !errors.Is(err, provider.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	if alive(pid) {
		t.Error("the process lives")
	}
	if err := h.Call(context.Background(), "probe", &provider.CallRequest{}, &answers{}); !errors.Is(err, provider.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	if s := h.Status()[0]; s.State != StateStopped || s.PID != 0 {
		t.Errorf("status %+v", s)
	}
	h.Close()
}

func TestConfigValidate(t *testing.T) {
	sum := strings.Repeat("a", 64)
	tests := []struct {
		name, plugin string
		config       Plugin
		text         string
	}{
		{"good", "acme", Plugin{Path: "/p", SHA256: sum}, ""},
		{"taken name", "builtin", Plugin{Path: "/p", SHA256: sum}, "builtin"},
		{"bad name", "A b", Plugin{Path: "/p", SHA256: sum}, "name must match"},
		{"relative", "acme", Plugin{Path: "p", SHA256: sum}, "path"},
		{"no checksum", "acme", Plugin{Path: "/p"}, "sha256"},
		{"short checksum", "acme", Plugin{Path: "/p", SHA256: "ab"}, "sha256"},
		{"negative memory", "acme", Plugin{Path: "/p", SHA256: sum, MemoryMB: -1}, "memory_mb"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(Config{Plugins: map[string]Plugin{test.plugin: test.config}})
			if test.text == "" && err != nil || test.text != "" && (err == nil || !strings.Contains(err.Error(), test.text)) {
				t.Errorf("error %v, want %q", err, test.text)
			}
		})
	}
}

func TestLongDirectory(t *testing.T) {
	dir := shortDir(t) + "/" + strings.Repeat("d", 100)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h, err := New(Config{Builtin: true, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(context.Background()); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("error %v", err)
	}
	h.Close()
}

func TestBackoff(t *testing.T) {
	want := []time.Duration{0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000}
	for tries, ms := range want {
		if got := backoff(tries); got != ms*time.Millisecond {
			t.Errorf("backoff(%d) = %s, want %d ms", tries, got, ms)
		}
	}
	if got := backoff(1 << 40); got != maxDelay {
		t.Errorf("backoff of many tries is %s", got)
	}
}
