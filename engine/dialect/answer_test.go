package dialect

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
)

func TestAnswer(t *testing.T) {
	const ok = abi.OutcomeOK
	for _, c := range []struct {
		name   string
		data   []string
		text   string
		finish uint8
		flags  uint32
	}{
		{"plain", []string{`{"choices":[{"message":{"content":"He said \"no\"."},"finish_reason":"stop"}]}`}, `He said "no".`, abi.FinishStop, ok},
		{"json", []string{`{"choices":[{"message":{"content":" {\"a\":1}\n"},"finish_reason":"stop"}]}`}, " {\"a\":1}\n", abi.FinishStop, ok | abi.OutcomeJSON},
		{"cut json", []string{`{"choices":[{"message":{"content":"{\"a\":"},"finish_reason":"length"}]}`}, `{"a":`, abi.FinishLength, ok},
		{"tools", []string{`{"choices":[{"message":{"content":null,"tool_calls":[{"id":"1"}]},"finish_reason":"tool_calls"}]}`}, "", abi.FinishToolCalls, ok | abi.OutcomeJSON},
		{"empty", []string{`{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}`}, "", abi.FinishStop, ok | abi.OutcomeEmpty},
		{"refusal", []string{`{"choices":[{"message":{"content":null,"refusal":"No."},"finish_reason":"stop"}]}`}, "", abi.FinishStop, ok | abi.OutcomeEmpty | abi.OutcomeRefusal},
		{"filtered", []string{`{"choices":[{"message":{"content":"Well"},"finish_reason":"content_filter"}]}`}, "Well", abi.FinishContentFilter, ok | abi.OutcomeRefusal},
		{"phrase", []string{`{"choices":[{"message":{"content":"I’m sorry, but I can’t do that."},"finish_reason":"stop"}]}`}, "I’m sorry, but I can’t do that.", abi.FinishStop, ok | abi.OutcomeRefusalPhrase},
		{"stream", []string{
			`{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`, `{"choices":[{"index":0,"delta":{"content":"12"}}]}`,
			`{"choices":[{"index":1,"delta":{"content":"other"},"finish_reason":"length"}]}`, `{"choices":[{"index":0,"delta":{"content":"3"}}]}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, `{"choices":[],"usage":{}}`,
		}, "123", abi.FinishStop, ok | abi.OutcomeJSON},
		{"second choice", []string{`{"choices":[{"message":{"content":"a"},"finish_reason":"stop"},{"message":{"content":"b"},"finish_reason":"length"}]}`}, "a", abi.FinishStop, ok},
		{"nonsense", []string{`[`, `{"choices":5}`, `{"choices":[3]}`, `{"choices":[{"message":7,"finish_reason":8}]}`}, "", 0, ok | abi.OutcomeEmpty},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a Answer
			for _, data := range c.data {
				a.Add(Chat, []byte(data))
			}
			if string(a.Text) != c.text || a.Finish != c.finish || a.Flags() != c.flags {
				t.Errorf("%q, finish %d, flags %b; want %q, %d, %b", a.Text, a.Finish, a.Flags(), c.text, c.finish, c.flags)
			}
		})
	}
}
