package dialect

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// TestCompletionsOfMessages: a caller of legacy completions is served by a provider that speaks the Messages API.
func TestCompletionsOfMessages(t *testing.T) {
	request, dropped, err := TranslateRequest(Completions, Messages, nil, []byte(`{"model":"m","prompt":"x","max_tokens":5,"best_of":2,"seed":7}`), RequestOptions{Model: "claude"})
	const want = `{"model":"claude","max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`
	if err != nil || string(request) != want || strings.Join(dropped, " ") != "best_of seed" {
		t.Errorf("got %s, %v, %v", request, dropped, err)
	}
	blocks := []block{{kind: "thinking", text: "hm", signature: "c2ln"}, {kind: "text", text: "Hello"}}
	body, usage, err := TranslateAnswer(Messages, Completions, nil, bufferedScript(blocks, "max_tokens"), asM())
	const choice = `{"text":"Hello","index":0,"logprobs":null,"finish_reason":"length"}`
	if err != nil || usage.Input != 15 || !strings.Contains(string(body), `"choices":[`+choice+`]`) {
		t.Errorf("got %s, %+v, %v", body, usage, err)
	}
	s := TranslateStream(Messages, Completions, bytes.NewReader(streamedScript(blocks, "max_tokens", 9)), asM())
	out, err := io.ReadAll(s)
	const head = `data: {"id":"id","object":"text_completion","created":7,"model":"m","choices":[`
	const end = `],"usage":{"prompt_tokens":15,"completion_tokens":20,"total_tokens":35,"prompt_tokens_details":{"cached_tokens":5},"completion_tokens_details":{"reasoning_tokens":0}}}` +
		"\n\ndata: [DONE]\n\n"
	if err != nil || s.Usage() != usage || string(out) != head+`{"text":"Hello","index":0,"logprobs":null,"finish_reason":null}]}`+"\n\n"+
		head+strings.Replace(choice, "Hello", "", 1)+"]}\n\n"+head+end {
		t.Errorf("got %s, %+v, %v", out, s.Usage(), err)
	}
}

func TestEndOfCompletions(t *testing.T) {
	got := string(Completions.AppendEnd(nil, &End{Usage: Usage{Input: 1}, ID: "id", Model: "m", Created: 7}))
	if !strings.HasPrefix(got, `data: {"id":"id","object":"text_completion","created":7,"model":"m","choices":[],"usage":{"prompt_tokens":1,`) {
		t.Errorf("got %s", got)
	}
}
