package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// upstreams starts n scripted providers and returns the configuration of a model "m" deployed at all of them, in order.
func upstreams(t testing.TB, n int) ([]*scripted.Server, string) {
	t.Helper()
	var servers []*scripted.Server
	var providers, deployments strings.Builder
	for i := range n {
		s, err := scripted.Start(scripted.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		servers = append(servers, s)
		fmt.Fprintf(&providers, "[providers.up%d]\nadapter = \"openai\"\nbase_url = %q\napi_key = \"sk-platform-%d-canary\"\nallow_private = true\ntimeout_seconds = 2\n", i, s.URL()+"/v1", i)
		fmt.Fprintf(&deployments, "[[models.deployments]]\nprovider = \"up%d\"\nupstream = \"gpt-up%d\"\nusd_in_per_1m = 1.0\nusd_out_per_1m = 2.0\n", i, i)
	}
	return servers, "[catalog]\nbuiltin = false\n[simulator]\nenabled = false\n" + providers.String() +
		"[[models]]\nname = \"m\"\ntier = 1\ncredits_per_1k = 0.002\ncontext_window = 128000\ncapabilities = [\"tools\", \"json_schema\"]\n" + deployments.String()
}

func ask(model string, extra ...any) map[string]any {
	body := map[string]any{"model": model, "max_tokens": 100, "messages": user("Hello")}
	for i := 0; i < len(extra); i += 2 {
		body[extra[i].(string)] = extra[i+1]
	}
	return body
}

const chatPath = "/v1/chat/completions"

func (c *client) balance(t testing.TB) string {
	t.Helper()
	text, err := demoBalance(c)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// lastUsage returns the caller's newest usage entry.
func (c *client) lastUsage(t testing.TB) map[string]any {
	t.Helper()
	for range 200 { // a client that left may ask before the end of its request is recorded
		var page struct{ Data []map[string]any }
		if err := c.call("GET", "/api/v1/llm/usage?limit=1", nil, &page); err != nil {
			t.Fatal(err)
		}
		if len(page.Data) > 0 {
			return page.Data[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no usage is recorded")
	return nil
}

func TestChatForwardsChargesAndRecords(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	resp, body := g.api.post(t, chatPath, []byte(`{"model": "m",  "x_unknown":[1, 2.50],"power_level":"eco","max_tokens":100,"messages":[{"role":"user","content":"Hi"}],"pointsman":{"fallback":false}}`))
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	for name, want := range map[string]string{
		"X-Pointsman-Model": "m", "X-Pointsman-Provider": "up0", "X-Pointsman-Policy": "custom", "X-Pointsman-Power-Level": "eco", "X-Pointsman-Tier": "1",
		"X-Pointsman-Attempts": "1", "X-Pointsman-Credits": "0.00006", "X-Pointsman-Cost-Usd": "0.00005",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	sent := up[0].Requests()[0]
	if want := `{"model": "gpt-up0",  "x_unknown":[1, 2.50],"max_tokens":100,"messages":[{"role":"user","content":"Hi"}]}`; string(sent.Body) != want {
		t.Errorf("the provider got %s\nwant            %s", sent.Body, want)
	}
	if sent.Authorization != "Bearer sk-platform-0-canary" {
		t.Errorf("authorization %q", sent.Authorization)
	}
	if got := g.api.balance(t); got != "999.99994" {
		t.Errorf("balance %s", got)
	}
	u := g.api.lastUsage(t)
	if u["request_id"] != resp.Header.Get("X-Request-Id") || u["credits"] != "0.00006" || u["outcome"] != "ok" || u["input_tokens"] != 10.0 || u["output_tokens"] != 20.0 || u["estimated"] != false {
		t.Errorf("usage %v", u)
	}
}

// Large requests reach each provider that is tried as the client sent them, but for the name of the model, wherever that stands.
func TestLargeRequestsAreForwardedByteForByte(t *testing.T) {
	up, toml := upstreams(t, 2)
	g := newGateway(t, toml, nil)
	up[0].Script(func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Status: http.StatusServiceUnavailable} })
	for _, size := range []int{20 << 10, 300 << 10, 3 << 20} {
		text := strings.Repeat(`größer, \"plain\" and\nlong `, size/30)
		for name, body := range map[string]string{
			"the model first": `{"model": "m", "messages":[{"role":"user","content":"` + text + `"}],"max_tokens":100, "x_unknown":[1, 2.50]}`,
			"the model last":  `{"messages":[{"role":"user","content":"` + text + `"}],"max_tokens":100,"model":"m" }`,
			"two large parts": `{"messages":[{"role":"system","content":"` + text + `"}],"max_tokens":100,"model":"m","x_unknown":"` + text + `"}`,
		} {
			t.Run(fmt.Sprintf("%s, %d bytes", name, len(body)), func(t *testing.T) {
				before := [2]int64{up[0].Count(), up[1].Count()}
				if resp, answer := g.api.post(t, chatPath, []byte(body)); resp.StatusCode != http.StatusOK {
					t.Fatalf("%d %.300s", resp.StatusCode, answer)
				}
				for i, u := range up {
					if u.Count() == before[i] {
						continue // its circuit is open
					}
					all := u.Requests()
					name := fmt.Sprintf(`"gpt-up%d"`, i)
					if sent := string(all[len(all)-1].Body); sent != strings.Replace(body, `"m"`, name, 1) {
						t.Errorf("provider %d got %d bytes, which begin with %.100q and end with %q", i, len(sent), sent, sent[max(0, len(sent)-100):])
					}
				}
				if up[1].Count() == before[1] {
					t.Error("the second provider was not asked")
				}
			})
		}
	}
	if up[0].Count() == 0 {
		t.Error("the first provider was never asked")
	}
}

func TestStreamIsByteForByteWhatTheProviderSent(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	chunks := scripted.OpenAIChunks("gpt-up0", []string{"Hel", "lo"}, scripted.UsageNone)
	up[0].Script(func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Chunks: chunks} })
	_, body := g.api.post(t, chatPath, ask("m", "stream", true))
	var want strings.Builder
	for _, c := range chunks {
		want.Write(c)
	}
	if body != want.String() {
		t.Errorf("got  %q\nwant %q", body, want.String())
	}
	if u := g.api.lastUsage(t); u["estimated"] != true || u["output_tokens"] != 1.0 {
		t.Errorf("usage %v", u)
	}
}

func TestStreamedChargeEqualsBufferedWhateverTheStyleOfUsage(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	_, buffered := g.api.post(t, chatPath, ask("m"))
	want := g.api.lastUsage(t)["credits"]
	for style, name := range map[scripted.UsageStyle]string{
		scripted.UsageFinal: "final chunk", scripted.UsageWithFinish: "with finish", scripted.UsageAfter: "after finish", scripted.UsageEvery: "every chunk",
	} {
		for _, asked := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, asked %v", name, asked), func(t *testing.T) {
				up[0].Script(func(r *scripted.Request) *scripted.Reply {
					if !r.IncludeUsage {
						t.Error("usage was not asked of the provider")
					}
					return &scripted.Reply{Chunks: scripted.OpenAIChunks("gpt-up0", []string{"a", "b"}, style)}
				})
				_, body := g.api.post(t, chatPath, ask("m", "stream", true, "stream_options", map[string]bool{"include_usage": asked}))
				if got := g.api.lastUsage(t)["credits"]; got != want {
					t.Errorf("streamed %v, buffered %v (%s)", got, want, buffered)
				}
				if has := strings.Contains(body, `"credits":"0.00006"`); has != asked {
					t.Errorf("price in the stream: %v\n%s", has, body)
				}
				if !asked && strings.Contains(body, `"usage"`) {
					t.Errorf("usage that nobody asked for:\n%s", body)
				}
				if !strings.HasSuffix(body, "data: [DONE]\n\n") {
					t.Errorf("no end:\n%s", body)
				}
			})
		}
	}
}

