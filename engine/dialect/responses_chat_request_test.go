package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestRequestResponsesToChatGolden(t *testing.T) {
	options := map[string]RequestOptions{
		"plain":       {Model: "gpt-upstream"},
		"options":     {Consumed: []string{"power_level", "pointsman"}},
		"no_thinking": {DropThinking: true},
	}
	files, _ := filepath.Glob("testdata/responses_chat_request/*.json")
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
			out, dropped, err := RequestResponsesToChat([]byte("x"), in, options[name])
			if err != nil {
				t.Fatal(err)
			}
			checkRequestGolden(t, file, out[1:], dropped)
			again, _, _ := TranslateRequest(Responses, Chat, nil, in, options[name])
			if !bytes.Equal(again, out[1:]) {
				t.Error("not deterministic")
			}
		})
	}
}

func TestRequestResponsesToChatErrors(t *testing.T) {
	with := func(members string) string { return `{"model":"m","input":"x",` + members + `}` }
	items := func(list string) string { return `{"model":"m","input":[` + list + `]}` }
	part := func(p string) string { return items(`{"role":"user","content":[` + p + `]}`) }
	for _, c := range []struct{ body, param string }{
		{``, ""},
		{`[]`, ""},
		{`{"model":"m","model":"n","input":"x"}`, ""},
		{"{\"model\":\"m\",\"input\":\"\xff\"}", ""},
		{`{"model":"m","input":` + strings.Repeat(`[`, 300) + strings.Repeat(`]`, 300) + `}`, ""},
		{`{"input":"x"}`, "model"},
		{`{"model":1,"input":"x"}`, "model"},
		{`{"model":"m"}`, "input"},
		{`{"model":"m","input":7}`, "input"},
		{`{"model":"m","input":[]}`, "input"},
		{`{"model":"m","input":[7]}`, "input[0]"},
		{with(`"instructions":[]`), "instructions"},
		{with(`"previous_response_id":"resp_1"`), "previous_response_id"},
		{with(`"conversation":{"id":"conv_1"}`), "conversation"},
		{with(`"background":true`), "background"},
		{with(`"prompt":{"id":"pmpt_1"}`), "prompt"},
		{with(`"moderation":{"model":"x"}`), "moderation"},
		{with(`"prompt_cache_options":7`), "prompt_cache_options"},
		{with(`"max_output_tokens":0`), "max_output_tokens"},
		{with(`"max_output_tokens":"9"`), "max_output_tokens"},
		{with(`"top_logprobs":-1`), "top_logprobs"},
		{with(`"include":"x"`), "include"},
		{with(`"stream":"yes"`), "stream"},
		{with(`"text":"json"`), "text"},
		{with(`"text":{"format":{"type":"xml"}}`), "text.format.type"},
		{with(`"text":{"format":"json_object"}`), "text.format.type"},
		{with(`"text":{"format":{"type":"json_schema","schema":{}}}`), "text.format.name"},
		{with(`"text":{"format":{"type":"json_schema","name":"n"}}`), "text.format.schema"},
		{with(`"reasoning":"high"`), "reasoning"},
		{with(`"reasoning":{"effort":3}`), "reasoning.effort"},
		{with(`"tools":{}`), "tools"},
		{with(`"tools":[7]`), "tools[0]"},
		{with(`"tools":[{"name":"f"}]`), "tools[0].type"},
		{with(`"tools":[{"type":"function"}]`), "tools[0].name"},
		{with(`"tools":[{"type":"function","function":{"name":"f"}}]`), "tools[0].name"},
		{with(`"tools":[{"type":"function","name":"f","parameters":7}]`), "tools[0].parameters"},
		{with(`"tools":[{"type":"function","name":"f"},{"type":"web_search"}]`), "tools[1].type"},
		{with(`"tools":[{"type":"file_search"}]`), "tools[0].type"},
		{with(`"tools":[{"type":"code_interpreter","container":{"type":"auto"}}]`), "tools[0].type"},
		{with(`"tools":[{"type":"mcp","server_label":"x"}]`), "tools[0].type"},
		{with(`"tools":[{"type":"image_generation"}]`), "tools[0].type"},
		{with(`"tools":[{"type":"computer_use_preview"}]`), "tools[0].type"},
		{with(`"tools":[{"type":"custom","name":"f","format":{"type":"x"}}]`), "tools[0].format.type"},
		{with(`"tools":[{"type":"custom","name":"f","format":{"type":"grammar","syntax":"lark"}}]`), "tools[0].format"},
		{with(`"parallel_tool_calls":1`), "parallel_tool_calls"},
		{with(`"tool_choice":"required"`), "tool_choice"},
		{with(`"tools":[{"type":"function","name":"f"}],"tool_choice":"any"`), "tool_choice"},
		{with(`"tools":[{"type":"function","name":"f"}],"tool_choice":{}`), "tool_choice"},
		{with(`"tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"function"}`), "tool_choice.name"},
		{with(`"tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"web_search_preview"}`), "tool_choice.type"},
		{with(`"tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"allowed_tools","tools":[]}`), "tool_choice.mode"},
		{with(`"tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"allowed_tools","mode":"auto"}`), "tool_choice.tools"},
		{with(`"tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"mcp"}]}`), "tool_choice.tools[0].type"},
		{items(`{}`), "input[0].type"},
		{items(`{"type":"item_reference","id":"msg_1"}`), "input[0].type"},
		{items(`{"type":"computer_call"}`), "input[0].type"},
		{items(`{"type":"code_interpreter_call"}`), "input[0].type"},
		{items(`{"type":"image_generation_call"}`), "input[0].type"},
		{items(`{"type":"mcp_call"}`), "input[0].type"},
		{items(`{"type":"local_shell_call"}`), "input[0].type"},
		{items(`{"type":"compaction"}`), "input[0].type"},
		{items(`{"role":"tool","content":"x"}`), "input[0].role"},
		{items(`{"role":"user"}`), "input[0].content"},
		{items(`{"role":"user","content":7}`), "input[0].content"},
		{items(`{"role":"user","content":[7]}`), "input[0].content[0]"},
		{items(`{"role":"system","content":[{"type":"input_image","image_url":"https://a/b"}]}`), "input[0].content[0].type"},
		{items(`{"role":"assistant","content":[{"type":"input_file","file_id":"f"}]}`), "input[0].content[0].type"},
		{part(`{"type":"input_text"}`), "input[0].content[0].text"},
		{part(`{"type":"refusal","refusal":"no"}`), "input[0].content[0].type"},
		{part(`{"type":"computer_screenshot"}`), "input[0].content[0].type"},
		{part(`{"type":"input_image","file_id":"f"}`), "input[0].content[0].file_id"},
		{part(`{"type":"input_image","image_url":{"url":"https://a/b"}}`), "input[0].content[0].image_url"},
		{part(`{"type":"input_file","file_url":"https://a/b"}`), "input[0].content[0].file_url"},
		{part(`{"type":"input_file"}`), "input[0].content[0].file_data"},
		{part(`{"type":"input_audio"}`), "input[0].content[0].input_audio"},
		{items(`{"type":"reasoning","summary":7}`), "input[0].summary"},
		{items(`{"type":"reasoning","summary":[{}]}`), "input[0].summary[0].text"},
		{items(`{"type":"function_call","name":"f","arguments":"{}"}`), "input[0].call_id"},
		{items(`{"type":"function_call","call_id":"c","arguments":"{}"}`), "input[0].name"},
		{items(`{"type":"function_call","call_id":"c","name":"f","arguments":{}}`), "input[0].arguments"},
		{items(`{"type":"custom_tool_call","call_id":"c","name":"f"}`), "input[0].input"},
		{items(`{"type":"function_call_output","output":"x"}`), "input[0].call_id"},
		{items(`{"type":"function_call_output","call_id":"c"}`), "input[0].output"},
		{items(`{"type":"function_call_output","call_id":"c","output":[{"type":"input_audio","input_audio":{}}]}`), "input[0].output[0].type"},
	} {
		out, dropped, err := RequestResponsesToChat([]byte("x"), []byte(c.body), RequestOptions{})
		var re *RequestError
		if !errors.As(err, &re) || re.Param != c.param || string(out) != "x" || dropped != nil {
			t.Errorf("%s: got %s, %v (%+v), want param %q", c.body, out, err, re, c.param)
		}
	}
}

