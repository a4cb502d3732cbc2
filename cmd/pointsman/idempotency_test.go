package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

func keyedBy(key string) http.Header { return header("Idempotency-Key", key) }

// TestL9SameResult asks twice with one key on every route: the same answer to the byte, one provider call, one charge.
func TestL9SameResult(t *testing.T) {
	up, toml := operationModels(t, 1)
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		switch {
		case strings.HasSuffix(r.Path, "/moderations"):
			return &scripted.Reply{Body: []byte(`{"id":"modr","model":"mod","results":[{"flagged":false}]}`)}
		case strings.HasSuffix(r.Path, "/rerank"):
			return &scripted.Reply{Body: []byte(`{"results":[{"index":0,"relevance_score":0.5}]}`)}
		case strings.HasSuffix(r.Path, "/generations"):
			return &scripted.Reply{Body: []byte(`{"created":1,"data":[{"b64_json":"AAAA"}]}`)}
		case strings.HasSuffix(r.Path, "/speech"):
			return &scripted.Reply{Chunks: [][]byte{{0xff, 0, 1}, {2, 0xfe}}, Header: map[string]string{"Content-Type": "audio/mpeg"}}
		}
		return r.Default()
	})
	g := newGateway(t, toml, nil)
	for i, x := range []struct{ name, path, body string }{
		{"chat", chatPath, `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}`},
		{"chat, streamed", chatPath, `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}`},
		{"chat, streamed with usage", chatPath, `{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}`},
		{"messages", messagesPath, `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}`},
		{"messages, streamed", messagesPath, `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}`},
		{"responses", "/v1/responses", `{"model":"m","input":"Hi","max_output_tokens":9}`},
		{"responses, streamed", "/v1/responses", `{"model":"m","stream":true,"input":"Hi","max_output_tokens":9}`},
		{"completions", "/v1/completions", `{"model":"m","prompt":"Hi","max_tokens":9}`},
		{"embeddings", "/v1/embeddings", `{"model":"e","input":"Hi"}`},
		{"moderations", "/v1/moderations", `{"model":"mod","input":"Hi"}`},
		{"rerank", "/v1/rerank", `{"model":"rank","query":"Hi","documents":["a","b"]}`},
		{"images", "/v1/images/generations", `{"model":"img","prompt":"Hi"}`},
		{"speech", "/v1/audio/speech", `{"model":"tts","voice":"v","input":"Hi"}`},
	} {
		t.Run(x.name, func(t *testing.T) {
			key, asked := keyedBy(fmt.Sprint("key-", i)), up[0].Count()
			first, made := g.api.as(t, x.path, json.RawMessage(x.body), key)
			balance := g.api.balance(t)
			again, given := g.api.as(t, x.path, json.RawMessage(x.body), key)
			if first.StatusCode != 200 || again.StatusCode != 200 || given != made {
				t.Fatalf("%d %s\nand %d %s", first.StatusCode, made, again.StatusCode, given)
			}
			if first.Header.Get("X-Pointsman-Idempotent") != "" || again.Header.Get("X-Pointsman-Idempotent") != "replayed" || again.Header.Get("X-Should-Retry") != "" {
				t.Errorf("headers of the second: %v", again.Header)
			}
			for name := range first.Header {
				if name != "Date" && name != "Content-Length" && first.Header.Get(name) != again.Header.Get(name) {
					t.Errorf("%s was %q and is %q", name, first.Header.Get(name), again.Header.Get(name))
				}
			}
			if n := up[0].Count() - asked; n != 1 {
				t.Errorf("the provider was asked %d times", n)
			}
			if now := g.api.balance(t); now != balance {
				t.Errorf("the balance went from %s to %s", balance, now)
			}
			if u := g.api.lastUsage(t); u["request_id"] != first.Header.Get("X-Request-Id") {
				t.Errorf("a replay made a record: %v", u)
			}
		})
	}
}

