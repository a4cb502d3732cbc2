package dialect

import (
	"reflect"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
)

func TestInspect(t *testing.T) {
	finish := func(s string) []byte { return []byte(s) }
	for _, c := range []struct {
		d    Dialect
		data string
		want Chunk
	}{
		{Chat, `[DONE]`, Chunk{Done: true, NoChoices: true}},
		{Chat, `{"choices":[],"usage":{"prompt_tokens":1}}`, Chunk{Usage: true, NoChoices: true, Last: true, Unsigned: true}},
		{Chat, `{"choices":[{"delta":{"content":"abc"}}]}`, Chunk{Content: true, ContentBytes: 3, Unsigned: true}},
		{Chat, `{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}`, Chunk{Content: true, ContentBytes: 1, Unsigned: true}},
		{Chat, `{"choices":[{"delta":{"thinking_blocks":[{"type":"thinking"}]}}]}`, Chunk{Content: true, ContentBytes: 1}},
		{Messages, `{"type":"message_start","message":{"usage":{"input_tokens":1}}}`, Chunk{Usage: true, NoChoices: true}},
		{Messages, `{"type":"ping"}`, Chunk{NoChoices: true}},
		{Messages, `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, Chunk{NoChoices: true}},
		{Messages, `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"i","name":"get","input":{}}}`, Chunk{Content: true, ContentBytes: 3}},
		{Messages, `{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"xy"}}`, Chunk{Content: true, ContentBytes: 2}},
		{Messages, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"abc"}}`, Chunk{Content: true, ContentBytes: 3}},
		{Messages, `{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"abc"}}`, Chunk{NoChoices: true}},
		{
			Messages, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}`,
			Chunk{Finish: finish("end_turn"), Last: true, Usage: true},
		},
		{Messages, `{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":3}}`, Chunk{Usage: true, NoChoices: true}},
		{Messages, `{"type":"message_stop"}`, Chunk{Done: true, NoChoices: true}},
		{Messages, `{"type":"error","error":{"type":"api_error"}}`, Chunk{Error: true, NoChoices: true}},
		{Messages, `{}`, Chunk{Malformed: true}},
		{Responses, `{"type":"response.created","response":{"usage":null}}`, Chunk{NoChoices: true}},
		{Responses, `{"type":"response.output_item.added","item":{"type":"message"}}`, Chunk{NoChoices: true}},
		{Responses, `{"type":"response.output_item.added","item":{"type":"function_call","name":"f"}}`, Chunk{Content: true}},
		{Responses, `{"type":"response.output_text.delta","delta":"abc"}`, Chunk{Content: true, ContentBytes: 3}},
		{Responses, `{"type":"response.output_text.done","text":"abc"}`, Chunk{NoChoices: true}},
		{Responses, `{"type":"response.completed","response":{"usage":{"input_tokens":1}}}`, Chunk{Done: true, Usage: true, Finish: finish("completed")}},
		{Responses, `{"type":"response.incomplete","response":{}}`, Chunk{Done: true, Finish: finish("incomplete")}},
		{Responses, `{"type":"response.failed","response":{"error":{}}}`, Chunk{Error: true, NoChoices: true}},
		{Responses, `{"type":"error","message":"m"}`, Chunk{Error: true, NoChoices: true}},
		{Responses, `x`, Chunk{Malformed: true}},
	} {
		got := c.d.Inspect([]byte(c.data))
		got.model, got.usage, got.strip, got.tier, got.plain, got.place = span{}, span{}, span{}, span{}, nil, 0
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v %s:\n got %+v\nwant %+v", c.d, c.data, got, c.want)
		}
	}
}

func TestInspectAnswer(t *testing.T) {
	for _, c := range []struct {
		d    Dialect
		body string
		want Chunk
	}{
		{Chat, `{"choices":[{}]}`, Chunk{Unsigned: true}},
		{Messages, `{"type":"message","content":[],"usage":{}}`, Chunk{Usage: true}},
		{Messages, `{"type":"error","error":{"type":"overloaded_error"}}`, Chunk{Error: true, NoChoices: true}},
		{Messages, `{"content":"x"}`, Chunk{NoChoices: true}},
		{Responses, `{"object":"response","error":null,"output":[],"usage":{}}`, Chunk{Usage: true}},
		{Responses, `{"object":"response","error":{"code":"server_error"},"output":[]}`, Chunk{Error: true}},
		{Responses, `{"output":[]`, Chunk{Malformed: true}},
	} {
		if got := c.d.InspectAnswer([]byte(c.body)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v %s:\n got %+v\nwant %+v", c.d, c.body, got, c.want)
		}
	}
}

