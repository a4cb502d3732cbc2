package local

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/plugins/openai/wire"
	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/providertest"
)

func TestModes(t *testing.T) {
	for _, test := range []struct {
		name     string
		base     string
		settings map[string]string
		mode     provider.Mode
		drops    bool
		err      error
	}{
		{"Ollama by its port", "", nil, provider.ModeDirect, true, nil},
		{"vLLM by its port", "http://127.0.0.1:8000/v1", nil, provider.ModeDirect, false, nil},
		{"not Ollama, whatever its port", "", map[string]string{"server": "llamacpp"}, provider.ModeDirect, false, nil},
		{"native", "", map[string]string{"num_ctx": "8192"}, provider.ModeProxied, true, nil},
		{"native at another port", "http://gpu:1/v1", map[string]string{"server": "ollama", "think": "high"}, provider.ModeProxied, true, nil},
		{"kept for ever", "", map[string]string{"keep_alive": "-1"}, provider.ModeProxied, true, nil},
		{"num_ctx elsewhere", "http://127.0.0.1:8000/v1", map[string]string{"num_ctx": "8192"}, "", false, provider.ErrSetting},
		{"unknown server", "", map[string]string{"server": "olama"}, "", false, provider.ErrSetting},
		{"bad num_ctx", "", map[string]string{"num_ctx": "8k"}, "", false, provider.ErrSetting},
		{"bad keep_alive", "", map[string]string{"keep_alive": "ten"}, "", false, provider.ErrSetting},
		{"bad think", "", map[string]string{"think": "hard"}, "", false, provider.ErrSetting},
	} {
		e, err := New().Prepare(context.Background(), &provider.PrepareRequest{BaseURL: test.base, Settings: test.settings})
		if !errors.Is(err, test.err) || err == nil && (e.Mode != test.mode || (len(e.Body.Drop) > 0) != test.drops) {
			t.Errorf("%s: %+v, %v", test.name, e, err)
		}
	}
}

// Servers that are known to speak other APIs beside chat completions are asked by them.
func TestAPIs(t *testing.T) {
	for _, test := range []struct {
		name     string
		base     string
		settings map[string]string
		others   bool
	}{
		{"Ollama by its port", "", nil, true},
		{"vLLM", "http://127.0.0.1:8000/v1", map[string]string{"server": "vllm"}, true},
		{"unknown", "http://127.0.0.1:8000/v1", nil, false},
		{"llama.cpp", "http://127.0.0.1:8080/v1", map[string]string{"server": "llamacpp"}, false},
		{"native", "", map[string]string{"num_ctx": "8192"}, false},
	} {
		e, err := New().Prepare(context.Background(), &provider.PrepareRequest{BaseURL: test.base, Settings: test.settings})
		if err != nil || (e.Paths["responses"] == "/responses") != test.others || (e.Paths["messages"] == "/messages") != test.others {
			t.Errorf("%s: %+v, %v", test.name, e, err)
		}
		if test.settings == nil {
			test.settings = map[string]string{}
		}
		test.settings["api"] = "responses"
		e, err = New().Prepare(context.Background(), &provider.PrepareRequest{BaseURL: test.base, Settings: test.settings})
		if (err == nil) != (test.name != "native") || err == nil && (e.Dialect != provider.DialectResponses || e.Paths["chat"] != "/responses") {
			t.Errorf("%s by Responses: %+v, %v", test.name, e, err)
		}
	}
}

