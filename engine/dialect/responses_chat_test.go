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

func TestResponsesToChatAnswerGolden(t *testing.T) {
	files, _ := filepath.Glob("testdata/responses_chat/*.json")
	if len(files) == 0 {
		t.Fatal("no test data")
	}
	for _, file := range files {
		in, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out, usage, err := TranslateAnswer(Responses, Chat, nil, in, AnswerOptions{Model: "public", ID: "chatcmpl-1", Created: 1700000000})
		if err != nil {
			t.Fatal(err)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, out, "", "  "); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		checkGolden(t, strings.TrimSuffix(file, ".json")+".golden", append(pretty.Bytes(), '\n'))
		if got, _ := OpenAIUsage(out); got != usage {
			t.Errorf("%s: the usage is %+v, and in the answer %+v", file, usage, got)
		}
		if got, _ := Responses.Usage(in); got != usage {
			t.Errorf("%s: the usage is %+v, and of the source %+v", file, usage, got)
		}
	}
}

func TestResponsesToChatStreamGolden(t *testing.T) {
	files, _ := filepath.Glob("testdata/responses_chat_stream/*.sse")
	if len(files) == 0 {
		t.Fatal("no test data")
	}
	opt := AnswerOptions{Model: "public", ID: "chatcmpl-1", Created: 1700000000}
	for _, file := range files {
		in, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(TranslateStream(Responses, Chat, bytes.NewReader(in), opt))
		if err != nil {
			t.Fatal(err)
		}
		checkGolden(t, strings.TrimSuffix(file, ".sse")+".golden", out)
		again, _ := io.ReadAll(iotest.OneByteReader(TranslateStream(Responses, Chat, iotest.OneByteReader(bytes.NewReader(in)), opt)))
		if !bytes.Equal(again, out) {
			t.Errorf("%s: byte by byte it is %s", file, again)
		}
	}
}

// outItem is an item of a scripted response. Its pieces are the texts of its parts; a call has one, its arguments.
type outItem struct {
	kind, id, name string
	pieces         []string
	annotated      bool
}

func (o outItem) part(text string) string {
	switch o.kind {
	case "message":
		annotations := "[]"
		if o.annotated {
			annotations = `[` + o.annotation() + `]`
		}
		return `{"type":"output_text","text":` + quoted(text) + `,"annotations":` + annotations + `,"logprobs":[{"token":` + quoted(text) + `,"logprob":-1}]}`
	case "refusal":
		return `{"type":"refusal","refusal":` + quoted(text) + `}`
	case "reasoning":
		return `{"type":"summary_text","text":` + quoted(text) + `}`
	}
	return `{"type":"reasoning_text","text":` + quoted(text) + `}`
}

func (o outItem) annotation() string {
	return `{"type":"url_citation","url":"https://x.example","title":"X","start_index":0,"end_index":1}`
}

// object is the item as the API writes it, with the first parts of its content.
func (o outItem) object(whole bool) string {
	var list []string
	text := ""
	if whole {
		for _, p := range o.pieces {
			list = append(list, o.part(p))
			text += p
		}
	}
	content := `[` + strings.Join(list, ",") + `]`
	head := `{"id":` + quoted("item_"+o.id) + `,"type":`
	switch o.kind {
	case "message", "refusal":
		return head + `"message","role":"assistant","content":` + content + `}`
	case "reasoning":
		return head + `"reasoning","summary":` + content + `}`
	case "thinking":
		return head + `"reasoning","summary":[],"content":` + content + `}`
	case "custom":
		return head + `"custom_tool_call","call_id":` + quoted(o.id) + `,"name":` + quoted(o.name) + `,"input":` + quoted(text) + `}`
	case "function":
		return head + `"function_call","call_id":` + quoted(o.id) + `,"name":` + quoted(o.name) + `,"arguments":` + quoted(text) + `}`
	}
	return head + quoted(o.kind) + `}`
}

// bufferedResponse is the answer of the Responses API.
func bufferedResponse(items []outItem, status string) string {
	var list []string
	for _, o := range items {
		list = append(list, o.object(true))
	}
	return `{"object":"response",` + status + `,"service_tier":"default","output":[` + strings.Join(list, ",") +
		`],"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":5},"output_tokens":20,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":30}}`
}

