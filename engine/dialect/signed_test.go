package dialect

import (
	"slices"
	"testing"
)

func TestP13DropSigned(t *testing.T) {
	for _, c := range []struct {
		d        Dialect
		in, want string
		dropped  int
		loop     bool
	}{
		{Messages, `{"messages":[{"role":"user","content":"x"}]}`, `{"messages":[{"role":"user","content":"x"}]}`, 0, false},
		{
			Messages,
			`{"a": 1,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"mine"},{"type":"thinking","thinking":"t","signature":"other"},{"type":"text","text":"\"other\""}]}],"z":[]}`,
			`{"a": 1,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"mine"},{"type":"text","text":"\"other\""}]}],"z":[]}`, 1, false,
		},
		{
			Messages,
			`{"messages":[{"role":"assistant","content":[{"type":"redacted_thinking","data":"other"},{"type":"tool_use","id":"i","name":"n","input":{"signature":"other"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"i"}]}]}`,
			`{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"i","name":"n","input":{"signature":"other"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"i"}]}]}`, 1, true,
		},
		{
			Messages, // an escaped signature is the same one; a turn of nothing but thinking goes
			`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"oth\u0065r"}]},{"role":"user","content":"b"}]}`,
			`{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}`, 1, false,
		},
		{
			Messages, // without a signature it is some other model's
			`{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":""},{"type":"text","text":"a"}]}]}`,
			`{"messages":[{"role":"assistant","content":[{"type":"text","text":"a"}]}]}`, 1, false,
		},
		{
			Chat,
			`{"messages":[{"role":"assistant","content":null,"thinking_blocks":[{"type":"thinking","thinking":"t","signature":"other"}],"tool_calls":[{"id":"1"}]},{"role":"tool","content":"r"}]}`,
			`{"messages":[{"role":"assistant","content":null,"thinking_blocks":[],"tool_calls":[{"id":"1"}]},{"role":"tool","content":"r"}]}`, 1, true,
		},
		{
			Responses,
			`{"input":[{"type":"reasoning","summary":[],"encrypted_content":"other"},{"type":"reasoning","encrypted_content":"mine"},{"type":"message","content":"other"}]}`,
			`{"input":[{"type":"reasoning","encrypted_content":"mine"},{"type":"message","content":"other"}]}`, 1, false,
		},
	} {
		got, dropped, loop := c.d.DropSigned([]byte("x"), []byte(c.in), func(s []byte) bool { return string(s) == "mine" })
		if string(got) != "x"+c.want || dropped != c.dropped || loop != c.loop {
			t.Errorf("%s:\n got %s, %d, %v\nwant %s, %d, %v", c.in, got[1:], dropped, loop, c.want, c.dropped, c.loop)
		}
	}
}

func TestSignatures(t *testing.T) {
	for _, c := range []struct {
		d    Dialect
		data []string
		want []string
	}{
		{Messages, []string{`{"type":"message","content":[{"type":"thinking","signature":"a"},{"type":"redacted_thinking","data":"b"},{"type":"text","text":"signature"}]}`}, []string{"a", "b"}},
		{Messages, []string{
			`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"ab"}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c\/d"}}`,
			`{"type":"content_block_stop","index":0}`,
			`{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"e"}}`,
		}, []string{"abc/d", "e"}},
		{Chat, []string{`{"choices":[{"delta":{"thinking_blocks":[{"type":"thinking","signature":"a"}]}}]}`, `{"choices":[{"message":{"thinking_blocks":[{"type":"redacted_thinking","data":"b"}]}}]}`}, []string{"a", "b"}},
		{Responses, []string{`{"type":"response.output_item.done","item":{"type":"reasoning","encrypted_content":"a"}}`, `{"output":[{"type":"reasoning","encrypted_content":"b"},{"type":"message"}]}`}, []string{"a", "b"}},
	} {
		var s Signatures
		var got []string
		for _, data := range c.data {
			s.Add(c.d, []byte(data), func(sig []byte) { got = append(got, string(sig)) })
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v %s: %q, want %q", c.d, c.data, got, c.want)
		}
	}
}
