package dialect

import (
	"slices"
	"strings"
	"testing"
)

// gathered are the texts of an answer, sorted.
func gathered(d Dialect, payloads ...string) []string {
	var t Texts
	var texts []string
	count := func(text []byte) { texts = append(texts, string(text)) }
	for _, p := range payloads {
		t.Add(d, []byte(p), count)
	}
	t.Flush(count)
	slices.Sort(texts)
	return texts
}

// TestTextsOfStreamsAreThoseOfBufferedAnswers holds the two against each other, whatever the order of the events.
func TestTextsOfStreamsAreThoseOfBufferedAnswers(t *testing.T) {
	for _, c := range []struct {
		name     string
		dialect  Dialect
		buffered string
		events   []string
		want     []string
	}{
		{
			"text", Chat, `{"choices":[{"index":0,"message":{"role":"assistant","content":"Hé\nllo","refusal":null}}],"usage":null}`,
			[]string{
				`{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`, `{"choices":[{"index":0,"delta":{"content":"H\u00e9\n"}}]}`,
				`{"choices":[{"index":0,"delta":{"content":"llo"}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, `{"choices":[],"usage":null}`, `[DONE]`,
			},
			[]string{"Hé\nllo"},
		},
		{
			"several choices", Chat, `{"choices":[{"message":{"content":"one two"}},{"message":{"content":"un deux","refusal":"no"}}]}`,
			[]string{
				`{"choices":[{"index":1,"delta":{"content":"un"}}]}`, `{"choices":[{"index":0,"delta":{"content":"one"}},{"delta":{"content":" deux"},"index":1}]}`,
				`{"choices":[{"index":1,"delta":{"refusal":"no"}},{"index":0,"delta":{"content":" two"}}]}`,
			},
			[]string{"no", "one two", "un deux"},
		},
		{
			"reasoning under two names", Chat, `{"choices":[{"message":{"reasoning":"hmm","content":"ok","reasoning_content":"hmm"}}]}`,
			[]string{`{"choices":[{"index":0,"delta":{"reasoning":"h","reasoning_content":"h"}}]}`, `{"choices":[{"index":0,"delta":{"content":"ok","reasoning":"mm"}}]}`},
			[]string{"hmm", "ok"},
		},
		{
			"parallel tool calls", Chat, `{"choices":[{"message":{"content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\": [1, 2], \"y\": \"a \\\" b\"}"}},` +
				`{"id":"b","function":{"name":"g","arguments":"{}"}},{"id":"c","type":"custom","custom":{"name":"h","input":"free  text"}}]}}]}`,
			[]string{
				`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]}`,
				`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":""}}]}}]}`,
				`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":[1,2],\"y\":\"a \\"}}]}}]}`,
				`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":2,"custom":{"name":"h","input":"free  "}},{"index":0,"function":{"arguments":"\" b\"}"}}]}}]}`,
				`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":2,"custom":{"input":"text"}}]}}]}`,
			},
			[]string{"f", "free  text", "g", "h", `{"x":[1,2],"y":"a \" b"}`},
		},
		{
			"thinking parts", Chat, `{"choices":[{"message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"let me see"}]},{"type":"text","text":"42"}]}}]}`,
			[]string{`{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"let me"}]}]}}]}`, `{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":" see"}]}]}}]}`, `{"choices":[{"delta":{"content":"42"}}]}`},
			[]string{"42", "let me see"},
		},
		{
			"legacy", Completions, `{"choices":[{"text":"abc","index":0}]}`,
			[]string{`{"choices":[{"text":"a","index":0}]}`, `{"choices":[{"text":"bc","index":0}]}`},
			[]string{"abc"},
		},
		{
			"blocks", Messages, `{"type":"message","content":[{"type":"thinking","thinking":"hm","signature":"xx"},{"type":"text","text":"Hello"},{"type":"tool_use","id":"t","name":"f","input":{"a": 1}},{"type":"tool_use","name":"g","input":{}},{"type":"redacted_thinking","data":"zz"}],"stop_reason":"tool_use"}`,
			[]string{
				`{"type":"message_start","message":{"content":[],"usage":{"input_tokens":1}}}`,
				`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"xx"}}`,
				`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`,
				`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hel"}}`, `{"type":"ping"}`,
				`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"lo"}}`,
				`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}`,
				`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}`,
				`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}`,
				`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"1}"}}`,
				`{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","name":"g","input":{}}}`,
				`{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{}"}}`,
				`{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}`, `{"type":"message_stop"}`,
			},
			[]string{"Hello", "f", "g", "hm", `{"a":1}`},
		},
		{
			"items", Responses, `{"object":"response","status":"completed","output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"plan"}],"encrypted_content":"zz"},` +
				`{"type":"message","content":[{"type":"output_text","text":"Hello"},{"type":"refusal","refusal":"no"}]},{"type":"function_call","name":"f","arguments":"{\"a\":1}","call_id":"c"},{"type":"custom_tool_call","name":"g","input":"x y"}]}`,
			[]string{
				`{"type":"response.created","response":{"output":[]}}`, `{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","summary":[]}}`,
				`{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"plan"}`,
				`{"type":"response.reasoning_summary_text.done","output_index":0,"summary_index":0,"text":"plan"}`,
				`{"type":"response.output_item.added","output_index":1,"item":{"type":"message","content":[]}}`,
				`{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"Hel"}`, `{"type":"response.refusal.delta","output_index":1,"content_index":1,"delta":"no"}`,
				`{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"lo"}`, `{"type":"response.output_text.done","output_index":1,"content_index":0,"text":"Hello"}`,
				`{"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","name":"f","arguments":""}}`,
				`{"type":"response.function_call_arguments.delta","output_index":2,"delta":"{\"a\": 1}"}`,
				`{"type":"response.output_item.added","output_index":3,"item":{"type":"custom_tool_call","name":"g","input":""}}`,
				`{"type":"response.custom_tool_call_input.delta","output_index":3,"delta":"x y"}`,
				`{"type":"response.completed","response":{"output":[{"type":"message","content":[{"type":"output_text","text":"Hello"}]}]}}`,
			},
			[]string{"Hello", "f", "g", "no", "plan", "x y", `{"a":1}`},
		},
		{"nothing", Chat, `{"choices":[{"message":{"content":null}}]}`, []string{`{}`, `[]`, `{"choices":null}`, `{"choices":[{}]}`, `{"choices":[1,{"delta":"x"}]}`, `nonsense`}, nil},
	} {
		if got := gathered(c.dialect, c.buffered); !slices.Equal(got, c.want) {
			t.Errorf("%s, buffered: %q, want %q", c.name, got, c.want)
		}
		if got := gathered(c.dialect, c.events...); !slices.Equal(got, c.want) {
			t.Errorf("%s, streamed: %q, want %q", c.name, got, c.want)
		}
		var texts Texts
		var got []string
		count := func(text []byte) { got = append(got, string(text)) }
		for _, event := range c.events {
			texts.AddInspected(c.dialect, c.dialect.Inspect([]byte(event)), []byte(event), count)
		}
		texts.Flush(count)
		if slices.Sort(got); !slices.Equal(got, c.want) {
			t.Errorf("%s, inspected: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestLongTextsAreHandedOnByWords streams more than is held.
func TestLongTextsAreHandedOnByWords(t *testing.T) {
	var texts Texts
	var got strings.Builder
	pieces := 0
	count := func(text []byte) {
		if pieces > 0 && text[0] != ' ' {
			t.Errorf("a piece begins with %.20q", text)
		}
		got.Write(text)
		pieces++
	}
	var want strings.Builder
	for range 20_000 {
		want.WriteString(" several words")
		texts.Add(Chat, []byte(`{"choices":[{"index":0,"delta":{"content":" several words"}}]}`), count)
		if texts.held > maxGathered+100 {
			t.Fatalf("%d bytes are held", texts.held)
		}
	}
	texts.Flush(count)
	if got.String() != want.String() || pieces < 4 {
		t.Errorf("%d bytes in %d pieces, want %d bytes", got.Len(), pieces, want.Len())
	}
	if !texts.Empty() {
		t.Error("something is left")
	}
	texts.Add(Chat, []byte(`{"choices":[{"delta":{"content":"`+strings.Repeat("x", 3*maxGathered)+`"}}]}`), func([]byte) {})
	if !texts.Empty() {
		t.Error("a word without an end is held")
	}
}

func TestManyPartsAreBounded(t *testing.T) {
	var texts Texts
	for i := range 3 * maxParts {
		texts.add(textContent, i, 0, []byte(`"x"`))
	}
	if len(texts.parts) != maxParts || texts.held != 3*maxParts {
		t.Errorf("%d parts hold %d bytes", len(texts.parts), texts.held)
	}
	texts.Drop()
	if !texts.Empty() || len(texts.parts) != 0 {
		t.Error("something is left")
	}
}

// FuzzTexts takes in anything in any dialect, and knows how much it holds.
func FuzzTexts(f *testing.F) {
	f.Add([]byte(`{"choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"index":1,"function":{"name":"f","arguments":"{\"a\": 1"}}]}}]}`))
	f.Add([]byte(`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":\"\\u00e9 \\"}}`))
	f.Add([]byte(`{"type":"message","content":[{"type":"tool_use","name":"f","input":{"a": [1, "b c"]}}]}`))
	f.Add([]byte(`{"output":[{"type":"message","content":[{"text":"a"}]},{"type":"reasoning","summary":[{"text":"b"}]}]}`))
	f.Add([]byte(`{"type":"response.output_text.delta","output_index":-1,"content_index":99999999999999999999,"delta":"\ud800"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for d := Chat; d <= Completions; d++ {
			var texts, inspected Texts
			texts.Add(d, data, func([]byte) {})
			if info := d.Inspect(data); !info.Malformed {
				inspected.AddInspected(d, info, data, func([]byte) {})
				if inspected.held != texts.held {
					t.Fatalf("%v: %d bytes are held after the inspection, not %d", d, inspected.held, texts.held)
				}
			}
			texts.Add(d, data, func([]byte) {})
			held := 0
			for _, p := range texts.parts {
				held += len(p.text)
			}
			if held != texts.held {
				t.Fatalf("%v: %d bytes are held, not %d", d, held, texts.held)
			}
			texts.Flush(func([]byte) {})
		}
	})
}

// BenchmarkTexts is what gathering costs a streamed event, beside what the relay does with it anyway.
func BenchmarkTexts(b *testing.B) {
	data := []byte(`{"id":"chatcmpl-9a8b7c6d5e4f","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","system_fingerprint":"fp_123456","choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}],"usage":null}`)
	b.Run("inspect", func(b *testing.B) {
		for b.Loop() {
			Chat.Inspect(data)
		}
	})
	b.Run("gather what was inspected", func(b *testing.B) {
		b.ReportAllocs()
		var texts Texts
		info := Chat.Inspect(data)
		for b.Loop() {
			texts.AddInspected(Chat, info, data, func([]byte) {})
		}
	})
	b.Run("gather", func(b *testing.B) {
		b.ReportAllocs()
		var texts Texts
		for b.Loop() {
			texts.Add(Chat, data, func([]byte) {})
		}
	})
}
