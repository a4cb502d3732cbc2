package dialect

import (
	"bytes"
	"encoding/json"

	"github.com/pointsman/pointsman/sdk/abi"
)

// Answer is what can be said of an answer without reading it as a person would: of the first choice, whole or gathered
// from the events of a stream. The zero Answer is empty and ready for Add.
type Answer struct {
	Text    []byte // content, unescaped
	Finish  uint8  // abi.Finish*
	refused bool   // refusal is not empty
	tools   bool   // it calls tools
}

// maxRefusalPhrase is how long a text may be, in bytes, to count as a refusal by its beginning.
const maxRefusalPhrase = 600

// Add takes in a buffered answer, or the next event of a stream.
func (a *Answer) Add(d Dialect, data []byte) {
	switch d {
	case Messages:
		a.addMessages(data)
		return
	case Responses:
		a.addResponses(data)
		return
	}
	var key []byte
	c := cursor{b: data}
	for c.object(); c.member(&key); {
		if string(key) != "choices" || c.kind() != '[' {
			c.value()
			continue
		}
		first := true
		for c.array(); c.element(); first = false {
			if choice := c.value(); first {
				a.choice(choice)
			}
		}
	}
}

func (a *Answer) choice(data []byte) {
	c := cursor{b: data}
	if c.kind() != '{' {
		return
	}
	var key []byte
	index := true // of a stream's event; the first choice is number 0
	was := *a
	for c.object(); c.member(&key); {
		switch string(key) {
		case "index":
			index = string(c.value()) == "0"
		case "finish_reason":
			if v := c.value(); isString(v) && len(v) > 2 {
				a.Finish = finishCode(inner(v))
			}
		case "message", "delta":
			a.message(c.value())
		case "text": // of a legacy completion
			if v := c.value(); isString(v) {
				a.Text = append(a.Text, unquoted(v)...)
			}
		default:
			c.value()
		}
	}
	if !index {
		*a = was
	}
}

func (a *Answer) message(data []byte) {
	c := cursor{b: data}
	if c.kind() != '{' {
		return
	}
	var key []byte
	for c.object(); c.member(&key); {
		name := string(key)
		v := c.value()
		switch {
		case isEmpty(v):
		case name == "content" && isString(v):
			a.Text = append(a.Text, unquoted(v)...)
		case name == "refusal":
			a.refused = true
		case name == "tool_calls", name == "function_call":
			a.tools = true
		}
	}
}

// addMessages takes in an answer of the Messages API.
func (a *Answer) addMessages(data []byte) {
	block := func(raw []byte) {
		switch b := readBlock(raw); string(b.kind) {
		case "text":
			a.Text = append(a.Text, unquoted(b.text)...)
		case "tool_use":
			a.tools = true
		}
	}
	var ev streamEvent
	if !ev.read(data) {
		return
	}
	switch string(ev.kind) {
	case "message": // buffered
		m := members(data, "content", "stop_reason")
		for raw := range elements(m[0]) {
			block(raw)
		}
		ev.stop = inner(m[1])
	case "content_block_start":
		block(ev.block)
	case "content_block_delta":
		if string(ev.deltaKind) == "text_delta" {
			a.Text = append(a.Text, unquoted(appendEnclosed(nil, '"', ev.part, '"'))...)
		}
	}
	if len(ev.stop) > 0 {
		reason, _ := finishReason(ev.stop, a.tools)
		a.Finish = finishCode(reason)
	}
}

// addResponses takes in an answer of the Responses API. Of a stream the last event tells everything.
func (a *Answer) addResponses(data []byte) {
	m := members(data, "response", "output", "status", "incomplete_details")
	if len(m[0]) > 0 {
		var ev responsesEvent
		if !ev.read(data) || string(ev.kind) != "response.completed" && string(ev.kind) != "response.incomplete" {
			return
		}
		m = members(m[0], "response", "output", "status", "incomplete_details")
	}
	for raw := range elements(m[1]) {
		item := members(raw, "type", "content")
		switch string(inner(item[0])) {
		case "function_call", "custom_tool_call":
			a.tools = true
		case "message":
		default:
			continue
		}
		for raw := range elements(item[1]) {
			part := members(raw, "text", "refusal")
			a.refused = a.refused || len(part[1]) > 2
			if isString(part[0]) {
				a.Text = append(a.Text, unquoted(part[0])...)
			}
		}
	}
	a.Finish = abi.FinishStop
	switch reason := string(inner(members(m[3], "reason")[0])); {
	case reason == "content_filter":
		a.Finish = abi.FinishContentFilter
	case string(inner(m[2])) == "incomplete":
		a.Finish = abi.FinishLength
	case a.tools:
		a.Finish = abi.FinishToolCalls
	}
}

func finishCode(reason []byte) uint8 {
	switch string(reason) {
	case "stop":
		return abi.FinishStop
	case "length":
		return abi.FinishLength
	case "tool_calls", "function_call":
		return abi.FinishToolCalls
	case "content_filter":
		return abi.FinishContentFilter
	}
	return abi.FinishUnknown
}

// Flags are the abi.Outcome* bits that follow from the answer.
func (a *Answer) Flags() uint32 {
	flags := uint32(abi.OutcomeOK)
	text := bytes.TrimSpace(a.Text)
	if len(text) == 0 && !a.tools {
		flags |= abi.OutcomeEmpty
	}
	if json.Valid(text) || len(text) == 0 && a.tools {
		flags |= abi.OutcomeJSON
	}
	if a.refused || a.Finish == abi.FinishContentFilter {
		flags |= abi.OutcomeRefusal
	}
	if !a.tools && len(text) <= maxRefusalPhrase && beginsLikeRefusal(text) {
		flags |= abi.OutcomeRefusalPhrase
	}
	return flags
}

// beginsLikeRefusal knows the usual openings in English, whatever apostrophe they are written with.
func beginsLikeRefusal(text []byte) bool {
	head := bytes.ToLower(text[:min(len(text), 120)])
	head = bytes.ReplaceAll(head, []byte("’"), []byte("'"))
	for _, opening := range []string{
		"i'm sorry, but i ", "i am sorry, but i ", "sorry, but i ", "i'm sorry, i can", "sorry, i can", "i apologize, but i ",
		"i can't help", "i cannot help", "i can't assist", "i cannot assist", "i can't provide", "i cannot provide",
		"i can't fulfill", "i cannot fulfill", "i can't comply", "i cannot comply", "i'm unable to", "i am unable to",
		"i'm not able to", "i am not able to", "i won't be able to", "as an ai language model, i can", "as an ai, i can",
	} {
		if bytes.HasPrefix(head, []byte(opening)) {
			return true
		}
	}
	return false
}
