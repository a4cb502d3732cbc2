package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pointsman/pointsman/engine/sse"
)

const responseRequest = `{"model":"fast","input":"x","instructions":"Be brief.","tools":[{"type":"function","name":"f0",` +
	`"parameters":{"type":"object"},"strict":false}],"temperature":0.50,"metadata":{"k":"v"},"text":{"format":{"type":"text"},"verbosity":"low"},` +
	`"reasoning":{"effort":"high","summary":"auto"},"tool_choice":"auto","max_output_tokens":99,"user":null,"store":true}`

func asResponse() AnswerOptions {
	return AnswerOptions{Model: "m", ID: "resp_0a", Created: 1700000000, Request: []byte(responseRequest)}
}

func TestAnswerChatToResponsesGolden(t *testing.T) {
	files, _ := filepath.Glob("testdata/chat_responses_answer/*.json")
	if len(files) == 0 {
		t.Fatal("no test data")
	}
	for _, file := range files {
		in, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		opt := asResponse()
		if strings.HasSuffix(file, "defaults.json") {
			opt.Request = nil
		}
		out, _, err := TranslateAnswer(Chat, Responses, []byte("x"), in, opt)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, out[1:], "", "  "); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		checkGolden(t, strings.TrimSuffix(file, ".json")+".golden", append(pretty.Bytes(), '\n'))
	}
}

func TestStreamChatToResponsesGolden(t *testing.T) {
	files, _ := filepath.Glob("testdata/chat_responses_stream/*.sse")
	if len(files) == 0 {
		t.Fatal("no test data")
	}
	for _, file := range files {
		in, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(fromChat(bytes.NewReader(in)))
		if err != nil {
			t.Fatal(err)
		}
		checkGolden(t, strings.TrimSuffix(file, ".sse")+".golden", out)
		again, _ := io.ReadAll(iotest.OneByteReader(fromChat(iotest.OneByteReader(bytes.NewReader(in)))))
		if !bytes.Equal(again, out) {
			t.Errorf("%s: byte by byte it is %s", file, again)
		}
		if !strings.HasSuffix(file, "error.sse") {
			readEvents(t, out)
		}
	}
}

func fromChat(src io.Reader) *Stream { return TranslateStream(Chat, Responses, src, asResponse()) }

// piece is a part of a scripted chat completion: reasoning_content, content, refusal, function or custom.
type piece struct{ kind, text, id, name string }

const chatUsage = `"usage":{"prompt_tokens":15,"completion_tokens":20,"total_tokens":35,"prompt_tokens_details":{"cached_tokens":5},"completion_tokens_details":{"reasoning_tokens":3}}`

const responsesUsage = `{"input_tokens":15,"input_tokens_details":{"cached_tokens":5,"cache_write_tokens":0},"output_tokens":20,` +
	`"output_tokens_details":{"reasoning_tokens":3},"total_tokens":35}`

// bufferedChat is a chat completion.
func bufferedChat(pieces []piece, finish, usage string) []byte {
	texts := map[string]string{}
	var calls []string
	for _, p := range pieces {
		switch p.kind {
		case "function":
			calls = append(calls, fmt.Sprintf(`{"id":%q,"type":"function","function":{"name":%q,"arguments":%s}}`, p.id, p.name, quoted(p.text)))
		case "custom":
			calls = append(calls, fmt.Sprintf(`{"id":%q,"type":"custom","custom":{"name":%q,"input":%s}}`, p.id, p.name, quoted(p.text)))
		default:
			texts[p.kind] += p.text
		}
	}
	message := `{"role":"assistant"`
	for _, kind := range []string{"reasoning_content", "content", "refusal"} {
		if text, ok := texts[kind]; ok {
			message += fmt.Sprintf(`,%q:%s`, kind, quoted(text))
		} else {
			message += fmt.Sprintf(`,%q:null`, kind)
		}
	}
	if calls != nil {
		message += `,"tool_calls":[` + strings.Join(calls, ",") + `]`
	}
	if usage != "" {
		usage = "," + usage
	}
	return []byte(`{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":` + message + `},"logprobs":null,"finish_reason":"` + finish + `"}]` + usage + `}`)
}

