package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// operationModels is the configuration of models of every mode at so many scripted providers, and of one that can chat.
func operationModels(t testing.TB, n int) ([]*scripted.Server, string) {
	t.Helper()
	up, toml := upstreams(t, n)
	toml += "[tariff]\nmarkup_percent = { enterprise = 0 }\n"
	model := func(name, mode, rates, prices string) {
		toml += fmt.Sprintf("[[models]]\nname = %q\nmode = %q\ntier = 1\ncontext_window = 1000\n%s\n", name, mode, rates)
		for i := range n {
			toml += fmt.Sprintf("[[models.deployments]]\nprovider = \"up%d\"\nupstream = \"%s-up%d\"\n%s\n", i, name, i, prices)
		}
	}
	model("e", "embedding", "credits_per_1k = 0.002", "usd_in_per_1m = 1.0")
	model("e2", "embedding", "credits_per_1k = 0.002", "usd_in_per_1m = 1.0")
	model("img", "image", "credits_per_unit = 2", "usd_per_image = 0.04")
	model("img-tokens", "image", "credits_per_1k = 1\nmax_output = 5000", "usd_in_per_1m = 5.0\nusd_out_per_1m = 40.0")
	model("tts", "speech", "credits_per_unit = 1000", "usd_per_1m_characters = 15")
	model("stt", "transcription", "credits_per_usd = 100", "usd_per_minute = 0.006")
	model("mod", "moderation", "credits_per_unit = 0.01", "usd_per_request = 0.001")
	model("rank", "rerank", "credits_per_unit = 0.5", "usd_per_search = 0.002")
	return up, toml
}

func fails(status int) func(*scripted.Request) *scripted.Reply {
	return func(*scripted.Request) *scripted.Reply {
		return &scripted.Reply{Status: status, Body: []byte(`{"error":{"message":"sorry"}}`)}
	}
}

func repliesWith(body string) func(*scripted.Request) *scripted.Reply {
	return func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Body: []byte(body)} }
}

// decided is the explanation of a request's decision.
func decided(t testing.TB, g *testGateway, resp *http.Response) (x engine.Explanation) {
	t.Helper()
	if err := g.api.call("GET", "/api/v1/llm/decisions/"+resp.Header.Get("X-Request-Id"), nil, &x); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestEmbeddingsForwardChargeAndRecord(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, toml, nil)
	for _, family := range []string{"/v1", "/api/v1", "/api/v1/llm"} {
		before := up[0].Count()
		resp, body := g.api.post(t, family+"/embeddings", []byte(`{"input": [[1, 2,3],[4]], "model":"e", "encoding_format":"base64","dimensions":3,"x":1.50,"pointsman":{"session":"s"}}`))
		want := `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.25,-0.5,0.75]}],"model":"e-up0",` +
			`"usage":{"prompt_tokens":10,"total_tokens":10,"cost":0.00001,"credits":"0.00002","is_byok":false}}`
		if resp.StatusCode != 200 || body != want {
			t.Fatalf("%d %s\nwant %s", resp.StatusCode, body, want)
		}
		if got := resp.Header.Get("X-Pointsman-Credits"); got != "0.00002" {
			t.Errorf("credits %s", got)
		}
		sent := up[0].Requests()[before]
		if want := `{"input": [[1, 2,3],[4]], "model":"e-up0", "encoding_format":"base64","dimensions":3,"x":1.50}`; string(sent.Body) != want || !strings.HasSuffix(sent.Path, "/v1/embeddings") {
			t.Errorf("the provider got %s %s\nwant %s", sent.Path, sent.Body, want)
		}
		u := g.api.lastUsage(t)
		if u["endpoint"] != "embeddings" || u["credits"] != "0.00002" || u["input_tokens"] != 10.0 || u["output_tokens"] != 0.0 || u["estimated"] != false || u["outcome"] != "ok" {
			t.Errorf("usage %v", u)
		}
		if x := decided(t, g, resp); len(x.Attempts) != 1 || x.Reproduced == nil || !*x.Reproduced {
			t.Errorf("explanation %+v", x)
		}
	}
	if got := g.api.balance(t); got != "999.99994" {
		t.Errorf("balance %s", got)
	}
}

