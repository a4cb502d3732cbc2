package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/upstream/faultproxy"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// seenAnswer is what a client saw of a request.
type seenAnswer struct {
	what   string
	status int
	body   string
	whole  bool // the connection ended like a success
}

// answerLength is how many bytes a provider's answer has on the wire, head included.
func answerLength(t *testing.T, s *scripted.Server, path, body string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	answer := new(bytes.Buffer)
	conn.SetReadDeadline(time.Now().Add(time.Second)) // it keeps the connection alive
	answer.ReadFrom(conn)                             //nolint:errcheck // what came is the answer
	if answer.Len() < 200 {
		t.Fatalf("only %q", answer)
	}
	return answer.Len()
}

// TestF4Reset: a connection that is reset anywhere in an answer makes it no answer. Another provider takes over; if there is none,
// the client gets 502.
func TestF4Reset(t *testing.T) {
	t.Parallel()
	up, proxies, toml := faulty(t, 2)
	g := newGateway(t, toml+manyModels(1, "only", "up0"), nil)
	long := scripted.OpenAIBody("m", strings.Repeat("four kilobytes. ", 240))
	for _, u := range up {
		u.Script(func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Body: long} })
	}
	length := answerLength(t, up[0], "/v1/chat/completions", `{"model":"x"}`)
	step := times(211, 1)
	cuts, taken := 0, 0
	var ids []string
	for k := 0; k < length; k += step {
		cuts++
		reset := faultproxy.Fault{Kind: faultproxy.RST, After: k}
		firstMeets(reset, proxies...)
		resp, body := g.api.post(t, chatPath, ask("m"))
		if resp.StatusCode != 200 || !strings.Contains(body, "four kilobytes") {
			t.Fatalf("byte %d: %d %s", k, resp.StatusCode, body)
		}
		ids = append(ids, resp.Header.Get("X-Request-Id"))
		if resp.Header.Get("X-Pointsman-Attempts") == "2" {
			taken++
		}
		proxies[0].Always(reset)
		resp, body = g.api.post(t, chatPath, ask("only0"))
		if resp.StatusCode != 502 || errorCode(body) != "provider_error" {
			t.Fatalf("byte %d: %d %s", k, resp.StatusCode, body)
		}
		ids = append(ids, resp.Header.Get("X-Request-Id"))
		proxies[0].Always(faultproxy.Fault{})
		for _, model := range []string{"only0", "up0/m", "up1/m"} { // successes, so that no circuit opens
			resp, body = g.api.post(t, chatPath, ask(model))
			if resp.StatusCode != 200 {
				t.Fatalf("byte %d: afterwards %s: %d %s", k, model, resp.StatusCode, body)
			}
			ids = append(ids, resp.Header.Get("X-Request-Id"))
		}
	}
	for id, u := range g.sound(ids...) {
		if failed := u.Outcome != storage.OutcomeOK; failed != (u.Credits == 0) {
			t.Errorf("request %s: %s for %s credits", id, u.Outcome, u.Credits)
		}
	}
	if taken < cuts-3 { // one on a connection that was kept is made again at once
		t.Errorf("%d of %d cuts were met", taken, cuts)
	}
	figure(t, "%d cuts in an answer of %d bytes: %d taken over by the other provider, %d answered with 502", cuts, length, taken, cuts)
}

// TestF5Cuts ends the connection at every byte of a stream, by a reset and as at its end, in each dialect that providers speak. A
// stream that did not come to its end must not look as if it had, is charged for what came, and leaves nothing unsettled.
func TestF5Cuts(t *testing.T) {
	t.Parallel()
	cuts, broken, refused, whole := 0, 0, 0, 0
	for kind, adapter := range upstreamKinds() {
		up, proxies, toml := faulty(t, 1)
		g := newGateway(t, strings.ReplaceAll(toml, "adapter = \"openai\"", adapter), nil)
		up[0].Script(func(r *scripted.Request) *scripted.Reply {
			reply := r.Default()
			reply.Interval = 0
			return reply
		})
		length := answerLength(t, up[0], "/v1/"+map[dialect.Dialect]string{dialect.Chat: "chat/completions", dialect.Messages: "messages", dialect.Responses: "responses"}[kind],
			`{"model":"x","stream":true,"stream_options":{"include_usage":true}}`)
		seen := map[string]seenAnswer{}
		for k := 0; k < length; k++ {
			if step := times(97, 1); k%step > 0 && k < length-6 {
				continue
			}
			for _, how := range []faultproxy.Kind{faultproxy.RST, faultproxy.FIN} {
				cuts++
				proxies[0].Always(faultproxy.Fault{Kind: how, After: k})
				id, a := g.cutStream(t, cuts)
				a.what = fmt.Sprintf("%s, byte %d, kind %d", kind, k, how)
				seen[id] = a
			}
			proxies[0].Always(faultproxy.Fault{}) // a success, so that the circuit stays closed
			if resp, text := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
				t.Fatalf("%s, after byte %d: %d %s", kind, k, resp.StatusCode, text)
			}
		}
		ids := make([]string, 0, len(seen))
		for id := range seen {
			ids = append(ids, id)
		}
		records := g.sound(ids...)
		for id, a := range seen {
			u := records[id]
			done := strings.Contains(a.body, "[DONE]")
			switch {
			case a.status == 200 && done && a.whole && u.Outcome == storage.OutcomeOK && u.Credits > 0:
				whole++
			case a.status == 200 && !done && !a.whole && strings.Contains(a.body, `"code":"provider_stream_error"`) && u.Outcome == storage.OutcomeUpstreamAbort && u.Credits > 0:
				broken++
			case a.status == 502 && u.Outcome == storage.OutcomeUpstreamError && u.Credits == 0:
				refused++
			default:
				t.Errorf("%s: %+v; recorded %+v", a.what, a, u)
			}
		}
		if t.Failed() {
			return
		}
	}
	if broken == 0 || refused == 0 || whole == 0 {
		t.Error("the cuts did not find every state")
	}
	figure(t, "%d cuts at every byte of three dialects' streams: %d broken off with an error event, %d refused before their content, %d after their end; 0 unsettled", cuts, broken, refused, whole)
}