// chatStream writes chunks.
type chatStream struct{ out []byte }

func (s *chatStream) send(format string, args ...any) {
	s.out = sse.AppendEvent(s.out, "", fmt.Appendf(nil, format, args...))
}

func (s *chatStream) delta(format string, args ...any) {
	s.send(`{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":%s,"finish_reason":null}]}`, fmt.Sprintf(format, args...))
}

// streamedChat is the same answer as a stream whose deltas have at most size bytes (but whole characters).
func streamedChat(pieces []piece, finish, usage string, size int) []byte {
	var s chatStream
	s.delta(`{"role":"assistant","content":""}`)
	calls := 0
	for _, p := range pieces {
		argument := map[string]string{"function": "arguments", "custom": "input"}[p.kind]
		if argument != "" {
			s.delta(`{"tool_calls":[{"index":%d,"id":%q,"type":%q,%q:{"name":%q,%q:""}}]}`, calls, p.id, p.kind, p.kind, p.name, argument)
			calls++
		}
		for text := p.text; len(text) > 0; {
			n := min(size, len(text))
			for n < len(text) && text[n]&0xc0 == 0x80 {
				n++
			}
			if argument != "" {
				s.delta(`{"tool_calls":[{"index":%d,%q:{%q:%s}}]}`, calls-1, p.kind, argument, quoted(text[:n]))
			} else {
				s.delta(`{%q:%s}`, p.kind, quoted(text[:n]))
			}
			text = text[n:]
		}
	}
	s.send(`{"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":%q}]}`, finish)
	if usage != "" {
		s.send(`{"id":"chatcmpl-1","choices":[],%s}`, usage)
	}
	return sse.AppendEvent(s.out, "", []byte(sse.Done))
}

