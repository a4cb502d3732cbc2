package sse

import "bytes"

// Done is the payload that ends an OpenAI stream.
const Done = "[DONE]"

// AppendEvent appends one event with its blank line. An empty name writes no event field; name must not contain line
// ends. Data of several lines is written as several data fields.
func AppendEvent(dst []byte, name string, data []byte) []byte {
	if name != "" {
		dst = append(dst, "event: "...)
		dst = append(dst, name...)
		dst = append(dst, '\n')
	}
	for {
		dst = append(dst, "data: "...)
		i := lineEnd(data)
		if i < 0 {
			dst = append(dst, data...)
			return append(dst, '\n', '\n')
		}
		dst = append(dst, data[:i]...)
		dst = append(dst, '\n')
		if data[i] == '\r' && i+1 < len(data) && data[i+1] == '\n' {
			i++
		}
		data = data[i+1:]
	}
}

// lineEnd is where the first line of data ends, -1 if it is the only one.
func lineEnd(data []byte) int {
	newline := bytes.IndexByte(data, '\n')
	if newline >= 0 {
		data = data[:newline]
	}
	if carriage := bytes.IndexByte(data, '\r'); carriage >= 0 {
		return carriage
	}
	return newline
}
