package tokens

import (
	"sync"
	"testing"
)

func TestFamilyOf(t *testing.T) {
	for model, want := range map[string]string{
		"gpt-4o": "o200k", "openai/gpt-4o-mini-2024-07-18": "o200k", "gpt-4.1-nano": "o200k", "chatgpt-4o-latest": "o200k", "gpt-5.3-codex": "o200k",
		"gpt-6.1-sol": "o200k", "o3-mini": "o200k", "openai/o4-mini": "o200k", "openai/gpt-oss-20b:groq": "o200k",
		"gpt-4": "cl100k", "gpt-4-turbo": "cl100k", "gpt-4-1106-preview": "cl100k", "gpt-3.5-turbo": "cl100k", "text-embedding-3-small": "cl100k",
		"claude-haiku-4.5": "claude", "claude-sonnet-4-6": "claude", "us.anthropic.claude-3-5-sonnet-20241022-v2:0": "claude", "claude-opus-4-1": "claude",
		"claude-opus-4-7": "claude 4.7", "anthropic/claude-sonnet-5.5": "claude 4.7", "claude-fable-5.1": "claude 4.7", "claude-haiku-5-5": "claude 4.7",
		"meta-llama/Llama-3.3-70B-Instruct-Turbo": "llama", "llama3:8b": "llama", "accounts/x/models/llama-v3p1-405b": "llama", "us.meta.llama4-scout": "llama",
		"Qwen/Qwen3-32B": "qwen", "accounts/fireworks/models/qwen3p7-plus": "qwen", "zai-org/GLM-5.3-Flash": "qwen", "moonshotai/kimi-k3.1-pro": "qwen",
		"deepseek-ai/DeepSeek-V4.1-Flash": "deepseek", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B": "llama",
		"google/gemini-3.8-flash": "gemini", "gemma3:12b": "gemini",
		"mistralai/mistral-medium-3-5": "mistral", "mistralai/codestral-2508": "mistral", "mistralai/devstral-2512": "mistral",
		"x-ai/grok-4.7": "grok", "": "unknown", "m": "unknown", "foo3": "unknown", "turbo1": "unknown",
	} {
		if got := FamilyOf(model); got.Name != want {
			t.Errorf("%q is of %q, want %q", model, got.Name, want)
		} else if got.Exact() != (want == "o200k" || want == "cl100k") {
			t.Errorf("%q: exact is %v", model, got.Exact())
		}
	}
}

func TestTally(t *testing.T) {
	c := New()
	for _, s := range []struct {
		model string
		texts []string
		want  int64
	}{
		{"gpt-4o", nil, 0},
		{"gpt-4o", []string{"Hello world", " again", ""}, 3},
		{"claude-3", []string{"Hello world", " again"}, 4},                   // 3 × 1.2
		{"claude-3", []string{"Hello — “world”"}, 6},                         // 5 × 1.2: punctuation is plain
		{"deepseek-v3", []string{"人人生而自由，在尊严和权利上一律平等。"}, 14},                 // 15 × 0.9
		{"llama-3", []string{"Все люди рождаются свободными"}, 10},           // 6 × 1.6
		{"claude-opus-5", []string{"one two three four five six seven"}, 11}, // 7 × 1.56
		{"unknown", []string{"one", "one", "one", "one", "one", "one"}, 7},   // rounded up once, not for each text
		{"gpt-4", []string{"人人生而自由"}, 6},
		{"gpt-4o", []string{"人人生而自由"}, 4},
	} {
		tally := c.Tally(FamilyOf(s.model))
		for _, text := range s.texts {
			tally.Add([]byte(text))
		}
		if got := tally.Tokens(); got != s.want {
			t.Errorf("%s of %q: %d, want %d", s.model, s.texts, got, s.want)
		}
	}
}

func TestReserve(t *testing.T) {
	for model, want := range map[string]int64{"gpt-4o": 1001, "gpt-4": 1001, "llama-3": 1001, "claude-3": 1202, "claude-opus-5": 1562, "mystery": 1152} {
		if got := FamilyOf(model).Reserve(1001); got != want {
			t.Errorf("%s: %d, want %d", model, got, want)
		}
	}
}

func TestRatio(t *testing.T) {
	var r Ratio
	if got := r.Apply(1000); got != 1000 {
		t.Errorf("at first %d", got)
	}
	r.Observe(100, 300) // too few to tell
	r.Observe(1000, 0)  // nothing reported
	if got := r.Apply(1000); got != 1000 {
		t.Errorf("after what says nothing %d", got)
	}
	r.Observe(1000, 1160)
	if got := r.Apply(1000); got != 1010 {
		t.Errorf("after one observation %d, want a sixteenth of the way", got)
	}
	for range 200 {
		r.Observe(1000, 1160)
	}
	if got := r.Apply(1000); got != 1160 {
		t.Errorf("after many observations %d", got)
	}
	for range 200 {
		r.Observe(1000, 100_000)
	}
	if got := r.Apply(1000); got != 2000 {
		t.Errorf("at most %d", got)
	}
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for range 200 {
				r.Observe(1000, 1)
			}
		})
	}
	running.Wait()
	if got := r.Apply(1000); got != 500 {
		t.Errorf("at least %d", got)
	}
}
