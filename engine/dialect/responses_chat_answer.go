package dialect

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// AnswerResponsesToChat appends an OpenAI chat completion made of body, a buffered answer of the Responses API, under the
// id, model name and time of opt. It returns the usage that the answer reports; the completion has a usage object only if
// there is one. An answer that failed, or was cancelled, is an [ErrMalformed]: [Dialect.InspectAnswer] tells it before.
//
// Texts are joined into content, and what the model has thought, summaries and whole texts, into reasoning_content with a
// blank line between the parts. Citations of addresses become annotations; those of files have no counterpart, nor have
// the calls of tools that the provider runs itself, nor the encrypted form of the reasoning. The finish_reason is that of
// the streamed translation, [TranslateStream].
func AnswerResponsesToChat(dst, body []byte, opt AnswerOptions) ([]byte, Usage, error) {
	r, ok := readResponse(body)
	if !ok || len(r.output) == 0 || r.output[0] != '[' {
		return dst, Usage{}, ErrMalformed
	}
	if r.failed() {
		d, _ := ReadError(body)
		return dst, Usage{}, fmt.Errorf("%w: the response has failed: %s", ErrMalformed, d.Message)
	}
	var m responseMessage
	for raw := range elements(r.output) {
		m.add(readItem(raw))
	}

	dst = append(dst, `{"id":`...)
	dst = appendQuoted(dst, opt.ID)
	dst = append(dst, `,"object":"chat.completion","created":`...)
	dst = strconv.AppendInt(dst, opt.Created, 10)
	dst = append(dst, `,"model":`...)
	dst = appendQuoted(dst, opt.Model)
	dst = append(dst, `,"choices":[{"index":0,"message":`...)
	dst = m.append(dst)
	dst = append(dst, `,"logprobs":`...)
	dst = appendLogprobs(dst, m.logprobs)
	dst = append(dst, ',')
	dst = r.appendFinish(dst, m.calls > 0)
	dst = append(dst, `}]`...)
	u, reported := OpenAIUsage(body)
	if reported {
		dst = appendReported(append(dst, `,"usage":`...), u)
	}
	if isString(r.tier) {
		dst = appendMember(dst, "service_tier", r.tier)
	}
	return append(dst, '}'), u, nil
}

// appendReported appends a usage object, with the upstream's own price if it told one.
func appendReported(dst []byte, u Usage) []byte {
	dst = Chat.appendCounts(dst, u)
	if u.CostUSD != "" {
		dst = append(append(dst, `,"cost":`...), u.CostUSD...)
	}
	return append(dst, '}')
}

// response is a response object, as raw values.
type response struct {
	output, status, reason, tier, failure []byte // status and reason without quotes
}

// readResponse reads a response object; false if raw is not a valid object.
func readResponse(raw []byte) (r response, ok bool) {
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "output":
			r.output = v
		case "status":
			r.status = inner(v)
		case "incomplete_details":
			r.reason = inner(members(v, "reason")[0])
		case "service_tier":
			r.tier = v
		case "error":
			r.failure = v
		}
	}
	return r, c.end()
}

// failed tells a response that holds no answer.
func (r *response) failed() bool {
	return !isNull(r.failure) || string(r.status) == "failed" || string(r.status) == "cancelled"
}

// appendFinish appends the finish_reason member, and native_finish_reason if the mapping loses something.
func (r *response) appendFinish(dst []byte, calls bool) []byte {
	dst = append(dst, `"finish_reason":`...)
	finish, exact := finishOfResponse(r.status, r.reason, calls)
	if len(finish) == 0 {
		return append(dst, "null"...)
	}
	dst = appendEnclosed(dst, '"', finish, '"')
	if !exact {
		dst = append(dst, `,"native_finish_reason":`...)
		dst = appendEnclosed(dst, '"', finish, '"')
	}
	return dst
}

// finishOfResponse maps the status of a response and the reason why it is incomplete, both without quotes; exact is false for
// one that chat completions do not have. Such a reason is passed through, never called a stop.
func finishOfResponse(status, reason []byte, calls bool) (finish []byte, exact bool) {
	switch string(status) {
	case "completed":
		if calls {
			return []byte("tool_calls"), true
		}
		return []byte("stop"), true
	case "incomplete":
		switch string(reason) {
		case "max_output_tokens":
			return []byte("length"), true
		case "content_filter":
			return []byte("content_filter"), true
		case "":
			return status, false
		}
		return reason, false
	}
	return status, false
}

// answerItem is an item of output, as raw values.
type answerItem struct {
	kind                                          []byte // without quotes
	id, callID, name, arguments, content, summary []byte
}

func readItem(raw []byte) (item answerItem) {
	if len(raw) == 0 || raw[0] != '{' {
		return item
	}
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			item.kind = inner(v)
		case "id":
			item.id = v
		case "call_id":
			item.callID = v
		case "name":
			item.name = v
		case "arguments", "input":
			item.arguments = v
		case "content":
			item.content = v
		case "summary":
			item.summary = v
		}
	}
	return item
}

// isCall reports whether the item calls a tool of the caller's.
func (item *answerItem) isCall() bool {
	return string(item.kind) == "function_call" || item.isCustom()
}

func (item *answerItem) isCustom() bool { return string(item.kind) == "custom_tool_call" }

// characters is the length of the texts of a message.
func (item *answerItem) characters() (n int64) {
	if string(item.kind) != "message" {
		return 0
	}
	for raw := range elements(item.content) {
		if p := readAnswerPart(raw); string(p.kind) == "output_text" {
			n += characters(p.text)
		}
	}
	return n
}

// identity is the id by which the call is answered.
func (item *answerItem) identity() []byte {
	if len(inner(item.callID)) > 0 {
		return item.callID
	}
	return item.id
}

