package dialect

import (
	"slices"
	"strconv"

	"github.com/pointsman/pointsman/engine/sse"
)

// Extra are the members that the gateway adds to the usage of an answer.
type Extra struct {
	CostUSD string // price in dollars as a plain decimal, written as a number; "" leaves the upstream's own
	Credits string // credits charged as a plain decimal, written as a string; "" omits it
	BYOK    bool   // the caller's own provider key was used
}

// SpliceModel appends body with the value of every top-level model member replaced. A body that is not a JSON object is
// appended as it is.
func SpliceModel(dst, body []byte, model string) []byte {
	from, start := 0, len(dst)
	var key []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		v := c.value()
		if string(key) != "model" || v == nil {
			continue
		}
		dst = append(dst, body[from:c.i-len(v)]...)
		dst = appendQuoted(dst, model)
		from = c.i
	}
	if !c.end() {
		return append(dst[:start], body...)
	}
	return append(dst, body[from:]...)
}

// SpliceUsage appends an answer, or an event whose usage object is at its top, with the extra members put into its usage
// object, in place of members of the same names; a body without a usage object gets one made of u. A body that is not a JSON
// object is appended as it is.
func (d Dialect) SpliceUsage(dst, body []byte, u Usage, extra Extra) []byte {
	at, members := span{}, 0
	var key, usage []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		members++
		if v := c.value(); string(key) == "usage" {
			usage, at = v, span{c.i - len(v), c.i}
		}
	}
	closing := c.i - 1
	if !c.end() {
		return append(dst, body...)
	}
	if len(usage) > 0 && usage[0] == '{' {
		return spliceAt(dst, body, at, false, extra)
	}
	dst = slices.Grow(dst, len(body)+usageRoom)
	if at.end > 0 {
		dst = append(dst, body[:at.start]...)
		dst = d.appendUsage(dst, u, extra)
	} else {
		dst = append(dst, body[:closing]...)
		if members > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `"usage":`...)
		dst = d.appendUsage(dst, u, extra)
		at.end = closing
	}
	return append(dst, body[at.end:]...)
}

// SpliceUsage is [Dialect.SpliceUsage] of the answer that was examined, without a second look at it: ok is false, and nothing is
// appended, if the place of its usage object is not known, as it is not in dialects other than [Chat].
func (info *Chunk) SpliceUsage(dst, body []byte, extra Extra) (spliced []byte, ok bool) {
	if !info.Usage || info.usage.end == 0 {
		return dst, false
	}
	return spliceAt(dst, body, info.usage, info.unpriced, extra), true
}

// spliceAt appends body, whose usage object is at a place; unpriced says that it has members, and none of the extra ones, so that
// these go to its end without a look at the others. It makes room for no more than that takes: fasthttp's pool does not keep buffers
// that are much larger than what was in most of them.
func spliceAt(dst, body []byte, usage span, unpriced bool, extra Extra) []byte {
	dst = slices.Grow(dst, len(body)+extraRoom+len(extra.CostUSD)+len(extra.Credits))
	if unpriced && body[usage.end-2] > ' ' {
		dst = append(append(dst, body[:usage.end-1]...), ',')
		return append(append(appendExtra(dst, extra), '}'), body[usage.end:]...)
	}
	dst = append(dst, body[:usage.start]...)
	dst = spliceInto(dst, body[usage.start:usage.end], extra)
	return append(dst, body[usage.end:]...)
}

// spliceInto appends the object usage, which is valid, with the extra members at its end.
func spliceInto(dst, usage []byte, extra Extra) []byte {
	dst = append(dst, '{')
	open := len(dst)
	var key []byte
	c := cursor{b: usage}
	c.object()
	from := c.i
	for c.member(&key) {
		c.value()
		member := usage[from:c.i] // with the comma and the space before it
		from = c.i
		switch string(key) {
		case "credits", "is_byok":
			continue
		case "cost":
			if extra.CostUSD != "" {
				continue
			}
		}
		if len(dst) == open && member[0] == ',' {
			member = member[1:]
		}
		dst = append(dst, member...)
	}
	if len(dst) > open {
		dst = append(dst, ',')
	}
	return append(appendExtra(dst, extra), '}')
}

// extraRoom is what appendExtra appends beside the values, in bytes at most, with a comma before it.
const extraRoom = len(`,"cost":,"credits":"","is_byok":false`)

