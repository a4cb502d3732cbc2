package dialect

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// turns writes the messages array, joining consecutive messages of one side.
type turns struct {
	r      *request
	out    []byte // "messages" up to the last block
	system []byte // elements of system
	role   string // of the open turn

	signed   bool // the last turn of the assistant begins with signed thinking
	unsigned bool // it does not, and calls tools
	answered bool // results of tools follow it
}

// appendMessages writes messages and system.
func (r *request) appendMessages(dst []byte, instruction string) ([]byte, error) {
	if len(r.messages) == 0 || r.messages[0] != '[' {
		return nil, requestErrorf("messages", "must be an array")
	}
	t := turns{r: r, out: append(dst, `,"messages":[`...)}
	c := cursor{b: r.messages}
	for i := 0; nextElement(&c, i); i++ {
		if err := t.message(c.value(), i); err != nil {
			return nil, err
		}
	}
	if t.role == "" {
		return nil, requestErrorf("messages", "must contain a message of the user that is not empty")
	}
	r.noThought = t.unsigned && t.answered || t.role == "assistant"
	dst = append(t.out, `]}]`...)
	if instruction != "" {
		t.system = appendElement(t.system, appendText(nil, appendQuoted(nil, instruction), nil))
	}
	if len(t.system) > 0 {
		dst = append(dst, `,"system":`...)
		dst = appendEnclosed(dst, '[', t.system, ']')
	}
	return dst, nil
}

// chatMessage is a message as raw values.
type chatMessage struct {
	path                                                           string
	role, content, refusal, toolCalls, toolCallID, thinking, cache []byte
}

func (t *turns) message(raw []byte, i int) error {
	m := chatMessage{path: fmt.Sprintf("messages[%d]", i)}
	if len(raw) == 0 || raw[0] != '{' {
		return requestErrorf(m.path, "must be an object")
	}
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		if isNull(v) {
			continue
		}
		switch string(key) {
		case "role":
			m.role = inner(v)
		case "content":
			m.content = v
		case "refusal":
			m.refusal = v
		case "tool_calls":
			m.toolCalls = v
		case "tool_call_id":
			m.toolCallID = v
		case "thinking_blocks":
			m.thinking = v
		case "cache_control":
			m.cache = v
		default:
			if !isEmpty(v) {
				t.r.drop("messages[]." + string(key))
			}
		}
	}
	switch string(m.role) {
	case "system", "developer":
		if t.role != "" {
			t.r.drop("messages[].role")
		}
		var err error
		t.system, err = t.parts(t.system, &m, systemParts)
		return err
	case "user":
		return t.turn("user", &m, userParts)
	case "assistant":
		return t.assistant(&m)
	case "tool":
		return t.toolResult(&m)
	}
	return requestErrorf(m.path+".role", "must be system, developer, user, assistant or tool")
}

// begin makes a turn of the role the open one.
func (t *turns) begin(role string) {
	if t.role == role {
		t.out = append(t.out, ',')
		return
	}
	if t.role != "" {
		t.out = append(t.out, `]},`...)
	}
	t.role = role
	t.out = append(append(append(t.out, `{"role":"`...), role...), `","content":[`...)
}

// turn writes the content of a message into a turn of the role.
func (t *turns) turn(role string, m *chatMessage, allowed partKinds) error {
	blocks, err := t.parts(nil, m, allowed)
	if err != nil || len(blocks) == 0 {
		return err
	}
	t.begin(role)
	t.out = append(t.out, blocks...)
	return nil
}