func TestEmbeddingsUsageIsTakenOrEstimated(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, toml, nil)
	for name, tc := range map[string]struct {
		usage     string
		tokens    float64
		estimated bool
	}{
		"as OpenAI":       {`,"usage":{"prompt_tokens":40,"total_tokens":40}`, 40, false},
		"the total alone": {`,"usage":{"total_tokens":40}`, 40, false},
		"above the window of one text, two given": {`,"usage":{"prompt_tokens":1500,"total_tokens":1500}`, 1500, false},
		"beyond what is possible":                 {`,"usage":{"prompt_tokens":99999,"total_tokens":99999}`, 2000, false},
		"none":                                    {``, 6, true},
	} {
		up[0].Script(repliesWith(`{"data":[]` + tc.usage + `}`))
		resp, body := g.api.post(t, "/v1/embeddings", map[string]any{"model": "e", "input": []string{"hello", "world"}})
		if u := g.api.lastUsage(t); resp.StatusCode != 200 || u["input_tokens"] != tc.tokens || u["estimated"] != tc.estimated || !strings.Contains(body, `"credits":"`) {
			t.Errorf("%s: %d %s: %v", name, resp.StatusCode, body, u)
		}
	}
}

func TestEmbeddingsNeedAModel(t *testing.T) {
	_, toml := operationModels(t, 1)
	g := newGateway(t, toml, nil)
	for _, model := range []any{nil, "auto", "eco", "auto/custom"} {
		resp, body := g.api.post(t, "/v1/embeddings", map[string]any{"model": model, "input": "x"})
		if resp.StatusCode != 400 || !strings.Contains(body, `"code":"model_required"`) || !strings.Contains(body, "do not mix") {
			t.Errorf("%v: %d %s", model, resp.StatusCode, body)
		}
	}
	for path, model := range map[string]string{"/v1/embeddings": "m", chatPath: "e", "/v1/rerank": "e"} {
		body := ask(model, "input", "x", "query", "q", "documents", []string{"d"})
		if resp, text := g.api.post(t, path, body); resp.StatusCode != 404 || !strings.Contains(text, "model_not_found") {
			t.Errorf("%s of %s: %d %s", path, model, resp.StatusCode, text)
		}
	}
}

// Vectors of different models do not mix: whatever the plan says, only deployments of the named model are tried.
func TestEmbeddingsFallBackWithinTheirModelOnly(t *testing.T) {
	up, toml := operationModels(t, 2)
	g := newGateway(t, toml, nil)
	up[0].Script(fails(500))
	for _, extra := range []map[string]any{{}, {"power_level": "eco"}, {"pointsman": map[string]any{"policy": "eco"}}} {
		body := map[string]any{"model": "e", "input": "x"}
		for k, v := range extra {
			body[k] = v
		}
		resp, text := g.api.post(t, "/v1/embeddings", body)
		if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Provider") != "up1" || resp.Header.Get("X-Pointsman-Model") != "e" {
			t.Errorf("%v: %d %s", extra, resp.StatusCode, text)
		}
	}
	up[1].Script(fails(500))
	resp, text := g.api.post(t, "/v1/embeddings", map[string]any{"model": "e", "input": "x", "power_level": "eco"})
	if resp.StatusCode < 500 {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	for _, s := range up {
		for _, r := range s.Requests() {
			if !strings.HasPrefix(r.Model, "e-up") {
				t.Errorf("model %s was asked", r.Model)
			}
		}
	}
	for _, o := range decided(t, g, resp).Candidates {
		if o.Model != "e" && o.Reason != "mode" && o.Reason != "not_requested" {
			t.Errorf("%s is out because of %q", o.Model, o.Reason)
		}
	}
}

