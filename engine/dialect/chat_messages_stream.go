package dialect

import (
	"bytes"
	"strconv"

	"github.com/pointsman/pointsman/engine/sse"
)

// chatToMessages translates a stream of chat completion chunks into one of the Messages API.
//
// The API has one block open at a time, and its clients count on that. Deltas of the block that is open are forwarded as they
// come; what belongs to another waits until the open one is over: a text or thinking when anything else comes, a call when its
// arguments are a whole object, and everything when the answer ends. Signed thinking ends the block whose text it repeats, or
// becomes a block of its own.
//
// The input that message_start tells is the estimate of [AnswerOptions], unless the source has counted by then. message_delta
// waits for the end of the source, as the usage may come in a chunk of its own; it has no usage if the source reported none.
// Arguments that do not begin like an object wait for their end, and become what [AnswerChatToMessages] makes of them; those that
// turn out wrong later have been forwarded, as the API itself does when it streams arguments unchecked.
type chatToMessages struct {
	opt      AnswerOptions
	wanted   [][]byte // stop sequences
	started  bool
	failed   bool // with an error event: nothing that looks like an end may follow
	content  bool // something was said
	choice   chatChoice
	tier     []byte
	reported Usage

	queue []*streamBlock // the first is the open one
	calls []*streamBlock
	index int // of the open block
	data  []byte
}

// streamBlock is a content block in the making.
type streamBlock struct {
	kind   blockKind
	opened bool
	closed bool   // nothing more belongs to it
	raw    []byte // string content that has not been sent
	whole  []byte // a block that comes at once

	said      []byte // of thinking: its text so far, a raw string content
	signature []byte // of thinking, raw string content

	number   int   // of a call, by which ids are made
	upstream int64 // its index in the source
	id, name []byte
	args     objectScan
}

func newChatToMessages(opt AnswerOptions) *chatToMessages {
	s := &chatToMessages{opt: opt, wanted: wantedStops(opt.Request)}
	s.opt.Request = nil
	return s
}

func (s *chatToMessages) usage() Usage { return s.reported }

// end ends an answer whose source stopped without [DONE] after it had said why the answer ends.
func (s *chatToMessages) end(dst []byte) []byte {
	if s.failed || !s.started || len(s.choice.finish) == 0 {
		return dst
	}
	return s.finish(dst)
}

func (s *chatToMessages) event(dst, data []byte) ([]byte, bool, error) {
	switch {
	case string(data) == sse.Done:
		if !s.failed && (s.content || len(s.choice.finish) > 0) {
			dst = s.finish(dst)
		} // else there is no answer, and what reads the stream takes it for broken off
		return dst, true, nil
	case s.failed:
		return dst, false, nil
	}
	var choices, tier, key []byte
	usage, failed := false, false
	c := cursor{b: data}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "choices":
			choices = v
		case "usage":
			usage = !isNull(v)
		case "error":
			failed = !isNull(v)
		case "service_tier":
			tier = v
		}
	}
	if !c.end() {
		return dst, false, ErrMalformed
	}
	if failed {
		s.failed = true
		return appendMessagesError(dst, data), false, nil
	}
	if usage {
		s.reported.take(OpenAIUsage(data))
	}
	if len(tier) > 0 {
		s.tier = append(s.tier[:0], tier...)
	}
	if !s.started {
		s.started = true
		dst = s.start(dst)
	}
	for choice := range elements(choices) {
		m := members(choice, "index", "delta", "finish_reason")
		if i := string(m[0]); i != "0" && i != "" {
			continue
		}
		s.delta(m[1])
		if len(inner(m[2])) > 0 {
			next := readChoice(choice)
			s.choice = chatChoice{bytes.Clone(next.finish), bytes.Clone(next.native), bytes.Clone(next.met)}
		}
	}
	return s.pump(dst, false), false, nil
}

func (s *chatToMessages) start(dst []byte) []byte {
	u := s.reported
	if !u.Reported {
		u.Input = s.opt.InputTokens
	}
	u.Output, u.Reasoning, u.AudioOutput, u.ImageOutput = 0, 0, 0, 0
	s.data = append(s.data[:0], `{"type":"message_start","message":{"id":`...)
	s.data = appendQuoted(s.data, s.opt.ID)
	s.data = append(s.data, `,"type":"message","role":"assistant","model":`...)
	s.data = appendQuoted(s.data, s.opt.Model)
	s.data = append(s.data, `,"content":[],"stop_reason":null,"stop_sequence":null,"usage":`...)
	s.data = append(Messages.appendCounts(s.data, u), `}}}`...)
	return sse.AppendEvent(dst, "message_start", s.data)
}

// finish writes what is left of the answer, and ends it.
func (s *chatToMessages) finish(dst []byte) []byte {
	dst = s.pump(dst, true)
	reason, sequence := s.choice.stop(len(s.calls) > 0, s.wanted)
	s.data = append(s.data[:0], `{"type":"message_delta","delta":{`...)
	s.data = append(appendStop(s.data, reason, sequence), '}')
	if s.reported.Reported {
		s.data = appendMessagesUsage(append(s.data, `,"usage":`...), s.reported, s.tier)
	}
	dst = sse.AppendEvent(dst, "message_delta", append(s.data, '}'))
	return sse.AppendEvent(dst, "message_stop", []byte(`{"type":"message_stop"}`))
}

