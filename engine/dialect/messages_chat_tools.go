package dialect

import (
	"fmt"
	"slices"
	"strings"
)

// appendTools writes tools.
func (r *messagesRequest) appendTools(dst []byte) ([]byte, error) {
	if !isEmpty(r.servers) {
		r.away = "mcp_servers"
		r.drop(r.away)
	}
	if len(r.tools) > 0 && r.tools[0] != '[' {
		return nil, requestErrorf("tools", "must be an array")
	}
	i := 0
	var list []byte
	for raw := range elements(r.tools) {
		tool, err := r.tool(raw, fmt.Sprintf("tools[%d]", i))
		if err != nil {
			return nil, err
		}
		if tool != nil {
			list = appendElement(list, tool)
		}
		i++
	}
	if len(list) > 0 {
		return appendEnclosed(append(dst, `,"tools":`...), '[', list, ']'), nil
	}
	if r.away != "" { // the request is about nothing else
		return nil, requestErrorf(r.away, "tools that the API runs itself are not possible with this model")
	}
	return dst, nil
}

// runByAPI tells tools that the API runs itself.
func runByAPI(kind []byte) bool {
	for _, prefix := range []string{"web_search_", "web_fetch_", "code_execution_", "tool_search_tool_", "mcp_toolset"} {
		if strings.HasPrefix(string(kind), prefix) {
			return true
		}
	}
	return false
}

// tool translates one tool; nil if it is left out.
func (r *messagesRequest) tool(raw []byte, path string) ([]byte, error) {
	if raw[0] != '{' {
		return nil, requestErrorf(path, "must be an object")
	}
	var kind, name, description, schema, strict, cache, key []byte
	var others []string
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			kind = inner(v)
		case "name":
			name = v
		case "description":
			description = v
		case "input_schema":
			schema = v
		case "strict":
			strict = v
		case "cache_control":
			cache = v
		default:
			if !isEmpty(v) && string(v) != "false" {
				others = append(others, "tools[]."+string(key))
			}
		}
	}
	switch {
	case runByAPI(kind):
		r.away = path + ".type"
		r.drop("tools[].type")
		return nil, nil
	case len(kind) > 0 && string(kind) != "custom":
		return nil, requestErrorf(path+".type", "only custom is possible with this model")
	case len(inner(name)) == 0:
		return nil, requestErrorf(path+".name", "must be a string")
	case len(schema) == 0 || schema[0] != '{':
		return nil, requestErrorf(path+".input_schema", "must be an object")
	}
	for _, other := range others {
		r.drop(other)
	}
	r.names = append(r.names, unquoted(name))
	out := append([]byte(`{"type":"function","function":{"name":`), name...)
	if isString(description) {
		out = append(append(out, `,"description":`...), description...)
	}
	out = append(append(out, `,"parameters":`...), schema...)
	if string(strict) == "true" {
		if closedSchema(schema) {
			out = append(out, `,"strict":true`...)
		} else {
			r.drop("tools[].strict")
		}
	}
	return append(appendCache(append(out, '}'), cache), '}'), nil
}

// appendToolChoice writes tool_choice and parallel_tool_calls.
func (r *messagesRequest) appendToolChoice(dst []byte) ([]byte, error) {
	if len(r.toolChoice) == 0 {
		return dst, nil
	}
	m := members(r.toolChoice, "type", "name", "disable_parallel_tool_use")
	choice := ""
	switch kind := string(inner(m[0])); kind {
	case "auto", "none":
		if len(r.names) == 0 {
			return dst, nil // chat completions refuse a choice among none
		}
		choice = `"` + kind + `"`
	case "any":
		choice = `"required"`
	case "tool":
		if name := unquoted(m[1]); !slices.ContainsFunc(r.names, func(n []byte) bool { return string(n) == string(name) }) {
			return nil, requestErrorf("tool_choice.name", "must name one of the tools that are possible with this model")
		}
		choice = `{"type":"function","function":{"name":` + string(m[1]) + `}}`
	default:
		return nil, requestErrorf("tool_choice.type", "must be auto, any, tool or none")
	}
	if len(r.names) == 0 {
		return nil, requestErrorf("tool_choice", "needs tools")
	}
	dst = append(append(dst, `,"tool_choice":`...), choice...)
	switch string(m[2]) {
	case "", "false":
	case "true":
		dst = append(dst, `,"parallel_tool_calls":false`...)
	default:
		return nil, requestErrorf("tool_choice.disable_parallel_tool_use", "must be a boolean")
	}
	return dst, nil
}
