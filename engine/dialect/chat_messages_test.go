package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func checkGolden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", path, got, want)
	}
}

// checkRequestGolden compares a translated request, and what it lost, with the golden file beside the one it was made of.
func checkRequestGolden(t *testing.T, file string, out []byte, dropped []string) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, out, "", "  "); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fmt.Fprintf(&pretty, "\ndropped: %q\n", dropped)
	checkGolden(t, strings.TrimSuffix(file, ".json")+".golden", pretty.Bytes())
}

func TestThinkingOf(t *testing.T) {
	for model, want := range map[string]Thinking{
		"": ThinkingBudget, "gpt-5": ThinkingBudget, "claude": ThinkingBudget, "claude-": ThinkingBudget, "claude-3-7-sonnet-20250219": ThinkingBudget, "claude-sonnet-4-20250514": ThinkingBudget,
		"claude-opus-4-1": ThinkingBudget, "claude-haiku-4-5-20251001": ThinkingBudget, "claude-opus-4-6": ThinkingAdaptive, "anthropic/claude-sonnet-4.6": ThinkingAdaptive,
		"claude-opus-4-7": ThinkingEffort, "us.anthropic.claude-opus-4-8-20260501-v1:0": ThinkingEffort, "claude-fable-5-1": ThinkingEffort, "claude-mythos-preview": ThinkingEffort,
		"claude-sonnet-5": ThinkingDefault, "claude-opus-5-20270101": ThinkingDefault, "claude-haiku-5.5": ThinkingDefault, "claude-opus-5@20270101": ThinkingDefault,
	} {
		if got := ThinkingOf(model); got != want {
			t.Errorf("%q: %d, not %d", model, got, want)
		}
	}
}

func TestRequestGolden(t *testing.T) {
	options := map[string]RequestOptions{
		"plain":             {Model: "claude-haiku-4-5", DefaultMaxTokens: 777},
		"dropped":           {Consumed: []string{"power_level"}},
		"thinking_foreign":  {DropThinking: true},
		"thinking_adaptive": {Thinking: ThinkingAdaptive},
		"thinking_effort":   {Thinking: ThinkingEffort},
		"thinking_none":     {Thinking: ThinkingDefault},
	}
	files, _ := filepath.Glob("testdata/chat_messages/*.json")
	if len(files) == 0 {
		t.Fatal("no test data")
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out, dropped, err := RequestChatToMessages([]byte("x"), in, options[name])
			if err != nil {
				t.Fatal(err)
			}
			checkRequestGolden(t, file, out[1:], dropped)
			again, _, _ := RequestChatToMessages(nil, in, options[name])
			if !bytes.Equal(again, out[1:]) {
				t.Error("not deterministic")
			}
		})
	}
}

