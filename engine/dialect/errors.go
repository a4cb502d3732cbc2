package dialect

import "fmt"

// RequestError says why a request cannot be translated. It is the caller's to mend.
type RequestError struct {
	Param   string // path of the offending field such as "messages[3].content[0].type", "" for the whole body
	Message string
}

// Error implements error.
func (e *RequestError) Error() string {
	if e.Param == "" {
		return e.Message
	}
	return e.Param + ": " + e.Message
}

func requestErrorf(param, format string, args ...any) error {
	return &RequestError{Param: param, Message: fmt.Sprintf(format, args...)}
}

// OpenAIError appends an error body in the shape of OpenAI. An empty param or code is written as null.
func OpenAIError(dst []byte, typ, code, param, message string) []byte {
	dst = append(dst, `{"error":{"message":`...)
	dst = appendQuoted(dst, message)
	dst = append(dst, `,"type":`...)
	dst = appendQuoted(dst, typ)
	dst = append(dst, `,"param":`...)
	dst = appendQuotedOrNull(dst, param)
	dst = append(dst, `,"code":`...)
	dst = appendQuotedOrNull(dst, code)
	return append(dst, `}}`...)
}

func appendQuotedOrNull(dst []byte, text string) []byte {
	if text == "" {
		return append(dst, "null"...)
	}
	return appendQuoted(dst, text)
}

// ErrorDetail is what an error of an upstream says of itself. Absent parts are empty.
type ErrorDetail struct {
	Type    string // "invalid_request_error", "overloaded_error"
	Code    string // also numbers, as text
	Param   string
	Message string
}

// ReadError reads the error object of an answer or a stream event, in the shapes of OpenAI, Anthropic and those like
// them; false if body has none. The texts are the upstream's own and may be long or carry secrets.
func ReadError(body []byte) (ErrorDetail, bool) {
	var d ErrorDetail
	raw := topMember(body, "error")
	switch {
	case isNull(raw):
		return d, false
	case isString(raw):
		d.Message = string(unquoted(raw))
		return d, true
	case raw[0] != '{':
		return d, true
	}
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			d.Type = scalar(v)
		case "code":
			d.Code = scalar(v)
		case "param":
			d.Param = scalar(v)
		case "message":
			d.Message = scalar(v)
		}
	}
	return d, true
}

// scalar is a string's text, or a number or boolean as written; "" for anything else.
func scalar(v []byte) string {
	switch {
	case isNull(v) || v[0] == '{' || v[0] == '[':
		return ""
	case isString(v):
		return string(unquoted(v))
	}
	return string(v)
}