func TestFallbackBeforeTheFirstContent(t *testing.T) {
	t.Parallel()
	broken := map[string]func(*scripted.Request) *scripted.Reply{
		"500": func(*scripted.Request) *scripted.Reply {
			return &scripted.Reply{Status: 500, Body: []byte(`{"error":{"message":"sorry"}}`)}
		},
		"429": func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Status: 429, Body: []byte(`{}`)} },
		"401": func(*scripted.Request) *scripted.Reply {
			return &scripted.Reply{Status: 401, Body: []byte(`{"error":{"message":"bad key sk-platform-0-canary"}}`)}
		},
		"cut before the head": func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Cut: scripted.CutRST, CutAfter: -1} },
		"HTML":                func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Body: []byte("<html>hello</html>")} },
		"silence":             func(*scripted.Request) *scripted.Reply { return &scripted.Reply{HoldBeforeHeaders: 5 * time.Second} },
		"error event after the role": func(r *scripted.Request) *scripted.Reply {
			chunks := scripted.OpenAIChunks("x", nil, scripted.UsageNone)
			return &scripted.Reply{Chunks: [][]byte{chunks[0], []byte("data: {\"error\":{\"message\":\"quota\"}}\n\n")}}
		},
		"stream that ends after the role": func(r *scripted.Request) *scripted.Reply {
			return &scripted.Reply{Chunks: scripted.OpenAIChunks("x", nil, scripted.UsageNone)[:1]}
		},
	}
	for name, reply := range broken {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stream %v", name, stream), func(t *testing.T) {
				up, toml := upstreams(t, 2)
				g := newGateway(t, toml, nil)
				up[0].Script(reply)
				resp, body := g.api.post(t, chatPath, ask("m", "stream", stream))
				if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Provider") != "up1" || resp.Header.Get("X-Pointsman-Attempts") != "2" {
					t.Fatalf("%d, provider %q, attempts %q: %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Provider"), resp.Header.Get("X-Pointsman-Attempts"), body)
				}
				if stream && strings.Count(body, `"role":"assistant"`) != 1 {
					t.Errorf("the client saw the start of the failed stream:\n%s", body)
				}
			})
		}
	}
}

