package dialect

import (
	"fmt"
	"testing"
)

func TestP04OpenAIUsage(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       Usage
	}{
		{"final chunk", finalChunk, Usage{Input: 9, Output: 12, CacheRead: 4, Reasoning: 5, Reported: true}},
		{"with a choice", `{"choices":[{"delta":{}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}`, Usage{Input: 3, Output: 4, Reported: true}},
		{"null", chunkText, Usage{}},
		{"absent", `{"choices":[]}`, Usage{}},
		{"text only", `{"choices":[{"delta":{"content":"usage"}}]}`, Usage{}},
		{"name with an escape", `{"us\u0061ge":{"prompt_tokens":3}}`, Usage{Input: 3, Reported: true}},
		{"the last one counts", `{"usage":{"prompt_tokens":3},"usage":{"prompt_tokens":4}}`, Usage{Input: 4, Reported: true}},
		{"truncated", `{"usage":{"prompt_tokens":3}`, Usage{}},
		{"empty", `{"usage":{}}`, Usage{}},
		{"embeddings", `{"usage":{"prompt_tokens":8,"total_tokens":8}}`, Usage{Input: 8, Reported: true}},
		{"responses names", `{"usage":{"input_tokens":8,"output_tokens":2,"input_tokens_details":{"cached_tokens":3}}}`, Usage{Input: 8, Output: 2, CacheRead: 3, Reported: true}},
		{"DeepSeek's cache", `{"usage":{"prompt_tokens":8,"prompt_cache_hit_tokens":5,"prompt_cache_miss_tokens":3}}`, Usage{Input: 8, CacheRead: 5, Reported: true}},
		{
			"OpenRouter", `{"usage":{"prompt_tokens":100,"completion_tokens":7,"cost":0.0012345,"prompt_tokens_details":{"cached_tokens":40,"cache_write_tokens":50}}}`,
			Usage{Input: 100, Output: 7, CacheRead: 40, CacheWrite: 50, Reported: true, CostUSD: "0.0012345"},
		},
		{
			"reasoning beside the completion", `{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":35,"completion_tokens_details":{"reasoning_tokens":20}}}`,
			Usage{Input: 10, Output: 25, Reasoning: 20, Reported: true},
		},
		{"null details", `{"usage":{"prompt_tokens":1,"prompt_tokens_details":null}}`, Usage{Input: 1, Reported: true}},
	} {
		got, ok := OpenAIUsage([]byte(c.body))
		if got != c.want || ok != c.want.Reported {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, ok, c.want)
		}
	}
}

func TestP36HostileNumbers(t *testing.T) {
	for _, c := range []struct {
		number  string
		want    int64
		ok      bool
		suspect bool
	}{
		{"7", 7, true, false},
		{"7.0", 7, true, false},
		{"1e3", 1000, true, false},
		{"null", 0, false, false},
		{"-1", 0, true, true},
		{"7.5", 8, true, true},
		{"1e18", MaxTokens, true, true},
		{"1e999", MaxTokens, true, true},
		{"-1e999", 0, true, true},
		{"99999999999999999999999999", MaxTokens, true, true},
		{"1000000001", MaxTokens, true, true},
		{`"7"`, 0, false, true},
		{`"NaN"`, 0, false, true},
		{"true", 0, false, true},
		{"[]", 0, false, true},
		{"{}", 0, false, true},
	} {
		u, ok := OpenAIUsage(fmt.Appendf(nil, `{"usage":{"completion_tokens":%s}}`, c.number))
		if u.Output != c.want || ok != c.ok || u.Suspect != c.suspect {
			t.Errorf("%s: got %+v, %v", c.number, u, ok)
		}
	}
	for _, c := range []struct {
		name, usage string
		want        Usage
	}{
		{"total is wrong", `{"prompt_tokens":1,"completion_tokens":1,"total_tokens":3}`, Usage{Input: 1, Output: 1}},
		{"more cached than there is", `{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":9,"cache_write_tokens":9}}`, Usage{Input: 5, CacheRead: 5}},
		{"more reasoning than there is", `{"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":9}}`, Usage{Output: 5, Reasoning: 5}},
		{"details of the wrong type", `{"prompt_tokens":5,"prompt_tokens_details":7}`, Usage{Input: 5}},
		{"negative cost", `{"prompt_tokens":5,"cost":-1}`, Usage{Input: 5}},
		{"cost as text", `{"prompt_tokens":5,"cost":"NaN"}`, Usage{Input: 5}},
	} {
		c.want.Reported, c.want.Suspect = true, true
		if got, _ := OpenAIUsage([]byte(`{"usage":` + c.usage + `}`)); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestUsageCost(t *testing.T) {
	for number, want := range map[string]string{
		"0": "0", "0.0": "0", "1.2e-05": "0.000012", "12": "12", "100": "100", "0.1": "0.1", "0.0123456789": "0.012345679", "1e-12": "0",
	} {
		if u, _ := OpenAIUsage([]byte(`{"usage":{"prompt_tokens":1,"cost":` + number + `}}`)); u.CostUSD != want {
			t.Errorf("%s: got %q, want %q", number, u.CostUSD, want)
		}
	}
}

// nanoUSD prices a usage at 3 in, 3.75 cache write, 0.30 cache read, 15 out dollars per million tokens.
func nanoUSD(u Usage) int64 {
	return (u.Input-u.CacheRead-u.CacheWrite)*3000 + u.CacheWrite*3750 + u.CacheRead*300 + u.Output*15000
}

func TestP05AnthropicUsage(t *testing.T) {
	for _, c := range []struct {
		name, usage string
		want        Usage
		nano        int64
	}{
		{
			"cache write", `{"input_tokens":3,"cache_creation_input_tokens":12304,"cache_read_input_tokens":0,"output_tokens":550}`,
			Usage{Input: 12307, Output: 550, CacheWrite: 12304},
			54_399_000,
		},
		{"cache read", `{"input_tokens":3,"cache_read_input_tokens":1000,"output_tokens":10}`, Usage{Input: 1003, Output: 10, CacheRead: 1000}, 459_000},
		{
			"an hour", `{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":5}}`,
			Usage{Input: 10, Output: 1, CacheWrite: 9, CacheWrite1h: 5},
			51_750,
		},
		{"thinking", `{"input_tokens":1,"output_tokens":3,"output_tokens_details":{"thinking_tokens":2}}`, Usage{Input: 1, Output: 3, Reasoning: 2}, 48_000},
		{"nulls", `{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":null,"cache_creation":null}`, Usage{Input: 1, Output: 1}, 18_000},
		{"negative", `{"input_tokens":-5,"output_tokens":1}`, Usage{Output: 1, Suspect: true}, 15_000},
	} {
		c.want.Reported = true
		body := []byte(`{"type":"message","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":` + c.usage + `}`)
		got, ok := AnthropicUsage(body)
		if got != c.want || !ok || nanoUSD(got) != c.nano {
			t.Errorf("%s: got %+v at %d, want %+v at %d", c.name, got, nanoUSD(got), c.want, c.nano)
		}
		// Translating the answer does not change what it costs.
		out, same, err := AnswerMessagesToChat(nil, body, asM())
		if err != nil || same != got {
			t.Errorf("%s: translated %+v, %v", c.name, same, err)
		}
		if again, _ := OpenAIUsage(out); nanoUSD(again) != c.nano {
			t.Errorf("%s: the translation costs %d, the original %d", c.name, nanoUSD(again), c.nano)
		}
	}
}