func TestP12ResponsesStreamedEqualsBuffered(t *testing.T) {
	text := func(s string) piece { return piece{kind: "content", text: s} }
	call := func(i int, arguments string) piece {
		return piece{"function", arguments, fmt.Sprint("call_", i), fmt.Sprint("f", i)}
	}
	calls := func(n int) (list []piece) {
		for i := range n {
			list = append(list, call(i, fmt.Sprintf(`{"i": %d, "s":"x"}`, i)))
		}
		return list
	}
	thought := piece{kind: "reasoning_content", text: "hm\n\"ok\" 世界"}
	large := `{"a":` + quoted(strings.Repeat("0123456789 世界\n\"\\", 5<<10)) + `}`
	for _, c := range []struct {
		name   string
		pieces []piece
		finish string
	}{
		{"nothing", nil, "stop"},
		{"nothing, cut", nil, "length"},
		{"text", []piece{text("Hello \"world\"\n世界 🌍\\u0041")}, "stop"},
		{"text, cut", []piece{text("Hello")}, "length"},
		{"text, filtered", []piece{text("Hello")}, "content_filter"},
		{"reasoning alone", []piece{thought}, "stop"},
		{"reasoning alone, cut", []piece{thought}, "length"},
		{"reasoning and text", []piece{thought, text("yes")}, "stop"},
		{"refusal", []piece{{kind: "refusal", text: "I may not."}}, "stop"},
		{"text and refusal", []piece{text("First"), {kind: "refusal", text: "no"}}, "stop"},
		{"1 call", calls(1), "tool_calls"},
		{"2 calls", calls(2), "tool_calls"},
		{"5 calls", calls(5), "tool_calls"},
		{"5 calls, a text before", append([]piece{thought, text("Let me see")}, calls(5)...), "tool_calls"},
		{"text between calls", []piece{call(0, `{}`), text("x 🌍"), call(1, `{"a":"🌍"}`), text("y"), call(2, `{"\"":"\\"}`)}, "tool_calls"},
		{"reasoning between calls", []piece{thought, call(0, `{}`), thought, call(1, `{}`)}, "tool_calls"},
		{"empty arguments", []piece{call(0, ""), call(1, `{"n":12345678901234567890}`), call(2, "")}, "tool_calls"},
		{"calls, ended as a turn", calls(2), "stop"},
		{"calls, cut", []piece{call(0, `{}`), call(1, `{"a":"b`)}, "length"},
		{"calls, cut before the arguments", []piece{call(0, ``), call(1, ``)}, "length"},
		{"custom", []piece{text("patch"), {"custom", "*** Begin\n+世界", "call_c", "apply_patch"}, call(1, `{}`), {"custom", "", "call_d", "say"}}, "tool_calls"},
		{"large arguments", []piece{call(0, large), call(1, large)}, "tool_calls"},
		{"failed", []piece{text("Hel")}, "error"},
		{"unknown", []piece{text("Hel")}, "something_new"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body, usage, err := AnswerChatToResponses(nil, bufferedChat(c.pieces, c.finish, chatUsage), asResponse())
			if err != nil {
				t.Fatal(err)
			}
			want := gather(t, body)
			if want.Usage != responsesUsage || usage.Input != 15 || usage.Output != 20 {
				t.Errorf("usage is %s, %+v", want.Usage, usage)
			}
			var given []piece
			for _, p := range c.pieces {
				if p.kind == "function" || p.kind == "custom" {
					given = append(given, p)
				}
			}
			if len(given) != len(want.Calls) {
				t.Fatalf("%d calls became %d", len(given), len(want.Calls))
			}
			for i, got := range want.Calls {
				argument, sent := append(got.Arguments, got.Input...), given[i].text
				if sent == "" && got.Type == "function_call" && got.Status == "completed" {
					sent = "{}"
				}
				if string(argument) != quoted(sent) || string(got.CallID) != quoted(given[i].id) || string(got.Name) != quoted(given[i].name) {
					t.Errorf("call %d is %+v", i, got)
				}
			}
			sizes := []int{1, 2, 3, 7, 1 << 30}
			if c.name == "large arguments" {
				sizes = []int{1000, 200 << 10}
			}
			for _, size := range sizes {
				src := fromChat(bytes.NewReader(streamedChat(c.pieces, c.finish, chatUsage, size)))
				out, err := io.ReadAll(src)
				if err != nil {
					t.Fatal(err)
				}
				if got := gather(t, readEvents(t, out)); !reflect.DeepEqual(got, want) {
					t.Errorf("deltas of %d bytes:\n got %+v\nwant %+v", size, got, want)
				}
				if src.Usage() != usage {
					t.Errorf("usage is %+v, want %+v", src.Usage(), usage)
				}
			}
		})
	}
}

func TestArgumentsCutAnywhere(t *testing.T) {
	const arguments = `{"city": "Köln\n\"🌍\"", "n": 1.50, "list": [null, {}]}`
	for i := range arguments {
		var s chatStream
		s.delta(`{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":%s}}]}`, quoted(arguments[:i]))
		s.delta(`{"tool_calls":[{"index":0,"function":{"arguments":%s}}]}`, quoted(arguments[i:]))
		s.send(`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`)
		out, err := io.ReadAll(fromChat(bytes.NewReader(s.out)))
		if err != nil {
			t.Fatal(err)
		}
		if w := gather(t, readEvents(t, out)); string(w.Calls[0].Arguments) != quoted(arguments) {
			t.Errorf("cut at %d: %s", i, w.Calls[0].Arguments)
		}
	}
}