// There is nothing to classify, judge or escalate about embeddings: policies that would are gone on without.
func TestEmbeddingsUnderPoliciesWithRounds(t *testing.T) {
	t.Parallel()
	for example, models := range map[string]string{
		"classifier": "classifier = \"e\"\nweak = \"e\"\nstrong = \"e\"\n", "cascade": "cheap = \"e\"\njudge = \"e\"\nstrong = \"e\"\n", "escalate": "",
	} {
		t.Run(example, func(t *testing.T) {
			up, toml := operationModels(t, 1)
			g := newGateway(t, toml+fmt.Sprintf("[policies.p]\nfile = %q\ngrants = [\"features\", \"text\", \"side_calls\"]\n[policies.p.config]\n%s", examplePolicy(t, example), models), nil)
			resp, body := g.api.post(t, "/v1/embeddings", map[string]any{"model": "e", "input": "x", "pointsman": map[string]any{"policy": "p"}})
			if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Attempts") != "1" || up[0].Count() != 1 {
				t.Errorf("%d, %s attempts: %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Attempts"), body)
			}
			if u := g.api.lastUsage(t); u["credits"] != "0.00002" {
				t.Errorf("usage %v", u)
			}
		})
	}
}

func TestEmbeddingsWithoutCreditsAndWithAnOwnKey(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, toml+"[accounts]\ndefault_credits = 0\n", nil)
	body := map[string]any{"model": "e", "input": "x"}
	if resp, text := g.api.post(t, "/v1/embeddings", body); resp.StatusCode != 402 {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if up[0].Count() != 0 {
		t.Error("the provider was asked")
	}
	if err := g.api.call("PUT", "/api/v1/llm/byok/up0", map[string]string{"key": "sk-own-canary-123456"}, nil); err != nil {
		t.Fatal(err)
	}
	resp, text := g.api.post(t, "/v1/embeddings", body)
	if resp.StatusCode != 200 || !strings.Contains(text, `"is_byok":true`) || up[0].Requests()[0].Authorization != "Bearer sk-own-canary-123456" {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

func TestSimulatorEmbeds(t *testing.T) {
	g := newGateway(t, "", nil)
	var vectors [2][]float64
	for i := range vectors {
		var answer struct {
			Data  []struct{ Embedding []float64 }
			Usage struct {
				Prompt int `json:"prompt_tokens"`
			}
		}
		if err := g.api.call("POST", "/v1/embeddings", map[string]any{"model": "text-embedding-3-small", "input": []string{"points and signals"}, "dimensions": 64}, &answer); err != nil {
			t.Fatal(err)
		}
		vectors[i] = answer.Data[0].Embedding
		length := 0.0
		for _, x := range vectors[i] {
			length += x * x
		}
		if len(vectors[i]) != 64 || math.Abs(length-1) > 1e-5 || answer.Usage.Prompt == 0 {
			t.Errorf("%d dimensions, length %f, %+v", len(vectors[i]), length, answer.Usage)
		}
	}
	if fmt.Sprint(vectors[0]) != fmt.Sprint(vectors[1]) {
		t.Error("the same text has two vectors")
	}
	resp, text := g.api.post(t, "/v1/embeddings", map[string]any{"model": "text-embedding-3-small", "input": "x", "encoding_format": "base64", "dimensions": 8})
	_, encoded, _ := strings.Cut(text, `"embedding":"`)
	encoded, _, _ = strings.Cut(encoded, `"`)
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) != 4*8 || resp.Header.Get("X-Pointsman-Simulated") != "true" {
		t.Errorf("%v, %d bytes: %s", err, len(raw), text)
	}
}

// Each operation is passed through byte for byte, charged by its unit and settled once.
func TestOperationsAreChargedByTheirUnit(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, toml, nil)
	documents := make([]string, 250)
	for name, tc := range map[string]struct {
		path, model   string
		fields        map[string]any
		answer        string
		credits, cost string
		estimated     bool
		tokens        float64
	}{
		"images":                 {"/v1/images/generations", "img", map[string]any{"prompt": "a train", "n": 2}, `{"created":1, "data":[{"url":"a"},{"url":"b"}]}`, "4", "0.08", false, 0},
		"fewer images":           {"/v1/images/generations", "img", map[string]any{"prompt": "a train", "n": 2}, `{"data":[{"url":"a"}]}`, "2", "0.04", false, 0},
		"more images":            {"/v1/images/generations", "img", map[string]any{"prompt": "a train"}, `{"data":[{},{},{}]}`, "2", "0.04", false, 0},
		"images by their tokens": {"/v1/images/generations", "img-tokens", map[string]any{"prompt": "a train"}, `{"data":[{"b64_json":"eA=="}],"usage":{"input_tokens":20,"output_tokens":980,"total_tokens":1000}}`, "1", "0.0393", false, 20},
		"moderations":            {"/v1/moderations", "mod", map[string]any{"input": []any{map[string]any{"type": "text", "text": "x"}}}, `{"id":"modr-1","results":[{"flagged":false}]}`, "0.01", "0.001", false, 0},
		"rerank":                 {"/v1/rerank", "rank", map[string]any{"query": "q", "documents": []string{"a", "b"}, "top_n": 1}, `{"results":[{"index":0,"relevance_score":0.5}]}`, "0.5", "0.002", false, 0},
		"rerank of many":         {"/v1/rerank", "rank", map[string]any{"query": "q", "documents": documents}, `{"results":[]}`, "1.5", "0.006", true, 0},
		"rerank, told searches":  {"/v1/rerank", "rank", map[string]any{"query": "q", "documents": documents}, `{"results":[],"meta":{"billed_units":{"search_units":2}}}`, "1", "0.004", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			up[0].Script(repliesWith(tc.answer))
			tc.fields["model"] = tc.model
			resp, body := g.api.post(t, tc.path, tc.fields)
			if resp.StatusCode != 200 || body != tc.answer {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			if got, cost := resp.Header.Get("X-Pointsman-Credits"), resp.Header.Get("X-Pointsman-Cost-Usd"); got != tc.credits || cost != tc.cost {
				t.Errorf("credits %s, cost %s", got, cost)
			}
			u := g.api.lastUsage(t)
			if u["credits"] != tc.credits || u["estimated"] != tc.estimated || u["outcome"] != "ok" || u["input_tokens"] != tc.tokens {
				t.Errorf("usage %v", u)
			}
			sent := up[0].Requests()[len(up[0].Requests())-1]
			if sent.Model != tc.model+"-up0" || !strings.HasSuffix(sent.Path, tc.path) {
				t.Errorf("asked %s of %s", sent.Path, sent.Model)
			}
			if g.api.balanceHeld(t) != "0" {
				t.Error("a hold stayed open")
			}
		})
	}
}