func TestAllFailedTellsWhyWithoutSecrets(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		want   int
		code   string
	}{
		"auth":        {401, `{"error":{"message":"Incorrect API key sk-platform-0-canary"}}`, 502, "provider_refused_credentials"},
		"rate":        {429, `{}`, 429, "provider_rate_limited"},
		"server":      {500, `{"error":{"message":"internal path /srv/x"}}`, 502, "provider_error"},
		"overloaded":  {529, `{}`, 503, "provider_overloaded"},
		"bad request": {400, `{"error":{"message":"tools[0] is wrong","type":"invalid_request_error"}}`, 400, "provider_rejected_request"},
		"too long":    {400, `{"error":{"message":"maximum context length is 10","code":"context_length_exceeded"}}`, 400, "context_length_exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			up, toml := upstreams(t, 1)
			g := newGateway(t, toml, nil)
			up[0].Script(func(*scripted.Request) *scripted.Reply {
				return &scripted.Reply{Status: tc.status, Body: []byte(tc.body)}
			})
			resp, body := g.api.post(t, chatPath, ask("m"))
			if resp.StatusCode != tc.want || !strings.Contains(body, `"code":"`+tc.code+`"`) {
				t.Errorf("%d %s, want %d %s", resp.StatusCode, body, tc.want, tc.code)
			}
			if strings.Contains(body, "canary") || strings.Contains(body, "/srv") {
				t.Errorf("the answer tells too much: %s", body)
			}
			if got := g.api.balance(t); got != "1000" {
				t.Errorf("balance %s: a failed request was charged", got)
			}
			if u := g.api.lastUsage(t); u["outcome"] != "upstream_error" || u["error_code"] != tc.code {
				t.Errorf("usage %v", u)
			}
		})
	}
}

func TestStreamCutAfterContentDoesNotLookComplete(t *testing.T) {
	t.Parallel()
	for _, cut := range []scripted.Cut{scripted.CutFIN, scripted.CutRST, scripted.CutEOF} {
		up, toml := upstreams(t, 2)
		g := newGateway(t, toml, nil)
		up[0].Script(func(*scripted.Request) *scripted.Reply {
			return &scripted.Reply{Chunks: scripted.OpenAIChunks("x", []string{"a", "b", "c"}, scripted.UsageNone), Interval: 20 * time.Millisecond, Cut: cut, CutAfter: 3}
		})
		resp, err := g.api.do("POST", chatPath, ask("m", "stream", true))
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		lines := bufio.NewReader(resp.Body)
		for err == nil {
			var line string
			line, err = lines.ReadString('\n')
			text.WriteString(line)
		}
		resp.Body.Close()
		if err.Error() == "EOF" || strings.Contains(text.String(), "[DONE]") || !strings.Contains(text.String(), "provider_stream_error") {
			t.Errorf("cut %v: ended with %v after\n%s", cut, err, text.String())
		}
		if up[1].Count() != 0 {
			t.Error("another provider was tried after content had been sent")
		}
		if u := g.api.lastUsage(t); u["outcome"] != "upstream_abort" || u["estimated"] != true || u["credits"] == "0" {
			t.Errorf("usage %v", u)
		}
		if x := explained(t, g, resp); len(x.Attempts) != 1 || x.Attempts[0].Outcome != "server" {
			t.Errorf("a policy would learn that the attempt went well: %+v", x.Attempts)
		}
	}
}

