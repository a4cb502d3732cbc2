package engine

import (
	"unsafe"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/kept"
)

// Large bodies, of requests and of answers, are in memory that large ones before them had, see package kept.

// lent is memory that a request has for its body.
type lent struct {
	*kept.Memory
	to  *fasthttp.Request
	own []byte // the request's own memory meanwhile
}

// What a request knows the memory of its body by, and that of the answer's. It gives both back when it is over: after its answer was sent, streams too.
const (
	lentKey   = "pointsman.lent"
	answerKey = "pointsman.answer"
)

// lend gives a request of which the head was read memory for its body, if that is large.
func lend(h *fasthttp.RequestHeader) (config fasthttp.RequestConfig) {
	size := h.ContentLength()
	if !kept.Keeps(size) {
		return config
	}
	l := lent{Memory: kept.Take(size), to: requestOf(h)}
	l.own = l.to.SwapBody(l.Bytes)
	l.to.SetUserValue(lentKey, &l)
	return config
}

// Close takes the memory back.
func (l *lent) Close() error {
	l.to.SwapBody(l.own[:0])
	l.Give()
	return nil
}

// replaceBody puts a body in the place of the one that came. What that had is taken back first: the server would keep it for a body of another request.
func replaceBody(ctx *fasthttp.RequestCtx, body []byte) {
	if l, ok := ctx.UserValue(lentKey).(*lent); ok {
		ctx.RemoveUserValue(lentKey)
		l.Close() //nolint:errcheck // it never fails
	}
	ctx.Request.SetBodyRaw(body)
	ctx.Request.Header.SetContentLength(len(body))
}

// sent is memory that an answer has its body in.
type sent struct{ *kept.Memory }

// Close takes the memory back.
func (s sent) Close() error {
	s.Give()
	return nil
}

// requestOf is the request whose head the server shows, which is a part of it.
func requestOf(h *fasthttp.RequestHeader) *fasthttp.Request {
	return (*fasthttp.Request)(unsafe.Add(unsafe.Pointer(h), -int(unsafe.Offsetof(fasthttp.Request{}.Header))))
}

// setBody gives the answer a body of about size bytes, which fill appends to the memory for it.
func setBody(ctx *fasthttp.RequestCtx, size int, fill func(room []byte) []byte) {
	if !kept.Keeps(size) {
		own := ctx.Response.SwapBody(nil) // of the server, used again from answer to answer
		ctx.Response.SwapBody(fill(own[:0]))
		return
	}
	m := kept.Take(size)
	ctx.SetUserValue(answerKey, sent{m})
	ctx.Response.SetBodyRaw(fill(m.Bytes))
}
