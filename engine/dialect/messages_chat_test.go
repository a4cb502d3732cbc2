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

func TestStreamGolden(t *testing.T) {
	files, _ := filepath.Glob("testdata/messages_chat/*.sse")
	if len(files) == 0 {
		t.Fatal("no test data")
	}
	for _, file := range files {
		in, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(TranslateStream(Messages, Chat, bytes.NewReader(in), AnswerOptions{Model: "public", ID: "chatcmpl-1", Created: 1700000000}))
		if err != nil {
			t.Fatal(err)
		}
		checkGolden(t, strings.TrimSuffix(file, ".sse")+".golden", out)
		again, _ := io.ReadAll(iotest.OneByteReader(TranslateStream(Messages, Chat, iotest.OneByteReader(bytes.NewReader(in)), AnswerOptions{Model: "public", ID: "chatcmpl-1", Created: 1700000000})))
		if !bytes.Equal(again, out) {
			t.Errorf("%s: byte by byte it is %s", file, again)
		}
	}
}

// block is a content block of a scripted answer.
type block struct {
	kind, text, id, name, input, signature string
}

func quoted(s string) string { return string(appendQuoted(nil, s)) }

const scriptUsage = `"usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":20}`

// bufferedScript is the answer of the Messages API.
func bufferedScript(blocks []block, stop string) []byte {
	var list []string
	for _, b := range blocks {
		switch b.kind {
		case "text":
			list = append(list, `{"type":"text","text":`+quoted(b.text)+`}`)
		case "thinking":
			list = append(list, `{"type":"thinking","thinking":`+quoted(b.text)+`,"signature":`+quoted(b.signature)+`}`)
		case "tool_use":
			list = append(list, `{"type":"tool_use","id":`+quoted(b.id)+`,"name":`+quoted(b.name)+`,"input":`+b.input+`}`)
		}
	}
	return []byte(`{"type":"message","role":"assistant","content":[` + strings.Join(list, ",") + `],"stop_reason":` + quoted(stop) + `,"stop_sequence":null,` + scriptUsage + `}`)
}

// streamedScript is the same answer as a stream whose deltas have at most size bytes (but whole characters).
func streamedScript(blocks []block, stop string, size int) []byte {
	var out []byte
	send := func(format string, args ...any) {
		data := fmt.Appendf(nil, format, args...)
		kind, _, _ := strings.Cut(string(data[len(`{"type":"`):]), `"`)
		out = sse.AppendEvent(out, kind, data)
	}
	send(`{"type":"message_start","message":{"role":"assistant","content":[],%s}}`, scriptUsage)
	for i, b := range blocks {
		text, delta, field := b.text, b.kind+"_delta", b.kind
		switch b.kind {
		case "tool_use":
			text, delta, field = b.input, "input_json_delta", "partial_json"
			if text == "{}" {
				text = ""
			}
			send(`{"type":"content_block_start","index":%d,"content_block":{"type":"tool_use","id":%s,"name":%s,"input":{}}}`, i, quoted(b.id), quoted(b.name))
		default:
			send(`{"type":"content_block_start","index":%d,"content_block":{"type":%q,%q:""}}`, i, b.kind, b.kind)
		}
		for len(text) > 0 {
			n := min(size, len(text))
			for n < len(text) && text[n]&0xc0 == 0x80 {
				n++
			}
			send(`{"type":"content_block_delta","index":%d,"delta":{"type":%q,%q:%s}}`, i, delta, field, quoted(text[:n]))
			text = text[n:]
		}
		if b.signature != "" {
			send(`{"type":"content_block_delta","index":%d,"delta":{"type":"signature_delta","signature":%s}}`, i, quoted(b.signature))
		}
		send(`{"type":"content_block_stop","index":%d}`, i)
	}
	send(`{"type":"message_delta","delta":{"stop_reason":%q,"stop_sequence":null},"usage":{"output_tokens":20}}`, stop)
	send(`{"type":"message_stop"}`)
	return out
}

type toolCall struct {
	Index    *int
	ID, Type string
	Function struct{ Name, Arguments string }
}

