package bedrock

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pointsman/pointsman/plugins/bedrock/eventstream"
	"github.com/pointsman/pointsman/plugins/openai/wire"
	"github.com/pointsman/pointsman/sdk/provider"
)

// event is the payload of any event of a streamed answer.
type event struct {
	Role  string `json:"role"`
	Start struct {
		ToolUse *toolUse `json:"toolUse"`
	} `json:"start"`
	Delta struct {
		Text    *string `json:"text"`
		ToolUse *struct {
			Input string `json:"input"`
		} `json:"toolUse"`
		Reasoning *struct {
			Text string `json:"text"`
		} `json:"reasoningContent"`
	} `json:"delta"`
	Stop    string `json:"stopReason"`
	Usage   *usage `json:"usage"`
	Message string `json:"message"` // of an exception
}

// stream passes on a streamed answer.
func stream(body io.Reader, made wire.Answer, answer provider.AnswerWriter) error {
	if err := answer.Head(200, map[string]string{"content-type": "text/event-stream"}); err != nil {
		return err
	}
	in := eventstream.NewReader(body)
	s := streamState{made: made, answer: answer}
	for {
		m, err := in.Read()
		switch {
		case errors.Is(err, io.EOF) && s.stopped:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: bedrock ended the answer too early", provider.ErrUnavailable)
		case err != nil:
			return fmt.Errorf("%w: reading bedrock's answer: %w", provider.ErrUnavailable, err)
		}
		var e event
		if err := json.Unmarshal(m.Payload, &e); err != nil {
			return fmt.Errorf("%w: bedrock sent an event that is not JSON", provider.ErrUnavailable)
		}
		if kind := m.Headers[":exception-type"]; kind != "" || m.Headers[":message-type"] == "error" {
			if kind == "" {
				kind, e.Message = m.Headers[":error-code"], m.Headers[":error-message"]
			}
			return answer.Part(wire.ErrorBody("provider_error", exception(kind), "", e.Message))
		}
		if err := s.take(m.Headers[":event-type"], &e); err != nil {
			return err
		}
	}
}

// exception is the name of an error's type as it is outside of streams: throttlingException becomes ThrottlingException.
func exception(kind string) string {
	if kind == "" || kind[0] < 'a' || kind[0] > 'z' {
		return kind
	}
	return string(kind[0]-'a'+'A') + kind[1:]
}

// streamState is how far a streamed answer has come.
type streamState struct {
	made    wire.Answer
	answer  provider.AnswerWriter
	calls   int  // tool calls begun
	bare    bool // one is under way that has no arguments yet
	stopped bool
}

func (s *streamState) take(kind string, e *event) error {
	switch kind {
	case "messageStart":
		return s.chunk(wire.Delta{Role: "assistant"}, "")
	case "contentBlockStart":
		if e.Start.ToolUse == nil {
			return nil
		}
		s.calls++
		s.bare = true
		return s.call(e.Start.ToolUse, "")
	case "contentBlockDelta":
		switch d := &e.Delta; {
		case d.Text != nil:
			return s.chunk(wire.Delta{Content: d.Text}, "")
		case d.ToolUse != nil && s.calls > 0:
			s.bare = s.bare && strings.TrimSpace(d.ToolUse.Input) == ""
			return s.call(nil, d.ToolUse.Input)
		case d.Reasoning != nil && d.Reasoning.Text != "":
			return s.chunk(wire.Delta{Reasoning: d.Reasoning.Text}, "")
		}
	case "contentBlockStop":
		if s.bare {
			s.bare = false
			return s.call(nil, arguments(""))
		}
	case "messageStop":
		s.stopped = true
		return s.chunk(wire.Delta{}, finish(e.Stop))
	case "metadata":
		if e.Usage != nil {
			return s.part(s.made.UsageChunk(e.Usage.wire()))
		}
	}
	return nil // what is added later
}

// call sends the beginning of a tool call, or more of its arguments.
func (s *streamState) call(begin *toolUse, arguments string) error {
	index := s.calls - 1
	c := wire.ToolCall{Index: &index}
	if begin != nil {
		c.ID, c.Type, c.Function.Name = begin.ID, "function", begin.Name
	}
	c.Function.Arguments = arguments
	return s.chunk(wire.Delta{ToolCalls: []wire.ToolCall{c}}, "")
}

func (s *streamState) chunk(d wire.Delta, finish string) error {
	return s.part(s.made.Chunk(d, finish))
}

func (s *streamState) part(data []byte, err error) error {
	if err != nil {
		return fmt.Errorf("writing an event: %w", err)
	}
	return s.answer.Part(data)
}
