package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/sse"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// ahead is how many bytes a raw provider sends before the gateway has read what came before them: to see that takes some milliseconds.
func ahead() int { return times(16, 1) << 20 }

// rawProvider answers every request with the same bytes, forever if it is told to, and returns its address. Each connection is
// for one request. What it has sent the gateway has read, but for the last bytes: no more of them than ahead tells.
func rawProvider(t *testing.T, answer func() (head string, body []byte, forever bool), sent *atomic.Int64) string {
	t.Helper()
	base := serveOn(t, func(ln net.Listener) error {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return err
			}
			go func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				head, body, forever := answer()
				if _, err := io.WriteString(conn, head); err != nil {
					return
				}
				for more, unread := true, len(head); more; more = forever {
					if unread += len(body); unread > ahead() {
						awaitRead(conn)
						unread = len(body)
					}
					n, err := conn.Write(body)
					if sent.Add(int64(n)); err != nil {
						return
					}
				}
				conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // the end comes either way
				io.Copy(io.Discard, conn)        //nolint:errcheck // until the gateway has read all
			}()
		}
	})
	return strings.TrimPrefix(base, "http://")
}

// awaitRead waits until what was written to a connection of this machine has been read there, or the connection has ended.
func awaitRead(conn net.Conn) {
	for hasQueue(conn.LocalAddr(), conn.RemoteAddr(), "00000000:") { // to be sent
		time.Sleep(time.Millisecond)
	}
	for hasQueue(conn.RemoteAddr(), conn.LocalAddr(), ":00000000") { // to be read
		time.Sleep(time.Millisecond)
	}
}

// hasQueue tells whether the system has a connection in one of whose queues there is something: those to be sent and to be read
// are given as it tells them, and empty has that of them which is to be empty.
func hasQueue(here, there net.Addr, empty string) bool {
	file, err := os.Open("/proc/net/tcp")
	if err != nil {
		return false
	}
	defer file.Close()
	ends := fmt.Appendf(nil, "0100007F:%04X 0100007F:%04X 01 ", here.(*net.TCPAddr).Port, there.(*net.TCPAddr).Port) // 01: it is open
	for lines := bufio.NewScanner(file); lines.Scan(); {                                                             // a line at a time: the memory of this process is measured
		if _, line, found := bytes.Cut(lines.Bytes(), ends); found {
			queues, _, _ := strings.Cut(string(line), " ")
			return !strings.HasPrefix(queues, empty) && !strings.HasSuffix(queues, empty)
		}
	}
	return false
}