func TestOperationsReserveTheirWorstCase(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, toml+"[accounts]\ndefault_credits = 3.9\n", nil)
	resp, body := g.api.post(t, "/v1/images/generations", map[string]any{"model": "img", "prompt": "a train", "n": 2})
	if resp.StatusCode != 402 || up[0].Count() != 0 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	up[0].Script(repliesWith(`{"data":[{}]}`))
	if resp, body = g.api.post(t, "/v1/images/generations", map[string]any{"model": "img", "prompt": "a train"}); resp.StatusCode != 200 || g.api.balance(t) != "1.9" {
		t.Errorf("%d %s, balance %s", resp.StatusCode, body, g.api.balance(t))
	}
}

func TestOperationsFallBack(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]*scripted.Reply{
		"500":             {Status: 500, Body: []byte(`{}`)},
		"HTML":            {Header: map[string]string{"Content-Type": "text/html"}, Body: []byte("<html>")},
		"an error in 200": {Body: []byte(`{"error":{"message":"quota","code":500}}`)},
		"no answer":       {Body: []byte(`{"created":1}`)},
	} {
		t.Run(name, func(t *testing.T) {
			up, toml := operationModels(t, 2)
			g := newGateway(t, toml, nil)
			up[0].Script(func(*scripted.Request) *scripted.Reply { return reply })
			up[1].Script(repliesWith(`{"data":[{}]}`))
			resp, body := g.api.post(t, "/v1/images/generations", map[string]any{"model": "img", "prompt": "x"})
			if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Provider") != "up1" {
				t.Errorf("images: %d %s", resp.StatusCode, body)
			}
			up[1].Script(func(*scripted.Request) *scripted.Reply {
				return &scripted.Reply{Header: map[string]string{"Content-Type": "audio/mpeg"}, Body: []byte("ID3")}
			})
			resp, body = g.api.post(t, "/v1/audio/speech", map[string]any{"model": "tts", "input": "x", "voice": "alloy"})
			if resp.StatusCode != 200 || body != "ID3" || resp.Header.Get("X-Pointsman-Provider") != "up1" {
				t.Errorf("speech: %d %s", resp.StatusCode, body)
			}
		})
	}
}

