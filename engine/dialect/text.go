package dialect

import (
	"bytes"
	"strconv"
)

const (
	// maxGathered is how much text is held, in bytes, before what is certain to be whole words of it is handed on.
	maxGathered = 64 << 10
	// maxParts is how many parts an answer is thought to have; what there is beyond them is gathered in the last.
	maxParts = 256
	// keptParts and keptText bound the memory that is kept from answer to answer.
	keptParts, keptText = 4, 16 << 10
)

// Texts gathers what a model wrote, to be counted: contents, reasoning, refusals, names and arguments of tool calls, of a
// buffered answer or event by event. A text that came in many events is one again, whatever came between them, so that it
// has as many tokens streamed as buffered. White space between the values of arguments is left out, since the dialects
// disagree about it. What the provider encrypted, media, and what its own tools found are no texts. The zero Texts is ready
// for use; it is not safe for concurrent use.
type Texts struct {
	parts []part
	held  int // bytes, of all parts
}

// part is one text of an answer.
type part struct {
	kind      textKind
	outer     int // the choice, output item or block it belongs to
	inner     int // which one in there
	text      []byte
	handed    bool // some of it
	quoted    bool // the JSON read so far ends inside of a string
	backslash bool // and after a backslash
}

type textKind uint8

const (
	textContent textKind = iota
	textReasoning
	textRefusal
	textName
	textArguments // JSON
	textInput     // of a tool that takes a text
)

// Add takes in a buffered answer or the payload of an event. Text that can be held no longer is given to count.
func (t *Texts) Add(d Dialect, data []byte, count func(text []byte)) {
	switch d {
	case Messages:
		t.addMessages(data)
	case Responses:
		t.addResponses(data)
	default:
		t.addChat(data)
	}
	if t.held > maxGathered {
		t.relieve(count)
	}
}

// AddInspected is Add for an event that was inspected, which mostly has found the text already.
func (t *Texts) AddInspected(d Dialect, info Chunk, data []byte, count func(text []byte)) {
	switch {
	case info.plain == nil:
		t.Add(d, data, count)
	case len(info.plain) > 0:
		if t.addText(textContent, info.place, 0, info.plain); t.held > maxGathered {
			t.relieve(count)
		}
	}
}

// plainText is raw contents of a string if they mean what they are, else nil.
func plainText(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return nil
	}
	return raw
}

// Flush gives what is held to count, each text once, and forgets it.
func (t *Texts) Flush(count func(text []byte)) {
	for i := range t.parts {
		p := &t.parts[i]
		if len(p.text) > 0 && (p.kind != textArguments || p.handed || string(p.text) != "{}") { // no arguments, for some dialects
			count(p.text)
		}
	}
	t.Drop()
}

// Drop forgets what is held. Some memory is kept for the next answer.
func (t *Texts) Drop() {
	for i := range t.parts {
		kept := t.parts[i].text[:0]
		if i >= keptParts || cap(kept) > keptText {
			kept = nil
		}
		t.parts[i] = part{text: kept}
	}
	t.parts, t.held = t.parts[:0], 0
}

// Empty tells whether nothing is held.
func (t *Texts) Empty() bool { return t.held == 0 }

// relieve hands on the beginning of every part, up to a blank that begins a word.
func (t *Texts) relieve(count func(text []byte)) {
	t.held = 0
	for i := range t.parts {
		p := &t.parts[i]
		end := len(p.text)
		for end > 0 && !beginsWord(p.text, end) {
			end--
		}
		if end == 0 && len(p.text) > maxGathered/2 {
			end = len(p.text)
		}
		if end > 0 {
			count(p.text[:end])
			p.handed = true
		}
		p.text = append(p.text[:0], p.text[end:]...)
		t.held += len(p.text)
	}
}

// beginsWord tells that no token spans the place before text[i].
func beginsWord(text []byte, i int) bool {
	return i > 0 && i+1 < len(text) && text[i] == ' ' && isWordByte(text[i-1]) && isWordByte(text[i+1])
}

