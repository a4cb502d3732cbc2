package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/pointsman/pointsman/sdk/provider"
)

// parrot makes the calls itself, as an adapter must for a wire format that the gateway does not know. This one says the
// last message back instead of asking a provider.
type parrot struct{}

// Describe says what the adapter is.
func (parrot) Describe(context.Context) (*provider.Description, error) {
	return &provider.Description{Name: "parrot", Version: "0.1.0", Summary: "Says it back (example of a proxied adapter)"}, nil
}

// Prepare makes the endpoint. There are no settings.
func (parrot) Prepare(_ context.Context, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	if err := provider.CheckSettings(req.Settings); err != nil {
		return nil, err
	}
	return &provider.Endpoint{
		Mode:    provider.ModeProxied,
		Dialect: provider.DialectOpenAI,
		Paths:   map[string]string{"chat": "/chat/completions"},
		Body:    provider.BodyRules{StreamUsage: true},
	}, nil
}

// Call answers one request, whole or one event for each word.
func (parrot) Call(ctx context.Context, req *provider.CallRequest, answer provider.AnswerWriter) error {
	var chat struct {
		Messages []struct{ Content string }
	}
	if err := json.Unmarshal(req.Body, &chat); err != nil || len(chat.Messages) == 0 {
		return send(answer, http.StatusBadRequest, `{"error":{"message":"messages of text are needed","type":"invalid_request_error"}}`)
	}
	text := chat.Messages[len(chat.Messages)-1].Content
	usage := fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%[1]d,"total_tokens":%d}`, len(text)/4+1, 2*(len(text)/4+1))
	const head = `{"id":%s,"object":"%s","created":0,"model":%s,"choices":`
	if !req.Stream {
		body := fmt.Sprintf(head+`[{"index":0,"message":{"role":"assistant","content":%s},"finish_reason":"stop"}],"usage":%s}`,
			quote(req.RequestID), "chat.completion", quote(req.Model), quote(text), usage)
		return send(answer, http.StatusOK, body)
	}
	if err := answer.Head(http.StatusOK, nil); err != nil {
		return err
	}
	begin := fmt.Sprintf(head, quote(req.RequestID), "chat.completion.chunk", quote(req.Model))
	for word := range strings.SplitAfterSeq(text, " ") {
		if err := ctx.Err(); err != nil {
			return err // the caller has left
		}
		if err := answer.Part([]byte(begin + `[{"index":0,"delta":{"content":` + quote(word) + `}}]}`)); err != nil {
			return err
		}
	}
	if err := answer.Part([]byte(begin + `[{"index":0,"delta":{},"finish_reason":"stop"}]}`)); err != nil {
		return err
	}
	return answer.Part([]byte(begin + `[],"usage":` + usage + `}`))
}

func send(answer provider.AnswerWriter, status int, body string) error {
	if err := answer.Head(status, map[string]string{"content-type": "application/json"}); err != nil {
		return err
	}
	return answer.Part([]byte(body))
}

// quote returns text as JSON.
func quote(text string) string {
	out, _ := json.Marshal(text) // a string cannot fail
	return string(out)
}