// TestL9Form retries a form as clients do: with another boundary.
func TestL9Form(t *testing.T) {
	t.Parallel()
	up, toml := operationModels(t, 1)
	up[0].Script(repliesWith(`{"text":"Hi"}`))
	g := newGateway(t, toml, nil)
	send := func(file string) (*http.Response, string) {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		form.WriteField("model", "stt") //nolint:errcheck // a buffer takes all
		w, _ := form.CreateFormFile("file", "a.mp3")
		io.WriteString(w, file) //nolint:errcheck // likewise
		form.Close()
		req, _ := http.NewRequest("POST", g.api.base+"/v1/audio/transcriptions", &body)
		req.Header = http.Header{"Authorization": {"Bearer " + g.api.key}, "Content-Type": {form.FormDataContentType()}, "Idempotency-Key": {"form"}}
		resp, err := g.api.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp, string(text)
	}
	first, made := send("\xff\x00sound")
	again, given := send("\xff\x00sound")
	if first.StatusCode != 200 || given != made || again.Header.Get("X-Pointsman-Idempotent") != "replayed" || up[0].Count() != 1 {
		t.Errorf("%d %s\nand %d %s; asked %d times", first.StatusCode, made, again.StatusCode, given, up[0].Count())
	}
	if resp, text := send("\xff\x00another"); resp.StatusCode != 422 {
		t.Errorf("another file: %d %s", resp.StatusCode, text)
	}
}

func TestL9Refusals(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml+"[cache]\nmax_entry_kb = 1\n", nil)
	other := g.account("other")
	second := newClient(g.api.base, "")
	var key keyEntry
	if err := g.admin.call("POST", "/api/v1/admin/keys", map[string]string{"account": "default"}, &key); err != nil {
		t.Fatal(err)
	}
	second.key = key.Key
	g.api.as(t, chatPath, ask("m"), keyedBy("one"))
	for _, x := range []struct {
		name   string
		client *client
		path   string
		body   any
		header http.Header
		status int
		code   string
	}{
		{"another body", g.api, chatPath, ask("m", "seed", 1), keyedBy("one"), 422, "idempotency_key_reused"},
		{"another route", g.api, "/api/v1/chat/completions", ask("m"), keyedBy("one"), 422, "idempotency_key_reused"},
		{"another account", other, chatPath, ask("m", "seed", 1), keyedBy("one"), 200, ""},
		{"another key of the account", second, chatPath, ask("m"), keyedBy("one"), 200, ""},
		{"too long", g.api, chatPath, ask("m"), keyedBy(strings.Repeat("x", 256)), 400, "invalid_value"},
		{"long enough", g.api, chatPath, ask("m"), keyedBy(strings.Repeat("x", 255)), 200, ""},
		{"a space", g.api, chatPath, ask("m"), keyedBy("a b"), 400, "invalid_value"},
		{"not ASCII", g.api, chatPath, ask("m"), keyedBy("é"), 400, "invalid_value"},
		{"two", g.api, chatPath, ask("m"), http.Header{"Idempotency-Key": {"a", "b"}}, 400, "invalid_value"},
		{"as Anthropic words it", g.api, messagesPath, map[string]any{"model": "m", "max_tokens": 9, "messages": user("Hi")}, keyedBy("one"), 422, "idempotency_key_reused"},
	} {
		resp, text := x.client.as(t, x.path, x.body, x.header)
		if resp.StatusCode != x.status || x.code != "" && !strings.Contains(text, `"`+x.code+`"`) {
			t.Errorf("%s: %d %s", x.name, resp.StatusCode, text)
		}
	}
}

