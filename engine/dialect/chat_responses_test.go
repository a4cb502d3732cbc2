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
	"slices"
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

// outputItem is an item of the output, as raw values.
type outputItem struct {
	ID, Type, Status, Role string
	CallID                 json.RawMessage `json:"call_id"`
	Name                   json.RawMessage
	Arguments, Input       json.RawMessage
	Summary, Content       []outputPart
}

type outputPart struct {
	Type                  string
	Text, Refusal         json.RawMessage
	Annotations, Logprobs []json.RawMessage
}

type outputResponse struct {
	ID, Object, Model, Status string
	CreatedAt                 int64 `json:"created_at"`
	Error                     json.RawMessage
	IncompleteDetails         *struct{ Reason string } `json:"incomplete_details"`
	Output                    []json.RawMessage
	Usage                     json.RawMessage
	Store                     *bool
}

// outputWhole is an answer put together, to be compared: texts of one kind are joined.
type outputWhole struct {
	Status, Reason, Reasoning, Text, Refusal, Usage string
	Citations, Logprobs                             int
	Calls                                           []outputItem
}

func gather(t *testing.T, raw []byte) outputWhole {
	t.Helper()
	var r outputResponse
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	if r.ID != "resp_0a" || r.Object != "response" || r.Model != "m" || r.CreatedAt != 1700000000 || r.Store == nil || *r.Store {
		t.Fatalf("wrong frame: %s", raw)
	}
	if (r.Status == "failed") != (string(r.Error) != "null") || (r.Status == "incomplete") != (r.IncompleteDetails != nil) {
		t.Fatalf("wrong details: %s", raw)
	}
	w := outputWhole{Status: r.Status, Usage: string(r.Usage)}
	if r.IncompleteDetails != nil {
		w.Reason = r.IncompleteDetails.Reason
	}
	for _, raw := range r.Output {
		var item outputItem
		if err := json.Unmarshal(raw, &item); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		switch item.Type {
		case "reasoning":
			w.Reasoning += string(inner(item.Summary[0].Text))
		case "message":
			for _, p := range item.Content {
				w.Text += string(inner(p.Text))
				w.Refusal += string(inner(p.Refusal))
				w.Citations += len(p.Annotations)
				w.Logprobs += len(p.Logprobs)
			}
		default:
			item.ID = "" // which tells of the place among the items
			w.Calls = append(w.Calls, item)
		}
	}
	return w
}

// heldItem is an item as the events before have told it.
type heldItem struct {
	outputItem
	text  []byte // of reasoning, arguments or input
	parts []heldPart
	open  bool
	phase int    // of the texts that end: 0 growing, 1 its text is done, 2 its part is done
	final []byte // as its last event told it
}

type heldPart struct {
	kind      string
	text      []byte
	citations int
	phase     int
}

// outputEvent is any event.
type outputEvent struct {
	Type                         string
	SequenceNumber               int    `json:"sequence_number"`
	ItemID                       string `json:"item_id"`
	OutputIndex                  int    `json:"output_index"`
	ContentIndex                 int    `json:"content_index"`
	SummaryIndex                 int    `json:"summary_index"`
	AnnotationIndex              int    `json:"annotation_index"`
	Delta, Text, Refusal         json.RawMessage
	Arguments, Input, Annotation json.RawMessage
	Item, Response               json.RawMessage
	Part                         *outputPart
}

