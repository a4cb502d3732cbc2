package dialect

import "strconv"

// AnswerMessagesToChat appends an OpenAI chat completion made of body, a buffered answer of the Messages API, under
// the id, model name and time of opt. The usage object is the normal form of [Usage], which is returned as well; there is none if the
// source reported none.
//
// Texts are joined into content; thinking is joined into reasoning_content, and its signed blocks are kept byte for byte
// in thinking_blocks, which [RequestChatToMessages] takes back. Blocks of tools that the provider runs itself, and
// citations, have no counterpart and are left out. The finish_reason is that of the streamed translation,
// [TranslateStream].
func AnswerMessagesToChat(dst, body []byte, opt AnswerOptions) ([]byte, Usage, error) {
	var content, stop, sequence []byte
	var counts anthropicCounts
	var key []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		switch string(key) {
		case "content":
			content = c.value()
		case "stop_reason":
			stop = inner(c.value())
		case "stop_sequence":
			sequence = c.value()
		case "usage":
			if v := c.value(); len(v) > 0 && v[0] == '{' {
				counts.merge(v)
			}
		default:
			c.value()
		}
	}
	if !c.end() || len(content) == 0 || content[0] != '[' {
		return dst, Usage{}, ErrMalformed
	}
	var m message
	m.read(content)

	dst = append(dst, `{"id":`...)
	dst = appendQuoted(dst, opt.ID)
	dst = append(dst, `,"object":"chat.completion","created":`...)
	dst = strconv.AppendInt(dst, opt.Created, 10)
	dst = append(dst, `,"model":`...)
	dst = appendQuoted(dst, opt.Model)
	dst = append(dst, `,"choices":[{"index":0,"message":`...)
	dst = m.append(dst)
	dst = append(dst, `,"logprobs":null,`...)
	dst = appendFinish(dst, stop, sequence, m.calls > 0)
	dst = append(dst, `}]`...)
	u := counts.usage()
	if u.Reported {
		dst = append(Chat.appendCounts(append(dst, `,"usage":`...), u), '}')
	}
	return append(appendServiceTier(dst, u), '}'), u, nil
}

// message gathers the blocks of an answer by kind, as raw JSON.
type message struct {
	text, thinking []byte // string contents without quotes
	signed         []byte // elements of thinking_blocks
	toolCalls      []byte // elements of tool_calls
	calls          int
	hasText        bool
}

func (m *message) read(content []byte) {
	c := cursor{b: content}
	for c.array(); c.element(); {
		b := readBlock(c.value())
		switch string(b.kind) {
		case "text":
			m.hasText = true
			m.text = append(m.text, inner(b.text)...)
		case "thinking":
			m.thinking = append(m.thinking, inner(b.thinking)...)
			if len(b.signature) > 2 {
				m.signed = appendElement(m.signed, b.raw)
			}
		case "redacted_thinking":
			m.signed = appendElement(m.signed, b.raw)
		case "tool_use":
			if m.calls > 0 {
				m.toolCalls = append(m.toolCalls, ',')
			}
			m.toolCalls = appendToolCall(m.toolCalls, b, -1)
			m.toolCalls = appendQuoted(m.toolCalls, objectOrEmpty(b.input))
			m.toolCalls = append(m.toolCalls, `}}`...)
			m.calls++
		}
	}
}

func (m *message) append(dst []byte) []byte {
	dst = append(dst, `{"role":"assistant","content":`...)
	if m.hasText || m.calls == 0 {
		dst = appendEnclosed(dst, '"', m.text, '"')
	} else {
		dst = append(dst, "null"...)
	}
	if len(m.thinking) > 0 {
		dst = append(dst, `,"reasoning_content":`...)
		dst = appendEnclosed(dst, '"', m.thinking, '"')
	}
	if len(m.signed) > 0 {
		dst = append(dst, `,"thinking_blocks":`...)
		dst = appendEnclosed(dst, '[', m.signed, ']')
	}
	if m.calls > 0 {
		dst = append(dst, `,"tool_calls":`...)
		dst = appendEnclosed(dst, '[', m.toolCalls, ']')
	}
	return append(dst, `,"refusal":null}`...)
}