// TestL9TooLarge remembers that there was an answer, and does not run again.
func TestL9TooLarge(t *testing.T) {
	up, toml := upstreams(t, 1)
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		if r.Stream {
			return &scripted.Reply{Chunks: scripted.OpenAIChunks(r.Model, []string{strings.Repeat("x", 2000)}, scripted.UsageFinal)}
		}
		return &scripted.Reply{Body: scripted.OpenAIBody(r.Model, strings.Repeat("x", 2000))}
	})
	g := newGateway(t, toml+"[cache]\nmax_entry_kb = 1\n", nil)
	for _, stream := range []bool{false, true} {
		asked, body, key := up[0].Count(), ask("m", "stream", stream), keyedBy(fmt.Sprint("large", stream))
		if resp, text := g.api.as(t, chatPath, body, key); resp.StatusCode != 200 || len(text) < 2000 {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
		resp, text := g.api.as(t, chatPath, body, key)
		if resp.StatusCode != 409 || !strings.Contains(text, `"idempotency_result_gone"`) || resp.Header.Get("X-Should-Retry") != "false" || up[0].Count() != asked+1 {
			t.Errorf("%d %v %s", resp.StatusCode, resp.Header, text)
		}
	}
}

// TestL9Errors keeps what came of asking a provider, and frees the key of what was refused before.
func TestL9Errors(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	up[0].Script(fails(500))
	first, made := g.api.as(t, chatPath, ask("m"), keyedBy("failed"))
	asked := up[0].Count()
	up[0].Script(nil)
	again, given := g.api.as(t, chatPath, ask("m"), keyedBy("failed"))
	if first.StatusCode != 502 || again.StatusCode != 502 || given != made || up[0].Count() != asked || again.Header.Get("X-Should-Retry") != "false" {
		t.Errorf("%d %s\nand %d %s", first.StatusCode, made, again.StatusCode, given)
	}
	poor := g.account("poor")
	private := ask("m", "pointsman", map[string]string{"privacy": "local"})
	if resp, text := poor.as(t, chatPath, private, keyedBy("refused")); resp.StatusCode != 503 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if resp, text := poor.as(t, chatPath, ask("m"), keyedBy("refused")); resp.StatusCode != 200 {
		t.Errorf("a key whose first request came to nothing: %d %s", resp.StatusCode, text)
	}
	chunks := scripted.OpenAIChunks("x", []string{"Hel", "lo"}, scripted.UsageFinal)
	up[0].Script(func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Chunks: chunks[:2]} })
	var cut [2]string
	for i := range cut {
		resp, err := g.api.unread(chatPath, ask("m", "stream", true), keyedBy("cut"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if cut[i] = string(text); err == nil || !strings.Contains(cut[i], "provider_stream_error") {
			t.Errorf("time %d: a stream that broke off looks whole: %s", i, text)
		}
	}
	if cut[0] != cut[1] {
		t.Errorf("%s\nand %s", cut[0], cut[1])
	}
}

// unread sends a request and leaves its answer unread.
func (c *client) unread(path string, body any, headers http.Header) (*http.Response, error) {
	req, err := http.NewRequest("POST", c.base+path, bytes.NewReader(marshal(body)))
	if err != nil {
		return nil, err
	}
	req.Header = headers.Clone()
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", "application/json")
	return c.http.Do(req)
}

// TestL9Concurrent sends a hundred requests with one key at once: one is answered, the others are asked to come again, and get its
// answer when they do.
func TestL9Concurrent(t *testing.T) {
	up, toml := upstreams(t, 1)
	release := make(chan struct{})
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		<-release
		return r.Default()
	})
	g := newGateway(t, toml, nil)
	var clients sync.WaitGroup
	var answered, replayed atomic.Int32
	waiting := make(chan struct{}, 1000)
	for range 100 {
		clients.Go(func() {
			for {
				resp, err := g.api.unread(chatPath, ask("m"), keyedBy("one"))
				if err != nil {
					t.Error(err)
					return
				}
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case resp.StatusCode == 409 && strings.Contains(string(text), "idempotency_in_progress") && resp.Header.Get("Retry-After") == "1":
					waiting <- struct{}{}
					<-release
					continue
				case resp.StatusCode != 200:
					t.Errorf("%d %s", resp.StatusCode, text)
				case resp.Header.Get("X-Pointsman-Idempotent") == "replayed":
					replayed.Add(1)
				default:
					answered.Add(1)
				}
				return
			}
		})
	}
	for range 99 {
		<-waiting
	}
	go func() {
		for range waiting { // who comes again too soon
		}
	}()
	close(release)
	clients.Wait()
	close(waiting)
	if answered.Load() != 1 || replayed.Load() != 99 || up[0].Count() != 1 {
		t.Errorf("%d were answered and %d replayed; the provider was asked %d times", answered.Load(), replayed.Load(), up[0].Count())
	}
	if got := g.api.balance(t); got != "999.99994" {
		t.Errorf("balance %s", got)
	}
}

