package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/limit"
	"github.com/pointsman/pointsman/engine/redact"
	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/engine/sse"
	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	adapter "github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
)

// answer is what an attempt got, in the client's dialect whatever the provider speaks.
type answer struct {
	deployment  *deployment
	own         bool // with the account's own key
	simulated   bool
	began       time.Time
	ttft        time.Duration
	took        time.Duration  // until the last byte; of a stream, until the relay measures it
	body        []byte         // of a buffered answer; valid until close
	inspected   dialect.Chunk  // what was seen of body, zero if it was not looked at in this dialect
	events      *sse.Reader    // of a streamed one
	held        []byte         // events read ahead: up to and with the first content, or all if it is to be reviewed
	whole       bool           // held is all of it
	sound       io.Reader      // of one that is passed on while it comes, after held
	contentType string         // of one that is passed through, "" for JSON
	result      dialect.Result // of an operation that is no conversation
	usage       dialect.Usage
	meter       dialect.Meter // of a stream's events
	signed      dialect.Signatures
	estimated   bool // the provider reported no usage; it is our own count
	credits     storage.Credits
	cost        costs
	dearest     storage.NanoUSD      // what the dearest model of the power level would have cost; 0 if that says nothing
	outcome     int                  // its number in the call's outcomes
	measured    bool                 // its usage is counted and its outcome noted
	spent       bool                 // its price is counted
	said        dialect.Answer       // of an answer that the policy is told about
	partial     func() dialect.Usage // what a translated stream has reported so far, or nil
	text        speech               // what no usage has covered so far
	late        bool                 // it was cut at its client's own limit
	trial       bool                 // of its deployment's open circuit, as long as it is the one
	keyTrial    bool                 // of its key's
	dropped     []string             // request fields the provider could not take
	rules       []adapter.ErrorRule  // of the provider
	key         adapter.Secret       // that was used
	keyID       string               // of an own key
	firstByte   time.Duration        // how long to wait for it
	hasty       bool                 // which is less than most of the deployment's answers take
	tooLarge    bool                 // it broke off at an event that no client may have
	total       time.Duration        // how long the whole answer may take
	stored      *cachedAnswer        // it comes from the cache
	followed    *follower            // it is a stream of another request's
	origin      string               // id of the request that it was made for, of one that was not made for this
	source      source               // what it comes from, nil for nothing that would have to be closed
}

// source is what an answer is read from.
type source interface {
	Close(reuse bool)   // reuse, after all that matters was read: there may be another answer from there
	Until(at time.Time) // bounds what reading waits for, beside all else; the zero time ends that
}

// close lets go of the provider; read tells that all that matters of the answer was read.
func (a *answer) close(read bool) {
	if a.source != nil {
		a.source.Close(read)
	}
	if a.followed != nil {
		a.followed.Close()
	}
}

// newAnswer is room for an answer.
func (c *call) newAnswer() *answer {
	if c.first.deployment == nil {
		return &c.first
	}
	return new(answer)
}

func (a *answer) provider() string {
	if a.simulated {
		return simulatorName
	}
	return a.deployment.Provider
}

// failure is why an attempt got no answer.
type failure struct {
	class      adapter.ErrorClass
	err        error // of the transport or the plugin, nil for an error answer
	status     int   // of the error answer
	message    string
	retryAfter time.Duration
	ours       *Fault // why the gateway cut it itself, which says nothing of the provider; nil: it did not
	lacks      string // the operation that the provider does not have, "" for none
	unserved   string // a request field that the provider cannot be asked without, "" for none
	param      string // the request's field that is at fault, "" if unknown
	// inexpressible: the request means something that the provider's dialect has no words for.
	inexpressible bool
	hasty         bool           // the policy had no patience, which says nothing of the provider
	unsent        bool           // the provider was not asked, because of what it said before of an own key, or of limited
	barred        bool           // there was no attempt: another one is trying the open circuit
	limited       *limit.Refusal // a limit of the gateway's own is used up
	own           bool
	model         *catalog.Model
	provider      string
}

