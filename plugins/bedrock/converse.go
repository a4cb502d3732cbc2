package bedrock

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pointsman/pointsman/plugins/openai/wire"
	"github.com/pointsman/pointsman/sdk/provider"
)

// The Converse API's request.
type converse struct {
	Messages   []message        `json:"messages"`
	System     []block          `json:"system,omitempty"`
	Inference  *inference       `json:"inferenceConfig,omitempty"`
	Tools      *toolConfig      `json:"toolConfig,omitempty"`
	Guardrail  *guardrailConfig `json:"guardrailConfig,omitempty"`
	Additional map[string]any   `json:"additionalModelRequestFields,omitempty"`
}

type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

// block is one block of content; one of its fields is set.
type block struct {
	Text       *string     `json:"text,omitempty"`
	Image      *image      `json:"image,omitempty"`
	ToolUse    *toolUse    `json:"toolUse,omitempty"`
	ToolResult *toolResult `json:"toolResult,omitempty"`
	Reasoning  *struct {
		Text struct {
			Text string `json:"text"`
		} `json:"reasoningText"`
	} `json:"reasoningContent,omitempty"`
}

type image struct {
	Format string `json:"format"`
	Source struct {
		Bytes string `json:"bytes"` // base64
	} `json:"source"`
}

type toolUse struct {
	ID    string          `json:"toolUseId"`
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
}

type toolResult struct {
	ID      string  `json:"toolUseId"`
	Content []block `json:"content"`
}

type inference struct {
	MaxTokens   int      `json:"maxTokens,omitempty"`
	Temperature *float64 `json:"temperature,omitempty"`
	TopP        *float64 `json:"topP,omitempty"`
	Stop        []string `json:"stopSequences,omitempty"`
}

type toolConfig struct {
	Tools  []tool         `json:"tools"`
	Choice map[string]any `json:"toolChoice,omitempty"`
}

type tool struct {
	Spec struct {
		Name        string `json:"name"`
		Description string `json:"description,omitempty"`
		Schema      struct {
			JSON json.RawMessage `json:"json"`
		} `json:"inputSchema"`
	} `json:"toolSpec"`
}

type guardrailConfig struct {
	ID      string `json:"guardrailIdentifier"`
	Version string `json:"guardrailVersion"`
}

// converseRequest translates a request.
func converseRequest(call *provider.CallRequest, p place) ([]byte, error) {
	r, err := wire.Parse(call.Body)
	if err != nil {
		return nil, err
	}
	var out converse
	if p.guardrail != "" {
		out.Guardrail = &guardrailConfig{p.guardrail, p.version}
	}
	if in := (inference{r.Limit(), r.Temperature, r.TopP, r.Stop}); in.MaxTokens > 0 || in.Temperature != nil || in.TopP != nil || len(in.Stop) > 0 {
		out.Inference = &in
	}
	if r.TopK != nil {
		out.Additional = map[string]any{"top_k": *r.TopK}
	}
	out.Tools = tools(r)
	for i := range r.Messages {
		if err := out.add(&r.Messages[i], i); err != nil {
			return nil, err
		}
	}
	if len(out.Messages) == 0 {
		return nil, wire.Errorf("messages", "at least one message must be the user's")
	}
	return json.Marshal(&out)
}