// TestL9ClientLeaves cuts the connection while the answer is made, or streamed, and comes again as official clients do.
func TestL9ClientLeaves(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprint("stream ", stream), func(t *testing.T) {
			up, toml := upstreams(t, 1)
			arrived := make(chan struct{}, 1)
			up[0].Script(func(r *scripted.Request) *scripted.Reply {
				arrived <- struct{}{}
				reply := r.Default()
				if reply.HoldBeforeHeaders = 200 * time.Millisecond; stream {
					reply.HoldBeforeHeaders, reply.Interval = 0, 50*time.Millisecond
				}
				return reply
			})
			g := newGateway(t, toml, nil)
			body := ask("m", "stream", stream)
			impatient := newClient(g.api.base, g.api.key)
			impatient.http.Timeout = 100 * time.Millisecond
			if resp, err := impatient.unread(chatPath, body, keyedBy("left")); err == nil {
				if _, err = io.ReadAll(resp.Body); err == nil {
					t.Fatal("the answer came too soon")
				}
				resp.Body.Close()
			}
			<-arrived
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				resp, text := g.api.as(t, chatPath, body, keyedBy("left"))
				if resp.StatusCode == 409 && time.Now().Before(deadline) {
					continue
				}
				if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Idempotent") != "replayed" || stream && !strings.HasSuffix(text, "data: [DONE]\n\n") {
					t.Errorf("%d %v %s", resp.StatusCode, resp.Header, text)
				}
				break
			}
			if u := g.api.lastUsage(t); up[0].Count() != 1 || u["outcome"] != "ok" {
				t.Errorf("asked %d times; usage %v", up[0].Count(), u)
			}
			if got := g.api.balance(t); got != "999.99994" {
				t.Errorf("balance %s", got)
			}
		})
	}
}

// TestL9DrainWithoutClient stops a gateway while it makes an answer whose client has left and may come again for it: at the limit the
// request is cut and settled as any other.
func TestL9DrainWithoutClient(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprint("stream ", stream), func(t *testing.T) {
			t.Parallel()
			up, toml := upstreams(t, 1)
			g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1), nil)
			up[0].Script(func(r *scripted.Request) *scripted.Reply {
				reply := r.Default()
				if reply.HoldBeforeHeaders = time.Minute; stream { // content at once, and the rest late
					reply.Chunks = append([][]byte{bytes.Join(reply.Chunks[:2], nil)}, reply.Chunks[2:]...)
					reply.HoldBeforeHeaders, reply.Interval = 0, time.Minute
				}
				return reply
			})
			impatient := newClient(g.api.base, g.api.key)
			impatient.http.Timeout = 100 * time.Millisecond
			if resp, err := impatient.unread(chatPath, ask("m", "stream", stream), keyedBy("left")); err == nil {
				io.ReadAll(resp.Body) //nolint:errcheck // until the client leaves
				resp.Body.Close()
			}
			time.Sleep(time.Second) // it is noticed
			if up[0].Count() != 1 || !up[0].Requests()[0].GoneAt().IsZero() {
				t.Fatalf("asked %d times; a request that its client may ask again for is cut", up[0].Count())
			}
			over, cancel := context.WithCancel(t.Context())
			cancel()
			err := g.engine.Finish(over)
			for n := 0; n < 5 && err != nil; n++ { // a busy machine may take its time
				err = g.engine.Finish(over)
			}
			if err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the request's record", func() bool {
				usage, _, err := g.engine.Log.Usage("default", "", 1)
				return err == nil && len(usage) == 1 && usage[0].Outcome == storage.OutcomeInterrupted
			})
		})
	}
}