func TestRequestErrors(t *testing.T) {
	const ok = `"model":"m","messages":[{"role":"user","content":"x"}]`
	message := func(s string) string { return `{"model":"m","messages":[{"role":"user","content":"x"},` + s + `]}` }
	call := func(s string) string { return message(`{"role":"assistant","tool_calls":[` + s + `]}`) }
	part := func(s string) string {
		return message(`{"role":"user","content":[{"type":"text","text":"a"},` + s + `]}`)
	}
	for _, c := range []struct{ body, param string }{
		{``, ""},
		{`[]`, ""},
		{`null`, ""},
		{`{"model":"m","model":"n"}`, ""},
		{"{\"model\":\"\xff\"}", ""},
		{`{` + ok + `} x`, ""},
		{`{"messages":[{"role":"user","content":"x"}]}`, "model"},
		{`{"model":1,"messages":[{"role":"user","content":"x"}]}`, "model"},
		{`{"model":"m"}`, "messages"},
		{`{"model":"m","messages":"x"}`, "messages"},
		{`{"model":"m","messages":[]}`, "messages"},
		{`{"model":"m","messages":[{"role":"user","content":""}]}`, "messages"},
		{`{"model":"m","messages":[{"role":"system","content":"x"}]}`, "messages"},
		{`{` + ok + `,"n":2}`, "n"},
		{`{` + ok + `,"n":"1"}`, "n"},
		{`{` + ok + `,"max_tokens":0}`, "max_tokens"},
		{`{` + ok + `,"max_tokens":1.5}`, "max_tokens"},
		{`{` + ok + `,"max_tokens":"5"}`, "max_tokens"},
		{`{` + ok + `,"max_completion_tokens":-1,"max_tokens":5}`, "max_completion_tokens"},
		{`{` + ok + `,"max_tokens":9223372036854775808}`, "max_tokens"},
		{`{` + ok + `,"temperature":-1}`, "temperature"},
		{`{` + ok + `,"temperature":3}`, "temperature"},
		{`{` + ok + `,"temperature":"1"}`, "temperature"},
		{`{` + ok + `,"top_p":2}`, "top_p"},
		{`{` + ok + `,"top_k":-1}`, "top_k"},
		{`{` + ok + `,"stream":"yes"}`, "stream"},
		{`{` + ok + `,"stop":5}`, "stop"},
		{`{` + ok + `,"stop":[5]}`, "stop"},
		{`{` + ok + `,"user":5}`, "user"},
		{`{` + ok + `,"modalities":["text","audio"]}`, "modalities"},
		{`{` + ok + `,"functions":[]}`, "functions"},
		{`{` + ok + `,"reasoning_effort":"huge"}`, "reasoning_effort"},
		{`{` + ok + `,"thinking":true}`, "thinking"},
		{`{` + ok + `,"response_format":{"type":"xml"}}`, "response_format.type"},
		{`{` + ok + `,"response_format":"json"}`, "response_format.type"},
		{`{` + ok + `,"response_format":{"type":"json_schema"}}`, "response_format.json_schema.schema"},
		{`{` + ok + `,"tools":{}}`, "tools"},
		{`{` + ok + `,"tools":[1]}`, "tools[0]"},
		{`{` + ok + `,"tools":[{"type":"custom"}]}`, "tools[0].type"},
		{`{` + ok + `,"tools":[{"type":"function"}]}`, "tools[0].function"},
		{`{` + ok + `,"tools":[{"type":"function","function":{}}]}`, "tools[0].function.name"},
		{`{` + ok + `,"tools":[{"type":"function","function":{"name":"f","parameters":"x"}}]}`, "tools[0].function.parameters"},
		{`{` + ok + `,"tool_choice":"required"}`, "tool_choice"},
		{`{` + ok + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"some"}`, "tool_choice"},
		{`{` + ok + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"allowed_tools"}}`, "tool_choice"},
		{`{` + ok + `,"tools":[{"type":"function","function":{"name":"f"}}],"parallel_tool_calls":0}`, "parallel_tool_calls"},
		{message(`5`), "messages[1]"},
		{message(`{"content":"x"}`), "messages[1].role"},
		{message(`{"role":"function","content":"x"}`), "messages[1].role"},
		{message(`{"role":"user","content":5}`), "messages[1].content"},
		{message(`{"role":"user","content":["x"]}`), "messages[1].content[0]"},
		{message(`{"role":"tool","content":"x"}`), "messages[1].tool_call_id"},
		{message(`{"role":"assistant","tool_calls":{}}`), "messages[1].tool_calls"},
		{message(`{"role":"assistant","tool_calls":"x"}`), "messages[1].tool_calls"},
		{message(`{"role":"assistant","content":[{"type":"image_url","image_url":"https://x/y"}]}`), "messages[1].content[0].type"},
		{message(`{"role":"assistant","thinking_blocks":"x"}`), "messages[1].thinking_blocks"},
		{call(`{"type":"function","function":{"name":"f","arguments":"{}"}}`), "messages[1].tool_calls[0].id"},
		{call(`{"id":"a","type":"custom"}`), "messages[1].tool_calls[0].type"},
		{call(`{"id":"a"}`), "messages[1].tool_calls[0].function.name"},
		{call(`{"id":"a","function":{"name":"f","arguments":{}}}`), "messages[1].tool_calls[0].function.arguments"},
		{call(`{"id":"a","function":{"name":"f","arguments":"{"}}`), "messages[1].tool_calls[0].function.arguments"},
		{call(`{"id":"a","function":{"name":"f","arguments":"[]"}}`), "messages[1].tool_calls[0].function.arguments"},
		{call(`{"id":"a","function":{"name":"f","arguments":"{\"a\":1,\"a\":2}"}}`), "messages[1].tool_calls[0].function.arguments"},
		{part(`{"type":"input_audio","input_audio":{}}`), "messages[1].content[1].type"},
		{part(`{"type":"text"}`), "messages[1].content[1].text"},
		{part(`{"type":"image_url","image_url":{"url":"ftp://x"}}`), "messages[1].content[1].image_url.url"},
		{part(`{"type":"image_url","image_url":"data:image/png,raw"}`), "messages[1].content[1].image_url"},
		{part(`{"type":"image_url"}`), "messages[1].content[1].image_url.url"},
		{part(`{"type":"file","file":{"file_id":"f-1"}}`), "messages[1].content[1].file.file_id"},
		{part(`{"type":"file","file":{"file_data":"data:text/plain;base64,eA=="}}`), "messages[1].content[1].file.file_data"},
	} {
		out, dropped, err := RequestChatToMessages([]byte("x"), []byte(c.body), RequestOptions{})
		var re *RequestError
		if !errors.As(err, &re) || re.Param != c.param || string(out) != "x" || dropped != nil {
			t.Errorf("%s: got %s, %v (%+v), want param %q", c.body, out, err, re, c.param)
		}
	}
}

