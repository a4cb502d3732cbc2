package dialect

import (
	"fmt"
	"strconv"

	"github.com/pointsman/pointsman/engine/sse"
)

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

// ErrorDetail is what an error says of itself. Absent parts are empty.
type ErrorDetail struct {
	Type    string // "invalid_request_error", "overloaded_error"
	Code    string // also numbers, as text
	Param   string
	Message string
}

// AppendError appends an error body in the shape of the dialect. Anthropic's types follow from the HTTP status; our own code and
// parameter are beside them.
func (d Dialect) AppendError(dst []byte, status int, e ErrorDetail, requestID string) []byte {
	if d != Messages {
		return appendOpenAIError(dst, e)
	}
	dst = append(dst, `{"type":"error","error":{"type":`...)
	dst = appendQuoted(dst, anthropicType(status))
	dst = append(dst, `,"message":`...)
	dst = appendQuoted(dst, e.Message)
	if e.Param != "" {
		dst = append(dst, `,"param":`...)
		dst = appendQuoted(dst, e.Param)
	}
	if e.Code != "" {
		dst = append(dst, `,"code":`...)
		dst = appendQuoted(dst, e.Code)
	}
	dst = append(dst, '}')
	if requestID != "" {
		dst = append(dst, `,"request_id":`...)
		dst = appendQuoted(dst, requestID)
	}
	return append(dst, '}')
}

// AppendErrorEvent appends the event that ends a stream which went wrong, framed. sequence is the number of events before it.
func (d Dialect) AppendErrorEvent(dst []byte, status int, e ErrorDetail, sequence int) []byte {
	switch d {
	case Messages:
		return sse.AppendEvent(dst, "error", d.AppendError(nil, status, e, ""))
	case Responses:
		data := append([]byte(nil), `{"type":"error","sequence_number":`...)
		data = strconv.AppendInt(data, int64(sequence), 10)
		data = append(data, `,"code":`...)
		data = appendQuotedOrNull(data, e.Code)
		data = append(data, `,"message":`...)
		data = appendQuoted(data, e.Message)
		data = append(data, `,"param":`...)
		data = appendQuotedOrNull(data, e.Param)
		return sse.AppendEvent(dst, "error", append(data, '}'))
	}
	return sse.AppendEvent(dst, "", appendOpenAIError(nil, e))
}

// anthropicType is the type of error that Anthropic's API gives with a status.
func anthropicType(status int) string {
	switch status {
	case 400, 405, 409, 415, 422:
		return "invalid_request_error"
	case 401:
		return "authentication_error"
	case 402:
		return "billing_error"
	case 403:
		return "permission_error"
	case 404:
		return "not_found_error"
	case 413, 414, 431:
		return "request_too_large"
	case 429:
		return "rate_limit_error"
	case 503, 529:
		return "overloaded_error"
	case 408, 504:
		return "timeout_error"
	}
	return "api_error"
}

// appendOpenAIError appends an error body in the shape of OpenAI. An empty param or code is written as null.
func appendOpenAIError(dst []byte, e ErrorDetail) []byte {
	dst = append(dst, `{"error":{"message":`...)
	dst = appendQuoted(dst, e.Message)
	dst = append(dst, `,"type":`...)
	dst = appendQuoted(dst, e.Type)
	dst = append(dst, `,"param":`...)
	dst = appendQuotedOrNull(dst, e.Param)
	dst = append(dst, `,"code":`...)
	dst = appendQuotedOrNull(dst, e.Code)
	return append(dst, `}}`...)
}

func appendQuotedOrNull(dst []byte, text string) []byte {
	if text == "" {
		return append(dst, "null"...)
	}
	return appendQuoted(dst, text)
}

// ReadError reads the error object of an answer or a stream event, in the shapes of OpenAI, Anthropic and those like
// them, and of the events with which a stream of the Responses API fails; false if body has none. The texts are the upstream's own and may be long or carry secrets.
func ReadError(body []byte) (ErrorDetail, bool) {
	var d ErrorDetail
	raw := topMember(body, "error")
	if isNull(raw) {
		raw = topMember(topMember(body, "response"), "error")
	}
	if isNull(raw) && string(inner(topMember(body, "type"))) == "error" {
		raw = body
	}
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