// clientGone ends a call nobody waits for; the status is nginx's convention and appears in the usage record only.
var clientGone = &Fault{Status: 499, Type: typeRequest, Code: "client_closed_request", Message: "the client closed the connection"}

// attempt tries a step's candidate once and notes the outcome.
func (e *Engine) attempt(c *call, step policy.Step) (*answer, *failure) {
	a, f := e.launch(c, step)
	e.conclude(c, step, a, f)
	return a, f
}

// launch tries a step's candidate once. It changes nothing of the request that a policy or the client is told.
func (e *Engine) launch(c *call, step policy.Step) (*answer, *failure) {
	d := c.among[step.Candidate]
	flags := c.req.Options[step.Candidate].Flags
	a := c.newAnswer()
	*a = answer{} // and field by field: a literal with fields would be made on the stack first, and be copied
	a.deployment, a.own, a.simulated = d, flags&abi.OptionOwnKey != 0, flags&abi.OptionSimulated != 0
	a.began, a.text.engine = e.Now(), e
	a.firstByte = d.waits.FirstByte
	if wish := time.Duration(step.TimeoutMillis) * time.Millisecond; wish > 0 && wish < a.firstByte { // a policy can shorten what the operator allows
		a.firstByte, a.hasty = wish, wish < e.usually(c, d)
	}
	a.total = c.remaining(a.began, d.waits.Total) // and so can the client
	a.firstByte = min(a.firstByte, a.total)
	var ok bool
	if a.trial, ok = e.live.Start(d.Index); !ok {
		return a, &failure{class: adapter.ClassOverloaded, unsent: true, barred: true, own: a.own, model: d.Model, provider: d.Provider}
	}
	f := e.fetch(c, a)
	e.judgeKey(a, f)
	if f == nil && a.trial {
		e.live.Answers(d.Index)
		a.trial = false
	}
	return a, f
}

// fetch gets an answer: whole, or of a stream its beginning. A panic of ours is a failure, which says nothing of the provider: a
// hedge's goroutine has nobody else to catch it.
func (e *Engine) fetch(c *call, a *answer) (f *failure) {
	defer func() {
		if cause := recover(); cause != nil {
			notePanic(e.Logger, cause, "request", c.id)
			c.root().cut.now(false) // whatever had begun
			f = &failure{ours: internalError()}
		}
	}()
	f = e.reach(c, a)
	if f == nil && c.env.Stream {
		if f = a.awaitContent(e.Now, c.dialect, min(a.deployment.content, a.total), c.reviewed()); f != nil {
			a.close(false)
		}
	}
	switch {
	case f == nil:
	case errors.Is(f.err, errPanicked):
		f.ours = internalError()
	case f.timedOut() && c.late(e.Now):
		f.ours = deadlineExceeded()
	case f.timedOut() && !errors.Is(f.err, upstream.ErrConnect):
		f.hasty = a.hasty
	}
	return f
}

// conclude notes what came of an attempt.
func (e *Engine) conclude(c *call, step policy.Step, a *answer, f *failure) {
	if f != nil && f.barred {
		return
	}
	d := a.deployment
	took := a.took
	if f != nil || took == 0 { // else it is whole, and was measured
		took = e.Now().Sub(a.began)
	}
	o := c.root().begun(a, step.Candidate)
	o.TTFT, o.Latency = float32(millis(a.ttft)), float32(millis(took))
	if f == nil {
		c.root().got = a
		return
	}
	e.endTurn(c.root())
	f.own, f.model, f.provider = a.own, d.Model, d.Provider
	o.HTTP, o.Failure = uint16(f.status), policy.ParseFailure(f.label())
	e.live.Done(d.Index, snapshot.Outcome{Verdict: f.verdict(), Failure: o.Failure, Duration: took, End: a.began.Add(took), Trial: a.trial})
	e.metrics.attempt(a.provider(), f.label())
	e.Logger.Debug("attempt failed", "request", c.id, "model", d.Model.Name, "provider", a.provider(), "class", f.label(), "status", f.status, "error", f.err)
}

