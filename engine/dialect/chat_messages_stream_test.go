package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pointsman/pointsman/engine/sse"
)

// told is a content block as a client of the Messages API keeps it.
type told struct {
	Type, Text, Thinking, Signature, Data, ID, Name string
	Input                                           json.RawMessage
}

// toldMessage is a message as such a client keeps it.
type toldMessage struct {
	Content []told
	Stop    string `json:"stop_reason"`
	Usage   json.RawMessage
}

// sorted gathers texts, thinking and calls, whose order among each other an answer of chat completions does not tell.
func (m *toldMessage) sorted(t *testing.T) (text, thinking string, calls []told) {
	t.Helper()
	for _, b := range m.Content {
		text += b.Text
		thinking += b.Thinking
		if b.Type == "tool_use" {
			calls = append(calls, b)
		}
	}
	return text, thinking, calls
}

func readMessage(t *testing.T, body []byte) (m toldMessage) {
	t.Helper()
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return m
}

// readMessageStream puts a stream together as the API's clients do, and checks its rules. complete tells whether it ended.
func readMessageStream(t *testing.T, stream []byte) (m toldMessage, complete bool) {
	t.Helper()
	started, open, stopped := false, false, false
	var input []byte
	r := sse.NewReader(bytes.NewReader(stream), 8<<20)
	for {
		event, err := r.Next()
		if err != nil {
			return m, complete
		}
		if event.Data == nil {
			continue
		}
		var ev struct {
			Type         string
			Index        *int
			Message      toldMessage
			ContentBlock told `json:"content_block"`
			Delta        struct {
				Type, Text, Thinking, Signature string
				PartialJSON                     string `json:"partial_json"`
				StopReason                      string `json:"stop_reason"`
			}
			Usage json.RawMessage
		}
		if err := json.Unmarshal(event.Data, &ev); err != nil {
			t.Fatalf("%v: %s", err, event.Data)
		}
		if ev.Type != string(event.Name) || complete || started == (ev.Type == "message_start") && ev.Type != "error" {
			t.Fatalf("%s is out of place: %s", event.Name, event.Data)
		}
		last := len(m.Content) - 1
		if strings.HasPrefix(ev.Type, "content_block") {
			if starts := ev.Type == "content_block_start"; open == starts || stopped || starts && *ev.Index != last+1 || !starts && *ev.Index != last {
				t.Fatalf("%s is out of place: %s", event.Name, event.Data)
			}
		}
		switch ev.Type {
		case "message_start":
			started = true
			if len(ev.Message.Content) > 0 || ev.Message.Usage == nil {
				t.Fatalf("wrong start: %s", event.Data)
			}
		case "content_block_start":
			open, input = true, nil
			m.Content = append(m.Content, ev.ContentBlock)
		case "content_block_delta":
			b := &m.Content[last]
			b.Text += ev.Delta.Text
			b.Thinking += ev.Delta.Thinking
			b.Signature += ev.Delta.Signature
			input = append(input, ev.Delta.PartialJSON...)
			want := map[string]string{"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}[b.Type]
			if ev.Delta.Type != want && (b.Type != "thinking" || ev.Delta.Type != "signature_delta") {
				t.Fatalf("a wrong delta of %s: %s", b.Type, event.Data)
			}
		case "content_block_stop":
			open = false
			if len(input) > 0 {
				m.Content[last].Input = input
			}
		case "message_delta":
			if open || stopped {
				t.Fatal("message_delta is out of place")
			}
			stopped = true
			m.Stop, m.Usage = ev.Delta.StopReason, ev.Usage
		case "message_stop":
			complete = true
			if !stopped {
				t.Fatal("message_stop before message_delta")
			}
		case "error":
		default:
			t.Fatalf("unknown event %s", event.Data)
		}
	}
}

// chatScript is an answer of chat completions: pieces of text, thinking or calls in the order of the stream.
type chatScript struct {
	pieces []block // kind text, thinking or tool_use
	finish string
	usage  string // "" for none
}

func (s *chatScript) buffered() []byte {
	var text, thinking strings.Builder
	var calls []string
	for _, p := range s.pieces {
		switch p.kind {
		case "text":
			text.WriteString(p.text)
		case "thinking":
			thinking.WriteString(p.text)
		case "tool_use":
			calls = append(calls, `{"id":`+quoted(p.id)+`,"type":"function","function":{"name":`+quoted(p.name)+`,"arguments":`+quoted(p.input)+`}}`)
		}
	}
	out := `{"choices":[{"index":0,"message":{"role":"assistant","content":` + quoted(text.String())
	if thinking.Len() > 0 {
		out += `,"reasoning_content":` + quoted(thinking.String())
	}
	if calls != nil {
		out += `,"tool_calls":[` + strings.Join(calls, ",") + `]`
	}
	out += `},"finish_reason":` + quoted(s.finish) + `}]`
	if s.usage != "" {
		out += `,"usage":` + s.usage
	}
	return []byte(out + `}`)
}

// cut splits text into whole characters of at least size bytes, and has one empty piece for an empty text.
func cut(text string, size int) (list []string) {
	for len(text) > size {
		n := size
		for n < len(text) && text[n]&0xc0 == 0x80 {
			n++
		}
		list, text = append(list, text[:n]), text[n:]
	}
	return append(list, text)
}

// streamed is the answer in deltas of size bytes. Calls that follow each other are interleaved if told so.
func (s *chatScript) streamed(size int, interleaved bool) []byte {
	var out []byte
	send := func(delta, rest string) {
		out = sse.AppendEvent(out, "", []byte(`{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{`+delta+`},"finish_reason":null}]`+rest+`}`))
	}
	send(`"role":"assistant","content":""`, "")
	call := func(i int, rest string) { send(fmt.Sprintf(`"tool_calls":[{"index":%d,%s}]`, i, rest), "") }
	calls := 0
	for i := 0; i < len(s.pieces); i++ {
		p := s.pieces[i]
		switch p.kind {
		case "text":
			for _, part := range cut(p.text, size) {
				send(`"content":`+quoted(part), "")
			}
		case "thinking":
			for _, part := range cut(p.text, size) {
				send(`"reasoning_content":`+quoted(part), "")
			}
		case "tool_use":
			group := []block{p}
			for interleaved && i+1 < len(s.pieces) && s.pieces[i+1].kind == "tool_use" {
				i++
				group = append(group, s.pieces[i])
			}
			var parts [][]string
			for j, p := range group {
				call(calls+j, `"id":`+quoted(p.id)+`,"type":"function","function":{"name":`+quoted(p.name)+`,"arguments":""}`)
				parts = append(parts, cut(p.input, size))
			}
			for left := true; left; {
				left = false
				for j := range parts {
					if len(parts[j]) > 0 {
						call(calls+j, `"function":{"arguments":`+quoted(parts[j][0])+`}`)
						parts[j], left = parts[j][1:], true
					}
				}
			}
			calls += len(group)
		}
	}
	out = sse.AppendEvent(out, "", []byte(`{"choices":[{"index":0,"delta":{},"finish_reason":`+quoted(s.finish)+`}]}`))
	if s.usage != "" {
		out = sse.AppendEvent(out, "", []byte(`{"choices":[],"usage":`+s.usage+`}`))
	}
	return sse.AppendEvent(out, "", []byte(sse.Done))
}

func toMessages(src io.Reader) *Stream { return TranslateStream(Chat, Messages, src, asMessage()) }

// TestP12StreamedEqualsBufferedMessages: what a client puts together from the stream is the buffered answer.
func TestP12StreamedEqualsBufferedMessages(t *testing.T) {
	text := func(s string) block { return block{kind: "text", text: s} }
	call := func(i int, input string) block {
		return block{kind: "tool_use", id: fmt.Sprint("call_", i), name: fmt.Sprint("f", i), input: input}
	}
	calls := func(n int, input string) (list []block) {
		for i := range n {
			list = append(list, call(i, input))
		}
		return list
	}
	inputs := map[string]string{
		"object":       `{"city": "Köln", "n": 1.50, "b": [{}, "}"]}`,
		"none":         ``,
		"blank":        " \n",
		"null":         ` null `,
		"empty object": `{}`,
		"escapes":      `{"\"": "\\", "u": "\u00e9\ud83c\udf0d", "e": "\\\"}{"}`,
		"unicode":      `{"世界": "🌍 ✓"}`,
		"padded":       "\n {\"a\":\t1}\n",
		"large":        `{"a":` + quoted(strings.Repeat("0123456789 世界\n\"\\", 5000)) + `}`,
		"not JSON":     `get weather`,
		"a list":       `[1, {"a": 2}]`,
		"a string":     `"{}"`,
	}
	usage := `{"prompt_tokens":10,"completion_tokens":20,"prompt_tokens_details":{"cached_tokens":5}}`
	for name, input := range inputs {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{0, 1, 2, 5} {
				between := []block{{kind: "thinking", text: "hm\n\"ok\" 世"}, text("Let me see \"it\"\n世界 🌍")}
				for i, c := range calls(n, input) {
					between = append(between, c)
					if i%2 == 0 {
						between = append(between, text("text "+fmt.Sprint(i)))
					}
				}
				for _, pieces := range [][]block{calls(n, input), append([]block{text("\n\n")}, calls(n, input)...), append([]block{text(" x")}, calls(n, input)...), between} {
					s := chatScript{pieces, "tool_calls", usage}
					if n == 0 {
						s.finish = "stop"
					}
					body, _, err := AnswerChatToMessages(nil, s.buffered(), asMessage())
					if err != nil {
						t.Fatal(err)
					}
					buffered := readMessage(t, body)
					wantText, wantThinking, wantCalls := buffered.sorted(t)
					if len(wantCalls) != n {
						t.Fatalf("%d calls became %s", n, body)
					}
					sizes := []int{1, 3, 1 << 30}
					switch {
					case name != "large":
					case n == 1 && len(pieces) == 1: // cut at every byte only once
						sizes = []int{1}
					default:
						sizes = []int{1000, 1 << 30}
					}
					for _, size := range sizes {
						for _, interleaved := range []bool{false, true} {
							out, err := io.ReadAll(toMessages(bytes.NewReader(s.streamed(size, interleaved))))
							if err != nil {
								t.Fatal(err)
							}
							m, complete := readMessageStream(t, out)
							gotText, gotThinking, gotCalls := m.sorted(t)
							for i := range gotCalls {
								gotCalls[i].Input = bytes.TrimRight(gotCalls[i].Input, spaces)
							}
							if !complete || gotText != wantText || gotThinking != wantThinking || m.Stop != buffered.Stop ||
								string(m.Usage) != string(buffered.Usage) || !reflect.DeepEqual(gotCalls, wantCalls) {
								t.Fatalf("%d calls in deltas of %d bytes, interleaved %v:\n got %+v\nwant %+v", n, size, interleaved, m, buffered)
							}
						}
					}
				}
			}
		})
	}
}

