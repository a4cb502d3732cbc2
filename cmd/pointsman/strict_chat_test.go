package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// chatRequest is what OpenAI documents of a chat completion, and no more.
type chatRequest struct {
	Model               string          `json:"model"`
	Messages            []chatMessage   `json:"messages"`
	Tools               []chatTool      `json:"tools"`
	ToolChoice          json.RawMessage `json:"tool_choice"`
	ParallelToolCalls   *bool           `json:"parallel_tool_calls"`
	MaxTokens           *int64          `json:"max_tokens"`
	MaxCompletionTokens *int64          `json:"max_completion_tokens"`
	Stream              bool            `json:"stream"`
	StreamOptions       *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	ResponseFormat *struct {
		Type       string `json:"type"`
		JSONSchema *struct {
			Name        string          `json:"name"`
			Description string          `json:"description"`
			Schema      json.RawMessage `json:"schema"`
			Strict      *bool           `json:"strict"`
		} `json:"json_schema"`
	} `json:"response_format"`
	Temperature     *float64        `json:"temperature"`
	TopP            *float64        `json:"top_p"`
	N               *int            `json:"n"`
	Stop            json.RawMessage `json:"stop"`
	User            string          `json:"user"`
	Store           *bool           `json:"store"`
	Metadata        json.RawMessage `json:"metadata"`
	Logprobs        *bool           `json:"logprobs"`
	ReasoningEffort string          `json:"reasoning_effort"`
	Verbosity       string          `json:"verbosity"`
}

type chatMessage struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	Name       string          `json:"name"`
	ToolCallID string          `json:"tool_call_id"`
	ToolCalls  []struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Function struct {
			Name      string  `json:"name"`
			Arguments *string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
	// Answers of the model have these, and clients send answers back as they got them.
	Refusal      json.RawMessage `json:"refusal"`
	Annotations  json.RawMessage `json:"annotations"`
	Audio        json.RawMessage `json:"audio"`
	FunctionCall json.RawMessage `json:"function_call"`
}

type chatTool struct {
	Type     string `json:"type"`
	Function struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Parameters  json.RawMessage `json:"parameters"`
		Strict      *bool           `json:"strict"`
	} `json:"function"`
}

