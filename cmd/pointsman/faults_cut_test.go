package main

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/faultproxy"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// How an answer ends for the client.
const (
	whole   = "whole"
	broken  = "broken"   // off, with an error event and no end
	refused = "refused"  // an error in the place of an answer
	asItIs  = "as it is" // whole for clients of the provider's dialect, who get every event as it came; refused for others
)

// seenAnswer is what a client saw of a request.
type seenAnswer struct {
	what   string
	may    []string // how it may end
	status int
	body   string
	ended  bool // the connection ended like a success
	told   bool // there was an error event
}

// readAnswer reads what came of a request.
func readAnswer(resp *http.Response) (a seenAnswer) {
	text := new(bytes.Buffer)
	_, err := text.ReadFrom(resp.Body)
	resp.Body.Close()
	a = seenAnswer{status: resp.StatusCode, body: text.String(), ended: err == nil}
	a.told = strings.Contains(a.body, `"code":"provider_stream_error"`)
	return a
}

// end is how it ended, "" if what the client saw and what was recorded do not fit.
func (a *seenAnswer) end(u *storage.Usage) string {
	switch {
	case a.status == 200 && a.ended && u.Outcome == storage.OutcomeOK && u.Credits > 0:
		return whole
	case a.status == 200 && !a.ended && a.told && u.Outcome == storage.OutcomeUpstreamAbort && u.Credits > 0:
		return broken
	case a.status > 400 && a.status != 500 && u.Outcome == storage.OutcomeUpstreamError && u.Credits == 0:
		return refused
	}
	return ""
}

// answerBytes is a provider's answer as it is on the wire, head included.
func answerBytes(t *testing.T, s *scripted.Server, path, body string) []byte {
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
	return answer.Bytes()
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
	length := len(answerBytes(t, up[0], "/v1/chat/completions", `{"model":"x"}`))
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
// stream that did not come to its end must not look as if it had, is charged for what came, and leaves nothing unsettled. What came
// before a connection's end decides what becomes of it; a reset may overtake some of that.
func TestF5Cuts(t *testing.T) {
	t.Parallel()
	cuts, ends := 0, map[string]int{}
	for kind, adapter := range upstreamKinds() {
		up, proxies, toml := faulty(t, 1)
		g := newGateway(t, strings.ReplaceAll(toml, "adapter = \"openai\"", adapter), nil)
		up[0].Script(func(r *scripted.Request) *scripted.Reply {
			reply := r.Default()
			reply.Interval = 0
			return reply
		})
		g.cutStream(t, 0)
		asked := up[0].Requests()[0]
		answer := answerBytes(t, up[0], asked.Path, string(asked.Body))
		content := bytes.Index(answer, []byte("Hello"))
		content += bytes.Index(answer[content:], []byte("\n\n")) + 2
		last := bytes.LastIndex(answer, []byte("\n\n")) + 2 // behind it is the framing of HTTP alone
		seen := map[string]seenAnswer{}
		for k := 0; k <= len(answer); k++ {
			if step := times(97, 1); k%step > 0 && k < last-3 && k != content {
				continue
			}
			for _, how := range []faultproxy.Kind{faultproxy.RST, faultproxy.FIN} {
				cuts++
				proxies[0].Always(faultproxy.Fault{Kind: how, After: k})
				id, a := g.cutStream(t, cuts)
				a.what = fmt.Sprintf("%s, byte %d of %d, kind %d", kind, k, len(answer), how)
				switch {
				case k >= last:
					a.may = []string{whole, broken, refused}
				case k >= content:
					a.may = []string{broken, refused}
				default:
					a.may = []string{refused}
				}
				if how == faultproxy.FIN {
					a.may = a.may[:1]
				}
				seen[id] = a
			}
			proxies[0].Always(faultproxy.Fault{}) // a success, so that the circuit stays closed
			if resp, text := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
				t.Fatalf("%s, after byte %d: %d %s", kind, k, resp.StatusCode, text)
			}
		}
		records := g.sound(slices.Collect(maps.Keys(seen))...)
		for id, a := range seen {
			u := records[id]
			end := a.end(&u)
			ends[end]++
			if done := strings.Contains(a.body, "[DONE]"); done != (end == whole) || end == refused && a.status != 502 || !slices.Contains(a.may, end) {
				t.Errorf("%s: %+v; recorded %+v", a.what, a, u)
			}
		}
		if t.Failed() {
			return
		}
	}
	if ends[broken] == 0 || ends[refused] == 0 || ends[whole] == 0 {
		t.Error("the cuts did not find every state")
	}
	figure(t, "%d cuts at every byte of three dialects' streams: %d broken off with an error event, %d refused before their content, %d after the last event; 0 unsettled", cuts, ends[broken], ends[refused], ends[whole])
}