// appendExtra appends the members, without braces.
func appendExtra(dst []byte, extra Extra) []byte {
	if extra.CostUSD != "" {
		dst = append(dst, `"cost":`...)
		dst = append(dst, extra.CostUSD...)
		dst = append(dst, ',')
	}
	if extra.Credits != "" {
		dst = append(dst, `"credits":`...)
		dst = appendQuoted(dst, extra.Credits)
		dst = append(dst, ',')
	}
	dst = append(dst, `"is_byok":`...)
	return strconv.AppendBool(dst, extra.BYOK)
}

// usageRoom is what appendUsage appends as a rule at most, in bytes, with the name before it.
const usageRoom = 320

// appendUsage appends u as the usage object of an answer, with the extra members.
func (d Dialect) appendUsage(dst []byte, u Usage, extra Extra) []byte {
	return append(appendExtra(append(d.appendCounts(dst, u), ','), extra), '}')
}

// appendCounts appends a usage object without its closing brace.
func (d Dialect) appendCounts(dst []byte, u Usage) []byte {
	number := func(name string, n int64) {
		dst = append(dst, name...)
		dst = strconv.AppendInt(dst, n, 10)
	}
	some := func(name string, n int64) {
		if n > 0 {
			number(name, n)
		}
	}
	inputParts := func() { // that most answers do not have
		if u.CacheWrite1h+u.CacheWrite12h > 0 {
			number(`,"cache_write_tokens_details":{"ttl_1h_tokens":`, u.CacheWrite1h)
			number(`,"ttl_12h_tokens":`, u.CacheWrite12h)
			dst = append(dst, '}')
		}
		some(`,"audio_tokens":`, u.AudioInput)
		some(`,"image_tokens":`, u.ImageInput)
	}
	outputParts := func() {
		some(`,"audio_tokens":`, u.AudioOutput)
		some(`,"image_tokens":`, u.ImageOutput)
	}
	switch d {
	case Messages: // whose input tokens are those that no cache had a part in
		number(`{"input_tokens":`, u.Input-u.CacheRead-u.CacheWrite)
		number(`,"cache_creation_input_tokens":`, u.CacheWrite)
		number(`,"cache_read_input_tokens":`, u.CacheRead)
		if u.CacheWrite1h+u.CacheWrite12h > 0 {
			number(`,"cache_creation":{"ephemeral_5m_input_tokens":`, u.CacheWrite-u.CacheWrite1h-u.CacheWrite12h)
			number(`,"ephemeral_1h_input_tokens":`, u.CacheWrite1h)
			some(`,"ephemeral_12h_input_tokens":`, u.CacheWrite12h)
			dst = append(dst, '}')
		}
		if u.AudioInput+u.ImageInput > 0 {
			number(`,"input_tokens_details":{"audio_tokens":`, u.AudioInput)
			number(`,"image_tokens":`, u.ImageInput)
			dst = append(dst, '}')
		}
		number(`,"output_tokens":`, u.Output)
		if u.Reasoning+u.AudioOutput+u.ImageOutput > 0 {
			number(`,"output_tokens_details":{"thinking_tokens":`, u.Reasoning)
			some(`,"audio_tokens":`, u.AudioOutput)
			some(`,"image_tokens":`, u.ImageOutput)
			dst = append(dst, '}')
		}
		return dst
	case Responses:
		number(`{"input_tokens":`, u.Input)
		number(`,"input_tokens_details":{"cached_tokens":`, u.CacheRead)
		number(`,"cache_write_tokens":`, u.CacheWrite)
		inputParts()
		number(`},"output_tokens":`, u.Output)
		number(`,"output_tokens_details":{"reasoning_tokens":`, u.Reasoning)
		outputParts()
		number(`},"total_tokens":`, u.Input+u.Output)
		return dst
	}
	number(`{"prompt_tokens":`, u.Input)
	number(`,"completion_tokens":`, u.Output)
	number(`,"total_tokens":`, u.Input+u.Output)
	number(`,"prompt_tokens_details":{"cached_tokens":`, u.CacheRead)
	some(`,"cache_write_tokens":`, u.CacheWrite)
	inputParts()
	number(`},"completion_tokens_details":{"reasoning_tokens":`, u.Reasoning)
	outputParts()
	return append(dst, '}')
}