// TestL9Mark comes again for requests of which nothing but the mark is left, as after a crash: one that was charged is not run again,
// one that was not is.
func TestL9Mark(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	g.api.as(t, chatPath, ask("m"), keyedBy("one"))
	id := storage.ResultID(sha256.Sum256([]byte("default\x00one")))
	result, err := g.results.Result(id)
	if err != nil || result.State != storage.ResultWhole {
		t.Fatalf("state %d, %v", result.State, err)
	}
	mark := storage.Result{Request: result.Request, Fingerprint: result.Fingerprint}
	for _, x := range []struct {
		name    string
		request storage.RequestID
		status  int
		asked   int64
	}{{"charged", result.Request, 409, 1}, {"not charged", storage.RequestID{1}, 200, 2}} {
		mark.Request = x.request
		if err := g.results.Keep(id, mark).Wait(); err != nil {
			t.Fatal(err)
		}
		resp, text := g.api.as(t, chatPath, ask("m"), keyedBy("one"))
		if resp.StatusCode != x.status || resp.Header.Get("X-Pointsman-Idempotent") != "" || up[0].Count() != x.asked {
			t.Errorf("%s: %d %s; asked %d times", x.name, resp.StatusCode, text, up[0].Count())
		}
	}
}

// deaf keeps nothing, and says so.
type deaf struct{ *badgerdb.Results }

func (deaf) Keep(storage.ResultID, storage.Result) *storage.Batch {
	b := storage.NewBatch(nil)
	b.Finish(storage.ErrLowSpace)
	return b
}

// TestL9NotKept charges nothing if the claim cannot be written, for a retry would be charged again.
func TestL9NotKept(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	before := g.api.balance(t)
	g.engine.Results = deaf{g.results}
	if resp, text := g.api.as(t, chatPath, ask("m"), keyedBy("one")); resp.StatusCode != 503 {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	resp, err := g.api.unread(chatPath, ask("m", "stream", true), keyedBy("two"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err == nil || bytes.Contains(text, []byte("[DONE]")) {
		t.Errorf("a stream looks whole: %s", text)
	}
	if u := g.api.lastUsage(t); u["outcome"] != "interrupted" || u["credits"] != "0" {
		t.Errorf("usage %v", u)
	}
	if err := g.results.Close(); err != nil {
		t.Fatal(err)
	}
	g.engine.Results = g.results
	if resp, text := g.api.as(t, chatPath, ask("m"), keyedBy("one")); resp.StatusCode != 503 {
		t.Errorf("with the results closed: %d %s", resp.StatusCode, text)
	}
	if got := g.api.balance(t); got != before {
		t.Errorf("the balance went from %s to %s", before, got)
	}
	if resp, text := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
		t.Errorf("without a key: %d %s", resp.StatusCode, text)
	}
}

// TestL9AndTheCache has a request with a key answered from the cache, and replayed as a hit.
func TestL9AndTheCache(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml+cacheOn+"hit_price = 1\n", nil)
	for _, stream := range []bool{false, true} {
		body, key := ask("m", "stream", stream), keyedBy(fmt.Sprint("of-a-hit-", stream))
		g.api.post(t, chatPath, body)
		asked := up[0].Count()
		first, made := g.api.as(t, chatPath, body, key)
		balance := g.api.balance(t)
		again, given := g.api.as(t, chatPath, body, key)
		if first.Header.Get("X-Pointsman-Cache") != "hit" || again.Header.Get("X-Pointsman-Cache") != "hit" || given != made ||
			again.Header.Get("X-Pointsman-Idempotent") != "replayed" || g.api.balance(t) != balance || up[0].Count() != asked {
			t.Errorf("%v %s\nand %v %s", first.Header, made, again.Header, given)
		}
	}
}

// An answer that is repeated holds no place among the requests at once.
func TestL9GivesLimitsBack(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml+"[limits.keys]\nconcurrent_requests = 1\n", nil)
	for range 5 {
		if resp, body := g.api.as(t, chatPath, ask("m"), keyedBy("one")); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	if n := up[0].Count(); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
}
