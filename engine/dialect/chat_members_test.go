package dialect

import (
	"slices"
	"testing"
)

func TestP28StripMessages(t *testing.T) {
	all := []string{"cache_control", "reasoning_content", "thinking_blocks"}
	for _, c := range []struct {
		in, want string
		names    []string
		dropped  []string
	}{
		{`{"messages":[{"role":"user","content":"cache_control"}]}`, `{"messages":[{"role":"user","content":"cache_control"}]}`, all, nil},
		{
			` {"model": "m", "messages" : [{"role":"user", "content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}, {"type": "text","text":"b"}]}], "x": 1.50}`,
			`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type": "text","text":"b"}]}],"x":1.50}`,
			all,
			[]string{"messages[].content[].cache_control"},
		},
		{
			`{"messages":[{"role":"assistant","content":null,"reasoning_content":"hm","thinking_blocks":[{"type":"thinking"}],"tool_calls":[{"id":"1","function":{"name":"f","arguments":"{\"cache_control\":1}"}}]}]}`,
			`{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"1","function":{"name":"f","arguments":"{\"cache_control\":1}"}}]}]}`,
			all,
			[]string{"messages[].reasoning_content", "messages[].thinking_blocks"},
		},
		{
			`{"messages":[{"role":"assistant","tool_calls":[{"id":"1","cache_control":{"type":"ephemeral"},"function":{"name":"f","arguments":"{}"}},{"id":"2"}]}]}`,
			`{"messages":[{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}},{"id":"2"}]}]}`,
			all,
			[]string{"messages[].tool_calls[].cache_control"},
		},
		{
			`{"cache_control":{},"tools":[{"type":"function","cache_control":{},"function":{"name":"f","parameters":{"properties":{"cache_control":{},"reasoning_content":{}}}}}],"messages":[]}`,
			`{"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"cache_control":{},"reasoning_content":{}}}}}],"messages":[]}`,
			all,
			[]string{"cache_control", "tools[].cache_control"},
		},
		{
			`{"messages":[{"role":"assistant","content":"x","reasoning_content":"hm"}]}`, `{"messages":[{"role":"assistant","content":"x","reasoning_content":"hm"}]}`,
			[]string{"cache_control"},
			nil,
		},
	} {
		got, dropped := StripMessages([]byte(c.in), c.names)
		if string(got) != c.want || !slices.Equal(dropped, c.dropped) {
			t.Errorf("%s:\n got %s %q\nwant %s %q", c.in, got, dropped, c.want, c.dropped)
		}
	}
}
