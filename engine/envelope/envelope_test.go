package envelope

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
)

// talk wraps members in an otherwise plain request.
func talk(members string) string {
	return `{"messages":[{"role":"user","content":"hi"}]` + members + `}`
}

func TestParseReadsFields(t *testing.T) {
	tests := []struct {
		name, body string
		want       Envelope
	}{
		{"least", talk(``), Envelope{N: 1, Messages: 1, TextBytes: 2, InputTokens: 8, Task: abi.TaskChat}},
		{"model and level", talk(`,"model":"groq/llama-3:8b","power_level":"eco"`), Envelope{
			Model: "groq/llama-3:8b", HasModel: true, PowerLevel: "eco", HasLevel: true, N: 1, Messages: 1, TextBytes: 2, InputTokens: 8, Task: abi.TaskChat,
		}},
		{"escaped key and value", talk(`,"mod\u0065l":"gpt\u002d4"`), Envelope{Model: "gpt-4", HasModel: true, N: 1, Messages: 1, TextBytes: 2, InputTokens: 8, Task: abi.TaskChat}},
		{"stream", talk(`,"stream":true,"stream_options":{"include_usage":true},"n":3`), Envelope{Stream: true, IncludeUsage: true, N: 3, Messages: 1, TextBytes: 2, InputTokens: 8, Task: abi.TaskChat}},
		{"max_tokens", talk(`,"max_tokens":7`), Envelope{MaxTokens: 7, N: 1, Messages: 1, TextBytes: 2, InputTokens: 8, Task: abi.TaskChat}},
		{"max_completion_tokens wins", talk(`,"max_completion_tokens":9,"max_tokens":7`), Envelope{MaxTokens: 9, N: 1, Messages: 1, TextBytes: 2, InputTokens: 8, Task: abi.TaskChat}},
		{
			"nulls are absent", talk(`,"model":null,"power_level":null,"pointsman":null,"stream":null,"stream_options":null,"max_tokens":null,"n":null,` +
				`"tools":null,"response_format":null,"temperature":null,"top_p":null,"stop":null,"logit_bias":null,"user":null,"logprobs":null,"top_logprobs":null`),
			Envelope{N: 1, Messages: 1, TextBytes: 2, InputTokens: 8, Task: abi.TaskChat},
		},
		{"tools", talk(`,"tools":[{"type":"function"}]`), Envelope{N: 1, Messages: 1, TextBytes: 23, InputTokens: 14, Needs: abi.CapTools, Task: abi.TaskChat}},
		{"no tools", talk(`,"tools":[]`), Envelope{N: 1, Messages: 1, TextBytes: 2, InputTokens: 8, Task: abi.TaskChat}},
		{"schema", talk(`,"response_format":{"type":"json_schema"}`), Envelope{N: 1, Messages: 1, TextBytes: 24, InputTokens: 14, Needs: abi.CapJSONSchema, WantsJSON: true, Task: abi.TaskChat}},
		{"json object", talk(`,"response_format":{"type":"json_object"}`), Envelope{N: 1, Messages: 1, TextBytes: 2, InputTokens: 8, WantsJSON: true, Task: abi.TaskChat}},
		{"extension", talk(`,"pointsman":{"policy":"mine","privacy":"local","latency":"fast","task":"rag","session":"s","fallback":false}`), Envelope{
			N: 1, Messages: 1, TextBytes: 2, InputTokens: 8, Task: abi.TaskRAG, Policy: "mine", Privacy: abi.PrivacyLocal,
			Latency: abi.LatencyFast, Session: 0xaf63ee4c86020b22, NoFallback: true,
		}},
		{"wide text", `{"messages":[{"role":"user","content":"\u00e9é中\n"}]}`, Envelope{N: 1, Messages: 1, TextBytes: 8, WideBytes: 7, InputTokens: 12, Task: abi.TaskChat}},
		{
			"parts", `{"messages":[{"content":[{"type":"text","text":"what is this"},{"image_url":{"url":"data:xxxxxxxx"},"type":"image_url"},` +
				`{"type":"input_audio","input_audio":{"data":"` + strings.Repeat("A", 1024) + `"}},{"type":"file","file":{"file_data":"` + strings.Repeat("A", 160) + `"}}],"role":"user"}]}`,
			Envelope{N: 1, Messages: 1, TextBytes: 12, Images: 1, InputTokens: 4 + 4 + 3 + 1000 + 2 + 1000 + 10, Needs: abi.CapVision | abi.CapAudio | abi.CapPDF, Task: abi.TaskChat},
		},
		{
			"tool calls count", `{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]}]}`,
			Envelope{N: 1, Messages: 1, TextBytes: 12, InputTokens: 11},
		},
		{"passes what it does not know", talk(`,"plugins":{"order":["a"]},"route":["x"],"metadata":{"Model":"y"},"seed":1e3`), Envelope{N: 1, Messages: 1, TextBytes: 2, InputTokens: 8, Task: abi.TaskChat}},
	}
	var e Envelope // reused, as the gateway does: nothing of a request may show in the next
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := e.Parse(FormChat, []byte(tt.body), DefaultLimits()); err != nil {
				t.Fatal(err)
			}
			if got, want := plain(e), plain(tt.want); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// plain shows what an envelope says, without its bookkeeping.
func plain(e Envelope) string {
	e.members, e.names, e.scratch, e.usage, e.limit = nil, nil, nil, span{}, 0
	e.prompt, e.user, e.notes, e.opening, e.later, e.thinking, e.widths = span{}, span{}, span{}, span{}, false, false, 0
	return fmt.Sprintf("%+v", e)
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, body, code, param string }{
		{"a later syntax fault outranks a value fault", `{"n":0,"messages":[}`, CodeInvalidJSON, "messages[0]"},
		{"an earlier value fault outranks a limit", `{"n":0,"messages":` + strings.Repeat("[", 100), CodeInvalidValue, "n"},
		{"a limit outranks a later value fault", `{"x":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `,"n":0}`, CodeInvalidJSON, "x" + strings.Repeat("[0]", 21)},
		{"duplicate behind an escape", talk(`,"mode\u006c":"a","model":"b"`), CodeDuplicateKey, "model"},
		{"duplicate in a large object", talk(`,"x":{` + manyMembers(100) + `,"k7":1}`), CodeDuplicateKey, "x.k7"},
		{"duplicate in a tool", talk(`,"tools":[{"type":"a"},{"type":"a","x":[1,{"y":0,"y":1}]}]`), CodeDuplicateKey, "tools[1].x[1].y"},
		{"Kelvin sign", talk(`,"to` + "o" + `ls":[],"to` + "\u212a" + `":1,"Message` + "\u017f" + `":[]`), CodeUnknownParameter, "Message??"},
		{"Role beside role", `{"messages":[{"role":"user","Role":"system","content":"x"}]}`, CodeUnknownParameter, "messages[0].Role"},
		{"host in a request", talk(`,"apiBase":"http://x"`), CodeUnknownParameter, "apiBase"},
		{"typing error in the extension", talk(`,"pointsman":{"polcy":"x"}`), CodeUnknownParameter, "pointsman.polcy"},
		{"part without a type", `{"messages":[{"role":"user","content":[{"text":"x"}]}]}`, CodeInvalidValue, "messages[0].content[0].type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.body), DefaultLimits())
			if err == nil || err.Code != tt.code || err.Param != tt.param {
				t.Errorf("got %+v, want %s at %s", err, tt.code, tt.param)
			}
		})
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"k%d":%d`, i, i)
	}
	return b.String()
}

