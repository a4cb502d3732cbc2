package dialect

import (
	"strconv"

	"github.com/pointsman/pointsman/engine/sse"
)

// responsesToChat translates a stream of the Responses API into chat completion chunks, ended by a usage chunk, if usage is
// reported, and [DONE].
//
// Deltas are forwarded as they come. What a server sends only whole, in the event that ends a part or an item or in the
// final response, is sent when it comes: never twice, as each level looks only for kinds of which nothing has come since
// the last end of the level. Numbers of items and parts are not relied upon for that, since servers number them
// differently. Arguments of a function that had none become {}. The index of the choice is always 0, and tool calls are
// counted from 0 in the order of their items.
//
// An answer that fails ends with an error object, without usage and [DONE].
type responsesToChat struct {
	opt     AnswerOptions
	head    []byte // of every chunk, up to the delta
	chunk   []byte // payload being built
	out     []byte // events of the answer, while one is translated
	begun   bool   // the role has been sent
	failed  bool   // an error has been sent
	counted Usage

	calls []streamedCall
	part  sentKinds // since the last end of a part of the kind
	item  sentKinds // since the last end of an item
	whole sentKinds // ever

	textAt      partPosition // of the latest delta
	reasoningAt partPosition // likewise
	characters  int64        // of the text so far
	partBegan   int64        // characters before the part of the text that is open
}

// sentKinds says for each kind of content whether some has been sent.
type sentKinds [kinds]bool

// contentKind is a kind of content that comes in deltas.
type contentKind uint8

const (
	kindText contentKind = iota
	kindRefusal
	kindSummary   // of reasoning
	kindReasoning // the reasoning itself
	kindAnnotation
	kinds
)

// partPosition tells one part from another.
type partPosition struct {
	kind         contentKind
	output, part int64
}

// streamedCall is a tool call that has been begun.
type streamedCall struct {
	index  int    // in tool_calls
	output int64  // index of the item
	id     string // raw, "" if it has none
	custom bool
	held   []byte // arguments that came whole with the start, a raw string
	sent   bool   // some of the arguments have been sent
	stage  callStage
}

// callStage is what has been told of a call.
type callStage uint8

const (
	callBegun callStage = iota
	callDone            // its item has ended
	callFinal           // it has been in the final response
)

func newResponsesToChat(opt AnswerOptions) *responsesToChat {
	head := appendChunkHead(nil, opt.ID, opt.Model, opt.Created)
	opt.Request = nil
	return &responsesToChat{opt: opt, head: append(head, `"choices":[{"index":0,"delta":`...)}
}

func (s *responsesToChat) usage() Usage { return s.counted }

func (s *responsesToChat) end(dst []byte) []byte { return dst }

func (s *responsesToChat) event(dst, data []byte) ([]byte, bool, error) {
	if string(data) == sse.Done { // some servers send it, after an answer that is complete or not
		return dst, false, nil
	}
	var ev responseEvent
	if !ev.read(data) {
		return dst, false, ErrMalformed
	}
	if s.failed {
		return dst, false, nil
	}
	s.out = dst
	over := s.translate(&ev, data)
	out := s.out
	s.out = nil
	return out, over, nil
}

