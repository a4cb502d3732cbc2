package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/sse"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/sdk/provider"
)

// lastEvents are what streams end with.
func lastEvents() map[dialect.Dialect]string {
	return map[dialect.Dialect]string{
		dialect.Chat: "data: [DONE]\n\n", dialect.Completions: "data: [DONE]\n\n", dialect.Messages: "event: message_stop\n", dialect.Responses: "event: response.completed\n",
	}
}

// endsLate has all events of a stream come at once, and the end of the answer as HTTP knows it after a time.
func endsLate(after time.Duration) func(*scripted.Request) *scripted.Reply {
	return func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.Chunks, reply.Interval = [][]byte{bytes.Join(reply.Chunks, nil), nil}, after
		return reply
	}
}

// counted passes connections on, and counts them.
func counted(t testing.TB, to string) (address string, connections *atomic.Int64) {
	t.Helper()
	connections = new(atomic.Int64)
	base := serveOn(t, func(ln net.Listener) error {
		for {
			from, err := ln.Accept()
			if err != nil {
				return err
			}
			connections.Add(1)
			go func() {
				defer from.Close()
				on, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer on.Close()
				go func() {
					defer on.Close()
					io.Copy(on, from) //nolint:errcheck // until either leaves
				}()
				io.Copy(from, on) //nolint:errcheck // likewise
			}()
		}
	})
	return strings.TrimPrefix(base, "http://"), connections
}

// The last events of a stream, its usage among them, are with the client at once, whatever it is asked in and whatever the provider
// speaks: what may still come from the provider is not waited for.
func TestLastEventsDoNotWaitForTheEnd(t *testing.T) {
	t.Parallel()
	for kind, adapter := range upstreamKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			up, toml := upstreams(t, 1)
			g := newGateway(t, strings.ReplaceAll(toml, "adapter = \"openai\"", adapter)+coalesceOn, nil)
			up[0].Script(endsLate(20 * time.Second))
			for path, in := range inboundPaths() {
				began := time.Now()
				text, err := g.stream(t, path)
				if took := time.Since(began); err != nil || took > 5*time.Second || !strings.Contains(text, lastEvents()[in]) {
					t.Errorf("%s: %v after %s: %s", path, err, took, text)
				}
				if u := g.api.lastUsage(t); u["outcome"] != "ok" || u["output_tokens"] != float64(scripted.OutputTokens) || u["latency_ms"].(float64) > 5000 {
					t.Errorf("%s: usage %v", path, u)
				}
			}
		})
	}
}

// A stream gives its provider's connection back, also if it is translated and if the end of the answer comes behind the last event.
func TestStreamsUseTheirConnectionAgain(t *testing.T) {
	t.Parallel()
	for kind, adapter := range upstreamKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			up, toml := upstreams(t, 1)
			address := strings.TrimPrefix(up[0].URL(), "http://")
			via, connections := counted(t, address)
			toml = strings.ReplaceAll(strings.ReplaceAll(toml, "adapter = \"openai\"", adapter), address, via)
			g := newGateway(t, toml+"[health]\nprobe = \"off\"\n", nil)
			for _, script := range []func(*scripted.Request) *scripted.Reply{nil, endsLate(5 * time.Millisecond)} {
				up[0].Script(script)
				for path := range inboundPaths() {
					for range 3 {
						if text, err := g.stream(t, path); err != nil {
							t.Errorf("%s: %v: %s", path, err, text)
						}
					}
				}
			}
			if n, asked := connections.Load(), up[0].Count(); n > asked/4 { // on a busy machine an end may come too late
				t.Errorf("%d connections for %d streams", n, asked)
			}
		})
	}
}