type answer struct {
	Role             string
	Content          string
	ReasoningContent string            `json:"reasoning_content"`
	ThinkingBlocks   []json.RawMessage `json:"thinking_blocks"`
	ToolCalls        []toolCall        `json:"tool_calls"`
}

type completion struct {
	ID, Object, Model string
	Created           int64
	Choices           []struct {
		Index          int
		Message, Delta answer
		FinishReason   string `json:"finish_reason"`
		Native         string `json:"native_finish_reason"`
	}
	Usage json.RawMessage
}

// whole is an answer put together, to be compared.
type whole struct {
	Answer                answer
	Finish, Native, Usage string
}

func readBuffered(t *testing.T, body []byte) whole {
	t.Helper()
	var c completion
	if err := json.Unmarshal(body, &c); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if len(c.Choices) != 1 || c.Object != "chat.completion" || c.ID != "id" || c.Model != "m" || c.Created != 7 {
		t.Fatalf("wrong frame: %s", body)
	}
	return whole{c.Choices[0].Message, c.Choices[0].FinishReason, c.Choices[0].Native, string(c.Usage)}
}

// readStreamed puts a stream together as an SDK does, and checks its rules.
func readStreamed(t *testing.T, stream []byte) whole {
	t.Helper()
	var w whole
	r := sse.NewReader(iotest.OneByteReader(bytes.NewReader(stream)), 8<<20)
	for {
		ev, err := r.Next()
		if err != nil {
			t.Fatalf("no [DONE]: %v", err)
		}
		if string(ev.Data) == sse.Done {
			return w
		}
		var c completion
		if err := json.Unmarshal(ev.Data, &c); err != nil {
			t.Fatalf("%v: %s", err, ev.Data)
		}
		if c.Object != "chat.completion.chunk" || c.ID != "id" || c.Model != "m" || c.Created != 7 {
			t.Fatalf("wrong frame: %s", ev.Data)
		}
		if len(c.Choices) == 0 {
			w.Usage = string(c.Usage)
			continue
		}
		if len(c.Choices) != 1 || c.Choices[0].Index != 0 || w.Finish != "" {
			t.Fatalf("wrong choice: %s", ev.Data)
		}
		d := c.Choices[0].Delta
		if d.Role != "" && w.Answer.Role != "" {
			t.Fatal("the role came twice")
		}
		w.Answer.Role += d.Role
		w.Answer.Content += d.Content
		w.Answer.ReasoningContent += d.ReasoningContent
		w.Answer.ThinkingBlocks = append(w.Answer.ThinkingBlocks, d.ThinkingBlocks...)
		for _, call := range d.ToolCalls {
			if *call.Index == len(w.Answer.ToolCalls) {
				w.Answer.ToolCalls = append(w.Answer.ToolCalls, toolCall{ID: call.ID, Type: call.Type})
				if call.ID == "" || call.Type != "function" {
					t.Fatalf("a call begins without its id: %s", ev.Data)
				}
			}
			to := &w.Answer.ToolCalls[*call.Index] // a gap in the indexes panics
			to.Function.Name += call.Function.Name
			to.Function.Arguments += call.Function.Arguments
		}
		w.Finish, w.Native = c.Choices[0].FinishReason, c.Choices[0].Native
	}
}

