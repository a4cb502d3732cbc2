package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// What the strict providers say; the judges know it from cases.json.
const (
	strictThinking  = "The user wants the weather."
	strictSignature = "c2lnbmVkIGJ5L3RoZSt1cHN0cmVhbQ=="
	strictPerson    = `{"name":"Ada Lovelace","age":36,"languages":["English","Français"]}`
	refusalPrompt   = "Refuse this."
	echoPrompt      = "Say the conversation back."
	cutLimit        = 16 // an answer that may be no longer is cut
)

// strictAnswer is an answer without the wording of its dialect.
type strictAnswer struct {
	thinking bool
	text     string
	calls    []strictPart
	cut      bool
}

func weatherArgs(city string) string {
	return fmt.Sprintf(`{"city":%q,"days":3,"note":"wind \"NW\", 21 °C\nor more"}`, city)
}

// answer says something by which the asker can tell what has arrived.
func (c *conversation) answer() *scripted.Reply {
	last := c.turns[len(c.turns)-1]
	prompt, image := "", ""
	for _, p := range last.parts {
		switch p.kind {
		case "text":
			prompt += p.text
		case "image":
			image = fmt.Sprintf("An image of %d bytes. ", len(p.text))
		}
	}
	a := strictAnswer{thinking: c.thinking}
	switch results := c.results(); {
	case prompt == refusalPrompt:
		return strictRefusal(c.dialect, 400, "the scripted provider refuses this")
	case len(results) > 0:
		a.text = strings.Join(results, " | ")
	case len(c.tools) > 0:
		a.calls = c.callsFor(prompt)
		if len(a.calls) == 0 {
			return strictRefusal(c.dialect, 400, fmt.Sprintf("the scripted provider cannot use its tools for %q", prompt))
		}
	case c.schema != nil:
		a.text = strictPerson
	case c.limit > 0 && c.limit <= cutLimit:
		a.text, a.cut = "1 2 3", true
	case prompt == echoPrompt:
		a.text = c.transcript()
	default:
		a.text = image + "You said: " + prompt
	}
	a.thinking = a.thinking && (len(a.calls) > 0 || c.tools == nil)
	return map[string]func(*conversation, *strictAnswer) *scripted.Reply{
		"chat": chatReply, "messages": messagesReply, "responses": responsesReply,
	}[c.dialect](c, &a)
}

// results are those of the calls of the last turn that made some, as they stand after it, in the order of the calls.
func (c *conversation) results() (out []string) {
	for i := len(c.turns) - 1; i >= 0 && c.turns[i].role != "system"; i-- {
		var calls []strictPart
		for _, p := range c.turns[i].parts {
			if p.kind == "call" {
				calls = append(calls, p)
			}
		}
		for _, call := range calls {
			for _, t := range c.turns[i+1:] {
				for _, p := range t.parts {
					if p.kind == "result" && p.id == call.id {
						_, city, _ := strings.Cut(call.id, "_")
						out = append(out, strings.ToUpper(city[:1])+city[1:]+": "+p.text)
					}
				}
			}
		}
		if len(calls) > 0 {
			return out
		}
	}
	return nil
}

// callsFor are calls of the first tool, or of the one that is forced: for each city that is named if it wants cities, else
// with the person.
func (c *conversation) callsFor(prompt string) (calls []strictPart) {
	prefix := map[string]string{"chat": "call_", "messages": "toolu_", "responses": "call_"}[c.dialect]
	tool := c.tools[0]
	for _, t := range c.tools {
		if t.name == c.forced {
			tool = t
		}
	}
	if strings.Contains(string(tool.schema), `"languages"`) {
		return []strictPart{{id: prefix + "person", name: tool.name, args: strictPerson}}
	}
	for _, city := range []string{"Lisbon", "Oslo"} {
		if strings.Contains(prompt, city) {
			calls = append(calls, strictPart{id: prefix + strings.ToLower(city), name: tool.name, args: weatherArgs(city)})
		}
	}
	return calls
}

