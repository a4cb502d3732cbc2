package plugins

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pointsman/pointsman/sdk/provider"
)

// BenchmarkCall measures what the way through a plugin costs in processor time on both sides.
func BenchmarkCall(b *testing.B) {
	h := startHost(b, Config{Builtin: true})
	pid := h.Status()[0].PID
	tests := []struct {
		name, operation string
		size            int
		stream          bool
	}{
		{"buffered 1 KB", "echo", 1 << 10, false},
		{"buffered 100 KB", "echo", 100 << 10, false},
		{"streamed 500 chunks", "count", 500, true},
	}
	for _, test := range tests {
		b.Run(test.name, func(b *testing.B) {
			body := make([]byte, test.size)
			host, plugin := hostTime(b), processTime(b, pid)
			for b.Loop() {
				err := h.Call(context.Background(), "probe", &provider.CallRequest{Operation: test.operation, Stream: test.stream, Body: body}, &answers{})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((hostTime(b)-host)*1e6/float64(b.N), "host-µs/op")
			b.ReportMetric((processTime(b, pid)-plugin)*1e6/float64(b.N), "plugin-µs/op")
		})
	}
}

// BenchmarkStart measures the time from nothing to the first answer of the built-in process.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		h, err := New(Config{Builtin: true, Dir: shortDir(b)})
		if err != nil {
			b.Fatal(err)
		}
		if err := h.Start(context.Background()); err != nil {
			b.Fatal(err)
		}
		if _, err := h.Prepare(context.Background(), "openai", &provider.PrepareRequest{}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		h.Close()
		b.StartTimer()
	}
}

// hostTime returns the processor time of this process in seconds.
func hostTime(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// processTime returns the processor time of another process in seconds, by the sum over its threads.
func processTime(b *testing.B, pid int) float64 {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		b.Fatal(err)
	}
	total := 0.0
	for _, thread := range threads {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, thread.Name()))
		if err != nil {
			continue // it has just ended
		}
		ns, err := strconv.ParseFloat(strings.Fields(string(data))[0], 64)
		if err != nil {
			b.Fatal(err)
		}
		total += ns / 1e9
	}
	return total
}
