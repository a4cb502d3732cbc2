package bedrock

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/plugins/bedrock/eventstream"
	"github.com/pointsman/pointsman/plugins/openai/wire"
	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/providertest"
)

func TestPlaces(t *testing.T) {
	for _, test := range []struct {
		settings map[string]string
		runtime  string
		err      error
	}{
		{map[string]string{"region": "eu-central-1"}, "https://bedrock-runtime.eu-central-1.amazonaws.com", nil},
		{map[string]string{"region": "us-gov-west-1"}, "https://bedrock-runtime.us-gov-west-1.amazonaws.com", nil},
		{map[string]string{"region": "cn-north-1"}, "https://bedrock-runtime.cn-north-1.amazonaws.com.cn", nil},
		{nil, "", provider.ErrSetting},
		{map[string]string{"region": "x.evil.example/"}, "", provider.ErrSetting},
		{map[string]string{"region": "us-east-1", "guardrail": "id"}, "", provider.ErrSetting},
		{map[string]string{"region": "us-east-1", "unsupported": "ignore"}, "", provider.ErrSetting},
		{map[string]string{"region": "us-east-1", "profile": "x"}, "", provider.ErrSetting},
	} {
		p, err := placeOf("", test.settings)
		if !errors.Is(err, test.err) || err == nil && p.runtime != test.runtime {
			t.Errorf("%v: %+v, %v", test.settings, p, err)
		}
	}
}