func TestTranslate(t *testing.T) {
	body := `{"model":"x","max_tokens":5,"temperature":0,"stop":"END","seed":7,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}},
	 "reasoning_effort":"low","tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"messages":[
	 {"role":"developer","content":"Be brief."},
	 {"role":"user","content":[{"type":"text","text":"What is "},{"type":"text","text":"this?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},
	 {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
	 {"role":"tool","tool_call_id":"c1","content":"sunny"}]}`
	n, err := nativeOptions(map[string]string{"num_ctx": "4096", "keep_alive": "300", "think": "false"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := translate(&provider.CallRequest{Model: "m", Stream: true, Body: []byte(body)}, n)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"What is this?","images":["AAAA"]},` +
		`{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},{"role":"tool","content":"sunny","tool_name":"f"}],` +
		`"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"format":{"type":"object"},` +
		`"options":{"num_ctx":4096,"num_predict":5,"seed":7,"stop":["END"],"temperature":0},"stream":true,"keep_alive":300,"think":"low"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// ollamaServer answers every chat with one word, and everything else with its version.
func ollamaServer(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req chatRequest
		if r.URL.Path != "/api/chat" || json.NewDecoder(r.Body).Decode(&req) != nil {
			_, _ = w.Write([]byte(`{"version":"0.40.1"}`))
			return
		}
		if req.Stream {
			_, _ = w.Write([]byte(strings.Repeat(`{"message":{"role":"assistant","content":"x"},"done":false}`+"\n", 3)))
		}
		_, _ = w.Write([]byte(`{"message":{"role":"assistant","content":"x"},"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":4}` + "\n"))
	}))
	t.Cleanup(server.Close)
	return server.URL + "/v1"
}

func TestConformance(t *testing.T) {
	base, settings := ollamaServer(t), map[string]string{"server": "ollama", "num_ctx": "8192"}
	providertest.Test(t, providertest.InProcess(t, New()), providertest.Case{
		Adapter: "local",
		Prepare: &provider.PrepareRequest{Provider: "local", BaseURL: base, Settings: settings},
		Call: &provider.CallRequest{
			Provider: "local", Operation: "chat", Model: "m", BaseURL: base, Settings: settings, AllowPrivate: true, RequestID: "r",
			Body: []byte(`{"model":"m","messages":[{"role":"user","content":"Hi"}]}`),
		},
	})
	if err := New().Probe(context.Background(), &provider.ProbeRequest{BaseURL: base, AllowPrivate: true}); err != nil {
		t.Error(err)
	}
}

// collected takes an answer.
type collected struct {
	status int
	parts  []string
}

func (c *collected) Head(status int, _ map[string]string) error { c.status = status; return nil }

func (c *collected) Part(data []byte) error { c.parts = append(c.parts, string(data)); return nil }

func TestRefusals(t *testing.T) {
	call := func(body, base string, private bool) (*collected, error) {
		var got collected
		err := New().Call(context.Background(), &provider.CallRequest{
			Operation: "chat", Model: "m", BaseURL: base, AllowPrivate: private, Body: []byte(body), Settings: map[string]string{"num_ctx": "1024"},
		}, &got)
		return &got, err
	}
	base := ollamaServer(t)
	for param, body := range map[string]string{
		`"messages[0].content[0]"`: `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://10.0.0.1/x.png"}}]}]}`,
		`"n"`:                      `{"n":2,"messages":[{"role":"user","content":"Hi"}]}`,
	} {
		if got, err := call(body, base, true); err != nil || got.status != 400 || !strings.Contains(got.parts[0], param) {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
	if _, err := call(`{"messages":[{"role":"user","content":"Hi"}]}`, base, false); err == nil || !strings.Contains(err.Error(), "allow_private") {
		t.Errorf("a loopback address without leave: %v", err)
	}
	if err := stream(strings.NewReader(`{"message":{"content":"x"},"done":false}`), wireAnswer(), &collected{}); !errors.Is(err, provider.ErrUnavailable) {
		t.Errorf("a stream that ends early: %v", err)
	}
}

func TestStream(t *testing.T) {
	var got collected
	lines := `{"message":{"thinking":"Hm."},"done":false}` + "\n" + `{"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}},{"function":{"name":"g","arguments":{}}}]},"done":false}` + "\n" +
		`{"message":{"content":""},"done":true,"done_reason":"stop","eval_count":4}`
	if err := stream(strings.NewReader(lines), wireAnswer(), &got); err != nil {
		t.Fatal(err)
	}
	head := `{"id":"i","object":"chat.completion.chunk","created":1,"model":"m","choices":[`
	want := []string{
		head + `{"index":0,"delta":{"role":"assistant","reasoning_content":"Hm."},"finish_reason":null}]}`,
		head + `{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_i_0","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"index":1,"id":"call_i_1","type":"function","function":{"name":"g","arguments":"{}"}}]},"finish_reason":null}]}`,
		head + `{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
		head + `],"usage":{"prompt_tokens":0,"completion_tokens":4,"total_tokens":4}}`,
	}
	if !reflect.DeepEqual(got.parts, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got.parts, "\n     "), strings.Join(want, "\n     "))
	}
}

func FuzzStream(f *testing.F) {
	f.Add(`{"message":{"content":"x"},"done":false}` + "\n" + `{"done":true}`)
	f.Add(`{"message":{"tool_calls":[{"function":{"name":"f"}}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var got collected
		_ = stream(strings.NewReader(text), wireAnswer(), &got)
		for _, part := range got.parts {
			if !json.Valid([]byte(part)) {
				t.Errorf("%q is not JSON", part)
			}
		}
	})
}

func wireAnswer() wire.Answer { return wire.Answer{ID: "i", Model: "m", Created: 1} }