func TestP12StreamedEqualsBuffered(t *testing.T) {
	text := func(s string) block { return block{kind: "text", text: s} }
	call := func(i int, input string) block {
		return block{kind: "tool_use", id: fmt.Sprint("toolu_", i), name: fmt.Sprint("f", i), input: input}
	}
	long := `{"a":` + quoted(strings.Repeat("0123456789 世界\n\"\\", 64<<10)) + `}`
	for _, c := range []struct {
		name   string
		blocks []block
		stop   string
		finish string
	}{
		{"no blocks", nil, "end_turn", "stop"},
		{"text", []block{text("Hello \"world\"\n世界 🌍\\u0041")}, "end_turn", "stop"},
		{"one call", []block{call(0, `{"city": "Köln", "n": 1.50}`)}, "tool_use", "tool_calls"},
		{"two calls", []block{text("Let me see"), call(0, `{"a":1}`), call(1, `{"b":[{}]}`)}, "tool_use", "tool_calls"},
		{
			"five calls, text between",
			[]block{call(0, `{}`), text("x"), call(1, `{"a":"🌍"}`), call(2, `{}`), text("y"), call(3, `{"\"":"\\"}`), call(4, `{"n":12345678901234567890}`)},
			"tool_use", "tool_calls",
		},
		{"thinking", []block{{kind: "thinking", text: "hm\n\"ok\"", signature: "c2ln"}, text("yes"), call(0, `{"x":null}`)}, "tool_use", "tool_calls"},
		{"P27: a call ended as a turn", []block{call(0, `{}`)}, "end_turn", "tool_calls"},
		{"P27: a call cut off", []block{call(0, `{}`)}, "max_tokens", "length"},
		{"long arguments", []block{call(0, long)}, "tool_use", "tool_calls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body, _, err := AnswerMessagesToChat(nil, bufferedScript(c.blocks, c.stop), asM())
			if err != nil {
				t.Fatal(err)
			}
			want := readBuffered(t, body)
			if want.Finish != c.finish {
				t.Errorf("finish_reason %q, want %q", want.Finish, c.finish)
			}
			n := 0
			for _, b := range c.blocks {
				if b.kind == "tool_use" {
					if got := want.Answer.ToolCalls[n]; got.Function.Arguments != b.input || got.ID != b.id || got.Function.Name != b.name {
						t.Errorf("call %d is %+v", n, got)
					}
					n++
				}
			}
			sizes := []int{1, 2, 3, 7, 1 << 30}
			if c.name == "long arguments" {
				sizes = []int{4000, 200 << 10}
			}
			for _, size := range sizes {
				in := streamedScript(c.blocks, c.stop, size)
				out, err := io.ReadAll(fromMessages(bytes.NewReader(in)))
				if err != nil {
					t.Fatal(err)
				}
				if got := readStreamed(t, out); !reflect.DeepEqual(got, want) {
					t.Errorf("deltas of %d bytes:\n got %+v\nwant %+v", size, got, want)
				}
			}
		})
	}
}

func TestP27FinishReasons(t *testing.T) {
	for _, c := range []struct {
		stop   string
		calls  bool
		finish string
		exact  bool
	}{
		{"end_turn", false, "stop", true},
		{"end_turn", true, "tool_calls", false},
		{"max_tokens", false, "length", true},
		{"max_tokens", true, "length", true},
		{"tool_use", true, "tool_calls", true},
		{"tool_use", false, "tool_calls", true},
		{"stop_sequence", false, "stop", false},
		{"stop_sequence", true, "tool_calls", false},
		{"pause_turn", false, "stop", false},
		{"pause_turn", true, "tool_calls", false},
		{"refusal", false, "content_filter", false},
		{"refusal", true, "content_filter", false},
		{"model_context_window_exceeded", false, "length", false},
		{"something_new", false, "something_new", false},
		{"something_new", true, "something_new", false},
	} {
		if finish, exact := finishReason([]byte(c.stop), c.calls); string(finish) != c.finish || exact != c.exact {
			t.Errorf("%s, calls %v: got %s, %v", c.stop, c.calls, finish, exact)
		}
	}
	for stop, want := range map[string]string{
		`"pause_turn","stop_sequence":null`:     `"finish_reason":"stop","native_finish_reason":"pause_turn"`,
		`"stop_sequence","stop_sequence":"\n#"`: `"finish_reason":"stop","native_finish_reason":"stop_sequence","stop_reason":"\n#"`,
		`null`:                                  `"finish_reason":null`,
	} {
		out, _, err := AnswerMessagesToChat(nil, []byte(`{"content":[],"stop_reason":`+stop+`}`), asM())
		if err != nil || !strings.Contains(string(out), want+"}]") {
			t.Errorf("%s: %s, %v", stop, out, err)
		}
	}
}

func TestResponseIsNotAMessage(t *testing.T) {
	for _, body := range []string{``, `x`, `[]`, `{}`, `{"content":"x"}`, `{"content":null}`, `{"content":[]`, `{"type":"error","error":{}}`} {
		if out, _, err := AnswerMessagesToChat([]byte("x"), []byte(body), asM()); !errors.Is(err, ErrMalformed) || string(out) != "x" {
			t.Errorf("%s: %s, %v", body, out, err)
		}
	}
}

