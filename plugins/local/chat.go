package local

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/pointsman/pointsman/plugins/egress"
	"github.com/pointsman/pointsman/plugins/openai/wire"
	"github.com/pointsman/pointsman/sdk/provider"
)

// maxLine bounds one line of a streamed answer, in bytes.
const maxLine = 8 << 20

// chatRequest is a request of Ollama's own API.
type chatRequest struct {
	Model     string         `json:"model"`
	Messages  []chatMessage  `json:"messages"`
	Tools     []wire.Tool    `json:"tools,omitempty"`
	Format    any            `json:"format,omitempty"`
	Options   map[string]any `json:"options,omitempty"`
	Stream    bool           `json:"stream"`
	KeepAlive any            `json:"keep_alive,omitempty"`
	Think     any            `json:"think,omitempty"`
}

type chatMessage struct {
	Role      string     `json:"role"`
	Content   string     `json:"content"`
	Thinking  string     `json:"thinking,omitempty"`
	Images    []string   `json:"images,omitempty"`
	ToolCalls []chatCall `json:"tool_calls,omitempty"`
	ToolName  string     `json:"tool_name,omitempty"`
}

type chatCall struct {
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"function"`
}

// chatAnswer is an answer, or one line of a streamed one.
type chatAnswer struct {
	Message    chatMessage `json:"message"`
	Done       bool        `json:"done"`
	DoneReason string      `json:"done_reason"`
	Input      int64       `json:"prompt_eval_count"`
	Output     int64       `json:"eval_count"`
	Error      string      `json:"error"`
}

// Call performs one chat request by Ollama's own API.
func (a *Adapter) Call(ctx context.Context, req *provider.CallRequest, answer provider.AnswerWriter) error {
	if req.Operation != "chat" {
		return send(answer, http.StatusNotFound, wire.ErrorBody("invalid_request_error", "unknown_operation", "", "only chat is possible here"))
	}
	n, err := nativeOptions(req.Settings)
	if err != nil {
		return err
	}
	base, err := root(req.BaseURL)
	if err != nil {
		return err
	}
	body, err := translate(req, n)
	if refusal, ok := wire.Refusal(err); ok {
		return send(answer, http.StatusBadRequest, refusal)
	}
	if err != nil {
		return err
	}
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/api/chat", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: base_url is not a URL", provider.ErrSetting)
	}
	call.Header.Set("Content-Type", "application/json")
	if req.Credential.IsSet() {
		call.Header.Set("Authorization", "Bearer "+req.Credential.Reveal())
	}
	resp, err := a.client.Do(call, req.AllowPrivate)
	if err != nil {
		return err
	}
	made := wire.Answer{ID: "chatcmpl-" + req.RequestID, Model: req.Model, Created: a.now().Unix()}
	if resp.StatusCode == http.StatusOK && req.Stream {
		defer resp.Body.Close()
		return stream(resp.Body, made, answer)
	}
	text, err := egress.ReadAll(resp)
	if err != nil {
		return err
	}
	return buffered(resp.StatusCode, text, made, answer)
}

// buffered passes on an answer that has come whole.
func buffered(status int, text []byte, made wire.Answer, answer provider.AnswerWriter) error {
	var got chatAnswer
	err := json.Unmarshal(text, &got)
	if status != http.StatusOK {
		return send(answer, status, wire.ErrorBody("provider_error", "", "", got.Error))
	}
	if err != nil || !got.Done {
		return errors.New("ollama's answer is not a chat answer")
	}
	message := wire.Delta{Reasoning: got.Message.Thinking, ToolCalls: toolCalls(got.Message.ToolCalls, made.ID, 0)}
	if got.Message.Content != "" || len(message.ToolCalls) == 0 {
		message.Content = &got.Message.Content
	}
	out, err := made.Completion(message, finish(&got, len(message.ToolCalls) > 0), wire.Usage{Input: got.Input, Output: got.Output})
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return send(answer, http.StatusOK, out)
}

// stream passes on a streamed answer, a line an event.
func stream(body io.Reader, made wire.Answer, answer provider.AnswerWriter) error {
	if err := answer.Head(http.StatusOK, map[string]string{"content-type": "text/event-stream"}); err != nil {
		return err
	}
	part := func(data []byte, err error) error {
		if err != nil {
			return fmt.Errorf("writing an event: %w", err)
		}
		return answer.Part(data)
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxLine)
	first, calls := true, 0
	for lines.Scan() {
		var got chatAnswer
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
			return errors.New("ollama sent a line that is not JSON")
		}
		if got.Error != "" {
			return answer.Part(wire.ErrorBody("provider_error", "", "", got.Error))
		}
		delta := wire.Delta{Reasoning: got.Message.Thinking, ToolCalls: toolCalls(got.Message.ToolCalls, made.ID, calls)}
		calls += len(delta.ToolCalls)
		if got.Message.Content != "" {
			delta.Content = &got.Message.Content
		}
		if first {
			delta.Role, first = "assistant", false
		}
		if delta.Content != nil || delta.Role != "" || delta.Reasoning != "" || len(delta.ToolCalls) > 0 {
			if err := part(made.Chunk(delta, "")); err != nil {
				return err
			}
		}
		if !got.Done {
			continue
		}
		if err := part(made.Chunk(wire.Delta{}, finish(&got, calls > 0))); err != nil {
			return err
		}
		return part(made.UsageChunk(wire.Usage{Input: got.Input, Output: got.Output}))
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: reading ollama's answer: %w", provider.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: ollama ended the answer too early", provider.ErrUnavailable)
}

func send(answer provider.AnswerWriter, status int, body []byte) error {
	if err := answer.Head(status, map[string]string{"content-type": "application/json"}); err != nil {
		return err
	}
	return answer.Part(body)
}

func finish(got *chatAnswer, called bool) string {
	switch {
	case called:
		return "tool_calls"
	case got.DoneReason == "length":
		return "length"
	}
	return "stop"
}

// toolCalls translates calls, which Ollama sends whole and without ids; before are those sent earlier.
func toolCalls(calls []chatCall, id string, before int) []wire.ToolCall {
	var out []wire.ToolCall
	for i := range calls {
		index := before + i
		call := wire.ToolCall{Index: &index, ID: wire.CallID(id, index), Type: "function"}
		call.Function.Name, call.Function.Arguments = calls[i].Function.Name, string(calls[i].Function.Arguments)
		out = append(out, call)
	}
	return out
}

// translate makes Ollama's request.
func translate(call *provider.CallRequest, n native) ([]byte, error) {
	r, err := wire.Parse(call.Body)
	if err != nil {
		return nil, err
	}
	out := chatRequest{Model: call.Model, Tools: r.Tools, Stream: call.Stream, KeepAlive: n.keepAlive, Think: n.think, Options: map[string]any{}}
	option := func(name string, value any, given bool) {
		if given {
			out.Options[name] = value
		}
	}
	option("num_ctx", n.numCtx, n.numCtx > 0)
	option("num_predict", r.Limit(), r.Limit() > 0)
	option("temperature", r.Temperature, r.Temperature != nil)
	option("top_p", r.TopP, r.TopP != nil)
	option("top_k", r.TopK, r.TopK != nil)
	option("seed", r.Seed, r.Seed != nil)
	option("frequency_penalty", r.FrequencyPenalty, r.FrequencyPenalty != nil)
	option("presence_penalty", r.PresencePenalty, r.PresencePenalty != nil)
	option("stop", r.Stop, len(r.Stop) > 0)
	switch r.ReasoningEffort { // the caller's wish beats the operator's
	case "":
	case "none":
		out.Think = false
	case "minimal":
		out.Think = "low"
	default:
		out.Think = r.ReasoningEffort
	}
	if f := r.ResponseFormat; f != nil {
		switch f.Type {
		case "json_object":
			out.Format = "json"
		case "json_schema":
			out.Format = f.JSONSchema.Schema
		}
	}
	names := map[string]string{} // of tools by the id of the call
	for i := range r.Messages {
		m, err := message(&r.Messages[i], i, names)
		if err != nil {
			return nil, err
		}
		out.Messages = append(out.Messages, m)
	}
	return json.Marshal(out)
}

func message(m *wire.Message, i int, names map[string]string) (chatMessage, error) {
	out := chatMessage{Role: m.Role, Content: m.Content.Text()}
	switch m.Role {
	case "developer":
		out.Role = "system"
	case "tool":
		out.ToolName = names[m.ToolCallID]
	}
	for j := range m.Content {
		if m.Content[j].Type != "image_url" {
			continue
		}
		image, err := m.Content[j].Inline(fmt.Sprintf("messages[%d].content[%d]", i, j))
		if err != nil {
			return out, err
		}
		out.Images = append(out.Images, image.Base64)
	}
	for _, call := range m.ToolCalls {
		names[call.ID] = call.Function.Name
		var c chatCall
		c.Function.Name, c.Function.Arguments = call.Function.Name, json.RawMessage(call.Function.Arguments)
		if !json.Valid(c.Function.Arguments) {
			c.Function.Arguments = json.RawMessage("{}")
		}
		out.ToolCalls = append(out.ToolCalls, c)
	}
	return out, nil
}