func TestRequest(t *testing.T) {
	tool := `"tools":[{"type":"function","function":{"name":"f","description":"d"}}],`
	for _, test := range []struct{ name, body, want string }{
		{
			"turns are put together", `{"max_tokens":5,"temperature":0.5,"stop":["E"],"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"a"},
			{"role":"user","content":[{"type":"text","text":"b"},{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,AAAA"}}]}]}`,
			`{"messages":[{"role":"user","content":[{"text":"a"},{"text":"b"},{"image":{"format":"jpeg","source":{"bytes":"AAAA"}}}]}],"system":[{"text":"Be brief."}],"inferenceConfig":{"maxTokens":5,"temperature":0.5,"stopSequences":["E"]}}`,
		},
		{
			"calls and results", `{` + tool + `"tool_choice":"required","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"c2","type":"function","function":{"name":"f","arguments":"{}"}}]},
			{"role":"tool","tool_call_id":"c1","content":"one"},{"role":"tool","tool_call_id":"c2","content":"two"},{"role":"user","content":"go on"}]}`,
			`{"messages":[{"role":"user","content":[{"text":"a"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"c1","name":"f","input":{"x":1}}},{"toolUse":{"toolUseId":"c2","name":"f","input":{}}}]},` +
				`{"role":"user","content":[{"toolResult":{"toolUseId":"c1","content":[{"text":"one"}]}},{"toolResult":{"toolUseId":"c2","content":[{"text":"two"}]}},{"text":"go on"}]}],` +
				`"toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"d","inputSchema":{"json":{"type":"object","properties":{}}}}}],"toolChoice":{"any":{}}}}`,
		},
		{
			"results of nothing and of images", `{"messages":[{"role":"user","content":"a"},{"role":"tool","tool_call_id":"c1","content":""},{"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":""}]},
			{"role":"tool","tool_call_id":"c3","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}`,
			`{"messages":[{"role":"user","content":[{"text":"a"},{"toolResult":{"toolUseId":"c1","content":[{"text":"(no output)"}]}},{"toolResult":{"toolUseId":"c2","content":[{"text":"(no output)"}]}},` +
				`{"toolResult":{"toolUseId":"c3","content":[{"text":"see"},{"image":{"format":"png","source":{"bytes":"AAAA"}}}]}}]}]}`,
		},
		{
			"one tool", `{` + tool + `"tool_choice":{"type":"function","function":{"name":"f"}},"top_k":5,"messages":[{"role":"user","content":"a"}]}`,
			`{"messages":[{"role":"user","content":[{"text":"a"}]}],"toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"d","inputSchema":{"json":{"type":"object","properties":{}}}}}],"toolChoice":{"tool":{"name":"f"}}},"additionalModelRequestFields":{"top_k":5}}`,
		},
		{
			"calls without arguments", `{` + tool + `"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"c1","function":{"name":"f","arguments":""}},{"id":"c2","function":{"name":"f","arguments":" \n"}},{"id":"c3","function":{"name":"f","arguments":"null"}}]}]}`,
			`{"messages":[{"role":"user","content":[{"text":"a"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"c1","name":"f","input":{}}},{"toolUse":{"toolUseId":"c2","name":"f","input":{}}},{"toolUse":{"toolUseId":"c3","name":"f","input":{}}}]}],` +
				`"toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"d","inputSchema":{"json":{"type":"object","properties":{}}}}}]}}`,
		},
		{
			"calls before and no tool", `{` + tool + `"tool_choice":"none","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"\n\n","tool_calls":[{"id":"c1","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"one"}]}`,
			`{"messages":[{"role":"user","content":[{"text":"a"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"c1","name":"f","input":{}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"c1","content":[{"text":"one"}]}}]}],` +
				`"toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"d","inputSchema":{"json":{"type":"object","properties":{}}}}}]}}`,
		},
		{
			"calls before and no tools", `{"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"c1","function":{"name":"f","arguments":"{}"}},{"id":"c2","function":{"name":"f","arguments":"{}"}},{"id":"c3","function":{"name":"g","arguments":"{}"}}]}]}`,
			`{"messages":[{"role":"user","content":[{"text":"a"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"c1","name":"f","input":{}}},{"toolUse":{"toolUseId":"c2","name":"f","input":{}}},{"toolUse":{"toolUseId":"c3","name":"g","input":{}}}]}],` +
				`"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}}}},{"toolSpec":{"name":"g","inputSchema":{"json":{"type":"object","properties":{}}}}}]}}`,
		},
		{"no tool", `{` + tool + `"tool_choice":"none","messages":[{"role":"user","content":"a"}]}`, `{"messages":[{"role":"user","content":[{"text":"a"}]}]}`},
	} {
		got, err := converseRequest(&provider.CallRequest{Body: []byte(test.body)}, place{})
		if err != nil || string(got) != test.want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", test.name, err, got, test.want)
		}
	}
	for param, body := range map[string]string{
		"messages":                    `{"messages":[{"role":"system","content":"x"}]}`,
		"messages[0].content[0]":      `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://169.254.169.254/x"}}]}]}`,
		"messages[0].content[1].type": `{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"input_audio"}]}]}`,
		"messages[0].role":            `{"messages":[{"role":"critic","content":"x"}]}`,
		"messages[0].tool_calls":      `{"messages":[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{"}}]}]}`,
		"n":                           `{"n":2,"messages":[{"role":"user","content":"x"}]}`,
	} {
		var refused *wire.RequestError
		if _, err := converseRequest(&provider.CallRequest{Body: []byte(body)}, place{}); !errors.As(err, &refused) || refused.Param != param {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestConformance(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "):
			w.WriteHeader(http.StatusForbidden)
		case strings.HasSuffix(r.URL.Path, "/converse-stream"):
			b := eventstream.Append(nil, []byte(`{"role":"assistant"}`), ":event-type", "messageStart")
			b = eventstream.Append(b, []byte(`{"contentBlockIndex":0,"delta":{"text":"x"}}`), ":event-type", "contentBlockDelta")
			b = eventstream.Append(b, []byte(`{"stopReason":"end_turn"}`), ":event-type", "messageStop")
			_, _ = w.Write(eventstream.Append(b, []byte(`{"usage":{"inputTokens":1,"outputTokens":1}}`), ":event-type", "metadata"))
		default:
			_, _ = w.Write([]byte(`{"output":{"message":{"role":"assistant","content":[{"text":"x"}]}},"stopReason":"end_turn","usage":{"inputTokens":1,"outputTokens":1}}`))
		}
	}))
	t.Cleanup(server.Close)
	settings := map[string]string{"region": "us-east-1"}
	providertest.Test(t, providertest.InProcess(t, New()), providertest.Case{
		Adapter: "bedrock",
		Prepare: &provider.PrepareRequest{Provider: "bedrock", BaseURL: server.URL, Settings: settings},
		Call: &provider.CallRequest{
			Provider: "bedrock", Operation: "chat", Model: "m", BaseURL: server.URL, Settings: settings, AllowPrivate: true, RequestID: "r",
			Body: []byte(`{"model":"m","messages":[{"role":"user","content":"Hi"}]}`),
		},
	})
}

// sink takes an answer.
type sink struct{ parts []string }

func (*sink) Head(int, map[string]string) error { return nil }

func (s *sink) Part(data []byte) error { s.parts = append(s.parts, string(data)); return nil }

