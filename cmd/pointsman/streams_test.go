package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// inboundPaths are the paths that conversations are asked for on.
func inboundPaths() map[string]dialect.Dialect {
	return map[string]dialect.Dialect{chatPath: dialect.Chat, messagesPath: dialect.Messages, "/v1/responses": dialect.Responses, "/v1/completions": dialect.Completions}
}

// upstreamKinds are what a provider's table says for each dialect that it may speak.
func upstreamKinds() map[dialect.Dialect]string {
	return map[dialect.Dialect]string{
		dialect.Chat: "adapter = \"openai\"", dialect.Messages: "adapter = \"anthropic\"", dialect.Responses: "adapter = \"openai\"\nsettings = { api = \"responses\" }",
	}
}

// twoOf starts two providers that speak a dialect, with a model "m" at both.
func twoOf(t testing.TB, kind dialect.Dialect) (first, second *scripted.Server, g *testGateway) {
	t.Helper()
	up, toml := upstreams(t, 2)
	return up[0], up[1], newGateway(t, strings.ReplaceAll(toml, "adapter = \"openai\"", upstreamKinds()[kind]), nil)
}

// bend breaks a good stream: it goes on like the default for so many contents, then come the given bytes and the end.
func bend(r *scripted.Request, contents int, then string, cut scripted.Cut) *scripted.Reply {
	var chunks [][]byte
	for _, chunk := range r.Default().Chunks {
		if bytes.Contains(chunk, []byte("Hello")) || bytes.Contains(chunk, []byte(" from")) {
			if contents == 0 {
				break
			}
			contents--
		}
		chunks = append(chunks, chunk)
	}
	if then != "" {
		chunks = append(chunks, []byte(then))
	}
	return &scripted.Reply{Chunks: chunks, Cut: cut, CutAfter: len(chunks)}
}

func errorEvent(kind dialect.Dialect) string {
	switch kind {
	case dialect.Messages:
		return "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"too much\"}}\n\n"
	case dialect.Responses:
		return "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"too much\",\"param\":null,\"sequence_number\":2}\n\n"
	}
	return "data: {\"error\":{\"message\":\"too much\",\"type\":\"server_error\"}}\n\n"
}

// P06: whatever is asked in and whatever the provider speaks, a stream that fails before its first content is taken over by the
// next candidate, as if nothing had happened, and one that fails after it does not end like a success.
func TestP06StreamsThatFail(t *testing.T) {
	t.Parallel()
	opening := map[dialect.Dialect]string{dialect.Chat: `"role":"assistant"`, dialect.Messages: "event: message_start\n", dialect.Responses: "event: response.created\n", dialect.Completions: "text_completion"}
	ending := map[dialect.Dialect]string{
		dialect.Chat: "data: [DONE]\n\n", dialect.Completions: "data: [DONE]\n\n", dialect.Messages: "event: message_stop\n", dialect.Responses: "event: response.completed\n",
	}
	for kind := range upstreamKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			first, second, g := twoOf(t, kind)
			for path, in := range inboundPaths() {
				for _, c := range []struct {
					name     string
					reply    func(*scripted.Request) *scripted.Reply
					takeover bool
				}{
					{"a status", func(*scripted.Request) *scripted.Reply {
						return &scripted.Reply{Status: 503, Body: []byte(`{"error":{"message":"x"}}`)}
					}, true},
					{"the first event", func(*scripted.Request) *scripted.Reply {
						return &scripted.Reply{Chunks: [][]byte{[]byte(errorEvent(kind))}}
					}, true},
					{"after the opening", func(r *scripted.Request) *scripted.Reply {
						return bend(r, 0, errorEvent(kind), scripted.CutNone)
					}, true},
					{"the end without content", func(r *scripted.Request) *scripted.Reply { return bend(r, 0, "", scripted.CutEOF) }, true},
					{"reset without content", func(r *scripted.Request) *scripted.Reply { return bend(r, 0, "", scripted.CutRST) }, true},
					{"after a content", func(r *scripted.Request) *scripted.Reply { return bend(r, 1, errorEvent(kind), scripted.CutNone) }, false},
					{"the end after a content", func(r *scripted.Request) *scripted.Reply { return bend(r, 1, "", scripted.CutEOF) }, false},
					{"reset after a content", func(r *scripted.Request) *scripted.Reply { return bend(r, 1, "", scripted.CutRST) }, false},
				} {
					name := fmt.Sprintf("%s, %s", path, c.name)
					var asked atomic.Int64
					firstOnly := func(r *scripted.Request) *scripted.Reply { // whichever is asked first: their health changes
						if asked.Add(1) > 1 {
							return nil
						}
						return c.reply(r)
					}
					first.Script(firstOnly)
					second.Script(firstOnly)
					text, err := g.stream(t, path)
					used, tries := g.api.lastUsage(t), asked.Load()
					for _, model := range []string{"up0/m", "up1/m"} { // a success, so that no circuit opens in the middle of the test
						if resp, text := g.api.post(t, chatPath, ask(model)); resp.StatusCode != 200 {
							t.Fatalf("%s: %s does not recover: %s", name, model, text)
						}
					}
					switch {
					case c.takeover && (err != nil || strings.Count(text, opening[in]) < 1 || in != dialect.Completions && strings.Count(text, opening[in]) > 1 ||
						!strings.Contains(text, ending[in]) || used["outcome"] != "ok" || tries < 2):
						t.Errorf("%s: %v, %v: %s", name, err, used, text)
					case !c.takeover && (err == nil || strings.Contains(text, ending[in]) || !strings.Contains(text, "error") || tries != 1 ||
						used["outcome"] != "upstream_abort" || used["credits"] == "0"):
						t.Errorf("%s: %v, %v: %s", name, err, used, text)
					}
				}
			}
		})
	}
}

