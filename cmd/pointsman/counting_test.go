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
	whole := strings.Join(answerPieces, "")
	openAI := func(style scripted.UsageStyle) [][]byte { return scripted.OpenAIChunks("x", answerPieces, style) }
	anthropic := func() [][]byte { return scripted.AnthropicChunks("x", answerPieces) }
	for _, c := range []struct {
		style    string
		dialect  string
		buffered []byte
		streamed [][]byte
		counted  bool // by us
	}{
		{"last chunk without choices", "openai", scripted.OpenAIBody("x", whole), openAI(scripted.UsageFinal), false},
		{"last chunk with choices", "openai", scripted.OpenAIBody("x", whole), openAI(scripted.UsageAfter), false},
		{"chunk with finish_reason", "openai", scripted.OpenAIBody("x", whole), openAI(scripted.UsageWithFinish), false},
		{"every chunk, counting up", "openai", scripted.OpenAIBody("x", whole), openAI(scripted.UsageEvery), false},
		{"before finish_reason", "openai", scripted.OpenAIBody("x", whole), beforeFinish(openAI(scripted.UsageAfter)), false},
		{"null everywhere", "openai", withoutUsage(true, scripted.OpenAIBody("x", whole))[0], openAI(scripted.UsageNull), true},
		{"absent", "openai", withoutUsage(false, scripted.OpenAIBody("x", whole))[0], openAI(scripted.UsageNone), true},
		{"zeros", "openai", zeroUsage(scripted.OpenAIBody("x", whole))[0], zeroUsage(openAI(scripted.UsageFinal)...), true},
		{"at the start and the end", "anthropic", scripted.AnthropicBody("x", whole), anthropic(), false},
		{"at the end", "anthropic", scripted.AnthropicBody("x", whole), atTheEnd(anthropic()), false},
		{"absent", "anthropic", withoutUsage(false, scripted.AnthropicBody("x", whole))[0], withoutUsage(false, anthropic()...), true},
	} {
		model, counted := "gpt-4o", int64(0)
		if c.dialect == "anthropic" {
			model = "claude-sonnet-4-5"
		}
		if c.counted {
			tally := tokens.New().Tally(tokens.FamilyOf(model))
			tally.Add([]byte(whole))
			counted = tally.Tokens()
		}
		for _, path := range []string{chatPath, "/v1/messages"} {
			t.Run(c.dialect+" "+c.style+" "+path, func(t *testing.T) {
				up, err := scripted.Start(scripted.Options{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(up.Close)
				up.Script(func(r *scripted.Request) *scripted.Reply {
					if r.Stream {
						return &scripted.Reply{Chunks: c.streamed}
					}
					return &scripted.Reply{Body: c.buffered}
				})
				g := newGateway(t, oneModel(c.dialect, model, up), nil)
				var seen []map[string]any
				for _, stream := range []bool{true, false, true} {
					resp, body := g.api.post(t, path, ask("m", "stream", stream))
					if resp.StatusCode != http.StatusOK {
						t.Fatalf("%d %s", resp.StatusCode, body)
					}
					if got := resp.Header.Get("X-Pointsman-Estimated"); (got == "true") != (c.counted && !stream) {
						t.Errorf("stream %v: X-Pointsman-Estimated is %q", stream, got)
					}
					seen = append(seen, g.api.lastUsage(t))
				}
				for _, name := range []string{"credits", "cost_usd", "input_tokens", "output_tokens", "estimated"} {
					if seen[0][name] != seen[1][name] || seen[2][name] != seen[1][name] {
						t.Errorf("%s: streamed %v and %v, buffered %v", name, seen[0][name], seen[2][name], seen[1][name])
					}
				}
				want := float64(scripted.OutputTokens)
				if c.counted {
					want = float64(counted)
				}
				if u := seen[1]; u["output_tokens"] != want || u["estimated"] != c.counted || u["input_tokens"].(float64) < 5 {
					t.Errorf("%v, want %v output tokens", u, want)
				}
			})
		}
	}
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