// delta takes in what a chunk adds.
func (s *chatToMessages) delta(raw []byte) {
	m := readMessageOut(raw)
	thinking := m.reasoning
	if len(thinking) == 0 {
		thinking = thoughts(m.content)
	}
	s.add(blockThinking, thinking)
	for raw := range elements(m.thinking) {
		s.signed(raw, len(thinking) > 0)
	}
	s.add(blockText, texts(m.content))
	s.add(blockText, m.refusal)
	for raw := range elements(m.calls) {
		call := members(raw, "index", "id", "function")
		s.call(call[0], call[1], call[2])
	}
	if len(m.call) > 0 && m.call[0] == '{' {
		s.call([]byte("0"), nil, m.call)
	}
}

// last is the last block, if it is of the kind and not over; else a new one.
func (s *chatToMessages) last(kind blockKind) *streamBlock {
	if n := len(s.queue); n > 0 && s.queue[n-1].kind == kind && !s.queue[n-1].closed {
		return s.queue[n-1]
	}
	return s.push(&streamBlock{kind: kind})
}

func (s *chatToMessages) push(b *streamBlock) *streamBlock {
	s.content = true
	s.queue = append(s.queue, b)
	return b
}

// add adds to a text or thinking; raw is a string content.
func (s *chatToMessages) add(kind blockKind, raw []byte) {
	if len(raw) == 0 {
		return
	}
	b := s.last(kind)
	b.raw = append(b.raw, raw...)
	if kind == blockThinking {
		b.said = append(b.said, raw...)
	}
}

// signed takes in an element of thinking_blocks. Some senders repeat in it what reasoning_content told beside it, a delta without
// a signature.
func (s *chatToMessages) signed(raw []byte, told bool) {
	b := readBlock(raw)
	text := inner(b.thinking)
	switch {
	case string(b.kind) == "redacted_thinking":
		s.push(&streamBlock{kind: blockOther, closed: true, whole: bytes.Clone(raw)})
		return
	case string(b.kind) != "thinking":
		return
	case len(inner(b.signature)) == 0:
		if !told {
			s.add(blockThinking, text)
		}
		return
	}
	var open *streamBlock
	if n := len(s.queue); n > 0 && s.queue[n-1].kind == blockThinking && !s.queue[n-1].closed {
		open = s.queue[n-1]
	}
	if open == nil || len(text) > 0 && !bytes.Equal(open.said, text) && !bytes.Equal(unescaped(open.said), unescaped(text)) {
		open = s.push(&streamBlock{kind: blockThinking, raw: bytes.Clone(text)})
	}
	open.signature = bytes.Clone(inner(b.signature))
	open.closed = true
}

// call takes in a delta of a tool call. Some senders leave the index out, or give all calls the same: a name with a new id, or
// with arguments after those were whole, begins another call.
func (s *chatToMessages) call(index, id, function []byte) {
	f := members(function, "name", "arguments")
	var b *streamBlock
	at, err := strconv.ParseInt(string(index), 10, 64)
	for _, call := range s.calls {
		if err == nil && call.upstream == at || err != nil && (len(inner(id)) == 0 || bytes.Equal(call.id, id)) {
			b = call
		}
	}
	another := b == nil
	if b != nil && len(inner(f[0])) > 0 && (len(inner(id)) == 0 || !bytes.Equal(b.id, id)) {
		another = len(inner(id)) > 0 && len(inner(b.id)) > 0 || b.args.whole && len(inner(f[1])) > 0
	}
	if another {
		b = s.push(&streamBlock{kind: blockTool, number: len(s.calls), upstream: at})
		s.calls = append(s.calls, b)
	}
	if len(inner(b.id)) == 0 && !b.opened {
		b.id = bytes.Clone(id)
	}
	if len(inner(b.name)) == 0 && !b.opened {
		b.name = bytes.Clone(f[0])
	}
	if raw := b.args.add(f[1]); len(raw) > 0 {
		b.raw = append(b.raw, raw...)
	}
}

// pump writes what can be written of the blocks, in their order; all of it once the answer is complete.
func (s *chatToMessages) pump(dst []byte, complete bool) []byte {
	for len(s.queue) > 0 {
		b := s.queue[0]
		another := len(s.queue) > 1
		over := b.closed || another && (b.kind != blockTool || b.args.whole)
		dst = s.write(dst, b, complete || over)
		if !complete && !over {
			break
		}
		if b.opened {
			dst = s.stop(dst, b)
		}
		s.queue = s.queue[1:]
	}
	return dst
}