// reach goes to the provider, directly or through its plugin.
func (e *Engine) reach(c *call, a *answer) *failure {
	if f := e.takeTurn(c, a); f != nil {
		return f
	}
	p := a.deployment.endpoint
	if a.simulated {
		p = e.providers[simulatorName]
	}
	key := p.Key
	if a.own {
		own, f := e.ownKey(c, a)
		if f != nil {
			return f
		}
		key = own
	} else if !a.simulated && !a.tryKey(p.key) {
		return &failure{class: adapter.ClassOverloaded, unsent: true}
	}
	descriptor, target, err := p.prepare(a.began)
	if err != nil {
		return &failure{class: adapter.ClassServer, err: err}
	}
	a.rules, a.key = descriptor.Errors, key
	if descriptor.Mode == adapter.ModeProxied {
		return e.proxied(c, a, p, descriptor, key)
	}
	return e.direct(c, a, descriptor, target, key)
}

// ownKey opens the account's own key for an attempt, unless it is not to be used at the moment.
func (e *Engine) ownKey(c *call, a *answer) (adapter.Secret, *failure) {
	sealed, own, err := e.Directory.OpenOwnKey(c.caller.Account.ID, a.deployment.Provider)
	if err != nil {
		return own, &failure{class: adapter.ClassAuth, unsent: true, err: fmt.Errorf("the stored key for provider %s cannot be opened: %w", a.deployment.Provider, err)}
	}
	if f := e.heldBack(c, a.deployment, sealed); f != nil {
		return own, f
	}
	a.keyID = sealed.ID
	if s := e.keys.find(sealed.ID); s != nil && !a.tryKey(s) {
		return own, &failure{class: adapter.ClassRateLimited, retryAfter: time.Second, unsent: true}
	}
	return own, nil
}

// awaitContent reads events until the first content, which they hold back: until then another candidate may still take
// over without the client having seen a thing. An answer that is to be reviewed is held back to its end, or until it is too
// long for that.
func (a *answer) awaitContent(now func() time.Time, d dialect.Dialect, limit time.Duration, whole bool) *failure {
	a.source.Until(time.Now().Add(limit - now().Sub(a.began))) // keep-alives are no sign of an answer
	defer a.source.Until(time.Time{})
	finished := false
	for {
		event, err := a.events.Next()
		if err != nil {
			if finished && errors.Is(err, io.EOF) {
				a.whole, a.took = true, now().Sub(a.began)
				return nil
			}
			return transportFailure(err)
		}
		if event.Data == nil {
			continue
		}
		info := d.Inspect(event.Data)
		finished = finished || len(info.Finish) > 0
		switch {
		case info.Done && !finished:
			return &failure{class: adapter.ClassServer, message: "the stream ended without an answer"}
		case info.Done:
			a.held = append(a.held, event.Raw...)
			if whole {
				a.said.Add(d, event.Data)
				a.text.hear(a, d, info, event.Data)
			}
			a.whole, a.took = true, now().Sub(a.began)
			return nil
		case info.Error:
			return a.failure(errorStatus(event.Data), event.Data)
		}
		a.held = append(a.held, event.Raw...)
		if info.Content && a.ttft == 0 {
			a.ttft = now().Sub(a.began)
			a.source.Until(time.Time{})
		}
		if whole {
			a.said.Add(d, event.Data)
			a.text.hear(a, d, info, event.Data)
		}
		if a.ttft > 0 && (!whole || len(a.held) > maxHeld) {
			return nil
		}
	}
}

// transportFailure is the failure behind an error of the transport or a plugin.
func transportFailure(err error) *failure {
	return &failure{class: adapter.ClassServer, err: err}
}

// failure classifies the provider's error answer by its rules, then by its status. The key is cut out of the message, for
// some providers repeat it.
func (a *answer) failure(status int, body []byte) *failure {
	f := &failure{status: status, class: adapter.Classify(a.rules, status, body)}
	detail, _ := dialect.ReadError(body)
	f.message = detail.Message
	if a.key.IsSet() {
		f.message = strings.ReplaceAll(f.message, a.key.Reveal(), "***")
	}
	f.message = clip(redact.String(f.message), 512) // and what looks like another key
	return f
}