// transcript is the whole conversation in one line.
func (c *conversation) transcript() string {
	var lines []string
	for _, t := range c.turns {
		for _, p := range t.parts {
			lines = append(lines, t.role+": "+p.text)
		}
	}
	return strings.Join(lines, " | ")
}

// pieces cuts a text as streams do, between two runes.
func pieces(text string) (out []string) {
	for len(text) > 0 {
		n := 0
		for range 7 {
			_, size := utf8.DecodeRuneInString(text[n:])
			n += size
		}
		out, text = append(out, text[:n]), text[n:]
	}
	return out
}

type object = map[string]any

// event is one event of a stream.
func event(name string, data any) []byte {
	if name == "" {
		return append(append([]byte("data: "), marshal(data)...), "\n\n"...)
	}
	return append(append([]byte("event: "+name+"\ndata: "), marshal(data)...), "\n\n"...)
}

func chatReply(c *conversation, a *strictAnswer) *scripted.Reply {
	usage := object{
		"prompt_tokens": scripted.InputTokens, "completion_tokens": scripted.OutputTokens, "total_tokens": scripted.InputTokens + scripted.OutputTokens,
		"prompt_tokens_details": object{"cached_tokens": scripted.CachedTokens}, "completion_tokens_details": object{"reasoning_tokens": 0},
	}
	finish := "stop"
	if len(a.calls) > 0 {
		finish = "tool_calls"
	} else if a.cut {
		finish = "length"
	}
	if !c.stream {
		message := object{"role": "assistant", "content": a.text, "refusal": nil}
		var calls []any
		for _, call := range a.calls {
			calls = append(calls, object{"id": call.id, "type": "function", "function": object{"name": call.name, "arguments": call.args}})
		}
		if calls != nil {
			message["content"], message["tool_calls"] = nil, calls
		}
		return &scripted.Reply{Body: marshal(object{
			"id": "chatcmpl-strict", "object": "chat.completion", "created": 1700000000, "model": "strict", "usage": usage,
			"choices": []any{object{"index": 0, "message": message, "logprobs": nil, "finish_reason": finish}},
		})}
	}
	var chunks [][]byte
	add := func(delta object, finish any) {
		chunks = append(chunks, event("", object{
			"id": "chatcmpl-strict", "object": "chat.completion.chunk", "created": 1700000000, "model": "strict", "usage": nil,
			"choices": []any{object{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish}},
		}))
	}
	add(object{"role": "assistant", "content": "", "refusal": nil}, nil)
	for _, piece := range pieces(a.text) {
		add(object{"content": piece}, nil)
	}
	for i, call := range a.calls {
		add(object{"tool_calls": []any{object{"index": i, "id": call.id, "type": "function", "function": object{"name": call.name, "arguments": ""}}}}, nil)
		for _, piece := range pieces(call.args) {
			add(object{"tool_calls": []any{object{"index": i, "function": object{"arguments": piece}}}}, nil)
		}
	}
	add(object{}, finish)
	chunks = append(chunks, event("", object{
		"id": "chatcmpl-strict", "object": "chat.completion.chunk", "created": 1700000000, "model": "strict", "choices": []any{}, "usage": usage,
	}))
	return &scripted.Reply{Chunks: append(chunks, []byte("data: [DONE]\n\n"))}
}