// appendServiceTier appends the member that tells who answered, unless that was the standard service.
func appendServiceTier(dst []byte, u Usage) []byte {
	if u.ServiceTier == "" {
		return dst
	}
	return append(append(append(dst, `,"service_tier":"`...), u.ServiceTier...), '"')
}

// StripUsage appends an OpenAI chunk without its top-level usage member: what the upstream would have sent if the
// gateway had not asked for usage on its own account. A body that is not a JSON object is appended as it is.
func StripUsage(dst, body []byte) []byte { return DropMember(dst, body, "usage") }

// DropMember appends body without its top-level members of that name. A body that is not a JSON object is appended as it is.
func DropMember(dst, body []byte, name string) []byte {
	start := len(dst)
	var key []byte
	c := cursor{b: body}
	c.object()
	from, first := 0, true
	for {
		before := c.i
		if !c.member(&key) {
			break
		}
		v := c.value()
		if string(key) != name || v == nil {
			first = false
			continue
		}
		if before > from {
			dst = append(dst, body[from:before]...)
		}
		from = c.i
		if first && c.kind() == ',' {
			from = c.i + 1
		}
	}
	if !c.end() {
		return append(dst[:start], body...)
	}
	return append(dst, body[from:]...)
}

// End is how a stream ends.
type End struct {
	Last []byte // the payload of the event that was held back, see [Chunk]; nil if there was none
	Done []byte // the payload of the event that ends the stream; nil if the source ended without, after a complete answer
	// Usage and Extra are what the answer has used and cost.
	Usage Usage
	Extra Extra
	// Hidden: the caller did not ask for usage. Only chat completions and their legacy leave it away then.
	Hidden  bool
	ID      string // of the answer, for an event that is made anew
	Model   string // likewise
	Created int64  // likewise, in seconds since 1970
}

// AppendEnd appends the events that end a stream, framed, with usage and price.
func (d Dialect) AppendEnd(dst []byte, e *End) []byte {
	switch d {
	case Messages:
		if e.Last != nil {
			dst = sse.AppendEvent(dst, "message_delta", d.SpliceUsage(nil, e.Last, e.Usage, e.Extra))
		}
		return sse.AppendEvent(dst, "message_stop", orElse(e.Done, `{"type":"message_stop"}`))
	case Responses:
		var data, key []byte
		var kind string
		from := 0
		c := cursor{b: e.Done}
		for c.object(); c.member(&key); {
			switch v := c.value(); string(key) {
			case "type":
				kind = string(inner(v))
			case "response":
				data = append(data, e.Done[from:c.i-len(v)]...)
				data = d.SpliceUsage(data, v, e.Usage, e.Extra)
				from = c.i
			}
		}
		return sse.AppendEvent(dst, kind, append(data, e.Done[from:]...))
	}
	switch {
	case e.Hidden:
	case e.Last != nil:
		dst = sse.AppendEvent(dst, "", d.SpliceUsage(nil, e.Last, e.Usage, e.Extra))
	default:
		object := chunkObject
		if d == Completions {
			object = completionObject
		}
		chunk := appendHead(nil, object, e.ID, e.Model, e.Created)
		chunk = append(chunk, `"choices":[],"usage":`...)
		dst = sse.AppendEvent(dst, "", append(d.appendUsage(chunk, e.Usage, e.Extra), '}'))
	}
	return sse.AppendEvent(dst, "", []byte(done))
}

func orElse(data []byte, otherwise string) []byte {
	if data == nil {
		return []byte(otherwise)
	}
	return data
}

const (
	chunkObject      = "chat.completion.chunk"
	completionObject = "text_completion" // of chunks too
)

// appendChunkHead appends the members that every chunk of a stream begins with, the last comma included.
func appendChunkHead(dst []byte, id, model string, created int64) []byte {
	return appendHead(dst, chunkObject, id, model, created)
}

// appendHead appends the members that answers begin with, the last comma included.
func appendHead(dst []byte, object, id, model string, created int64) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendQuoted(dst, id)
	dst = append(append(append(dst, `,"object":"`...), object...), `","created":`...)
	dst = strconv.AppendInt(dst, created, 10)
	dst = append(dst, `,"model":`...)
	dst = appendQuoted(dst, model)
	return append(dst, ',')
}
