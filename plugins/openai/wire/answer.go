package wire

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pointsman/pointsman/sdk/provider"
)

// Usage counts tokens in OpenAI's way: Input includes what was read from or written to a cache, Output includes reasoning.
type Usage struct{ Input, Output, CacheRead, CacheWrite int64 }

type usage struct {
	Prompt     int64    `json:"prompt_tokens"`
	Completion int64    `json:"completion_tokens"`
	Total      int64    `json:"total_tokens"`
	Details    *details `json:"prompt_tokens_details,omitempty"`
}

type details struct {
	Cached int64 `json:"cached_tokens"`
	Write  int64 `json:"cache_write_tokens,omitempty"`
}

func (u Usage) object() *usage {
	out := &usage{Prompt: u.Input, Completion: u.Output, Total: u.Input + u.Output}
	if u.CacheRead > 0 || u.CacheWrite > 0 {
		out.Details = &details{Cached: u.CacheRead, Write: u.CacheWrite}
	}
	return out
}

// Delta is what the model said: the whole message of an answer, or what an event adds to it.
type Delta struct {
	Role      string     `json:"role,omitempty"`
	Content   *string    `json:"content,omitempty"`
	Reasoning string     `json:"reasoning_content,omitempty"`
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`
}

// Answer makes the bytes of one answer. ID, Model and Created are in every event of it.
type Answer struct {
	ID      string
	Model   string
	Created int64 // seconds since 1970
}

type choice struct {
	Index   int     `json:"index"`
	Message *Delta  `json:"message,omitempty"`
	Delta   *Delta  `json:"delta,omitempty"`
	Finish  *string `json:"finish_reason"`
}

type body struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
}

// Completion is a buffered answer.
func (a Answer) Completion(message Delta, finish string, u Usage) ([]byte, error) {
	message.Role = "assistant"
	if message.Content == nil && len(message.ToolCalls) == 0 {
		message.Content = new(string)
	}
	return json.Marshal(body{
		ID: a.ID, Object: "chat.completion", Created: a.Created, Model: a.Model,
		Choices: []choice{{Message: &message, Finish: &finish}}, Usage: u.object(),
	})
}

// Chunk is the payload of an event; finish is "" before the last one.
func (a Answer) Chunk(delta Delta, finish string) ([]byte, error) {
	c := choice{Delta: &delta}
	if finish != "" {
		c.Finish = &finish
	}
	return json.Marshal(body{ID: a.ID, Object: "chat.completion.chunk", Created: a.Created, Model: a.Model, Choices: []choice{c}})
}

// UsageChunk is the payload of the event that tells the usage.
func (a Answer) UsageChunk(u Usage) ([]byte, error) {
	return json.Marshal(body{
		ID: a.ID, Object: "chat.completion.chunk", Created: a.Created, Model: a.Model, Choices: []choice{}, Usage: u.object(),
	})
}

// ErrorBody is an error answer, and the payload of an event that is an error.
func ErrorBody(kind, code, param, message string) []byte {
	optional := func(text string) *string {
		if text == "" {
			return nil
		}
		return &text
	}
	out, err := json.Marshal(map[string]any{"error": map[string]any{
		"message": message, "type": kind, "param": optional(param), "code": optional(code),
	}})
	if err != nil {
		return []byte(`{"error":{"message":"an error that cannot be written","type":"server_error","param":null,"code":null}}`)
	}
	return out
}

// Refusal is the answer, with status 400, to a request that cannot be translated; ok is false for any other error.
func Refusal(err error) (body []byte, ok bool) {
	var refused *RequestError
	if !errors.As(err, &refused) {
		return nil, false
	}
	return ErrorBody("invalid_request_error", provider.CodeInexpressible, refused.Param, refused.Message), true
}

// CallID names a tool call that the provider gives no id.
func CallID(answer string, n int) string { return fmt.Sprintf("call_%s_%d", answer, n) }
