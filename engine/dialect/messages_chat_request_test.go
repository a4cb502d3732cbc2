package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMessagesRequestGolden(t *testing.T) {
	options := map[string]RequestOptions{
		"plain":            {Model: "gpt"},
		"dropped":          {Consumed: []string{"power_level"}},
		"thinking_foreign": {DropThinking: true},
	}
	files, _ := filepath.Glob("testdata/messages_chat_request/*.json")
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
			out, dropped, err := TranslateRequest(Messages, Chat, []byte("x"), in, options[name])
			if err != nil {
				t.Fatal(err)
			}
			checkRequestGolden(t, file, out[1:], dropped)
			again, _, _ := RequestMessagesToChat(nil, in, options[name])
			if !bytes.Equal(again, out[1:]) {
				t.Error("not deterministic")
			}
			if _, _, err := RequestChatToMessages(nil, out[1:], RequestOptions{}); err != nil {
				t.Errorf("it is not taken back: %v", err)
			}
		})
	}
}

func TestMessagesRequestErrors(t *testing.T) {
	const ok = `"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"}]`
	with := func(s string) string { return `{` + ok + `,` + s + `}` }
	message := func(s string) string {
		return `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"},` + s + `]}`
	}
	user := func(s string) string {
		return message(`{"role":"user","content":[{"type":"text","text":"a"},` + s + `]}`)
	}
	assistant := func(s string) string { return message(`{"role":"assistant","content":[` + s + `]}`) }
	const tool = `"tools":[{"name":"f","input_schema":{}}]`
	for _, c := range []struct{ body, param string }{
		{``, ""},
		{`[]`, ""},
		{`{"model":"m","model":"n"}`, ""},
		{"{\"model\":\"\xff\"}", ""},
		{`{"max_tokens":5,"messages":[{"role":"user","content":"x"}]}`, "model"},
		{`{"model":"m","messages":[{"role":"user","content":"x"}]}`, "max_tokens"},
		{`{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"x"}]}`, "max_tokens"},
		{`{"model":"m","max_tokens":5}`, "messages"},
		{`{"model":"m","max_tokens":5,"messages":"x"}`, "messages"},
		{`{"model":"m","max_tokens":5,"messages":[]}`, "messages"},
		{`{"model":"m","max_tokens":5,"messages":[{"role":"user","content":""}]}`, "messages"},
		{with(`"system":5`), "system"},
		{with(`"system":[{"type":"image"}]`), "system[0].type"},
		{with(`"temperature":"1"`), "temperature"},
		{with(`"top_k":-1`), "top_k"},
		{with(`"stop_sequences":"x"`), "stop_sequences"},
		{with(`"stop_sequences":[5]`), "stop_sequences"},
		{with(`"stream":"yes"`), "stream"},
		{with(`"metadata":5`), "metadata"},
		{with(`"metadata":{"user_id":5}`), "metadata.user_id"},
		{with(`"inference_geo":"us"`), "inference_geo"},
		{with(`"thinking":true`), "thinking"},
		{with(`"thinking":{"type":"deep"}`), "thinking.type"},
		{with(`"thinking":{"type":"enabled"}`), "thinking.budget_tokens"},
		{with(`"output_config":[]`), "output_config"},
		{with(`"output_config":{"effort":"huge"}`), "output_config.effort"},
		{with(`"output_config":{"format":{"type":"xml"}}`), "output_config.format.type"},
		{with(`"output_format":{"type":"json_schema"}`), "output_format.schema"},
		{with(`"mcp_servers":[{"name":"m"}]`), "mcp_servers"},
		{with(`"tools":{}`), "tools"},
		{with(`"tools":[5]`), "tools[0]"},
		{with(`"tools":[{"input_schema":{}}]`), "tools[0].name"},
		{with(`"tools":[{"name":"f"}]`), "tools[0].input_schema"},
		{with(`"tools":[{"type":"computer_20250124","name":"computer"}]`), "tools[0].type"},
		{with(`"tools":[{"type":"web_search_20250305","name":"web_search"}]`), "tools[0].type"},
		{with(`"tool_choice":{"type":"any"}`), "tool_choice"},
		{with(tool + `,"tool_choice":"auto"`), "tool_choice.type"},
		{with(tool + `,"tool_choice":{"type":"tool","name":"g"}`), "tool_choice.name"},
		{with(tool + `,"tool_choice":{"type":"auto","disable_parallel_tool_use":1}`), "tool_choice.disable_parallel_tool_use"},
		{message(`5`), "messages[1]"},
		{message(`{"role":"tool","content":"x"}`), "messages[1].role"},
		{message(`{"role":"user","content":5}`), "messages[1].content"},
		{message(`{"role":"user","content":["x"]}`), "messages[1].content[0]"},
		{user(`{"type":"text"}`), "messages[1].content[1].text"},
		{user(`{"type":"container_upload","file_id":"f"}`), "messages[1].content[1].type"},
		{user(`{"type":"tool_use","id":"a","name":"f","input":{}}`), "messages[1].content[1].type"},
		{user(`{"type":"image"}`), "messages[1].content[1].source"},
		{user(`{"type":"image","source":{"type":"file","file_id":"f"}}`), "messages[1].content[1].source.type"},
		{user(`{"type":"document","source":{"type":"url","url":"https://x"}}`), "messages[1].content[1].source.type"},
		{user(`{"type":"document","source":{"type":"base64","media_type":"text/html","data":"x"}}`), "messages[1].content[1].source.media_type"},
		{user(`{"type":"document","source":{"type":"text"}}`), "messages[1].content[1].source.data"},
		{user(`{"type":"document","source":{"type":"content","content":[{"type":"document"}]}}`), "messages[1].content[1].source.content[0].type"},
		{user(`{"type":"document"}`), "messages[1].content[1].source.type"},
		{user(`{"type":"search_result","content":[{"type":"image"}]}`), "messages[1].content[1].content[0]"},
		{user(`{"type":"tool_result"}`), "messages[1].content[1].tool_use_id"},
		{user(`{"type":"tool_result","tool_use_id":"a","is_error":1}`), "messages[1].content[1].is_error"},
		{user(`{"type":"tool_result","tool_use_id":"a","content":[{"type":"tool_use"}]}`), "messages[1].content[1].content[0].type"},
		{assistant(`{"type":"image"}`), "messages[1].content[0].type"},
		{assistant(`{"type":"thinking"}`), "messages[1].content[0].thinking"},
		{assistant(`{"type":"redacted_thinking"}`), "messages[1].content[0].data"},
		{assistant(`{"type":"tool_use","name":"f","input":{}}`), "messages[1].content[0].id"},
		{assistant(`{"type":"tool_use","id":"a","input":{}}`), "messages[1].content[0].name"},
		{assistant(`{"type":"tool_use","id":"a","name":"f","input":[]}`), "messages[1].content[0].input"},
	} {
		out, dropped, err := RequestMessagesToChat([]byte("x"), []byte(c.body), RequestOptions{})
		var re *RequestError
		if !errors.As(err, &re) || re.Param != c.param || string(out) != "x" || dropped != nil {
			t.Errorf("%s: got %s, %v (%+v), want param %q", c.body, out, err, re, c.param)
		}
	}
}

