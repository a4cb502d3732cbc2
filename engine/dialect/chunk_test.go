package dialect

import (
	"bytes"
	"encoding/json"
	"testing"
)

// model answers ChunkInfo's questions with encoding/json.
func modelChunk(data []byte) (Chunk, bool) {
	var body map[string]any
	if json.Unmarshal(data, &body) != nil || body == nil {
		return Chunk{Malformed: true}, true
	}
	full := func(v any) bool {
		switch v := v.(type) {
		case string:
			return v != ""
		case []any:
			return len(v) > 0
		case map[string]any:
			return len(v) > 0
		}
		return false
	}
	info := Chunk{NoChoices: true}
	choices, _ := body["choices"].([]any)
	for _, choice := range choices {
		info.NoChoices = false
		choice, _ := choice.(map[string]any)
		delta, _ := choice["delta"].(map[string]any)
		for name, v := range delta {
			info.Content = info.Content || isContent([]byte(name)) && full(v)
		}
		info.Content = info.Content || full(choice["text"])
		if s, _ := choice["finish_reason"].(string); s != "" {
			info.Finish = []byte(s)
		}
	}
	usage, has := body["usage"]
	_, info.Usage = usage.(map[string]any)
	info.UsageNull = has && usage == nil
	info.Error = body["error"] != nil
	return info, false
}

var chunkSeeds = []string{
	`{"choices":[{"delta":{"thinking_blocks":[{"type":"thinking","signature":"a"}]}}]}`,
	`{"choices":[{"message":{"thinking_blocks":[{"type":"redacted_thinking","data":"b"}]}}],"usage":{"prompt_tokens":1 }}`,
	`{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":2,"cost":0.5,"is_byok":true}}`,
	`{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":1,"total_tokens":1000000000000000000000}}`,
	chunkText, finalChunk, `{}`, `[]`, `null`, `x`, `{"choices":[]}`, `{"choices":null}`, `{"choices":{}}`, `{"choices":[1,"x",null,[]]}`,
	`{"choices":[{"delta":{"role":"assistant","content":""}}]}`,
	`{"choices":[{"delta":{"role":"assistant","content":null,"reasoning_content":"hm"}}]}`,
	`{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}`, `{"choices":[{"delta":{"tool_calls":[ ]}}]}`,
	`{"choices":[{"delta":{"refusal":"no"}}]}`, `{"choices":[{"delta":{"function_call":{ }}}]}`,
	`{"choices":[{"delta":{"content":[{"type":"thinking"}]}}]}`, `{"choices":[{"delta":null}]}`, `{"choices":[{"delta":"x"}]}`,
	`{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}`,
	`{"choices":[{"delta":{},"finish_reason":""}]}`, `{"choices":[{"finish_reason":5}]}`,
	`{"choices":[{"delta":{}},{"index":1,"delta":{"content":"x"},"finish_reason":"length"}]}`,
	`{"choices":[{"text":"legacy"}]}`, `{"error":{"message":"x"}}`, `{"error":null}`, `{"error":"x","choices":[]}`, `{"usage":7}`, `{"usage":[]}`,
	`{"model":"a","usage":null,"choices":[{"delta":{"content":"\n"}}]}`, `{"choices":[{"delta":{"content":"x"}}]`,
}

func TestChunkInfoAgreesWithEncodingJSON(t *testing.T) {
	for _, text := range chunkSeeds {
		checkChunk(t, text)
	}
}

func checkChunk(t *testing.T, text string) {
	t.Helper()
	got := ChunkInfo([]byte(text))
	want, _ := modelChunk([]byte(text))
	if got.Malformed != want.Malformed || got.Content != want.Content || got.Usage != want.Usage || got.UsageNull != want.UsageNull ||
		got.NoChoices != want.NoChoices || got.Error != want.Error || string(got.Finish) != string(want.Finish) {
		t.Errorf("%s:\n got %+v\nwant %+v", text, got, want)
	}
}

func FuzzChunkInfo(f *testing.F) {
	for _, text := range chunkSeeds {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		info := ChunkInfo(data)
		u, ok := OpenAIUsage(data)
		if u.Input < 0 || u.Output < 0 || u.CacheRead+u.CacheWrite > u.Input || u.Reasoning > u.Output || ok != u.Reported {
			t.Fatalf("%s: senseless usage %+v", data, u)
		}
		ReadError(data)
		if info.Malformed {
			return
		}
		if seen, found := Chat.InspectedUsage(data, &info); seen != u || found != ok {
			t.Fatalf("%s: two usages, %+v and %+v", data, seen, u)
		}
		if info.Unsigned {
			new(Signatures).Add(Chat, data, func(signature []byte) { t.Fatalf("%s: unsigned, and yet %q", data, signature) })
		}
		if once, again := StripUsage(nil, data), info.StripUsage(nil, data); !bytes.Equal(once, again) {
			t.Fatalf("%s: stripped to %s and to %s", data, once, again)
		}
		extra := Extra{CostUSD: "0.1", Credits: "2"}
		once := Chat.SpliceUsage(nil, data, u, extra)
		if again, known := info.SpliceUsage(nil, data, extra); known != info.Usage || known && !bytes.Equal(once, again) {
			t.Fatalf("%s: spliced to %s and, knowing the place %v, to %s", data, once, known, again)
		}
		for what, out := range map[string][]byte{
			"SpliceModel": SpliceModel(nil, data, "m"), "Chunk.SpliceModel": info.SpliceModel(nil, data, "m"),
			"StripUsage": StripUsage(nil, data), "SpliceUsage": once,
		} {
			if !json.Valid(out) {
				t.Fatalf("%s of %s is %s", what, data, out)
			}
		}
		if again := ChunkInfo(StripUsage(nil, data)); again.Usage || again.UsageNull {
			t.Fatalf("%s: usage not stripped", data)
		}
		if again := ChunkInfo(Chat.SpliceUsage(nil, data, u, Extra{})); !again.Usage {
			t.Fatalf("%s: no usage after the splice", data)
		}
	})
}

func BenchmarkChunkInfo(b *testing.B) {
	data := []byte(chunkText)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		ChunkInfo(data)
	}
}

func BenchmarkChunkSpliceModel(b *testing.B) {
	data := []byte(chunkText)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = ChunkInfo(data).SpliceModel(out[:0], data, "public")
	}
}

func BenchmarkOpenAIUsage(b *testing.B) {
	data := []byte(finalChunk)
	b.ReportAllocs()
	for b.Loop() {
		OpenAIUsage(data)
	}
}

func TestChunkInfoDoesNotAllocate(t *testing.T) {
	data := []byte(chunkText)
	out := make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(100, func() { out = ChunkInfo(data).SpliceModel(out[:0], data, "public") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
