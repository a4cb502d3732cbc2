package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// messagesRequest is what Anthropic documents of a message, and no more.
type messagesRequest struct {
	Model         string          `json:"model"`
	MaxTokens     *int64          `json:"max_tokens"`
	System        json.RawMessage `json:"system"`
	Messages      []messagesTurn  `json:"messages"`
	Stream        bool            `json:"stream"`
	Temperature   *float64        `json:"temperature"`
	TopP          *float64        `json:"top_p"`
	TopK          *int64          `json:"top_k"`
	StopSequences []string        `json:"stop_sequences"`
	Metadata      *struct {
		UserID *string `json:"user_id"`
	} `json:"metadata"`
	ServiceTier  string          `json:"service_tier"`
	CacheControl json.RawMessage `json:"cache_control"`
	Tools        []struct {
		Type                string          `json:"type"`
		Name                string          `json:"name"`
		Description         string          `json:"description"`
		InputSchema         json.RawMessage `json:"input_schema"`
		Strict              *bool           `json:"strict"`
		CacheControl        json.RawMessage `json:"cache_control"`
		EagerInputStreaming *bool           `json:"eager_input_streaming"`
	} `json:"tools"`
	ToolChoice *struct {
		Type                   string `json:"type"`
		Name                   string `json:"name"`
		DisableParallelToolUse bool   `json:"disable_parallel_tool_use"`
	} `json:"tool_choice"`
	Thinking *struct {
		Type         string `json:"type"`
		BudgetTokens int64  `json:"budget_tokens"`
		Display      string `json:"display"`
	} `json:"thinking"`
	OutputConfig *struct {
		Format *messagesFormat `json:"format"`
		Effort string          `json:"effort"`
	} `json:"output_config"`
	OutputFormat *messagesFormat `json:"output_format"`
}

type messagesFormat struct {
	Type   string          `json:"type"`
	Schema json.RawMessage `json:"schema"`
}

type messagesTurn struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

type messagesBlock struct {
	Type   string  `json:"type"`
	Text   *string `json:"text"`
	Source *struct {
		Type      string `json:"type"`
		MediaType string `json:"media_type"`
		Data      string `json:"data"`
	} `json:"source"`
	ID           string          `json:"id"`
	Name         string          `json:"name"`
	Input        json.RawMessage `json:"input"`
	ToolUseID    string          `json:"tool_use_id"`
	Content      json.RawMessage `json:"content"`
	IsError      *bool           `json:"is_error"`
	Thinking     *string         `json:"thinking"`
	Signature    string          `json:"signature"`
	CacheControl json.RawMessage `json:"cache_control"`
	// Answers of the model have these, and clients send answers back as they got them.
	Citations json.RawMessage `json:"citations"`
	Caller    json.RawMessage `json:"caller"`
}

func readMessages(body []byte) (*conversation, error) {
	var r messagesRequest
	if err := decodeStrict(body, &r); err != nil {
		return nil, err
	}
	c := &conversation{stream: r.Stream}
	switch {
	case r.Model == "" || r.MaxTokens == nil || *r.MaxTokens < 1:
		return nil, errors.New("model and max_tokens are required")
	case r.Temperature != nil && (*r.Temperature < 0 || *r.Temperature > 1):
		return nil, fmt.Errorf("temperature %v", *r.Temperature)
	case r.ToolChoice != nil && len(r.Tools) == 0:
		return nil, errors.New("tool_choice without tools")
	case len(r.Messages) == 0 || r.Messages[0].Role != "user":
		return nil, errors.New("the first turn must be the user's")
	}
	c.limit = *r.MaxTokens
	for _, t := range r.Tools {
		if t.Type != "" && t.Type != "custom" {
			return nil, fmt.Errorf("tool type %q", t.Type)
		}
		c.tools = append(c.tools, strictTool{t.Name, t.InputSchema})
	}
	if r.Thinking != nil && r.Thinking.Type != "disabled" {
		c.thinking = true
		switch {
		case r.Thinking.Type == "enabled" && (r.Thinking.BudgetTokens < 1024 || r.Thinking.BudgetTokens >= c.limit):
			return nil, fmt.Errorf("budget_tokens %d of %d", r.Thinking.BudgetTokens, c.limit)
		case r.Temperature != nil && *r.Temperature != 1 || r.TopK != nil:
			return nil, errors.New("sampling while thinking")
		case r.ToolChoice != nil && r.ToolChoice.Type != "auto" && r.ToolChoice.Type != "none":
			return nil, errors.New("a forced tool while thinking")
		}
	}
	if t := r.ToolChoice; t != nil {
		switch {
		case t.Type == "tool" && t.Name != "":
			c.forced = t.Name
		case t.Type == "any":
			c.forced = c.tools[0].name
		case t.Type != "auto" && t.Type != "none" || t.Name != "":
			return nil, fmt.Errorf("tool_choice %+v", *t)
		}
	}
	format := r.OutputFormat
	if r.OutputConfig != nil && r.OutputConfig.Format != nil {
		format = r.OutputConfig.Format
	}
	if format != nil {
		if c.schema = format.Schema; format.Type != "json_schema" || !isObject(c.schema) {
			return nil, fmt.Errorf("format %q", format.Type)
		}
		if err := strictSchema(c.schema); err != nil {
			return nil, err
		}
	}
	if err := readSystem(r.System, c); err != nil {
		return nil, err
	}
	last := ""
	for _, m := range r.Messages {
		if m.Role == last || m.Role != "user" && m.Role != "assistant" {
			return nil, fmt.Errorf("role %q after %q", m.Role, last)
		}
		last = m.Role
		parts, err := messagesParts(m.Content, m.Role)
		if err != nil {
			return nil, err
		}
		if err := c.checkThinking(m.Role, parts); err != nil {
			return nil, err
		}
		c.turns = append(c.turns, turn{m.Role, parts})
	}
	return c, nil
}