// tools translates the tools. A choice of none leaves them out, as the API has no word for it, unless there were calls before: then the API wants tools,
// and if none are given any more those that were called stand for them.
func tools(r *wire.Request) *toolConfig {
	kind, name := r.Choice()
	called := map[string]bool{}
	given := r.Tools
	for i := range r.Messages {
		for _, call := range r.Messages[i].ToolCalls {
			if name := call.Function.Name; len(r.Tools) == 0 && !called[name] {
				var former wire.Tool
				former.Function.Name = name
				given = append(given, former)
			}
			called[call.Function.Name] = true
		}
	}
	if len(given) == 0 || kind == "none" && len(called) == 0 {
		return nil
	}
	out := &toolConfig{}
	for i := range given {
		f := &given[i].Function
		var t tool
		t.Spec.Name, t.Spec.Description, t.Spec.Schema.JSON = f.Name, f.Description, f.Parameters
		if len(f.Parameters) == 0 {
			t.Spec.Schema.JSON = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		out.Tools = append(out.Tools, t)
	}
	switch kind {
	case "auto":
		out.Choice = map[string]any{"auto": struct{}{}}
	case "required":
		out.Choice = map[string]any{"any": struct{}{}}
	case "function":
		out.Choice = map[string]any{"tool": map[string]string{"name": name}}
	}
	return out
}

// noOutput is the result of a tool that has none.
const noOutput = "(no output)"

// add translates one message. The API wants user and assistant in turn, so what belongs to one turn is put into one message.
func (out *converse) add(m *wire.Message, i int) error {
	where := fmt.Sprintf("messages[%d]", i)
	switch m.Role {
	case "system", "developer":
		if text := m.Content.Text(); strings.TrimSpace(text) != "" {
			out.System = append(out.System, block{Text: &text})
		}
		return nil
	case "user", "assistant", "tool":
	default:
		return wire.Errorf(where+".role", "a role must be system, developer, user, assistant or tool")
	}
	var blocks []block
	for j := range m.Content {
		b, err := contentBlock(&m.Content[j], fmt.Sprintf("%s.content[%d]", where, j))
		if err != nil {
			return err
		}
		if b.Text == nil || strings.TrimSpace(*b.Text) != "" { // the API refuses blank texts
			blocks = append(blocks, b)
		}
	}
	if m.Role == "tool" {
		if len(blocks) == 0 { // and results of nothing
			nothing := noOutput
			blocks = []block{{Text: &nothing}}
		}
		out.append("user", block{ToolResult: &toolResult{ID: m.ToolCallID, Content: blocks}})
		return nil
	}
	for _, b := range blocks {
		out.append(m.Role, b)
	}
	for _, c := range m.ToolCalls {
		input := json.RawMessage(arguments(c.Function.Arguments))
		if !json.Valid(input) {
			return wire.Errorf(where+".tool_calls", "the arguments of a tool call must be JSON")
		}
		out.append("assistant", block{ToolUse: &toolUse{ID: c.ID, Name: c.Function.Name, Input: input}})
	}
	return nil
}

// arguments are those of a call, {} for none: models may say nothing for a tool without parameters.
func arguments(text string) string {
	if said := strings.TrimSpace(text); said == "" || said == "null" {
		return "{}"
	}
	return text
}

func (out *converse) append(role string, b block) {
	if n := len(out.Messages); n > 0 && out.Messages[n-1].Role == role {
		out.Messages[n-1].Content = append(out.Messages[n-1].Content, b)
		return
	}
	out.Messages = append(out.Messages, message{Role: role, Content: []block{b}})
}

func contentBlock(p *wire.Part, where string) (block, error) {
	switch p.Type {
	case "text":
		return block{Text: &p.Text}, nil
	case "refusal":
		return block{Text: &p.Refusal}, nil
	case "image_url":
		data, err := p.Inline(where)
		if err != nil {
			return block{}, err
		}
		format, ok := strings.CutPrefix(data.MediaType, "image/")
		if !ok {
			return block{}, wire.Errorf(where, "the media type of an image must begin with image/")
		}
		img := &image{Format: format}
		img.Source.Bytes = data.Base64
		return block{Image: img}, nil
	}
	return block{}, wire.Errorf(where+".type", "parts of type %.32q are not possible with this model", p.Type)
}

// usage is the Converse API's count: inputTokens is without what was read from or written to a cache.
type usage struct {
	Input  int64 `json:"inputTokens"`
	Output int64 `json:"outputTokens"`
	Read   int64 `json:"cacheReadInputTokens"`
	Write  int64 `json:"cacheWriteInputTokens"`
}

func (u usage) wire() wire.Usage {
	return wire.Usage{Input: u.Input + u.Read + u.Write, Output: u.Output, CacheRead: u.Read, CacheWrite: u.Write}
}

func finish(reason string) string {
	switch reason {
	case "tool_use":
		return "tool_calls"
	case "max_tokens", "model_context_window_exceeded":
		return "length"
	case "guardrail_intervened", "content_filtered":
		return "content_filter"
	}
	return "stop" // end_turn, stop_sequence
}

// completion translates a buffered answer.
func completion(body []byte, made wire.Answer) ([]byte, error) {
	var got struct {
		Output struct {
			Message *message `json:"message"`
		} `json:"output"`
		Stop  string `json:"stopReason"`
		Usage usage  `json:"usage"`
	}
	if err := json.Unmarshal(body, &got); err != nil || got.Output.Message == nil {
		return nil, fmt.Errorf("bedrock's answer is not one of the Converse API")
	}
	var out wire.Delta
	var text strings.Builder
	said := false
	for _, b := range got.Output.Message.Content {
		switch {
		case b.Text != nil:
			text.WriteString(*b.Text)
			said = true
		case b.Reasoning != nil:
			out.Reasoning += b.Reasoning.Text.Text
		case b.ToolUse != nil:
			call := wire.ToolCall{ID: b.ToolUse.ID, Type: "function"}
			call.Function.Name, call.Function.Arguments = b.ToolUse.Name, arguments(string(b.ToolUse.Input))
			out.ToolCalls = append(out.ToolCalls, call)
		}
	}
	if said {
		s := text.String()
		out.Content = &s
	}
	return made.Completion(out, finish(got.Stop), got.Usage.wire())
}