// write opens the block if it can be, and sends what there is of it.
func (s *chatToMessages) write(dst []byte, b *streamBlock, over bool) []byte {
	if !b.opened {
		switch {
		case b.kind == blockText && isBlank(b.raw):
			return dst
		case b.kind == blockTool && !over && (len(inner(b.name)) == 0 || len(inner(b.id)) == 0 && len(b.raw) == 0):
			return dst
		}
		b.opened = true
		dst = s.open(dst, b)
	}
	delta, member := "text_delta", "text"
	switch b.kind {
	case blockThinking:
		delta, member = "thinking_delta", "thinking"
	case blockTool:
		delta, member = "input_json_delta", "partial_json"
		switch {
		case b.args.object:
		case !over:
			return dst
		default:
			b.raw = nil
			if object := argumentsObject(b.args.odd); string(object) != "{}" {
				b.raw = inner(appendQuoted(nil, object))
			}
		}
	}
	if len(b.raw) > 0 {
		dst = s.send(dst, delta, member, b.raw)
		b.raw = b.raw[:0]
	}
	return dst
}

func (s *chatToMessages) open(dst []byte, b *streamBlock) []byte {
	s.data = append(s.data[:0], `{"type":"content_block_start","index":`...)
	s.data = strconv.AppendInt(s.data, int64(s.index), 10)
	s.data = append(s.data, `,"content_block":`...)
	switch b.kind {
	case blockText:
		s.data = append(s.data, `{"type":"text","text":""}`...)
	case blockThinking:
		s.data = appendThinking(s.data, nil)
	case blockTool:
		s.data = appendToolUse(s.data, callID(b.id, s.opt.ID, b.number), b.name)
		s.data = append(s.data, `{}}`...)
	case blockOther:
		s.data = append(s.data, b.whole...)
	}
	return sse.AppendEvent(dst, "content_block_start", append(s.data, '}'))
}

// send writes a delta of the open block; raw is a string content.
func (s *chatToMessages) send(dst []byte, delta, member string, raw []byte) []byte {
	s.data = append(s.data[:0], `{"type":"content_block_delta","index":`...)
	s.data = strconv.AppendInt(s.data, int64(s.index), 10)
	s.data = append(append(append(s.data, `,"delta":{"type":"`...), delta...), `","`...)
	s.data = append(append(append(s.data, member...), `":"`...), raw...)
	return sse.AppendEvent(dst, "content_block_delta", append(s.data, `"}}`...))
}

func (s *chatToMessages) stop(dst []byte, b *streamBlock) []byte {
	if len(b.signature) > 0 {
		dst = s.send(dst, "signature_delta", "signature", b.signature)
	}
	s.data = append(s.data[:0], `{"type":"content_block_stop","index":`...)
	s.data = strconv.AppendInt(s.data, int64(s.index), 10)
	s.index++
	return sse.AppendEvent(dst, "content_block_stop", append(s.data, '}'))
}

// objectScan follows arguments that come in parts, to find out whether they are an object and when it is whole.
type objectScan struct {
	object  bool   // they begin like one
	whole   bool   // it has been closed
	depth   int    // of braces and brackets
	quoted  bool   // inside a string
	escaped bool   // after a backslash inside a string
	odd     []byte // decoded arguments that do not begin like an object
}

// add takes in a part, a string or nothing, and returns the raw string content that is to be sent of it.
func (a *objectScan) add(part []byte) (raw []byte) {
	raw = inner(part)
	text := unquoted(part)
	if !a.object {
		blank := 0
		if len(a.odd) == 0 {
			blank = len(text) - len(bytes.TrimLeft(text, spaces))
		}
		if text = text[blank:]; len(text) == 0 || len(a.odd) > 0 || text[0] != '{' {
			a.odd = append(a.odd, text...)
			return nil
		}
		a.object = true
		if blank > 0 {
			raw = inner(appendQuoted(nil, text))
		}
	}
	for _, ch := range text {
		switch {
		case a.escaped:
			a.escaped = false
		case a.quoted:
			a.escaped, a.quoted = ch == '\\', ch != '"'
		case ch == '"':
			a.quoted = true
		case ch == '{', ch == '[':
			a.depth++
		case ch == '}', ch == ']':
			a.depth--
			a.whole = a.whole || a.depth == 0
		}
	}
	return raw
}

// appendMessagesError appends an error event made of an error object in OpenAI's shape, framed. The type follows from a status
// that is told as the code, or from what the type or code is commonly called.
func appendMessagesError(dst, data []byte) []byte {
	d, _ := ReadError(data)
	status, err := strconv.Atoi(d.Code)
	if err != nil || status < 400 || status > 599 {
		status = statusOf(d)
	}
	return Messages.AppendErrorEvent(dst, status, d, 0)
}

func statusOf(d ErrorDetail) int {
	for _, name := range []string{d.Code, d.Type} {
		switch name {
		case "invalid_request_error", "context_length_exceeded":
			return 400
		case "authentication_error", "invalid_api_key":
			return 401
		case "insufficient_quota", "billing_error":
			return 402
		case "permission_error":
			return 403
		case "not_found_error", "model_not_found":
			return 404
		case "rate_limit_error", "rate_limit_exceeded":
			return 429
		case "timeout_error":
			return 504
		case "overloaded_error":
			return 529
		}
	}
	return 500
}