func messagesReply(c *conversation, a *strictAnswer) *scripted.Reply {
	usage := object{
		"input_tokens": scripted.InputTokens - scripted.CachedTokens, "cache_creation_input_tokens": 0,
		"cache_read_input_tokens": scripted.CachedTokens, "output_tokens": scripted.OutputTokens,
	}
	finish := "end_turn"
	if len(a.calls) > 0 {
		finish = "tool_use"
	} else if a.cut {
		finish = "max_tokens"
	}
	var content []any
	var events [][]byte
	add := func(name string, data object) {
		data["type"] = name
		events = append(events, event(name, data))
	}
	add("message_start", object{"message": object{
		"id": "msg_strict", "type": "message", "role": "assistant", "model": "strict", "content": []any{}, "stop_reason": nil, "stop_sequence": nil,
		"usage": object{"input_tokens": scripted.InputTokens - scripted.CachedTokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": scripted.CachedTokens, "output_tokens": 1},
	}})
	block := func(whole, begun object, deltas ...object) {
		i := len(content)
		content = append(content, whole)
		add("content_block_start", object{"index": i, "content_block": begun})
		for _, delta := range deltas {
			add("content_block_delta", object{"index": i, "delta": delta})
		}
		add("content_block_stop", object{"index": i})
	}
	if a.thinking {
		var deltas []object
		for _, piece := range pieces(strictThinking) {
			deltas = append(deltas, object{"type": "thinking_delta", "thinking": piece})
		}
		block(object{"type": "thinking", "thinking": strictThinking, "signature": strictSignature}, object{"type": "thinking", "thinking": "", "signature": ""},
			append(deltas, object{"type": "signature_delta", "signature": strictSignature})...)
	}
	if a.text != "" {
		var deltas []object
		for _, piece := range pieces(a.text) {
			deltas = append(deltas, object{"type": "text_delta", "text": piece})
		}
		block(object{"type": "text", "text": a.text}, object{"type": "text", "text": ""}, deltas...)
	}
	for _, call := range a.calls {
		var deltas []object
		for _, piece := range pieces(call.args) {
			deltas = append(deltas, object{"type": "input_json_delta", "partial_json": piece})
		}
		block(object{"type": "tool_use", "id": call.id, "name": call.name, "input": rawJSON(call.args)}, object{"type": "tool_use", "id": call.id, "name": call.name, "input": object{}}, deltas...)
	}
	if !c.stream {
		return &scripted.Reply{Body: marshal(object{
			"id": "msg_strict", "type": "message", "role": "assistant", "model": "strict", "content": content,
			"stop_reason": finish, "stop_sequence": nil, "usage": usage,
		})}
	}
	add("message_delta", object{"delta": object{"stop_reason": finish, "stop_sequence": nil}, "usage": usage})
	add("message_stop", object{})
	return &scripted.Reply{Chunks: events}
}

// responsesReply streams as OpenAI does, with numbered events for every item and part.
func responsesReply(c *conversation, a *strictAnswer) *scripted.Reply {
	var output []any
	var events [][]byte
	add := func(name string, data object) {
		data["type"], data["sequence_number"] = name, len(events)
		events = append(events, event(name, data))
	}
	response := func(status string, output []any, usage any) object {
		incomplete := any(nil)
		if status == "incomplete" {
			incomplete = object{"reason": "max_output_tokens"}
		}
		return object{
			"id": "resp_strict", "object": "response", "created_at": 1700000000, "status": status, "error": nil, "incomplete_details": incomplete,
			"instructions": nil, "max_output_tokens": nil, "model": "strict", "output": output, "parallel_tool_calls": true, "previous_response_id": nil,
			"reasoning": object{"effort": nil, "summary": nil}, "store": false, "temperature": 1.0, "text": c.textOf(),
			"tool_choice": "auto", "tools": []any{}, "top_p": 1.0, "truncation": "disabled", "usage": usage, "user": nil, "metadata": object{},
		}
	}
	add("response.created", object{"response": response("in_progress", []any{}, nil)})
	add("response.in_progress", object{"response": response("in_progress", []any{}, nil)})
	status := "completed"
	if a.cut {
		status = "incomplete"
	}
	if a.text != "" {
		item := func(status string, content ...any) object {
			return object{"id": "msg_strict", "type": "message", "status": status, "role": "assistant", "content": append([]any{}, content...)}
		}
		part := func(text string) object {
			return object{"type": "output_text", "text": text, "annotations": []any{}, "logprobs": []any{}}
		}
		at := func(more object) object {
			more["item_id"], more["output_index"], more["content_index"] = "msg_strict", 0, 0
			return more
		}
		add("response.output_item.added", object{"output_index": 0, "item": item("in_progress")})
		add("response.content_part.added", at(object{"part": part("")}))
		for _, piece := range pieces(a.text) {
			add("response.output_text.delta", at(object{"delta": piece, "logprobs": []any{}}))
		}
		add("response.output_text.done", at(object{"text": a.text, "logprobs": []any{}}))
		add("response.content_part.done", at(object{"part": part(a.text)}))
		output = append(output, item(status, part(a.text)))
		add("response.output_item.done", object{"output_index": 0, "item": output[0]})
	}
	for _, call := range a.calls {
		i, id := len(output), "fc_"+call.id
		item := func(status, args string) object {
			return object{"id": id, "type": "function_call", "status": status, "call_id": call.id, "name": call.name, "arguments": args}
		}
		add("response.output_item.added", object{"output_index": i, "item": item("in_progress", "")})
		for _, piece := range pieces(call.args) {
			add("response.function_call_arguments.delta", object{"item_id": id, "output_index": i, "delta": piece})
		}
		add("response.function_call_arguments.done", object{"item_id": id, "output_index": i, "name": call.name, "arguments": call.args})
		output = append(output, item("completed", call.args))
		add("response.output_item.done", object{"output_index": i, "item": output[i]})
	}
	whole := response(status, output, object{
		"input_tokens": scripted.InputTokens, "input_tokens_details": object{"cached_tokens": scripted.CachedTokens}, "output_tokens": scripted.OutputTokens,
		"output_tokens_details": object{"reasoning_tokens": 0}, "total_tokens": scripted.InputTokens + scripted.OutputTokens,
	})
	if !c.stream {
		return &scripted.Reply{Body: marshal(whole)}
	}
	add("response."+status, object{"response": whole})
	return &scripted.Reply{Chunks: events}
}

// embeddingsReply gives each text the same vector, as numbers or in the encoding that OpenAI's clients ask for.
func embeddingsReply(r *scripted.Request) *scripted.Reply {
	var asked struct {
		Model          string          `json:"model"`
		Input          json.RawMessage `json:"input"`
		EncodingFormat string          `json:"encoding_format"`
		Dimensions     *int            `json:"dimensions"`
		User           string          `json:"user"`
	}
	var texts []string
	if err := decodeStrict(r.Body, &asked); err != nil || json.Unmarshal(asked.Input, &texts) != nil || len(texts) == 0 || asked.Model == "" {
		return strictRefusal("chat", 400, fmt.Sprintf("%v in %s", err, r.Body))
	}
	vector := []float32{0.25, -0.5, 0.75}
	var data []any
	for i := range texts {
		item := object{"object": "embedding", "index": i, "embedding": vector}
		if asked.EncodingFormat == "base64" {
			raw, err := binary.Append(nil, binary.LittleEndian, vector)
			if err != nil {
				panic(err)
			}
			item["embedding"] = base64.StdEncoding.EncodeToString(raw)
		}
		data = append(data, item)
	}
	return &scripted.Reply{Body: marshal(object{
		"object": "list", "data": data, "model": "strict", "usage": object{"prompt_tokens": scripted.InputTokens, "total_tokens": scripted.InputTokens},
	})}
}

// textOf is what a response says of its format: what was asked for.
func (c *conversation) textOf() object {
	if c.schema == nil {
		return object{"format": object{"type": "text"}}
	}
	return object{"format": object{"type": "json_schema", "name": "answer", "schema": c.schema, "strict": true, "description": nil}}
}

// rawJSON is JSON to put into an object as it stands.
type rawJSON string

// MarshalJSON is the text itself.
func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }
