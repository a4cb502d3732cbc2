package dialect

import "fmt"

// appendTools writes tools, tool_choice and parallel_tool_calls.
func (r *responsesRequest) appendTools(dst []byte) ([]byte, error) {
	if len(r.parallel) > 0 && !isBool(r.parallel) {
		return nil, requestErrorf("parallel_tool_calls", "must be a boolean")
	}
	if len(r.tools) > 0 && r.tools[0] != '[' {
		return nil, requestErrorf("tools", "must be an array")
	}
	var list []byte
	i := 0
	for raw := range elements(r.tools) {
		tool, err := r.tool(raw, fmt.Sprintf("tools[%d]", i))
		if err != nil {
			return nil, err
		}
		list = appendElement(list, tool)
		i++
	}
	if i == 0 {
		if len(r.toolChoice) > 0 && string(r.toolChoice) != `"none"` && string(r.toolChoice) != `"auto"` {
			return nil, requestErrorf("tool_choice", "needs tools")
		}
		return dst, nil
	}
	dst = appendEnclosed(append(dst, `,"tools":`...), '[', list, ']')
	if len(r.toolChoice) > 0 {
		choice := toolChoice(r.toolChoice)
		if choice == nil {
			return nil, requestErrorf("tool_choice", "must be auto, none, required, or name tools")
		}
		dst = appendMember(dst, "tool_choice", choice)
	}
	if len(r.parallel) > 0 {
		dst = appendMember(dst, "parallel_tool_calls", r.parallel)
	}
	return dst, nil
}

// tool translates one tool, whose members are one level higher in this API.
func (r *responsesRequest) tool(raw []byte, path string) ([]byte, error) {
	if raw[0] != '{' {
		return nil, requestErrorf(path, "must be an object")
	}
	var kind, function, custom, key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			kind = v
		case "function":
			function = v
		case "custom":
			custom = v
		default:
			if !isEmpty(v) {
				r.drop("tools[]." + string(key))
			}
		}
	}
	switch string(inner(kind)) {
	case "function":
		return r.functionTool(function, path+".function")
	case "custom":
		return r.customTool(custom, path+".custom")
	}
	return nil, requestErrorf(path+".type", "only function and custom are possible with this model")
}

func (r *responsesRequest) functionTool(raw []byte, path string) ([]byte, error) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, requestErrorf(path, "must be an object")
	}
	var name, description, parameters, strict, key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "name":
			name = v
		case "description":
			description = v
		case "parameters":
			parameters = v
		case "strict":
			strict = v
		default:
			if !isEmpty(v) {
				r.drop("tools[].function." + string(key))
			}
		}
	}
	switch {
	case len(inner(name)) == 0:
		return nil, requestErrorf(path+".name", "must be a string")
	case isEmpty(parameters):
		parameters = []byte(`{"type":"object","properties":{}}`)
	case parameters[0] != '{':
		return nil, requestErrorf(path+".parameters", "must be an object")
	}
	switch {
	case isNull(strict):
		strict = []byte("false")
	case !isBool(strict):
		return nil, requestErrorf(path+".strict", "must be a boolean")
	}
	tool := appendMember([]byte(`{"type":"function"`), "name", name)
	if isString(description) {
		tool = appendMember(tool, "description", description)
	}
	tool = appendMember(tool, "parameters", parameters)
	return append(appendMember(tool, "strict", strict), '}'), nil
}

func (r *responsesRequest) customTool(raw []byte, path string) ([]byte, error) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, requestErrorf(path, "must be an object")
	}
	var name, description, format, key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "name":
			name = v
		case "description":
			description = v
		case "format":
			format = v
		default:
			if !isEmpty(v) {
				r.drop("tools[].custom." + string(key))
			}
		}
	}
	if len(inner(name)) == 0 {
		return nil, requestErrorf(path+".name", "must be a string")
	}
	tool := appendMember([]byte(`{"type":"custom"`), "name", name)
	if isString(description) {
		tool = appendMember(tool, "description", description)
	}
	if isNull(format) {
		return append(tool, '}'), nil
	}
	m := members(format, "type", "grammar")
	switch string(inner(m[0])) {
	case "text":
		tool = append(tool, `,"format":{"type":"text"}`...)
	case "grammar":
		g := members(m[1], "definition", "syntax")
		if !isString(g[0]) || !isString(g[1]) {
			return nil, requestErrorf(path+".format.grammar", "must have a definition and a syntax")
		}
		tool = appendMember(append(tool, `,"format":{"type":"grammar"`...), "definition", g[0])
		tool = append(appendMember(tool, "syntax", g[1]), '}')
	default:
		return nil, requestErrorf(path+".format.type", "must be text or grammar")
	}
	return append(tool, '}'), nil
}

// toolChoice translates a choice; nil if it is none.
func toolChoice(raw []byte) []byte {
	switch string(raw) {
	case `"auto"`, `"none"`, `"required"`:
		return raw
	}
	m := members(raw, "type", "allowed_tools")
	if string(inner(m[0])) != "allowed_tools" {
		return namedChoice(raw)
	}
	allowed := members(m[1], "mode", "tools")
	mode := string(inner(allowed[0]))
	if mode != "auto" && mode != "required" {
		return nil
	}
	var list []byte
	for raw := range elements(allowed[1]) {
		tool := namedChoice(raw)
		if tool == nil {
			return nil
		}
		list = appendElement(list, tool)
	}
	if len(list) == 0 {
		return nil
	}
	choice := appendMember([]byte(`{"type":"allowed_tools"`), "mode", allowed[0])
	return append(appendEnclosed(append(choice, `,"tools":`...), '[', list, ']'), '}')
}

// namedChoice translates the name of a function or custom tool; nil if it is none.
func namedChoice(raw []byte) []byte {
	m := members(raw, "type", "function", "custom")
	kind := string(inner(m[0]))
	var of []byte
	switch kind {
	case "function":
		of = m[1]
	case "custom":
		of = m[2]
	}
	name := members(of, "name")[0]
	if len(inner(name)) == 0 {
		return nil
	}
	return append(appendMember(append([]byte(`{"type":`), m[0]...), "name", name), '}')
}
