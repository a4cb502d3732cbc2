package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pointsman/pointsman/sdk/provider"
)

const (
	fingerprint  = "simulated"
	chunkWords   = 2
	maxQuoteSize = 120 // bytes of the question that an answer repeats
)

// reply is what the simulator says, before it is put into one body or many chunks.
type reply struct {
	id       string
	model    string
	created  int64
	content  string
	toolName string // set: a tool call, whose arguments content holds
	finish   string
	usage    usage
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

func (a *Adapter) chat(ctx context.Context, req *provider.CallRequest, answer provider.AnswerWriter) error {
	chat, err := parseChat(req.Body)
	if err != nil {
		return err
	}
	r, err := chat.reply()
	if err != nil {
		return err
	}
	r.id, r.model, r.created = "chatcmpl-sim-"+req.RequestID, req.Model, a.now().Unix()
	if !req.Stream {
		return sendJSON(answer, http.StatusOK, r.completion())
	}
	pause, err := pauseOf(req.Settings)
	if err != nil {
		return err
	}
	return r.stream(ctx, answer, pause, chat.StreamOptions != nil && chat.StreamOptions.IncludeUsage)
}

// reply decides what to say.
func (r *chatRequest) reply() (*reply, error) {
	question := r.question()
	out := &reply{finish: "stop"}
	called, err := r.toolToCall()
	switch {
	case err != nil:
		return nil, err
	case called != nil:
		out.toolName, out.finish = called.Function.Name, "tool_calls"
		out.content, err = valueText(called.Function.Parameters, question)
	case r.ResponseFormat != nil && r.ResponseFormat.Type == "json_schema":
		out.content, err = valueText(r.ResponseFormat.JSONSchema.Schema, question)
	case r.ResponseFormat != nil && r.ResponseFormat.Type == "json_object":
		var text []byte
		text, err = json.Marshal(map[string]any{"simulated": true, "answer": r.say(question)})
		out.content = string(text)
	default:
		out.content = r.say(question)
	}
	if err != nil {
		return nil, err
	}
	if limit := r.limit(); limit > 0 && tokens(out.content) > limit {
		out.content, out.finish = cut(out.content, limit*4), "length"
	}
	out.usage = usage{Prompt: r.promptTokens(), Completion: tokens(out.content)}
	out.usage.Total = out.usage.Prompt + out.usage.Completion
	return out, nil
}

// say returns the text of an answer.
func (r *chatRequest) say(question string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "This is a simulated answer: no provider was asked, and nothing was charged by one. The model would have been %s. ", r.Model)
	if question == "" {
		b.WriteString("There was no question.")
		return b.String()
	}
	quote := cut(question, maxQuoteSize)
	if len(quote) < len(question) {
		quote += "…"
	}
	fmt.Fprintf(&b, "You asked: “%s” ", quote)
	closings := []string{
		"A real model would now think about it; configure a provider's key to hear what it says.",
		"The points are set and the line is clear: with a provider's key this request would have gone through.",
		"Everything on the way to the model works; only the model itself is missing.",
		"Add a provider's key, and the next train on this track carries a real answer.",
	}
	b.WriteString(closings[seed(question)%uint64(len(closings))])
	return b.String()
}

// cut returns at most n bytes of text, whole characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

func (r *reply) completion() any {
	msg := map[string]any{"role": "assistant", "content": r.content, "refusal": nil}
	if r.toolName != "" {
		msg["content"] = nil
		msg["tool_calls"] = []any{r.toolCall(r.content, false)}
	}
	return map[string]any{
		"id": r.id, "object": "chat.completion", "created": r.created, "model": r.model, "system_fingerprint": fingerprint,
		"choices": []any{map[string]any{"index": 0, "message": msg, "logprobs": nil, "finish_reason": r.finish}},
		"usage":   r.usage,
	}
}

func (r *reply) toolCall(arguments string, indexed bool) map[string]any {
	call := map[string]any{
		"id": fmt.Sprintf("call_sim_%016x", seed(r.toolName+r.content)), "type": "function",
		"function": map[string]any{"name": r.toolName, "arguments": arguments},
	}
	if indexed {
		call["index"] = 0
	}
	return call
}

// stream sends the reply in chunks: the role, the words, the reason of the end, and the usage if it was asked for.
func (r *reply) stream(ctx context.Context, answer provider.AnswerWriter, pause time.Duration, withUsage bool) error {
	if err := answer.Head(http.StatusOK, map[string]string{"content-type": "text/event-stream", Header: "true"}); err != nil {
		return err
	}
	first := map[string]any{"role": "assistant", "content": ""}
	if r.toolName != "" {
		first = map[string]any{"role": "assistant", "content": nil, "tool_calls": []any{r.toolCall("", true)}}
	}
	if err := r.chunk(answer, first, nil); err != nil {
		return err
	}
	state := seed(r.content)
	for _, piece := range pieces(r.content) {
		wait := pause
		if wait < 0 {
			state = state*6364136223846793005 + 1442695040888963407 // Knuth's MMIX generator
			wait = 5*time.Millisecond + time.Duration(state>>32)%(10*time.Millisecond)
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		delta := map[string]any{"content": piece}
		if r.toolName != "" {
			delta = map[string]any{"tool_calls": []any{map[string]any{
				"index": 0, "function": map[string]any{"arguments": piece},
			}}}
		}
		if err := r.chunk(answer, delta, nil); err != nil {
			return err
		}
	}
	if err := r.chunk(answer, map[string]any{}, r.finish); err != nil || !withUsage {
		return err
	}
	return r.send(answer, map[string]any{"choices": []any{}, "usage": r.usage})
}

func (r *reply) chunk(answer provider.AnswerWriter, delta map[string]any, finish any) error {
	return r.send(answer, map[string]any{
		"choices": []any{map[string]any{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish}},
	})
}

func (r *reply) send(answer provider.AnswerWriter, chunk map[string]any) error {
	chunk["id"], chunk["object"], chunk["created"] = r.id, "chat.completion.chunk", r.created
	chunk["model"], chunk["system_fingerprint"] = r.model, fingerprint
	data, err := json.Marshal(chunk)
	if err != nil {
		return fmt.Errorf("encoding a simulated chunk: %w", err)
	}
	return answer.Part(data)
}

// pieces splits a text after every second word; together they are the text.
func pieces(text string) []string {
	var out []string
	words := strings.SplitAfter(text, " ")
	for len(words) > 0 {
		n := min(chunkWords, len(words))
		if piece := strings.Join(words[:n], ""); piece != "" {
			out = append(out, piece)
		}
		words = words[n:]
	}
	return out
}
