package main

import (
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// The judges prove nothing if the providers take anything: these are requests that a vendor refuses.
func TestStrictProvidersRefuse(t *testing.T) {
	const (
		chat      = `{"model":"m","messages":[%]}`
		messages  = `{"model":"m","max_tokens":100,"messages":[%]}`
		responses = `{"model":"m","store":false,"input":[%]}`
	)
	headers := map[string]map[string]string{
		"chat":      {"Authorization": "Bearer k"},
		"messages":  {"X-Api-Key": "k", "Anthropic-Version": "2023-06-01"},
		"responses": {"Authorization": "Bearer k"},
	}
	paths := map[string]string{"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
	const (
		chatCall      = `{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_oslo","type":"function","function":{"name":"f","arguments":"ARGS"}}]}`
		messagesCall  = `{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"toolu_oslo","name":"f","input":ARGS}]}`
		responsesCall = `{"role":"user","content":"x"},{"type":"function_call","call_id":"call_oslo","name":"f","arguments":"ARGS"}`
	)
	given := weatherArgs("Oslo")
	quoted := string(marshal(given))
	quoted = quoted[1 : len(quoted)-1]
	for _, c := range []struct {
		name, dialect, body string
		fine                bool
	}{
		{"chat, plain", "chat", strings.Replace(chat, "%", `{"role":"user","content":"x"}`, 1), true},
		{"chat, a field of Messages", "chat", `{"model":"m","top_k":1,"messages":[{"role":"user","content":"x"}]}`, false},
		{"chat, a field of a block", "chat", strings.Replace(chat, "%", `{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]}`, 1), false},
		{"chat, a field of the gateway", "chat", `{"model":"m","power_level":"eco","messages":[{"role":"user","content":"x"}]}`, false},
		{"chat, a stream without usage", "chat", `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`, false},
		{"chat, an answer last", "chat", strings.Replace(chat, "%", `{"role":"assistant","content":"x"}`, 1), false},
		{"chat, a result", "chat", strings.Replace(chat, "%", strings.Replace(chatCall, "ARGS", quoted, 1)+`,{"role":"tool","tool_call_id":"call_oslo","content":"r"}`, 1), true},
		{"chat, other arguments", "chat", strings.Replace(chat, "%", strings.Replace(chatCall, "ARGS", `{}`, 1)+`,{"role":"tool","tool_call_id":"call_oslo","content":"r"}`, 1), false},
		{"chat, no result", "chat", strings.Replace(chat, "%", strings.Replace(chatCall, "ARGS", quoted, 1)+`,{"role":"user","content":"x"}`, 1), false},
		{"chat, two results", "chat", strings.Replace(chat, "%", strings.Replace(chatCall, "ARGS", quoted, 1)+`,{"role":"tool","tool_call_id":"call_oslo","content":"r"},{"role":"tool","tool_call_id":"call_oslo","content":"r"}`, 1), false},
		{"chat, a result of nothing", "chat", strings.Replace(chat, "%", `{"role":"tool","tool_call_id":"call_oslo","content":"r"}`, 1), false},
		{"chat, an open strict schema", "chat", `{"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object"}}}}`, false},
		{"messages, plain", "messages", strings.Replace(messages, "%", `{"role":"user","content":"x"}`, 1), true},
		{"messages, no max_tokens", "messages", `{"model":"m","messages":[{"role":"user","content":"x"}]}`, false},
		{"messages, two turns of one side", "messages", strings.Replace(messages, "%", `{"role":"user","content":"x"},{"role":"user","content":"x"}`, 1), false},
		{"messages, a system turn", "messages", strings.Replace(messages, "%", `{"role":"system","content":"x"},{"role":"user","content":"x"}`, 1), false},
		{"messages, an empty text", "messages", strings.Replace(messages, "%", `{"role":"user","content":[{"type":"text","text":""}]}`, 1), false},
		{"messages, a result", "messages", strings.Replace(messages, "%", strings.Replace(messagesCall, "ARGS", given, 1)+`,{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_oslo","content":"r"}]}`, 1), true},
		{"messages, a result after a text", "messages", strings.Replace(messages, "%", strings.Replace(messagesCall, "ARGS", given, 1)+`,{"role":"user","content":[{"type":"text","text":"x"},{"type":"tool_result","tool_use_id":"toolu_oslo","content":"r"}]}`, 1), false},
		{"messages, thinking that nobody signed", "messages", strings.Replace(messages, "%", `{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""}]},{"role":"user","content":"x"}`, 1), false},
		{"responses, plain", "responses", strings.Replace(responses, "%", `{"role":"user","content":"x"}`, 1), true},
		{"responses, stored", "responses", `{"model":"m","input":"x"}`, false},
		{"responses, messages", "responses", `{"model":"m","store":false,"messages":[{"role":"user","content":"x"}]}`, false},
		{"responses, a part of chat completions", "responses", strings.Replace(responses, "%", `{"role":"user","content":[{"type":"text","text":"x"}]}`, 1), false},
		{"responses, a result", "responses", strings.Replace(responses, "%", strings.Replace(responsesCall, "ARGS", quoted, 1)+`,{"type":"function_call_output","call_id":"call_oslo","output":"r"}`, 1), true},
		{"responses, no result", "responses", strings.Replace(responses, "%", strings.Replace(responsesCall, "ARGS", quoted, 1), 1), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &scripted.Request{Method: "POST", Path: paths[c.dialect], Header: headers[c.dialect], Body: []byte(c.body)}
			reply := strictScript(c.dialect, "k")(r)
			if fine := reply.Status != 400; fine != c.fine {
				t.Errorf("%s: %d %s", c.body, reply.Status, reply.Body)
			}
		})
	}
	for dialect, header := range headers {
		r := &scripted.Request{Method: "POST", Path: paths[dialect], Header: header}
		if reply := strictScript(dialect, "another")(r); reply.Status != 401 {
			t.Errorf("%s: %d to a wrong key", dialect, reply.Status)
		}
		r.Path = "/v1/nothing"
		if reply := strictScript(dialect, "k")(r); reply.Status != 404 {
			t.Errorf("%s: %d to a wrong path", dialect, reply.Status)
		}
	}
}