func TestStreamThatBreaksOff(t *testing.T) {
	whole := eventstream.Append(nil, []byte(`{"contentBlockIndex":0,"delta":{"text":"x"}}`), ":event-type", "contentBlockDelta")
	for name, body := range map[string][]byte{"early end": whole, "cut": whole[:len(whole)-3], "not JSON": eventstream.Append(nil, []byte("x"), ":event-type", "messageStop")} {
		if err := stream(bytes.NewReader(body), wire.Answer{}, &sink{}); !errors.Is(err, provider.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var s sink
	body := eventstream.Append(whole, []byte(`{"message":"slow down"}`), ":exception-type", "throttlingException", ":message-type", "exception")
	if err := stream(bytes.NewReader(body), wire.Answer{}, &s); err != nil || !strings.Contains(s.parts[len(s.parts)-1], `"ThrottlingException"`) {
		t.Errorf("an exception: %q, %v", s.parts, err)
	}
}

// A call of a tool without parameters has {} as its arguments, which clients read and send back.
func TestCallsWithoutArguments(t *testing.T) {
	var body []byte
	for _, e := range [][2]string{
		{"messageStart", `{"role":"assistant"}`},
		{"contentBlockStart", `{"contentBlockIndex":0,"start":{"toolUse":{"name":"f","toolUseId":"c1"}}}`},
		{"contentBlockStop", `{"contentBlockIndex":0}`},
		{"contentBlockStart", `{"contentBlockIndex":1,"start":{"toolUse":{"name":"g","toolUseId":"c2"}}}`},
		{"contentBlockDelta", `{"contentBlockIndex":1,"delta":{"toolUse":{"input":""}}}`},
		{"contentBlockStop", `{"contentBlockIndex":1}`},
		{"contentBlockStart", `{"contentBlockIndex":2,"start":{"toolUse":{"name":"h","toolUseId":"c3"}}}`},
		{"contentBlockDelta", `{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"x\""}}}`},
		{"contentBlockDelta", `{"contentBlockIndex":2,"delta":{"toolUse":{"input":":1}"}}}`},
		{"contentBlockStop", `{"contentBlockIndex":2}`},
		{"contentBlockDelta", `{"contentBlockIndex":3,"delta":{"text":"x"}}`},
		{"contentBlockStop", `{"contentBlockIndex":3}`},
		{"messageStop", `{"stopReason":"tool_use"}`},
	} {
		body = eventstream.Append(body, []byte(e[1]), ":event-type", e[0])
	}
	var s sink
	if err := stream(bytes.NewReader(body), wire.Answer{}, &s); err != nil {
		t.Fatal(err)
	}
	type calls struct {
		Calls []struct {
			Index    int
			Function struct{ Arguments string }
		} `json:"tool_calls"`
	}
	var streamed [3]string
	for _, part := range s.parts {
		var chunk struct{ Choices []struct{ Delta calls } }
		if err := json.Unmarshal([]byte(part), &chunk); err != nil {
			t.Fatal(err)
		}
		for _, call := range chunk.Choices[0].Delta.Calls {
			streamed[call.Index] += call.Function.Arguments
		}
	}
	if streamed != [3]string{`{}`, `{}`, `{"x":1}`} {
		t.Errorf("streamed: %q", streamed)
	}
	whole, err := completion([]byte(`{"output":{"message":{"role":"assistant","content":[{"toolUse":{"name":"f","toolUseId":"c1"}},{"toolUse":{"name":"f","toolUseId":"c2","input":null}},{"toolUse":{"name":"f","toolUseId":"c3","input":{"x":1}}}]}}}`), wire.Answer{})
	var answer struct{ Choices []struct{ Message calls } }
	if err != nil || json.Unmarshal(whole, &answer) != nil {
		t.Fatal(err)
	}
	for i, want := range []string{`{}`, `{}`, `{"x":1}`} {
		if got := answer.Choices[0].Message.Calls[i].Function.Arguments; got != want {
			t.Errorf("call %d of a whole answer: %q", i, got)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(`{"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"function":{"arguments":"{}"}}]}],"tools":[{}],"tool_choice":"auto"}`)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := converseRequest(&provider.CallRequest{Body: []byte(body)}, place{})
		var refused *wire.RequestError
		if err == nil && !json.Valid(got) || err != nil && !errors.As(err, &refused) {
			t.Errorf("%s, %v", got, err)
		}
	})
}
