package dialect

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// longestCallID is the length up to which the API takes the id of a tool call, in bytes.
const longestCallID = 64

// input writes the items of a request.
type input struct {
	r      *responsesRequest
	items  []byte
	custom map[string]bool // the ids of calls of custom tools
}

// appendInput writes input, the messages as items.
func (r *responsesRequest) appendInput(dst []byte) ([]byte, error) {
	if len(r.messages) == 0 || r.messages[0] != '[' {
		return nil, requestErrorf("messages", "must be an array")
	}
	in := input{r: r}
	i := 0
	for raw := range elements(r.messages) {
		if err := in.message(raw, fmt.Sprintf("messages[%d]", i)); err != nil {
			return nil, err
		}
		i++
	}
	if len(in.items) == 0 {
		return nil, requestErrorf("messages", "must contain a message that is not empty")
	}
	return appendEnclosed(append(dst, `,"input":`...), '[', in.items, ']'), nil
}

// inputMessage is a message of a chat completion request as raw values.
type inputMessage struct {
	path                                          string
	role, content, refusal, toolCalls, toolCallID []byte
}

func (in *input) message(raw []byte, path string) error {
	m := inputMessage{path: path}
	if raw[0] != '{' {
		return requestErrorf(path, "must be an object")
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
		default: // name, reasoning_content, thinking_blocks, cache_control and what else clients send back
			if !isEmpty(v) {
				in.r.drop("messages[]." + string(key))
			}
		}
	}
	switch string(m.role) {
	case "system", "developer", "user":
		return in.turn(&m)
	case "assistant":
		return in.assistant(&m)
	case "tool":
		return in.toolResult(&m)
	}
	return requestErrorf(path+".role", "must be system, developer, user, assistant or tool")
}

// turn appends a message of the user, or an instruction.
func (in *input) turn(m *inputMessage) error {
	allowed := partText
	if string(m.role) == "user" {
		allowed |= partImage | partFile | partAudio
	}
	content := m.content
	if !isString(content) {
		list, err := in.parts(m, allowed)
		if err != nil {
			return err
		}
		content = appendEnclosed(nil, '[', list, ']')
	}
	in.item(content, string(m.role))
	return nil
}

// item appends a message. The content is a raw string or array.
func (in *input) item(content []byte, role string) {
	item := append([]byte(`{"type":"message","role":"`), role...)
	in.items = appendElement(in.items, append(appendMember(append(item, '"'), "content", content), '}'))
}

// parts translates the content of a message that is an array.
func (in *input) parts(m *inputMessage, allowed partKinds) (list []byte, err error) {
	if len(m.content) == 0 || m.content[0] != '[' {
		return nil, requestErrorf(m.path+".content", "must be a string or an array")
	}
	i := 0
	for raw := range elements(m.content) {
		part, err := in.part(raw, allowed, fmt.Sprintf("%s.content[%d]", m.path, i))
		if err != nil {
			return nil, err
		}
		list = appendElement(list, part)
		i++
	}
	if i == 0 {
		return nil, requestErrorf(m.path+".content", "must not be empty")
	}
	return list, nil
}

// contentPart is a content part of a chat completion request as raw values.
type contentPart struct {
	kind, text, refusal, image, file, audio, breakpoint []byte
}

// readPart reads a content part and reports the members that have no counterpart.
func (in *input) readPart(raw []byte, path string) (p contentPart, err error) {
	if raw[0] != '{' {
		return p, requestErrorf(path, "must be an object")
	}
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			p.kind = inner(v)
		case "text":
			p.text = v
		case "refusal":
			p.refusal = v
		case "image_url":
			p.image = v
		case "file":
			p.file = v
		case "input_audio":
			p.audio = v
		case "prompt_cache_breakpoint":
			p.breakpoint = v
		default:
			if !isEmpty(v) {
				in.r.drop("messages[].content[]." + string(key))
			}
		}
	}
	return p, nil
}

