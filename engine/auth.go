package engine

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/directory"
)

// authenticate finds the caller by the bearer key. Every key that is not known looks the same, and costs one hash and one
// look-up whatever it is, so that nothing can be learnt from it. A key that is known may still be one that is allowed nothing.
func (e *Engine) authenticate(ctx *fasthttp.RequestCtx) (*directory.Caller, *Fault) {
	key := Bearer(ctx)
	caller, ok := e.Directory.Caller(key)
	switch {
	case ok && len(key) > 0:
		return caller, barred(caller, e.Now)
	case len(key) == 0:
		return nil, unauthorized("no API key: send Authorization: Bearer pm-…")
	default:
		return nil, unauthorized("the API key is not valid")
	}
}

// Bearer is the key of the only Authorization header, or nothing. Without one the only X-Api-Key header counts, as Anthropic's
// clients send it.
func Bearer(ctx *fasthttp.RequestCtx) []byte {
	headers := ctx.Request.Header.PeekAll(fasthttp.HeaderAuthorization)
	if len(headers) == 0 {
		if headers = ctx.Request.Header.PeekAll("X-Api-Key"); len(headers) == 1 && len(headers[0]) <= 256 {
			return headers[0]
		}
		return nil
	}
	if len(headers) != 1 {
		return nil
	}
	scheme, key, ok := bytes.Cut(headers[0], []byte(" "))
	if !ok || !bytes.EqualFold(scheme, []byte("Bearer")) || len(key) > 256 {
		return nil
	}
	return bytes.TrimSpace(key)
}