func isWordByte(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

// add appends to a part. v is a string value; others add nothing.
func (t *Texts) add(kind textKind, outer, inside int, v []byte) {
	if len(v) <= 2 || v[0] != '"' {
		return
	}
	raw := v[1 : len(v)-1]
	if bytes.IndexByte(raw, '\\') >= 0 {
		raw = unquoted(v)
	}
	t.addText(kind, outer, inside, raw)
}

func (t *Texts) addText(kind textKind, outer, inside int, text []byte) {
	p := t.find(kind, outer, inside)
	before := len(p.text)
	if kind == textArguments {
		p.addJSON(text)
	} else {
		p.text = append(p.text, text...)
	}
	t.held += len(p.text) - before
}

// find is the part of that kind and place. The last ones are the likeliest.
func (t *Texts) find(kind textKind, outer, inside int) *part {
	for i := len(t.parts) - 1; i >= 0; i-- {
		if p := &t.parts[i]; p.kind == kind && p.outer == outer && p.inner == inside {
			return p
		}
	}
	n := len(t.parts)
	switch {
	case n == maxParts:
		return &t.parts[n-1]
	case n < cap(t.parts):
		t.parts = t.parts[:n+1] // with the memory of an earlier text
		t.parts[n] = part{kind: kind, outer: outer, inner: inside, text: t.parts[n].text[:0]}
	default:
		t.parts = append(t.parts, part{kind: kind, outer: outer, inner: inside})
	}
	return &t.parts[n]
}

// addJSON appends JSON, which may break off anywhere, without the white space between values.
func (p *part) addJSON(text []byte) {
	for _, b := range text {
		switch {
		case p.backslash:
			p.backslash = false
		case p.quoted:
			p.backslash, p.quoted = b == '\\', b != '"'
		case b == ' ' || b == '\n' || b == '\t' || b == '\r':
			continue
		case b == '"':
			p.quoted = true
		}
		p.text = append(p.text, b)
	}
}

// addChat takes in a chat completion, a legacy completion, or a chunk of one.
func (t *Texts) addChat(data []byte) {
	var key []byte
	c := cursor{b: data}
	for c.object(); c.member(&key); {
		if string(key) != "choices" || c.kind() != '[' {
			c.value()
			continue
		}
		i := 0
		for c.array(); c.element(); i++ {
			t.addChoice(i, c.value())
		}
	}
}

func (t *Texts) addChoice(n int, data []byte) {
	var message, text, key []byte
	c := cursor{b: data}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "index":
			n = number(v, n)
		case "message", "delta":
			message = v
		case "text":
			text = v
		}
	}
	t.add(textContent, n, 0, text)
	var reasoning []byte // told under either of two names, by some under both
	c = cursor{b: message}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "content":
			t.add(textContent, n, 0, v)
			t.addParts(n, v)
		case "reasoning_content":
			if isString(v) {
				reasoning = v
			}
		case "reasoning":
			if reasoning == nil {
				reasoning = v
			}
		case "refusal":
			t.add(textRefusal, n, 0, v)
		case "tool_calls":
			i := 0
			for raw := range elements(v) {
				t.addCall(n, i, raw)
				i++
			}
		case "function_call":
			t.addFunction(n, -1, v)
		}
	}
	t.add(textReasoning, n, 0, reasoning)
}

// addParts takes in content that is a list of parts, as Mistral's thinking models answer.
func (t *Texts) addParts(n int, list []byte) {
	for raw := range elements(list) {
		m := members(raw, "text", "thinking")
		t.add(textContent, n, 0, m[0])
		t.add(textReasoning, n, 0, m[1])
		for raw := range elements(m[1]) {
			t.add(textReasoning, n, 0, members(raw, "text")[0])
		}
	}
}

// addCall takes in a tool call, or a piece of one.
func (t *Texts) addCall(choice, i int, raw []byte) {
	m := members(raw, "index", "function", "custom")
	i = number(m[0], i)
	t.addFunction(choice, i, m[1])
	custom := members(m[2], "name", "input")
	t.add(textName, choice, i, custom[0])
	t.add(textInput, choice, i, custom[1])
}