// part translates one content part of the user, of an instruction or of a tool's result.
func (in *input) part(raw []byte, allowed partKinds, path string) ([]byte, error) {
	p, err := in.readPart(raw, path)
	if err != nil {
		return nil, err
	}
	var out []byte
	switch kind := string(p.kind); {
	case kind == "text" && allowed&partText != 0:
		if !isString(p.text) {
			return nil, requestErrorf(path+".text", "must be a string")
		}
		out = appendMember([]byte(`{"type":"input_text"`), "text", p.text)
	case kind == "image_url" && allowed&partImage != 0:
		out, err = in.image(p.image, path+".image_url")
	case kind == "file" && allowed&partFile != 0:
		out, err = in.file(p.file, path+".file")
	case kind == "input_audio" && allowed&partAudio != 0:
		if len(p.audio) == 0 || p.audio[0] != '{' {
			return nil, requestErrorf(path+".input_audio", "must be an object")
		}
		out = appendMember([]byte(`{"type":"input_audio"`), "input_audio", p.audio)
	default:
		return nil, requestErrorf(path+".type", "is not possible here with this model")
	}
	if err != nil {
		return nil, err
	}
	if !isEmpty(p.breakpoint) {
		out = appendMember(out, "prompt_cache_breakpoint", p.breakpoint)
	}
	return append(out, '}'), nil
}

// image translates an image up to its closing brace.
func (in *input) image(raw []byte, path string) ([]byte, error) {
	url, detail := raw, []byte(nil)
	if !isString(raw) {
		m := members(raw, "url", "detail")
		url, detail, path = m[0], m[1], path+".url"
	}
	if len(inner(url)) == 0 {
		return nil, requestErrorf(path, "must be a string")
	}
	if !isString(detail) {
		detail = []byte(`"auto"`)
	}
	out := appendMember([]byte(`{"type":"input_image"`), "image_url", url)
	return appendMember(out, "detail", detail), nil
}

// file translates a file up to its closing brace. Some clients give an address in place of the data.
func (in *input) file(raw []byte, path string) ([]byte, error) {
	out := []byte(`{"type":"input_file"`)
	m := members(raw, "file_id", "file_data", "filename")
	if isString(m[0]) {
		out = appendMember(out, "file_id", m[0])
	}
	if isString(m[1]) {
		name := "file_data"
		if url := unquoted(m[1]); hasScheme(url, "https://") || hasScheme(url, "http://") {
			name = "file_url"
		}
		out = appendMember(out, name, m[1])
	}
	if !isString(m[0]) && !isString(m[1]) {
		return nil, requestErrorf(path, "must have a file_id or file_data")
	}
	if isString(m[2]) {
		out = appendMember(out, "filename", m[2])
	}
	return out, nil
}

// texts gathers the texts and the refusals of a message, joined, as raw string contents.
func (in *input) texts(m *inputMessage, allowed partKinds) (text, refusal []byte, err error) {
	if isNull(m.content) || isString(m.content) {
		return inner(m.content), nil, nil
	}
	if m.content[0] != '[' {
		return nil, nil, requestErrorf(m.path+".content", "must be a string or an array")
	}
	i := 0
	for raw := range elements(m.content) {
		path := fmt.Sprintf("%s.content[%d]", m.path, i)
		p, err := in.readPart(raw, path)
		if err != nil {
			return nil, nil, err
		}
		value, to := p.text, &text
		switch kind := string(p.kind); {
		case kind == "refusal" && allowed&partRefusal != 0:
			value, to = p.refusal, &refusal
		case kind != "text":
			return nil, nil, requestErrorf(path+".type", "is not possible here with this model")
		}
		if !isString(value) {
			return nil, nil, requestErrorf(path+"."+string(p.kind), "must be a string")
		}
		if !isEmpty(p.breakpoint) {
			in.r.drop("messages[].content[].prompt_cache_breakpoint")
		}
		*to = append(*to, inner(value)...)
		i++
	}
	return text, refusal, nil
}

