package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

const messagesPath = "/v1/messages"

// anthropicModels starts a scripted provider that speaks Messages and returns the configuration of models that it has.
func anthropicModels(t testing.TB, names ...string) (*scripted.Server, string) {
	t.Helper()
	up, err := scripted.Start(scripted.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	toml := fmt.Sprintf("[catalog]\nbuiltin = false\n[simulator]\nenabled = false\n[providers.vendor]\nadapter = \"anthropic\"\nbase_url = %q\napi_key = \"sk-vendor\"\nallow_private = true\n", up.URL()+"/v1")
	for _, name := range names {
		toml += clientModel(name, 1, "0.002")
	}
	return up, toml
}

// A client of Anthropic's API in front of a provider that speaks it: the bytes pass as they are, but for the model's name and the
// price in the usage.
func TestMessagesPassThrough(t *testing.T) {
	up, toml := anthropicModels(t, "claude")
	g := newGateway(t, toml, nil)
	const body = `{"model": "claude",  "max_tokens": 50, "system": [{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}],` +
		`"messages": [{"role":"user","content":[{"type":"text","text":"Hello","citations":{"enabled":true}}]}], "new_field": {"x": 1.50}%s}`
	for _, stream := range []bool{false, true} {
		extra := ""
		if stream {
			extra = `, "stream": true`
		}
		sent := fmt.Sprintf(body, extra)
		resp, text := g.api.raw(t, "POST", messagesPath, sent, http.Header{"X-Api-Key": {g.firstKey}, "Anthropic-Version": {"2023-06-01"}, "Anthropic-Beta": {"new-thing-2026-01-01"}})
		if resp.StatusCode != 200 {
			t.Fatalf("%d: %s", resp.StatusCode, text)
		}
		got := up.Requests()[len(up.Requests())-1]
		if want := strings.Replace(sent, `"claude"`, `"up-claude"`, 1); string(got.Body) != want {
			t.Errorf("the provider got\n %s\nwant %s", got.Body, want)
		}
		if beta := got.Header["Anthropic-Beta"]; beta != "new-thing-2026-01-01" {
			t.Errorf("beta features %q", beta)
		}
		if !stream {
			if !strings.HasPrefix(text, `{"id":"msg_`) || !strings.Contains(text, `"type":"message"`) || !strings.Contains(text, `"cost":`) || resp.Header.Get("X-Pointsman-Dropped") != "" {
				t.Errorf("%v %s", resp.Header, text)
			}
			continue
		}
		if !strings.HasPrefix(text, "event: message_start\n") || !strings.HasSuffix(text, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n") ||
			!strings.Contains(text, `"credits":`) || strings.Contains(text, "[DONE]") {
			t.Errorf("stream %s", text)
		}
	}
	used := g.api.lastUsage(t)
	if used["endpoint"] != "messages" || used["outcome"] != "ok" || used["input_tokens"].(float64) == 0 || used["output_tokens"].(float64) == 0 {
		t.Errorf("usage %v", used)
	}
}

// Errors on Anthropic's paths have Anthropic's shape, whoever finds them.
func TestMessagesErrors(t *testing.T) {
	_, toml := anthropicModels(t, "claude")
	g := newGateway(t, toml, nil)
	key := http.Header{"X-Api-Key": {g.firstKey}}
	for _, c := range []struct {
		method, path, body string
		header             http.Header
		status             int
		kind               string
	}{
		{"POST", messagesPath, `{}`, http.Header{"X-Api-Key": {"wrong"}}, 401, "authentication_error"},
		{"POST", messagesPath, `{`, key, 400, "invalid_request_error"},
		{"POST", messagesPath, `{"messages":[{"role":"user","content":"x"}]}`, key, 400, "invalid_request_error"},
		{"POST", messagesPath, `{"model":"nope","max_tokens":1,"messages":[{"role":"user","content":"x"}]}`, key, 404, "not_found_error"},
		{"GET", messagesPath, ``, key, 405, "invalid_request_error"},
		{"POST", messagesPath + "/nothing", `{}`, key, 404, "not_found_error"},
	} {
		resp, text := g.api.raw(t, c.method, c.path, c.body, c.header)
		if resp.StatusCode != c.status || !strings.HasPrefix(text, `{"type":"error","error":{"type":"`+c.kind+`","message":"`) || !strings.Contains(text, `"request_id":"`) {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, resp.StatusCode, text)
		}
	}
	resp, text := g.api.raw(t, "POST", messagesPath+"/count_tokens", `{"model":"claude","messages":[{"role":"user","content":"Hello, world"}]}`, key)
	if resp.StatusCode != 200 || !strings.HasPrefix(text, `{"input_tokens":`) {
		t.Errorf("counting: %d %s", resp.StatusCode, text)
	}
}

// P13: signed thinking goes back to the model that signed it, byte for byte, and to no other.
func TestForeignThinkingIsNotSent(t *testing.T) {
	up, toml := anthropicModels(t, "one", "two")
	g := newGateway(t, toml, nil)
	up.Script(func(r *scripted.Request) *scripted.Reply {
		signer := "two"
		if strings.Contains(string(r.Body), `"up-one"`) {
			signer = "one"
		}
		return &scripted.Reply{Body: []byte(`{"id":"msg_1","type":"message","role":"assistant","model":"x","content":[{"type":"thinking","thinking":"hm","signature":"signed/by+` + signer +
			`=="},{"type":"tool_use","id":"toolu_1","name":"f","input":{}}],"stop_reason":"tool_use","usage":{"input_tokens":5,"output_tokens":5}}`)}
	})
	const first = `{"model":"%s","max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":1024},"tools":[{"name":"f","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":"Hello"}`
	const turn = `,{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"signed/by+%s=="},{"type":"tool_use","id":"toolu_1","name":"f","input":{}}]}` +
		`,{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"r"}]}`
	key := http.Header{"X-Api-Key": {g.firstKey}}
	for _, model := range []string{"one", "two"} {
		if resp, text := g.api.raw(t, "POST", messagesPath, fmt.Sprintf(first, model)+"]}", key); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
	}
	for _, signer := range []string{"one", "two"} {
		for _, model := range []string{"one", "two"} {
			resp, text := g.api.raw(t, "POST", messagesPath, fmt.Sprintf(first, model)+fmt.Sprintf(turn, signer)+"]}", key)
			if resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, text)
			}
			body := string(up.Requests()[len(up.Requests())-1].Body)
			dropped := resp.Header.Get("X-Pointsman-Dropped")
			own := signer == model
			if strings.Contains(body, "signed/by+"+signer) != own || strings.Contains(body, `"budget_tokens"`) != own || (dropped == "") != own || !strings.Contains(body, `"tool_use"`) {
				t.Errorf("signed by %s, asked %s, dropped %q: %s", signer, model, dropped, body)
			}
		}
	}
}

// A conversation goes on with the provider whose cache knows it, though nobody named a session.
func TestConversationIsRecognised(t *testing.T) {
	_, toml := upstreams(t, 2)
	g := newGateway(t, toml, nil)
	turn := []map[string]any{{"role": "user", "content": "Hello"}}
	resp, _ := g.api.post(t, chatPath, map[string]any{"model": "m", "messages": turn})
	first := resp.Header.Get("X-Pointsman-Provider")
	turn = append(turn, map[string]any{"role": "assistant", "content": "Hi"}, map[string]any{"role": "user", "content": "And?"})
	resp, _ = g.api.post(t, chatPath, map[string]any{"model": "m", "messages": turn})
	_, text := g.api.send(t, "GET", "/api/v1/llm/decisions/"+resp.Header.Get("X-Request-Id"), nil)
	if !strings.Contains(text, `"warm":true`) || resp.Header.Get("X-Pointsman-Provider") != first {
		t.Errorf("answered by %s, then by %s: %s", first, resp.Header.Get("X-Pointsman-Provider"), text)
	}
}

// raw sends bytes with headers of the test's own.
func (c *client) raw(t testing.TB, method, path, body string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header.Clone()
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}
