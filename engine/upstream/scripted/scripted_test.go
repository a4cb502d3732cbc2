package scripted

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/sse"
	"github.com/pointsman/pointsman/sdk/abi"
)

func start(t testing.TB, opt Options) *Server {
	t.Helper()
	s, err := Start(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// client has its own connections, which end with the test.
func client(t testing.TB) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func post(t *testing.T, c *http.Client, url, body string) (*http.Response, string, error) {
	t.Helper()
	resp, err := c.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return resp, string(got), err
}

func TestDefaultAnswers(t *testing.T) {
	s := start(t, Options{Models: []string{"a", "b"}})
	c := client(t)
	want := dialect.Usage{Input: InputTokens, Output: OutputTokens, CacheRead: CachedTokens, Reported: true}

	_, body, err := post(t, c, s.URL()+"/v1/chat/completions", `{"model":"m \"1\"","messages":[]}`)
	if u, _ := dialect.OpenAIUsage([]byte(body)); err != nil || u != want || !strings.Contains(body, `"model":"m \"1\""`) {
		t.Errorf("chat: %s, %v", body, err)
	}
	_, body, err = post(t, c, s.URL()+"/anthropic/v1/messages?beta=true", `{"model":"m"}`)
	if u, _ := dialect.AnthropicUsage([]byte(body)); err != nil || u != want {
		t.Errorf("messages: %s, %v", body, err)
	}
	resp, body, err := post(t, c, s.URL()+"/v1/chat/completions", `{"model":"m","stream":true}`)
	if err != nil || resp.Header.Get("Content-Type") != "text/event-stream" || !strings.HasSuffix(body, "data: [DONE]\n\n") || strings.Contains(body, "usage") {
		t.Errorf("chat stream: %s, %v", body, err)
	}
	_, body, err = post(t, c, s.URL()+"/v1/chat/completions", `{"model":"m","stream":true,"stream_options":{ "include_usage" : true }}`)
	if err != nil || strings.Count(body, `"usage":null`) != 7 || strings.Count(body, `"choices":[],"usage":{`) != 1 {
		t.Errorf("chat stream with usage: %s, %v", body, err)
	}
	_, body, err = post(t, c, s.URL()+"/v1/messages", `{"model":"m","stream":true}`)
	translated := dialect.TranslateStream(dialect.Messages, dialect.Chat, strings.NewReader(body), dialect.AnswerOptions{Model: "m", ID: "id", Created: 1})
	out, _ := io.ReadAll(translated)
	if err != nil || translated.Usage() != want || !strings.HasSuffix(string(out), "[DONE]\n\n") {
		t.Errorf("messages stream: %s, %v", out, err)
	}
	_, body, err = post(t, c, s.URL()+"/v1/responses", `{"model":"m \"1\""}`)
	if u, _ := dialect.Responses.Usage([]byte(body)); err != nil || u != want || !strings.Contains(body, `"model":"m \"1\""`) {
		t.Errorf("responses: %s, %v", body, err)
	}
	resp, body, err = post(t, c, s.URL()+"/v1/responses", `{"model":"m","stream":true}`)
	translated = dialect.TranslateStream(dialect.Responses, dialect.Chat, strings.NewReader(body), dialect.AnswerOptions{Model: "m", ID: "id", Created: 1})
	out, _ = io.ReadAll(translated)
	if err != nil || resp.Header.Get("Content-Type") != "text/event-stream" || translated.Usage() != want || !strings.HasSuffix(string(out), "[DONE]\n\n") {
		t.Errorf("responses stream: %s, %v", out, err)
	}
	_, body, err = post(t, c, s.URL()+"/v1/embeddings", `{"model":"m","input":"x"}`)
	if err != nil || !strings.Contains(body, `"embedding":[`) {
		t.Errorf("embeddings: %s, %v", body, err)
	}
	resp, err = c.Get(s.URL() + "/v1/models")
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("models: %v", err)
	} else {
		list, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if strings.Count(string(list), `"object":"model"`) != 2 {
			t.Errorf("models: %s", list)
		}
	}
	if resp, _, err = post(t, c, s.URL()+"/else", `{}`); err != nil || resp.StatusCode != 404 {
		t.Errorf("no such path: %v", err)
	}
	if s.Count() != 10 {
		t.Errorf("%d requests", s.Count())
	}
}

// The same texts are the same answer in each dialect, buffered and streamed.
func TestSameAnswerInEachDialect(t *testing.T) {
	s := start(t, Options{Text: []string{"Gr\u00fc\u00dfe", " \"🌍\"\n"}})
	c := client(t)
	opt := dialect.AnswerOptions{Model: "m", ID: "id", Created: 1}
	for path, d := range map[string]dialect.Dialect{"/chat/completions": dialect.Chat, "/messages": dialect.Messages, "/responses": dialect.Responses} {
		var whole, pieces dialect.Answer
		_, body, err := post(t, c, s.URL()+path, `{"model":"m"}`)
		buffered := []byte(body)
		if err == nil && d != dialect.Chat {
			buffered, _, err = dialect.TranslateAnswer(d, dialect.Chat, nil, buffered, opt)
		}
		whole.Add(dialect.Chat, buffered)
		if err != nil || string(whole.Text) != "Grüße \"🌍\"\n" || whole.Finish != abi.FinishStop {
			t.Errorf("%v: %s, %v", d, body, err)
		}
		_, body, err = post(t, c, s.URL()+path, `{"model":"m","stream":true}`)
		var stream io.Reader = strings.NewReader(body)
		if d != dialect.Chat {
			stream = dialect.TranslateStream(d, dialect.Chat, stream, opt)
		}
		events := sse.NewReader(stream, 0)
		for err == nil {
			var ev sse.Event
			if ev, err = events.Next(); err == nil {
				pieces.Add(dialect.Chat, ev.Data)
			}
		}
		if string(pieces.Text) != string(whole.Text) || pieces.Finish != whole.Finish {
			t.Errorf("%v streamed: %s", d, body)
		}
	}
}

func TestUsageStyles(t *testing.T) {
	for style, want := range map[UsageStyle][]string{ // what each payload tells
		UsageNone:       {"-", "-", "-", "-"},
		UsageFinal:      {"null", "null", "null", "null", "20"},
		UsageWithFinish: {"-", "-", "-", "20"},
		UsageAfter:      {"-", "-", "-", "-", "20"},
		UsageEvery:      {"0", "10", "20", "20"},
		UsageNull:       {"null", "null", "null", "null"},
	} {
		var got []string
		for _, chunk := range OpenAIChunks("m", []string{"a", "b"}, style) {
			ev, err := sse.NewReader(strings.NewReader(string(chunk)), 0).Next()
			if err != nil {
				t.Fatal(err)
			}
			if string(ev.Data) == sse.Done {
				break
			}
			info := dialect.ChunkInfo(ev.Data)
			u, _ := dialect.OpenAIUsage(ev.Data)
			switch {
			case info.Malformed:
				t.Fatalf("malformed: %s", ev.Data)
			case info.UsageNull:
				got = append(got, "null")
			case info.Usage:
				got = append(got, fmt.Sprint(u.Output))
			default:
				got = append(got, "-")
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("style %d: %v, want %v", style, got, want)
		}
	}
}

func TestScriptAndRecords(t *testing.T) {
	s := start(t, Options{Keep: 3})
	s.Script(func(r *Request) *Reply {
		if r.Seq == 1 {
			return &Reply{Status: 429, Header: map[string]string{"Retry-After": "7"}, Body: []byte(`{"error":{}}`)}
		}
		return nil
	})
	c := client(t)
	resp, body, err := post(t, c, s.URL()+"/v1/chat/completions", `{}`)
	if err != nil || resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "7" || body != `{"error":{}}` {
		t.Errorf("scripted: %v %s %v", resp, body, err)
	}
	for i := range 4 {
		req, _ := http.NewRequest("POST", s.URL()+"/v1/chat/completions", strings.NewReader(fmt.Sprintf(`{"model":"m%d"}`, i)))
		req.Header.Set("authorization", "Bearer k")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	got := s.Requests()
	if len(got) != 3 || s.Count() != 5 {
		t.Fatalf("%d recorded of %d", len(got), s.Count())
	}
	for i, r := range got {
		if r.Seq != int64(i+3) || r.Model != fmt.Sprint("m", i+1) || r.Authorization != "Bearer k" || r.Method != "POST" ||
			r.Path != "/v1/chat/completions" || r.Header["Content-Length"] == "" || r.Time.IsZero() || string(r.Body) != `{"model":"`+r.Model+`"}` {
			t.Errorf("request %d: %+v", i, r)
		}
	}
	s.Script(nil)
	if resp, _, err = post(t, c, s.URL()+"/v1/chat/completions", `{}`); err != nil || resp.StatusCode != 200 {
		t.Errorf("after the script: %v", err)
	}
	none := start(t, Options{Keep: -1})
	post(t, c, none.URL()+"/v1/models", `{}`)
	if len(none.Requests()) != 0 || none.Count() != 1 {
		t.Error("a request was recorded")
	}
}

func TestHoldsAndPace(t *testing.T) {
	s := start(t, Options{Text: []string{"a", "b", "c"}})
	s.Script(func(r *Request) *Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders, reply.HoldBeforeFirst, reply.Interval = 20*time.Millisecond, 20*time.Millisecond, 10*time.Millisecond
		return reply
	})
	c := client(t)
	for range 3 { // on one connection: the watcher must leave it intact
		began := time.Now()
		resp, err := c.Post(s.URL()+"/chat/completions", "application/json", strings.NewReader(`{"stream":true}`))
		if err != nil {
			t.Fatal(err)
		}
		header := time.Since(began)
		r := sse.NewReader(resp.Body, 0)
		r.Next()
		first := time.Since(began)
		for err == nil {
			_, err = r.Next()
		}
		resp.Body.Close()
		if last := time.Since(began); err != io.EOF || header < 20*time.Millisecond || first < 40*time.Millisecond || last < 90*time.Millisecond {
			t.Errorf("header after %v, first %v, last %v, %v", header, first, last, err)
		}
	}
	for _, r := range s.Requests() {
		if !r.GoneAt().IsZero() {
			t.Error("a peer that stayed counts as gone")
		}
	}
	s.mu.Lock()
	if len(s.conns) != 1 {
		t.Errorf("%d connections, want one kept alive", len(s.conns))
	}
	s.mu.Unlock()
}

func TestGone(t *testing.T) {
	const long = time.Hour
	for name, bend := range map[string]func(*Reply){
		"before the header": func(r *Reply) { r.HoldBeforeHeaders = long },
		"before the first":  func(r *Reply) { r.HoldBeforeFirst = long },
		"between chunks":    func(r *Reply) { r.Interval = long },
	} {
		for _, reset := range []bool{false, true} {
			s := start(t, Options{})
			got := make(chan *Request, 1)
			s.Script(func(r *Request) *Reply {
				reply := r.Default()
				bend(reply)
				got <- r
				return reply
			})
			conn, err := net.Dial("tcp", s.listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "POST /chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n"+`{"stream":true}`)
			req := <-got
			time.Sleep(5 * time.Millisecond)
			if reset {
				conn.(*net.TCPConn).SetLinger(0)
			}
			left := time.Now()
			conn.Close()
			select {
			case <-req.Gone():
				if d := req.GoneAt().Sub(left); d < 0 || d > time.Second {
					t.Errorf("%s: seen after %v", name, d)
				}
			case <-time.After(2 * time.Second):
				t.Errorf("%s, reset %v: the peer's leaving was not seen", name, reset)
			}
		}
	}
}

func TestRelease(t *testing.T) {
	s := start(t, Options{})
	release := make(chan struct{})
	s.Script(func(r *Request) *Reply {
		return &Reply{Body: []byte("x"), HoldBeforeHeaders: time.Hour, Release: release}
	})
	time.AfterFunc(10*time.Millisecond, func() { close(release) })
	if _, body, err := post(t, client(t), s.URL(), `{}`); body != "x" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
}

func TestCuts(t *testing.T) {
	s := start(t, Options{})
	chunks := [][]byte{[]byte("data: 1\n\n"), []byte("data: 2\n\n"), {}, []byte("data: 3\n\n")}
	for _, c := range []struct {
		name  string
		reply Reply
		body  string
		err   error // while reading
	}{
		{"FIN after two chunks", Reply{Chunks: chunks, Cut: CutFIN, CutAfter: 2}, "data: 1\n\ndata: 2\n\n", io.ErrUnexpectedEOF},
		{"FIN before the first chunk", Reply{Chunks: chunks, Cut: CutFIN}, "", io.ErrUnexpectedEOF},
		{"EOF after two chunks", Reply{Chunks: chunks, Cut: CutEOF, CutAfter: 2}, "data: 1\n\ndata: 2\n\n", nil},
		{"whole", Reply{Chunks: chunks}, "data: 1\n\ndata: 2\n\ndata: 3\n\n", nil},
		{"no chunks", Reply{Chunks: [][]byte{}}, "", nil},
		{"body, FIN", Reply{Body: []byte("0123456789"), Cut: CutFIN, CutAfter: 4}, "0123", io.ErrUnexpectedEOF},
		{"body, EOF", Reply{Body: []byte("0123456789"), Cut: CutEOF, CutAfter: 4}, "0123", nil},
		{"RST after a chunk", Reply{Chunks: chunks, Cut: CutRST, CutAfter: 1, Interval: time.Millisecond}, "*", syscall.ECONNRESET},
		{"FIN while paced", Reply{Chunks: chunks, Cut: CutFIN, CutAfter: 2, Interval: time.Millisecond}, "data: 1\n\ndata: 2\n\n", io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Script(func(*Request) *Reply { return &c.reply })
			resp, body, err := post(t, client(t), s.URL(), `{}`)
			if c.body == "*" { // a reset may overtake anything
				if !errors.Is(err, c.err) {
					t.Errorf("%v, want %v", err, c.err)
				}
				return
			}
			if !errors.Is(err, c.err) || body != c.body || resp == nil || resp.StatusCode != 200 {
				t.Errorf("%q, %v; want %q, %v", body, err, c.body, c.err)
			}
		})
	}
	for _, how := range []Cut{CutFIN, CutRST} {
		s.Script(func(*Request) *Reply { return &Reply{Cut: how, CutAfter: -1} })
		if resp, _, err := post(t, client(t), s.URL(), `{}`); err == nil {
			t.Errorf("cut %d before the header: %v", how, resp.Status)
		}
	}
	for _, r := range s.Requests() {
		if !r.GoneAt().IsZero() {
			t.Error("our own cut counts as the peer's leaving")
		}
	}
}

func TestExpectContinue(t *testing.T) {
	s := start(t, Options{})
	conn, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 13\r\n\r\n")
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	in.ReadString('\n')
	fmt.Fprint(conn, `{"model":"m"}`)
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200 ") {
		t.Fatalf("%q, %v", line, err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	s, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Script(func(r *Request) *Reply { return &Reply{HoldBeforeHeaders: time.Hour} })
	for range 3 {
		conn, err := net.Dial("tcp", s.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	for s.Count() < 3 {
		time.Sleep(time.Millisecond)
	}
	s.Close()
	s.Close()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

func BenchmarkChat(b *testing.B) {
	for name, stream := range map[string]string{"buffered": "false", "stream": "true"} {
		b.Run(name, func(b *testing.B) {
			s := start(b, Options{Keep: -1})
			conn, err := net.Dial("tcp", s.listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			body := `{"model":"m","stream":` + stream + `,"messages":[{"role":"user","content":"` + strings.Repeat("x", 1024) + `"}]}`
			request := fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer k\r\nContent-Length: %d\r\n\r\n%s",
				len(body), body)
			answer := make([]byte, 8<<10)
			b.ReportAllocs()
			var before, after syscall.Rusage
			syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			for b.Loop() {
				conn.Write(request)
				if n, err := conn.Read(answer); n == 0 || err != nil {
					b.Fatal(n, err)
				}
			}
			syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
			b.ReportMetric(float64(cpu)/1000/float64(b.N), "cpu-us/op") // with the client's share
		})
	}
}