// readEvents checks the order and completeness of the events of a whole stream, and returns the Response object of the last.
func readEvents(t *testing.T, stream []byte) json.RawMessage {
	t.Helper()
	var items []*heldItem
	var last string
	var response json.RawMessage
	r := sse.NewReader(bytes.NewReader(stream), 64<<20)
	for sequence := 0; ; sequence++ {
		raw, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if raw.Data == nil {
			sequence--
			continue
		}
		var ev outputEvent
		if err := json.Unmarshal(raw.Data, &ev); err != nil {
			t.Fatalf("%v: %s", err, raw.Data)
		}
		if ev.SequenceNumber != sequence || string(raw.Name) != ev.Type {
			t.Fatalf("event %d is numbered %d and named %s: %s", sequence, ev.SequenceNumber, raw.Name, raw.Data)
		}
		first := [...]string{"response.created", "response.in_progress"}
		if sequence < len(first) != slices.Contains(first[:], ev.Type) || sequence < len(first) && first[sequence] != ev.Type || response != nil {
			t.Fatalf("event %d is out of order: %s", sequence, raw.Data)
		}
		last = ev.Type
		switch ev.Type {
		case "response.created", "response.in_progress":
			if w := gather(t, ev.Response); w.Status != "in_progress" || w.Usage != "null" || len(w.Calls) > 0 {
				t.Fatalf("wrong beginning: %s", raw.Data)
			}
			continue
		case "response.completed", "response.incomplete", "response.failed":
			response = bytes.Clone(ev.Response)
			continue
		case "response.output_item.added":
			h := &heldItem{open: true}
			if err := json.Unmarshal(ev.Item, &h.outputItem); err != nil || ev.OutputIndex != len(items) || h.Type != "reasoning" && h.Status != "in_progress" {
				t.Fatalf("item %d of %d begins wrongly: %v, %s", ev.OutputIndex, len(items), err, raw.Data)
			}
			for _, other := range items {
				if other.ID == h.ID || h.Type != "function_call" && h.Type != "custom_tool_call" && other.open && (other.Type == "message" || other.Type == "reasoning") {
					t.Fatalf("an item begins like or during %s: %s", other.ID, raw.Data)
				}
			}
			items = append(items, h)
			continue
		}
		if ev.OutputIndex >= len(items) || !items[ev.OutputIndex].open {
			t.Fatalf("about no open item: %s", raw.Data)
		}
		h := items[ev.OutputIndex]
		if ev.Type != "response.output_item.done" && ev.ItemID != h.ID {
			t.Fatalf("about another item than %s: %s", h.ID, raw.Data)
		}
		if why := h.step(&ev); why != "" {
			t.Fatalf("%s: %s", why, raw.Data)
		}
	}
	if response == nil {
		t.Fatalf("the last event is %s", last)
	}
	w := gather(t, response)
	if "response."+w.Status != last {
		t.Fatalf("%s has the status %s", last, w.Status)
	}
	var whole outputResponse
	_ = json.Unmarshal(response, &whole)
	if len(whole.Output) != len(items) {
		t.Fatalf("there were %d items: %s", len(items), response)
	}
	for i, h := range items {
		if h.open || !bytes.Equal(h.final, whole.Output[i]) {
			t.Fatalf("item %d was %s: %s", i, h.final, whole.Output[i])
		}
	}
	return response
}

