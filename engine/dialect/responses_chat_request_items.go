package dialect

import "fmt"

// inputTurns writes the messages array.
type inputTurns struct {
	r    *inputRequest
	list []byte // elements of messages

	// What the assistant has done since another side spoke is gathered, to become one message.
	open      bool
	content   chatContent
	calls     []byte // elements of tool_calls
	reasoning []byte // raw string content
}

// appendMessages writes messages.
func (r *inputRequest) appendMessages(dst []byte) ([]byte, error) {
	t := inputTurns{r: r}
	if len(r.instructions) > 0 {
		if !isString(r.instructions) {
			return nil, requestErrorf("instructions", "must be a string")
		}
		if len(r.instructions) > 2 {
			t.message("system", r.instructions)
		}
	}
	switch {
	case isString(r.input):
		t.message("user", r.input)
	case len(r.input) > 0 && r.input[0] == '[':
		c := cursor{b: r.input}
		for i := 0; nextElement(&c, i); i++ {
			if err := t.item(c.value(), fmt.Sprintf("input[%d]", i)); err != nil {
				return nil, err
			}
		}
		t.flush()
	default:
		return nil, requestErrorf("input", "must be a string or an array of items")
	}
	if len(t.list) == 0 {
		return nil, requestErrorf("input", "must have at least one item")
	}
	dst = append(dst, `,"messages":`...)
	return appendEnclosed(dst, '[', t.list, ']'), nil
}

// message adds a message whose content is a raw value.
func (t *inputTurns) message(role string, content []byte) {
	m := append([]byte(`{"role":"`), role...)
	m = append(append(m, `","content":`...), content...)
	t.list = appendElement(t.list, append(m, '}'))
}

// flush writes what the assistant has done so far.
func (t *inputTurns) flush() {
	if !t.open {
		return
	}
	m := []byte(`{"role":"assistant","content":`)
	if t.content.n == 0 && len(t.calls) > 0 {
		m = append(m, "null"...)
	} else {
		m = t.content.append(m)
	}
	if len(t.reasoning) > 0 {
		m = append(m, `,"reasoning_content":`...)
		m = appendEnclosed(m, '"', t.reasoning, '"')
	}
	if len(t.calls) > 0 {
		m = append(m, `,"tool_calls":`...)
		m = appendEnclosed(m, '[', t.calls, ']')
	}
	t.list = appendElement(t.list, append(m, '}'))
	*t = inputTurns{r: t.r, list: t.list}
}

// inputItem is an item as raw values.
type inputItem struct {
	path                                         string
	kind, role, content, callID, name, arguments []byte
	input, output, summary, encrypted            []byte
}

func (t *inputTurns) item(raw []byte, path string) error {
	m := inputItem{path: path}
	if raw[0] != '{' {
		return requestErrorf(path, "must be an object")
	}
	head := members(raw, "type", "role")
	if m.kind = inner(head[0]); len(m.kind) == 0 && len(head[1]) > 0 {
		m.kind = []byte("message") // which an item is if it does not say what it is
	}
	switch kind := string(m.kind); kind {
	case "message", "reasoning", "function_call", "custom_tool_call", "function_call_output", "custom_tool_call_output":
	case "web_search_call", "file_search_call", "mcp_list_tools":
		t.r.drop("input[]." + kind) // what came of it is in the message after it
		return nil
	case "item_reference":
		return requestErrorf(path+".type", "this gateway stores no items: send the item itself")
	case "":
		return requestErrorf(path+".type", "must be a string")
	default:
		return requestErrorf(path+".type", "an item of the type %s is not possible with this model", kind)
	}
	t.read(&m, raw)
	switch string(m.kind) {
	case "message":
		return t.said(&m)
	case "reasoning":
		return t.thought(&m)
	case "function_call":
		return t.call(&m, "function", "arguments", m.arguments)
	case "custom_tool_call":
		return t.call(&m, "custom", "input", m.input)
	}
	return t.result(&m)
}

