package dialect

// Chunk is what the relay needs to know of one event of a stream.
type Chunk struct {
	// Content: the event carries a part of the answer: text, reasoning, a refusal, a tool call, audio, an image. The
	// role delta that opens a stream, empty texts, pings and the like do not count.
	Content bool
	// ContentBytes is how long that part is, in bytes of JSON text. It tells roughly how many tokens it has.
	ContentBytes int
	// Finish is the finish_reason, nil if there is none. It is a view into the data of the event.
	Finish []byte
	// Usage: there is a usage object; see [OpenAIUsage].
	Usage bool
	// UsageNull: there is a usage member that is null, as OpenAI puts it into every chunk if usage was asked for.
	UsageNull bool
	// NoChoices: the choices are absent or empty, as in the final usage chunk. In other dialects: there is neither content nor
	// a finish.
	NoChoices bool
	// Last: nothing but the end follows, and the event tells the usage: it waits until the price is known.
	Last bool
	// Error: the event is an error object; see [ReadError].
	Error bool
	// Done: the event ends the stream.
	Done bool
	// Unsigned: the payload was examined, and has no thinking that may be signed; see [Signatures].
	Unsigned bool
	// Malformed: the payload is not a JSON object. Nothing else is set.
	Malformed bool

	model    span   // the value of the model member
	usage    span   // the value of the usage member
	strip    span   // the usage member with the comma before it, if there is one such member
	tier     span   // the value of the service_tier member
	unpriced bool   // the usage object was read: it has counts, and no member that SpliceUsage replaces
	plain    []byte // all of the content, if it is text of one choice or block and needs no decoding
	place    int    // of that choice or block
}

// thinkingBlocks is the member of a chat message that has signed thinking, where there is some.
const thinkingBlocks = "thinking_blocks"

type span struct{ start, end int }

// ChunkInfo examines the payload of one event of an OpenAI stream (not the final [DONE]).
func ChunkInfo(data []byte) Chunk {
	info := Chunk{NoChoices: true, Unsigned: true}
	var key []byte
	c := cursor{b: data}
	c.object()
	for before := c.i; c.member(&key); before = c.i {
		switch string(key) {
		case "choices":
			info.NoChoices = true
			if c.kind() != '[' {
				c.value()
				continue
			}
			n := 0
			for c.array(); c.element(); n++ {
				info.NoChoices = false
				info.choice(&c)
			}
			if n > 1 {
				info.plain = nil
			}
		case "usage":
			k := c.kind()
			v := c.value()
			info.strip = span{before, c.i}
			if info.usage.end > 0 || data[before] != ',' {
				info.strip = span{}
			}
			info.Usage, info.UsageNull, info.usage = k == '{', k == 'n', span{c.i - len(v), c.i}
		case "service_tier":
			v := c.value()
			info.tier = span{c.i - len(v), c.i}
		case "error":
			info.Error = !isNull(c.value())
		case "model":
			v := c.value()
			info.model = span{c.i - len(v), c.i}
		default:
			c.value()
		}
	}
	if !c.end() {
		return Chunk{Malformed: true}
	}
	return info
}

// StripUsage is [StripUsage] of a chunk that was examined.
func (info *Chunk) StripUsage(dst, data []byte) []byte {
	if info.strip.end == 0 {
		return StripUsage(dst, data)
	}
	return append(append(dst, data[:info.strip.start]...), data[info.strip.end:]...)
}

// choice examines one element of choices.
func (info *Chunk) choice(c *cursor) {
	if c.kind() != '{' {
		c.value()
		return
	}
	var key []byte
	for c.object(); c.member(&key); {
		switch string(key) {
		case "index":
			info.place = number(c.value(), 0)
		case "finish_reason":
			if v := c.value(); len(v) > 2 && isString(v) {
				info.Finish = inner(v)
			}
		case "delta":
			if c.kind() != '{' {
				c.value()
				continue
			}
			for c.object(); c.member(&key); {
				info.Unsigned = info.Unsigned && string(key) != thinkingBlocks
				counts, text := isContent(key), string(key) == "content"
				if v := c.value(); counts && !isEmpty(v) {
					if info.plain = nil; text && !info.Content {
						info.plain = plainText(inner(v))
					}
					info.Content = true
					info.ContentBytes += contentBytes(v)
				}
			}
		case "message": // of a buffered answer
			if c.kind() != '{' {
				c.value()
				continue
			}
			for c.object(); c.member(&key); {
				info.Unsigned = info.Unsigned && string(key) != thinkingBlocks
				c.value()
			}
		case "text": // legacy completions
			if v := c.value(); !isEmpty(v) {
				if info.plain = nil; !info.Content {
					info.plain = plainText(inner(v))
				}
				info.Content = true
				info.ContentBytes += contentBytes(v)
			}
		default:
			c.value()
		}
	}
}

// contentBytes is the length of a text without its quotes, or of a tool call less what is written around its arguments.
func contentBytes(v []byte) int {
	const frame = 80 // {"index":0,"id":"call_…","type":"function","function":{"name":"","arguments":""}}
	if isString(v) {
		return len(v) - 2
	}
	return max(1, len(v)-frame)
}

// isContent tells the members of a delta that are part of the answer.
func isContent(key []byte) bool {
	switch string(key) {
	case "content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call", "audio", "images",
		thinkingBlocks:
		return true
	}
	return false
}

// isEmpty reports whether a value is null, "", [] or {}.
func isEmpty(v []byte) bool {
	if isNull(v) {
		return true
	}
	switch v[0] {
	case '"':
		return len(v) == 2
	case '[':
		c := cursor{b: v}
		c.array()
		return !c.element()
	case '{':
		var key []byte
		c := cursor{b: v}
		c.object()
		return !c.member(&key)
	}
	return false
}

// SpliceModel appends data, the payload that the chunk was read from, with the value of its model member replaced. A
// chunk without one is appended as it is.
func (info Chunk) SpliceModel(dst, data []byte, model string) []byte {
	if info.model.end == 0 {
		return append(dst, data...)
	}
	dst = append(dst, data[:info.model.start]...)
	dst = appendQuoted(dst, model)
	return append(dst, data[info.model.end:]...)
}
