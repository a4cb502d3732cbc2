package envelope

import (
	"bytes"
	"fmt"
	"strconv"
)

// Types and codes of the errors Parse returns.
const (
	TypeInvalidRequest = "invalid_request_error"
	TypeNotFound       = "not_found_error" // with status 404

	CodeInvalidJSON       = "invalid_json"
	CodeDuplicateKey      = "duplicate_key"
	CodeInvalidValue      = "invalid_value"
	CodeUnknownParameter  = "unknown_parameter"
	CodeInvalidPowerLevel = "invalid_power_level"
	CodePolicyNotFound    = "policy_not_found"
	CodeModelNotFound     = "model_not_found"
	CodeUnsupported       = "unsupported_parameter"
)

// Error is why a request is refused, in the terms of the API's error body. Message holds at most 40 bytes of the
// request, Param at most 64, both printable ASCII whatever the request held.
type Error struct {
	Status  int
	Type    string
	Code    string
	Param   string // path of the offending member, such as messages[0].role; may be empty
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

const (
	maxEcho  = 40
	maxParam = 64
)

// quote shows a little of the request's own text.
func quote(b []byte) string {
	if len(b) > maxEcho {
		b = b[:maxEcho]
	}
	return strconv.QuoteToASCII(string(b))
}

// fail records a syntax fault at off and stops the scan.
func (s *scanner) fail(off int, format string, args ...any) {
	if s.fault != nil {
		return
	}
	s.fault = &Error{
		Status: 400, Type: TypeInvalidRequest, Code: CodeInvalidJSON, Param: pathAt(s.b, off),
		Message: fmt.Sprintf("invalid JSON at byte %d: ", off) + fmt.Sprintf(format, args...),
	}
}

// exceed records that a limit was passed and stops the scan.
func (s *scanner) exceed(off int, format string, args ...any) {
	if s.fault == nil {
		s.limited = true
		s.fail(off, format, args...)
	}
}

// duplicate records that the key at off repeats one of its object and stops the scan.
func (s *scanner) duplicate(off int, key []byte) {
	s.fail(off, "duplicate key %s", quote(key))
	s.fault.Code = CodeDuplicateKey
}

// refuse records the first value fault, unless the scan has stopped already; otherwise the scan goes on, because a syntax fault further on outranks it.
func (p *parser) refuse(status int, code, param, format string, args ...any) {
	if p.refusal == nil && p.fault == nil {
		kind := TypeInvalidRequest
		if status == 404 {
			kind = TypeNotFound
		}
		p.refusal = &Error{Status: status, Type: kind, Code: code, Param: param, Message: fmt.Sprintf(format, args...)}
	}
}

// invalid refuses the value at off, or its missing member suffix (".role"), saying what it must be.
func (p *parser) invalid(off int, suffix, must string) {
	if p.refusal == nil && p.fault == nil {
		param := cut(pathAt(p.b, off) + suffix)
		p.refuse(400, CodeInvalidValue, param, "invalid value for %s: %s", param, must)
	}
}

// step is one level of the path being walked.
type step struct {
	array bool
	value bool // in an object: the key has been read
	index int
	key   []byte
}

// pathAt names the value or key at off, as in messages[0].role. What stands before off must be well formed. It walks
// the body again, which is cheap to do once for a refused request and keeps the accepting pass free of it.
func pathAt(b []byte, off int) string {
	var stack []step
	for i := 0; i < len(b) && i <= off; {
		top := len(stack) - 1
		c := b[i]
		if i == off && c != '"' {
			break
		}
		switch c {
		case '{', '[':
			stack = append(stack, step{array: c == '['})
		case '}', ']':
			if top < 0 {
				return ""
			}
			stack = stack[:top]
		case ',':
			if top >= 0 {
				stack[top] = step{array: stack[top].array, index: stack[top].index + 1}
			}
		case ':':
			if top >= 0 {
				stack[top].value = true
			}
		case '"':
			end := closing(b, i)
			if top >= 0 && !stack[top].array && !stack[top].value {
				stack[top].key = b[i+1 : end]
			}
			i = end
		}
		i++
	}
	return pathOf(stack)
}

// closing returns where the string that opens at i closes, or the end of b.
func closing(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(b)
}

func pathOf(stack []step) string {
	var out bytes.Buffer
	for _, s := range stack {
		switch {
		case s.array:
			fmt.Fprintf(&out, "[%d]", s.index)
		case s.key != nil:
			if out.Len() > 0 {
				out.WriteByte('.')
			}
			out.Write(s.key)
		}
		if out.Len() > maxParam {
			break
		}
	}
	return cut(out.String())
}

// cut makes a path safe to show: at most maxParam bytes of printable ASCII.
func cut(path string) string {
	if len(path) > maxParam {
		path = path[:maxParam]
	}
	clean := []byte(path)
	for i, c := range clean {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			clean[i] = '?'
		}
	}
	return string(clean)
}