// assistant appends what the model has said and the tools it has called.
func (in *input) assistant(m *inputMessage) error {
	text, refusal, err := in.texts(m, assistantParts)
	if err != nil {
		return err
	}
	refusal = append(refusal, inner(m.refusal)...)
	if len(m.toolCalls) > 0 && m.toolCalls[0] != '[' {
		return requestErrorf(m.path+".tool_calls", "must be an array")
	}
	switch {
	case len(refusal) > 0:
		var list []byte
		if len(text) > 0 {
			list = append(list, `{"type":"output_text","text":`...)
			list = append(appendEnclosed(list, '"', text, '"'), `,"annotations":[]}`...)
		}
		part := append(appendEnclosed([]byte(`{"type":"refusal","refusal":`), '"', refusal, '"'), '}')
		in.item(appendEnclosed(nil, '[', appendElement(list, part), ']'), "assistant")
	case len(text) > 0 || len(m.content) > 0 && isEmpty(m.toolCalls):
		in.item(appendEnclosed(nil, '"', text, '"'), "assistant")
	}
	i := 0
	for raw := range elements(m.toolCalls) {
		if err := in.call(raw, fmt.Sprintf("%s.tool_calls[%d]", m.path, i)); err != nil {
			return err
		}
		i++
	}
	return nil
}

// call appends one tool call.
func (in *input) call(raw []byte, path string) error {
	m := members(raw, "id", "type", "function", "custom")
	if len(inner(m[0])) == 0 {
		return requestErrorf(path+".id", "must be a string")
	}
	kind, field, value, of := "function_call", "arguments", "arguments", m[2]
	under := ".function"
	switch string(inner(m[1])) {
	case "function":
	case "custom":
		kind, field, value, of, under = "custom_tool_call", "input", "input", m[3], ".custom"
		if in.custom == nil {
			in.custom = map[string]bool{}
		}
		in.custom[string(unquoted(m[0]))] = true
	default:
		if len(m[1]) > 0 {
			return requestErrorf(path+".type", "only function and custom are possible with this model")
		}
	}
	f := members(of, "name", value)
	switch {
	case len(inner(f[0])) == 0:
		return requestErrorf(path+under+".name", "must be a string")
	case len(f[1]) > 0 && !isString(f[1]):
		return requestErrorf(path+under+"."+value, "must be a string")
	case field == "input" && len(f[1]) == 0:
		f[1] = []byte(`""`)
	case field == "arguments" && len(bytes.TrimSpace(unquoted(f[1]))) == 0:
		f[1] = []byte(`"{}"`) // what models write for no arguments
	}
	item := appendCallID(append(append([]byte(`{"type":"`), kind...), `","call_id":`...), m[0])
	item = appendMember(appendMember(item, "name", f[0]), field, f[1])
	in.items = appendElement(in.items, append(item, '}'))
	return nil
}

// toolResult appends the result of a call.
func (in *input) toolResult(m *inputMessage) error {
	if len(inner(m.toolCallID)) == 0 {
		return requestErrorf(m.path+".tool_call_id", "must be a string")
	}
	var output []byte
	if onlyTexts(m.content) { // which every server of this API takes as a string
		text, _, err := in.texts(m, partText)
		if err != nil {
			return err
		}
		output = appendEnclosed(nil, '"', text, '"')
	} else {
		list, err := in.parts(m, toolParts)
		if err != nil {
			return err
		}
		output = appendEnclosed(nil, '[', list, ']')
	}
	kind := "function_call_output"
	if in.custom[string(unquoted(m.toolCallID))] {
		kind = "custom_tool_call_output"
	}
	item := appendCallID(append(append([]byte(`{"type":"`), kind...), `","call_id":`...), m.toolCallID)
	in.items = appendElement(in.items, append(appendMember(item, "output", output), '}'))
	return nil
}

// onlyTexts reports whether a content is a string, absent, or a list without images and files.
func onlyTexts(content []byte) bool {
	for raw := range elements(content) {
		switch string(inner(members(raw, "type")[0])) {
		case "image_url", "file":
			return false
		}
	}
	return true
}

// appendCallID appends the id of a tool call as a string. A hash takes the place of one that is too long.
func appendCallID(dst, id []byte) []byte {
	text := unquoted(id)
	if len(text) <= longestCallID {
		return append(dst, id...)
	}
	sum := sha256.Sum256(text)
	return appendQuoted(dst, "call_"+hex.EncodeToString(sum[:16]))
}
