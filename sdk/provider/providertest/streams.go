package providertest

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pointsman/pointsman/sdk/provider"
)

// ValidateStream says what is wrong with the order and form of a streamed chat completion's events.
func ValidateStream(dialect provider.Dialect, events []string) error {
	switch dialect {
	case provider.DialectAnthropic:
		return validateMessages(events)
	case provider.DialectResponses:
		return validateResponses(events)
	}
	return validateChunks(events)
}

// validateChunks checks OpenAI's chunks: content, then a finish reason, then usage, which gateways bill.
func validateChunks(events []string) error {
	finished, counted := false, false
	for i, event := range events {
		var chunk struct {
			Object  string
			Choices *[]struct {
				Delta        json.RawMessage
				FinishReason *string `json:"finish_reason"`
			}
			Usage json.RawMessage
		}
		if err := json.Unmarshal([]byte(event), &chunk); err != nil {
			return fmt.Errorf("event %d is not the JSON of one chunk: %.200q", i, event)
		}
		switch {
		case chunk.Choices == nil:
			return fmt.Errorf("event %d has no choices: %.200q", i, event)
		case chunk.Object != "chat.completion.chunk":
			return fmt.Errorf("the object of event %d is %q, not chat.completion.chunk", i, chunk.Object)
		case counted:
			return fmt.Errorf("event %d comes after the usage: %.200q", i, event)
		}
		for _, choice := range *chunk.Choices {
			if finished && choice.FinishReason == nil {
				return fmt.Errorf("event %d has content after the finish reason: %.200q", i, event)
			}
			finished = finished || choice.FinishReason != nil
		}
		counted = len(*chunk.Choices) == 0 && len(chunk.Usage) > 0 && string(chunk.Usage) != "null"
	}
	if !finished {
		return errors.New("no event has a finish_reason")
	}
	return nil
}

// validateMessages checks the nesting of Anthropic's events.
func validateMessages(events []string) error {
	begun, ended, open := false, false, -1
	for i, event := range events {
		var e struct {
			Type  string
			Index int
		}
		if err := json.Unmarshal([]byte(event), &e); err != nil {
			return fmt.Errorf("event %d is not the JSON of one event: %.200q", i, event)
		}
		wrong := false
		switch e.Type {
		case "ping":
		case "message_start":
			wrong, begun = begun, true
		case "content_block_start":
			wrong, open = !begun || open >= 0, e.Index
		case "content_block_delta":
			wrong = open != e.Index
		case "content_block_stop":
			wrong, open = open != e.Index, -1
		case "message_delta":
			wrong = !begun || open >= 0
		case "message_stop":
			wrong, ended = !begun || open >= 0, true
		default:
			return fmt.Errorf("event %d has the unknown type %.40q", i, e.Type)
		}
		if wrong || ended && i != len(events)-1 {
			return fmt.Errorf("event %d, %s, is out of order", i, e.Type)
		}
	}
	if !ended {
		return errors.New("the stream has no message_stop")
	}
	return nil
}

// validateResponses checks the beginning and the end of the events of OpenAI's Responses; between them there are many kinds.
func validateResponses(events []string) error {
	ended := false
	for i, event := range events {
		var e struct {
			Type     string
			Response *struct{}
		}
		if err := json.Unmarshal([]byte(event), &e); err != nil {
			return fmt.Errorf("event %d is not the JSON of one event: %.200q", i, event)
		}
		switch {
		case e.Type == "":
			return fmt.Errorf("event %d has no type: %.200q", i, event)
		case ended:
			return fmt.Errorf("event %d, %s, comes after the end", i, e.Type)
		case (i == 0) != (e.Type == "response.created"):
			return fmt.Errorf("event %d, %s, is out of order", i, e.Type)
		}
		switch e.Type {
		case "response.completed", "response.incomplete", "response.failed":
			if e.Response == nil {
				return fmt.Errorf("event %d, %s, has no response", i, e.Type)
			}
			ended = true
		}
	}
	if !ended {
		return errors.New("no event ends the response")
	}
	return nil
}