// act is one thing that happens in a conversation.
type act struct{ Kind, ID, Name, Text string }

// randomTranscript makes a conversation, and the items that tell it.
func randomTranscript(rnd *rand.Rand) (acts []act, items []string) {
	texts := []string{"", "hi", "Köln 🌍", "a\"b\\c\n\t\x00", "{}", strings.Repeat("long ", 50), "\u2028<script>"}
	text := func() string { return texts[rnd.IntN(len(texts))] + fmt.Sprint(rnd.IntN(1000)) }
	arguments := func() string {
		return fmt.Sprintf(`{"a": %s, "n":%d.50,"deep":{"x":[1,null,true]}}`, quoted(text()), rnd.IntN(99))
	}
	content := func(s, kind string) string {
		if rnd.IntN(2) == 0 {
			return quoted(s)
		}
		half := rnd.IntN(len(s) + 1)
		for half < len(s) && s[half]&0xc0 == 0x80 {
			half++
		}
		return fmt.Sprintf(`[{"type":%q,"text":%s},{"type":%q,"text":%s}]`, kind, quoted(s[:half]), kind, quoted(s[half:]))
	}
	add := func(a act, format string, args ...any) {
		acts, items = append(acts, a), append(items, fmt.Sprintf(format, args...))
	}
	for range 1 + rnd.IntN(6) {
		role := []string{"user", "user", "user", "system", "developer"}[rnd.IntN(5)]
		s := text()
		add(act{Kind: role, Text: s}, `{"role":%q,"content":%s}`, role, content(s, "input_text"))
		if rnd.IntN(3) == 0 {
			s := text()
			add(act{Kind: "reasoning", Text: s}, `{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":%s}]}`, quoted(s))
		}
		if rnd.IntN(3) > 0 {
			s := text()
			add(act{Kind: "assistant", Text: s}, `{"type":"message","role":"assistant","id":"msg_1","status":"completed","content":%s}`, content(s, "output_text"))
		}
		var made []act
		for i := range rnd.IntN(4) {
			a := act{Kind: "function", ID: fmt.Sprintf("call_%d:%d", len(acts), i), Name: fmt.Sprint("f", i), Text: arguments()}
			if rnd.IntN(4) == 0 {
				a.Kind, a.Text = "custom", text()
				add(a, `{"type":"custom_tool_call","call_id":%q,"name":%q,"input":%s}`, a.ID, a.Name, quoted(a.Text))
			} else {
				add(a, `{"type":"function_call","id":"fc_1","call_id":%q,"name":%q,"arguments":%s}`, a.ID, a.Name, quoted(a.Text))
			}
			made = append(made, a)
		}
		rnd.Shuffle(len(made), func(i, j int) { made[i], made[j] = made[j], made[i] })
		for _, a := range made {
			s := text()
			add(act{Kind: "tool", ID: a.ID, Text: s}, `{"type":%q,"call_id":%q,"output":%s}`,
				map[string]string{"function": "function_call_output", "custom": "custom_tool_call_output"}[a.Kind], a.ID, content(s, "input_text"))
		}
	}
	return acts, items
}

