package main

import (
	"encoding/json"
	"errors"
	"fmt"
)

// responsesRequest is what OpenAI documents of a response, and no more, but for what only stored ones have.
type responsesRequest struct {
	Model             string          `json:"model"`
	Input             json.RawMessage `json:"input"`
	Instructions      *string         `json:"instructions"`
	MaxOutputTokens   *int64          `json:"max_output_tokens"`
	Tools             []responsesTool `json:"tools"`
	ToolChoice        json.RawMessage `json:"tool_choice"`
	ParallelToolCalls *bool           `json:"parallel_tool_calls"`
	Store             *bool           `json:"store"`
	Stream            bool            `json:"stream"`
	Include           []string        `json:"include"`
	Truncation        string          `json:"truncation"`
	Previous          *string         `json:"previous_response_id"`
	Temperature       *float64        `json:"temperature"`
	TopP              *float64        `json:"top_p"`
	User              string          `json:"user"`
	Metadata          json.RawMessage `json:"metadata"`
	Reasoning         *struct {
		Effort  string `json:"effort"`
		Summary string `json:"summary"`
	} `json:"reasoning"`
	Text *struct {
		Verbosity string `json:"verbosity"`
		Format    *struct {
			Type        string          `json:"type"`
			Name        string          `json:"name"`
			Description string          `json:"description"`
			Schema      json.RawMessage `json:"schema"`
			Strict      *bool           `json:"strict"`
		} `json:"format"`
	} `json:"text"`
}

type responsesTool struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Parameters  json.RawMessage `json:"parameters"`
	Strict      *bool           `json:"strict"`
}

type responsesItem struct {
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	Status    string          `json:"status"`
	Role      string          `json:"role"`
	Content   json.RawMessage `json:"content"`
	CallID    string          `json:"call_id"`
	Name      string          `json:"name"`
	Arguments *string         `json:"arguments"`
	Output    json.RawMessage `json:"output"`
	// Answers of the model may have these, and clients send answers back as they got them.
	Phase     json.RawMessage `json:"phase"`
	Namespace json.RawMessage `json:"namespace"`
	Caller    json.RawMessage `json:"caller"`
}

func readResponses(body []byte) (*conversation, error) {
	var r responsesRequest
	if err := decodeStrict(body, &r); err != nil {
		return nil, err
	}
	c := &conversation{stream: r.Stream}
	switch {
	case r.Model == "":
		return nil, errors.New("model is required")
	case r.Store == nil || *r.Store || r.Previous != nil:
		return nil, errors.New("the answer would be stored, or follows one that was")
	case r.MaxOutputTokens != nil && *r.MaxOutputTokens < 16:
		return nil, fmt.Errorf("max_output_tokens %d", *r.MaxOutputTokens)
	case len(r.Tools) == 0 && !absent(r.ToolChoice) && string(r.ToolChoice) != `"auto"` && string(r.ToolChoice) != `"none"`:
		return nil, errors.New("a choice of tools without tools")
	}
	if r.MaxOutputTokens != nil {
		c.limit = *r.MaxOutputTokens
	}
	for _, t := range r.Tools {
		if t.Type != "function" {
			return nil, fmt.Errorf("tool type %q", t.Type)
		}
		if t.Strict != nil && *t.Strict {
			if err := strictSchema(t.Parameters); err != nil {
				return nil, err
			}
		}
		c.tools = append(c.tools, strictTool{t.Name, t.Parameters})
	}
	if err := readChatChoice(r.ToolChoice, c); err != nil {
		return nil, err
	}
	if r.Text != nil && r.Text.Format != nil {
		switch f := r.Text.Format; {
		case f.Type == "json_schema" && strictName.MatchString(f.Name) && isObject(f.Schema):
			if c.schema = f.Schema; f.Strict != nil && *f.Strict {
				if err := strictSchema(c.schema); err != nil {
					return nil, err
				}
			}
		case f.Type != "text":
			return nil, fmt.Errorf("text.format %q", f.Type)
		}
	}
	if r.Instructions != nil {
		c.turns = append(c.turns, turn{"system", []strictPart{{kind: "text", text: *r.Instructions}}})
	}
	var text string
	if len(r.Input) > 0 && r.Input[0] == '"' && json.Unmarshal(r.Input, &text) == nil {
		c.turns = append(c.turns, turn{"user", []strictPart{{kind: "text", text: text}}})
		return c, nil
	}
	var items []responsesItem
	if err := decodeStrict(r.Input, &items); err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	for _, item := range items {
		if err := item.read(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (i *responsesItem) read(c *conversation) error {
	if !absent(i.Phase) || !absent(i.Namespace) || !absent(i.Caller) {
		return errors.New("a field of answers that nobody has set")
	}
	one := func(role string, p strictPart) error {
		if n := len(c.turns); n > 0 && role == "assistant" && c.turns[n-1].role == role {
			c.turns[n-1].parts = append(c.turns[n-1].parts, p)
			return nil
		}
		c.turns = append(c.turns, turn{role, []strictPart{p}})
		return nil
	}
	switch {
	case (i.Type == "message" || i.Type == "") && i.Role != "" && i.CallID == "":
		role := map[string]string{"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}[i.Role]
		parts, err := responsesParts(i.Content, role)
		if err != nil || role == "" {
			return fmt.Errorf("message of %q: %w", i.Role, err)
		}
		c.turns = append(c.turns, turn{role, parts})
		return nil
	case i.Role != "" || i.Content != nil:
		return fmt.Errorf("item %q with the fields of a message", i.Type)
	case i.Type == "function_call" && i.Arguments != nil && isObject([]byte(*i.Arguments)) && strictName.MatchString(i.Name) && i.Output == nil:
		return one("assistant", strictPart{kind: "call", id: i.CallID, name: i.Name, args: *i.Arguments})
	case i.Type == "function_call_output" && i.Name == "" && i.Arguments == nil:
		text, err := responsesParts(i.Output, "user")
		if err != nil || len(text) != 1 || text[0].kind != "text" {
			return fmt.Errorf("output %s: %v", i.Output, err)
		}
		return one("user", strictPart{kind: "result", id: i.CallID, text: text[0].text})
	}
	return fmt.Errorf("item %q", i.Type)
}

func responsesParts(data json.RawMessage, role string) (out []strictPart, err error) {
	var text string
	if json.Unmarshal(data, &text) == nil && len(data) > 0 && data[0] == '"' {
		return []strictPart{{kind: "text", text: text}}, nil
	}
	var parts []struct {
		Type        string          `json:"type"`
		Text        *string         `json:"text"`
		ImageURL    string          `json:"image_url"`
		Detail      string          `json:"detail"`
		Annotations json.RawMessage `json:"annotations"`
		Logprobs    json.RawMessage `json:"logprobs"`
	}
	if err := decodeStrict(data, &parts); err != nil {
		return nil, fmt.Errorf("content %s: %w", data, err)
	}
	want := "input_text"
	if role == "assistant" {
		want = "output_text"
	}
	for _, p := range parts {
		switch {
		case p.Type == want && p.Text != nil && p.ImageURL == "":
			out = append(out, strictPart{kind: "text", text: *p.Text})
		case p.Type == "input_image" && role == "user" && p.Text == nil:
			part, err := imageOf(p.ImageURL)
			if err != nil {
				return nil, err
			}
			out = append(out, part)
		default:
			return nil, fmt.Errorf("part %q of the %s", p.Type, role)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("a message without content")
	}
	return out, nil
}
