package main

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/tokens"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// The words of the scripted answers, cut where no tokenizer would.
var answerPieces = []string{"Hel", "lo wor", "ld, 你", "好! It", "'s 12", "345 o'clock", ".\n", "\n  - caf", "é 🙂"}

// oneModel configures a model of a provider that speaks the dialect.
func oneModel(dialect, model string, up *scripted.Server) string {
	return fmt.Sprintf(`
[catalog]
builtin = false
[simulator]
enabled = false
[providers.vendor]
adapter = %q
base_url = %q
api_key = "sk-vendor"
allow_private = true
[[models]]
name = "m"
tier = 1
credits_per_1k = 0.002
context_window = 128000
[[models.deployments]]
provider = "vendor"
upstream = %q
usd_in_per_1m = 1.0
usd_out_per_1m = 2.0
`, dialect, up.URL()+"/v1", model)
}

var usageMember = regexp.MustCompile(`,"usage":(null|\{[^{}]*(\{[^{}]*\}[^{}]*)*\})`)

// withoutUsage takes the usage out of events or a body, or makes it null.
func withoutUsage(null bool, chunks ...[]byte) [][]byte {
	instead := ""
	if null {
		instead = `,"usage":null`
	}
	for i, c := range chunks {
		chunks[i] = usageMember.ReplaceAll(c, []byte(instead))
	}
	return chunks
}