// translate sends what an event says; true if it ends the answer. Events that are not known, or say nothing that a chat
// completion could, are left out.
func (s *responsesToChat) translate(ev *responseEvent, data []byte) (over bool) {
	switch string(ev.kind) {
	case "response.created", "response.in_progress":
		s.begin()
	case "response.output_item.added":
		s.added(ev)
	case "response.output_item.done":
		s.itemDone(ev)
	case "response.output_text.delta":
		s.content(kindText, ev, ev.delta)
	case "response.output_text.done":
		s.contentDone(kindText, ev, ev.text)
	case "response.refusal.delta":
		s.content(kindRefusal, ev, ev.delta)
	case "response.refusal.done":
		s.contentDone(kindRefusal, ev, ev.refusal)
	case "response.reasoning_summary_text.delta":
		s.content(kindSummary, ev, ev.delta)
	case "response.reasoning_summary_text.done":
		s.contentDone(kindSummary, ev, ev.text)
	case "response.reasoning_text.delta":
		s.content(kindReasoning, ev, ev.delta)
	case "response.reasoning_text.done":
		s.contentDone(kindReasoning, ev, ev.text)
	case "response.output_text.annotation.added":
		s.annotation(ev.annotation, s.partBegan)
	case "response.function_call_arguments.delta", "response.custom_tool_call_input.delta":
		s.arguments(s.latest(ev.output), ev.delta)
	case "response.function_call_arguments.done", "response.custom_tool_call_input.done":
		if call := s.latest(ev.output); call != nil && !call.sent {
			s.arguments(call, ev.arguments)
		}
	case "response.completed", "response.incomplete":
		return s.finish(ev)
	case "response.failed", "error", "": // without a type it is an error as chat completions have it
		s.fail(data)
	}
	return false
}

// begin sends the role, once.
func (s *responsesToChat) begin() {
	if !s.begun {
		s.begun = true
		s.delta(`{"role":"assistant","content":""}`, nil, "", nil)
	}
}

// delta sends a chunk whose delta is before, raw and after together.
func (s *responsesToChat) delta(before string, raw []byte, after string, logprobs []byte) {
	s.begin()
	s.chunk = append(s.chunk[:0], s.head...)
	s.chunk = append(s.chunk, before...)
	s.chunk = append(s.chunk, raw...)
	s.chunk = append(s.chunk, after...)
	if len(logprobs) > 0 {
		s.chunk = append(s.chunk, `,"logprobs":`...)
		s.chunk = appendLogprobs(s.chunk, logprobs)
	}
	s.chunk = append(s.chunk, `,"finish_reason":null}]}`...)
	s.out = sse.AppendEvent(s.out, "", s.chunk)
}

// content sends a piece of text, a refusal or reasoning, given as a raw string.
func (s *responsesToChat) content(kind contentKind, ev *responseEvent, text []byte) {
	raw := inner(text)
	if len(raw) == 0 {
		return
	}
	at := partPosition{kind, ev.output, ev.part}
	switch kind {
	case kindText:
		if at != s.textAt {
			s.textAt, s.partBegan = at, s.characters
		}
		s.characters += characters(text)
		var logprobs []byte
		if !isEmpty(ev.logprobs) && ev.logprobs[0] == '[' {
			logprobs = ev.logprobs[1 : len(ev.logprobs)-1]
		}
		s.delta(`{"content":"`, raw, `"}`, logprobs)
	case kindRefusal:
		s.delta(`{"refusal":"`, raw, `"}`, nil)
	default:
		before := `{"reasoning_content":"`
		if at != s.reasoningAt && (s.whole[kindSummary] || s.whole[kindReasoning]) {
			before += blankLine
		}
		s.reasoningAt = at
		s.delta(before, raw, `"}`, nil)
	}
	s.sent(kind)
}

func (s *responsesToChat) sent(kind contentKind) {
	s.part[kind], s.item[kind], s.whole[kind] = true, true, true
}

// contentDone ends a part: the text is sent if none of it has come in deltas.
func (s *responsesToChat) contentDone(kind contentKind, ev *responseEvent, text []byte) {
	if !s.part[kind] {
		s.content(kind, ev, text)
	}
	s.part[kind] = false
}

// annotation sends an annotation of a part that begins after so many characters of the text.
func (s *responsesToChat) annotation(raw []byte, began int64) {
	if a := chatAnnotation(raw, began); a != nil {
		s.delta(`{"annotations":[`, a, `]}`, nil)
		s.sent(kindAnnotation)
	}
}

// added begins a tool call.
func (s *responsesToChat) added(ev *responseEvent) {
	if item := readItem(ev.item); item.isCall() {
		s.beginCall(ev.output, &item)
	}
}

