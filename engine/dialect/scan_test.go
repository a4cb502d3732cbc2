package dialect

import (
	"encoding/json"
	"strings"
	"testing"
)

func scanValid(text string) bool {
	c := cursor{b: []byte(text)}
	c.value()
	return c.end()
}

func TestCursorAgreesWithEncodingJSON(t *testing.T) {
	for _, text := range scanSeeds() {
		if got, want := scanValid(text), json.Valid([]byte(text)); got != want {
			t.Errorf("%q: %v, encoding/json says %v", text, got, want)
		}
		for i := range text { // every truncation too
			if got, want := scanValid(text[:i]), json.Valid([]byte(text[:i])); got != want {
				t.Errorf("%q: %v, encoding/json says %v", text[:i], got, want)
			}
		}
	}
	deep := strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1)
	if scanValid(deep) || !scanValid(deep[1:len(deep)-1]) {
		t.Error("the limit of nesting does not hold")
	}
}

func scanSeeds() []string {
	return []string{
		``, ` `, `{}`, `[]`, `{"a":1}`, ` { "a" : [ 1 , 2 ] , "b" : { } } `, `{"a":1,}`, `[1,]`, `[,1]`, `{,}`, `{"a"}`, `{"a":}`,
		`[1 2]`, `{"a":1 "b":2}`, `[}`, `{]`, `[1}`, `{"a":1]`, `{} {}`, `{}x`, `nul`, `nulll`, `true`, `false`, `null`,
		`0`, `-0`, `00`, `01`, `-`, `1.`, `.1`, `1.5e`, `1e+5`, `1E-05`, `1e999`, `+1`, `1.2.3`, `0x1`, `NaN`, `-Infinity`,
		`"a"`, `"\u00e9\n\"\\\/"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\u12"`, `"\x"`, `"\`, `"`, "\"a\tb\"", "\"a\x1f\"", "\"\x7f\"",
		`"0123456789abcdef"`, `"01234567\n9abcdef"`, "\"世界🌍 and more\"", "\"\xff\"", `{"\u0061":1}`, "\ufeff{}", "[1\n,\r2\t]",
		chunkText, finalChunk,
	}
}

const (
	chunkText = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06",` +
		`"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}`
	finalChunk = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06",` +
		`"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,` +
		`"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":5}}}`
)

func FuzzCursor(f *testing.F) {
	for _, text := range scanSeeds() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(text, "[")+strings.Count(text, "{") > maxDepth {
			return
		}
		if got, want := scanValid(text), json.Valid([]byte(text)); got != want {
			t.Fatalf("%q: %v, encoding/json says %v", text, got, want)
		}
	})
}
