package simulator

import (
	"encoding/json"
	"hash/fnv"
	"strings"
)

// chatRequest holds the fields of a chat request that the simulator honours.
type chatRequest struct {
	Model    string    `json:"model"`
	Messages []message `json:"messages"`
	N        *int      `json:"n"`

	MaxTokens           *int `json:"max_tokens"`
	MaxCompletionTokens *int `json:"max_completion_tokens"`

	Tools          []tool          `json:"tools"`
	ToolChoice     json.RawMessage `json:"tool_choice"`
	ResponseFormat *responseFormat `json:"response_format"`
	StreamOptions  *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

type message struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

type tool struct {
	Function struct {
		Name       string          `json:"name"`
		Parameters json.RawMessage `json:"parameters"`
	} `json:"function"`
}

type responseFormat struct {
	Type       string `json:"type"`
	JSONSchema struct {
		Schema json.RawMessage `json:"schema"`
	} `json:"json_schema"`
}

// parseChat reads and checks a request.
func parseChat(body []byte) (*chatRequest, error) {
	var req chatRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, badRequest("", "the request is not a chat request")
	}
	switch {
	case len(req.Messages) == 0:
		return nil, badRequest("messages", "messages must not be empty")
	case req.N != nil && *req.N != 1:
		return nil, badRequest("n", "the simulator gives one choice; n must be 1")
	case req.limit() < 0:
		return nil, badRequest("max_tokens", "the output limit must be at least 1")
	}
	return &req, nil
}

// limit returns the output limit in tokens, 0 for none, -1 for an impossible one.
func (r *chatRequest) limit() int {
	limit := r.MaxCompletionTokens
	if limit == nil {
		limit = r.MaxTokens
	}
	switch {
	case limit == nil:
		return 0
	case *limit < 1:
		return -1
	}
	return *limit
}

// text returns the text of a message; other parts of it, such as images, are left out.
func (m message) text() string {
	var plain string
	if json.Unmarshal(m.Content, &plain) == nil {
		return plain
	}
	var parts []struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(m.Content, &parts) // a content of another shape has no text
	var all strings.Builder
	for _, part := range parts {
		if all.Len() > 0 {
			all.WriteByte(' ')
		}
		all.WriteString(part.Text)
	}
	return all.String()
}

// question returns the text of the last message from the user.
func (r *chatRequest) question() string {
	for i := len(r.Messages) - 1; i >= 0; i-- {
		if r.Messages[i].Role == "user" {
			return strings.Join(strings.Fields(r.Messages[i].text()), " ")
		}
	}
	return ""
}

// promptTokens estimates the tokens of the prompt, tools included.
func (r *chatRequest) promptTokens() int {
	n := 3
	for _, m := range r.Messages {
		n += 4 + tokens(m.text())
	}
	for _, t := range r.Tools {
		n += tokens(t.Function.Name) + tokens(string(t.Function.Parameters))
	}
	return n
}

// toolToCall returns the tool that a model would call now: the named or the first one, unless the caller wants text or
// has just given a tool's result.
func (r *chatRequest) toolToCall() (*tool, error) {
	if len(r.Tools) == 0 || r.Messages[len(r.Messages)-1].Role != "user" {
		return nil, nil
	}
	var mode string
	if json.Unmarshal(r.ToolChoice, &mode) == nil && mode == "none" {
		return nil, nil
	}
	var named tool
	if json.Unmarshal(r.ToolChoice, &named) != nil || named.Function.Name == "" {
		return &r.Tools[0], nil
	}
	for i := range r.Tools {
		if r.Tools[i].Function.Name == named.Function.Name {
			return &r.Tools[i], nil
		}
	}
	return nil, badRequest("tool_choice", "tool_choice names %.64q, which is not among the tools", named.Function.Name)
}

// tokens estimates the tokens of a text at four bytes each.
func tokens(text string) int { return (len(text) + 3) / 4 }

// seed derives what varies between answers from the question.
func seed(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return h.Sum64()
}
