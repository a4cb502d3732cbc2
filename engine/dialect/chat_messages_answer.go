package dialect

import (
	"bytes"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// AnswerChatToMessages appends a message of the Messages API made of body, a buffered chat completion, under the id and model
// name of opt. The usage that body reports is returned in the normal form; without a report the message has none either.
//
// Thinking comes first: thinking_blocks byte for byte, and reasoning_content (or reasoning) that is not in them as a block with
// an empty signature. Texts and the text of a refusal follow, then the calls. A text of white space alone is left out, as the API
// refuses it when the conversation comes back. Of several choices only the first is taken.
// Audio, images and annotations have no counterpart and are left out. Arguments that are not a JSON object become
// {"INVALID_JSON": "the arguments as they were"}: the call fails by the tool's schema, the model learns why, and nothing is run
// with arguments that nobody gave. For stop reasons see [stopReason]. ids of calls are made fit for the API as in
// [RequestChatToMessages]; a call without one gets one made of the answer's.
func AnswerChatToMessages(dst, body []byte, opt AnswerOptions) ([]byte, Usage, error) {
	var choice, tier, key []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "choices":
			choice = nil
			for raw := range elements(v) {
				choice = raw
				break
			}
		case "service_tier":
			tier = v
		}
	}
	message := topMember(choice, "message")
	if !c.end() || len(message) == 0 || message[0] != '{' {
		return dst, Usage{}, ErrMalformed
	}
	var b messageBlocks
	b.read(message, opt.ID)
	stop, sequence := readChoice(choice).stop(b.calls > 0, wantedStops(opt.Request))

	dst = append(dst, `{"id":`...)
	dst = appendQuoted(dst, opt.ID)
	dst = append(dst, `,"type":"message","role":"assistant","model":`...)
	dst = appendQuoted(dst, opt.Model)
	dst = append(dst, `,"content":`...)
	dst = appendEnclosed(dst, '[', b.list, ']')
	dst = appendStop(append(dst, ','), stop, sequence)
	u, ok := OpenAIUsage(body)
	if ok {
		dst = appendMessagesUsage(append(dst, `,"usage":`...), u, tier)
	}
	return append(dst, '}'), u, nil
}

// appendMessagesUsage appends a usage object, with the service tier if there is one.
func appendMessagesUsage(dst []byte, u Usage, tier []byte) []byte {
	dst = Messages.appendCounts(dst, u)
	if len(inner(tier)) > 0 {
		if string(inner(tier)) == "default" {
			tier = []byte(`"standard"`)
		}
		dst = append(append(dst, `,"service_tier":`...), tier...)
	}
	return append(dst, '}')
}

// chatMessageOut is a message of a chat completion, or a delta of one, as raw values.
type chatMessageOut struct {
	content, refusal, reasoning, thinking, calls, call []byte
}

func readMessageOut(raw []byte) chatMessageOut {
	var m chatMessageOut
	if len(raw) == 0 || raw[0] != '{' {
		return m
	}
	var key, other []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "content":
			m.content = v
		case "refusal":
			m.refusal = inner(v)
		case "reasoning_content":
			m.reasoning = inner(v)
		case "reasoning": // the same by another name, and some send both
			other = inner(v)
		case "thinking_blocks":
			m.thinking = v
		case "tool_calls":
			m.calls = v
		case "function_call":
			m.call = v
		}
	}
	if len(m.reasoning) == 0 {
		m.reasoning = other
	}
	return m
}

// texts are the raw contents of the texts of a content, which may be a string or parts.
func texts(content []byte) (out []byte) {
	if isString(content) {
		return inner(content)
	}
	for part := range elements(content) {
		out = append(out, inner(members(part, "text")[0])...)
	}
	return out
}

// thoughts are the raw contents of the thinking that some providers put into a content.
func thoughts(content []byte) (out []byte) {
	for part := range elements(content) {
		out = append(out, texts(members(part, "thinking")[0])...)
	}
	return out
}

// messageBlocks gathers the blocks of a message.
type messageBlocks struct {
	list  []byte
	calls int
}

func (b *messageBlocks) read(raw []byte, answerID string) {
	m := readMessageOut(raw)
	b.thinking(&m)
	for _, text := range [][]byte{texts(m.content), m.refusal} {
		if !isBlank(text) {
			b.list = appendElement(b.list, appendText(nil, appendEnclosed(nil, '"', text, '"'), nil))
		}
	}
	for raw := range elements(m.calls) {
		call := members(raw, "id", "function")
		b.call(call[0], call[1], answerID)
	}
	if len(m.call) > 0 && m.call[0] == '{' {
		b.call(nil, m.call, answerID)
	}
}

// thinking adds the thinking of a message. What reasoning_content has beyond the blocks is not signed; if the blocks do not
// begin it, all of it comes before them.
func (b *messageBlocks) thinking(m *chatMessageOut) {
	reasoning := m.reasoning
	if len(reasoning) == 0 {
		reasoning = thoughts(m.content)
	}
	var blocks, signed []byte
	for raw := range elements(m.thinking) {
		switch t := readBlock(raw); string(t.kind) {
		case "thinking":
			signed = append(signed, inner(t.thinking)...)
			blocks = appendElement(blocks, raw)
		case "redacted_thinking":
			blocks = appendElement(blocks, raw)
		}
	}
	rest, begun := bytes.CutPrefix(reasoning, signed)
	if len(reasoning) == 0 || !begun && string(unescaped(signed)) == string(unescaped(reasoning)) {
		rest, begun = nil, true
	}
	bare := appendThinking(nil, rest)
	if len(rest) == 0 {
		bare = nil
	}
	order := [][]byte{blocks, bare}
	if !begun || len(signed) == 0 {
		order = [][]byte{bare, blocks}
	}
	for _, list := range order {
		if len(list) > 0 {
			b.list = appendElement(b.list, list)
		}
	}
}