// Providers do not agree on how to tell parallel calls apart.
func TestStreamOfParallelCalls(t *testing.T) {
	const one, two = `{"a":1}`, `{"b":2}`
	for name, deltas := range map[string][]string{
		"alternating": {
			`{"index":0,"id":"c0","type":"function","function":{"name":"f0","arguments":""}}`,
			`{"index":1,"id":"c1","type":"function","function":{"name":"f1","arguments":""}}`,
			`{"index":0,"function":{"arguments":"{\"a\""}}`, `{"index":1,"function":{"arguments":"{\"b\":"}}`,
			`{"index":0,"function":{"arguments":":1}"}}`, `{"index":1,"function":{"arguments":"2}"}}`,
		},
		"whole": {`{"index":0,"id":"c0","function":{"name":"f0","arguments":"{\"a\":1}"}},{"index":1,"id":"c1","function":{"name":"f1","arguments":"{\"b\":2}"}}`},
		"without an index": {
			`{"id":"c0","function":{"name":"f0","arguments":"{\"a\":1}"}}`, `{"id":"c1","function":{"name":"f1","arguments":"{\"b\""}}`, `{"function":{"arguments":":2}"}}`,
		},
		"with the same index": {
			`{"index":0,"id":"c0","function":{"name":"f0","arguments":"{\"a\""}}`, `{"index":0,"function":{"arguments":":1}"}}`,
			`{"index":0,"id":"c1","function":{"name":"f1","arguments":"{\"b\""}}`, `{"index":0,"function":{"arguments":":2}"}}`,
		},
		"the id and the name repeated": {
			`{"index":0,"id":"c0","function":{"name":"f0","arguments":"{\"a\""}}`, `{"index":0,"id":"c0","function":{"name":"f0","arguments":":1}"}}`,
			`{"index":1,"id":"c1","function":{"name":"f1","arguments":"{\"b\""}}`, `{"index":1,"id":"c1","function":{"name":"f1","arguments":":2}"}}`,
		},
		"the id repeated without an index": {
			`{"id":"c0","function":{"name":"f0"}}`, `{"id":"c1","function":{"name":"f1"}}`,
			`{"id":"c0","function":{"arguments":"{\"a\":1}"}}`, `{"id":"c1","function":{"arguments":"{\"b\":2}"}}`,
		},
		"the name late": {
			`{"index":0,"id":"c0"}`, `{"index":0,"function":{"arguments":"{\"a\""}}`, `{"index":0,"function":{"name":"f0","arguments":":1}"}}`,
			`{"index":1,"id":"c1","custom":null,"function":{"name":"f1","arguments":"{\"b\":2}"}}`,
		},
		"as objects": {`{"index":0,"id":"c0","function":{"name":"f0","arguments":{"a":1}}}`, `{"index":1,"id":"c1","function":{"name":"f1","arguments":{"b":2}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			var s chatStream
			for _, d := range deltas {
				s.delta(`{"tool_calls":[%s]}`, d)
			}
			s.send(`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`)
			out, err := io.ReadAll(fromChat(bytes.NewReader(s.out)))
			if err != nil {
				t.Fatal(err)
			}
			w := gather(t, readEvents(t, out))
			var got []string
			for _, c := range w.Calls {
				got = append(got, string(unquoted(c.CallID))+string(unquoted(c.Name))+string(unquoted(c.Arguments)))
			}
			if want := []string{"c0f0" + one, "c1f1" + two}; !reflect.DeepEqual(got, want) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// callsWithoutIDs are chunks of two calls that have no id to be told apart by, only a name and arguments after others were whole.
func callsWithoutIDs(t *testing.T, each func(t *testing.T, deltas []string)) {
	for name, deltas := range map[string][]string{
		"nor an index":             {`{"function":{"name":"f0","arguments":"{\"a\":\"}\"}"}},{"function":{"name":"f1","arguments":"{}"}}`},
		"the same index":           {`{"index":0,"function":{"name":"f0","arguments":"{\"a\":\"}\"}"}},{"index":0,"function":{"name":"f1","arguments":"{}"}}`},
		"the same index, in parts": {`{"index":0,"function":{"name":"f0","arguments":"{\"a\":"}}`, `{"index":0,"function":{"arguments":"\"}\"}"}}`, `{"index":0,"function":{"name":"f1","arguments":"{"}}`, `{"index":0,"function":{"arguments":"}"}}`},
		"ids that are empty":       {`{"index":0,"id":"","function":{"name":"f0","arguments":"{\"a\":\"}\"}"}}`, `{"index":0,"id":"","function":{"name":"f1","arguments":"{}"}}`},
		"the name repeated":        {`{"index":0,"function":{"name":"f0","arguments":"{\"a\":"}}`, `{"index":0,"function":{"name":"f0","arguments":"\"}\"}"}}`, `{"index":1,"function":{"name":"f1","arguments":"{}"}}`},
	} {
		t.Run(name, func(t *testing.T) { each(t, deltas) })
	}
}

func TestCallsWithoutIDsToResponses(t *testing.T) {
	callsWithoutIDs(t, func(t *testing.T, deltas []string) {
		var s chatStream
		for _, d := range deltas {
			s.delta(`{"tool_calls":[%s]}`, d)
		}
		s.send(`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`)
		out, err := io.ReadAll(fromChat(bytes.NewReader(s.out)))
		if err != nil {
			t.Fatal(err)
		}
		calls := gather(t, readEvents(t, out)).Calls
		if len(calls) != 2 || string(calls[0].Name) != `"f0"` || string(unquoted(calls[0].Arguments)) != `{"a":"}"}` || string(calls[1].Name) != `"f1"` ||
			string(unquoted(calls[1].Arguments)) != `{}` || string(calls[0].CallID) == string(calls[1].CallID) {
			t.Errorf("%s", calls)
		}
	})
}

func TestCallsWithoutIDsToMessages(t *testing.T) {
	callsWithoutIDs(t, func(t *testing.T, deltas []string) {
		s := newChatToMessages(asMessage())
		var out []byte
		for _, d := range append(deltas, "") {
			var err error
			if out, _, err = s.event(out, []byte(`{"choices":[{"delta":{"tool_calls":[`+d+`]}}]}`)); err != nil {
				t.Fatal(err)
			}
		}
		out = s.finish(out)
		var got string
		r := sse.NewReader(bytes.NewReader(out), 0)
		for event, err := r.Next(); err == nil; event, err = r.Next() {
			m := members(event.Data, "content_block", "delta")
			got += string(unquoted(members(m[0], "name")[0])) + string(unquoted(members(m[1], "partial_json")[0]))
		}
		if got != `f0{"a":"}"}f1{}` {
			t.Errorf("%s from %s", got, out)
		}
	})
}

// Whatever the order of the deltas, no text is lost and the events are those of a well-formed answer.
func TestRandomChatStreams(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 3))
	texts := []string{"a", " word", "世界", "🌍", "\"\\", "\n\n", "{", "\\u0041", strings.Repeat("long ", 40)}
	for range 1500 {
		var s chatStream
		var want outputWhole
		var arguments []string
		reported := false
		for range rnd.IntN(25) {
			text := texts[rnd.IntN(len(texts))]
			switch rnd.IntN(9) {
			case 0, 1:
				s.delta(`{"content":%s}`, quoted(text))
				want.Text += string(inner(appendQuoted(nil, text)))
			case 2:
				s.delta(`{"reasoning_content":%s,"reasoning":%s}`, quoted(text), quoted(text))
				want.Reasoning += string(inner(appendQuoted(nil, text)))
			case 3:
				s.delta(`{"refusal":%s}`, quoted(text))
				want.Refusal += string(inner(appendQuoted(nil, text)))
			case 4:
				s.delta(`{"content":"","tool_calls":[{"index":%d,"id":"call_%d","type":"function","function":{"name":"f","arguments":%s}}]}`, len(arguments), len(arguments), quoted(text))
				arguments = append(arguments, text)
			case 5, 6:
				if n := len(arguments); n > 0 {
					i := rnd.IntN(n)
					s.delta(`{"content":null,"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}`, i, quoted(text))
					arguments[i] += text
				}
			case 7:
				s.send(`{"choices":[],%s}`, chatUsage)
				reported = true
			case 8:
				s.delta(`{"role":"assistant","content":%s,"refusal":%s}`, quoted(text), quoted(text))
				want.Text += string(inner(appendQuoted(nil, text)))
				want.Refusal += string(inner(appendQuoted(nil, text)))
			}
		}
		finish := []string{"stop", "length", "tool_calls"}[rnd.IntN(3)]
		s.send(`{"choices":[{"index":0,"delta":{},"finish_reason":%q}]}`, finish)
		out, err := io.ReadAll(fromChat(iotest.HalfReader(bytes.NewReader(s.out))))
		if err != nil {
			t.Fatal(err)
		}
		got := gather(t, readEvents(t, out))
		if got.Text != want.Text || got.Reasoning != want.Reasoning || got.Refusal != want.Refusal || (got.Usage != "") != reported || len(got.Calls) != len(arguments) {
			t.Fatalf("%s\nbecame %+v\nwant %+v", s.out, got, want)
		}
		for i, c := range got.Calls {
			if string(c.Arguments) != quoted(arguments[i]) || string(c.CallID) != fmt.Sprintf(`"call_%d"`, i) {
				t.Fatalf("%s\ncall %d became %+v", s.out, i, c)
			}
		}
	}
}

func TestFinishReasonsOfResponses(t *testing.T) {
	for reason, want := range map[string]string{
		"stop": "completed/", "tool_calls": "completed/", "function_call": "completed/", "": "completed/",
		"length": "incomplete/max_output_tokens", "content_filter": "incomplete/content_filter",
		"error": "failed/", "something_new": "incomplete/something_new",
	} {
		body, _, err := AnswerChatToResponses(nil, bufferedChat([]piece{{kind: "content", text: "x"}}, reason, ""), asResponse())
		if err != nil {
			t.Fatal(err)
		}
		if w := gather(t, body); w.Status+"/"+w.Reason != want || w.Usage != "" {
			t.Errorf("%s: %+v, want %s", reason, w, want)
		}
	}
}

// However a source tells its usage, the last event has it; without, the gateway puts in its own.
func TestUsageStylesOfChatStreams(t *testing.T) {
	const little = `"usage":{"prompt_tokens":15,"completion_tokens":1,"total_tokens":16}`
	chunk := func(s *chatStream, delta, finish, usage string) {
		s.send(`{"choices":[{"index":0,"delta":%s,"finish_reason":%s}]%s}`, delta, finish, usage)
	}
	for name, write := range map[string]func(s *chatStream){
		"last chunk": func(s *chatStream) {
			chunk(s, `{"content":"Hi"}`, "null", `,"usage":null`)
			chunk(s, `{}`, `"stop"`, "")
			s.send(`{"choices":[],%s}`, chatUsage)
		},
		"finish chunk": func(s *chatStream) {
			chunk(s, `{"content":"Hi"}`, "null", "")
			chunk(s, `{}`, `"stop"`, ","+chatUsage)
		},
		"every chunk": func(s *chatStream) {
			chunk(s, `{"content":"H"}`, "null", ","+little)
			chunk(s, `{"content":"i"}`, "null", ","+chatUsage)
			chunk(s, `{}`, `"stop"`, ","+chatUsage)
			s.send(`{"choices":[],%s}`, chatUsage)
		},
		"before the finish": func(s *chatStream) {
			chunk(s, `{"content":"Hi"}`, "null", "")
			s.send(`{"choices":[],%s}`, chatUsage)
			chunk(s, `{}`, `"stop"`, "")
		},
		"never": func(s *chatStream) {
			chunk(s, `{"content":"Hi"}`, "null", "")
			chunk(s, `{}`, `"stop"`, "")
		},
	} {
		for _, ending := range []string{"data: [DONE]\n\n", ""} {
			var s chatStream
			write(&s)
			src := fromChat(strings.NewReader(string(s.out) + ending))
			out, err := io.ReadAll(src)
			if err != nil {
				t.Fatal(err)
			}
			want := responsesUsage
			if name == "never" {
				want = ""
			}
			w := gather(t, readEvents(t, out))
			if w.Usage != want || w.Text != "Hi" || src.Usage().Reported != (want != "") {
				t.Errorf("%s, %q: %+v", name, ending, w)
			}
			last := out[bytes.LastIndex(out[:len(out)-2], []byte("data: "))+len("data: ") : len(out)-2]
			var m Meter
			info := Responses.Inspect(last)
			m.Add(Responses, last)
			if !info.Done || info.Usage != (want != "") || m.Usage() != src.Usage() {
				t.Errorf("%s: the gateway reads %+v, %+v", name, info, m.Usage())
			}
		}
	}
}