// read collects the members of an item, and reports those that its kind has no use for.
func (t *inputTurns) read(m *inputItem, raw []byte) {
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		if isNull(v) {
			continue
		}
		to := (*[]byte)(nil)
		switch kind, name := string(m.kind), string(key); {
		case name == "type" || name == "id" || name == "status":
			continue
		case kind == "message" && name == "role":
			m.role = inner(v)
			continue
		case (kind == "message" || kind == "reasoning") && name == "content":
			to = &m.content
		case kind == "reasoning" && name == "summary":
			to = &m.summary
		case kind == "reasoning" && name == "encrypted_content":
			to = &m.encrypted
		case kind != "message" && kind != "reasoning" && name == "call_id":
			to = &m.callID
		case (kind == "function_call" || kind == "custom_tool_call") && name == "name":
			to = &m.name
		case kind == "function_call" && name == "arguments":
			to = &m.arguments
		case kind == "custom_tool_call" && name == "input":
			to = &m.input
		case (kind == "function_call_output" || kind == "custom_tool_call_output") && name == "output":
			to = &m.output
		case isEmpty(v), string(v) == "false":
			continue
		default:
			t.r.drop("input[]." + name)
			continue
		}
		*to = v
	}
}

// said adds a message.
func (t *inputTurns) said(m *inputItem) error {
	allowed := systemParts
	switch string(m.role) {
	case "system", "developer":
	case "user":
		allowed = inputUserParts
	case "assistant":
		if t.content.n > 0 && len(t.calls) == 0 {
			t.flush()
		}
		t.open = true
		return t.r.readContent(&t.content, m.content, assistantParts, m.path, "content")
	default:
		return requestErrorf(m.path+".role", "must be system, developer, user or assistant")
	}
	t.flush()
	var content chatContent
	if err := t.r.readContent(&content, m.content, allowed, m.path, "content"); err != nil {
		return err
	}
	t.message(string(m.role), content.append(nil))
	return nil
}

// thought adds reasoning, which belongs to what the assistant does next.
func (t *inputTurns) thought(m *inputItem) error {
	if len(m.encrypted) > 0 {
		t.r.drop("input[].encrypted_content")
	}
	from, name := m.content, "content"
	if isEmpty(from) {
		from, name = m.summary, "summary"
	} else if !isEmpty(m.summary) {
		t.r.drop("input[].summary")
	}
	if isEmpty(from) {
		return nil
	}
	if from[0] != '[' {
		return requestErrorf(m.path+"."+name, "must be an array")
	}
	if t.r.opt.DropThinking {
		t.r.drop("input[]." + name)
		return nil
	}
	if t.content.n > 0 && len(t.calls) == 0 {
		t.flush()
	}
	c := cursor{b: from}
	for i := 0; nextElement(&c, i); i++ {
		text := members(c.value(), "text")[0]
		if !isString(text) {
			return requestErrorf(fmt.Sprintf("%s.%s[%d].text", m.path, name, i), "must be a string")
		}
		if len(t.reasoning) > 0 && len(text) > 2 {
			t.reasoning = append(t.reasoning, `\n\n`...)
		}
		t.reasoning = append(t.reasoning, inner(text)...)
	}
	t.open = t.open || len(t.reasoning) > 0
	return nil
}

// call adds a call of a tool. member is that of its argument.
func (t *inputTurns) call(m *inputItem, kind, member string, argument []byte) error {
	switch {
	case len(inner(m.callID)) == 0:
		return requestErrorf(m.path+".call_id", "must be a string")
	case len(inner(m.name)) == 0:
		return requestErrorf(m.path+".name", "must be a string")
	case !isString(argument):
		return requestErrorf(m.path+"."+member, "must be a string")
	}
	call := append([]byte(`{"id":`), m.callID...)
	call = append(call, `,"type":"`+kind+`","`+kind+`":{"name":`...)
	call = appendMember(append(call, m.name...), member, argument)
	t.open = true
	t.calls = appendElement(t.calls, append(call, `}}`...))
	return nil
}

// result adds what a tool has returned.
func (t *inputTurns) result(m *inputItem) error {
	if len(inner(m.callID)) == 0 {
		return requestErrorf(m.path+".call_id", "must be a string")
	}
	t.flush()
	var content chatContent
	if err := t.r.readContent(&content, m.output, toolParts, m.path, "output"); err != nil {
		return err
	}
	out := append([]byte(`{"role":"tool","tool_call_id":`), m.callID...)
	out = content.append(append(out, `,"content":`...))
	t.list = appendElement(t.list, append(out, '}'))
	return nil
}