// cutStream asks for a stream whose connection will be cut.
func (g *testGateway) cutStream(t *testing.T, n int) (id string, a seenAnswer) {
	t.Helper()
	resp, err := g.api.do("POST", chatPath, ask("m", "stream", true))
	if err != nil {
		t.Fatalf("cut %d: %v", n, err)
	}
	return resp.Header.Get("X-Request-Id"), readAnswer(resp)
}

// malformed are streams that no provider should send, and how each ends for the client.
func malformed() map[string]struct{ end, text string } {
	good := `{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`
	end := `{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	event := func(data string) string { return "data: " + data + "\n\n" }
	return map[string]struct{ end, text string }{
		"nothing":                         {refused, ""},
		"a blank line":                    {refused, "\n"},
		"a byte order mark":               {whole, "\ufeff" + event(good) + event(end) + event("[DONE]")},
		"carriage returns":                {whole, strings.ReplaceAll(event(good)+event(end)+event("[DONE]"), "\n", "\r")},
		"both line ends":                  {whole, strings.ReplaceAll(event(good)+event(end)+event("[DONE]"), "\n", "\r\n")},
		"no space":                        {whole, "data:" + good + "\n\ndata:" + end + "\n\ndata:[DONE]\n\n"},
		"data without a colon":            {asItIs, "data\n\n" + event(good) + event(end) + event("[DONE]")},
		"unknown fields":                  {whole, "id: 1\nretry: 5\nfoo: bar\n" + event(good) + event(end) + event("[DONE]")},
		"comments":                        {whole, ": x\n\n:\n\n" + event(good) + ": y\n\n" + event(end) + event("[DONE]")},
		"an event in two lines of data":   {whole, "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"a\"}}]}\n\n" + event(end) + event("[DONE]")},
		"no JSON":                         {asItIs, event("hello") + event(good) + event(end) + event("[DONE]")},
		"half an object":                  {asItIs, event(good[:40]) + event(end) + event("[DONE]")},
		"null":                            {asItIs, event("null") + event(good) + event(end) + event("[DONE]")},
		"an array":                        {asItIs, event("[]") + event(good) + event(end) + event("[DONE]")},
		"numbers for strings":             {whole, event(`{"choices":[{"index":"0","delta":{"content":5}}]}`) + event(end) + event("[DONE]")},
		"choices that are no list":        {whole, event(`{"choices":{"index":0}}`) + event(end) + event("[DONE]")},
		"choices far apart":               {whole, event(`{"choices":[{"index":2147483647,"delta":{"content":"a"}}]}`) + event(end) + event("[DONE]")},
		"a negative index":                {whole, event(`{"choices":[{"index":-1,"delta":{"content":"a"}}]}`) + event(end) + event("[DONE]")},
		"deep nesting":                    {refused, event(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000))},
		"duplicate names":                 {whole, event(`{"choices":[{"index":0,"delta":{"content":"a","content":"b"}}],"choices":[]}`) + event(end) + event("[DONE]")},
		"invalid UTF-8":                   {whole, event("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xff\xfe\"}}]}") + event(end) + event("[DONE]")},
		"a NUL":                           {asItIs, event("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\x00\"}}]}") + event(end) + event("[DONE]")},
		"a lone surrogate":                {whole, event(`{"choices":[{"index":0,"delta":{"content":"\ud800"}}]}`) + event(end) + event("[DONE]")},
		"an event of 1 MiB":               {whole, event(strings.Replace(good, `"a"`, `"`+strings.Repeat("a", 1<<20)+`"`, 1)) + event(end) + event("[DONE]")},
		"an event of 40 MiB":              {refused, "data: " + strings.Repeat("a", 40<<20)},
		"DONE at once":                    {refused, event("[DONE]")},
		"DONE twice":                      {whole, event(good) + event(end) + event("[DONE]") + event("[DONE]")},
		"content after DONE":              {whole, event(good) + event(end) + event("[DONE]") + event(good)},
		"DONE without a reason":           {whole, event(good) + event("[DONE]")},
		"no DONE":                         {whole, event(good) + event(end)},
		"no blank line at the end":        {whole, event(good) + event(end) + "data: [DONE]"},
		"neither DONE nor a reason":       {broken, event(good)},
		"an error in the middle":          {broken, event(good) + event(`{"error":{"message":"broken","code":500}}`)},
		"an error with an odd code":       {refused, event(`{"error":{"message":{"a":1},"code":[]}}`)},
		"a string for an error":           {refused, event(`{"error":"broken"}`)},
		"usage of strings":                {whole, event(good) + event(end[:len(end)-1]+`,"usage":{"prompt_tokens":"many","completion_tokens":{}}}`) + event("[DONE]")},
		"negative usage":                  {whole, event(good) + event(end[:len(end)-1]+`,"usage":{"prompt_tokens":-5,"completion_tokens":-9223372036854775808,"total_tokens":-1}}`) + event("[DONE]")},
		"usage beyond all numbers":        {whole, event(good) + event(end[:len(end)-1]+`,"usage":{"prompt_tokens":1e400,"completion_tokens":99999999999999999999}}`) + event("[DONE]")},
		"a page of HTML":                  {refused, "<html><body>Bad gateway</body></html>"},
		"an object that is no stream":     {refused, `{"error":{"message":"broken"}}`},
		"a buffered answer":               {refused, string(scripted.OpenAIBody("x", "hello"))},
		"an event of another dialect":     {refused, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"},
		"tool calls without a name":       {whole, event(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":9999999,"function":{"arguments":"{"}}]}}]}`) + event(end) + event("[DONE]")},
		"a thousand empty choices":        {whole, event(`{"choices":[`+strings.Repeat(`{},`, 999)+`{}]}`) + event(end) + event("[DONE]")},
		"10,000 keep-alives, then an end": {whole, strings.Repeat(": x\n\n", 10_000) + event(good) + event(end) + event("[DONE]")},
	}
}