func TestClientThatLeavesCutsTheProviderAndIsSettled(t *testing.T) {
	for name, reply := range map[string]*scripted.Reply{
		"before the head":   {HoldBeforeHeaders: 10 * time.Second},
		"before a chunk":    {HoldBeforeFirst: 10 * time.Second, Chunks: [][]byte{[]byte("data: {}\n\n")}},
		"mid-stream":        {Interval: 10 * time.Second, Chunks: scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageNone)},
		"busy mid-stream":   {Interval: 5 * time.Millisecond, Chunks: scripted.OpenAIChunks("x", make([]string, 2000), scripted.UsageNone)},
		"buffered, no head": {HoldBeforeHeaders: 10 * time.Second, Body: []byte("{}")},
	} {
		t.Run(name, func(t *testing.T) {
			up, toml := upstreams(t, 1)
			toml = strings.ReplaceAll(toml, "timeout_seconds = 2", "timeout_seconds = 30")
			g := newGateway(t, toml, nil)
			up[0].Script(func(*scripted.Request) *scripted.Reply { return reply })
			conn, err := net.Dial("tcp", strings.TrimPrefix(g.api.base, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := json.Marshal(ask("m", "stream", reply.Body == nil))
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", chatPath, g.api.key, len(body), body)
			time.Sleep(300 * time.Millisecond)
			left := time.Now()
			conn.Close()
			select {
			case <-up[0].Requests()[0].Gone():
			case <-time.After(2 * time.Second):
				t.Fatal("the provider's connection stayed open")
			}
			if took := time.Since(left); took > time.Second {
				t.Errorf("it took %v", took)
			}
			deadline := time.Now().Add(2 * time.Second)
			for g.api.balanceHeld(t) != "0" {
				if time.Now().After(deadline) {
					t.Fatal("the hold stayed open")
				}
				time.Sleep(10 * time.Millisecond)
			}
			if u := g.api.lastUsage(t); u["outcome"] != "client_abort" {
				t.Errorf("usage %v", u)
			}
		})
	}
}

func (c *client) balanceHeld(t testing.TB) string {
	t.Helper()
	var b struct {
		Held string `json:"credits_held"`
	}
	if err := c.call("GET", "/api/v1/llm/credits/balance", nil, &b); err != nil {
		t.Fatal(err)
	}
	return b.Held
}

// P03: a balance worth exactly ten requests, two hundred at once.
func TestConcurrentRequestsNeverOverspend(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml+"[accounts]\ndefault_credits = 0\n", nil)
	release := make(chan struct{})
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders, reply.Release = time.Minute, release
		return reply
	})
	alice := g.account("alice")
	held := holdOfOneRequest(t, g, up[0], release)
	release = make(chan struct{})
	if err := g.admin.call("POST", "/api/v1/admin/accounts/alice/credits", map[string]string{"amount": (10 * held).String(), "reference": "ten"}, nil); err != nil {
		t.Fatal(err)
	}
	before := up[0].Count()
	var ok, refused, other, below atomic.Int64
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				if text, err := demoBalance(alice); err == nil && strings.HasPrefix(text, "-") {
					below.Add(1)
				}
			}
		}
	}()
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 200 {
		wg.Go(func() {
			<-start
			resp, err := alice.do("POST", chatPath, ask("m"))
			if err != nil {
				other.Add(1)
				return
			}
			defer resp.Body.Close()
			switch resp.StatusCode {
			case 200:
				ok.Add(1)
			case 402:
				if refused.Add(1) == 190 {
					close(release)
				}
			default:
				other.Add(1)
			}
		})
	}
	close(start)
	wg.Wait()
	close(done)
	if ok.Load() != 10 || refused.Load() != 190 || other.Load() != 0 || up[0].Count()-before != 10 || below.Load() != 0 {
		t.Fatalf("%d answered, %d refused, %d other, %d reached the provider, balance below zero %d times", ok.Load(), refused.Load(), other.Load(), up[0].Count()-before, below.Load())
	}
}

// holdOfOneRequest learns what one request holds, from the balance of an account while its request waits.
func holdOfOneRequest(t *testing.T, g *testGateway, up *scripted.Server, release chan struct{}) storage.Credits {
	t.Helper()
	probe := g.account("probe")
	if err := g.admin.call("POST", "/api/v1/admin/accounts/probe/credits", map[string]string{"amount": "10", "reference": "x"}, nil); err != nil {
		t.Fatal(err)
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		probe.post(t, chatPath, ask("m"))
	}()
	for up.Count() == 0 {
		time.Sleep(time.Millisecond)
	}
	held, err := storage.ParseCredits(probe.balanceHeld(t))
	if err != nil || held <= 0 {
		t.Fatalf("held %v, %v", held, err)
	}
	close(release)
	<-finished
	return held
}