func TestEffortOfThinking(t *testing.T) {
	for _, c := range []struct{ given, want string }{
		{`"thinking":{"type":"enabled","budget_tokens":1024}`, "minimal"},
		{`"thinking":{"type":"enabled","budget_tokens":1025}`, "low"},
		{`"thinking":{"type":"enabled","budget_tokens":2048}`, "low"},
		{`"thinking":{"type":"enabled","budget_tokens":4096}`, "medium"},
		{`"thinking":{"type":"enabled","budget_tokens":8192}`, "medium"},
		{`"thinking":{"type":"enabled","budget_tokens":12288}`, "high"},
		{`"thinking":{"type":"enabled","budget_tokens":31999}`, "high"},
		{`"thinking":{"type":"enabled","budget_tokens":32768}`, "xhigh"},
		{`"thinking":{"type":"adaptive"}`, "high"},
		{`"thinking":{"type":"adaptive"},"output_config":{"effort":"low"}`, "low"},
		{`"thinking":{"type":"enabled","budget_tokens":1024},"output_config":{"effort":"max"}`, "xhigh"},
		{`"thinking":{"type":"disabled"},"output_config":{"effort":"medium"}`, "medium"},
		{`"output_config":{"effort":"high"}`, "high"},
		{`"thinking":{"type":"disabled"}`, ""},
		{`"thinking":null`, ""},
	} {
		body := `{"model":"m","max_tokens":5,` + c.given + `,"messages":[{"role":"user","content":"x"}]}`
		out, _, err := RequestMessagesToChat(nil, []byte(body), RequestOptions{})
		if got := string(inner(topMember(out, "reasoning_effort"))); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.given, got, err, c.want)
		}
	}
	// What chat completions ask for comes back.
	for _, effort := range []string{"minimal", "low", "medium", "high", "xhigh"} {
		body := `{"model":"m","max_tokens":100000,"reasoning_effort":"` + effort + `","messages":[{"role":"user","content":"x"}]}`
		middle, _, err := RequestChatToMessages(nil, []byte(body), RequestOptions{})
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := RequestMessagesToChat(nil, middle, RequestOptions{})
		if got := string(inner(topMember(out, "reasoning_effort"))); err != nil || got != effort {
			t.Errorf("%s became %s, %v", effort, got, err)
		}
	}
}