func TestP06ChatStreamBreaks(t *testing.T) {
	in := streamedChat([]piece{{kind: "content", text: "Hello"}, {"function", "{}", "c", "f"}}, "tool_calls", chatUsage, 2)
	cut := errors.New("connection reset")
	finish := bytes.Index(in, []byte(`"tool_calls"}]}`)) + len(`"tool_calls"}]}`)
	for i := range in[:len(in)-2] {
		out, err := io.ReadAll(fromChat(io.MultiReader(bytes.NewReader(in[:i]), iotest.ErrReader(cut))))
		if !errors.Is(err, cut) || bytes.Contains(out, []byte("response.completed")) {
			t.Fatalf("cut at %d: %v, %s", i, err, out)
		}
		out, err = io.ReadAll(fromChat(bytes.NewReader(in[:i])))
		ended := bytes.Contains(out, []byte("event: response.completed"))
		if err != nil || ended && i < finish || !ended && i >= finish && bytes.HasSuffix(in[:i], []byte("\n\n")) {
			t.Fatalf("ended at %d of %d: %v, %s", i, finish, err, out)
		}
		if ended {
			readEvents(t, out)
		}
	}
	if _, err := io.ReadAll(fromChat(strings.NewReader("data: <html>\n\n"))); !errors.Is(err, ErrMalformed) {
		t.Errorf("not an event: %v", err)
	}
	for in, want := range map[string]string{
		": keep-alive\n\n": ": keep-alive\n\n",
		"data: [DONE]\n\n": "",
		"data: {\"error\":{\"message\":\"no\",\"code\":429}}\n\ndata: [DONE]\n\n": "event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"code\":\"429\",\"message\":\"no\",\"param\":null}\n\n",
	} {
		if out, err := io.ReadAll(fromChat(strings.NewReader(in))); err != nil || string(out) != want {
			t.Errorf("%s: %s, %v", in, out, err)
		}
	}
}

