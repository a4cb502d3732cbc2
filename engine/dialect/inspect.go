package dialect

// Inspect examines the payload of one event of a stream, the end marker of OpenAI's streams included.
func (d Dialect) Inspect(data []byte) Chunk {
	switch d {
	case Messages:
		return inspectMessages(data)
	case Responses:
		return inspectResponses(data)
	}
	if string(data) == done {
		return Chunk{Done: true, NoChoices: true}
	}
	info := ChunkInfo(data)
	info.Last = info.Usage && info.NoChoices
	return info
}

// done is the payload that ends OpenAI's streams.
const done = "[DONE]"

// InspectAnswer examines a buffered answer: one without an answer in it has NoChoices or Error set, or is Malformed.
func (d Dialect) InspectAnswer(body []byte) Chunk {
	list := ""
	switch d {
	case Messages:
		list = "content"
	case Responses:
		list = "output"
	default:
		return ChunkInfo(body)
	}
	info := Chunk{NoChoices: true}
	var key []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case list:
			info.NoChoices = len(v) == 0 || v[0] != '['
		case "error":
			info.Error = info.Error || !isNull(v)
		case "type":
			info.Error = info.Error || string(inner(v)) == "error"
		case "status":
			status := string(inner(v))
			info.Error = info.Error || d == Responses && (status == "failed" || status == "cancelled")
		case "usage":
			info.Usage = len(v) > 0 && v[0] == '{'
		}
	}
	if !c.end() {
		return Chunk{Malformed: true}
	}
	return info
}

func inspectMessages(data []byte) Chunk {
	var ev streamEvent
	if !ev.read(data) {
		return Chunk{Malformed: true}
	}
	info := Chunk{NoChoices: true, Usage: ev.usage != nil}
	switch string(ev.kind) {
	case "content_block_start":
		b := readBlock(ev.block)
		switch string(b.kind) {
		case "text":
			info.ContentBytes = len(inner(b.text))
		case "thinking":
			info.ContentBytes = len(inner(b.thinking))
		default: // a tool call, or what has its content at once
			info.Content, info.ContentBytes = true, len(inner(b.name))+len(inner(b.data))
		}
	case "content_block_delta":
		info.Content = len(ev.part) > 0 && string(ev.deltaKind) != "signature_delta"
		if info.Content {
			info.ContentBytes = len(ev.part)
		}
		if string(ev.deltaKind) == "text_delta" {
			info.plain, info.place = plainText(ev.part), int(ev.index)
		}
	case "message_delta":
		info.Finish, info.Last = ev.stop, len(ev.stop) > 0
	case "message_stop":
		info.Done = true
	case "error":
		info.Error = true
	}
	info.Content = info.Content || info.ContentBytes > 0
	info.NoChoices = !info.Content && info.Finish == nil
	return info
}

// responsesEvent is one event of the Responses API, as raw values.
type responsesEvent struct {
	kind     []byte
	delta    []byte // string content, without quotes
	item     []byte // an object
	response []byte // an object
}

// read reports whether data is a valid event.
func (ev *responsesEvent) read(data []byte) bool {
	var key []byte
	c := cursor{b: data}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			ev.kind = inner(v)
		case "delta":
			if isString(v) {
				ev.delta = inner(v)
			}
		case "item":
			ev.item = v
		case "response":
			ev.response = v
		}
	}
	return c.end() && len(ev.kind) > 0
}

func inspectResponses(data []byte) Chunk {
	var ev responsesEvent
	if !ev.read(data) {
		return Chunk{Malformed: true}
	}
	info := Chunk{NoChoices: true}
	switch kind := string(ev.kind); kind {
	case "response.output_item.added":
		// A message is content when its text comes, and reasoning may stay empty; everything else has begun to act.
		switch string(inner(members(ev.item, "type")[0])) {
		case "message", "reasoning":
		default:
			info.Content = true
		}
	case "response.completed", "response.incomplete":
		info.Done, info.Finish = true, ev.kind[len("response."):]
		usage := members(ev.response, "usage")[0]
		info.Usage = len(usage) > 0 && usage[0] == '{'
	case "response.failed", "error":
		info.Error = true
	default: // every delta carries a part of the answer
		info.ContentBytes = len(ev.delta)
		info.Content = info.ContentBytes > 0
	}
	info.NoChoices = !info.Content && info.Finish == nil
	return info
}

// Usage finds what a buffered answer reports; false if it reports nothing.
func (d Dialect) Usage(body []byte) (Usage, bool) {
	if d == Messages {
		return AnthropicUsage(body)
	}
	return OpenAIUsage(body)
}

// InspectedUsage is Usage of an answer that InspectAnswer has examined, which has found it by the way. It notes in info what
// [Chunk.SpliceUsage] need not look for.
func (d Dialect) InspectedUsage(body []byte, info *Chunk) (Usage, bool) {
	switch {
	case d == Messages, d == Responses:
		return d.Usage(body)
	case !info.Usage:
		return Usage{}, false
	}
	var t tally
	u := t.openAI(body[info.usage.start:info.usage.end])
	info.unpriced = u.Reported && !t.priced
	u.ServiceTier = serviceTier(body[info.tier.start:info.tier.end])
	return u, u.Reported
}

// Meter gathers what the events of a stream report. The zero value is ready for use.
type Meter struct {
	reported Usage
	counts   anthropicCounts
}

// Add takes in one event that has a usage object, see [Chunk].
func (m *Meter) Add(d Dialect, data []byte) {
	switch d {
	case Messages:
		var ev streamEvent
		if ev.read(data) && ev.usage != nil {
			m.counts.merge(ev.usage)
			m.reported = m.counts.usage()
		}
	case Responses:
		m.reported.take(OpenAIUsage(topMember(data, "response")))
	default:
		m.reported.take(OpenAIUsage(data))
	}
}

// Usage is what has been reported so far.
func (m *Meter) Usage() Usage { return m.reported }

// EventName is the event field of an event whose payload is data; "" for the dialects that have none.
func (d Dialect) EventName(data []byte) string {
	if d != Messages && d != Responses {
		return ""
	}
	return string(inner(topMember(data, "type")))
}
