package dialect

import (
	"fmt"
	"hash/fnv"
)

// appendTools writes tools and tool_choice.
func (r *request) appendTools(dst []byte) ([]byte, error) {
	if len(r.tools) > 0 {
		if r.tools[0] != '[' {
			return nil, requestErrorf("tools", "must be an array")
		}
		var err error
		c := cursor{b: r.tools}
		for i := 0; nextElement(&c, i); i++ {
			if r.hasTools {
				dst = append(dst, ',')
			} else {
				dst = append(dst, `,"tools":[`...)
			}
			r.hasTools = true
			if dst, err = r.appendTool(dst, c.value(), i); err != nil {
				return nil, err
			}
		}
		if r.hasTools {
			dst = append(dst, ']')
		}
	}
	if !r.hasTools { // the API refuses a choice among none
		if len(r.toolChoice) > 0 && string(r.toolChoice) != `"none"` && string(r.toolChoice) != `"auto"` {
			return nil, requestErrorf("tool_choice", "needs tools")
		}
		return dst, nil
	}
	return r.appendToolChoice(dst)
}

// nextElement enters the array before its first element.
func nextElement(c *cursor, i int) bool {
	if i == 0 {
		c.array()
	}
	return c.element()
}

func (r *request) appendTool(dst, tool []byte, i int) ([]byte, error) {
	var kind, function, cache, key []byte
	if len(tool) == 0 || tool[0] != '{' {
		return nil, requestErrorf(fmt.Sprintf("tools[%d]", i), "must be an object")
	}
	c := cursor{b: tool}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			kind = v
		case "function":
			function = v
		case "cache_control":
			cache = v
		default:
			r.drop("tools[]." + string(key))
		}
	}
	if string(inner(kind)) != "function" {
		return nil, requestErrorf(fmt.Sprintf("tools[%d].type", i), "only function is possible with this model")
	}
	if len(function) == 0 || function[0] != '{' {
		return nil, requestErrorf(fmt.Sprintf("tools[%d].function", i), "must be an object")
	}
	var name, description, parameters, strict []byte
	c = cursor{b: function}
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
		case "cache_control":
			cache = v
		default:
			r.drop("tools[].function." + string(key))
		}
	}
	if len(inner(name)) == 0 {
		return nil, requestErrorf(fmt.Sprintf("tools[%d].function.name", i), "must be a string")
	}
	dst = append(append(dst, `{"name":`...), name...)
	if isString(description) {
		dst = append(append(dst, `,"description":`...), description...)
	}
	dst = append(dst, `,"input_schema":`...)
	switch {
	case isEmpty(parameters):
		dst = append(dst, `{"type":"object","properties":{}}`...)
	case parameters[0] != '{':
		return nil, requestErrorf(fmt.Sprintf("tools[%d].function.parameters", i), "must be an object")
	default:
		dst = append(dst, parameters...)
	}
	if string(strict) == "true" {
		dst = append(dst, `,"strict":true`...)
	}
	return append(appendCache(dst, cache), '}'), nil
}

func (r *request) appendToolChoice(dst []byte) ([]byte, error) {
	choice := ""
	var named []byte
	switch {
	case len(r.toolChoice) == 0:
	case isString(r.toolChoice):
		switch string(inner(r.toolChoice)) {
		case "auto", "none":
			choice = string(inner(r.toolChoice))
		case "required":
			choice = "any"
		}
	default:
		m := members(r.toolChoice, "type", "function")
		named = members(m[1], "name")[0]
		if string(inner(m[0])) == "function" && isString(named) {
			choice = "tool"
		}
	}
	if choice == "" && len(r.toolChoice) > 0 {
		return nil, requestErrorf("tool_choice", "must be auto, none, required, or name a function")
	}
	one := false
	switch string(r.parallel) {
	case "", "true":
	case "false":
		one = true
	default:
		return nil, requestErrorf("parallel_tool_calls", "must be a boolean")
	}
	if choice == "" && !one {
		return dst, nil
	}
	if choice == "" {
		choice = "auto"
	}
	r.forced = choice == "any" || choice == "tool"
	dst = append(append(append(dst, `,"tool_choice":{"type":"`...), choice...), '"')
	if choice == "tool" {
		dst = append(append(dst, `,"name":`...), named...)
	}
	if one && choice != "none" {
		dst = append(dst, `,"disable_parallel_tool_use":true`...)
	}
	return append(dst, '}'), nil
}

// appendCache appends a cache_control member if there is one.
func appendCache(dst, cache []byte) []byte {
	if isNull(cache) {
		return dst
	}
	return append(append(dst, `,"cache_control":`...), cache...)
}

// appendToolID appends the id of a tool call as a string. The API takes letters, digits, "_" and "-"; in other ids (some
// providers make "functions.get:0") the rest is replaced, and a hash keeps different ids different.
func appendToolID(dst, id []byte) []byte {
	text := unquoted(id)
	clean := make([]byte, 0, len(text)+9)
	ok := true
	for _, ch := range text {
		if ch-'0' >= 10 && (ch|0x20)-'a' >= 26 && ch != '_' && ch != '-' {
			ch, ok = '_', false
		}
		clean = append(clean, ch)
	}
	if !ok {
		h := fnv.New32a()
		h.Write(text)
		clean = fmt.Appendf(clean, "_%08x", h.Sum32())
	}
	return appendQuoted(dst, clean)
}
