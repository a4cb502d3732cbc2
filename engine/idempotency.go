package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/storage"
)

// Results keeps what became of requests with an idempotency key. What Keep and Forget were told holds once the batch is done. Result
// fails with storage.ErrNotFound for a request that is not known, or not any more.
type Results interface {
	Result(id storage.ResultID) (storage.Result, error)
	Keep(id storage.ResultID, r storage.Result) *storage.Batch
	Forget(id storage.ResultID) *storage.Batch
}

// maxIdempotencyKey is how long an idempotency key may be, in bytes.
const maxIdempotencyKey = 255

// inProgressWait is when who finds a request in progress is asked to come again.
const inProgressWait = time.Second

// claim is the right of one request to be the first with its idempotency key. What is written of it, in this order: that it has
// begun, before anything is charged; the charge, in the ledger; what it was answered, before the answer is complete. So whoever asks
// again is given the answer, or told that there was one, or is the first to be charged.
type claim struct {
	engine *Engine
	id     storage.ResultID
	result storage.Result
	begun  *storage.Batch
	// keeps: execution began, so what comes of it is the result, whatever it is. Else the key is free again.
	keeps bool
	over  bool // the answer is made, or its stream begun
	// unsure: the charge may be on disk or not, which the next start finds out. Until then the request is in progress.
	unsure bool
}

// claims are the requests in progress, by their id.
type claims struct {
	shards [64]struct {
		sync.Mutex
		asked map[storage.ResultID][32]byte // their fingerprints
	}
}

// take makes a request the one in progress; or gives the fingerprint of the one that is.
func (s *claims) take(id storage.ResultID, fingerprint [32]byte) (other [32]byte, taken bool) {
	shard := &s.shards[id[0]%64]
	shard.Lock()
	defer shard.Unlock()
	if other, found := shard.asked[id]; found {
		return other, false
	}
	if shard.asked == nil {
		shard.asked = map[storage.ResultID][32]byte{}
	}
	shard.asked[id] = fingerprint
	return fingerprint, true
}

func (s *claims) drop(id storage.ResultID) {
	shard := &s.shards[id[0]%64]
	shard.Lock()
	defer shard.Unlock()
	delete(shard.asked, id)
}

// claim gives a request with an idempotency key that key, or answers it with what the first one with the key was answered.
func (e *Engine) claim(ctx *fasthttp.RequestCtx, c *call) (answered bool, fault *Fault) {
	keys := ctx.Request.Header.PeekAll("Idempotency-Key")
	if len(keys) == 0 || e.Results == nil {
		return false, nil
	}
	if len(keys) > 1 || !validIdempotencyKey(keys[0]) {
		return false, badRequest("invalid_value", "Idempotency-Key", "Idempotency-Key must be one header of 1 to 255 visible ASCII characters")
	}
	id := storage.ResultID(sha256.Sum256(append(append([]byte(c.caller.Account.ID), 0), keys[0]...)))
	fingerprint := fingerprintOf(ctx, c)
	other, taken := e.claims.take(id, fingerprint)
	if !taken {
		if other != fingerprint {
			return false, keyReused()
		}
		return false, &Fault{
			Status: fasthttp.StatusConflict, Type: typeRequest, Code: "idempotency_in_progress", Param: "Idempotency-Key", RetryAfter: inProgressWait,
			Message: "the first request with this Idempotency-Key is still being answered; come again for its answer",
		}
	}
	known, err := e.Results.Result(id)
	if answered, fault = e.recall(ctx, c, &known, fingerprint, err); answered || fault != nil {
		e.claims.drop(id)
		return answered, fault
	}
	k := &claim{engine: e, id: id, result: storage.Result{Request: c.id, Fingerprint: fingerprint}}
	k.begun = e.Results.Keep(id, k.result)
	c.claim = k
	return false, nil
}

// recall answers with what is known of a request. Neither an answer nor a fault means that it may be made anew.
func (e *Engine) recall(ctx *fasthttp.RequestCtx, c *call, known *storage.Result, fingerprint [32]byte, err error) (answered bool, fault *Fault) {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return false, nil
	case err != nil:
		e.Logger.Error("looking up an idempotency key", "request", c.id, "error", err)
		return false, storageUnavailable()
	case known.Fingerprint != fingerprint:
		return false, keyReused()
	case known.State == storage.ResultBegun:
		u, _, err := e.Log.Find(c.caller.Account.ID, known.Request.String())
		switch {
		case err != nil && !errors.Is(err, storage.ErrNotFound):
			e.Logger.Error("looking up the request of an idempotency key", "request", known.Request, "error", err)
			return false, storageUnavailable()
		case err != nil || u.Credits == 0: // the gateway died meanwhile; the hold, if there was one, ended without a charge
			return false, nil
		}
		known.State = storage.ResultGone
	}
	ctx.Response.Header.Set("X-Should-Retry", "false") // OpenAI's and Anthropic's clients would come again for the same
	if known.State == storage.ResultGone {
		return false, &Fault{
			Status: fasthttp.StatusConflict, Type: typeRequest, Code: "idempotency_result_gone", Param: "Idempotency-Key",
			Message: "request " + known.Request.String() + " was answered under this Idempotency-Key and may have been charged, but its answer was not kept; use another key to ask anew",
		}
	}
	e.metrics.idempotent("replayed")
	e.replay(ctx, known)
	return true, nil
}

