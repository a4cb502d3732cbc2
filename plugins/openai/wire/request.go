// Package wire is the part of OpenAI's chat format that adapters need who translate it: requests as values, and answers,
// events and errors as bytes.
package wire

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Request is a chat request. Fields that no adapter translates are not in it.
type Request struct {
	Model               string          `json:"model"`
	Messages            []Message       `json:"messages"`
	Tools               []Tool          `json:"tools"`
	ToolChoice          json.RawMessage `json:"tool_choice"`
	Temperature         *float64        `json:"temperature"`
	TopP                *float64        `json:"top_p"`
	TopK                *float64        `json:"top_k"`
	FrequencyPenalty    *float64        `json:"frequency_penalty"`
	PresencePenalty     *float64        `json:"presence_penalty"`
	MaxTokens           int             `json:"max_tokens"`
	MaxCompletionTokens int             `json:"max_completion_tokens"`
	Seed                *int64          `json:"seed"`
	N                   int             `json:"n"`
	Stop                Texts           `json:"stop"`
	ReasoningEffort     string          `json:"reasoning_effort"`
	ResponseFormat      *struct {
		Type       string `json:"type"`
		JSONSchema struct {
			Name   string          `json:"name"`
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	} `json:"response_format"`
}

// Message is one message of a conversation.
type Message struct {
	Role       string     `json:"role"`
	Content    Parts      `json:"content"`
	Name       string     `json:"name"`
	ToolCalls  []ToolCall `json:"tool_calls"`
	ToolCallID string     `json:"tool_call_id"`
}

// Part is one part of a message's content; a content that is a string is one part of text.
type Part struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Refusal  string `json:"refusal"`
	ImageURL struct {
		URL string `json:"url"`
	} `json:"image_url"`
}

// Parts are the parts of a content.
type Parts []Part

// UnmarshalJSON reads a string, an array of parts, or null.
func (p *Parts) UnmarshalJSON(data []byte) error {
	*p = nil
	if len(data) > 0 && data[0] == '"' {
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
		*p = Parts{{Type: "text", Text: text}}
		return nil
	}
	return json.Unmarshal(data, (*[]Part)(p))
}

// Text is all text of the parts, in order.
func (p Parts) Text() string {
	var b strings.Builder
	for i := range p {
		b.WriteString(p[i].Text)
		b.WriteString(p[i].Refusal)
	}
	return b.String()
}

// Texts is a list of strings that may be given as one string.
type Texts []string

// UnmarshalJSON reads a string, an array of strings, or null.
func (t *Texts) UnmarshalJSON(data []byte) error {
	*t = nil
	if len(data) > 0 && data[0] == '"' {
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
		*t = Texts{text}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(t))
}

// Tool is a function that the model may call.
type Tool struct {
	Type     string `json:"type"`
	Function struct {
		Name        string          `json:"name"`
		Description string          `json:"description,omitempty"`
		Parameters  json.RawMessage `json:"parameters,omitempty"`
	} `json:"function"`
}

// ToolCall is a call the model made; in an event Index tells which call it belongs to.
type ToolCall struct {
	Index    *int   `json:"index,omitempty"`
	ID       string `json:"id,omitempty"`
	Type     string `json:"type,omitempty"`
	Function struct {
		Name      string `json:"name,omitempty"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// RequestError says what is wrong with a request.
type RequestError struct{ Param, Message string }

// Error returns the message.
func (e *RequestError) Error() string { return e.Message }

// Errorf makes a RequestError.
func Errorf(param, format string, args ...any) error {
	return &RequestError{Param: param, Message: fmt.Sprintf(format, args...)}
}

// Parse reads a request. The error is a *RequestError.
func Parse(body []byte) (*Request, error) {
	var r Request
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, Errorf("", "the request is not one of the chat API")
	}
	if r.N > 1 {
		return nil, Errorf("n", "only one choice is possible with this model")
	}
	return &r, nil
}

// Limit is the limit of output tokens, 0 for none.
func (r *Request) Limit() int {
	if r.MaxCompletionTokens > 0 {
		return r.MaxCompletionTokens
	}
	return r.MaxTokens
}

// Choice reads tool_choice: "auto", "none", "required", or "function" with the function's name; "" if none is given.
func (r *Request) Choice() (kind, name string) {
	if len(r.ToolChoice) == 0 {
		return "", ""
	}
	if err := json.Unmarshal(r.ToolChoice, &kind); err == nil {
		return kind, ""
	}
	var object struct {
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if err := json.Unmarshal(r.ToolChoice, &object); err != nil || object.Function.Name == "" {
		return "", ""
	}
	return "function", object.Function.Name
}

// Image is an image in a request: its media type and its bytes in base64.
type Image struct{ MediaType, Base64 string }

// Inline reads the data URL of an image part. Addresses are an error: an adapter fetches nothing that a request names.
func (p *Part) Inline(param string) (Image, error) {
	rest, ok := strings.CutPrefix(p.ImageURL.URL, "data:")
	media, data, found := strings.Cut(rest, ";base64,")
	if !ok || !found {
		return Image{}, Errorf(param, "images must be data: URLs in base64 with this model")
	}
	return Image{MediaType: media, Base64: data}, nil
}