// The way from the Messages API leads through chat completions.
func TestStreamMessagesToResponses(t *testing.T) {
	blocks := []block{{kind: "thinking", text: "hm", signature: "c2ln"}, {kind: "text", text: "Let me see"}, {kind: "tool_use", id: "toolu_1", name: "f", input: `{"a": 1.50}`}, {kind: "tool_use", id: "toolu_2", name: "g", input: `{}`}}
	body, usage, err := TranslateAnswer(Messages, Responses, nil, bufferedScript(blocks, "tool_use"), asResponse())
	if err != nil {
		t.Fatal(err)
	}
	want := gather(t, body)
	src := TranslateStream(Messages, Responses, bytes.NewReader(streamedScript(blocks, "tool_use", 3)), asResponse())
	out, err := io.ReadAll(src)
	if err != nil {
		t.Fatal(err)
	}
	if got := gather(t, readEvents(t, out)); !reflect.DeepEqual(got, want) || src.Usage() != usage || len(want.Calls) != 2 || want.Reasoning != "hm" {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

func TestAnswerIsNotAChatCompletion(t *testing.T) {
	for _, body := range []string{``, `x`, `[]`, `{}`, `{"choices":[]}`, `{"choices":[{}]}`, `{"choices":[{"message":"x"}]}`, `{"choices":[{"message":{}}]`, `{"error":{}}`} {
		if out, _, err := AnswerChatToResponses([]byte("x"), []byte(body), asResponse()); !errors.Is(err, ErrMalformed) || string(out) != "x" {
			t.Errorf("%s: %s, %v", body, out, err)
		}
	}
}

// What the object repeats of the request is as the caller wrote it.
func TestResponseRepeatsTheRequest(t *testing.T) {
	opt := asResponse()
	out, _, err := AnswerChatToResponses(nil, bufferedChat(nil, "stop", ""), opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"temperature":0.50,`, `"metadata":{"k":"v"},`, `"user":null`, `"top_p":1.0,`, `"truncation":"disabled"`, `"store":false`, `"previous_response_id":null`,
		`"tools":[{"type":"function","name":"f0","parameters":{"type":"object"},"strict":false}]`, `"instructions":"Be brief."`,
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("%s is not in %s", want, out)
		}
	}
	stream := fromChat(bytes.NewReader(streamedChat(nil, "stop", "", 1)))
	clear(opt.Request)
	if streamed, _ := io.ReadAll(stream); !bytes.Contains(streamed, []byte(`"temperature":0.50,`)) {
		t.Errorf("the stream says %s", streamed)
	}
	opt.Request = []byte(`{"temperature":1`)
	if out, _, _ = AnswerChatToResponses(nil, bufferedChat(nil, "stop", ""), opt); !bytes.Contains(out, []byte(`"temperature":1.0,`)) {
		t.Errorf("of no request: %s", out)
	}
}

func FuzzAnswerChatToResponses(f *testing.F) {
	f.Add(bufferedChat([]piece{{kind: "reasoning_content", text: "t"}, {kind: "content", text: "a"}, {"function", "{}", "c", "f"}, {"custom", "x", "d", "g"}}, "stop", chatUsage), []byte(responseRequest))
	f.Fuzz(func(t *testing.T, in, request []byte) {
		opt := asResponse()
		opt.Request = request
		out, _, err := AnswerChatToResponses(nil, in, opt)
		if err == nil && !json.Valid(out) {
			t.Fatalf("%s became %s", in, out)
		}
	})
}

func FuzzStreamChatToResponses(f *testing.F) {
	files, _ := filepath.Glob("testdata/chat_responses_stream/*.sse")
	for _, file := range files {
		in, _ := os.ReadFile(file)
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, _ := io.ReadAll(fromChat(bytes.NewReader(in)))
		r := sse.NewReader(bytes.NewReader(out), 0)
		ended, failed := false, false
		for {
			ev, err := r.Next()
			if err != nil {
				break
			}
			if ev.Data != nil && !json.Valid(ev.Data) {
				t.Fatalf("%s became %s", in, ev.Data)
			}
			info := Responses.Inspect(ev.Data)
			ended = ended || info.Done || string(ev.Name) == "response.failed"
			failed = failed || string(ev.Name) == "error"
		}
		if ended && failed {
			t.Fatalf("%s became %s", in, out)
		}
		if ended {
			readEvents(t, out)
		}
	})
}

func BenchmarkResponsesEvent(b *testing.B) {
	s := newChatToResponses(asResponse())
	data := []byte(`{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}`)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out, _, _ = s.event(out[:0], data)
	}
}
