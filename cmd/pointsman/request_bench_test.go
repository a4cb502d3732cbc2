package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/cmd/pointsman/bench"
	"github.com/pointsman/pointsman/cmd/pointsman/config"
)

// benchGateway is a gateway with everything on, in this process, in front of the upstream of `pointsman bench`. more is added to its
// configuration. Client and upstream allocate nothing a request, so that the allocations are the gateway's.
func benchGateway(b *testing.B, more string) *gateway {
	b.Helper()
	r, w := io.Pipe()
	go bench.ServeUpstream(w) //nolint:errcheck // it ends with the process
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	var toml strings.Builder
	fmt.Fprintf(&toml, "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[catalog]\nbuiltin = false\n[simulator]\nenabled = false\n[accounts]\n"+
		"default_credits = 1000000000\n[providers.bench]\nadapter = \"openai\"\nbase_url = \"%s/v1\"\napi_key = \"sk-bench-0000000000000000\"\nallow_private = true\n", strings.TrimSpace(line))
	for i := range 47 {
		fmt.Fprintf(&toml, "[[models]]\nname = \"bench-%02d\"\ntier = 2\ncredits_per_1k = 0.02\ncontext_window = 200000\n[[models.deployments]]\nprovider = \"bench\"\nupstream = \"bench-1\"\n"+
			"usd_in_per_1m = 1\nusd_out_per_1m = 2\n", i)
	}
	file := filepath.Join(b.TempDir(), "pointsman.toml")
	if err := os.WriteFile(file, []byte(toml.String()+more), 0o600); err != nil {
		b.Fatal(err)
	}
	cfg, err := config.Load(file, noEnv)
	if err != nil {
		b.Fatal(err)
	}
	g, err := start(context.Background(), cfg, options{dataDir: filepath.Join(b.TempDir(), "data"), log: slog.New(slog.DiscardHandler), env: noEnv})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { g.stop(context.Background()) }) //nolint:errcheck // what is measured has ended
	return g
}

// askMany sends n chat requests of 2 KB over so many connections, for a policy to decide.
func askMany(b *testing.B, g *gateway, policy string, connections, n int) {
	body := `{"model":"auto","pointsman":{"policy":"` + policy + `"},"power_level":"balanced","max_tokens":256,"temperature":0.2,"messages":[{"role":"user","content":"` +
		strings.Repeat("The signalman reads the timetable, sets the points for the morning express and writes the time into his book. ", 19) + `"}]}`
	request := fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		g.firstKey, len(body), body)
	var left atomic.Int64
	left.Store(int64(n))
	var clients sync.WaitGroup
	for range connections {
		clients.Go(func() {
			conn, err := net.Dial("tcp", g.listener.Addr().String())
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			in := bufio.NewReader(conn)
			var resp fasthttp.Response
			for left.Add(-1) >= 0 {
				if _, err := conn.Write(request); err != nil {
					b.Error(err)
					return
				}
				if err := resp.Read(in); err != nil || resp.StatusCode() != 200 {
					b.Errorf("%d, %v: %.200s", resp.StatusCode(), err, resp.Body())
					return
				}
			}
		})
	}
	clients.Wait()
}

// BenchmarkRequest sends chat requests over 64 connections.
func BenchmarkRequest(b *testing.B) {
	g := benchGateway(b, "")
	b.ReportAllocs()
	b.ResetTimer()
	askMany(b, g, "balanced", 64, b.N)
}