// latest is the call at an index that has been begun last; nil if there is none.
func (s *responsesToChat) latest(output int64) *streamedCall {
	for i := len(s.calls) - 1; i >= 0; i-- {
		if s.calls[i].output == output {
			return &s.calls[i]
		}
	}
	return nil
}

// known finds the call that an item tells of at a stage, by its id, or by its index if it has none; nil if it is not known. Of
// several calls with one id, which some servers make, each is found once a stage.
func (s *responsesToChat) known(output int64, item *answerItem, at callStage) *streamedCall {
	id := item.identity()
	for i := range s.calls {
		call := &s.calls[i]
		if call.stage < at && (len(inner(id)) == 0 && call.output == output || len(inner(id)) > 0 && call.id == string(id)) {
			return call
		}
	}
	return nil
}

func (s *responsesToChat) beginCall(output int64, item *answerItem) *streamedCall {
	start := appendResponseCall(nil, item, len(s.calls))
	s.delta(`{"tool_calls":[`, start, `""}}]}`, nil)
	s.calls = append(s.calls, streamedCall{
		index: len(s.calls), output: output, id: string(item.identity()), custom: item.isCustom(),
		held: append([]byte(nil), item.arguments...),
	})
	return &s.calls[len(s.calls)-1]
}

// arguments sends a part of the arguments of a call, a raw string.
func (s *responsesToChat) arguments(call *streamedCall, part []byte) {
	raw := inner(part)
	if call == nil || len(raw) == 0 {
		return
	}
	call.sent, call.held = true, nil
	s.chunk = append(append(s.chunk[:0], s.head...), `{"tool_calls":[{"index":`...)
	s.chunk = strconv.AppendInt(s.chunk, int64(call.index), 10)
	if call.custom {
		s.chunk = append(s.chunk, `,"custom":{"input":"`...)
	} else {
		s.chunk = append(s.chunk, `,"function":{"arguments":"`...)
	}
	s.chunk = append(append(s.chunk, raw...), `"}}]},"finish_reason":null}]}`...)
	s.out = sse.AppendEvent(s.out, "", s.chunk)
}

// itemDone ends an item: of each kind of content of which nothing has come, it is sent now.
func (s *responsesToChat) itemDone(ev *responseEvent) {
	item := readItem(ev.item)
	began := s.characters
	if s.item[kindText] {
		began -= item.characters()
	}
	s.missing(s.item, ev.output, &item, began, callDone)
	var ended []contentKind // another item may be open beside it
	switch string(item.kind) {
	case "message":
		ended = []contentKind{kindText, kindRefusal, kindAnnotation}
	case "reasoning":
		ended = []contentKind{kindSummary, kindReasoning}
	}
	for _, kind := range ended {
		s.part[kind], s.item[kind] = false, false
	}
}

// missing sends the content of an item that is of a kind of which nothing has been sent. The item begins after so many
// characters of the text.
func (s *responsesToChat) missing(sent sentKinds, output int64, item *answerItem, began int64, at callStage) {
	switch {
	case item.isCall():
		call := s.known(output, item, at)
		if call == nil {
			call = s.beginCall(output, item)
		}
		call.stage = at
		s.endCall(call, item.arguments)
	case string(item.kind) == "message":
		part := int64(0)
		for raw := range elements(item.content) {
			p := readAnswerPart(raw)
			of := &responseEvent{output: output, part: part, logprobs: p.logprobs}
			part++
			switch string(p.kind) {
			case "output_text":
				if !sent[kindText] {
					s.content(kindText, of, p.text)
				}
				if !sent[kindAnnotation] {
					for raw := range elements(p.annotations) {
						s.annotation(raw, began)
					}
				}
				began += characters(p.text)
			case "refusal":
				if !sent[kindRefusal] {
					s.content(kindRefusal, of, p.refusal)
				}
			}
		}
	case string(item.kind) == "reasoning":
		s.missingReasoning(sent[kindSummary], kindSummary, output, item.summary)
		s.missingReasoning(sent[kindReasoning], kindReasoning, output, item.content)
	}
}