// cutStream asks for a stream whose connection will be cut.
func (g *testGateway) cutStream(t *testing.T, n int) (id string, a seenAnswer) {
	t.Helper()
	resp, err := g.api.do("POST", chatPath, ask("m", "stream", true))
	if err != nil {
		t.Fatalf("cut %d: %v", n, err)
	}
	defer resp.Body.Close()
	text := new(bytes.Buffer)
	_, err = text.ReadFrom(resp.Body)
	return resp.Header.Get("X-Request-Id"), seenAnswer{status: resp.StatusCode, body: text.String(), whole: err == nil}
}

// malformed are streams that no provider should send, and how each may end: "ok" only if the answer's end is in it.
func malformed() map[string]string {
	good := `{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`
	end := `{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	event := func(data string) string { return "data: " + data + "\n\n" }
	return map[string]string{
		"nothing":                         "",
		"a blank line":                    "\n",
		"a byte order mark":               "\ufeff" + event(good) + event(end) + event("[DONE]"),
		"carriage returns":                strings.ReplaceAll(event(good)+event(end)+event("[DONE]"), "\n", "\r"),
		"both line ends":                  strings.ReplaceAll(event(good)+event(end)+event("[DONE]"), "\n", "\r\n"),
		"no space":                        "data:" + good + "\n\ndata:" + end + "\n\ndata:[DONE]\n\n",
		"data without a colon":            "data\n\n" + event(good) + event(end) + event("[DONE]"),
		"unknown fields":                  "id: 1\nretry: 5\nfoo: bar\n" + event(good) + event(end) + event("[DONE]"),
		"comments":                        ": x\n\n:\n\n" + event(good) + ": y\n\n" + event(end) + event("[DONE]"),
		"an event in two lines of data":   "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"a\"}}]}\n\n" + event(end) + event("[DONE]"),
		"no JSON":                         event("hello") + event(good) + event(end) + event("[DONE]"),
		"half an object":                  event(good[:40]) + event(end) + event("[DONE]"),
		"null":                            event("null") + event(good) + event(end) + event("[DONE]"),
		"an array":                        event("[]") + event(good) + event(end) + event("[DONE]"),
		"numbers for strings":             event(`{"choices":[{"index":"0","delta":{"content":5}}]}`) + event(end) + event("[DONE]"),
		"choices that are no list":        event(`{"choices":{"index":0}}`) + event(end) + event("[DONE]"),
		"choices far apart":               event(`{"choices":[{"index":2147483647,"delta":{"content":"a"}}]}`) + event(end) + event("[DONE]"),
		"a negative index":                event(`{"choices":[{"index":-1,"delta":{"content":"a"}}]}`) + event(end) + event("[DONE]"),
		"deep nesting":                    event(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)),
		"duplicate names":                 event(`{"choices":[{"index":0,"delta":{"content":"a","content":"b"}}],"choices":[]}`) + event(end) + event("[DONE]"),
		"invalid UTF-8":                   event("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xff\xfe\"}}]}") + event(end) + event("[DONE]"),
		"a NUL":                           event("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\x00\"}}]}") + event(end) + event("[DONE]"),
		"a lone surrogate":                event(`{"choices":[{"index":0,"delta":{"content":"\ud800"}}]}`) + event(end) + event("[DONE]"),
		"an event of 1 MiB":               event(strings.Replace(good, `"a"`, `"`+strings.Repeat("a", 1<<20)+`"`, 1)) + event(end) + event("[DONE]"),
		"an event of 40 MiB":              "data: " + strings.Repeat("a", 40<<20),
		"DONE at once":                    event("[DONE]"),
		"DONE twice":                      event(good) + event(end) + event("[DONE]") + event("[DONE]"),
		"content after DONE":              event(good) + event(end) + event("[DONE]") + event(good),
		"DONE without a reason":           event(good) + event("[DONE]"),
		"no DONE":                         event(good) + event(end),
		"no blank line at the end":        event(good) + event(end) + "data: [DONE]",
		"neither DONE nor a reason":       event(good),
		"an error in the middle":          event(good) + event(`{"error":{"message":"broken","code":500}}`),
		"an error with an odd code":       event(`{"error":{"message":{"a":1},"code":[]}}`),
		"a string for an error":           event(`{"error":"broken"}`),
		"usage of strings":                event(good) + event(end[:len(end)-1]+`,"usage":{"prompt_tokens":"many","completion_tokens":{}}}`) + event("[DONE]"),
		"negative usage":                  event(good) + event(end[:len(end)-1]+`,"usage":{"prompt_tokens":-5,"completion_tokens":-9223372036854775808,"total_tokens":-1}}`) + event("[DONE]"),
		"usage beyond all numbers":        event(good) + event(end[:len(end)-1]+`,"usage":{"prompt_tokens":1e400,"completion_tokens":99999999999999999999}}`) + event("[DONE]"),
		"a page of HTML":                  "<html><body>Bad gateway</body></html>",
		"an object that is no stream":     `{"error":{"message":"broken"}}`,
		"a buffered answer":               string(scripted.OpenAIBody("x", "hello")),
		"an event of another dialect":     "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
		"tool calls without a name":       event(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":9999999,"function":{"arguments":"{"}}]}}]}`) + event(end) + event("[DONE]"),
		"a thousand empty choices":        event(`{"choices":[`+strings.Repeat(`{},`, 999)+`{}]}`) + event(end) + event("[DONE]"),
		"10,000 keep-alives, then an end": strings.Repeat(": x\n\n", 10_000) + event(good) + event(end) + event("[DONE]"),
	}
}