func (f *failure) cancelled() bool {
	return f.ours != nil || errors.Is(f.err, upstream.ErrCancelled) || errors.Is(f.err, context.Canceled)
}

func (f *failure) timedOut() bool {
	return errors.Is(f.err, upstream.ErrTimeout) || errors.Is(f.err, context.DeadlineExceeded)
}

// tooLarge says that the answer, or an event of it, is larger than any may be. What clients write may be in it.
func tooLarge(err error) bool {
	return errors.Is(err, sse.ErrEventTooLarge) || errors.Is(err, upstream.ErrTooLarge) || errors.Is(err, errAnswerTooLarge)
}

// retryable says that the same candidate may do better at once.
func (f *failure) retryable() bool {
	return !f.cancelled() && (f.class == adapter.ClassServer || f.class == adapter.ClassOverloaded) && !tooLarge(f.err)
}

// final says that no candidate would do better.
func (f *failure) final() bool {
	if f.unserved != "" || f.inexpressible {
		return false // another provider may serve it
	}
	return f.cancelled() || f.class == adapter.ClassBadRequest || f.class == adapter.ClassContentFilter
}

// allows says whether the plan may go on with a model: after a prompt that was too long, only a larger window helps.
func (f *failure) allows(next *catalog.Model, c *call) bool {
	if f.class != adapter.ClassContextLength {
		return true
	}
	return next.ContextWindow > f.model.ContextWindow
}

func (f *failure) verdict() snapshot.Verdict {
	switch {
	case f.final(), f.unserved != "", f.lacks != "", f.inexpressible, f.unsent, f.hasty, tooLarge(f.err), f.class == adapter.ClassContextLength, f.own && f.ofKey():
		return snapshot.Neutral
	case f.class == adapter.ClassAuth, f.class == adapter.ClassQuota, f.class == adapter.ClassRateLimited && f.retryAfter > 0:
		return snapshot.Refused
	case f.class == adapter.ClassNotFound:
		return snapshot.Broken
	default:
		return snapshot.Failure
	}
}

// ofKey says that the failure may be the key's alone: another key may do better. A provider that does not know a model
// may just not offer it to this key.
func (f *failure) ofKey() bool {
	return f.class == adapter.ClassAuth || f.class == adapter.ClassQuota || f.class == adapter.ClassRateLimited || f.class == adapter.ClassNotFound
}

// label is the short name of a failure in records and metrics.
func (f *failure) label() string {
	switch {
	case f.cancelled():
		return "cancelled"
	case errors.Is(f.err, upstream.ErrConnect), errors.Is(f.err, upstream.ErrAddress):
		return "connect"
	case f.timedOut():
		return "timeout"
	default:
		return string(f.class)
	}
}