func appendEnclosed(dst []byte, left byte, body []byte, right byte) []byte {
	dst = append(dst, left)
	dst = append(dst, body...)
	return append(dst, right)
}

func appendElement(list, raw []byte) []byte {
	if len(list) > 0 {
		list = append(list, ',')
	}
	return append(list, raw...)
}

// contentBlock is a content block of the Messages API, as raw values.
type contentBlock struct {
	raw, kind, text, thinking, signature, data, id, name, input []byte
}

func readBlock(raw []byte) contentBlock {
	b := contentBlock{raw: raw}
	if len(raw) == 0 || raw[0] != '{' {
		return b
	}
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			b.kind = inner(v)
		case "text":
			b.text = v
		case "thinking":
			b.thinking = v
		case "signature":
			b.signature = v
		case "data":
			b.data = v
		case "id":
			b.id = v
		case "name":
			b.name = v
		case "input":
			b.input = v
		}
	}
	return b
}

// appendToolCall appends a tool call up to where the value of its arguments goes; the index is left out if negative.
func appendToolCall(dst []byte, b contentBlock, index int) []byte {
	dst = append(dst, '{')
	if index >= 0 {
		dst = append(dst, `"index":`...)
		dst = strconv.AppendInt(dst, int64(index), 10)
		dst = append(dst, ',')
	}
	dst = append(dst, `"id":`...)
	dst = appendStringValue(dst, b.id)
	dst = append(dst, `,"type":"function","function":{"name":`...)
	dst = appendStringValue(dst, b.name)
	return append(dst, `,"arguments":`...)
}

// appendStringValue appends a raw value that ought to be a string, or an empty string.
func appendStringValue(dst, v []byte) []byte {
	if !isString(v) {
		return append(dst, `""`...)
	}
	return append(dst, v...)
}

// objectOrEmpty is the input of a tool call, {} if it has none.
func objectOrEmpty(v []byte) []byte {
	if isNull(v) {
		return []byte("{}")
	}
	return v
}

// appendFinish appends the finish_reason member and its tags: native_finish_reason if the mapping loses something, and
// stop_reason with the stop sequence that was met. All arguments are raw; stop is without quotes.
func appendFinish(dst, stop, sequence []byte, calls bool) []byte {
	dst = append(dst, `"finish_reason":`...)
	if len(stop) == 0 {
		return append(dst, "null"...)
	}
	finish, exact := finishReason(stop, calls)
	dst = appendEnclosed(dst, '"', finish, '"')
	if !exact {
		dst = append(dst, `,"native_finish_reason":`...)
		dst = appendEnclosed(dst, '"', stop, '"')
	}
	if isString(sequence) {
		dst = append(dst, `,"stop_reason":`...)
		dst = append(dst, sequence...)
	}
	return dst
}

// finishReason maps a stop_reason; exact is false where the caller should see the original too. Once a tool has been
// called, whatever reads as a normal end becomes tool_calls, as agents drop calls otherwise; an answer cut by its length
// stays that, as its last call may be cut too. A reason we do not know is passed through, never called a stop.
func finishReason(stop []byte, calls bool) (finish []byte, exact bool) {
	end := "stop"
	if calls {
		end = "tool_calls"
	}
	switch string(stop) {
	case "end_turn":
		return []byte(end), !calls
	case "tool_use":
		return []byte("tool_calls"), true
	case "max_tokens":
		return []byte("length"), true
	case "stop_sequence", "pause_turn":
		return []byte(end), false
	case "refusal":
		return []byte("content_filter"), false
	case "model_context_window_exceeded":
		return []byte("length"), false
	}
	return stop, false
}
