package dialect

import (
	"slices"
	"strconv"
)

// appendEffort writes reasoning_effort, which stands for thinking and the effort of output_config.
func (r *messagesRequest) appendEffort(dst []byte) ([]byte, error) {
	level, err := r.wantedEffort()
	if err != nil {
		return nil, err
	}
	thinking, err := r.thought()
	if err != nil {
		return nil, err
	}
	if level == "" {
		level = thinking
	}
	if level == "" {
		return dst, nil
	}
	return append(append(append(dst, `,"reasoning_effort":"`...), level...), '"'), nil
}

// wantedEffort is the effort of output_config, "" if there is none. What else output_config holds but the format is dropped.
func (r *messagesRequest) wantedEffort() (level string, err error) {
	if len(r.outputConfig) == 0 {
		return "", nil
	}
	if r.outputConfig[0] != '{' {
		return "", requestErrorf("output_config", "must be an object")
	}
	var key []byte
	c := cursor{b: r.outputConfig}
	for c.object(); c.member(&key); {
		v := c.value()
		switch {
		case isNull(v) || string(key) == "format":
		case string(key) != "effort":
			r.drop("output_config." + string(key))
		default:
			switch level = string(inner(v)); level {
			case "low", "medium", "high", "xhigh":
			case "max":
				level = "xhigh"
			default:
				return "", requestErrorf("output_config.effort", "must be low, medium, high, xhigh or max")
			}
		}
	}
	return level, nil
}

// thought is the effort that the member thinking amounts to, "" if it asks for none.
func (r *messagesRequest) thought() (level string, err error) {
	if len(r.thinking) == 0 {
		return "", nil
	}
	if r.thinking[0] != '{' {
		return "", requestErrorf("thinking", "must be an object")
	}
	var kind, budget, key []byte
	c := cursor{b: r.thinking}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			kind = inner(v)
		case "budget_tokens":
			budget = v
		default:
			if !isEmpty(v) {
				r.drop("thinking." + string(key))
			}
		}
	}
	switch string(kind) {
	case "disabled", "between_tools":
		r.drop("thinking")
		return "", nil
	case "adaptive":
		return "high", nil
	case "enabled":
	default:
		return "", requestErrorf("thinking.type", "must be enabled, adaptive, between_tools or disabled")
	}
	n, err := strconv.ParseInt(string(budget), 10, 64)
	switch {
	case err != nil || n < 1:
		return "", requestErrorf("thinking.budget_tokens", "must be a positive integer")
	case n <= 1024:
		return "minimal", nil
	case n < 4096:
		return "low", nil
	case n < 12288:
		return "medium", nil
	case n < 32768:
		return "high", nil
	}
	return "xhigh", nil
}

// appendFormat writes response_format.
func (r *messagesRequest) appendFormat(dst []byte) ([]byte, error) {
	path, format := "output_config.format", members(r.outputConfig, "format")[0]
	if len(format) == 0 {
		path, format = "output_format", r.outputFormat // as it was called first
	} else if len(r.outputFormat) > 0 {
		r.drop("output_format")
	}
	if len(format) == 0 {
		return dst, nil
	}
	m := members(format, "type", "schema")
	if string(inner(m[0])) != "json_schema" {
		return nil, requestErrorf(path+".type", "must be json_schema")
	}
	if len(m[1]) == 0 || m[1][0] != '{' {
		return nil, requestErrorf(path+".schema", "must be an object")
	}
	dst = append(dst, `,"response_format":{"type":"json_schema","json_schema":{"name":"answer",`...)
	if closedSchema(m[1]) {
		dst = append(dst, `"strict":true,`...)
	} else {
		r.drop(path)
	}
	dst = append(append(dst, `"schema":`...), m[1]...)
	return append(dst, `}}`...), nil
}

// closedSchema reports whether every object of a JSON schema requires all of its properties and allows no other, as OpenAI
// demands of a schema that it holds a model to.
func closedSchema(schema []byte) bool {
	if len(schema) == 0 || schema[0] != '{' {
		for v := range elements(schema) {
			if !closedSchema(v) {
				return false
			}
		}
		return true
	}
	var properties, required [][]byte
	closed, object, ok := false, false, true
	var key []byte
	c := cursor{b: schema}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "const", "default", "enum", "example", "examples":
		case "type":
			object = object || string(inner(v)) == "object"
		case "additionalProperties":
			object, closed = true, string(v) == "false"
		case "required":
			for name := range elements(v) {
				required = append(required, unquoted(name))
			}
		case "properties", "$defs", "definitions":
			isObject := string(key) == "properties"
			object = object || isObject
			var name []byte
			d := cursor{b: v}
			for d.object(); d.member(&name); {
				ok = closedSchema(d.value()) && ok
				if isObject {
					properties = append(properties, name)
				}
			}
		default:
			ok = closedSchema(v) && ok
		}
	}
	for _, name := range properties {
		ok = ok && slices.ContainsFunc(required, func(r []byte) bool { return string(r) == string(name) })
	}
	return ok && (closed || !object)
}