// replay gives an answer again, byte for byte.
func (e *Engine) replay(ctx *fasthttp.RequestCtx, r *storage.Result) {
	h := &ctx.Response.Header
	for line := range strings.Lines(string(r.Header)) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok {
			h.Set(name, value)
		}
	}
	h.Set("X-Pointsman-Idempotent", "replayed")
	if r.Status < 400 && r.State == storage.ResultWhole {
		h.Del("X-Should-Retry")
	}
	ctx.SetStatusCode(r.Status)
	switch {
	case r.State == storage.ResultCut:
		ctx.SetBodyStream(&faultBody{event: r.Body, sent: len(r.Body) == 0}, -1)
	case bytes.HasPrefix(h.ContentType(), []byte("text/event-stream")):
		ctx.SetBodyStream(bytes.NewReader(r.Body), -1)
	default:
		ctx.Response.SetBodyRaw(r.Body)
	}
}

func keyReused() *Fault {
	return &Fault{
		Status: fasthttp.StatusUnprocessableEntity, Type: typeRequest, Code: "idempotency_key_reused", Param: "Idempotency-Key",
		Message: "this Idempotency-Key was used for another request; a new request needs a new key",
	}
}

func validIdempotencyKey(key []byte) bool {
	for _, b := range key {
		if b <= ' ' || b > '~' {
			return false
		}
	}
	return len(key) > 0 && len(key) <= maxIdempotencyKey
}

// fingerprintOf is a digest of what is asked: the path, the features and the body. The boundary of a form, which clients choose
// anew for every attempt, makes no difference.
func fingerprintOf(ctx *fasthttp.RequestCtx, c *call) (sum [32]byte) {
	path, _, _ := bytes.Cut(ctx.Request.Header.RequestURI(), []byte{'?'})
	h := sha256.New()
	part := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	part(path)
	part([]byte(c.beta))
	_, params, _ := mime.ParseMediaType(c.contentType)
	if boundary := params["boundary"]; boundary != "" {
		for piece := range bytes.SplitSeq(c.body, []byte("--"+boundary)) {
			part(piece)
		}
	} else {
		part(c.body)
	}
	return [32]byte(h.Sum(sum[:0]))
}

// settles is called before anything is charged. It fails if the claim is not on disk by then.
func (k *claim) settles(outcome storage.Outcome, attempts int) error {
	if k == nil {
		return nil
	}
	k.keeps = outcome == storage.OutcomeOK || attempts > 0
	if err := k.begun.Wait(); err != nil {
		return fmt.Errorf("keeping the idempotency key: %w", err)
	}
	return nil
}

// release leaves the key to the next one: nothing was charged, and nothing answered.
func (k *claim) release() {
	if k != nil {
		k.keeps = false
	}
}

// await leaves the key to nobody: what is written last of it stays that the request has begun.
func (k *claim) await() {
	if k != nil {
		k.unsure = true
	}
}

// finish writes the answer that was made, unless it comes as a stream, which does so at its end.
func (k *claim) finish(ctx *fasthttp.RequestCtx) {
	switch {
	case k == nil || ctx.Response.IsBodyStream() || ctx.Hijacked():
	case !k.over: // a panic is on its way
		k.end(nil, storage.ResultGone)
	default:
		k.take(&ctx.Response)
		k.end(ctx.Response.Body(), storage.ResultWhole)
	}
}

// take notes status and header of an answer: what says something about it, not what carries it.
func (k *claim) take(response *fasthttp.Response) {
	k.result.Status = response.StatusCode()
	for name, value := range response.Header.All() {
		switch s := string(name); {
		case s == "Content-Type", s == "Cache-Control", s == "Age", s == "Retry-After", s == "X-Request-Id", s == "X-Accel-Buffering", strings.HasPrefix(s, "X-Pointsman-"):
			k.result.Header = append(append(append(append(k.result.Header, name...), ": "...), value...), '\n')
		}
	}
}

// end writes what became of the request, and lets the next one with the key have it.
func (k *claim) end(body []byte, state storage.ResultState) {
	if k.unsure {
		return
	}
	e := k.engine
	k.result.State, k.result.Body = state, body
	if len(body) > e.MaxResult {
		k.result.State, k.result.Header, k.result.Body = storage.ResultGone, nil, nil
	}
	written := (*storage.Batch)(nil)
	if k.keeps {
		written = e.Results.Keep(k.id, k.result)
		e.metrics.idempotent("kept")
	} else {
		written = e.Results.Forget(k.id)
		e.metrics.idempotent("released")
	}
	if err := written.Wait(); err != nil {
		e.Logger.Error("keeping the answer to an idempotency key", "request", k.result.Request, "error", err)
	}
	e.claims.drop(k.id)
}

// record passes a stream on and keeps what comes, for the claim's sake also when its client has left.
func (k *claim) record(ctx *fasthttp.RequestCtx, body io.ReadCloser) io.ReadCloser {
	if k == nil {
		return body
	}
	k.take(&ctx.Response)
	return &recording{claim: k, body: body}
}

// recording is a stream that is kept.
type recording struct {
	claim *claim
	body  io.ReadCloser
	heard []byte
	over  bool
}

// Read reads on. The end comes after the answer was written.
func (r *recording) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if len(r.heard) <= r.claim.engine.MaxResult { // one byte more tells that it is too large
		r.heard = append(r.heard, p[:n]...)
	}
	if err != nil && !r.over {
		r.over = true
		state := storage.ResultCut
		if errors.Is(err, io.EOF) {
			state = storage.ResultWhole
		}
		r.claim.end(r.heard, state)
	}
	return n, err
}

// Close hears the rest of a stream whose client has left: it comes again for it.
func (r *recording) Close() error {
	for buf := make([]byte, relayBatch); !r.over; {
		r.Read(buf) //nolint:errcheck // the recording notes it
	}
	return r.body.Close()
}
