package main

import (
	"cmp"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// idleProxy stands for what cuts silent connections between a gateway and its clients. It returns the URL to use in place of
// base.
func idleProxy(t *testing.T, base string, patience time.Duration) string {
	t.Helper()
	target := strings.TrimPrefix(base, "http://")
	return serveOn(t, func(ln net.Listener) error {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return err
			}
			go func() {
				defer conn.Close()
				to, err := net.Dial("tcp", target)
				if err != nil {
					return
				}
				defer to.Close()
				cut := time.AfterFunc(patience, func() { conn.Close(); to.Close() })
				defer cut.Stop()
				var both sync.WaitGroup
				relay := func(dst, src net.Conn) {
					buf := make([]byte, 32<<10)
					for {
						n, err := src.Read(buf)
						if n > 0 {
							cut.Reset(patience)
							dst.Write(buf[:n])
						}
						if err != nil {
							conn.Close()
							to.Close()
							return
						}
					}
				}
				both.Go(func() { relay(to, conn) })
				both.Go(func() { relay(conn, to) })
				both.Wait()
			}()
		}
	})
}

// P11: a stream that is silent, before its answer begins and in the middle, is kept alive, and the answer comes as it is.
func TestSilentStreamsAreKeptAlive(t *testing.T) {
	const silence = 1500 * time.Millisecond
	chunks := scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageFinal)
	slow := &scripted.Reply{Interval: silence / 2, Chunks: chunks}
	for name, tc := range map[string]struct {
		reply *scripted.Reply
		pings bool
		after string // when the first ping may come before the answer; "": soon
		more  string // of the configuration
	}{
		"before the headers":      {reply: &scripted.Reply{HoldBeforeHeaders: silence, Chunks: chunks}, pings: true},
		"after the headers":       {reply: &scripted.Reply{HoldBeforeFirst: silence, Chunks: chunks}, pings: true},
		"no usage in the end":     {reply: &scripted.Reply{HoldBeforeHeaders: silence, Chunks: scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageNone)}, pings: true},
		"between two events":      {reply: &scripted.Reply{Interval: silence / 2, Chunks: chunks[:len(chunks)-1]}, pings: true},
		"not silent for so long":  {reply: &scripted.Reply{Chunks: chunks}},
		"after a quick beginning": {reply: slow, pings: true, after: "9"}, // so that the server sends the head
		"of one that others may follow, after a quick beginning": {reply: slow, pings: true, after: "9", more: coalesceOn},
		"of one that others may follow":                          {reply: slow, pings: true, more: coalesceOn},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, toml := upstreams(t, 1)
			after := "keep_alive_after = " + cmp.Or(tc.after, "0.4") + "\nkeep_alive_every = 0.3\n"
			if !tc.pings {
				after = ""
			}
			g := newGateway(t, after+strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 5", 1)+tc.more, nil)
			up[0].Script(func(*scripted.Request) *scripted.Reply { return tc.reply })
			client := newClient(idleProxy(t, g.api.base, 900*time.Millisecond), g.firstKey)
			resp, body := client.post(t, chatPath, ask("m", "stream", true))
			if resp.StatusCode != 200 || resp.Header.Get("X-Request-Id") == "" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
				t.Errorf("%d, %v", resp.StatusCode, resp.Header)
			}
			answer := strings.ReplaceAll(body, ": ping\n\n", "")
			if pings := len(body) - len(answer); (pings > 0) != tc.pings {
				t.Errorf("%d bytes of pings: %s", pings, body)
			}
			if !strings.Contains(answer, `"content":"a"`) || !strings.Contains(answer, `"content":"b"`) || !strings.HasSuffix(answer, "data: [DONE]\n\n") {
				t.Errorf("the answer: %q", answer)
			}
			used := g.api.lastUsage(t)
			if used["outcome"] != "ok" {
				t.Errorf("settled as %v", used)
			}
			if used["estimated"] == true && used["input_tokens"] != 8.0 { // "Hello" and its message
				t.Errorf("the prompt is counted as %v", used["input_tokens"])
			}
		})
	}
}

// A failure before the first ping keeps its status; one after it is an event, and the stream does not end like a success.
func TestFailureOfAStreamThatWasKeptAlive(t *testing.T) {
	for name, hold := range map[string]time.Duration{"quick": 0, "late": time.Second} {
		t.Run(name, func(t *testing.T) {
			up, toml := upstreams(t, 1)
			g := newGateway(t, "keep_alive_after = 0.4\nkeep_alive_every = 0.3\n"+toml, nil)
			up[0].Script(func(*scripted.Request) *scripted.Reply {
				return &scripted.Reply{Status: 400, HoldBeforeHeaders: hold, Body: []byte(`{"error":{"message":"no such thing","type":"invalid_request_error"}}`)}
			})
			resp, err := g.api.do("POST", chatPath, ask("m", "stream", true))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			switch {
			case hold == 0 && (resp.StatusCode != 400 || err != nil):
				t.Errorf("%d, %v: %s", resp.StatusCode, err, body)
			case hold > 0 && (resp.StatusCode != 200 || err == nil || strings.Contains(string(body), "[DONE]")):
				t.Errorf("%d, %v: %s", resp.StatusCode, err, body)
			}
			if !strings.Contains(string(body), "no such thing") {
				t.Errorf("the cause is missing: %s", body)
			}
		})
	}
}