func TestRequestToolIDs(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range []string{"call_1", "functions.now:0", "functions.now.0", "a b", "a:b", "é"} {
		got := string(appendToolID(nil, appendQuoted(nil, id)))
		if seen[got] {
			t.Errorf("%s: %s is not unique", id, got)
		}
		seen[got] = true
		for _, ch := range got[1 : len(got)-1] {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", ch) {
				t.Errorf("%s: %s has %q", id, got, ch)
			}
		}
	}
	if !seen[`"call_1"`] {
		t.Error("a good id was changed")
	}
}

func FuzzRequest(f *testing.F) {
	files, _ := filepath.Glob("testdata/chat_messages/*.json")
	for _, file := range files {
		in, _ := os.ReadFile(file)
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, _, err := RequestChatToMessages(nil, in, RequestOptions{Model: "m"})
		if err != nil {
			var re *RequestError
			if !errors.As(err, &re) {
				t.Fatalf("%v is not a RequestError", err)
			}
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%s became %s", in, out)
		}
	})
}

func BenchmarkRequest(b *testing.B) {
	in, err := os.ReadFile("testdata/chat_messages/tools.json")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out, _, _ = RequestChatToMessages(out[:0], in, RequestOptions{Model: "m"})
	}
}

func TestIsBlank(t *testing.T) {
	for text, want := range map[string]bool{
		`""`: true, `"  "`: true, `"\n\t\r\f "`: true, `"\u0020\u00a0\u2003"`: true, "\"\u00a0\"": true,
		`"a"`: false, `" \n a"`: false, `"\b"`: false, `"\\"`: false, `"\""`: false, `"\u0041"`: false, `"\n\nnr"`: false, "\"\u4f60\"": false, `"\ud83d\ude00"`: false,
	} {
		raw := inner([]byte(text))
		if got, slow := isBlank(raw), len(bytes.TrimSpace(unescaped(raw))) == 0; got != want || got != slow {
			t.Errorf("%s: %v", text, got)
		}
	}
}
