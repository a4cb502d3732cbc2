package envelope

import (
	"slices"
	"strings"
	"testing"
)

func TestEachText(t *testing.T) {
	for _, c := range []struct {
		name string
		form Form
		body string
		want []string
	}{
		{"a message", FormChat, `{"user":"u","model":"m","messages":[{"role":"user","content":"Hi","name":"joe"}],"metadata":{"a":"b"},"stop":"x"}`, []string{"Hi", "joe"}},
		{"escapes", FormChat, `{"messages":[{"role":"user","content":"\u00e9\"中\n"}]}`, []string{"é\"中\n"}},
		{
			"parts", FormChat, `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:abc"}},{"type":"text","text":"see"},` +
				`{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]},{"content":null,"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]}]}`,
			[]string{"see", "c1", "function", "f", "{}"},
		},
		{
			"tools and a schema", FormChat, `{"tools":[{"type":"function","function":{"name":"f"}}],"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema"}}`,
			[]string{`[{"type":"function","function":{"name":"f"}}]`, "x", `{"type":"json_schema"}`},
		},
		{"no schema", FormChat, `{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_object"}}`, []string{"x"}},
		{
			"Anthropic", FormMessages, `{"max_tokens":9,"system":[{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[` +
				`{"type":"document","source":{"type":"base64","data":"QUFB"}},{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"text","text":"Go"}]}],"tools":[{"name":"f"}]}`,
			[]string{"Be brief.", "ephemeral", "hm", "Go", `[{"name":"f"}]`},
		},
		{
			"Responses", FormResponses, `{"instructions":"short","input":[{"role":"user","content":[{"type":"input_text","text":"Hi"}]},{"type":"function_call_output","call_id":"c","output":"42"}]}`,
			[]string{"short", "Hi", "42"},
		},
		{"a text", FormResponses, `{"input":"Hi"}`, []string{"Hi"}},
		{"legacy", FormCompletions, `{"prompt":["a","b"],"suffix":"c"}`, []string{"a", "b"}},
		{"tokens", FormCompletions, `{"prompt":[1,2,3]}`, nil},
		{"embeddings", FormEmbeddings, `{"input":"abc"}`, []string{"abc"}},
	} {
		var e Envelope
		if err := e.Parse(c.form, []byte(c.body), DefaultLimits()); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		other := e.EachText([]byte(c.body), func(text []byte) { got = append(got, string(text)) })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if n := len(strings.Join(got, "")); n != e.TextBytes {
			t.Errorf("%s: %d bytes, and TextBytes says %d", c.name, n, e.TextBytes)
		}
		ascii := e.TextBytes - e.WideBytes
		if n := other + (ascii*2+6)/7 + (e.WideBytes+1)/2; n != int(e.InputTokens) {
			t.Errorf("%s: %d tokens, and InputTokens says %d", c.name, n, e.InputTokens)
		}
	}
}