// chatActs reads the acts back from a chat completion request.
func chatActs(t *testing.T, body []byte) (acts []act) {
	t.Helper()
	var request struct {
		Messages []struct {
			Role       string
			Content    json.RawMessage
			Reasoning  string `json:"reasoning_content"`
			ToolCallID string `json:"tool_call_id"`
			ToolCalls  []struct {
				ID, Type string
				Function struct{ Name, Arguments string }
				Custom   struct{ Name, Input string }
			} `json:"tool_calls"`
		}
	}
	if err := json.Unmarshal(body, &request); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	called := 0 // calls that no result has been given to
	for _, m := range request.Messages {
		var text string
		if json.Unmarshal(m.Content, &text) != nil {
			var parts []struct{ Type, Text string }
			if err := json.Unmarshal(m.Content, &parts); err != nil {
				t.Fatalf("%v: %s", err, m.Content)
			}
			for _, p := range parts {
				text += p.Text
			}
		}
		if called > 0 && m.Role != "tool" {
			t.Fatalf("a message of the %s stands between a call and its result: %s", m.Role, body)
		}
		if m.Reasoning != "" {
			acts = append(acts, act{Kind: "reasoning", Text: m.Reasoning})
		}
		if string(m.Content) != "null" && (m.Role != "assistant" || string(m.Content) != `""`) {
			acts = append(acts, act{Kind: m.Role, ID: m.ToolCallID, Text: text})
		}
		for _, c := range m.ToolCalls {
			acts = append(acts, act{Kind: c.Type, ID: c.ID, Name: c.Function.Name + c.Custom.Name, Text: c.Function.Arguments + c.Custom.Input})
		}
		if called += len(m.ToolCalls); m.Role == "tool" {
			called--
		}
	}
	return acts
}

