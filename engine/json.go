package engine

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/redact"
)

// ReadJSON decodes a small JSON body into v, refusing unknown fields, fields that come twice, and trailing data. Its faults name
// the field, and do not quote the body, which may hold a secret.
func ReadJSON(ctx *fasthttp.RequestCtx, v any) *Fault {
	if fault := checkMedia(ctx); fault != nil {
		return fault
	}
	err := json.Unmarshal(ctx.PostBody(), v, json.RejectUnknownMembers(true))
	var wrong *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && errors.Is(wrong.Err, json.ErrUnknownName):
		name := fieldName(wrong.JSONPointer)
		return badRequest("unknown_parameter", name, fmt.Sprintf("unknown field %q", name))
	case errors.As(err, &wrong):
		name := fieldName(wrong.JSONPointer)
		return badRequest("invalid_value", name, strings.TrimPrefix(name+" must be ", " ")+kindOf(wrong.GoType))
	case errors.As(err, &syntax) && errors.Is(syntax.Err, jsontext.ErrDuplicateName):
		name := fieldName(syntax.JSONPointer)
		return badRequest("duplicate_key", name, fmt.Sprintf("field %q is there twice", name))
	default:
		return badRequest("invalid_json", "", "the body is not one valid JSON value")
	}
}

// fieldName is a place in a body as people write it: limits.budgets.0.credits.
func fieldName(p jsontext.Pointer) string {
	var names []string
	for name := range p.Tokens() {
		names = append(names, name)
	}
	return clip(redact.String(strings.ToValidUTF8(strings.Join(names, "."), "�")), 80) // somebody may have put a key there
}

// kindOf says in the words of JSON what a Go type is read from.
func kindOf(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil:
		return "of another type"
	case t == reflect.TypeFor[time.Time]():
		return "a time like 2027-01-31T00:00:00Z"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a whole number"
}
