package dialect

import (
	"bytes"
	"fmt"
)

// chatTurns writes the messages array, one turn of consecutive messages of a role after the other.
type chatTurns struct {
	r    *messagesRequest
	list []byte // elements of messages
	role string // of the open turn

	parts     partList // texts, and of the user also images and files
	thinking  []byte   // elements of thinking_blocks
	reasoning []byte   // raw string content
	calls     []byte   // elements of tool_calls
	results   []byte   // messages of role tool
	shown     partList // what results have that messages of role tool cannot
}

// partList is the content of a chat message in the making.
type partList struct {
	elements []byte
	alone    []byte // the raw text if it is the only part and has no breakpoint
	n        int
}

func (l *partList) text(text, cache []byte) {
	if len(inner(text)) == 0 {
		return
	}
	if l.add(appendText(nil, text, cache)); l.n == 1 && isNull(cache) {
		l.alone = text
	}
}

func (l *partList) add(part []byte) {
	l.n++
	l.alone = nil
	l.elements = appendElement(l.elements, part)
}

// append writes the content: a single text as a string, which every provider takes. empty is what stands for nothing.
func (l *partList) append(dst []byte, empty string) []byte {
	switch {
	case l.n == 0:
		return append(dst, empty...)
	case l.alone != nil:
		return append(dst, l.alone...)
	}
	return appendEnclosed(dst, '[', l.elements, ']')
}

// appendMessages writes messages, with system as the first of them.
func (r *messagesRequest) appendMessages(dst []byte) ([]byte, error) {
	if len(r.messages) == 0 || r.messages[0] != '[' {
		return nil, requestErrorf("messages", "must be an array")
	}
	t := chatTurns{r: r}
	if err := t.system(r.system, "system"); err != nil {
		return nil, err
	}
	i := 0
	for raw := range elements(r.messages) {
		if err := t.message(raw, fmt.Sprintf("messages[%d]", i)); err != nil {
			return nil, err
		}
		i++
	}
	t.close()
	if i == 0 || len(t.list) == 0 {
		return nil, requestErrorf("messages", "must contain a message that is not empty")
	}
	return appendEnclosed(append(dst, `,"messages":`...), '[', t.list, ']'), nil
}

func (t *chatTurns) system(content []byte, path string) error {
	var parts partList
	err := t.blocks(content, path, func(b *inputBlock, path string) error {
		if string(b.kind) != "text" {
			return requestErrorf(path+".type", "must be text")
		}
		return t.text(&parts, b, path)
	})
	if err == nil && parts.n > 0 {
		t.list = appendElement(t.list, append(parts.append([]byte(`{"role":"system","content":`), ""), '}'))
	}
	return err
}

func (t *chatTurns) message(raw []byte, path string) error {
	if raw[0] != '{' {
		return requestErrorf(path, "must be an object")
	}
	var role, content, key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "role":
			role = inner(v)
		case "content":
			content = v
		default:
			if !isEmpty(v) {
				t.r.drop("messages[]." + string(key))
			}
		}
	}
	if string(role) != t.role {
		t.close()
		t.role = string(role)
	}
	path += ".content"
	switch t.role {
	case "user":
		return t.blocks(content, path, t.user)
	case "assistant":
		return t.blocks(content, path, t.assistant)
	case "system":
		return t.system(content, path)
	}
	return requestErrorf(path[:len(path)-len("content")]+"role", "must be user or assistant")
}

// blocks calls do with each block of a content, of which a string is one text.
func (t *chatTurns) blocks(content []byte, path string, do func(b *inputBlock, path string) error) error {
	switch {
	case isNull(content):
		return nil
	case isString(content):
		return do(&inputBlock{kind: []byte("text"), text: content}, path)
	case content[0] != '[':
		return requestErrorf(path, "must be a string or an array")
	}
	i := 0
	for raw := range elements(content) {
		at := fmt.Sprintf("%s[%d]", path, i)
		if raw[0] != '{' {
			return requestErrorf(at, "must be an object")
		}
		b := t.r.readInput(raw)
		if err := do(&b, at); err != nil {
			return err
		}
		i++
	}
	return nil
}

// user takes in a block of the user's turn.
func (t *chatTurns) user(b *inputBlock, path string) error {
	if string(b.kind) == "tool_result" {
		if t.parts.n > 0 {
			t.r.drop("messages[].content") // it moves before what has come
		}
		return t.result(b, path)
	}
	return t.visible(&t.parts, &t.parts, b, path)
}