func TestRandomTranscriptsKeepEverything(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 11))
	for range 10_000 {
		want, items := randomTranscript(rnd)
		body := []byte(`{"model":"m","input":[` + strings.Join(items, ",") + `]}`)
		out, dropped, err := RequestResponsesToChat(nil, body, RequestOptions{})
		if err != nil || dropped != nil {
			t.Fatalf("%s: %v, dropped %q", body, err, dropped)
		}
		if got := chatActs(t, out); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\nbecame %s\n got %+v\nwant %+v", body, out, got, want)
		}
	}
}

func TestRequestResponsesThroughChat(t *testing.T) {
	body := `{"model":"m","instructions":"Be brief.","input":[{"role":"user","content":"x"},` +
		`{"type":"function_call","call_id":"c","name":"f","arguments":"{\"a\":1.50}"},{"type":"function_call_output","call_id":"c","output":"ok"}],` +
		`"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}],"truncation":"auto","prompt_cache_key":"k","max_output_tokens":9}`
	out, dropped, err := TranslateRequest(Responses, Messages, nil, []byte(body), RequestOptions{Model: "claude"})
	want := `{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"x"}]},` +
		`{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{"a":1.50}}]},` +
		`{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"text","text":"ok"}]}]}],` +
		`"system":[{"type":"text","text":"Be brief."}],"tools":[{"name":"f","input_schema":{"type":"object"}}]}`
	if err != nil || string(out) != want || fmt.Sprint(dropped) != "[truncation prompt_cache_key]" {
		t.Errorf("%s, dropped %v, %v", out, dropped, err)
	}
}

func FuzzRequestResponsesToChat(f *testing.F) {
	files, _ := filepath.Glob("testdata/responses_chat_request/*.json")
	for _, file := range files {
		in, _ := os.ReadFile(file)
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, _, err := RequestResponsesToChat(nil, in, RequestOptions{Model: "m"})
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
		if _, _, err := RequestChatToMessages(nil, out, RequestOptions{}); err != nil {
			var re *RequestError
			if !errors.As(err, &re) || re.Param == "" {
				t.Fatalf("%s became %s: %v", in, out, err)
			}
		}
	})
}