// P04: whatever way a provider has of telling usage, or if it tells none, an answer costs the same streamed and buffered.
func TestP04StreamedCostIsTheBufferedCost(t *testing.T) {
	t.Parallel()
	whole := strings.Join(answerPieces, "")
	requests := map[string]map[string]any{
		chatPath: ask("m"), "/v1/messages": ask("m"), "/v1/responses": {"model": "m", "input": "Hello"}, "/v1/completions": {"model": "m", "prompt": "Hello"},
	}
	openAI := func(style scripted.UsageStyle) [][]byte { return scripted.OpenAIChunks("x", answerPieces, style) }
	anthropic := func() [][]byte { return scripted.AnthropicChunks("x", answerPieces) }
	gateways, ups := map[string]*testGateway{}, map[string]*scripted.Server{}
	models := map[string]string{"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5"}
	for dialect, model := range models {
		up, err := scripted.Start(scripted.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(up.Close)
		gateways[dialect], ups[dialect] = newGateway(t, oneModel(dialect, model, up), nil), up
	}
	call := []string{"get_weather", `{"city":"Paris, France","days":[1,2]}`}
	for _, c := range []struct {
		style    string
		dialect  string
		buffered []byte
		streamed [][]byte
		counted  []string // by us: the texts
	}{
		{"last chunk without choices", "openai", scripted.OpenAIBody("x", whole), openAI(scripted.UsageFinal), nil},
		{"last chunk with choices", "openai", scripted.OpenAIBody("x", whole), openAI(scripted.UsageAfter), nil},
		{"chunk with finish_reason", "openai", scripted.OpenAIBody("x", whole), openAI(scripted.UsageWithFinish), nil},
		{"every chunk, counting up", "openai", scripted.OpenAIBody("x", whole), openAI(scripted.UsageEvery), nil},
		{"before finish_reason", "openai", scripted.OpenAIBody("x", whole), beforeFinish(openAI(scripted.UsageAfter)), nil},
		{"null everywhere", "openai", withoutUsage(true, scripted.OpenAIBody("x", whole))[0], openAI(scripted.UsageNull), []string{whole}},
		{"absent", "openai", withoutUsage(false, scripted.OpenAIBody("x", whole))[0], openAI(scripted.UsageNone), []string{whole}},
		{"zeros", "openai", zeroUsage(scripted.OpenAIBody("x", whole))[0], zeroUsage(openAI(scripted.UsageFinal)...), []string{whole}},
		{"at the start and the end", "anthropic", scripted.AnthropicBody("x", whole), anthropic(), nil},
		{"at the end", "anthropic", scripted.AnthropicBody("x", whole), atTheEnd(anthropic()), nil},
		{"absent", "anthropic", withoutUsage(false, scripted.AnthropicBody("x", whole))[0], withoutUsage(false, anthropic()...), []string{whole}},
		{
			"absent, a tool call", "openai",
			[]byte(`{"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"get_weather","arguments":"{\"city\": \"Paris, France\", \"days\": [1, 2]}"}}]},"finish_reason":"tool_calls"}]}`),
			events(
				`{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"get_weather","arguments":""}}]}}]}`,
				`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\": \"Par"}}]}}]}`,
				`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"is, France\", \"days\": [1, 2]}"}}]}}]}`,
				`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`, `[DONE]`,
			), call,
		},
		{
			"absent, a tool call", "anthropic",
			[]byte(`{"id":"m","type":"message","role":"assistant","content":[{"type":"tool_use","id":"c","name":"get_weather","input":{"city": "Paris, France", "days": [1, 2]}}],"stop_reason":"tool_use"}`),
			events(
				`{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","content":[]}}`,
				`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"c","name":"get_weather","input":{}}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"city\": \"Paris, "}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"France\", \"days\":[1,2]}"}}`,
				`{"type":"content_block_stop","index":0}`, `{"type":"message_delta","delta":{"stop_reason":"tool_use"}}`, `{"type":"message_stop"}`,
			), call,
		},
	} {
		want := int64(scripted.OutputTokens)
		if c.counted != nil {
			tally := tokens.New().Tally(tokens.FamilyOf(models[c.dialect]))
			for _, text := range c.counted {
				tally.Add([]byte(text))
			}
			want = tally.Tokens()
		}
		ups[c.dialect].Script(func(r *scripted.Request) *scripted.Reply {
			if r.Stream {
				return &scripted.Reply{Chunks: c.streamed}
			}
			return &scripted.Reply{Body: c.buffered}
		})
		for path, request := range requests {
			if path == "/v1/completions" && len(c.counted) > 1 {
				continue // they call no tools
			}
			t.Run(c.dialect+" "+c.style+" "+path, func(t *testing.T) {
				sameCost(t, gateways[c.dialect], path, request, float64(want), c.counted != nil)
			})
		}
	}
}

// sameCost asks three times, streamed and buffered, and holds the usage of the answers against each other.
func sameCost(t *testing.T, g *testGateway, path string, request map[string]any, output float64, counted bool) {
	t.Helper()
	var seen []map[string]any
	for _, stream := range []bool{true, false, true} {
		request["stream"] = stream
		resp, body := g.api.post(t, path, request)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		if got := resp.Header.Get("X-Pointsman-Estimated"); (got == "true") != (counted && !stream) {
			t.Errorf("stream %v: X-Pointsman-Estimated is %q", stream, got)
		}
		u := g.api.lastUsage(t)
		for _, name := range []string{"credits", "cost_usd", "input_tokens", "output_tokens", "estimated"} {
			if len(seen) > 0 && seen[0][name] != u[name] {
				t.Errorf("%s: streamed %v, and %v with stream %v", name, seen[0][name], u[name], stream)
			}
		}
		seen = append(seen, u)
	}
	if u := seen[0]; u["output_tokens"] != output || u["estimated"] != counted || u["input_tokens"].(float64) < 5 {
		t.Errorf("%v, want %v output tokens", u, output)
	}
}

// events are a stream with these payloads.
func events(payloads ...string) (chunks [][]byte) {
	for _, p := range payloads {
		chunks = append(chunks, []byte("data: "+p+"\n\n"))
	}
	return chunks
}

// beforeFinish moves the usage before the chunk with the finish_reason.
func beforeFinish(chunks [][]byte) [][]byte {
	n := len(chunks)
	chunks[n-3], chunks[n-2] = chunks[n-2], chunks[n-3]
	return chunks
}

// atTheEnd leaves out the usage of the first event.
func atTheEnd(chunks [][]byte) [][]byte {
	chunks[0] = withoutUsage(false, chunks[0])[0]
	last := len(chunks) - 2
	chunks[last] = bytes.Replace(chunks[last], []byte(`"usage":{`), []byte(fmt.Sprintf(`"usage":{"input_tokens":%d,`, scripted.InputTokens)), 1)
	return chunks
}

// zeroUsage makes every count zero.
func zeroUsage(chunks ...[]byte) [][]byte {
	for i, c := range chunks {
		chunks[i] = regexp.MustCompile(`_tokens":\d+`).ReplaceAll(c, []byte(`_tokens":0`))
	}
	return chunks
}

// TestBrokenStreamsAreChargedForWhatTheySaid cuts a stream whose provider reported a token at its start.
func TestBrokenStreamsAreChargedForWhatTheySaid(t *testing.T) {
	t.Parallel()
	long := slices.Repeat([]string{" word"}, 60)
	for dialect, chunks := range map[string][][]byte{
		"anthropic": scripted.AnthropicChunks("x", long), "openai": scripted.OpenAIChunks("x", long, scripted.UsageFinal),
	} {
		up, err := scripted.Start(scripted.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(up.Close)
		up.Script(func(*scripted.Request) *scripted.Reply {
			return &scripted.Reply{Chunks: chunks, Cut: scripted.CutFIN, CutAfter: 52}
		})
		g := newGateway(t, oneModel(dialect, "gpt-4o", up), nil)
		for _, path := range []string{chatPath, "/v1/messages"} {
			resp, err := g.api.do("POST", path, ask("m", "stream", true))
			if err != nil {
				t.Fatal(err)
			}
			new(bytes.Buffer).ReadFrom(resp.Body) //nolint:errcheck // it breaks off
			resp.Body.Close()
			if u := g.api.lastUsage(t); u["outcome"] != "upstream_abort" || u["estimated"] != true || u["output_tokens"].(float64) < 45 || u["output_tokens"].(float64) > 55 {
				t.Errorf("%s %s: %v", dialect, path, u)
			}
		}
	}
}

func TestCountTokens(t *testing.T) {
	up, err := scripted.Start(scripted.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	g := newGateway(t, oneModel("openai", "gpt-4o", up), nil)
	for body, want := range map[string]string{
		`{"model":"m","messages":[{"role":"user","content":"Hello world"}]}`:                                      `{"input_tokens":9}`,  // 2, a message, the beginning
		`{"model":"claude-opus-4-1","messages":[{"role":"user","content":"Hello world, how are you"}]}`:           `{"input_tokens":15}`, // 6 × 1.2
		`{"model":"m","system":"Be brief.","messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}]}`: `{"input_tokens":11}`,
	} {
		resp, got := g.api.post(t, "/v1/messages/count_tokens", []byte(body))
		if resp.StatusCode != http.StatusOK || got != want || resp.Header.Get("X-Pointsman-Estimated") != "true" {
			t.Errorf("%s: %d %s, want %s", body, resp.StatusCode, got, want)
		}
	}
}