func asM() AnswerOptions { return AnswerOptions{Model: "m", ID: "id", Created: 7} }

func fromMessages(src io.Reader) *Stream { return TranslateStream(Messages, Chat, src, asM()) }

func TestP06AnthropicStreamBreaks(t *testing.T) {
	in := streamedScript([]block{{kind: "text", text: "Hello"}}, "end_turn", 2)
	cut := errors.New("connection reset")
	for i := range in[:len(in)-2] { // after that message_stop is there and only its blank line is not
		out, err := io.ReadAll(fromMessages(io.MultiReader(bytes.NewReader(in[:i]), iotest.ErrReader(cut))))
		if !errors.Is(err, cut) || bytes.Contains(out, []byte(sse.Done)) {
			t.Fatalf("cut at %d: %v, %s", i, err, out)
		}
		out, err = io.ReadAll(fromMessages(bytes.NewReader(in[:i])))
		if err != nil || bytes.Contains(out, []byte(sse.Done)) {
			t.Fatalf("ended at %d: %v, %s", i, err, out)
		}
	}
	if _, err := io.ReadAll(fromMessages(strings.NewReader("data: <html>\n\n"))); !errors.Is(err, ErrMalformed) {
		t.Errorf("not an event: %v", err)
	}
	if out, err := io.ReadAll(fromMessages(strings.NewReader(": keep-alive\n\n"))); err != nil || string(out) != ": keep-alive\n\n" {
		t.Errorf("keep-alive: %s, %v", out, err)
	}
}

func FuzzAnthropicStream(f *testing.F) {
	files, _ := filepath.Glob("testdata/messages_chat/*.sse")
	for _, file := range files {
		in, _ := os.ReadFile(file)
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, _ := io.ReadAll(fromMessages(bytes.NewReader(in)))
		r := sse.NewReader(bytes.NewReader(out), 0)
		for {
			ev, err := r.Next()
			if err != nil {
				return
			}
			if ev.Data != nil && string(ev.Data) != sse.Done && !json.Valid(ev.Data) {
				t.Fatalf("%s became %s", in, ev.Data)
			}
		}
	})
}

func FuzzResponseAnthropic(f *testing.F) {
	f.Add(bufferedScript([]block{{kind: "text", text: "a"}, {kind: "tool_use", id: "i", name: "n", input: "{}"}, {kind: "thinking", text: "t", signature: "s"}}, "end_turn"))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, _, err := AnswerMessagesToChat(nil, in, asM())
		if err == nil && !json.Valid(out) {
			t.Fatalf("%s became %s", in, out)
		}
	})
}

func BenchmarkStreamEvent(b *testing.B) {
	s := newMessagesToChat(AnswerOptions{Model: "public", ID: "chatcmpl-1", Created: 1700000000})
	s.event(nil, []byte(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`))
	data := []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}`)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out, _, _ = s.event(out[:0], data)
	}
}

// Usage that the source did not tell is not told as nothing: the gateway puts in what it counted itself.
func TestMessagesWithoutUsageToChat(t *testing.T) {
	opt := AnswerOptions{Model: "m", ID: "chatcmpl-1", Created: 1}
	const content = `"role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"`
	for _, body := range []string{`{` + content + `}`, `{` + content + `,"usage":null}`, `{` + content + `,"usage":{"service_tier":"standard"}}`} {
		out, u, err := AnswerMessagesToChat(nil, []byte(body), opt)
		if err != nil || u.Reported || strings.Contains(string(out), `usage`) || !json.Valid(out) {
			t.Errorf("%s became %s, %v", body, out, err)
		}
	}
	stream := "data: {\"type\":\"message_start\",\"message\":{\"content\":[]}}\n\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"hi\"}}\n\n" +
		"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n"
	out, err := io.ReadAll(TranslateStream(Messages, Chat, strings.NewReader(stream), opt))
	if err != nil || strings.Contains(string(out), "usage") || !strings.HasSuffix(string(out), "\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n") {
		t.Errorf("the stream became %s, %v", out, err)
	}
}
