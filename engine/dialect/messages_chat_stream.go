package dialect

import (
	"strconv"

	"github.com/pointsman/pointsman/engine/sse"
)

// messagesToChat translates a stream of the Messages API into chat completion chunks, ended by a usage chunk, if the source
// reported usage, and [DONE].
//
// Deltas are forwarded as they come, one chunk each; only a whole signed thinking block waits for its end, and arguments of
// a call that had none become {}. The index of the choice is always 0 and tool calls are counted from 0.
//
// Stop reasons: end_turn is stop, or tool_calls if a tool was called; tool_use is tool_calls; max_tokens and
// model_context_window_exceeded are length; stop_sequence and pause_turn are as end_turn; refusal is content_filter; any
// other is passed through. Where that loses something native_finish_reason tells the original, and stop_reason the stop
// sequence that was met.
type messagesToChat struct {
	opt    AnswerOptions
	head   []byte // of every chunk, up to the delta
	chunk  []byte // payload being built
	open   []openBlock
	calls  int
	counts anthropicCounts
}

// openBlock is a content block that has started and not stopped.
type openBlock struct {
	index     int64
	kind      blockKind
	call      int    // index of the tool call
	input     []byte // a tool's input that came whole with the start
	begun     bool   // part of the arguments has been sent
	thinking  []byte // raw string content
	signature []byte // raw string content
}

type blockKind uint8

const (
	blockOther blockKind = iota
	blockText
	blockThinking
	blockTool
)

func newMessagesToChat(opt AnswerOptions) *messagesToChat {
	head := appendChunkHead(nil, opt.ID, opt.Model, opt.Created)
	opt.Request = nil
	return &messagesToChat{opt: opt, head: append(head, `"choices":[{"index":0,"delta":`...)}
}

func (s *messagesToChat) usage() Usage { return s.counts.usage() }

func (s *messagesToChat) end(dst []byte) []byte { return dst }

func (s *messagesToChat) event(dst, data []byte) ([]byte, bool, error) {
	var ev streamEvent
	if !ev.read(data) {
		return dst, false, ErrMalformed
	}
	if ev.usage != nil {
		s.counts.merge(ev.usage)
	}
	s.chunk = s.chunk[:0]
	switch string(ev.kind) {
	case "message_start":
		s.delta(`{"role":"assistant","content":""}`, "", nil, "")
	case "content_block_start":
		s.start(&ev)
	case "content_block_delta":
		s.forward(&ev)
	case "content_block_stop":
		s.stop(ev.index)
	case "message_delta":
		if len(ev.stop) > 0 {
			s.chunk = append(append(s.chunk, s.head...), `{},`...)
			s.chunk = appendFinish(s.chunk, ev.stop, ev.sequence, s.calls > 0)
			s.chunk = append(s.chunk, `}]}`...)
		}
	case "message_stop":
		if u := s.usage(); u.Reported {
			chunk := append(appendChunkHead(nil, s.opt.ID, s.opt.Model, s.opt.Created), `"choices":[],"usage":`...)
			chunk = append(appendServiceTier(append(Chat.appendCounts(chunk, u), '}'), u), '}')
			dst = sse.AppendEvent(dst, "", chunk)
		}
		return sse.AppendEvent(dst, "", []byte(sse.Done)), true, nil
	case "error":
		s.chunk = appendErrorEvent(s.chunk, data)
	}
	if len(s.chunk) > 0 { // not for a ping, or a kind to come
		dst = sse.AppendEvent(dst, "", s.chunk)
	}
	return dst, false, nil
}

// delta builds a chunk whose delta is before, raw and after together.
func (s *messagesToChat) delta(before, quote string, raw []byte, after string) {
	s.chunk = append(s.chunk[:0], s.head...)
	s.chunk = append(s.chunk, before...)
	s.chunk = append(s.chunk, quote...)
	s.chunk = append(s.chunk, raw...)
	s.chunk = append(s.chunk, quote...)
	s.chunk = append(s.chunk, after...)
	s.chunk = append(s.chunk, `,"finish_reason":null}]}`...)
}

func (s *messagesToChat) start(ev *streamEvent) {
	b := readBlock(ev.block)
	o := openBlock{index: ev.index}
	switch string(b.kind) {
	case "text":
		o.kind = blockText
		if len(inner(b.text)) > 0 {
			s.delta(`{"content":`, `"`, inner(b.text), `}`)
		}
	case "thinking":
		o.kind = blockThinking
		o.thinking = append(o.thinking, inner(b.thinking)...)
		o.signature = append(o.signature, inner(b.signature)...)
		if len(o.thinking) > 0 {
			s.delta(`{"reasoning_content":`, `"`, o.thinking, `}`)
		}
	case "redacted_thinking":
		s.delta(`{"thinking_blocks":[`, "", b.raw, `]}`)
	case "tool_use":
		o.kind, o.call = blockTool, s.calls
		s.calls++
		if !isEmpty(b.input) {
			o.input = append(o.input, b.input...)
		}
		s.chunk = append(append(s.chunk[:0], s.head...), `{"tool_calls":[`...)
		s.chunk = appendToolCall(s.chunk, b, o.call)
		s.chunk = append(s.chunk, `""}}]},"finish_reason":null}]}`...)
	}
	s.open = append(s.open, o)
}