// sending says what a scripted stream sends beside the final response.
type sending struct {
	deltas, dones, items bool
	size                 int  // of the deltas, in bytes, but whole characters
	numbered             bool // or everything has index 0, as some servers have it
	parallel             bool // calls are begun before any has its arguments
}

// streamedResponse is the same answer as a stream.
func streamedResponse(items []outItem, status string, how sending) []byte {
	var out []byte
	send := func(kind, format string, args ...any) {
		out = sse.AppendEvent(out, kind, fmt.Appendf(nil, `{"type":%q,`+format+`}`, append([]any{kind}, args...)...))
	}
	deltas := map[string]string{
		"message": "output_text", "refusal": "refusal", "reasoning": "reasoning_summary_text", "thinking": "reasoning_text",
		"function": "function_call_arguments", "custom": "custom_tool_call_input",
	}
	dones := map[string]string{"refusal": "refusal", "function": "arguments", "custom": "input"}
	index := func(i int) int {
		if how.numbered {
			return i
		}
		return 0
	}
	begin := func(i int) {
		if how.items {
			send("response.output_item.added", `"output_index":%d,"item":%s`, index(i), items[i].object(false))
		}
	}
	send("response.created", `"response":{"status":"in_progress","output":[]}`)
	if how.parallel {
		for i := range items {
			begin(i)
		}
	}
	for i, o := range items {
		if !how.parallel {
			begin(i)
		}
		for part, text := range o.pieces {
			at := fmt.Sprintf(`"item_id":%q,"output_index":%d`, "item_"+o.id, index(i))
			name := "content_index"
			if o.kind == "reasoning" {
				name = "summary_index"
			}
			at += fmt.Sprintf(`,%q:%d`, name, part)
			kind, rest, first := deltas[o.kind], text, true
			for how.deltas && len(rest) > 0 {
				n := min(how.size, len(rest))
				for n < len(rest) && rest[n]&0xc0 == 0x80 {
					n++
				}
				logprobs := "[]"
				if first && kind == "output_text" {
					logprobs, first = `[{"token":`+quoted(text)+`,"logprob":-1}]`, false
				}
				send("response."+kind+".delta", `%s,"delta":%s,"logprobs":%s`, at, quoted(rest[:n]), logprobs)
				rest = rest[n:]
			}
			if o.annotated && how.deltas {
				send("response.output_text.annotation.added", `%s,"annotation":%s`, at, o.annotation())
			}
			if how.dones && kind != "" {
				field := dones[o.kind]
				if field == "" {
					field = "text"
				}
				logprobs := ""
				if kind == "output_text" {
					logprobs = `,"logprobs":[{"token":` + quoted(text) + `,"logprob":-1}]`
				}
				send("response."+kind+".done", `%s,%q:%s%s`, at, field, quoted(text), logprobs)
			}
		}
		if how.items {
			send("response.output_item.done", `"output_index":%d,"item":%s`, index(i), o.object(true))
		}
	}
	kind := "response.completed"
	if strings.Contains(status, "incomplete") {
		kind = "response.incomplete"
	}
	send(kind, `"response":%s`, bufferedResponse(items, status))
	return out
}

// putTogether is a chat completion, to be compared.
type putTogether struct {
	message               map[string]any
	finish, native, usage string
	tier                  string
}

// join adds the value of a delta to what has come before, as SDKs do; null is nothing.
func join(t *testing.T, to map[string]any, delta map[string]any) {
	t.Helper()
	for name, v := range delta {
		switch v := v.(type) {
		case nil:
		case string:
			was, _ := to[name].(string)
			if name == "id" || name == "type" || name == "role" {
				if was != "" {
					t.Fatalf("%s came twice", name)
				}
			}
			if was+v != "" {
				to[name] = was + v
			}
		case []any:
			was, _ := to[name].([]any)
			if name != "tool_calls" {
				to[name] = append(was, v...)
				continue
			}
			for i, call := range v {
				call := call.(map[string]any)
				if index, ok := call["index"]; ok {
					i = int(index.(float64))
				}
				delete(call, "index")
				if i == len(was) {
					was = append(was, map[string]any{})
				}
				join(t, was[i].(map[string]any), call) // a gap in the indexes panics
			}
			to[name] = was
		case map[string]any:
			was, ok := to[name].(map[string]any)
			if !ok {
				was = map[string]any{}
				to[name] = was
			}
			join(t, was, v)
		}
	}
}

