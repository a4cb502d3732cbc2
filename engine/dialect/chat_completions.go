package dialect

import (
	"bytes"
	"strconv"

	"github.com/pointsman/pointsman/engine/sse"
)

// AnswerChatToCompletions appends a legacy completion made of body, a buffered chat completion, under the id, model name and time
// of opt, and returns the usage that it reports. The content of each choice, or its refusal, becomes its text; reasoning has no
// counterpart and is left out. usage and finish_reason are copied.
func AnswerChatToCompletions(dst, body []byte, opt AnswerOptions) ([]byte, Usage, error) {
	var choices, usage, key []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "choices":
			choices = v
		case "usage":
			usage = v
		}
	}
	if !c.end() || isEmpty(choices) || choices[0] != '[' {
		return dst, Usage{}, ErrMalformed
	}
	var list []byte
	i := 0
	for choice := range elements(choices) {
		list = appendElement(list, completionChoice(choice, "message", strconv.Itoa(i)))
		i++
	}
	dst = appendCompletionHead(dst, opt)
	dst = appendEnclosed(append(dst, `"choices":`...), '[', list, ']')
	u, _ := OpenAIUsage(body)
	if !isNull(usage) {
		dst = append(append(dst, `,"usage":`...), usage...)
	}
	return append(dst, '}'), u, nil
}

// appendCompletionHead appends the members that completions and their chunks begin with, the last comma included.
func appendCompletionHead(dst []byte, opt AnswerOptions) []byte {
	return appendHead(dst, completionObject, opt.ID, opt.Model, opt.Created)
}

// completionChoice is a choice whose text is in the named member; index is its number if it does not tell.
func completionChoice(choice []byte, member, index string) []byte {
	m := members(choice, "index", member, "finish_reason")
	if len(m[0]) > 0 {
		index = string(m[0])
	}
	said := readMessageOut(m[1])
	out := append([]byte(`{"text":"`), texts(said.content)...)
	out = append(append(out, said.refusal...), `","index":`...)
	out = append(append(out, index...), `,"logprobs":null,"finish_reason":`...)
	if len(m[2]) == 0 {
		m[2] = []byte("null")
	}
	return append(append(out, m[2]...), '}')
}

// chatToCompletions translates a stream of chat completion chunks into one of legacy completions. A chunk that says nothing is
// left out; the usage chunk, errors and [DONE] pass.
type chatToCompletions struct {
	opt      AnswerOptions
	chunk    []byte
	reported Usage
}

func newChatToCompletions(opt AnswerOptions) *chatToCompletions {
	opt.Request = nil
	return &chatToCompletions{opt: opt}
}

func (s *chatToCompletions) usage() Usage { return s.reported }

func (s *chatToCompletions) end(dst []byte) []byte { return dst }

func (s *chatToCompletions) event(dst, data []byte) ([]byte, bool, error) {
	if string(data) == sse.Done {
		return sse.AppendEvent(dst, "", data), true, nil
	}
	info := ChunkInfo(data)
	switch {
	case info.Malformed:
		return dst, false, ErrMalformed
	case info.Error:
		return sse.AppendEvent(dst, "", data), false, nil
	}
	var choices, usage, key []byte
	c := cursor{b: data}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "choices":
			choices = v
		case "usage":
			usage = v
		}
	}
	s.reported.take(OpenAIUsage(data))
	var list []byte
	for choice := range elements(choices) {
		out := completionChoice(choice, "delta", "0")
		if !bytes.HasPrefix(out, []byte(`{"text":"",`)) || !bytes.HasSuffix(out, []byte(`:null}`)) {
			list = appendElement(list, out)
		}
	}
	if len(list) == 0 && isNull(usage) {
		return dst, false, nil
	}
	s.chunk = appendCompletionHead(s.chunk[:0], s.opt)
	s.chunk = appendEnclosed(append(s.chunk, `"choices":`...), '[', list, ']')
	if !isNull(usage) {
		s.chunk = append(append(s.chunk, `,"usage":`...), usage...)
	}
	return sse.AppendEvent(dst, "", append(s.chunk, '}')), false, nil
}
