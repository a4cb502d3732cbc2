package dialect

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/pointsman/pointsman/engine/sse"
)

// chatToResponses translates a stream of chat completion chunks into events of the Responses API.
//
// Deltas are forwarded as they come, one event each. Reasoning and messages are items one after the other; calls of tools
// stay open to the end, as parts of several may alternate. Only a call whose name has not come yet waits for it. Everything
// that ends comes with [DONE], or the end of a source that had told its finish_reason, as usage may come after that.
//
// Finish reasons: stop, tool_calls and function_call are completed, and so is an answer that [DONE] ends without a reason;
// length is incomplete for max_output_tokens; content_filter, and any that we do not know, is incomplete for that reason;
// error is failed.
type chatToResponses struct {
	frame    *responseFrame
	answer   responseAnswer
	calls    []*openCall
	reported Usage
	sequence int
	finished bool   // a finish_reason came
	failed   bool   // an error came: there is no end
	data     []byte // of the event that is built
}

// openCall is a call of a tool that may grow.
type openCall struct {
	index   int64         // that the source gave it, -1 if it gave none
	id      []byte        // a raw string, empty if it has not come
	item    *responseItem // nil until the name has come
	waiting []byte        // arguments that came before the name, raw string content
}

func newChatToResponses(opt AnswerOptions) *chatToResponses {
	return &chatToResponses{frame: newResponseFrame(opt), answer: responseAnswer{id: opt.ID}}
}

func (s *chatToResponses) usage() Usage { return s.reported }

func (s *chatToResponses) end(dst []byte) []byte {
	if !s.finished || s.failed {
		return dst
	}
	return s.close(dst)
}

func (s *chatToResponses) event(dst, data []byte) ([]byte, bool, error) {
	if string(data) == done {
		if s.failed || !s.finished && len(s.answer.items) == 0 {
			return dst, true, nil
		}
		return s.close(dst), true, nil
	}
	var chunk chatChunk
	if !chunk.read(data) {
		return dst, false, ErrMalformed
	}
	s.reported.take(OpenAIUsage(data))
	if !isNull(chunk.failure) {
		s.failed = true
		detail, _ := ReadError(data)
		dst = Responses.AppendErrorEvent(dst, 0, detail, s.sequence)
		s.sequence++
		return dst, false, nil
	}
	if s.sequence == 0 {
		for _, kind := range []string{"response.created", "response.in_progress"} {
			s.begin(kind)
			s.data = s.frame.append(append(s.data, `,"response":`...), &s.answer, "in_progress", Usage{})
			dst = s.send(dst, kind)
		}
	}
	if isString(chunk.tier) {
		s.answer.tier = append(s.answer.tier[:0], chunk.tier...)
	}
	said := readChatDelta(chunk.delta)
	if len(said.reasoning) > 0 {
		dst = s.reason(dst, said.reasoning)
	}
	if len(said.text) > 0 {
		dst = s.say(dst, false, said.text, inside(chunk.logprobs))
	}
	if len(said.refusal) > 0 {
		dst = s.say(dst, true, said.refusal, nil)
	}
	if !isEmpty(said.annotations) {
		dst = s.cite(dst, said.annotations)
	}
	for raw := range elements(said.calls) {
		dst = s.call(dst, readChatCall(raw))
	}
	if len(chunk.finish) > 0 {
		s.finished = true
		s.answer.finish = finishOf(chunk.finish)
	}
	return dst, false, nil
}

// chatChunk is one chunk with its first choice, as raw values.
type chatChunk struct {
	failure, tier, delta, logprobs []byte
	finish                         []byte // without quotes
}

// read reports whether data is a valid chunk.
func (k *chatChunk) read(data []byte) bool {
	var key []byte
	c := cursor{b: data}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "error":
			k.failure = v
		case "service_tier":
			k.tier = v
		case "choices":
			for choice := range elements(v) {
				m := members(choice, "index", "delta", "finish_reason", "logprobs")
				if len(m[0]) > 0 && string(m[0]) != "0" {
					continue
				}
				k.delta, k.finish, k.logprobs = m[1], inner(m[2]), members(m[3], "content")[0]
				break
			}
		}
	}
	return c.end()
}

// begin begins the data of an event.
func (s *chatToResponses) begin(kind string) {
	s.data = append(append(append(s.data[:0], `{"type":"`...), kind...), `","sequence_number":`...)
	s.data = strconv.AppendInt(s.data, int64(s.sequence), 10)
	s.sequence++
}

// about begins the data of an event about an item that has begun.
func (s *chatToResponses) about(kind string, item *responseItem) {
	s.begin(kind)
	s.data = appendMember(s.data, "item_id", item.id)
	s.number("output_index", item.number)
}