// TestRequestPrefixIsStable: the messages of a conversation are the beginning of those of every longer one.
func TestRequestPrefixIsStable(t *testing.T) {
	in, err := os.ReadFile("testdata/messages_chat_request/tools.json")
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]json.RawMessage
	var turns []json.RawMessage
	if json.Unmarshal(in, &body) != nil || json.Unmarshal(body["messages"], &turns) != nil {
		t.Fatal("no turns")
	}
	var before []byte
	for n := 1; n <= len(turns); n++ {
		body["messages"], _ = json.Marshal(turns[:n])
		in, _ := json.Marshal(body)
		out, _, err := RequestMessagesToChat(nil, in, RequestOptions{})
		if err != nil {
			t.Fatal(err)
		}
		list := topMember(out, "messages")
		if !bytes.HasPrefix(list, bytes.TrimSuffix(before, []byte("]"))) {
			t.Errorf("%d turns: %s does not begin with %s", n, list, before)
		}
		before = list
	}
}

func TestCompletionsRequest(t *testing.T) {
	for _, c := range []struct{ body, want, dropped string }{
		{
			`{"model":"m","prompt":"Say \u4e16","max_tokens":5,"stop":["x"],"stream":true,"stream_options":{"include_usage":true},"best_of":1,"echo":false,"suffix":null,"logprobs":null}`,
			`{"model":"m","max_tokens":5,"stop":["x"],"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Say \u4e16"}]}`, "",
		},
		{`{"prompt":["one"],"model":"m","n":2,"best_of":3,"power_level":"eco"}`, `{"model":"m","n":2,"messages":[{"role":"user","content":"one"}]}`, "best_of"},
	} {
		out, dropped, err := TranslateRequest(Completions, Chat, []byte("x"), []byte(c.body), RequestOptions{Consumed: []string{"power_level"}})
		if err != nil || string(out) != "x"+c.want || strings.Join(dropped, " ") != c.dropped {
			t.Errorf("%s: %s, %v, %v", c.body, out, dropped, err)
		}
	}
	for _, c := range []struct{ body, param string }{
		{`[]`, ""},
		{`{"prompt":"x","prompt":"y"}`, ""},
		{`{}`, "prompt"},
		{`{"prompt":[]}`, "prompt"},
		{`{"prompt":[1,2]}`, "prompt"},
		{`{"prompt":[[1,2]]}`, "prompt"},
		{`{"prompt":["a","b"]}`, "prompt"},
		{`{"prompt":"x","suffix":"y"}`, "suffix"},
		{`{"prompt":"x","echo":true}`, "echo"},
		{`{"prompt":"x","logprobs":0}`, "logprobs"},
		{`{"prompt":"x","messages":[]}`, "messages"},
	} {
		out, _, err := RequestCompletionsToChat([]byte("x"), []byte(c.body), RequestOptions{})
		var re *RequestError
		if !errors.As(err, &re) || re.Param != c.param || string(out) != "x" {
			t.Errorf("%s: got %s, %v, want param %q", c.body, out, err, c.param)
		}
	}
}

func FuzzMessagesRequest(f *testing.F) {
	files, _ := filepath.Glob("testdata/messages_chat_request/*.json")
	for _, file := range files {
		in, _ := os.ReadFile(file)
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, from := range []Dialect{Messages, Completions} {
			out, _, err := TranslateRequest(from, Chat, nil, in, RequestOptions{Model: "m"})
			if err != nil {
				var re *RequestError
				if !errors.As(err, &re) {
					t.Fatalf("%v is not a RequestError", err)
				}
				continue
			}
			if !json.Valid(out) {
				t.Fatalf("%s became %s", in, out)
			}
		}
	})
}
