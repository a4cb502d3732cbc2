package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// nativeModels starts a scripted provider for each API and returns the configuration of a model at each, named like the API.
func nativeModels(t *testing.T, extra string) (map[string]*scripted.Server, string) {
	t.Helper()
	toml, ups := "[catalog]\nbuiltin = false\n[simulator]\nenabled = false\n", map[string]*scripted.Server{}
	models := ""
	for _, api := range []struct{ name, provider string }{
		{"chat", "adapter = \"openai\""}, {"messages", "adapter = \"anthropic\""}, {"responses", "adapter = \"openai\"\nsettings = { api = \"responses\" }"},
	} {
		up, err := scripted.Start(scripted.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(up.Close)
		ups[api.name] = up
		toml += fmt.Sprintf("[providers.%s]\n%s\nbase_url = %q\napi_key = \"sk-platform\"\nallow_private = true\n%s\n", api.name, api.provider, up.URL()+"/v1", extra)
		models += strings.ReplaceAll(clientModel(api.name, 1, "0.002"), `provider = "vendor"`, fmt.Sprintf("provider = %q", api.name))
	}
	return ups, toml + models
}

// Credits pay for tokens at their listed prices, so nothing else is bought with the platform's key.
func TestNothingIsBoughtBesideTokens(t *testing.T) {
	const chat, messages, responses = `"messages":[{"role":"user","content":"x"}],"max_tokens":20`, `"messages":[{"role":"user","content":"x"}],"max_tokens":20`, `"input":"x","max_output_tokens":20`
	bought := []struct{ api, path, body, param string }{
		{"messages", messagesPath, messages + `,"tools":[{"name":"f","input_schema":{"type":"object"}},{"type":"web_search_20250305","name":"web_search"}]`, "tools[1].type"},
		{"messages", messagesPath, messages + `,"tools":[{"name":"c","type":"code_execution_20250825"}]`, "tools[0].type"},
		{"messages", messagesPath, messages + `,"tools":[{"name":"a","type":"advisor_20300101"}]`, "tools[0].type"},
		{"messages", messagesPath, messages + `,"t\u006fols":[{"name":"w","typ\u0065":"web\u005ffetch_20250910"}]`, "[0].typ"},
		{"messages", messagesPath, messages + `,"mcp_servers":[{"type":"url","url":"https://mcp.example","name":"x"}]`, "mcp_servers"},
		{"messages", messagesPath, messages + `,"context_management":{"edits":[{"type":"clear_thinking_20251015"},{"type":"compact_20260112"}]}`, "context_management.edits[1].type"},
		{"messages", messagesPath, messages + `,"compaction":{}`, "compaction"},
		{"messages", messagesPath, messages + `,"speed":"fast"`, "speed"},
		{"messages", messagesPath, messages + `,"inference_geo":"us"`, "inference_geo"},
		{"responses", "/v1/responses", responses + `,"tools":[{"type":"web_search"}]`, "tools[0].type"},
		{"responses", "/v1/responses", responses + `,"tools":[{"type":"function","name":"f"},{"type":"image_generation"}]`, "tools[1].type"},
		{"responses", "/v1/responses", responses + `,"tools":[{"type":"code_interpreter","container":{"type":"auto"}}]`, "tools[0].type"},
		{"responses", "/v1/responses", responses + `,"tools":[{"type":"file_search","vector_store_ids":["v"]}]`, "tools[0].type"},
		{"responses", "/v1/responses", responses + `,"tools":[{"type":"mcp","server_label":"x"}]`, "tools[0].type"},
		{"responses", "/v1/responses", responses + `,"prompt":{"id":"pmpt_1"}`, "prompt"},
		{"chat", chatPath, chat + `,"web_search_options":{}`, "web_search_options"},
		{"chat", chatPath, chat + `,"tools":[{"type":"browser_search"}]`, "tools[0].type"},
	}
	free := []struct{ api, path, body string }{
		{"messages", messagesPath, messages + `,"tools":[{"name":"f","input_schema":{"type":"object"}},{"type":"bash_20250124","name":"bash"},{"type":"tool_search_tool_regex_20251119","name":"t"}]`},
		{"messages", messagesPath, messages + `,"speed":"standard","inference_geo":"global","mcp_servers":[],"compaction":null,"context_management":{"edits":[{"type":"clear_tool_uses_20250919","keep":{"type":"tool_uses","value":3}}]}`},
		{"responses", "/v1/responses", responses + `,"tools":[{"type":"function","name":"f"},{"type":"custom","name":"g"},{"type":"local_shell"},{"type":"computer_use_preview"}]`},
		{"chat", chatPath, chat + `,"tools":[{"type":"function","function":{"name":"f"}}],"web_search_options":null`},
	}
	ask := func(g *testGateway, api, path, body string) (int, string) {
		resp, text := g.api.raw(t, "POST", path, `{"model":"`+api+`",`+body+`}`, http.Header{"X-Api-Key": {g.firstKey}})
		return resp.StatusCode, text
	}

	ups, toml := nativeModels(t, "")
	g := newGateway(t, toml, nil)
	before := g.api.balance(t)
	for _, c := range bought {
		asked := ups[c.api].Count()
		status, text := ask(g, c.api, c.path, c.body)
		if status != 400 || !strings.Contains(text, "beside") || !strings.Contains(text, c.param) || c.api != "messages" && !strings.Contains(text, `"unsupported_parameter"`) {
			t.Errorf("%s: %d %s", c.body, status, text)
		}
		if ups[c.api].Count() != asked {
			t.Errorf("%s: the provider was asked", c.body)
		}
	}
	if after := g.api.balance(t); after != before {
		t.Errorf("refused requests cost %s -> %s", before, after)
	}
	for _, c := range free {
		if status, text := ask(g, c.api, c.path, c.body); status != 200 {
			t.Errorf("%s: %d %s", c.body, status, text)
		}
	}
	for api := range ups { // who brings a key pays for what it buys
		if err := g.api.call("PUT", "/api/v1/llm/byok/"+api, map[string]string{"key": "sk-own-0123456789"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range bought {
		if status, text := ask(g, c.api, c.path, c.body); status != 200 {
			t.Errorf("with an own key, %s: %d %s", c.body, status, text)
		}
	}

	_, toml = nativeModels(t, "provider_tools = true")
	g = newGateway(t, toml, nil)
	for _, c := range bought {
		if status, text := ask(g, c.api, c.path, c.body); status != 200 {
			t.Errorf("with provider_tools, %s: %d %s", c.body, status, text)
		}
	}
}

// A candidate that would sell something is passed over for one that has no such tool.
func TestCandidateThatSellsIsPassedOver(t *testing.T) {
	ups, toml := nativeModels(t, "")
	const deployment = "  [[models.deployments]]\n  provider = \"messages\"\n"
	toml = strings.Replace(toml, deployment, deployment+"  upstream = \"up-sells\"\n  usd_in_per_1m = 1.0\n  usd_out_per_1m = 1.0\n"+strings.ReplaceAll(deployment, "messages\"", "chat\""), 1)
	g := newGateway(t, toml, nil)
	resp, text := g.api.raw(t, "POST", messagesPath, `{"model":"messages","max_tokens":20,"messages":[{"role":"user","content":"x"}],`+
		`"tools":[{"name":"f","input_schema":{"type":"object"}},{"type":"web_search_20250305","name":"web_search"}]}`, http.Header{"X-Api-Key": {g.firstKey}})
	if resp.StatusCode != 200 || ups["messages"].Count() != 0 || ups["chat"].Count() != 1 || resp.Header.Get("X-Pointsman-Dropped") != "tools[].type" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, text)
	}
}