func TestProviderWithoutTheOperation(t *testing.T) {
	up, toml := upstreams(t, 1)
	toml = strings.Replace(toml, `adapter = "openai"`, `adapter = "fireworks"`, 1) + "[[models]]\nname = \"img\"\nmode = \"image\"\ntier = 1\ncredits_per_unit = 1\n" +
		"deployments = [{ provider = \"up0\", upstream = \"u\", usd_per_image = 0.04 }]\n"
	g := newGateway(t, toml, nil)
	for range 10 {
		resp, body := g.api.post(t, "/v1/images/generations", map[string]any{"model": "img", "prompt": "x"})
		if resp.StatusCode != 404 || !strings.Contains(body, `"code":"operation_not_supported"`) {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	if up[0].Count() != 0 || g.api.balance(t) != "1000" {
		t.Errorf("%d requests, balance %s", up[0].Count(), g.api.balance(t))
	}
}

func TestSpeechIsPassedOnWhileItComes(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, toml, nil)
	release := make(chan struct{})
	up[0].Script(func(*scripted.Request) *scripted.Reply {
		return &scripted.Reply{
			Header: map[string]string{"Content-Type": "audio/ogg"}, Chunks: [][]byte{[]byte("first"), []byte("\x00second")}, Interval: time.Minute, Release: release,
		}
	})
	resp, err := g.api.do("POST", "/v1/audio/speech", map[string]any{"model": "tts", "input": "Grüezi", "voice": "alloy"})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	head := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, head); err != nil || string(head) != "first" || resp.Header.Get("Content-Type") != "audio/ogg" {
		t.Fatalf("%q %v %v", head, err, resp.Header)
	}
	close(release)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "\x00second" {
		t.Errorf("%q %v", rest, err)
	}
	// Six characters, of which a million cost 1000 credits and 15 dollars.
	if u := g.api.lastUsage(t); u["credits"] != "0.006" || u["cost_usd"] != "0.00009" || u["endpoint"] != "speech" || u["estimated"] != false || resp.Header.Get("X-Pointsman-Credits") != "0.006" {
		t.Errorf("usage %v, header %s", u, resp.Header.Get("X-Pointsman-Credits"))
	}
}

func TestSpeechThatBreaksOffIsNotCharged(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, toml, nil)
	up[0].Script(func(*scripted.Request) *scripted.Reply {
		return &scripted.Reply{Header: map[string]string{"Content-Type": "audio/mpeg"}, Chunks: [][]byte{[]byte("a"), []byte("b"), []byte("c")}, Interval: 10 * time.Millisecond, Cut: scripted.CutRST, CutAfter: 2}
	})
	resp, err := g.api.do("POST", "/v1/audio/speech", map[string]any{"model": "tts", "input": "hello"})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%q looks complete", text)
	}
	resp.Body.Close()
	if u := g.api.lastUsage(t); u["credits"] != "0" || u["outcome"] != "upstream_abort" {
		t.Errorf("usage %v", u)
	}
}

