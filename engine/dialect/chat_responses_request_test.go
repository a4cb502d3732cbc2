package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestChatToResponsesRequestGolden(t *testing.T) {
	options := map[string]RequestOptions{
		"plain":   {Model: "gpt-5.5", DefaultMaxTokens: 777},
		"dropped": {Consumed: []string{"power_level"}},
	}
	files, _ := filepath.Glob("testdata/chat_responses/*.json")
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
			out, dropped, err := TranslateRequest(Chat, Responses, []byte("x"), in, options[name])
			if err != nil {
				t.Fatal(err)
			}
			checkRequestGolden(t, file, out[1:], dropped)
			again, _, _ := RequestChatToResponses(nil, in, options[name])
			if !bytes.Equal(again, out[1:]) {
				t.Error("not deterministic")
			}
		})
	}
}

// Every field of chat completions is carried over, refused, or named as dropped.
func TestChatToResponsesLosesNothingSilently(t *testing.T) {
	for field, value := range map[string]string{
		"audio": `{"voice":"alloy","format":"wav"}`, "frequency_penalty": "0.5", "function_call": `"auto"`, "functions": `[{"name":"f"}]`,
		"logit_bias": `{"1":2}`, "logprobs": "true", "max_completion_tokens": "100", "max_tokens": "100", "metadata": `{"a":"b"}`,
		"modalities": `["text","audio"]`, "moderation": `{"model":"m"}`, "n": "2", "prediction": `{"type":"content","content":"x"}`,
		"presence_penalty": "1", "prompt_cache_key": `"k"`, "prompt_cache_options": `{"ttl":"30m"}`, "prompt_cache_retention": `"24h"`,
		"reasoning_effort": `"low"`, "response_format": `{"type":"json_object"}`, "safety_identifier": `"s"`, "seed": "1",
		"service_tier": `"flex"`, "stop": `"\n"`, "store": "true", "stream": "true", "temperature": "0.5", "top_logprobs": "2", "top_p": "0.5",
		"user": `"u"`, "verbosity": `"low"`, "web_search_options": `{}`, "something_new": "1",
	} {
		plain := `{"model":"m","messages":[{"role":"user","content":"x"}]}`
		without, _, err := RequestChatToResponses(nil, []byte(plain), RequestOptions{})
		if err != nil {
			t.Fatal(err)
		}
		out, dropped, err := RequestChatToResponses(nil, []byte(plain[:len(plain)-1]+`,"`+field+`":`+value+`}`), RequestOptions{})
		if err == nil && bytes.Equal(out, without) && !slices.Contains(dropped, field) {
			t.Errorf("%s is lost", field)
		}
		if err == nil && !bytes.Contains(out, []byte(`"store":false`)) {
			t.Errorf("%s: the answer would be stored: %s", field, out)
		}
	}
}

