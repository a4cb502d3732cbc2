package dialect

import "strconv"

// chatDelta is what a message of a chat completion says, or a delta of one. Texts are raw string contents.
type chatDelta struct {
	reasoning, text, refusal []byte
	calls, annotations       []byte // arrays, if present
}

func readChatDelta(raw []byte) chatDelta {
	var d chatDelta
	var reasoning, key []byte
	if len(raw) == 0 || raw[0] != '{' {
		return d
	}
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "content":
			d.text = textOf(v)
		case "reasoning_content":
			d.reasoning = textOf(v)
		case "reasoning": // another name of it, which some send beside it
			reasoning = textOf(v)
		case "refusal":
			d.refusal = inner(v)
		case "tool_calls":
			d.calls = v
		case "annotations":
			d.annotations = v
		}
	}
	if len(d.reasoning) == 0 {
		d.reasoning = reasoning
	}
	return d
}

// textOf is the raw content of a string, or of the texts among parts.
func textOf(v []byte) []byte {
	if isString(v) {
		return inner(v)
	}
	var text []byte
	for part := range elements(v) {
		text = append(text, inner(members(part, "text")[0])...)
	}
	return text
}

// inside is an array without its brackets: its elements.
func inside(v []byte) []byte {
	if isEmpty(v) || v[0] != '[' {
		return nil
	}
	return v[1 : len(v)-1]
}

// chatCall is a call of a tool, or a part of one.
type chatCall struct {
	index    int64 // -1 if there is none
	custom   bool  // it is of a custom tool
	id, name []byte
	argument []byte // raw string content
}

func readChatCall(raw []byte) chatCall {
	call := chatCall{index: -1}
	if len(raw) == 0 || raw[0] != '{' {
		return call
	}
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "index":
			if n, err := strconv.ParseInt(string(v), 10, 64); err == nil && n >= 0 {
				call.index = n
			}
		case "id":
			if isString(v) {
				call.id = v
			}
		case "function", "custom":
			if isNull(v) {
				continue
			}
			m := members(v, "name", "arguments", "input")
			if isString(m[0]) {
				call.name = m[0]
			}
			argument := m[1]
			if call.custom = string(key) == "custom"; call.custom {
				argument = m[2]
			}
			if call.argument = inner(argument); len(argument) > 0 && !isString(argument) { // an object, as some send it
				call.argument = inner(appendQuoted(nil, argument))
			}
		}
	}
	return call
}

// appendAnnotations appends the citations of a chat message to a list, as the Responses API has them: without the level
// between. added are those that are new.
func appendAnnotations(list, raw []byte) (all []byte, added [][]byte) {
	for v := range elements(raw) {
		m := members(v, "type", "url_citation")
		if string(inner(m[0])) != "url_citation" || isEmpty(m[1]) || m[1][0] != '{' {
			continue
		}
		var key []byte
		one := []byte(`{"type":"url_citation"`)
		c := cursor{b: m[1]}
		for c.object(); c.member(&key); {
			v := c.value()
			if string(key) != "type" {
				one = append(append(append(one, ','), appendQuoted(nil, key)...), ':')
				one = append(one, v...)
			}
		}
		one = append(one, '}')
		list, added = appendElement(list, one), append(added, one)
	}
	return list, added
}