func readChat(body []byte) (*conversation, error) {
	var r chatRequest
	if err := decodeStrict(body, &r); err != nil {
		return nil, err
	}
	c := &conversation{stream: r.Stream}
	for _, limit := range []*int64{r.MaxTokens, r.MaxCompletionTokens} {
		if limit != nil {
			c.limit = *limit
		}
	}
	switch {
	case r.Model == "":
		return nil, errors.New("model is required")
	case r.MaxTokens != nil && r.MaxCompletionTokens != nil:
		return nil, errors.New("two limits")
	case r.StreamOptions != nil && !r.Stream:
		return nil, errors.New("stream_options without stream")
	case r.Stream && (r.StreamOptions == nil || !r.StreamOptions.IncludeUsage):
		return nil, errors.New("usage is not asked for")
	case len(r.Tools) == 0 && (r.ParallelToolCalls != nil || !absent(r.ToolChoice)):
		return nil, errors.New("a choice of tools without tools")
	}
	for _, t := range r.Tools {
		if t.Type != "function" {
			return nil, fmt.Errorf("tool type %q", t.Type)
		}
		if t.Function.Strict != nil && *t.Function.Strict {
			if err := strictSchema(t.Function.Parameters); err != nil {
				return nil, err
			}
		}
		c.tools = append(c.tools, strictTool{t.Function.Name, t.Function.Parameters})
	}
	if err := readChatChoice(r.ToolChoice, c); err != nil {
		return nil, err
	}
	if f := r.ResponseFormat; f != nil {
		switch {
		case f.Type == "json_schema" && f.JSONSchema != nil && strictName.MatchString(f.JSONSchema.Name) && isObject(f.JSONSchema.Schema):
			c.schema = f.JSONSchema.Schema
			if f.JSONSchema.Strict != nil && *f.JSONSchema.Strict {
				if err := strictSchema(c.schema); err != nil {
					return nil, err
				}
			}
		case f.Type != "text":
			return nil, fmt.Errorf("response_format %q", f.Type)
		}
	}
	for _, m := range r.Messages {
		if err := m.read(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// readChatChoice reads a tool_choice, of chat completions or of Responses, whose form is one level flatter.
func readChatChoice(data json.RawMessage, c *conversation) error {
	if absent(data) || slices.Contains([]string{`"auto"`, `"none"`}, string(data)) {
		return nil
	}
	if string(data) == `"required"` {
		if len(c.tools) > 0 {
			c.forced = c.tools[0].name
		}
		return nil
	}
	var choice struct {
		Type     string `json:"type"`
		Name     string `json:"name"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if err := decodeStrict(data, &choice); err != nil {
		return err
	}
	if c.forced = choice.Name + choice.Function.Name; choice.Type != "function" || c.forced == "" {
		return fmt.Errorf("tool_choice %s", data)
	}
	return nil
}

func (m *chatMessage) read(c *conversation) error {
	role := map[string]string{"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "user"}[m.Role]
	if role == "" {
		return fmt.Errorf("role %q", m.Role)
	}
	if !absent(m.Refusal) || !absent(m.Audio) || !absent(m.FunctionCall) || !absent(m.Annotations) {
		return errors.New("a field of answers in a message")
	}
	t := turn{role: role}
	switch {
	case m.Role == "tool":
		if len(m.ToolCalls) > 0 || m.ToolCallID == "" {
			return errors.New("a tool message without tool_call_id")
		}
		text, err := chatParts(m.Content, false)
		if err != nil || len(text) != 1 {
			return fmt.Errorf("content of a tool message: %v %s", err, m.Content)
		}
		t.parts = []strictPart{{kind: "result", id: m.ToolCallID, text: text[0].text}}
	case m.ToolCallID != "" || m.Role != "assistant" && len(m.ToolCalls) > 0:
		return fmt.Errorf("fields of tools in a message of role %s", m.Role)
	case m.Role == "assistant" && len(m.ToolCalls) > 0 && absent(m.Content):
	default:
		parts, err := chatParts(m.Content, m.Role == "user")
		if err != nil {
			return err
		}
		t.parts = parts
	}
	for _, call := range m.ToolCalls {
		if call.Type != "function" || call.Function.Arguments == nil || !strictName.MatchString(call.Function.Name) || !isObject([]byte(*call.Function.Arguments)) {
			return fmt.Errorf("call %+v", call)
		}
		t.parts = append(t.parts, strictPart{kind: "call", id: call.ID, name: call.Function.Name, args: *call.Function.Arguments})
	}
	c.turns = append(c.turns, t)
	return nil
}

// chatParts reads a content of chat completions.
func chatParts(data json.RawMessage, images bool) (out []strictPart, err error) {
	var text string
	if json.Unmarshal(data, &text) == nil && len(data) > 0 && data[0] == '"' {
		return []strictPart{{kind: "text", text: text}}, nil
	}
	var parts []struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		ImageURL *struct {
			URL    string `json:"url"`
			Detail string `json:"detail"`
		} `json:"image_url"`
	}
	if err := decodeStrict(data, &parts); err != nil {
		return nil, fmt.Errorf("content %s: %w", data, err)
	}
	for _, p := range parts {
		part := strictPart{kind: "text", text: p.Text}
		switch {
		case p.Type == "text" && p.ImageURL == nil:
		case p.Type == "image_url" && images && p.ImageURL != nil && p.Text == "":
			if part, err = imageOf(p.ImageURL.URL); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("part %s", data)
		}
		out = append(out, part)
	}
	if len(out) == 0 {
		return nil, errors.New("a message without content")
	}
	return out, nil
}