func (s *responsesToChat) missingReasoning(sent bool, kind contentKind, output int64, list []byte) {
	if sent {
		return
	}
	part := int64(0)
	for raw := range elements(list) {
		s.content(kind, &responseEvent{output: output, part: part}, readAnswerPart(raw).text)
		part++
	}
}

// endCall sends the arguments of a call if none have been sent.
func (s *responsesToChat) endCall(call *streamedCall, whole []byte) {
	if call.sent {
		return
	}
	if len(inner(whole)) == 0 {
		whole = call.held
	}
	if len(inner(whole)) == 0 && !call.custom {
		whole = []byte(`"{}"`)
	}
	s.arguments(call, whole)
}

// finish ends the answer.
func (s *responsesToChat) finish(ev *responseEvent) bool {
	r, _ := readResponse(ev.response)
	if r.failed() {
		s.fail(ev.response)
		return false
	}
	if len(r.status) == 0 {
		r.status = ev.kind[len("response."):]
	}
	s.begin()
	sent := s.whole // of several items of a kind all are missing
	output, began := int64(0), int64(0)
	for raw := range elements(r.output) {
		item := readItem(raw)
		s.missing(sent, output, &item, began, callFinal)
		began += item.characters()
		output++
	}
	for i := range s.calls {
		s.endCall(&s.calls[i], nil)
	}
	s.chunk = append(append(s.chunk[:0], s.head...), `{},`...)
	s.chunk = r.appendFinish(s.chunk, len(s.calls) > 0)
	s.chunk = append(s.chunk, `}]}`...)
	s.out = sse.AppendEvent(s.out, "", s.chunk)
	if u, reported := OpenAIUsage(ev.response); reported {
		s.counted = u.after(s.counted)
		s.chunk = append(appendChunkHead(s.chunk[:0], s.opt.ID, s.opt.Model, s.opt.Created), `"choices":[],"usage":`...)
		s.chunk = appendReported(s.chunk, u)
		if isString(r.tier) {
			s.chunk = appendMember(s.chunk, "service_tier", r.tier)
		}
		s.out = sse.AppendEvent(s.out, "", append(s.chunk, '}'))
	}
	s.out = sse.AppendEvent(s.out, "", []byte(sse.Done))
	return true
}

// fail sends the error of an event, or of a response. What was used until then counts.
func (s *responsesToChat) fail(data []byte) {
	s.failed = true
	for _, of := range [][]byte{data, topMember(data, "response")} {
		s.counted.take(OpenAIUsage(of))
	}
	d, _ := ReadError(data)
	if d.Type == "" || d.Type == "error" { // the type of the event, not of the error
		d.Type = "api_error"
	}
	if d.Message == "" {
		d.Message = "the response has failed"
	}
	s.out = sse.AppendEvent(s.out, "", appendOpenAIError(nil, d))
}

// responseEvent is one event of the Responses API, as raw values.
type responseEvent struct {
	kind         []byte // without quotes; empty for an error object alone, which some servers send here too
	output, part int64  // output_index, and content_index or summary_index

	delta, text, refusal, arguments []byte // strings
	logprobs, annotation            []byte
	item, response                  []byte // objects
}

// read reports whether data is a valid event.
func (ev *responseEvent) read(data []byte) bool {
	var key, failure []byte
	c := cursor{b: data}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			ev.kind = inner(v)
		case "error":
			failure = v
		case "output_index":
			ev.output, _ = strconv.ParseInt(string(v), 10, 64)
		case "content_index", "summary_index":
			ev.part, _ = strconv.ParseInt(string(v), 10, 64)
		case "delta":
			ev.delta = v
		case "text":
			ev.text = v
		case "refusal":
			ev.refusal = v
		case "arguments", "input":
			ev.arguments = v
		case "logprobs":
			ev.logprobs = v
		case "annotation":
			ev.annotation = v
		case "item":
			ev.item = v
		case "response":
			ev.response = v
		}
	}
	return c.end() && (len(ev.kind) > 0 || !isNull(failure))
}