// A stream that its provider ends without the last blank line, or in the middle of an event or a comment, is passed on as whole events, and what
// the gateway puts behind it can be read.
func TestStreamsWhoseLastEventIsCut(t *testing.T) {
	t.Parallel()
	inTheMiddle := func(stream []byte, what string) []byte {
		content := bytes.Index(stream, []byte("Hello"))
		return append(stream[:content+bytes.Index(stream[content:], []byte("\n\n"))+2:len(stream)], what...)
	}
	for kind, adapter := range upstreamKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			up, toml := upstreams(t, 1)
			g := newGateway(t, strings.ReplaceAll(toml, "adapter = \"openai\"", adapter)+"[health]\nprobe = \"off\"\n", nil)
			for name, tc := range map[string]struct {
				cut   func(stream []byte) []byte
				whole bool
			}{
				"without the last blank line": {func(s []byte) []byte { return s[:len(s)-1] }, true},
				"without the last line's end": {func(s []byte) []byte { return s[:len(s)-2] }, true},
				"without the event that ends it": {func(s []byte) []byte {
					s = bytes.TrimSuffix(s, []byte("data: [DONE]\n\n"))
					return s[:len(s)-1]
				}, true},
				"in an event":         {func(s []byte) []byte { return inTheMiddle(s, "event: x\ndata: {\"choi") }, false},
				"in an event's name":  {func(s []byte) []byte { return inTheMiddle(s, "event: x\n") }, false},
				"in a comment":        {func(s []byte) []byte { return inTheMiddle(s, ": keep-al") }, false},
				"in a comment's line": {func(s []byte) []byte { return inTheMiddle(s, ": keep-alive\n") }, false},
			} {
				for path, in := range inboundPaths() {
					up[0].Script(nil)
					g.stream(t, path) //nolint:errcheck // a success, so that no circuit opens
					up[0].Script(func(r *scripted.Request) *scripted.Reply {
						reply := r.Default()
						reply.Chunks = [][]byte{tc.cut(bytes.Join(reply.Chunks, nil))}
						return reply
					})
					text, err := g.stream(t, path)
					if (err == nil) != tc.whole || tc.whole != strings.Contains(text, lastEvents()[in]) || tc.whole == strings.Contains(text, "provider_stream_error") {
						t.Errorf("%s, %s: %v: %s", name, path, err, text)
					}
					events := sse.NewReader(strings.NewReader(text), 0)
					for {
						event, err := events.Next()
						if err != nil {
							break
						}
						if data := string(event.Data); event.Unterminated || data != "" && data != "[DONE]" && !json.Valid(event.Data) || string(event.Name) == "x" {
							t.Errorf("%s, %s: an event %q %q in %s", name, path, event.Name, data, text)
						}
					}
				}
			}
		})
	}
}

// endless is an adapter whose calls send a whole stream and do not end.
type endless struct{ engine.Adapters }

func (endless) Prepare(context.Context, string, *provider.PrepareRequest) (*provider.Endpoint, error) {
	return &provider.Endpoint{Mode: provider.ModeProxied, Dialect: provider.DialectOpenAI}, nil
}

func (endless) Call(ctx context.Context, _ string, _ *provider.CallRequest, answer provider.AnswerWriter) error {
	if err := answer.Head(200, nil); err != nil {
		return err
	}
	events := sse.NewReader(bytes.NewReader(bytes.Join(scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageFinal), nil)), 0)
	for {
		event, err := events.Next()
		if err != nil {
			<-ctx.Done()
			return fmt.Errorf("rpc error: %w", ctx.Err()) // as a plugin that was cut
		}
		if err := answer.Part(event.Data); err != nil {
			return err
		}
	}
}

// A plugin that does not end its call after the last event is ended.
func TestPluginThatDoesNotEndItsCall(t *testing.T) {
	t.Parallel()
	_, toml := upstreams(t, 1)
	g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1), nil)
	cfg := g.engine.Config
	cfg.Adapters = endless{}
	e, err := engine.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(t.Context())
	api := newClient(serveOn(t, func(ln net.Listener) error { return engine.NewServer(e.Routes().Handler(g.log), 1<<20).Serve(ln) }), g.api.key)
	began := time.Now()
	resp, text := api.post(t, chatPath, ask("m", "stream", true))
	if took := time.Since(began); resp.StatusCode != 200 || !strings.HasSuffix(text, "data: [DONE]\n\n") || took > 5*time.Second {
		t.Errorf("%d after %s: %s", resp.StatusCode, took, text)
	}
}