// forward translates a delta, straight into a chunk.
func (s *messagesToChat) forward(ev *streamEvent) {
	o := s.block(ev.index)
	if o == nil || len(ev.part) == 0 {
		return
	}
	switch string(ev.deltaKind) {
	case "text_delta":
		s.delta(`{"content":`, `"`, ev.part, `}`)
	case "thinking_delta":
		if o.kind == blockThinking {
			o.thinking = append(o.thinking, ev.part...)
		}
		s.delta(`{"reasoning_content":`, `"`, ev.part, `}`)
	case "signature_delta":
		o.signature = append(o.signature, ev.part...)
	case "input_json_delta":
		if o.kind == blockTool {
			o.begun = true
			s.arguments(o.call, ev.part)
		}
	}
}

// arguments builds a chunk with a part of the arguments of a call, a raw string content.
func (s *messagesToChat) arguments(call int, part []byte) {
	s.chunk = append(append(s.chunk[:0], s.head...), `{"tool_calls":[{"index":`...)
	s.chunk = strconv.AppendInt(s.chunk, int64(call), 10)
	s.chunk = append(s.chunk, `,"function":{"arguments":"`...)
	s.chunk = append(s.chunk, part...)
	s.chunk = append(s.chunk, `"}}]},"finish_reason":null}]}`...)
}

func (s *messagesToChat) stop(index int64) {
	o := s.block(index)
	if o == nil {
		return
	}
	switch {
	case o.kind == blockTool && !o.begun:
		s.arguments(o.call, inner(appendQuoted(nil, objectOrEmpty(o.input))))
	case o.kind == blockThinking && len(o.signature) > 0:
		s.delta(`{"thinking_blocks":[{"type":"thinking","thinking":`, `"`, o.thinking, `,"signature":"`+string(o.signature)+`"}]}`)
	}
	last := len(s.open) - 1
	*o = s.open[last]
	s.open[last] = openBlock{}
	s.open = s.open[:last]
}

func (s *messagesToChat) block(index int64) *openBlock {
	for i := range s.open {
		if s.open[i].index == index {
			return &s.open[i]
		}
	}
	return nil
}

// streamEvent is one event of the Messages API, as raw values.
type streamEvent struct {
	kind      []byte
	index     int64
	block     []byte // content_block
	deltaKind []byte
	part      []byte // the text of a delta, without quotes
	stop      []byte // stop_reason, without quotes
	sequence  []byte // stop_sequence
	usage     []byte // an object
}

// read reports whether data is a valid event.
func (ev *streamEvent) read(data []byte) bool {
	var key []byte
	c := cursor{b: data}
	for c.object(); c.member(&key); {
		switch string(key) {
		case "type":
			ev.kind = inner(c.value())
		case "index":
			ev.index, _ = strconv.ParseInt(string(c.value()), 10, 64)
		case "content_block":
			ev.block = c.value()
		case "delta":
			ev.readDelta(&c)
		case "usage":
			ev.readUsage(&c)
		case "message":
			if c.kind() != '{' {
				c.value()
				continue
			}
			for c.object(); c.member(&key); {
				if string(key) == "usage" {
					ev.readUsage(&c)
				} else {
					c.value()
				}
			}
		default:
			c.value()
		}
	}
	return c.end() && len(ev.kind) > 0
}

func (ev *streamEvent) readDelta(c *cursor) {
	if c.kind() != '{' {
		c.value()
		return
	}
	var key []byte
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			ev.deltaKind = inner(v)
		case "text", "thinking", "signature", "partial_json":
			ev.part = inner(v)
		case "stop_reason":
			ev.stop = inner(v)
		case "stop_sequence":
			ev.sequence = v
		}
	}
}

func (ev *streamEvent) readUsage(c *cursor) {
	if v := c.value(); len(v) > 0 && v[0] == '{' {
		ev.usage = v
	}
}

// appendErrorEvent appends the error object of a stream in OpenAI's shape.
func appendErrorEvent(dst, data []byte) []byte {
	d, _ := ReadError(data)
	if d.Type == "" {
		d.Type = "api_error"
	}
	return appendOpenAIError(dst, d)
}
