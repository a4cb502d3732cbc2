package main

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// inDialect words a request for each path that a conversation can take.
func inDialect(path, model, text string, stream bool) string {
	switch path {
	case messagesPath:
		return fmt.Sprintf(`{"model":%q,"max_tokens":50,"stream":%v,"messages":[{"role":"user","content":%q}]}`, model, stream, text)
	case "/v1/responses":
		return fmt.Sprintf(`{"model":%q,"max_output_tokens":50,"stream":%v,"input":%q}`, model, stream, text)
	}
	return fmt.Sprintf(`{"model":%q,"max_tokens":50,"stream":%v,"messages":[{"role":"user","content":%q}]}`, model, stream, text)
}

// sendAndKeep sends a request on a connection of its own and returns without reading the answer.
func sendAndKeep(t testing.TB, g *testGateway, key, path, body string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.api.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, key, len(body), body)
	return conn
}

// P01: whenever, however and on whatever path a client leaves, the provider's call is cut and the request settled within a second.
func TestClientLeavesAtEachPhase(t *testing.T) {
	up, toml := upstreams(t, 1)
	toml = strings.ReplaceAll(toml, "timeout_seconds = 2", "timeout_seconds = 30")
	toml += "[providers.plugin]\nadapter = \"simulator\"\napi_key = \"x\"\nsettings = { pause_ms = \"1000\" }\n" + strings.ReplaceAll(clientModel("sim", 1, "0.002"), "vendor", "plugin")
	g := newGateway(t, toml, nil)
	chunks := scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageNone)
	replies := map[string]*scripted.Reply{
		"before the headers":   {HoldBeforeHeaders: 20 * time.Second, Body: []byte("{}")},
		"before the first":     {HoldBeforeFirst: 20 * time.Second, Body: []byte("{}")},
		"in the middle":        {Interval: 20 * time.Second, Chunks: chunks},
		"before the first one": {HoldBeforeFirst: 20 * time.Second, Chunks: chunks},
	}
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		for phase, reply := range replies {
			if bytes.Contains(r.Body, []byte(phase+"!")) {
				return reply
			}
		}
		return nil
	})
	var all sync.WaitGroup
	cells := 0
	try := func(path, phase, model string, stream, reset bool) {
		cells++
		account := g.account(fmt.Sprintf("cell-%d", cells))
		all.Go(func() {
			name := fmt.Sprintf("%s, %s, %s, stream %v, reset %v", path, phase, model, stream, reset)
			conn := sendAndKeep(t, g, account.key, path, inDialect(path, model, phase+"!", stream))
			time.Sleep(700 * time.Millisecond)
			if reset {
				conn.(*net.TCPConn).SetLinger(0) //nolint:errcheck // closing then resets
			}
			left := time.Now()
			conn.Close()
			for account.balanceHeld(t) != "0" || time.Since(left) < 10*time.Millisecond {
				if time.Since(left) > 5*time.Second {
					t.Errorf("%s: the hold stayed open", name)
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			if took := time.Since(left); took > time.Second {
				t.Errorf("%s: it took %v", name, took)
			}
			if u := account.lastUsage(t); u["outcome"] != "client_abort" {
				t.Errorf("%s: usage %v", name, u)
			}
		})
	}
	for _, path := range []string{chatPath, messagesPath, "/v1/responses"} {
		for _, reset := range []bool{false, true} {
			for _, c := range []struct {
				phase, model string
				stream       bool
			}{
				{"before the headers", "m", false},
				{"before the headers", "m", true},
				{"before the first", "m", false},
				{"before the first one", "m", true},
				{"in the middle", "m", true},
				{"in a plugin", "sim", true},
			} {
				try(path, c.phase, c.model, c.stream, reset)
			}
		}
	}
	all.Wait()
	for _, r := range up[0].Requests() {
		if r.GoneAt().IsZero() {
			t.Errorf("the provider still works on %s", r.Body)
		}
	}
	t.Logf("figure: %d ways to leave, each cut and settled within a second", cells)
}

// A client that sends its next request before it has the answer to the last one is there.
func TestPipeliningIsNotLeaving(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	up[0].Script(func(*scripted.Request) *scripted.Reply {
		return &scripted.Reply{HoldBeforeHeaders: time.Second, Body: scripted.OpenAIBody("x", "hello")}
	})
	body := inDialect(chatPath, "m", "x", false)
	conn := sendAndKeep(t, g, g.firstKey, chatPath, body)
	defer conn.Close()
	time.Sleep(100 * time.Millisecond)
	fmt.Fprintf(conn, "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	text := new(bytes.Buffer)
	if _, err := text.ReadFrom(conn); err != nil || strings.Count(text.String(), "HTTP/1.1 200") != 2 {
		t.Errorf("%v: %s", err, text)
	}
}

// P01: two thousand clients that leave at once leave nothing behind.
func TestAbandonedInMasses(t *testing.T) {
	t.Parallel()
	clients := 2000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 10_000 {
		clients = 200
	}
	up, toml := upstreams(t, 1)
	// In a process of its own, so that what is counted is the gateway's.
	p := startProcess(t, "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n"+strings.ReplaceAll(toml, "timeout_seconds = 2", "timeout_seconds = 120"))
	up[0].Script(func(*scripted.Request) *scripted.Reply {
		return &scripted.Reply{Interval: time.Minute, Chunks: scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageNone)}
	})
	p.api.post(t, "/health/live", nil)
	before := p.usage()
	conns := make([]net.Conn, clients)
	for i := range conns {
		path := []string{chatPath, messagesPath, "/v1/responses"}[i%3]
		conns[i] = sendAndKeep(t, &testGateway{api: p.api}, p.api.key, path, inDialect(path, "m", "x", i%4 > 0))
	}
	for deadline := time.Now().Add(60 * time.Second); up[0].Count() < int64(clients); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d requests arrived", up[0].Count(), clients)
		}
	}
	for _, conn := range conns {
		conn.Close()
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		now := p.usage()
		if now.goroutines <= before.goroutines+5 && now.descriptors <= before.descriptors+10 && p.api.balanceHeld(t) == "0" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v, where it was %v", now, before)
		}
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(30 * time.Second); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	if n := p.outcomes()[string(storage.OutcomeClientAbort)]; n != clients {
		t.Errorf("%d of %d requests ended as abandoned", n, clients)
	}
}
