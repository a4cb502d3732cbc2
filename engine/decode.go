package engine

import (
	"bytes"
	"fmt"

	"github.com/valyala/fasthttp"
)

const (
	freeInflation = 1 << 20 // bytes that a compressed body may become whatever its size
	maxInflation  = 200     // times its size that a compressed body may become beyond that
)

// decoded puts what a compressed body holds in the body's place, so that the routes see plain bodies only. Bodies of strangers
// are not decoded.
func (e *Engine) decoded(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		h := &ctx.Request.Header
		if encoding := h.Peek(fasthttp.HeaderContentEncoding); len(encoding) > 0 && !bytes.EqualFold(encoding, []byte("identity")) {
			if _, fault := e.authenticate(ctx); fault != nil {
				reject(ctx, fault)
				return
			}
			if body := ctx.Request.Body(); len(body) > 0 {
				hold := func(int64) *Fault { return nil }
				if g, ok := ctx.Conn().(*gate); ok {
					hold = g.hold
				}
				plain, fault := decode(h.PeekAll(fasthttp.HeaderContentEncoding), body, e.MaxBody, hold)
				if fault != nil {
					reject(ctx, fault)
					return
				}
				replaceBody(ctx, plain)
			}
			h.Del(fasthttp.HeaderContentEncoding)
		}
		next(ctx)
	}
}

// decode returns what a body holds that was compressed with the one encoding given, at most limit bytes. No more memory than
// twice the limit is in use on the way; hold is told of it before it is, with how many bytes both have together.
func decode(encodings [][]byte, body []byte, limit int, hold func(bytes int64) *Fault) ([]byte, *Fault) {
	if len(encodings) != 1 || bytes.IndexByte(encodings[0], ',') >= 0 {
		return nil, unsupportedEncoding("bodies with several content encodings are not accepted")
	}
	w := &inflated{limit: limit, size: len(body), hold: hold}
	var err error
	switch encoding := encodings[0]; {
	case bytes.EqualFold(encoding, []byte("gzip")):
		_, err = fasthttp.WriteGunzip(w, body)
	case bytes.EqualFold(encoding, []byte("br")):
		_, err = fasthttp.WriteUnbrotli(w, body)
	default:
		return nil, unsupportedEncoding(fmt.Sprintf("the content encoding %.32q is not known; send gzip, br or a plain body", encoding))
	}
	switch {
	case w.fault != nil:
		return nil, w.fault
	case err != nil:
		return nil, badRequest("invalid_encoding", "", fmt.Sprintf("the body is not whole and valid %s", bytes.ToLower(encodings[0])))
	}
	return w.plain, nil
}

func unsupportedEncoding(message string) *Fault {
	return &Fault{Status: fasthttp.StatusUnsupportedMediaType, Type: typeRequest, Code: "unsupported_media_type", Message: message}
}

// inflated gathers what a compressed body holds, and stops the decoder at the limits.
type inflated struct {
	plain []byte
	limit int
	size  int // of the compressed body, in bytes
	hold  func(int64) *Fault
	fault *Fault
}

// Write takes decoded bytes.
func (w *inflated) Write(p []byte) (int, error) {
	total := len(w.plain) + len(p)
	switch {
	case total > w.limit:
		w.fault = bodyTooLarge(int64(w.limit))
	case total > freeInflation && total/maxInflation > w.size:
		w.fault = bodyTooLarge(int64(w.limit))
		w.fault.Message = fmt.Sprintf("the request's body decodes to more than the limit of %d times its size", maxInflation)
	}
	if w.fault == nil && total > cap(w.plain) {
		room := min(w.limit, max(total, 2*cap(w.plain), 4*w.size))
		if w.fault = w.hold(int64(w.size + room)); w.fault == nil {
			w.plain = append(make([]byte, 0, room), w.plain...)
		}
	}
	if w.fault != nil {
		return 0, errRefused
	}
	w.plain = append(w.plain, p...)
	return len(p), nil
}