// TestF8Garbage: what is no answer becomes 502, and no more of it is read than an answer may have.
func TestF8Garbage(t *testing.T) {
	const ok, chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", "Transfer-Encoding: chunked\r\n\r\n"
	const events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	page := "<!DOCTYPE html><html><body><h1>Bad Gateway</h1></body></html>"
	with := func(head, body string) string {
		return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
	}
	bomb := string(fasthttp.AppendGzipBytesLevel(nil, make([]byte, 64<<20), fasthttp.CompressBestCompression))
	piece := func(n int) []byte {
		return append(append(fmt.Appendf(nil, "%x\r\n", n), bytes.Repeat([]byte("x"), n)...), "\r\n"...)
	}
	half := string(scripted.OpenAIBody("x", "hello"))
	half = half[:len(half)/2]
	cases := map[string]struct {
		head    string
		body    []byte
		forever bool
	}{
		"HTML":                        {head: with("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n", page)},
		"HTML that is called JSON":    {head: with(ok, page)},
		"HTML that is called events":  {head: with(events, page)},
		"nothing":                     {head: with(ok, "")},
		"null":                        {head: with(ok, "null")},
		"an array":                    {head: with(ok, "[]")},
		"half an answer":              {head: with(ok, half)},
		"an answer without choices":   {head: with(ok, `{"id":"x","object":"chat.completion","choices":[]}`)},
		"an error under 200":          {head: with(ok, `{"error":{"message":"broken","type":"server_error"}}`)},
		"a bomb of gzip":              {head: with(ok+"Content-Encoding: gzip\r\n", bomb)},
		"a bomb in a stream":          {head: with(events+"Content-Encoding: gzip\r\n", bomb)},
		"more than its length":        {head: ok + "Content-Length: 5\r\n\r\n" + page},
		"a length beyond all":         {head: ok + "Content-Length: 99999999999999999999\r\n\r\n{}"},
		"a negative length":           {head: ok + "Content-Length: -1\r\n\r\n{}"},
		"two lengths":                 {head: ok + "Content-Length: 2\r\nContent-Length: 50\r\n\r\n{}"},
		"a chunk beyond all":          {head: ok + chunked + "ffffffffffffffff\r\n{}"},
		"a chunk that is no number":   {head: ok + chunked + "zz\r\n{}\r\n0\r\n\r\n"},
		"100 MB":                      {head: ok + "Content-Length: 104857600\r\n\r\n", body: bytes.Repeat([]byte("x"), 1<<20), forever: true},
		"chunks without end":          {head: ok + chunked, body: piece(64 << 10), forever: true},
		"one event without end":       {head: events + chunked + "6\r\ndata: \r\n", body: piece(64 << 10), forever: true},
		"small chunks without end":    {head: ok + chunked, body: bytes.Repeat(piece(1), 10_000), forever: true},
		"headers without end":         {head: "HTTP/1.1 200 OK\r\n", body: []byte("X-Header: " + strings.Repeat("x", 1000) + "\r\n"), forever: true},
		"a header line without end":   {head: "HTTP/1.1 200 OK\r\nX-Header: ", body: bytes.Repeat([]byte("x"), 4096), forever: true},
		"a status line without end":   {head: "HTTP/1.1 200 ", body: bytes.Repeat([]byte("x"), 4096), forever: true},
		"interim answers without end": {body: []byte("HTTP/1.1 100 Continue\r\n\r\n"), forever: true},
		"no HTTP":                     {head: "SSH-2.0-OpenSSH_9.0\r\n"},
		"binary":                      {body: bytes.Repeat([]byte{0, 1, 2, 3, 255}, 2000)},
		"an odd status":               {head: with("HTTP/1.1 999 What\r\n", "{}")},
		"a redirect":                  {head: with("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n", "")},
		"a switch of protocols":       {head: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nxxx"},
		"no content":                  {head: "HTTP/1.1 204 No Content\r\n\r\n"},
	}
	_, _, toml := faulty(t, 1)
	sent := map[string]*atomic.Int64{}
	number := map[string]int{}
	for name, c := range cases {
		sent[name] = new(atomic.Int64)
		i := len(number)
		number[name] = i
		address := rawProvider(t, func() (string, []byte, bool) { return c.head, c.body, c.forever }, sent[name])
		toml += fmt.Sprintf("[providers.raw%d]\nadapter = \"openai\"\nbase_url = \"http://%s/v1\"\napi_key = \"x\"\nallow_private = true\ntimeouts = { first_byte = 20, first_content = 20, idle = 20, total = 60 }\n", i, address)
		toml += strings.ReplaceAll(manyModels(1, "g", fmt.Sprint("raw", i)), "g0", fmt.Sprint("g", i))
	}
	g := newGateway(t, toml, nil)
	g.api.post(t, chatPath, ask("m")) // what is made once is there
	var ids []string
	const limit = 32 << 20 // of a buffered answer
	highest, most := 0, int64(0)
	var highestOf, mostOf string
	for range times(1, 2) { // before the circuits open
		for name := range cases {
			for _, stream := range []bool{false, true} {
				before := sent[name].Load()
				if allFaults() { // it takes a collection
					debug.FreeOSMemory() // else the answer takes what the one before has left
				}
				peak := peakMemory(t)
				resp, body := g.api.post(t, chatPath, ask(fmt.Sprint("g", number[name]), "stream", stream))
				what := fmt.Sprintf("%s, stream %v", name, stream)
				if grown := peak(); grown > highest {
					highest, highestOf = grown, what
				}
				if resp.StatusCode != 502 || errorCode(body) != "provider_error" && errorCode(body) != "provider_rejected_request" {
					t.Errorf("%s: %d %.300s", what, resp.StatusCode, body)
				}
				read := sent[name].Load() - before
				if read > most {
					most, mostOf = read, what
				}
				bound := int64(limit)
				if stream { // of one event, of which each byte may come in a chunk of six
					bound = max(bound, 6*sse.DefaultMaxEvent)
				}
				if read > bound+int64(ahead())+64<<10 { // with the answer's head
					t.Errorf("%.1f MiB were read of %s", float64(read)/(1<<20), what)
				}
				ids = append(ids, resp.Header.Get("X-Request-Id"))
			}
		}
	}
	for _, u := range g.sound(ids...) {
		if u.Outcome == storage.OutcomeUpstreamError && u.Credits != 0 {
			t.Errorf("%s is charged %s", u.Request, u.Credits)
		}
	}
	if highest > 2*limit {
		t.Errorf("%s took %d MiB", highestOf, highest>>20)
	}
	figure(t, "%d kinds of garbage, each buffered and streamed: 502; at most %d MiB more memory (%s), at most %.1f MiB read (%s)", len(cases), highest>>20, highestOf, float64(most)/(1<<20), mostOf)
}

// peakMemory returns a function that tells by how many bytes the process's memory has grown at most since.
func peakMemory(t *testing.T) func() int {
	t.Helper()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil && !errors.Is(err, syscall.EACCES) {
		t.Fatal(err)
	}
	before := memoryOf(t, os.Getpid(), "VmRSS")
	return func() int { return memoryOf(t, os.Getpid(), "VmHWM") - before }
}

// TestF8Usage: numbers of tokens that cannot be are not believed, whatever they would make the answer cost.
func TestF8Usage(t *testing.T) {
	up, _, toml := faulty(t, 1)
	g := newGateway(t, toml, nil)
	var ids []string
	for _, usage := range []string{
		`{"prompt_tokens":-10,"completion_tokens":-20,"total_tokens":-30}`, `{"prompt_tokens":9223372036854775807,"completion_tokens":9223372036854775807}`,
		`{"prompt_tokens":1e300,"completion_tokens":2}`, `{"prompt_tokens":1.5,"completion_tokens":"2"}`, `{"prompt_tokens":null}`, `[]`, `"many"`, `{}`, `null`,
		`{"prompt_tokens":5,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":500000}}`,
	} {
		up[0].Script(func(r *scripted.Request) *scripted.Reply {
			if r.Stream {
				chunks := scripted.OpenAIChunks("x", []string{"hello"}, scripted.UsageNone)
				last := chunks[len(chunks)-1]
				return &scripted.Reply{Chunks: append(chunks[:len(chunks)-1], []byte(`data: {"choices":[],"usage":`+usage+"}\n\n"), last)}
			}
			body := scripted.OpenAIBody("x", "hello")
			return &scripted.Reply{Body: append(body[:bytes.Index(body, []byte(`"usage":`))], `"usage":`+usage+"}"...)}
		})
		for _, stream := range []bool{false, true} {
			resp, body := g.api.post(t, chatPath, ask("m", "stream", stream))
			if resp.StatusCode != 200 {
				t.Errorf("%s: %d %s", usage, resp.StatusCode, body)
			}
			ids = append(ids, resp.Header.Get("X-Request-Id"))
		}
	}
	for _, u := range g.sound(ids...) {
		if u.Credits <= 0 || u.InputTokens < 0 || u.OutputTokens < 0 || u.InputTokens > 128_000 || u.OutputTokens > 128_000 || u.CachedTokens > u.InputTokens {
			t.Errorf("%+v", u)
		}
	}
	figure(t, "%d answers with impossible usage: charged for what is possible", len(ids))
}

// TestF9Overload: providers that are overloaded are asked little more than they were offered, whatever they say of the time after
// which to ask again, and no client waits for long.
func TestF9Overload(t *testing.T) {
	up, toml := upstreams(t, 1)
	statuses := []int{429, 500, 503, 529}
	waits := []string{"", "0", "1", "1000000000", "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "soon", "-5", "1e9", strings.Repeat("9", 4000)}
	each := times(4, 40)
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n[retries]\npause = 0.002\nmax_pause = 0.05\n"+manyModels(len(statuses)*len(waits)*each/2, "o", "up0"), nil)
	var ids []string
	var longest time.Duration
	model := 0
	for _, status := range statuses {
		for _, wait := range waits {
			reply := &scripted.Reply{Status: status, Body: []byte(`{"error":{"message":"not now","type":"x"}}`), Header: map[string]string{}}
			if wait != "" {
				reply.Header["Retry-After"] = wait
			}
			up[0].Script(func(*scripted.Request) *scripted.Reply { return reply })
			for n := range each {
				if n%2 == 0 {
					model++
				}
				began := time.Now()
				resp, body := g.api.post(t, chatPath, ask(fmt.Sprint("o", model-1), "stream", n%2 == 1))
				longest = max(longest, time.Since(began))
				want := map[int]int{429: 429, 500: 502, 503: 503, 529: 503}[status]
				if resp.StatusCode != want {
					t.Errorf("%d, Retry-After %.40q: %d %s", status, wait, resp.StatusCode, body)
				}
				if text := resp.Header.Get("Retry-After"); text != "" || want != 502 {
					if told, err := strconv.Atoi(text); err != nil || told < 1 || told > 60 {
						t.Errorf("%d, Retry-After %.40q: the client is told %q", status, wait, text)
					}
				}
				ids = append(ids, resp.Header.Get("X-Request-Id"))
			}
		}
	}
	offered, asked := int64(len(ids)), up[0].Count()
	if asked > offered*12/10+10 {
		t.Errorf("%d requests became %d", offered, asked)
	}
	if longest > 10*time.Second {
		t.Errorf("a client waited %v", longest)
	}
	for _, u := range g.sound(ids...) {
		if u.Credits != 0 {
			t.Errorf("%s is charged %s", u.Request, u.Credits)
		}
	}
	figure(t, "%d requests refused with 429, 500, 503 and 529 in %d ways: the provider was asked %d times (%.2f), the longest wait was %v", offered, len(statuses)*len(waits), asked,
		float64(asked)/float64(offered), longest.Round(time.Millisecond))
}