// isBlank reports whether a raw string content has nothing but white space.
func isBlank(raw []byte) bool {
	for len(raw) > 0 {
		c, n := utf8.DecodeRune(raw)
		if c == '\\' {
			c, n = escapedRune(raw)
		}
		if !unicode.IsSpace(c) {
			return false
		}
		raw = raw[n:]
	}
	return true
}

// escapedRune is the character that an escape stands for, or a letter if it is no white space, and the escape's length.
func escapedRune(escape []byte) (c rune, n int) {
	if len(escape) < 2 {
		return 'x', 1
	}
	switch escape[1] {
	case 'n', 'r', 't', 'f':
		return ' ', 2
	case 'u':
		if len(escape) >= 6 {
			code, err := strconv.ParseUint(string(escape[2:6]), 16, 16)
			if err == nil {
				return rune(code), 6
			}
		}
	}
	return 'x', 2
}

// unescaped decodes a raw string content.
func unescaped(raw []byte) []byte { return unquoted(appendEnclosed(nil, '"', raw, '"')) }

// appendThinking appends a block of thinking that is not signed; text is a raw string content.
func appendThinking(dst, text []byte) []byte {
	dst = append(append(dst, `{"type":"thinking","thinking":"`...), text...)
	return append(dst, `","signature":""}`...)
}

func (b *messageBlocks) call(id, function []byte, answerID string) {
	f := members(function, "name", "arguments")
	call := appendToolUse(nil, callID(id, answerID, b.calls), f[0])
	call = append(call, argumentsObject(unquoted(f[1]))...)
	b.list = appendElement(b.list, append(call, '}'))
	b.calls++
}

// callID is the id of a call as a string, one made of the answer's and the number of the call if it has none.
func callID(id []byte, answerID string, number int) []byte {
	if len(inner(id)) == 0 {
		id = appendQuoted(nil, "call_"+answerID+"_"+strconv.Itoa(number))
	}
	return appendToolID(nil, id)
}

// appendToolUse appends a call up to its input.
func appendToolUse(dst, id, name []byte) []byte {
	dst = append(append(dst, `{"type":"tool_use","id":`...), id...)
	dst = appendStringValue(append(dst, `,"name":`...), name)
	return append(dst, `,"input":`...)
}

// argumentsObject is the input that arguments mean.
func argumentsObject(arguments []byte) []byte {
	trimmed := bytes.Trim(arguments, spaces)
	if len(trimmed) == 0 || string(trimmed) == "null" { // what models write for none
		return []byte("{}")
	}
	c := cursor{b: trimmed}
	if c.kind() == '{' && c.value() != nil && c.end() {
		return trimmed
	}
	return append(appendQuoted([]byte(`{"INVALID_JSON":`), trimmed), '}')
}

const spaces = " \t\r\n" // of JSON

// chatChoice tells why a choice has ended, as raw values.
type chatChoice struct {
	finish, native []byte // without quotes
	met            []byte // the stop sequence, if it is a string
}

func readChoice(raw []byte) chatChoice {
	m := members(raw, "finish_reason", "native_finish_reason", "stop_reason")
	return chatChoice{finish: inner(m[0]), native: inner(m[1]), met: m[2]}
}

// stop is the stop_reason, and the stop_sequence if one was met: one of those that the caller wants. The stop_reason of vLLM
// and the two of our own translation tell it.
func (c chatChoice) stop(calls bool, wanted [][]byte) (reason, sequence []byte) {
	reason = stopReason(c.finish, c.native, calls)
	if !isString(c.met) || string(c.finish) == "length" {
		return reason, nil
	}
	met := string(c.native) == "stop_sequence"
	for _, w := range wanted {
		met = met || string(w) == string(unquoted(c.met))
	}
	if !met {
		return reason, nil
	}
	if string(reason) == "end_turn" {
		reason = []byte("stop_sequence")
	}
	return reason, c.met
}

// wantedStops are the stop sequences of a request of the Messages API, unquoted.
func wantedStops(request []byte) (list [][]byte) {
	for v := range elements(topMember(request, "stop_sequences")) {
		if isString(v) {
			list = append(list, bytes.Clone(unquoted(v)))
		}
	}
	return list
}

// stopReason maps a finish_reason, all raw and without quotes. It is the inverse of [finishReason]: the native reason that our
// own translation writes is taken back. Once a tool has been called, whatever reads as a normal end becomes tool_use, as
// agents drop calls otherwise; an answer cut by its length stays that. No reason at all is a normal end, for callers are
// promised one. A reason we do not know is passed through.
func stopReason(finish, native []byte, calls bool) []byte {
	end := "end_turn"
	if calls {
		end = "tool_use"
	}
	switch string(native) {
	case "stop_sequence", "pause_turn", "refusal", "model_context_window_exceeded":
		if was, _ := finishReason(native, calls); string(was) == string(finish) && (!calls || string(was) != "tool_calls") {
			return native
		}
	}
	switch string(finish) {
	case "", "stop":
		return []byte(end)
	case "tool_calls", "function_call":
		return []byte("tool_use")
	case "length":
		return []byte("max_tokens")
	case "content_filter":
		return []byte("refusal")
	}
	return finish
}

// appendStop appends stop_reason and stop_sequence. The reason is raw and without quotes, the sequence a raw string or nil.
func appendStop(dst, reason, sequence []byte) []byte {
	dst = append(dst, `"stop_reason":`...)
	dst = appendEnclosed(dst, '"', reason, '"')
	dst = append(dst, `,"stop_sequence":`...)
	if sequence == nil {
		return append(dst, "null"...)
	}
	return append(dst, sequence...)
}