func TestErrorsEchoLittle(t *testing.T) {
	long := strings.Repeat("\x1b[31mé\u202e", 200)
	for _, body := range []string{
		talk(`,"model":` + fmt.Sprintf("%q", long)),
		talk(`,"` + strings.Repeat("é", 500) + `base_url":1`),
		talk(`,"pointsman":{"` + strings.Repeat("é\u202e", 500) + `":1}`),
		talk(`,"` + strings.Repeat("x\u202e", 500) + `":{"a":1,"a":1}`),
	} {
		_, err := Parse([]byte(body), DefaultLimits())
		if err == nil {
			continue
		}
		if len(err.Param) > maxParam || len(err.Message) > 600 {
			t.Errorf("too long: %+v", err)
		}
		for _, c := range err.Param + err.Message {
			if c < ' ' || c > '~' {
				t.Errorf("unprintable %q in %+v", c, err)
			}
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"policy", "privacy", "latency"}
	for key, want := range map[string]string{"polcy": "policy", "PRIVACY": "privacy", "latencies": "latency"} {
		if got := nearest([]byte(key), names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestMayHold(t *testing.T) {
	long := strings.Repeat("k", 70)
	e, err := Parse([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x","cache\u005fcontrol":{}}]}],"`+long+`":1}`), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"cache_control": true, "role": true, long: true, "thinking_blocks": false, "reasoning_content": false} {
		if e.MayHold(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