func (t *Texts) addFunction(choice, i int, raw []byte) {
	function := members(raw, "name", "arguments")
	t.add(textName, choice, i, function[0])
	t.add(textArguments, choice, i, function[1])
}

// addMessages takes in an answer of the Messages API, or an event of one.
func (t *Texts) addMessages(data []byte) {
	m := members(data, "type", "index", "content_block", "delta")
	n := number(m[1], 0)
	switch string(inner(m[0])) {
	case "message":
		n = 0
		for raw := range elements(topMember(data, "content")) {
			t.addBlock(n, raw)
			n++
		}
	case "content_block_start":
		t.addBlock(n, m[2])
	case "content_block_delta":
		delta := members(m[3], "text", "thinking", "partial_json")
		t.add(textContent, n, 0, delta[0])
		t.add(textReasoning, n, 0, delta[1])
		t.add(textArguments, n, 0, delta[2])
	}
}

func (t *Texts) addBlock(n int, raw []byte) {
	b := readBlock(raw)
	t.add(textContent, n, 0, b.text)
	t.add(textReasoning, n, 0, b.thinking)
	if kind := string(b.kind); kind == "tool_use" || kind == "server_tool_use" || kind == "mcp_tool_use" {
		t.add(textName, n, 0, b.name)
		if !isEmpty(b.input) { // of a stream it follows
			t.addText(textArguments, n, 0, b.input)
		}
	}
}

// addResponses takes in an answer of the Responses API, or an event of one. The last event repeats the whole answer, and the
// events that end a part repeat the part.
func (t *Texts) addResponses(data []byte) {
	kind := string(inner(topMember(data, "type")))
	if kind == "" { // buffered
		n := 0
		for raw := range elements(topMember(data, "output")) {
			t.addItem(n, raw, true)
			n++
		}
		return
	}
	m := members(data, "output_index", "content_index", "summary_index", "delta")
	n, i := number(m[0], 0), number(m[1], 0)
	switch kind {
	case "response.output_item.added":
		t.addItem(n, topMember(data, "item"), false)
	case "response.output_text.delta":
		t.add(textContent, n, i, m[3])
	case "response.refusal.delta":
		t.add(textRefusal, n, i, m[3])
	case "response.reasoning_text.delta":
		t.add(textReasoning, n, i, m[3])
	case "response.reasoning_summary_text.delta":
		t.add(textReasoning, n, -1-number(m[2], 0), m[3])
	case "response.function_call_arguments.delta":
		t.add(textArguments, n, 0, m[3])
	case "response.custom_tool_call_input.delta":
		t.add(textInput, n, 0, m[3])
	}
}

// addItem takes in an output item; of one that has only begun, what no delta repeats.
func (t *Texts) addItem(n int, raw []byte, whole bool) {
	m := members(raw, "name", "arguments", "input")
	switch string(inner(topMember(raw, "type"))) {
	case "function_call":
		t.add(textName, n, 0, m[0])
		if whole {
			t.add(textArguments, n, 0, m[1])
		}
	case "custom_tool_call":
		t.add(textName, n, 0, m[0])
		if whole {
			t.add(textInput, n, 0, m[2])
		}
	case "message", "reasoning":
		if !whole {
			return
		}
		kind := textContent
		if string(inner(topMember(raw, "type"))) == "reasoning" {
			kind = textReasoning
		}
		lists := members(raw, "content", "summary")
		i := 0
		for part := range elements(lists[0]) {
			m := members(part, "text", "refusal")
			t.add(kind, n, i, m[0])
			t.add(textRefusal, n, i, m[1])
			i++
		}
		i = 0
		for part := range elements(lists[1]) {
			t.add(textReasoning, n, -1-i, members(part, "text")[0])
			i++
		}
	}
}

// number reads a small number; otherwise is for what is none.
func number(v []byte, otherwise int) int {
	if n, err := strconv.Atoi(string(v)); err == nil {
		return n
	}
	return otherwise
}