func TestMeter(t *testing.T) {
	want := Usage{Input: 10, Output: 5, CacheRead: 4, Reported: true}
	for d, events := range map[Dialect][]string{
		Chat: {`{"usage":{"prompt_tokens":1}}`, `{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4}}}`},
		Messages: {
			`{"type":"message_start","message":{"usage":{"input_tokens":6,"cache_read_input_tokens":4,"output_tokens":1}}}`,
			`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}`,
		},
		Responses: {`{"type":"response.completed","response":{"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,"total_tokens":15}}}`},
	} {
		var m Meter
		for _, e := range events {
			m.Add(d, []byte(e))
		}
		if m.Usage() != want {
			t.Errorf("%v: %+v", d, m.Usage())
		}
	}
}

// What the gateway makes of a usage is read back as the same, in each dialect.
func TestUsageInEachDialect(t *testing.T) {
	u := Usage{Input: 20, Output: 5, CacheRead: 4, CacheWrite: 3, CacheWrite1h: 1, Reasoning: 2, Reported: true, CostUSD: "0.25"}
	for _, d := range []Dialect{Chat, Messages, Responses} {
		body := d.SpliceUsage(nil, []byte(`{"id":"x"}`), u, Extra{CostUSD: "0.25", Credits: "1"})
		got, ok := d.Usage(body)
		if !ok || got != u {
			t.Errorf("%v: %s is read as %+v", d, body, got)
		}
	}
}

func TestAppendEnd(t *testing.T) {
	u := Usage{Input: 3, Output: 2, Reported: true}
	extra := Extra{CostUSD: "0.5", Credits: "7"}
	for _, c := range []struct {
		d    Dialect
		end  End
		want string
	}{
		{Chat, End{Hidden: true}, "data: [DONE]\n\n"},
		{Chat, End{Last: []byte(`{"choices":[],"usage":{"prompt_tokens":3}}`)}, "data: " + `{"choices":[],"usage":{"prompt_tokens":3,"cost":0.5,"credits":"7","is_byok":false}}` + "\n\ndata: [DONE]\n\n"},
		{
			Messages,
			End{Last: []byte(`{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`)},
			"event: message_delta\ndata: " + `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":3,"cache_creation_input_tokens":0,` +
				`"cache_read_input_tokens":0,"output_tokens":2,"cost":0.5,"credits":"7","is_byok":false}}` + "\n\nevent: message_stop\ndata: " + `{"type":"message_stop"}` + "\n\n",
		},
		{
			Responses,
			End{Done: []byte(`{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":3}},"sequence_number":9}`)},
			"event: response.completed\ndata: " + `{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":3,"cost":0.5,"credits":"7","is_byok":false}},"sequence_number":9}` + "\n\n",
		},
	} {
		c.end.Usage, c.end.Extra = u, extra
		if got := string(c.d.AppendEnd(nil, &c.end)); got != c.want {
			t.Errorf("%v:\n got %s\nwant %s", c.d, got, c.want)
		}
	}
}

func TestAnswerInEachDialect(t *testing.T) {
	for _, c := range []struct {
		d      Dialect
		data   []string
		text   string
		finish uint8
		flags  uint32
	}{
		{Messages, []string{`{"type":"message","content":[{"type":"text","text":"a\nb"}],"stop_reason":"max_tokens"}`}, "a\nb", abi.FinishLength, abi.OutcomeOK},
		{
			Messages, []string{
				`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"{\"a\""}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":":1}"}}`,
				`{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`,
			}, `{"a":1}`, abi.FinishStop, abi.OutcomeOK | abi.OutcomeJSON,
		},
		{Messages, []string{`{"type":"message","content":[{"type":"tool_use","id":"i","name":"n","input":{}}],"stop_reason":"tool_use"}`}, "", abi.FinishToolCalls, abi.OutcomeOK | abi.OutcomeJSON},
		{Responses, []string{`{"object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]}`}, "hi", abi.FinishStop, abi.OutcomeOK},
		{
			Responses, []string{
				`{"type":"response.output_text.delta","delta":"h"}`,
				`{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"message","content":[{"type":"output_text","text":"h"}]}]}}`,
			}, "h", abi.FinishLength, abi.OutcomeOK,
		},
		{Responses, []string{`{"output":[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}]}`}, "", abi.FinishStop, abi.OutcomeOK | abi.OutcomeEmpty | abi.OutcomeRefusal},
	} {
		var a Answer
		for _, data := range c.data {
			a.Add(c.d, []byte(data))
		}
		if string(a.Text) != c.text || a.Finish != c.finish || a.Flags() != c.flags {
			t.Errorf("%v %s: %q, finish %d, flags %b", c.d, c.data, a.Text, a.Finish, a.Flags())
		}
	}
}