func TestListenerThatLeavesIsSettled(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, strings.ReplaceAll(toml, "timeout_seconds = 2", "timeout_seconds = 30"), nil)
	up[0].Script(func(*scripted.Request) *scripted.Reply {
		return &scripted.Reply{Header: map[string]string{"Content-Type": "audio/mpeg"}, Chunks: [][]byte{[]byte("first"), []byte("second")}, Interval: time.Minute}
	})
	resp, err := g.api.do("POST", "/v1/audio/speech", map[string]any{"model": "tts", "input": "hello"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	select {
	case <-up[0].Requests()[0].Gone():
	case <-time.After(5 * time.Second):
		t.Fatal("the provider's connection stayed open")
	}
	if u := g.api.lastUsage(t); u["outcome"] != "client_abort" || u["credits"] != "0.005" {
		t.Errorf("usage %v", u)
	}
}

// sendForm sends a form with a file.
func (c *client) sendForm(t testing.TB, path string, fields map[string]string, file []byte) (*http.Response, string, []byte) {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, value := range fields {
		w.WriteField(name, value) //nolint:errcheck // into a buffer
	}
	if file != nil {
		part, _ := w.CreateFormFile("file", "a.wav") // into a buffer
		part.Write(file)                             //nolint:errcheck // into a buffer
	}
	w.Close() //nolint:errcheck // into a buffer
	sent := bytes.Clone(body.Bytes())
	req, err := http.NewRequest("POST", c.base+path, &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", w.FormDataContentType())
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text), sent
}

// wav is so many seconds of silence at 8,000 samples a second.
func wav(seconds int) []byte {
	b := []byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00")
	b = binary.LittleEndian.AppendUint32(b, 8000)
	b = binary.LittleEndian.AppendUint32(b, 16000)
	b = append(b, "\x02\x00\x10\x00data\x00\x00\x00\x00"...)
	return append(b, make([]byte, 16000*seconds-len(b))...)
}

func TestTranscriptionsAreChargedByTheMinute(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, toml, nil)
	compressed := bytes.Repeat([]byte{0xff}, 480_000) // a minute at 64 kbit/s, eight at 8 kbit/s
	for name, tc := range map[string]struct {
		path, kind, answer string
		file               []byte
		credits            string
		estimated          bool
	}{
		"billed seconds":       {"/v1/audio/transcriptions", "application/json", `{"text":"hi","usage":{"type":"duration","seconds":30}}`, wav(60), "0.3", false},
		"verbose":              {"/v1/audio/translations", "application/json", `{"text":"hi","duration":30.0,"language":"en"}`, wav(60), "0.3", false},
		"PCM tells its length": {"/v1/audio/transcriptions", "application/json", `{"text":"hi"}`, wav(60), "0.6", true},
		"compressed":           {"/v1/audio/transcriptions", "text/plain; charset=utf-8", "hi\n", compressed, "0.6", true},
		"never above the hold": {"/v1/audio/transcriptions", "application/json", `{"text":"hi","duration":99999}`, compressed, "4.8", false},
	} {
		t.Run(name, func(t *testing.T) {
			up[0].Script(func(*scripted.Request) *scripted.Reply {
				return &scripted.Reply{Header: map[string]string{"Content-Type": tc.kind}, Body: []byte(tc.answer)}
			})
			resp, body, sent := g.api.sendForm(t, tc.path, map[string]string{"model": "stt"}, tc.file)
			if resp.StatusCode != 200 || body != tc.answer || resp.Header.Get("Content-Type") != tc.kind {
				t.Fatalf("%d %s %v", resp.StatusCode, body, resp.Header)
			}
			got := up[0].Requests()[len(up[0].Requests())-1]
			if want := bytes.Replace(sent, []byte("\r\n\r\nstt\r\n"), []byte("\r\n\r\nstt-up0\r\n"), 1); !bytes.Equal(got.Body, want) || !strings.HasSuffix(got.Path, tc.path) {
				t.Errorf("the provider got %d bytes at %s, want %d", len(got.Body), got.Path, len(want))
			}
			if u := g.api.lastUsage(t); u["credits"] != tc.credits || u["estimated"] != tc.estimated {
				t.Errorf("usage %v", u)
			}
		})
	}
}

func TestFormsThatCannotBeTranscribed(t *testing.T) {
	up, toml := operationModels(t, 1)
	g := newGateway(t, toml, nil)
	for name, tc := range map[string]struct {
		fields map[string]string
		file   []byte
		status int
		code   string
	}{
		"no model":     {nil, wav(1), 400, "invalid_value"},
		"no file":      {map[string]string{"model": "stt"}, nil, 400, "invalid_value"},
		"a chat model": {map[string]string{"model": "m"}, wav(1), 404, "model_not_found"},
		"a level":      {map[string]string{"model": "eco"}, wav(1), 400, "model_required"},
		"another host": {map[string]string{"model": "stt", "api_base": "http://x"}, wav(1), 400, "unknown_parameter"},
	} {
		if resp, body, _ := g.api.sendForm(t, "/v1/audio/transcriptions", tc.fields, tc.file); resp.StatusCode != tc.status || !strings.Contains(body, `"code":"`+tc.code+`"`) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	if resp, body := g.api.post(t, "/v1/audio/transcriptions", map[string]any{"model": "stt"}); resp.StatusCode != 415 || !strings.Contains(body, "unsupported_media_type") {
		t.Errorf("JSON: %d %s", resp.StatusCode, body)
	}
	if up[0].Count() != 0 {
		t.Error("the provider was asked")
	}
}