// TestF7Malformed sends streams that no provider should send through the whole gateway, the corpus and then mutations of it, to clients of
// each dialect. Whatever comes, the request ends once and the gateway goes on.
func TestF7Malformed(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	many := times(40, 200)
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n[retries]\nattempts = 1\n"+manyModels(many, "f", "up0"), nil)
	random := rand.New(rand.NewPCG(7, 7))
	var bodies []string
	for _, text := range malformed() {
		bodies = append(bodies, text)
	}
	n := 0
	var ids []string
	send := func(text string) {
		up[0].Script(func(*scripted.Request) *scripted.Reply {
			var chunks [][]byte
			for rest := []byte(text); len(rest) > 0; {
				size := min(len(rest), max(1+random.IntN(4096), len(text)/64))
				chunks, rest = append(chunks, rest[:size]), rest[size:]
			}
			return &scripted.Reply{Header: map[string]string{"Content-Type": "text/event-stream"}, Chunks: append(chunks, nil)}
		})
		path := []string{chatPath, messagesPath, "/v1/responses"}[n%3]
		model := fmt.Sprint("f", n%many)
		n++
		resp, err := g.api.do("POST", path, []byte(inDialect(path, model, "x", true)))
		if err != nil {
			t.Fatalf("%.200q: %v", text, err)
		}
		defer resp.Body.Close()
		got := new(bytes.Buffer)
		_, err = got.ReadFrom(resp.Body)
		ends := strings.Contains(text, "finish_reason") || strings.Contains(text, "stop") || strings.Contains(text, "content") && strings.Contains(text, "[DONE]")
		if resp.StatusCode == 200 && err == nil && !ends {
			t.Errorf("%.200q became an answer: %.500s", text, got)
		}
		if resp.StatusCode == http.StatusInternalServerError {
			t.Errorf("%.200q: %d %s", text, resp.StatusCode, got)
		}
		ids = append(ids, resp.Header.Get("X-Request-Id"))
	}
	for range 3 { // in each dialect
		for _, text := range bodies {
			send(text)
		}
		n++
	}
	corpus, noise := n, "\n\r:{}[]\",\x00"
	for range times(150, 20_000) {
		text := []byte(bodies[random.IntN(len(bodies))])
		for len(text) > 1<<16 || len(text) == 0 {
			text = []byte(bodies[random.IntN(len(bodies))])
		}
		for range 1 + random.IntN(4) {
			at := random.IntN(len(text))
			switch random.IntN(4) {
			case 0:
				text[at] ^= byte(1 << random.IntN(8))
			case 1:
				text = append(text[:at:at], text[min(len(text), at+1+random.IntN(30)):]...)
			case 2:
				text = append(text[:at:at], append([]byte{noise[random.IntN(len(noise))]}, text[at:]...)...)
			default:
				text = text[:max(1, at)]
			}
			if len(text) == 0 {
				text = []byte("\n")
			}
		}
		send(string(text))
	}
	g.sound(ids...)
	figure(t, "%d malformed streams and %d mutations of them: each request ended once, none as an internal error", corpus, n-corpus)
}