func TestOwnKeyIsUsedAndNotCharged(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	if err := g.api.call("PUT", "/api/v1/llm/byok/up0", map[string]string{"key": "sk-own-canary-1234"}, nil); err != nil {
		t.Fatal(err)
	}
	resp, body := g.api.post(t, chatPath, ask("m"))
	if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Credits") != "0" || !strings.Contains(body, `"is_byok":true`) {
		t.Fatalf("%d, credits %q: %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Credits"), body)
	}
	if got := up[0].Requests()[0].Authorization; got != "Bearer sk-own-canary-1234" {
		t.Errorf("authorization %q", got)
	}
	if u := g.api.lastUsage(t); u["byok"] != true || u["credits"] != "0" || g.api.balance(t) != "1000" {
		t.Errorf("usage %v", u)
	}
	var list struct{ Data []map[string]any }
	if err := g.api.call("GET", "/api/v1/llm/byok", nil, &list); err != nil || list.Data[0]["key"] != "…1234" {
		t.Errorf("listed as %v, %v", list.Data, err)
	}

	// The account's key fails: the platform's is not used in its place.
	up[0].Script(func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Status: 401, Body: []byte(`{}`)} })
	resp, body = g.api.post(t, chatPath, ask("m"))
	if resp.StatusCode != 403 || !strings.Contains(body, "provider_key_rejected") || up[0].Count() != 2 {
		t.Errorf("%d %s after %d requests", resp.StatusCode, body, up[0].Count())
	}
	if err := g.api.call("DELETE", "/api/v1/llm/byok/up0", nil, nil); err != nil {
		t.Fatal(err)
	}
	up[0].Script(nil)
	g.api.post(t, chatPath, ask("m"))
	if got := up[0].Requests()[2].Authorization; got != "Bearer sk-platform-0-canary" {
		t.Errorf("after the deletion: %q", got)
	}
}

func TestDecisionIsExplainedAndReproduced(t *testing.T) {
	_, toml := upstreams(t, 2)
	g := newGateway(t, toml, nil)
	resp, _ := g.api.post(t, chatPath, ask("eco"))
	var x struct {
		Policy     string
		Reproduced *bool
		Candidates []struct {
			Rank                     int
			In                       bool
			Model, Provider, Why     string
			Reason                   string
			CreditsPer1K, WorstCase_ string
		}
		Attempts []struct{ Provider, Outcome string }
	}
	if err := g.api.call("GET", "/api/v1/llm/decisions/"+resp.Header.Get("X-Request-Id"), nil, &x); err != nil {
		t.Fatal(err)
	}
	if x.Policy != "eco" || x.Reproduced == nil || !*x.Reproduced || len(x.Candidates) != 2 || x.Candidates[0].Rank != 1 || x.Candidates[0].Why == "" ||
		len(x.Attempts) != 1 || x.Attempts[0].Outcome != "ok" {
		t.Fatalf("%+v", x)
	}
	other := g.account("mallory")
	err := other.call("GET", "/api/v1/llm/decisions/"+resp.Header.Get("X-Request-Id"), nil, nil)
	if status, _ := statusOf(err); status != 404 {
		t.Errorf("somebody else's decision: %v", err)
	}
}

func TestClientRequestIDIsEchoedAndFound(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	for range 2 { // the same id twice is two requests
		body := strings.NewReader(`{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"x"}]}`)
		req, _ := http.NewRequest("POST", g.api.base+chatPath, body)
		req.Header.Set("Authorization", "Bearer "+g.api.key)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Request-Id", "my-own.id_1")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || resp.Header.Get("X-Request-Id") != "my-own.id_1" {
			t.Fatalf("%d, id %q", resp.StatusCode, resp.Header.Get("X-Request-Id"))
		}
	}
	if err := g.api.call("GET", "/api/v1/llm/decisions/my-own.id_1", nil, nil); err != nil {
		t.Error(err)
	}
	if got := g.api.balance(t); got != "999.99988" {
		t.Errorf("balance %s, want two charges", got)
	}
}

func TestRequestThatNoModelCanServe(t *testing.T) {
	g := newGateway(t, "", nil)
	audio := `{"model":"eco","messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}]}`
	resp, body := g.api.post(t, "/v1/chat/completions", []byte(audio))
	if resp.StatusCode != 503 || !strings.Contains(body, `"no_candidate"`) || !strings.Contains(body, `"server_error"`) || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %s %v %s", resp.Status, resp.Header, body)
	}
	_, body = g.api.send(t, "GET", "/api/v1/llm/decisions/"+resp.Header.Get("X-Request-Id"), nil)
	if !strings.Contains(body, `"decision":"reject"`) || !strings.Contains(body, `"needs":["audio"]`) || !strings.Contains(body, `"attempts":[]`) {
		t.Errorf("the explanation is %s", body)
	}
}