func (j *putTogether) add(t *testing.T, data []byte, object, member string) {
	t.Helper()
	var c struct {
		ID, Object, Model string
		Created           int64
		Tier              string `json:"service_tier"`
		Choices           []struct {
			Index          int
			Message, Delta map[string]any
			Logprobs       map[string]any
			Finish         string `json:"finish_reason"`
			Native         string `json:"native_finish_reason"`
		}
		Usage json.RawMessage
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	if c.Object != object || c.ID != "id" || c.Model != "m" || c.Created != 7 || len(c.Choices) > 1 {
		t.Fatalf("wrong frame: %s", data)
	}
	if len(c.Usage) > 0 {
		j.usage = string(c.Usage)
	}
	j.tier += c.Tier
	if len(c.Choices) == 0 {
		return
	}
	if j.finish != "" {
		t.Fatalf("more after the finish: %s", data)
	}
	content := c.Choices[0].Message
	if member == "delta" {
		content = c.Choices[0].Delta
	}
	join(t, j.message, content)
	join(t, j.message, map[string]any{"logprobs": c.Choices[0].Logprobs["content"]})
	j.finish, j.native = c.Choices[0].Finish, c.Choices[0].Native
}

func joinBuffered(t *testing.T, body []byte) putTogether {
	t.Helper()
	j := putTogether{message: map[string]any{}}
	j.add(t, body, "chat.completion", "message")
	return j
}

func joinStreamed(t *testing.T, stream []byte) putTogether {
	t.Helper()
	j := putTogether{message: map[string]any{}}
	r := sse.NewReader(bytes.NewReader(stream), 8<<20)
	for {
		ev, err := r.Next()
		if err != nil {
			t.Fatalf("no [DONE]: %v", err)
		}
		if string(ev.Data) == sse.Done {
			return j
		}
		j.add(t, ev.Data, "chat.completion.chunk", "delta")
	}
}

const (
	completed = `"status":"completed","incomplete_details":null`
	cutShort  = `"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}`
)

func fromResponses(src io.Reader) *Stream { return TranslateStream(Responses, Chat, src, asM()) }

func TestP12ResponsesAsChatStreamedEqualsBuffered(t *testing.T) {
	text := func(pieces ...string) outItem { return outItem{kind: "message", id: "m", pieces: pieces} }
	call := func(i int, arguments string) outItem {
		return outItem{kind: "function", id: fmt.Sprint("call_", i), name: fmt.Sprint("f", i), pieces: []string{arguments}}
	}
	cited := outItem{kind: "message", id: "m", pieces: []string{"世界 🌍", "b\\u0041"}, annotated: true}
	custom := outItem{kind: "custom", id: "call_c", name: "run", pieces: []string{"a = \"1\"\n🌍"}}
	reasons := outItem{kind: "reasoning", id: "r", pieces: []string{"hm\n\"ok\"", "so"}}
	refusal := outItem{kind: "refusal", id: "m", pieces: []string{"I can't \"do\" that"}}
	search := outItem{kind: "web_search_call", id: "s"}
	large := call(0, `{"a":`+quoted(strings.Repeat("0123456789 世界\n\"\\", 4<<10))+`}`)
	for _, c := range []struct {
		name, status, finish string
		items                []outItem
	}{
		{"no items", completed, "stop", nil},
		{"no calls", completed, "stop", []outItem{text("Hello \"world\"\n世界 🌍\\u0041")}},
		{"one call", completed, "tool_calls", []outItem{call(0, `{"city": "Köln", "n": 1.50}`)}},
		{"two calls", completed, "tool_calls", []outItem{text("Let me see"), call(0, `{"a":1}`), call(1, `{"b":[{}]}`)}},
		{
			"five calls, text between", completed, "tool_calls",
			[]outItem{reasons, call(0, `{}`), text("x"), call(1, `{"a":"🌍"}`), call(2, ``), search, text("y"), call(3, `{"\"":"\\"}`), custom, call(4, `{"n":12345678901234567890}`)},
		},
		{"reasoning", completed, "stop", []outItem{reasons, {kind: "thinking", id: "t", pieces: []string{"whole"}}, text("yes")}},
		{"empty arguments", completed, "tool_calls", []outItem{call(0, ``), call(1, `{}`)}},
		{"a custom tool", completed, "tool_calls", []outItem{custom}},
		{"a custom tool without input", completed, "tool_calls", []outItem{{kind: "custom", id: "call_c", name: "run", pieces: []string{""}}}},
		{"calls with one id", completed, "tool_calls", []outItem{call(0, `{"a":1}`), call(0, `{"a":2}`)}},
		{"a refusal", completed, "stop", []outItem{refusal}},
		{"citations", completed, "stop", []outItem{text("first "), cited}},
		{"P27: a call cut off", cutShort, "length", []outItem{call(0, `{"a":`)}},
		{"large arguments", completed, "tool_calls", []outItem{large}},
	} {
		t.Run(c.name, func(t *testing.T) {
			body, _, err := AnswerResponsesToChat(nil, []byte(bufferedResponse(c.items, c.status)), asM())
			if err != nil {
				t.Fatal(err)
			}
			want := joinBuffered(t, body)
			if want.finish != c.finish || want.tier != "default" || want.usage == "" {
				t.Errorf("finish_reason %q, want %q; %+v", want.finish, c.finish, want)
			}
			sizes := []int{1, 2, 3, 7, 1 << 30}
			if c.name == "large arguments" {
				sizes = []int{500, 200 << 10}
			}
			for _, size := range sizes {
				for _, how := range []sending{
					{deltas: true, dones: true, items: true, numbered: true},
					{deltas: true, dones: true, items: true, numbered: true, parallel: true},
					{deltas: true, items: true, numbered: true},
					{dones: true, items: true, numbered: true},
					{items: true, numbered: true},
					{items: true, numbered: true, parallel: true},
					{},
					{deltas: true, dones: true, items: true}, // all at index 0
				} {
					how.size = size
					out, err := io.ReadAll(fromResponses(bytes.NewReader(streamedResponse(c.items, c.status, how))))
					if err != nil {
						t.Fatal(err)
					}
					got := joinStreamed(t, out)
					if !how.numbered && how.deltas { // parts cannot be told apart then
						for _, j := range []*putTogether{&got, &want} {
							delete(j.message, "annotations")
							if s, ok := j.message["reasoning_content"].(string); ok {
								j.message["reasoning_content"] = strings.ReplaceAll(s, "\n\n", "")
							}
						}
					}
					if !reflect.DeepEqual(got, want) {
						t.Errorf("%+v:\n got %+v\nwant %+v", how, got, want)
					}
					want = joinBuffered(t, body)
				}
			}
		})
	}
}

func TestP27ResponsesFinishReasons(t *testing.T) {
	for _, c := range []struct {
		status, reason string
		calls          bool
		finish         string
		exact          bool
	}{
		{"completed", "", false, "stop", true},
		{"completed", "", true, "tool_calls", true},
		{"incomplete", "max_output_tokens", false, "length", true},
		{"incomplete", "max_output_tokens", true, "length", true},
		{"incomplete", "content_filter", false, "content_filter", true},
		{"incomplete", "content_filter", true, "content_filter", true},
		{"incomplete", "max_messages", false, "max_messages", false},
		{"incomplete", "steered", true, "steered", false},
		{"incomplete", "", false, "incomplete", false},
		{"in_progress", "", false, "in_progress", false},
		{"queued", "", true, "queued", false},
		{"something_new", "", false, "something_new", false},
		{"", "", false, "", false},
	} {
		finish, exact := finishOfResponse([]byte(c.status), []byte(c.reason), c.calls)
		if string(finish) != c.finish || exact != c.exact {
			t.Errorf("%s, %s, calls %v: got %s, %v", c.status, c.reason, c.calls, finish, exact)
		}
	}
	for status, want := range map[string]string{
		`"status":"completed"`: `"finish_reason":"stop"`,
		`"status":"incomplete","incomplete_details":{"reason":"steered"}`: `"finish_reason":"steered","native_finish_reason":"steered"`,
		`"status":null`: `"finish_reason":null`,
	} {
		out, _, err := AnswerResponsesToChat(nil, []byte(`{`+status+`,"output":[]}`), asM())
		if err != nil || !strings.Contains(string(out), want+"}]") {
			t.Errorf("%s: %s, %v", status, out, err)
		}
	}
}

func TestFailedResponseIsNoAnswer(t *testing.T) {
	for _, body := range []string{
		`{"status":"failed","error":{"code":"server_error","message":"m"},"output":[]}`, `{"status":"failed","error":null,"output":[]}`,
		`{"status":"cancelled","output":[]}`, `{"error":{"message":"m"},"output":[]}`,
	} {
		if !Responses.InspectAnswer([]byte(body)).Error {
			t.Errorf("%s does not count as an error", body)
		}
		if out, _, err := AnswerResponsesToChat([]byte("x"), []byte(body), asM()); !errors.Is(err, ErrMalformed) || string(out) != "x" {
			t.Errorf("%s: %s, %v", body, out, err)
		}
		data := `data: {"type":"response.completed","response":` + body + "}\n\n"
		out, err := io.ReadAll(fromResponses(strings.NewReader(data)))
		if err != nil || bytes.Contains(out, []byte(sse.Done)) || !bytes.Contains(out, []byte(`"error":{"message":"`)) {
			t.Errorf("%s as a stream: %s, %v", body, out, err)
		}
	}
	for _, body := range []string{``, `x`, `[]`, `{}`, `{"output":"x"}`, `{"output":null}`, `{"output":[]`} {
		if out, _, err := AnswerResponsesToChat([]byte("x"), []byte(body), asM()); !errors.Is(err, ErrMalformed) || string(out) != "x" {
			t.Errorf("%s: %s, %v", body, out, err)
		}
	}
}

func TestP06ResponsesStreamBreaks(t *testing.T) {
	items := []outItem{{kind: "message", id: "m", pieces: []string{"Hello"}}, {kind: "function", id: "c", name: "f", pieces: []string{`{"a":1}`}}}
	in := streamedResponse(items, completed, sending{deltas: true, dones: true, items: true, numbered: true, size: 2})
	finished := func(out []byte) bool {
		return bytes.Contains(out, []byte(sse.Done)) || bytes.Contains(out, []byte(`"usage"`)) || bytes.Contains(out, []byte(`"finish_reason":"`))
	}
	cut := errors.New("connection reset")
	for i := range in[:len(in)-2] { // after that the last event is there and only its blank line is not
		out, err := io.ReadAll(fromResponses(io.MultiReader(bytes.NewReader(in[:i]), iotest.ErrReader(cut))))
		if !errors.Is(err, cut) || finished(out) {
			t.Fatalf("cut at %d: %v, %s", i, err, out)
		}
		out, err = io.ReadAll(fromResponses(bytes.NewReader(in[:i])))
		if err != nil || finished(out) {
			t.Fatalf("ended at %d: %v, %s", i, err, out)
		}
	}
	if out, err := io.ReadAll(fromResponses(strings.NewReader("data: [DONE]\n\n"))); err != nil || finished(out) {
		t.Errorf("only the end marker: %s, %v", out, err)
	}
	if _, err := io.ReadAll(fromResponses(strings.NewReader("data: <html>\n\n"))); !errors.Is(err, ErrMalformed) {
		t.Errorf("not an event: %v", err)
	}
	if out, err := io.ReadAll(fromResponses(strings.NewReader(": keep-alive\n\n"))); err != nil || string(out) != ": keep-alive\n\n" {
		t.Errorf("keep-alive: %s, %v", out, err)
	}
}

func TestResponsesStreamErrors(t *testing.T) {
	for data, want := range map[string]string{
		`{"type":"error","code":"c","message":"m","param":"p"}`:                         `{"error":{"message":"m","type":"api_error","param":"p","code":"c"}}`,
		`{"type":"error","error":{"type":"t","code":"c","message":"m"}}`:                `{"error":{"message":"m","type":"t","param":null,"code":"c"}}`,
		`{"error":{"type":"t","code":429,"message":"m"}}`:                               `{"error":{"message":"m","type":"t","param":null,"code":"429"}}`,
		`{"type":"response.failed","response":{"error":{"code":"c","message":"m"}}}`:    `{"error":{"message":"m","type":"api_error","param":null,"code":"c"}}`,
		`{"type":"response.failed","response":{"status":"failed","error":null}}`:        `{"error":{"message":"the response has failed","type":"api_error","param":null,"code":null}}`,
		`{"type":"response.completed","response":{"status":"cancelled","output":null}}`: `{"error":{"message":"the response has failed","type":"api_error","param":null,"code":null}}`,
	} {
		after := `data: {"type":"response.output_text.delta","delta":"x"}` + "\n\n" + `data: {"type":"response.completed","response":{}}` + "\n\n"
		out, err := io.ReadAll(fromResponses(strings.NewReader("data: " + data + "\n\n" + after)))
		if err != nil || string(out) != "data: "+want+"\n\n" {
			t.Errorf("%s: %s, %v", data, out, err)
		}
	}
	for _, ignored := range []string{`{"type":"keepalive"}`, `{"type":"response.something.new","delta":"x"}`, `{"type":"response.output_item.added","item":7}`} {
		if out, err := io.ReadAll(fromResponses(strings.NewReader("data: " + ignored + "\n\n"))); err != nil || len(out) > 0 {
			t.Errorf("%s: %s, %v", ignored, out, err)
		}
	}
}

// What a failed stream has used is known.
func TestResponsesUsageOfFailedStream(t *testing.T) {
	in := `data: {"type":"response.failed","response":{"status":"failed","error":{"code":"c","message":"m"},"usage":{"input_tokens":3,"output_tokens":4}}}` + "\n\n"
	s := fromResponses(strings.NewReader(in))
	io.ReadAll(s)
	if u := s.Usage(); u.Input != 3 || u.Output != 4 || !u.Reported {
		t.Errorf("usage %+v", u)
	}
}

func FuzzResponsesStream(f *testing.F) {
	files, _ := filepath.Glob("testdata/responses_chat_stream/*.sse")
	for _, file := range files {
		in, _ := os.ReadFile(file)
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, _ := io.ReadAll(fromResponses(bytes.NewReader(in)))
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

// Of a stream that tells everything at its end the answer is the buffered one.
func FuzzResponsesStreamedEqualsBuffered(f *testing.F) {
	files, _ := filepath.Glob("testdata/responses_chat/*.json")
	for _, file := range files {
		in, _ := os.ReadFile(file)
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		body, _, err := AnswerResponsesToChat(nil, in, asM())
		if r, _ := readResponse(in); err != nil || len(r.status) == 0 {
			return
		}
		s := newResponsesToChat(asM())
		out, over, err := s.event(nil, append(append([]byte(`{"type":"response.completed","response":`), in...), '}'))
		if err != nil || !over {
			t.Fatalf("%s: %v, over %v", in, err, over)
		}
		want, got := joinBuffered(t, body), joinStreamed(t, out)
		delete(want.message, "logprobs") // those of empty texts do not stream
		delete(got.message, "logprobs")
		if want.usage == "" {
			want.tier = got.tier // which comes with the usage
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s:\n got %+v\nwant %+v", in, got, want)
		}
	})
}

func FuzzAnswerResponsesToChat(f *testing.F) {
	files, _ := filepath.Glob("testdata/responses_chat/*.json")
	for _, file := range files {
		in, _ := os.ReadFile(file)
		f.Add(in)
	}
	f.Add([]byte(`{"output":[],"usage":{"cost":0}}`)) // a price without counts
	f.Fuzz(func(t *testing.T, in []byte) {
		out, usage, err := AnswerResponsesToChat(nil, in, asM())
		if err != nil {
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%s became %s", in, out)
		}
		got, _ := OpenAIUsage(out)
		usage.Suspect, got.Suspect = false, false
		if got != usage && usage.Reported {
			t.Fatalf("%s: the usage %+v became %+v", in, usage, got)
		}
	})
}

func BenchmarkResponsesStreamEvent(b *testing.B) {
	s := newResponsesToChat(AnswerOptions{Model: "public", ID: "chatcmpl-1", Created: 1700000000})
	data := []byte(`{"type":"response.output_text.delta","sequence_number":7,"item_id":"msg_1","output_index":0,"content_index":0,"delta":" word","logprobs":[],"obfuscation":"abcdefgh"}`)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out, _, _ = s.event(out[:0], data)
	}
}
