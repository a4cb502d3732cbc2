package engine

import (
	"bytes"
	"errors"
	"slices"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/storage"
)

// Bodies keeps bodies of requests and answers. Append never blocks a request.
type Bodies interface {
	Append(b storage.Body)
	Find(requestID string) (storage.Body, error)
}

// KeptBodies says which bodies are kept.
type KeptBodies struct {
	In     Bodies   // nil: none
	Bytes  int      // of each
	Except []string // accounts whose bodies are not kept
}

// keptBody gathers the bodies of one request; a nil one gathers nothing.
type keptBody struct {
	storage.Body
	in    Bodies
	bytes int
}

// keepBody begins to gather a request's bodies, if they are to be kept. Those of forms, which are files, never are.
func (e *Engine) keepBody(c *call) *keptBody {
	k := e.KeptBodies
	if k.In == nil || c.contentType != "" || slices.Contains(k.Except, c.usage.Account) {
		return nil
	}
	kept := &keptBody{in: k.In, bytes: k.Bytes}
	kept.Request, kept.ClientID, kept.Account = c.id, c.clientID, c.usage.Account
	kept.Cut = len(c.body) > k.Bytes
	kept.Sent = bytes.Clone(c.body[:min(len(c.body), k.Bytes)])
	return kept
}

// hear takes a piece of the answer.
func (k *keptBody) hear(piece []byte) {
	if k == nil {
		return
	}
	room := k.bytes - len(k.Answered)
	k.Cut = k.Cut || len(piece) > room
	k.Answered = append(k.Answered, piece[:min(len(piece), room)]...)
}

// hand hands the bodies over, once.
func (k *keptBody) hand() {
	if k != nil && k.in != nil {
		k.in.Append(k.Body)
		k.in = nil
	}
}

// WriteBody answers with the bodies of a request, by its id or its client's.
func (e *Engine) WriteBody(ctx *fasthttp.RequestCtx, requestID string) {
	if e.KeptBodies.In == nil {
		notFound("body_not_found", "request_id", "no bodies are kept: bodies in [log] of the configuration is off").Write(ctx)
		return
	}
	b, err := e.KeptBodies.In.Find(requestID)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		notFound("body_not_found", "request_id", "no body is kept of such a request").Write(ctx)
		return
	case err != nil:
		e.Logger.Error("reading a body", "error", err)
		storageUnavailable().Write(ctx)
		return
	}
	WriteJSON(ctx, fasthttp.StatusOK, struct {
		RequestID string `json:"request_id"`
		Account   string `json:"account"`
		Request   string `json:"request"`
		Answer    string `json:"answer"`
		Cut       bool   `json:"cut"`
	}{b.Request.String(), b.Account, string(b.Sent), string(b.Answered), b.Cut})
}