func (t *turns) assistant(m *chatMessage) error {
	blocks, err := t.thinkingBlocks(m)
	if err != nil {
		return err
	}
	signed, calls := len(blocks) > 0, !isEmpty(m.toolCalls)
	cache := m.cache
	if calls {
		m.cache = nil // it goes on the last call
	}
	if blocks, err = t.parts(blocks, m, assistantParts); err != nil {
		return err
	}
	if isString(m.refusal) && !isBlank(inner(m.refusal)) {
		blocks = appendElement(blocks, appendText(nil, m.refusal, nil))
	}
	if len(m.toolCalls) > 0 && m.toolCalls[0] != '[' {
		return requestErrorf(m.path+".tool_calls", "must be an array")
	}
	c := cursor{b: m.toolCalls}
	for i, more := 0, calls && nextElement(&c, 0); more; i++ {
		raw := c.value()
		var breakpoint []byte
		if more = c.element(); !more {
			breakpoint = cache
		}
		call, err := toolUse(raw, breakpoint, fmt.Sprintf("%s.tool_calls[%d]", m.path, i))
		if err != nil {
			return err
		}
		blocks = appendElement(blocks, call)
	}
	if len(blocks) == 0 {
		return nil
	}
	if t.role != "assistant" {
		t.signed, t.unsigned, t.answered = signed, false, false
	}
	t.unsigned = t.unsigned || calls && !t.signed
	t.begin("assistant")
	t.out = append(t.out, blocks...)
	return nil
}

// thinkingBlocks returns the signed thinking of a message; the API refuses any other.
func (t *turns) thinkingBlocks(m *chatMessage) (blocks []byte, err error) {
	if isEmpty(m.thinking) {
		return nil, nil
	}
	if m.thinking[0] != '[' {
		return nil, requestErrorf(m.path+".thinking_blocks", "must be an array")
	}
	if t.r.opt.DropThinking {
		t.r.drop("messages[].thinking_blocks")
		return nil, nil
	}
	c := cursor{b: m.thinking}
	for c.array(); c.element(); {
		b := readBlock(c.value())
		kind := string(b.kind)
		if kind == "thinking" && len(inner(b.signature)) > 0 || kind == "redacted_thinking" && isString(b.data) {
			blocks = appendElement(blocks, b.raw)
			continue
		}
		t.r.drop("messages[].thinking_blocks")
	}
	return blocks, nil
}

// toolUse translates one tool call.
func toolUse(raw, cache []byte, path string) ([]byte, error) {
	m := members(raw, "id", "type", "function", "cache_control")
	if len(m[3]) > 0 {
		cache = m[3]
	}
	if kind := m[1]; len(kind) > 0 && string(inner(kind)) != "function" {
		return nil, requestErrorf(path+".type", "only function is possible with this model")
	}
	if len(inner(m[0])) == 0 {
		return nil, requestErrorf(path+".id", "must be a string")
	}
	f := members(m[2], "name", "arguments")
	if len(inner(f[0])) == 0 {
		return nil, requestErrorf(path+".function.name", "must be a string")
	}
	if len(f[1]) > 0 && !isString(f[1]) {
		return nil, requestErrorf(path+".function.arguments", "must be a string")
	}
	input := bytes.TrimSpace(unquoted(f[1]))
	if len(input) == 0 {
		input = []byte("{}") // what models write for no arguments
	}
	if input[0] != '{' || !jsontext.Value(input).IsValid() {
		return nil, requestErrorf(path+".function.arguments", "must be a JSON object")
	}
	out := appendToolID([]byte(`{"type":"tool_use","id":`), m[0])
	out = append(append(out, `,"name":`...), f[0]...)
	out = append(append(out, `,"input":`...), input...)
	return append(appendCache(out, cache), '}'), nil
}

func (t *turns) toolResult(m *chatMessage) error {
	if len(inner(m.toolCallID)) == 0 {
		return requestErrorf(m.path+".tool_call_id", "must be a string")
	}
	cache := m.cache
	m.cache = nil // it goes on the result, not on the last part of its content
	blocks, err := t.parts(nil, m, toolParts)
	if err != nil {
		return err
	}
	t.begin("user")
	t.out = appendToolID(append(t.out, `{"type":"tool_result","tool_use_id":`...), m.toolCallID)
	if len(blocks) > 0 {
		t.out = append(t.out, `,"content":`...)
		t.out = appendEnclosed(t.out, '[', blocks, ']')
	}
	t.out = append(appendCache(t.out, cache), '}')
	t.answered = true
	return nil
}