// TestFirstCallFlows: the arguments of the open call are handed on at once, and another call waits until they are whole.
func TestFirstCallFlows(t *testing.T) {
	s := newChatToMessages(asMessage())
	step := func(calls string) string {
		out, _, err := s.event(nil, []byte(`{"choices":[{"delta":{"tool_calls":[`+calls+`]}}]}`))
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for _, c := range []struct{ calls, want, not string }{
		{`{"index":0,"id":"a","function":{"name":"f","arguments":""}}`, `"id":"a"`, `partial_json`},
		{`{"index":0,"function":{"arguments":"{\"x\":"}}`, `"partial_json":"{\"x\":"`, ``},
		{`{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}`, ``, `"`},
		{`{"index":0,"function":{"arguments":"[1,"}}`, `"partial_json":"[1,"`, `"id":"b"`},
		{`{"index":0,"function":{"arguments":"2]}"}}`, `"id":"b"`, ``},
	} {
		out := step(c.calls)
		if !strings.Contains(out, c.want) || c.not != "" && strings.Contains(out, c.not) {
			t.Errorf("%s: got %s", c.calls, out)
		}
	}
}

// TestUsageOfStreams: wherever a source tells its usage, message_delta has it; one that tells none has none.
func TestUsageOfStreams(t *testing.T) {
	const usage = `,"usage":{"prompt_tokens":7,"completion_tokens":3}`
	chunk := func(delta, finish, rest string) string {
		return "data: " + `{"choices":[{"index":0,"delta":` + delta + `,"finish_reason":` + finish + `}]` + rest + "}\n\n"
	}
	const done = "data: [DONE]\n\n"
	for name, in := range map[string]string{
		"in a last chunk": chunk(`{"content":"x"}`, "null", "") + chunk(`{}`, `"stop"`, "") + "data: {\"choices\":[]" + usage + "}\n\n" + done,
		"with the finish": chunk(`{"content":"x"}`, "null", "") + chunk(`{}`, `"stop"`, usage) + done,
		"in every chunk":  chunk(`{"content":"x"}`, "null", `,"usage":{"prompt_tokens":7,"completion_tokens":1}`) + chunk(`{}`, `"stop"`, usage) + done,
		"before":          chunk(`{"content":"x"}`, "null", usage) + chunk(`{}`, `"stop"`, `,"usage":null`) + done,
		"without [DONE]":  chunk(`{"content":"x"}`, `"stop"`, "") + "data: {\"choices\":[]" + usage + "}\n\n",
		"never":           chunk(`{"content":"x"}`, `"stop"`, "") + done,
	} {
		s := toMessages(strings.NewReader(in))
		out, err := io.ReadAll(s)
		if err != nil {
			t.Fatal(err)
		}
		m, complete := readMessageStream(t, out)
		want := `{"input_tokens":7,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":3}`
		if name == "never" {
			want = ""
		}
		if !complete || string(m.Usage) != want || s.Usage().Reported != (want != "") || m.Stop != "end_turn" {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// TestP06MessagesStreamBreaks: a source that breaks off never looks like a whole answer.
func TestP06MessagesStreamBreaks(t *testing.T) {
	script := chatScript{[]block{{kind: "text", text: "Hello"}, {kind: "tool_use", id: "a", name: "f", input: `{"a":1}`}}, "tool_calls", ""}
	in := script.streamed(2, false)
	cutOff := errors.New("connection reset")
	finish := bytes.Index(in, []byte(`"tool_calls"}`)) // from there on the answer is whole
	for i := range in[:finish] {
		out, err := io.ReadAll(toMessages(io.MultiReader(bytes.NewReader(in[:i]), iotest.ErrReader(cutOff))))
		if !errors.Is(err, cutOff) || bytes.Contains(out, []byte("message_stop")) || bytes.Contains(out, []byte("message_delta")) {
			t.Fatalf("cut at %d: %v, %s", i, err, out)
		}
		out, err = io.ReadAll(toMessages(bytes.NewReader(in[:i])))
		if err != nil || bytes.Contains(out, []byte("message_stop")) || bytes.Contains(out, []byte("message_delta")) {
			t.Fatalf("ended at %d: %v, %s", i, err, out)
		}
	}
	out, err := io.ReadAll(toMessages(strings.NewReader("data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n: keep")))
	if _, complete := readMessageStream(t, out); err != nil || !complete {
		t.Errorf("a keep-alive that is cut: %s, %v", out, err)
	}
	for in, want := range map[string]string{
		"data: <html>\n\n":     "error",
		": keep-alive\n\n":     ": keep-alive\n\n",
		"data: [DONE]\n\n":     "",
		"data: {\"error\":{}}": "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"\"}}\n\n",
		"data: {\"error\":{\"code\":529,\"message\":\"m\"}}\n\ndata: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n": "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\",\"code\":\"529\"}}\n\n",
	} {
		out, err := io.ReadAll(toMessages(strings.NewReader(in)))
		if want == "error" {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v", in, err)
			}
		} else if err != nil || string(out) != want {
			t.Errorf("%s: %s, %v", in, out, err)
		}
	}
}

// TestEndOfTranslatedStream: the event that is held back takes the usage that the gateway has counted.
func TestEndOfTranslatedStream(t *testing.T) {
	script := chatScript{[]block{{kind: "text", text: "Hello"}}, "stop", ""}
	out, err := io.ReadAll(toMessages(bytes.NewReader(script.streamed(9, false))))
	if err != nil {
		t.Fatal(err)
	}
	end := End{Usage: Usage{Input: 9, Output: 3, CacheRead: 4, Reported: true}}
	for r := sse.NewReader(bytes.NewReader(out), 0); ; {
		ev, err := r.Next()
		if err != nil {
			break
		}
		if info := Messages.Inspect(ev.Data); info.Last {
			end.Last = bytes.Clone(ev.Data)
		} else if info.Done {
			end.Done = bytes.Clone(ev.Data)
		}
	}
	const want = "event: message_delta\ndata: " +
		`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,"output_tokens":3,"is_byok":false}}` +
		"\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	if got := Messages.AppendEnd(nil, &end); string(got) != want {
		t.Errorf("got %s", got)
	}
}

func FuzzChatStream(f *testing.F) {
	for _, pattern := range []string{"testdata/chat_messages_stream/*.sse", "testdata/chat_completions/*.sse"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			in, _ := os.ReadFile(file)
			f.Add(in)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, _ := io.ReadAll(toMessages(bytes.NewReader(in)))
		r := sse.NewReader(bytes.NewReader(out), 0)
		index, open, over := 0, false, false
		for {
			ev, err := r.Next()
			if err != nil {
				break
			}
			if ev.Data == nil {
				continue
			}
			var event streamEvent
			if !json.Valid(ev.Data) || !event.read(ev.Data) || string(event.kind) != string(ev.Name) || over {
				t.Fatalf("%q became %s", in, out)
			}
			switch string(event.kind) {
			case "content_block_start", "content_block_delta", "content_block_stop":
				if starts := string(event.kind) == "content_block_start"; starts == open || event.index != int64(index) {
					t.Fatalf("%q became %s", in, out)
				}
				if open = string(event.kind) != "content_block_stop"; !open {
					index++
				}
			case "message_stop":
				over = true
			}
		}
		out, _ = io.ReadAll(TranslateStream(Chat, Completions, bytes.NewReader(in), asMessage()))
		for r := sse.NewReader(bytes.NewReader(out), 0); ; {
			ev, err := r.Next()
			if err != nil {
				return
			}
			if ev.Data != nil && string(ev.Data) != sse.Done && !json.Valid(ev.Data) {
				t.Fatalf("%q became %s", in, out)
			}
		}
	})
}

func BenchmarkChatStreamEvent(b *testing.B) {
	s := newChatToMessages(asMessage())
	s.event(nil, []byte(`{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`))
	data := []byte(`{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}`)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out, _, _ = s.event(out[:0], data)
	}
}