func (s *chatToResponses) number(name string, n int) {
	s.data = strconv.AppendInt(appendMember(s.data, name, nil), int64(n), 10)
}

// text adds a member that is a string, of raw content.
func (s *chatToResponses) text(name string, raw []byte) {
	s.data = appendEnclosed(appendMember(s.data, name, nil), '"', raw, '"')
}

// send appends the event.
func (s *chatToResponses) send(dst []byte, kind string) []byte {
	s.data = append(s.data, '}')
	return sse.AppendEvent(dst, kind, s.data)
}

// item tells of an item that begins or has ended.
func (s *chatToResponses) item(dst []byte, item *responseItem) []byte {
	kind := "response.output_item.added"
	if item.status != "" {
		kind = "response.output_item.done"
	}
	s.begin(kind)
	s.number("output_index", item.number)
	s.data = item.append(append(s.data, `,"item":`...))
	return s.send(dst, kind)
}

// growing is the reasoning or message that is not ended, nil if there is none.
func (s *chatToResponses) growing() *responseItem {
	for _, item := range slices.Backward(s.answer.items) {
		if item.status == "" && (item.kind == itemReasoning || item.kind == itemMessage) {
			return item
		}
	}
	return nil
}

// open returns the reasoning or message that is not ended, if it is of the kind; any other is ended, and one begun.
func (s *chatToResponses) open(dst []byte, kind itemKind) ([]byte, *responseItem) {
	item := s.growing()
	if item != nil && item.kind == kind {
		return dst, item
	}
	if item != nil {
		dst = s.done(dst, item, false)
	}
	item = s.answer.add(kind)
	return s.item(dst, item), item
}

// reason forwards reasoning.
func (s *chatToResponses) reason(dst, raw []byte) []byte {
	dst, item := s.open(dst, itemReasoning)
	if len(item.text) == 0 {
		dst = s.summary(dst, item, "response.reasoning_summary_part.added")
	}
	item.text = append(item.text, raw...)
	s.about("response.reasoning_summary_text.delta", item)
	s.number("summary_index", 0)
	s.text("delta", raw)
	return s.send(dst, "response.reasoning_summary_text.delta")
}

// summary tells of the only part of a reasoning item.
func (s *chatToResponses) summary(dst []byte, item *responseItem, kind string) []byte {
	s.about(kind, item)
	s.number("summary_index", 0)
	s.data = append(s.data, `,"part":{"type":"summary_text"`...)
	s.text("text", item.text)
	s.data = append(s.data, '}')
	return s.send(dst, kind)
}

// say forwards a part of a text or of a refusal.
func (s *chatToResponses) say(dst []byte, refusal bool, raw, logprobs []byte) []byte {
	dst, item, part := s.speak(dst, refusal)
	part.text = append(part.text, raw...)
	kind := "response.output_text.delta"
	if refusal {
		kind = "response.refusal.delta"
	}
	s.about(kind, item)
	s.number("content_index", len(item.parts)-1)
	s.text("delta", raw)
	if !refusal {
		if len(logprobs) > 0 {
			part.logprobs = appendElement(part.logprobs, logprobs)
		}
		s.data = appendEnclosed(appendMember(s.data, "logprobs", nil), '[', logprobs, ']')
	}
	return s.send(dst, kind)
}

// speak returns the part of the message that is not ended, if it is of the kind; any other is ended, and one begun.
func (s *chatToResponses) speak(dst []byte, refusal bool) ([]byte, *responseItem, *responsePart) {
	dst, item := s.open(dst, itemMessage)
	if n := len(item.parts); n > 0 {
		if last := item.parts[n-1]; last.refusal == refusal {
			return dst, item, last
		}
		dst = s.partDone(dst, item)
	}
	part := item.part(refusal)
	return s.part(dst, item, "response.content_part.added"), item, part
}

// part tells of the last part of a message.
func (s *chatToResponses) part(dst []byte, item *responseItem, kind string) []byte {
	n := len(item.parts) - 1
	s.about(kind, item)
	s.number("content_index", n)
	s.data = item.parts[n].append(append(s.data, `,"part":`...))
	return s.send(dst, kind)
}

// cite forwards citations of the text that is not ended.
func (s *chatToResponses) cite(dst, raw []byte) []byte {
	item := s.growing()
	if item == nil || len(item.parts) == 0 || item.parts[len(item.parts)-1].refusal {
		return dst
	}
	part := item.parts[len(item.parts)-1]
	before := 0
	for range elements(appendEnclosed(nil, '[', part.annotations, ']')) {
		before++
	}
	var added [][]byte
	part.annotations, added = appendAnnotations(part.annotations, raw)
	for i, one := range added {
		s.about("response.output_text.annotation.added", item)
		s.number("content_index", len(item.parts)-1)
		s.number("annotation_index", before+i)
		s.data = appendMember(s.data, "annotation", one)
		dst = s.send(dst, "response.output_text.annotation.added")
	}
	return dst
}

