package engine

import (
	"bytes"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/envelope"
)

// Fault is an error as the client sees it. Codes are stable; messages are for people.
type Fault struct {
	Status     int
	Type       string
	Code       string
	Param      string // "" for none
	Message    string
	RetryAfter time.Duration // 0 for none
}

// Error is the message.
func (f *Fault) Error() string { return f.Message }

// Types of fault, as OpenAI names them.
const (
	typeRequest    = "invalid_request_error"
	typeAuth       = "authentication_error"
	typeCredits    = "insufficient_credits_error"
	typeNotFound   = "not_found_error"
	typeRate       = "rate_limit_error"
	typeProvider   = "provider_error"
	typeServer     = "server_error"
	typePermission = "permission_error"
)

func badRequest(code, param, message string) *Fault {
	return &Fault{Status: fasthttp.StatusBadRequest, Type: typeRequest, Code: code, Param: param, Message: message}
}

func notFound(code, param, message string) *Fault {
	return &Fault{Status: fasthttp.StatusNotFound, Type: typeNotFound, Code: code, Param: param, Message: message}
}

func unauthorized(message string) *Fault {
	return &Fault{Status: fasthttp.StatusUnauthorized, Type: typeAuth, Code: "invalid_api_key", Message: message}
}

func noCredits(message string) *Fault {
	return &Fault{Status: fasthttp.StatusPaymentRequired, Type: typeCredits, Code: "insufficient_credits", Message: message}
}

func storageUnavailable() *Fault {
	return &Fault{
		Status: fasthttp.StatusServiceUnavailable, Type: typeServer, Code: "storage_unavailable",
		Message: "the credit ledger cannot take requests at the moment", RetryAfter: 5 * time.Second,
	}
}

func fromEnvelope(err *envelope.Error) *Fault {
	return &Fault{Status: err.Status, Type: err.Type, Code: err.Code, Param: err.Param, Message: err.Message}
}

// detail is the fault as dialects word it.
func (f *Fault) detail() dialect.ErrorDetail {
	return dialect.ErrorDetail{Type: f.Type, Code: f.Code, Param: f.Param, Message: f.Message}
}

// dialectOf is the dialect of a path, as far as errors are concerned: what is not Anthropic's has OpenAI's shape.
func dialectOf(path []byte) dialect.Dialect {
	if bytes.Contains(path, []byte("/v1/messages")) || bytes.Contains(path, []byte("/llm/messages")) {
		return dialect.Messages
	}
	return dialect.Chat
}

// Write sends the fault in the shape of the path's dialect.
func (f *Fault) Write(ctx *fasthttp.RequestCtx) {
	ctx.Response.ResetBody()
	ctx.SetStatusCode(f.Status)
	ctx.SetContentType("application/json")
	switch {
	case f.RetryAfter > 0:
		seconds := (f.RetryAfter + time.Second - 1) / time.Second
		ctx.Response.Header.Set("Retry-After", strconv.Itoa(int(seconds)))
	case f.Status == fasthttp.StatusUnauthorized:
		ctx.Response.Header.Set("WWW-Authenticate", `Bearer realm="pointsman"`)
	}
	id := string(ctx.Response.Header.Peek("X-Request-Id"))
	if id == "" {
		id = requestIDText(ctx)
		ctx.Response.Header.Set("X-Request-Id", id)
	}
	ctx.Response.SetBodyRaw(dialectOf(ctx.Request.Header.RequestURI()).AppendError(nil, f.Status, f.detail(), id))
}