// A provider that finds out behind a status of 200 that the request is at fault refuses it like any other: the client gets 400, or the
// status that the error itself names.
func TestRequestErrorsBehindStatus200(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		kind   dialect.Dialect
		event  string
		status int
	}{
		{dialect.Messages, `{"type":"error","error":{"type":"invalid_request_error","message":"tools: not here"}}`, 400},
		{dialect.Chat, `{"error":{"message":"tools: not here","type":"invalid_request_error","param":"tools","code":422}}`, 422},
	} {
		up, toml := upstreams(t, 1)
		g := newGateway(t, strings.ReplaceAll(toml, "adapter = \"openai\"", upstreamKinds()[x.kind]), nil)
		for _, path := range []string{chatPath, messagesPath} {
			for _, stream := range []bool{false, true} {
				up[0].Script(func(*scripted.Request) *scripted.Reply {
					if stream {
						return &scripted.Reply{Chunks: [][]byte{[]byte("event: error\ndata: " + x.event + "\n\n")}}
					}
					return &scripted.Reply{Body: []byte(x.event)}
				})
				resp, text := g.api.post(t, path, []byte(inDialect(path, "m", "x", stream)))
				if resp.StatusCode != x.status || !strings.Contains(text, "invalid_request_error") || !strings.Contains(text, "tools: not here") {
					t.Errorf("%s, %s, stream %v: %d %s", x.kind, path, stream, resp.StatusCode, text)
				}
			}
		}
	}
}

// stream asks for a stream and reads it to its end, however that comes.
func (g *testGateway) stream(t testing.TB, path string) (string, error) {
	t.Helper()
	body := inDialect(path, "m", "x", true)
	if path == "/v1/completions" {
		body = `{"model":"m","max_tokens":50,"stream":true,"prompt":"x"}`
	}
	resp, err := g.api.do("POST", path, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// P04: in each dialect in and out, a streamed answer costs what the buffered one does.
func TestP04StreamedCostsWhatBufferedDoes(t *testing.T) {
	t.Parallel()
	for kind := range upstreamKinds() {
		_, _, g := twoOf(t, kind)
		for path := range inboundPaths() {
			var credits [2]any
			for i, stream := range []bool{false, true} {
				body := inDialect(path, "m", "x", stream)
				if path == "/v1/completions" {
					body = fmt.Sprintf(`{"model":"m","max_tokens":50,"stream":%v,"prompt":"x"}`, stream)
				}
				if resp, text := g.api.post(t, path, []byte(body)); resp.StatusCode != 200 {
					t.Fatalf("%s at %v: %d %s", path, kind, resp.StatusCode, text)
				}
				used := g.api.lastUsage(t)
				if credits[i] = used["credits"]; used["estimated"] != false || used["output_tokens"] != float64(scripted.OutputTokens) || used["cached_tokens"] != float64(scripted.CachedTokens) {
					t.Errorf("%s at %v, stream %v: %v", path, kind, stream, used)
				}
			}
			if credits[0] != credits[1] {
				t.Errorf("%s at %v: %v buffered, %v streamed", path, kind, credits[0], credits[1])
			}
		}
	}
}