// answerPart is a part of the content of a message, or of reasoning, as raw values.
type answerPart struct {
	kind                                 []byte // without quotes
	text, refusal, annotations, logprobs []byte
}

func readAnswerPart(raw []byte) (p answerPart) {
	if len(raw) == 0 || raw[0] != '{' {
		return p
	}
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			p.kind = inner(v)
		case "text":
			p.text = v
		case "refusal":
			p.refusal = v
		case "annotations":
			p.annotations = v
		case "logprobs":
			p.logprobs = v
		}
	}
	return p
}

// responseMessage gathers the items of an answer by kind, as raw JSON.
type responseMessage struct {
	text, refusal, reasoning         []byte // string contents without quotes
	annotations, logprobs, toolCalls []byte // elements
	calls                            int
	characters                       int64 // of text
	hasText                          bool
}

func (m *responseMessage) add(item answerItem) {
	switch {
	case string(item.kind) == "message":
		for raw := range elements(item.content) {
			m.part(readAnswerPart(raw))
		}
	case string(item.kind) == "reasoning":
		for _, list := range [][]byte{item.summary, item.content} {
			for raw := range elements(list) {
				if text := inner(readAnswerPart(raw).text); len(text) > 0 {
					if len(m.reasoning) > 0 {
						m.reasoning = append(m.reasoning, blankLine...)
					}
					m.reasoning = append(m.reasoning, text...)
				}
			}
		}
	case item.isCall():
		call := appendResponseCall(nil, &item, -1)
		call = appendArguments(call, &item)
		m.toolCalls = appendElement(m.toolCalls, append(call, `}}`...))
		m.calls++
	}
}

// blankLine is what stands between two parts of the reasoning, as raw string content.
const blankLine = `\n\n`

func (m *responseMessage) part(p answerPart) {
	switch string(p.kind) {
	case "output_text":
		m.hasText = true
		for raw := range elements(p.annotations) {
			if a := chatAnnotation(raw, m.characters); a != nil {
				m.annotations = appendElement(m.annotations, a)
			}
		}
		for raw := range elements(p.logprobs) {
			m.logprobs = appendElement(m.logprobs, raw)
		}
		m.text = append(m.text, inner(p.text)...)
		m.characters += characters(p.text)
	case "refusal":
		m.refusal = append(m.refusal, inner(p.refusal)...)
	}
}

// characters is the length of a text, given as a raw string, in Unicode characters.
func characters(text []byte) int64 { return int64(utf8.RuneCount(unquoted(text))) }

func (m *responseMessage) append(dst []byte) []byte {
	dst = append(dst, `{"role":"assistant","content":`...)
	if m.hasText || m.calls == 0 && len(m.refusal) == 0 {
		dst = appendEnclosed(dst, '"', m.text, '"')
	} else {
		dst = append(dst, "null"...)
	}
	if len(m.reasoning) > 0 {
		dst = append(dst, `,"reasoning_content":`...)
		dst = appendEnclosed(dst, '"', m.reasoning, '"')
	}
	if m.calls > 0 {
		dst = append(dst, `,"tool_calls":`...)
		dst = appendEnclosed(dst, '[', m.toolCalls, ']')
	}
	if len(m.annotations) > 0 {
		dst = append(dst, `,"annotations":`...)
		dst = appendEnclosed(dst, '[', m.annotations, ']')
	}
	dst = append(dst, `,"refusal":`...)
	if len(m.refusal) > 0 {
		dst = appendEnclosed(dst, '"', m.refusal, '"')
	} else {
		dst = append(dst, "null"...)
	}
	return append(dst, '}')
}

// appendLogprobs appends the logprobs of a choice; list has the elements of its content.
func appendLogprobs(dst, list []byte) []byte {
	if len(list) == 0 {
		return append(dst, "null"...)
	}
	dst = appendEnclosed(append(dst, `{"content":`...), '[', list, ']')
	return append(dst, `,"refusal":null}`...)
}

// appendResponseCall appends a tool call up to where the value of its arguments goes; the index is left out if negative.
func appendResponseCall(dst []byte, item *answerItem, index int) []byte {
	if !item.isCustom() {
		return appendToolCall(dst, contentBlock{id: item.identity(), name: item.name}, index)
	}
	dst = append(dst, '{')
	if index >= 0 {
		dst = append(dst, `"index":`...)
		dst = append(strconv.AppendInt(dst, int64(index), 10), ',')
	}
	dst = appendStringValue(append(dst, `"id":`...), item.identity())
	dst = appendStringValue(append(dst, `,"type":"custom","custom":{"name":`...), item.name)
	return append(dst, `,"input":`...)
}

// appendArguments appends the arguments of a call as a string. A function that has none gets an empty object.
func appendArguments(dst []byte, item *answerItem) []byte {
	if len(inner(item.arguments)) == 0 && !item.isCustom() {
		return append(dst, `"{}"`...)
	}
	return appendStringValue(dst, item.arguments)
}

// chatAnnotation translates a citation of an address in a text that begins shift characters into the whole; nil for every
// other annotation.
func chatAnnotation(raw []byte, shift int64) []byte {
	m := members(raw, "type", "start_index", "end_index")
	if string(inner(m[0])) != "url_citation" {
		return nil
	}
	out := []byte(`{"type":"url_citation","url_citation":{`)
	open := len(out)
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		name := string(key)
		if name == "type" {
			continue
		}
		if name == "start_index" || name == "end_index" {
			if n, err := strconv.ParseInt(string(v), 10, 64); err == nil && shift > 0 {
				v = strconv.AppendInt(nil, n+shift, 10)
			}
		}
		if len(out) > open {
			out = append(out, ',')
		}
		out = append(append(appendQuoted(out, key), ':'), v...)
	}
	return append(out, `}}`...)
}
