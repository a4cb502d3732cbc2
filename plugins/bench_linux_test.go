package plugins

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pointsman/pointsman/sdk/provider"
)

// BenchmarkCall measures what the way through a plugin costs in processor time on both sides: the built-in process, whose
// socket is plain, and a third-party one with mutual TLS. Paced chunks come as those of a model do, and each wakes both
// sides; what is said a chunk includes the plugin's own timer, which the last test has alone. A
// single caller pays for waking an idle machine each time, many share it.
func BenchmarkCall(b *testing.B) {
	h := startHost(b, Config{Builtin: true, Plugins: map[string]Plugin{"good": self("good")}})
	tests := []struct {
		name, operation string
		callers, size   int
		stream          bool
	}{
		{"1 KB, 1 caller", "echo", 1, 1 << 10, false},
		{"1 KB, 32 callers", "echo", 32, 1 << 10, false},
		{"100 KB, 16 callers", "echo", 16, 100 << 10, false},
		{"500 chunks at once", "count", 1, 500, true},
		{"100 chunks, one a 10 ms, 1 stream", "paced", 1, 100, true},
		{"100 chunks, one a 10 ms, 100 streams", "paced", 100, 100, true},
		{"100 ticks of 10 ms without a chunk, 100 streams", "ticks", 100, 100, true},
	}
	for i, adapter := range []string{"probe", "good"} {
		socket := []string{"plain", "mutual TLS"}[i]
		pid := h.Status()[i].PID
		for _, test := range tests {
			b.Run(socket+"/"+test.name, func(b *testing.B) {
				body := make([]byte, test.size)
				b.SetParallelism(max(1, test.callers/runtime.GOMAXPROCS(0)))
				call := func() error {
					return h.Call(context.Background(), adapter, &provider.CallRequest{Operation: test.operation, Stream: test.stream, Body: body}, &sink{})
				}
				host, plugin := hostTime(b), processTime(b, pid)
				if test.callers == 1 {
					for range b.N {
						if err := call(); err != nil {
							b.Fatal(err)
						}
					}
				} else {
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							if err := call(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				unit, n := "op", float64(b.N)
				if test.stream {
					unit, n = "chunk", n*float64(test.size)
				}
				ours, its := (hostTime(b)-host)*1e6/n, (processTime(b, pid)-plugin)*1e6/n
				b.ReportMetric(ours, "host-µs/"+unit)
				b.ReportMetric(its, "plugin-µs/"+unit)
				b.ReportMetric(ours+its, "cpu-µs/"+unit)
			})
		}
	}
}

// BenchmarkSocket measures a bare round trip over a unix socket, the least that any way to another process takes here and
// now. The figures of BenchmarkCall mean something beside it.
func BenchmarkSocket(b *testing.B) {
	listener, err := net.Listen("unix", shortDir(b)+"/s")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, _ = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn}) // not by splicing
		}
	}()
	conn, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	buffer := make([]byte, 100)
	for b.Loop() {
		if _, err := conn.Write(buffer); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, buffer); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStart measures the time from nothing to the first answer of the built-in process.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		h, err := New(Config{Builtin: true, Dir: shortDir(b), Logger: slog.New(slog.DiscardHandler)})
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