var (
	lineEnd  = regexp.MustCompile("\r\n|\n|\r")
	finished = regexp.MustCompile(`"finish_reason"\s*:\s*"[^"]`)
)

// endsWell tells whether a stream has what ends an answer in one of its events: a reason, or [DONE] behind content.
func endsWell(text string) bool {
	var data []string
	content := false
	for _, line := range append(lineEnd.Split(strings.TrimPrefix(text, "\ufeff"), -1), "") {
		if line != "" {
			if value, ok := strings.CutPrefix(line, "data:"); ok {
				data = append(data, strings.TrimPrefix(value, " "))
			}
			continue
		}
		event := strings.Join(data, "\n")
		data = nil
		if finished.MatchString(event) || content && strings.TrimSpace(event) == "[DONE]" {
			return true
		}
		content = content || strings.Contains(event, `"content"`) || strings.Contains(event, `"tool_calls"`)
	}
	return false
}

// TestF7Malformed sends streams that no provider should send through the whole gateway, the corpus and then mutations of it, to clients of
// each dialect. Those of the corpus end as they must; a mutation is an answer only if it has what ends one. Whatever comes, the request
// ends once and the gateway goes on.
func TestF7Malformed(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	many := times(40, 200)
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n[retries]\nattempts = 1\n"+manyModels(many, "f", "up0"), nil)
	random := rand.New(rand.NewPCG(7, 7))
	n := 0
	seen := map[string]seenAnswer{}
	send := func(text string, ends ...string) {
		t.Helper()
		if len(seen)%(3*many) == 0 { // successes, so that no circuit opens and every stream is read
			up[0].Script(nil)
			for i := range many {
				if resp, text := g.api.post(t, chatPath, ask(fmt.Sprint("f", i))); resp.StatusCode != 200 {
					t.Fatalf("after %d streams: %d %s", len(seen), resp.StatusCode, text)
				}
			}
		}
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
		a := readAnswer(resp)
		a.what, a.may, a.body = fmt.Sprintf("%s, %.400q", path, text), ends, strings.Clone(a.body[:min(len(a.body), 500)])
		if i := slices.Index(ends, asItIs); i >= 0 {
			a.may = []string{map[bool]string{true: whole, false: refused}[path == chatPath]}
		}
		seen[resp.Header.Get("X-Request-Id")] = a
	}
	var bodies []string
	for range 3 { // in each dialect
		for _, m := range malformed() {
			send(m.text, m.end)
			bodies = append(bodies, m.text)
		}
		n++
	}
	corpus := len(bodies)
	for range times(150, 20_000) {
		text := mutated(random, bodies)
		if endsWell(text) {
			send(text, whole, broken, refused)
		} else {
			send(text, broken, refused)
		}
	}
	records, ends := g.sound(slices.Collect(maps.Keys(seen))...), map[string]int{}
	for id, a := range seen {
		u := records[id]
		end := a.end(&u)
		if ends[end]++; !slices.Contains(a.may, end) {
			t.Errorf("%+v; recorded %+v", a, u)
		}
	}
	figure(t, "%d malformed streams ended as they must, %d mutations of them as they may: %d answers, %d broken off, %d refused", corpus, len(seen)-corpus, ends[whole], ends[broken], ends[refused])
}

// mutated is one of the texts with up to four changes.
func mutated(random *rand.Rand, texts []string) string {
	const noise = "\n\r:{}[]\",\x00"
	text := []byte(nil)
	for len(text) > 1<<16 || len(text) == 0 {
		text = []byte(texts[random.IntN(len(texts))])
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
	return string(text)
}