// lastOf is what a provider was asked last.
func lastOf(s *scripted.Server) *scripted.Request {
	all := s.Requests()
	return all[len(all)-1]
}

// inexpressible is an adapter that cannot put a request into the words of its provider up0.
type inexpressible struct{ engine.Adapters }

func (i inexpressible) Prepare(ctx context.Context, name string, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	if req.Provider != "up0" {
		return i.Adapters.Prepare(ctx, name, req)
	}
	return &provider.Endpoint{Mode: provider.ModeProxied, Dialect: provider.DialectOpenAI}, nil
}

func (inexpressible) Call(_ context.Context, _ string, _ *provider.CallRequest, answer provider.AnswerWriter) error {
	return errors.Join(answer.Head(400, nil), answer.Part([]byte(`{"error":{"message":"no such thing","type":"invalid_request_error","param":"n","code":"inexpressible_request"}}`)))
}

// What an adapter cannot say to its provider, another candidate may be told; if there is none, the client is told which field it is.
func TestInexpressibleRequestsFallBack(t *testing.T) {
	t.Parallel()
	for _, providers := range []int{2, 1} {
		_, toml := upstreams(t, providers)
		g := newGateway(t, toml+"[health]\nprobe = \"off\"\n", nil)
		cfg := g.engine.Config
		cfg.Adapters = inexpressible{cfg.Adapters}
		e, err := engine.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close(t.Context())
		api := newClient(serveOn(t, func(ln net.Listener) error { return engine.NewServer(e.Routes().Handler(g.log), 1<<20).Serve(ln) }), g.api.key)
		for _, stream := range []bool{false, true} {
			for range 4 { // whoever comes first
				resp, text := api.post(t, chatPath, ask("m", "stream", stream))
				if providers == 2 && resp.StatusCode != 200 || providers == 1 && (resp.StatusCode != 400 || !strings.Contains(text, `"unsupported_parameter"`) || !strings.Contains(text, `"param":"n"`)) {
					t.Errorf("%d providers, stream %v: %d %s", providers, stream, resp.StatusCode, text)
				}
			}
		}
	}
}

// A request need not name a model, in no dialect and whatever the provider speaks.
func TestRequestsWithoutAModel(t *testing.T) {
	t.Parallel()
	for kind, adapter := range upstreamKinds() {
		up, toml := upstreams(t, 1)
		g := newGateway(t, strings.ReplaceAll(toml, "adapter = \"openai\"", adapter)+"[health]\nprobe = \"off\"\n", nil)
		for path, body := range map[string]string{
			chatPath:        `{"messages":[{"role":"user","content":"Hello"}],"max_tokens":50}`,
			messagesPath:    `{"messages":[{"role":"user","content":"Hello"}],"max_tokens":50}`,
			"/v1/responses": `{"input":"Hello","power_level":"eco"}`,
		} {
			resp, err := g.api.do("POST", path, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 || !strings.Contains(lastOf(up[0]).Model, "gpt-up0") {
				t.Errorf("%s by way of %s: %d %s", path, kind, resp.StatusCode, text)
			}
		}
	}
}

// Claude 4.7 and later are sent no sampling, whatever the provider speaks, and the client is told so.
func TestNoSamplingForWhomRefusesIt(t *testing.T) {
	t.Parallel()
	for kind, adapter := range upstreamKinds() {
		up, toml := upstreams(t, 1)
		g := newGateway(t, strings.ReplaceAll(strings.ReplaceAll(toml, "adapter = \"openai\"", adapter), "gpt-up0", "claude-opus-4-8")+"[health]\nprobe = \"off\"\n", nil)
		resp, text := g.api.post(t, chatPath, ask("m", "temperature", 0.3, "top_p", 0.9))
		if sent := string(lastOf(up[0]).Body); resp.StatusCode != 200 || strings.Contains(sent, "temperature") || strings.Contains(sent, "top_p") ||
			!strings.Contains(resp.Header.Get("X-Pointsman-Dropped"), "temperature") {
			t.Errorf("%s: %d %s, dropped %q of %s", kind, resp.StatusCode, text, resp.Header.Get("X-Pointsman-Dropped"), sent)
		}
	}
}