// fault is what the client is told when the last attempt failed like this. A provider's own words are passed on only
// where they are about the request, never where they could be about the operator's account.
func (f *failure) fault(c *call) *Fault {
	if f == nil {
		return &Fault{Status: fasthttp.StatusBadGateway, Type: typeProvider, Code: "provider_error", Message: "no candidate could be tried"}
	}
	what := "the provider"
	if n := len(c.root().outcomes); n > 1 {
		what = "all " + strconv.Itoa(n) + " attempts failed; the last provider"
	}
	of := &Fault{Status: fasthttp.StatusBadGateway, Type: typeProvider, Code: "provider_error", Message: what + " failed to answer"}
	if f.ours != nil {
		return f.ours
	}
	if f.limited != nil {
		return limitFault(f.limited)
	}
	if f.unserved != "" {
		return badRequest("unsupported_parameter", f.unserved, "no provider that was tried serves the parameter "+f.unserved)
	}
	if f.lacks != "" {
		return notFound("operation_not_supported", "model", fmt.Sprintf("no provider that was tried for model %.64q offers %s", f.model.Name, f.lacks))
	}
	switch f.class {
	case adapter.ClassBadRequest:
		of.Status, of.Type, of.Code, of.Message = 400, typeRequest, "provider_rejected_request", f.orElse("the provider rejected the request")
		if f.status > 400 && f.status < 500 { // else it was found out behind a status of 200
			of.Status = f.status
		}
		if f.inexpressible {
			of.Code, of.Param, of.Message = "unsupported_parameter", f.param, "no provider that was tried can be asked this: "+f.message
		}
	case adapter.ClassContextLength:
		of.Status, of.Type, of.Code, of.Param, of.Message = 400, typeRequest, "context_length_exceeded", "messages", f.orElse("the prompt is longer than the model's context window")
	case adapter.ClassContentFilter:
		of.Status, of.Type, of.Code, of.Message = 400, typeRequest, "content_filter", f.orElse("the provider's content filter refused the request")
	case adapter.ClassRateLimited:
		of.Status, of.Type, of.Code, of.Message = 429, typeRate, "provider_rate_limited", what+" limits the rate of requests"
		if f.own {
			of.Message += " of your own key"
		}
		of.RetryAfter = max(f.retryAfter, time.Second)
	case adapter.ClassOverloaded:
		of.Status, of.Code, of.Message = 503, "provider_overloaded", what+" is overloaded"
		of.RetryAfter = max(f.retryAfter, time.Second)
	case adapter.ClassAuth, adapter.ClassQuota:
		of.Code, of.Message = "provider_refused_credentials", what+" refused the gateway's credentials"
		if f.own {
			of = f.ownKeyFault()
		}
	case adapter.ClassNotFound:
		of.Code, of.Message = "provider_model_not_found", what+" does not know the model"
	}
	switch f.label() {
	case "cancelled":
		return clientGone
	case "connect":
		of.Code, of.Message = "provider_unreachable", what+" could not be reached"
		if errors.Is(f.err, upstream.ErrTimeout) {
			of.Status, of.Code, of.Message = 504, "provider_timeout", of.Message+" in time"
		}
	case "timeout":
		of.Status, of.Code, of.Message = 504, "provider_timeout", what+" did not answer in time"
	}
	return of
}

// ownKeyFault tells the owner of a key what to do about it.
func (f *failure) ownKeyFault() *Fault {
	of := &Fault{Status: fasthttp.StatusForbidden, Type: typePermission, Code: "provider_key_rejected"}
	switch {
	case f.err != nil:
		of.Code, of.Message = "provider_key_unreadable", "your own key for provider "+f.provider+" cannot be opened any more"
	case f.class == adapter.ClassQuota:
		of.Code, of.Message = "provider_quota_exceeded", "your own key's account with provider "+f.provider+" is out of quota: settle that with the provider"
	default:
		of.Message = "provider " + f.provider + " refused your own key"
	}
	path := "/api/v1/llm/byok/" + f.provider
	if f.unsent && f.err == nil {
		of.Message += "; it is not tried again for " + strconv.Itoa(int((f.retryAfter+time.Second-1)/time.Second)) + " s"
		of.RetryAfter = f.retryAfter
	}
	of.Message += "; store another with PUT " + path + ", or POST " + path + "/test once it should work. The platform's key was not used in its place"
	return of
}

// aboutRequest is the provider's own message if the failure is about the request, else another one: it could be about the
// operator's account.
func (f *failure) aboutRequest(otherwise string) string {
	if f.final() || f.class == adapter.ClassContextLength {
		return f.orElse(otherwise)
	}
	return otherwise
}

func (f *failure) orElse(message string) string {
	if f.message != "" {
		return f.message
	}
	return message
}

// retryAfter reads how long the provider wants to be left alone: retry-after-ms, which some send and which is exact, else
// Retry-After in any form of [snapshot.ParseReset]. It is capped at a minute.
func retryAfter(header func(name string) string, now time.Time) time.Duration {
	if ms, err := strconv.ParseUint(header("Retry-After-Ms"), 10, 32); err == nil {
		return min(time.Duration(ms)*time.Millisecond, time.Minute)
	}
	wait, _ := snapshot.ParseReset(header(fasthttp.HeaderRetryAfter), now)
	return min(wait, time.Minute)
}