func TestChatToResponsesRequestErrors(t *testing.T) {
	const ok = `"model":"m","messages":[{"role":"user","content":"x"}]`
	message := func(s string) string { return `{"model":"m","messages":[{"role":"user","content":"x"},` + s + `]}` }
	call := func(s string) string { return message(`{"role":"assistant","tool_calls":[` + s + `]}`) }
	part := func(s string) string {
		return message(`{"role":"user","content":[{"type":"text","text":"a"},` + s + `]}`)
	}
	tool := func(s string) string { return `{` + ok + `,"tools":[` + s + `]}` }
	for _, c := range []struct{ body, param string }{
		{``, ""},
		{`[]`, ""},
		{`null`, ""},
		{`{"model":"m","model":"n"}`, ""},
		{"{\"model\":\"\xff\"}", ""},
		{`{"messages":[{"role":"user","content":"x"}]}`, "model"},
		{`{"model":1,"messages":[{"role":"user","content":"x"}]}`, "model"},
		{`{"model":"m"}`, "messages"},
		{`{"model":"m","messages":"x"}`, "messages"},
		{`{"model":"m","messages":[]}`, "messages"},
		{`{"model":"m","messages":[{"role":"assistant","content":null}]}`, "messages"},
		{`{` + ok + `,"n":2}`, "n"},
		{`{` + ok + `,"stop":"x"}`, "stop"},
		{`{` + ok + `,"stop":["x"]}`, "stop"},
		{`{` + ok + `,"max_tokens":0}`, "max_tokens"},
		{`{` + ok + `,"max_tokens":"5"}`, "max_tokens"},
		{`{` + ok + `,"max_completion_tokens":-1,"max_tokens":5}`, "max_completion_tokens"},
		{`{` + ok + `,"temperature":"1"}`, "temperature"},
		{`{` + ok + `,"top_p":true}`, "top_p"},
		{`{` + ok + `,"stream":"yes"}`, "stream"},
		{`{` + ok + `,"user":5}`, "user"},
		{`{` + ok + `,"metadata":[1]}`, "metadata"},
		{`{` + ok + `,"modalities":["text","audio"]}`, "modalities"},
		{`{` + ok + `,"functions":[]}`, "functions"},
		{`{` + ok + `,"function_call":"auto"}`, "function_call"},
		{`{` + ok + `,"reasoning_effort":1}`, "reasoning_effort"},
		{`{` + ok + `,"verbosity":1}`, "verbosity"},
		{`{` + ok + `,"logprobs":1}`, "logprobs"},
		{`{` + ok + `,"logprobs":true,"top_logprobs":"1"}`, "top_logprobs"},
		{`{` + ok + `,"response_format":{"type":"xml"}}`, "response_format.type"},
		{`{` + ok + `,"response_format":{"type":"json_schema"}}`, "response_format.json_schema.name"},
		{`{` + ok + `,"response_format":{"type":"json_schema","json_schema":{"name":"n"}}}`, "response_format.json_schema.schema"},
		{`{` + ok + `,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{},"strict":1}}}`, "response_format.json_schema.strict"},
		{`{` + ok + `,"tools":{}}`, "tools"},
		{`{` + ok + `,"tool_choice":"required"}`, "tool_choice"},
		{`{` + ok + `,"parallel_tool_calls":0}`, "parallel_tool_calls"},
		{tool(`1`), "tools[0]"},
		{tool(`{"type":"web_search"}`), "tools[0].type"},
		{tool(`{"type":"function"}`), "tools[0].function"},
		{tool(`{"type":"function","function":{}}`), "tools[0].function.name"},
		{tool(`{"type":"function","function":{"name":"f","parameters":"x"}}`), "tools[0].function.parameters"},
		{tool(`{"type":"function","function":{"name":"f","strict":"x"}}`), "tools[0].function.strict"},
		{tool(`{"type":"custom"}`), "tools[0].custom"},
		{tool(`{"type":"custom","custom":{}}`), "tools[0].custom.name"},
		{tool(`{"type":"custom","custom":{"name":"g","format":{"type":"xml"}}}`), "tools[0].custom.format.type"},
		{tool(`{"type":"custom","custom":{"name":"g","format":{"type":"grammar"}}}`), "tools[0].custom.format.grammar"},
		{`{` + ok + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"some"}`, "tool_choice"},
		{`{` + ok + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function"}}`, "tool_choice"},
		{`{` + ok + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}}}`, "tool_choice"},
		{message(`5`), "messages[1]"},
		{message(`{"content":"x"}`), "messages[1].role"},
		{message(`{"role":"function","content":"x"}`), "messages[1].role"},
		{message(`{"role":"user","content":5}`), "messages[1].content"},
		{message(`{"role":"user","content":null}`), "messages[1].content"},
		{message(`{"role":"user","content":[]}`), "messages[1].content"},
		{message(`{"role":"user","content":["x"]}`), "messages[1].content[0]"},
		{message(`{"role":"system","content":[{"type":"image_url","image_url":"https://x/y"}]}`), "messages[1].content[0].type"},
		{message(`{"role":"tool","content":"x"}`), "messages[1].tool_call_id"},
		{message(`{"role":"tool","tool_call_id":"a","content":5}`), "messages[1].content"},
		{message(`{"role":"assistant","content":5}`), "messages[1].content"},
		{message(`{"role":"assistant","tool_calls":{}}`), "messages[1].tool_calls"},
		{message(`{"role":"assistant","content":[{"type":"image_url","image_url":"https://x/y"}]}`), "messages[1].content[0].type"},
		{message(`{"role":"assistant","content":[{"type":"refusal"}]}`), "messages[1].content[0].refusal"},
		{call(`{"type":"function","function":{"name":"f","arguments":"{}"}}`), "messages[1].tool_calls[0].id"},
		{call(`{"id":"a","type":"mcp"}`), "messages[1].tool_calls[0].type"},
		{call(`{"id":"a"}`), "messages[1].tool_calls[0].function.name"},
		{call(`{"id":"a","type":"custom","custom":{"name":"g","input":{}}}`), "messages[1].tool_calls[0].custom.input"},
		{call(`{"id":"a","function":{"name":"f","arguments":{}}}`), "messages[1].tool_calls[0].function.arguments"},
		{part(`{"type":"video_url"}`), "messages[1].content[1].type"},
		{part(`{"type":"text"}`), "messages[1].content[1].text"},
		{part(`{"type":"image_url"}`), "messages[1].content[1].image_url.url"},
		{part(`{"type":"file","file":{"filename":"a"}}`), "messages[1].content[1].file"},
		{part(`{"type":"input_audio"}`), "messages[1].content[1].input_audio"},
	} {
		out, dropped, err := RequestChatToResponses([]byte("x"), []byte(c.body), RequestOptions{})
		var re *RequestError
		if !errors.As(err, &re) || re.Param != c.param || string(out) != "x" || dropped != nil {
			t.Errorf("%s: got %s, %v (%+v), want param %q", c.body, out, err, re, c.param)
		}
	}
}

func FuzzRequestChatToResponses(f *testing.F) {
	files, _ := filepath.Glob("testdata/chat_responses/*.json")
	for _, file := range files {
		in, _ := os.ReadFile(file)
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, _, err := RequestChatToResponses(nil, in, RequestOptions{Model: "m"})
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