// assistant takes in a block of the model's turn.
func (t *chatTurns) assistant(b *inputBlock, path string) error {
	switch kind := string(b.kind); kind {
	case "text":
		if len(t.calls) > 0 && len(inner(b.text)) > 0 {
			t.r.drop("messages[].content")
		}
		return t.text(&t.parts, b, path)
	case "thinking", "redacted_thinking":
		return t.thought(b, path)
	case "tool_use":
		call, err := b.call(path)
		t.calls = appendElement(t.calls, call)
		return err
	case "server_tool_use", "mcp_tool_use":
		t.r.drop("messages[].content[].type")
		return nil
	default:
		if bytes.HasSuffix(b.kind, []byte("_tool_result")) {
			t.r.drop("messages[].content[].type")
			return nil
		}
		return requestErrorf(path+".type", "is not possible here with this model")
	}
}

func (t *chatTurns) thought(b *inputBlock, path string) error {
	signed := len(inner(b.signature)) > 0
	switch {
	case string(b.kind) == "redacted_thinking":
		if !isString(b.data) {
			return requestErrorf(path+".data", "must be a string")
		}
		signed = true
	case !isString(b.thinking):
		return requestErrorf(path+".thinking", "must be a string")
	}
	if t.parts.n > 0 || len(t.calls) > 0 {
		t.r.drop("messages[].content")
	}
	switch {
	case !signed:
		t.reasoning = append(t.reasoning, inner(b.thinking)...)
	case t.r.opt.DropThinking:
		t.r.drop("messages[].content[].thinking")
	default:
		t.thinking = appendElement(t.thinking, b.raw)
	}
	return nil
}

// result takes in the result of a tool.
func (t *chatTurns) result(b *inputBlock, path string) error {
	if len(inner(b.toolUseID)) == 0 {
		return requestErrorf(path+".tool_use_id", "must be a string")
	}
	switch string(b.isError) {
	case "", "null", "true", "false":
	default:
		return requestErrorf(path+".is_error", "must be a boolean")
	}
	failed := string(b.isError) == "true"
	var texts, media partList
	err := t.blocks(b.content, path+".content", func(b *inputBlock, path string) error {
		if string(b.kind) == "tool_reference" { // the tools that it names are known to the model anyway
			t.r.drop("messages[].content[].content[].type")
			return nil
		}
		if failed && string(b.kind) == "text" && len(inner(b.text)) > 0 {
			if failed = false; !bytes.HasPrefix(inner(b.text), []byte("Error")) {
				b.text = append(append([]byte(`"Error: `), inner(b.text)...), '"')
			}
		}
		return t.visible(&texts, &media, b, path)
	})
	if err != nil {
		return err
	}
	switch {
	case failed:
		texts.text([]byte(`"Error"`), nil)
	case texts.n == 0 && media.n > 0:
		texts.text([]byte(`"The result is in the next message."`), nil)
	}
	m := append([]byte(`{"role":"tool","tool_call_id":`), b.toolUseID...)
	m = texts.append(append(m, `,"content":`...), `""`)
	t.results = appendElement(t.results, append(appendCache(m, b.cache), '}'))
	if media.n > 0 {
		t.shown.text(append(append([]byte(`"Result of `), inner(b.toolUseID)...), `:"`...), nil)
		t.shown.add(media.elements)
	}
	return nil
}

// close writes the open turn.
func (t *chatTurns) close() {
	if len(t.results) > 0 {
		t.list = appendElement(t.list, t.results)
	}
	if t.shown.n > 0 {
		if t.parts.n > 0 {
			t.shown.add(t.parts.elements)
		}
		t.parts = t.shown
	}
	if t.role == "user" && t.parts.n > 0 {
		t.list = appendElement(t.list, append(t.parts.append([]byte(`{"role":"user","content":`), ""), '}'))
	}
	if t.role == "assistant" && (t.parts.n > 0 || len(t.calls) > 0 || len(t.thinking) > 0 || len(t.reasoning) > 0) {
		empty := "null"
		if len(t.calls) == 0 {
			empty = `""`
		}
		m := t.parts.append([]byte(`{"role":"assistant","content":`), empty)
		if len(t.reasoning) > 0 {
			m = appendEnclosed(append(m, `,"reasoning_content":`...), '"', t.reasoning, '"')
		}
		if len(t.thinking) > 0 {
			m = appendEnclosed(append(m, `,"thinking_blocks":`...), '[', t.thinking, ']')
		}
		if len(t.calls) > 0 {
			m = appendEnclosed(append(m, `,"tool_calls":`...), '[', t.calls, ']')
		}
		t.list = appendElement(t.list, append(m, '}'))
	}
	*t = chatTurns{r: t.r, list: t.list}
}
