package dialect

import (
	"bytes"
	"slices"
)

// StripMessages takes members out of a chat completion request that are no part of OpenAI's API and that not every provider
// takes: of its messages and of the parts of their contents, and cache_control also of tools and at the top. Nothing inside a
// schema, a tool's arguments or a text is touched, and what holds none of the members stays byte for byte. It returns the paths
// of what it took out, each once. A body that has none is returned as it is, else a new one. The body is valid JSON.
func StripMessages(body []byte, names []string) (out []byte, dropped []string) {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !bytes.Contains(body, []byte(`"`+name+`"`)) })
	if len(names) == 0 {
		return body, nil
	}
	s := stripper{names: names}
	caches := slices.Contains(names, "cache_control")
	out = s.object(body, func(key, v []byte) ([]byte, bool) {
		switch string(key) {
		case "messages":
			return s.list(v, s.message), true
		case "tools":
			if caches {
				return s.list(v, func(tool []byte) []byte { return s.without(tool, "tools[].") }), true
			}
		case "cache_control":
			if caches {
				s.drop("cache_control")
				return nil, false
			}
		}
		return v, true
	})
	return out, s.dropped
}

// stripper takes members out of objects.
type stripper struct {
	losses
	names []string
}

func (s *stripper) message(m []byte) []byte {
	return s.object(m, func(key, v []byte) ([]byte, bool) {
		switch {
		case slices.Contains(s.names, string(key)):
			s.drop("messages[]." + string(key))
			return nil, false
		case string(key) == "content":
			return s.list(v, func(part []byte) []byte { return s.without(part, "messages[].content[].") }), true
		case string(key) == "tool_calls":
			return s.list(v, func(call []byte) []byte { return s.without(call, "messages[].tool_calls[].") }), true
		}
		return v, true
	})
}

// without is an object without the members; other values stay.
func (s *stripper) without(v []byte, path string) []byte {
	return s.object(v, func(key, value []byte) ([]byte, bool) {
		if slices.Contains(s.names, string(key)) {
			s.drop(path + string(key))
			return nil, false
		}
		return value, true
	})
}

// object rewrites the members of an object; one of which nothing changes is returned itself, as is any other value.
func (s *stripper) object(v []byte, rewrite func(key, v []byte) (fresh []byte, keep bool)) []byte {
	if len(v) == 0 || v[0] != '{' && bytes.TrimLeft(v, " \t\r\n")[0] != '{' {
		return v
	}
	out, changed := []byte{'{'}, false
	var key []byte
	c := cursor{b: v}
	for c.object(); c.member(&key); {
		name := appendQuoted(nil, key)
		old := c.value()
		fresh, keep := rewrite(key, old)
		changed = changed || !keep || len(fresh) != len(old)
		if !keep {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, name...), ':'), fresh...)
	}
	if !changed {
		return v
	}
	return append(out, '}')
}

// list rewrites the elements of an array, as object does the members of an object.
func (s *stripper) list(v []byte, rewrite func([]byte) []byte) []byte {
	out, changed := []byte{'['}, false
	for old := range elements(v) {
		fresh := rewrite(old)
		changed = changed || len(fresh) != len(old)
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, fresh...)
	}
	if !changed {
		return v
	}
	return append(out, ']')
}