// step takes in an event about the item; it says why if the event is wrong.
func (h *heldItem) step(ev *outputEvent) (why string) {
	same := func(v json.RawMessage, text []byte) bool { return isString(v) && bytes.Equal(inner(v), text) }
	if strings.Contains(ev.Type, "content_part") || strings.Contains(ev.Type, "output_text") || strings.Contains(ev.Type, "refusal") {
		if h.Type != "message" {
			return "not a message"
		}
		return h.stepPart(ev, same)
	}
	argument, value := "function_call_arguments", ev.Arguments
	if h.Type == "custom_tool_call" {
		argument, value = "custom_tool_call_input", ev.Input
	}
	switch kind := strings.TrimPrefix(ev.Type, "response."); {
	case h.Type == "reasoning" && kind == "reasoning_summary_part.added":
		if h.parts != nil || ev.Part == nil || !same(ev.Part.Text, nil) || ev.SummaryIndex != 0 {
			return "not the first part of a summary"
		}
		h.parts = []heldPart{{}}
	case h.Type == "reasoning" && kind == "reasoning_summary_text.delta":
		if h.parts == nil || h.phase != 0 || len(inner(ev.Delta)) == 0 {
			return "no part grows"
		}
		h.text = append(h.text, inner(ev.Delta)...)
	case h.Type == "reasoning" && kind == "reasoning_summary_text.done":
		if h.phase != 0 || !same(ev.Text, h.text) {
			return "not the text of the summary"
		}
		h.phase = 1
	case h.Type == "reasoning" && kind == "reasoning_summary_part.done":
		if h.phase != 1 || !same(ev.Part.Text, h.text) {
			return "not the part of the summary"
		}
		h.phase = 2
	case (h.Type == "function_call" || h.Type == "custom_tool_call") && kind == argument+".delta":
		if h.phase != 0 || len(inner(ev.Delta)) == 0 {
			return "no argument grows"
		}
		h.text = append(h.text, inner(ev.Delta)...)
	case (h.Type == "function_call" || h.Type == "custom_tool_call") && kind == argument+".done":
		if h.phase != 0 || !same(value, h.text) {
			return "not the argument"
		}
		h.phase = 2
	case kind == "output_item.done":
		var item outputItem
		if json.Unmarshal(ev.Item, &item) != nil || item.ID != h.ID || item.Type != h.Type || item.Status == "in_progress" ||
			!bytes.Equal(item.CallID, h.CallID) || !bytes.Equal(item.Name, h.Name) {
			return "not the item that began"
		}
		if h.Type == "message" && (len(h.parts) == 0 || h.parts[len(h.parts)-1].phase != 2) || h.Type != "message" && h.phase != 2 {
			return "something of the item has not ended"
		}
		if len(item.Content) != len(h.parts) && h.Type == "message" {
			return "not the parts that came"
		}
		h.open, h.final = false, bytes.Clone(ev.Item)
	default:
		return "not an event of a " + h.Type
	}
	return ""
}

// stepPart takes in an event about a part of a message.
func (h *heldItem) stepPart(ev *outputEvent, same func(json.RawMessage, []byte) bool) (why string) {
	n := len(h.parts) - 1
	kind := strings.TrimPrefix(ev.Type, "response.")
	if kind == "content_part.added" {
		if ev.ContentIndex != n+1 || n >= 0 && h.parts[n].phase != 2 || ev.Part == nil {
			return "a part begins wrongly"
		}
		if !same(ev.Part.Text, nil) && !same(ev.Part.Refusal, nil) {
			return "a part begins with a text"
		}
		h.parts = append(h.parts, heldPart{kind: ev.Part.Type})
		return ""
	}
	if n < 0 || ev.ContentIndex != n {
		return "about no part"
	}
	p := &h.parts[n]
	name, text := "output_text", ev.Text
	if p.kind == "refusal" {
		name, text = "refusal", ev.Refusal
	}
	switch kind {
	case name + ".delta":
		if p.phase != 0 || len(inner(ev.Delta)) == 0 {
			return "no part grows"
		}
		p.text = append(p.text, inner(ev.Delta)...)
	case "output_text.annotation.added":
		if p.phase != 0 || ev.AnnotationIndex != p.citations || p.kind != "output_text" {
			return "no citation is possible here"
		}
		p.citations++
	case name + ".done":
		if p.phase != 0 || !same(text, p.text) {
			return "not the text of the part"
		}
		p.phase = 1
	case "content_part.done":
		if p.phase != 1 || ev.Part.Type != p.kind || !same(ev.Part.Text, p.text) && !same(ev.Part.Refusal, p.text) || len(ev.Part.Annotations) != p.citations {
			return "not the part"
		}
		p.phase = 2
	default:
		return "not an event of a part of the type " + p.kind
	}
	return ""
}

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
	var s chatStream
	s.delta(`{"tool_calls":[{"function":{"name":"f","arguments":"{}"}},{"function":{"name":"f","arguments":"{}"}}]}`)
	s.send(`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`)
	out, _ := io.ReadAll(fromChat(bytes.NewReader(s.out)))
	if w := gather(t, readEvents(t, out)); len(w.Calls) != 2 || string(w.Calls[0].CallID) == string(w.Calls[1].CallID) {
		t.Errorf("calls without ids: %+v", w.Calls)
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
