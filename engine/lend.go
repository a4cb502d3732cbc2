package engine

import (
	"unsafe"

	"github.com/valyala/fasthttp"
)

// Large bodies are read into memory that large ones before them had. Fasthttp keeps bodies for the requests to come, but none that is larger than 19 of 20 of late: where one
// in thirty has 100 KB, or all of a sudden all have, each would be new memory, filled with zeros, and so much garbage that the collector throws away whatever else is kept.

// lent is memory that a request has for its body.
type lent struct {
	*large
	to  *fasthttp.Request
	own []byte // the request's own memory meanwhile
}

// lentKey is what a request knows it by.
const lentKey = "pointsman.lent"

// lend gives a request of which the head was read memory for its body, if that is large. The request gives it back when it is over: after its answer was sent, streams too.
func lend(h *fasthttp.RequestHeader) (config fasthttp.RequestConfig) {
	size := h.ContentLength()
	if size <= usualBuffer || size > maxKeptBuffer {
		return config
	}
	l := lent{large: larges.Get().(*large), to: requestOf(h)}
	l.grow(size)
	l.own = l.to.SwapBody(l.bytes[:0])
	l.to.SetUserValue(lentKey, &l)
	return config
}

// Close takes the memory back.
func (l *lent) Close() error {
	l.to.SwapBody(l.own[:0])
	larges.Put(l.large)
	return nil
}

// requestOf is the request whose head the server shows, which is a part of it.
func requestOf(h *fasthttp.RequestHeader) *fasthttp.Request {
	return (*fasthttp.Request)(unsafe.Add(unsafe.Pointer(h), -int(unsafe.Offsetof(fasthttp.Request{}.Header))))
}