// call forwards a part of a call.
func (s *chatToResponses) call(dst []byte, part chatCall) []byte {
	call := s.find(&part)
	if call == nil {
		call = &openCall{index: part.index}
		s.calls = append(s.calls, call)
	}
	if len(call.id) == 0 {
		call.id = bytes.Clone(part.id)
	}
	if call.item == nil {
		call.waiting = append(call.waiting, part.argument...)
		if len(inner(part.name)) == 0 {
			return dst
		}
		if item := s.growing(); item != nil {
			dst = s.done(dst, item, false)
		}
		part.id, part.argument = call.id, call.waiting
		call.item = s.answer.call(&part)
		dst = s.item(dst, call.item)
	}
	if len(part.argument) == 0 {
		return dst
	}
	call.item.text = append(call.item.text, part.argument...)
	return s.argument(dst, call.item, part.argument)
}

// find returns the call that a part belongs to, nil for the first part of another. Some providers give no index, and some
// the same one to every call: there a name with arguments after those were whole begins another.
func (s *chatToResponses) find(part *chatCall) *openCall {
	for _, call := range slices.Backward(s.calls) {
		switch {
		case len(inner(part.id)) > 0 && len(inner(call.id)) > 0 && !bytes.Equal(part.id, call.id):
		case part.index < 0 && len(inner(part.id)) == 0 && len(inner(part.name)) > 0 && call.item != nil:
		case len(inner(part.id)) == 0 && len(inner(part.name)) > 0 && len(part.argument) > 0 && call.item != nil && isWhole(call.item.text):
		case part.index == call.index || part.index < 0:
			return call
		}
	}
	return nil
}

// isWhole tells arguments that are an object and have come to its end; raw is a string content.
func isWhole(raw []byte) bool {
	var scan objectScan
	scan.add(appendEnclosed(nil, '"', raw, '"'))
	return scan.whole
}

// argument tells of more that a tool is called with.
func (s *chatToResponses) argument(dst []byte, item *responseItem, raw []byte) []byte {
	kind := "response.function_call_arguments.delta"
	if item.kind == itemCustom {
		kind = "response.custom_tool_call_input.delta"
	}
	s.about(kind, item)
	s.text("delta", raw)
	return s.send(dst, kind)
}

// partDone ends the last part of a message.
func (s *chatToResponses) partDone(dst []byte, item *responseItem) []byte {
	n := len(item.parts) - 1
	part := item.parts[n]
	kind, member := "response.output_text.done", "text"
	if part.refusal {
		kind, member = "response.refusal.done", "refusal"
	}
	s.about(kind, item)
	s.number("content_index", n)
	s.text(member, part.text)
	if !part.refusal {
		s.data = appendEnclosed(appendMember(s.data, "logprobs", nil), '[', part.logprobs, ']')
	}
	dst = s.send(dst, kind)
	return s.part(dst, item, "response.content_part.done")
}

// done ends an item.
func (s *chatToResponses) done(dst []byte, item *responseItem, last bool) []byte {
	if added := item.settle(s.answer.finish, last); added != "" {
		dst = s.argument(dst, item, []byte(added))
	}
	switch item.kind {
	case itemReasoning:
		s.about("response.reasoning_summary_text.done", item)
		s.number("summary_index", 0)
		s.text("text", item.text)
		dst = s.send(dst, "response.reasoning_summary_text.done")
		dst = s.summary(dst, item, "response.reasoning_summary_part.done")
	case itemMessage:
		dst = s.partDone(dst, item)
	case itemFunction:
		s.about("response.function_call_arguments.done", item)
		s.data = appendMember(s.data, "name", item.name)
		s.text("arguments", item.text)
		dst = s.send(dst, "response.function_call_arguments.done")
	case itemCustom:
		s.about("response.custom_tool_call_input.done", item)
		s.text("input", item.text)
		dst = s.send(dst, "response.custom_tool_call_input.done")
	}
	return s.item(dst, item)
}

// close ends everything.
func (s *chatToResponses) close(dst []byte) []byte {
	if s.answer.finish.status == "" {
		s.answer.finish = finishOf(nil)
	}
	if s.answer.isBare() {
		dst, _, _ = s.speak(dst, false)
	}
	for i, item := range s.answer.items {
		if item.status == "" {
			dst = s.done(dst, item, i == len(s.answer.items)-1)
		}
	}
	kind := "response." + s.answer.finish.status
	s.begin(kind)
	s.data = s.frame.append(append(s.data, `,"response":`...), &s.answer, s.answer.finish.status, s.reported)
	return s.send(dst, kind)
}
