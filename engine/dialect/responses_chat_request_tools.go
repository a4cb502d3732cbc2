package dialect

import "fmt"

// appendTools writes tools, tool_choice and parallel_tool_calls.
func (r *inputRequest) appendTools(dst []byte) ([]byte, error) {
	var list []byte
	if len(r.tools) > 0 {
		if r.tools[0] != '[' {
			return nil, requestErrorf("tools", "must be an array")
		}
		c := cursor{b: r.tools}
		for i := 0; nextElement(&c, i); i++ {
			tool, err := r.tool(c.value(), fmt.Sprintf("tools[%d]", i))
			if err != nil {
				return nil, err
			}
			list = appendElement(list, tool)
		}
	}
	switch string(r.parallel) {
	case "", "true", "false":
	default:
		return nil, requestErrorf("parallel_tool_calls", "must be a boolean")
	}
	if len(list) == 0 {
		switch string(r.toolChoice) {
		case "", `"auto"`, `"none"`:
			return dst, nil
		}
		return nil, requestErrorf("tool_choice", "needs tools")
	}
	dst = append(dst, `,"tools":`...)
	dst = appendEnclosed(dst, '[', list, ']')
	if len(r.toolChoice) > 0 {
		choice, err := toolChoiceToChat(r.toolChoice, "tool_choice")
		if err != nil {
			return nil, err
		}
		dst = appendMember(dst, "tool_choice", choice)
	}
	if string(r.parallel) == "false" {
		dst = append(dst, `,"parallel_tool_calls":false`...)
	}
	return dst, nil
}

// tool translates one tool.
func (r *inputRequest) tool(raw []byte, path string) ([]byte, error) {
	if raw[0] != '{' {
		return nil, requestErrorf(path, "must be an object")
	}
	kind := string(inner(members(raw, "type")[0]))
	switch kind {
	case "function", "custom":
	case "":
		return nil, requestErrorf(path+".type", "must be a string")
	default:
		return nil, requestErrorf(path+".type", "the built-in tool %s is not possible with this model, only function and custom are", kind)
	}
	var known, name, key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		if isNull(v) {
			continue
		}
		switch member := string(key); {
		case member == "type":
		case member == "name":
			name = v
			known = appendMember(known, member, v)
		case member == "description":
			known = appendMember(known, member, v)
		case kind == "function" && member == "parameters":
			if v[0] != '{' {
				return nil, requestErrorf(path+".parameters", "must be an object")
			}
			known = appendMember(known, member, v)
		case kind == "function" && member == "strict":
			known = appendMember(known, member, v)
		case kind == "custom" && member == "format":
			format, err := toolFormat(v, path+".format")
			if err != nil {
				return nil, err
			}
			known = appendMember(known, member, format)
		case isEmpty(v), string(v) == "false":
		default:
			r.drop("tools[]." + member)
		}
	}
	if len(inner(name)) == 0 {
		return nil, requestErrorf(path+".name", "must be a string")
	}
	out := []byte(`{"type":"` + kind + `","` + kind + `":`)
	return append(appendEnclosed(out, '{', known[1:], '}'), '}'), nil
}

// toolFormat translates the format of a custom tool, whose grammar is one level deeper in chat completions.
func toolFormat(v []byte, path string) ([]byte, error) {
	m := members(v, "type", "syntax", "definition")
	switch string(inner(m[0])) {
	case "text":
		return []byte(`{"type":"text"}`), nil
	case "grammar":
		if isString(m[1]) && isString(m[2]) {
			out := append([]byte(`{"type":"grammar","grammar":{"syntax":`), m[1]...)
			return append(appendMember(out, "definition", m[2]), `}}`...), nil
		}
		return nil, requestErrorf(path, "must have a syntax and a definition")
	}
	return nil, requestErrorf(path+".type", "must be text or grammar")
}

// toolChoiceToChat translates a tool_choice.
func toolChoiceToChat(v []byte, path string) ([]byte, error) {
	if isString(v) {
		switch string(inner(v)) {
		case "auto", "none", "required":
			return v, nil
		}
		return nil, requestErrorf(path, "must be auto, none, required, or an object")
	}
	m := members(v, "type", "mode", "tools")
	switch kind := string(inner(m[0])); kind {
	case "function", "custom":
		return namedTool(v, path)
	case "allowed_tools":
		if mode := string(inner(m[1])); mode != "auto" && mode != "required" {
			return nil, requestErrorf(path+".mode", "must be auto or required")
		}
		if len(m[2]) == 0 || m[2][0] != '[' {
			return nil, requestErrorf(path+".tools", "must be an array")
		}
		var list []byte
		c := cursor{b: m[2]}
		for i := 0; nextElement(&c, i); i++ {
			tool, err := namedTool(c.value(), fmt.Sprintf("%s.tools[%d]", path, i))
			if err != nil {
				return nil, err
			}
			list = appendElement(list, tool)
		}
		out := append([]byte(`{"type":"allowed_tools","allowed_tools":{"mode":`), m[1]...)
		out = append(out, `,"tools":`...)
		return append(appendEnclosed(out, '[', list, ']'), `}}`...), nil
	case "":
		return nil, requestErrorf(path, "must be auto, none, required, or name a tool")
	default:
		return nil, requestErrorf(path+".type", "the built-in tool %s is not possible with this model", kind)
	}
}

// namedTool translates the object that names a tool.
func namedTool(v []byte, path string) ([]byte, error) {
	m := members(v, "type", "name")
	kind := string(inner(m[0]))
	if kind != "function" && kind != "custom" {
		return nil, requestErrorf(path+".type", "only function and custom are possible with this model")
	}
	if len(inner(m[1])) == 0 {
		return nil, requestErrorf(path+".name", "must be a string")
	}
	out := append([]byte(`{"type":"`+kind+`","`+kind+`":{"name":`), m[1]...)
	return append(out, `}}`...), nil
}
