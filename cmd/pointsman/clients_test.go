package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// TestOfficialClients runs the official OpenAI clients, unmodified, against a gateway whose provider is scripted: once in
// OpenAI's dialect, once in Anthropic's. scripts/test-setup.sh installs them.
func TestOfficialClients(t *testing.T) {
	for _, dialect := range []string{"openai", "anthropic"} {
		up, err := scripted.Start(scripted.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(up.Close)
		up.Script(weatherScript)
		g := newGateway(t, fmt.Sprintf(`
[catalog]
builtin = false
[simulator]
enabled = false
[providers.vendor]
adapter = %q
base_url = %q
api_key = "sk-vendor"
allow_private = true
`, dialect, up.URL()+"/v1")+clientModel("small", 1, "0.002")+clientModel("gpt-4o", 3, "0.11")+clientModel("gpt-6-astra", 4, "2"), nil)
		for _, script := range []string{"chat", "stream", "tools", "models", "errors"} {
			t.Run(dialect+"/python/"+script, func(t *testing.T) {
				runClient(t, g, installed(t, "../../.cache/venv/bin/python"), "../../examples/clients/python/"+script+".py")
			})
			t.Run(dialect+"/node/"+script, func(t *testing.T) {
				installed(t, "../../examples/clients/node/node_modules/openai")
				node, err := exec.LookPath("node")
				if err != nil {
					missing(t, "node")
				}
				runClient(t, g, node, "../../examples/clients/node/"+script+".js")
			})
		}
	}
}

func clientModel(name string, tier int, rate string) string {
	return fmt.Sprintf(`
[[models]]
name = %q
tier = %d
credits_per_1k = %s
context_window = 200000
max_output = 128000
capabilities = ["tools", "json_schema"]
  [[models.deployments]]
  provider = "vendor"
  upstream = "up-%s"
  usd_in_per_1m = 1.0
  usd_out_per_1m = 2.0
`, name, tier, rate, name)
}

// weatherScript calls the first tool until it has a result, in the dialect and form that was asked for.
func weatherScript(r *scripted.Request) *scripted.Reply {
	if !bytes.Contains(r.Body, []byte(`"tools"`)) || bytes.Contains(r.Body, []byte(`"tool_result"`)) || bytes.Contains(r.Body, []byte(`"role":"tool"`)) {
		return nil
	}
	reply := func(buffered string, events ...string) *scripted.Reply {
		if !r.Stream {
			return &scripted.Reply{Body: []byte(buffered)}
		}
		var chunks [][]byte
		for _, e := range events {
			chunks = append(chunks, []byte(e+"\n\n"))
		}
		return &scripted.Reply{Chunks: chunks}
	}
	if bytes.HasSuffix([]byte(r.Path), []byte("/messages")) {
		return reply(`{"id":"msg_1","type":"message","role":"assistant","model":"x","content":[{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{"city":"Lisbon"}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":20}}`,
			`event: message_start`+"\n"+`data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"x","content":[],"stop_reason":null,"usage":{"input_tokens":10,"output_tokens":1}}}`,
			`event: content_block_start`+"\n"+`data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{}}}`,
			`event: content_block_delta`+"\n"+`data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"city\":"}}`,
			`event: content_block_delta`+"\n"+`data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"\"Lisbon\"}"}}`,
			`event: content_block_stop`+"\n"+`data: {"type":"content_block_stop","index":0}`,
			`event: message_delta`+"\n"+`data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":20}}`,
			`event: message_stop`+"\n"+`data: {"type":"message_stop"}`)
	}
	return reply(`{"id":"c1","object":"chat.completion","created":1,"model":"x","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Lisbon\"}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30}}`,
		`data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"x","choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}]}`,
		`data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":"}}]},"finish_reason":null}]}`,
		`data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"Lisbon\"}"}}]},"finish_reason":null}]}`,
		`data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"x","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
		`data: [DONE]`)
}

// installed returns an absolute path that the test set-up makes.
func installed(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		missing(t, path)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return absolute
}

// missing skips a test that lacks an installed client, which CI does not allow.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: run scripts/test-setup.sh", what)
	}
	t.Skipf("%s is missing: run scripts/test-setup.sh", what)
}

func runClient(t *testing.T, g *testGateway, program, script string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, filepath.Base(script))
	cmd.Dir = filepath.Dir(script)
	cmd.Env = append(os.Environ(), "OPENAI_BASE_URL="+g.api.base+"/v1", "OPENAI_API_KEY="+g.api.key)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