// readSystem reads the system prompt, a text or blocks of text.
func readSystem(data json.RawMessage, c *conversation) error {
	if len(data) == 0 || string(data) == `""` { // the API takes an empty text, but no empty block
		return nil
	}
	parts, err := messagesParts(data, "system")
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p.kind != "text" {
			return fmt.Errorf("%s in system", p.kind)
		}
		c.turns = append(c.turns, turn{"system", []strictPart{p}})
	}
	return nil
}

// checkThinking wants a call of a thinking model back with its thinking.
func (c *conversation) checkThinking(role string, parts []strictPart) error {
	calls := slices.ContainsFunc(parts, func(p strictPart) bool { return p.kind == "call" })
	if role == "assistant" && c.thinking && calls && parts[0].kind != "thinking" {
		return errors.New("a turn with calls must begin with its thinking")
	}
	return nil
}

func messagesParts(data json.RawMessage, role string) (out []strictPart, err error) {
	var text string
	if json.Unmarshal(data, &text) == nil && len(data) > 0 && data[0] == '"' {
		if text == "" {
			return nil, errors.New("an empty text")
		}
		return []strictPart{{kind: "text", text: text}}, nil
	}
	var blocks []messagesBlock
	if err := decodeStrict(data, &blocks); err != nil {
		return nil, fmt.Errorf("content %s: %w", data, err)
	}
	others := false
	for _, b := range blocks {
		part, err := b.read(role)
		if err != nil {
			return nil, err
		}
		if others = others || part.kind != "result"; others && part.kind == "result" {
			return nil, errors.New("results must come first")
		}
		out = append(out, part)
	}
	if len(out) == 0 {
		return nil, errors.New("a turn without content")
	}
	return out, nil
}

func (b *messagesBlock) read(role string) (strictPart, error) {
	switch {
	case b.Type == "text" && b.Text != nil && *b.Text != "" && absent(b.Citations):
		return strictPart{kind: "text", text: *b.Text}, nil
	case b.Type == "image" && role == "user" && b.Source != nil && b.Source.Type == "base64":
		return base64Image(b.Source.MediaType, b.Source.Data)
	case b.Type == "tool_use" && role == "assistant" && isObject(b.Input) && strictName.MatchString(b.Name):
		return strictPart{kind: "call", id: b.ID, name: b.Name, args: string(b.Input)}, nil
	case b.Type == "tool_result" && role == "user" && b.ToolUseID != "":
		p := strictPart{kind: "result", id: b.ToolUseID}
		content, err := messagesParts(b.Content, "result")
		if err != nil || len(content) != 1 || content[0].kind != "text" {
			return p, fmt.Errorf("tool_result %s: %v", b.Content, err)
		}
		p.text = content[0].text
		return p, nil
	case b.Type == "thinking" && role == "assistant" && b.Thinking != nil:
		if *b.Thinking != strictThinking || b.Signature != strictSignature {
			return strictPart{}, fmt.Errorf("the signature %q does not fit %q", b.Signature, *b.Thinking)
		}
		return strictPart{kind: "thinking"}, nil
	}
	return strictPart{}, fmt.Errorf("block %q of the %s", b.Type, role)
}
