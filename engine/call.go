package engine

import (
	"crypto/rand"
	"encoding/binary"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/engine/kept"
	"github.com/pointsman/pointsman/engine/limit"
	"github.com/pointsman/pointsman/engine/rollout"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// call is one request on its way through the engine. It belongs to the goroutine that serves the request, but for leave.
type call struct {
	id          storage.RequestID
	clientID    string // x-request-id as the client sent it
	beta        string // anthropic-beta as the client sent it
	contentType string // of a form
	began       time.Time
	deadline    time.Time // the client's own; zero: none
	caller      *directory.Caller
	body        []byte       // fasthttp's: only until the handler returns
	scratch     []byte       // the request as it goes to a provider
	large       *kept.Memory // which scratch has, or nil
	dialect     dialect.Dialect
	op          operation
	env         envelope.Envelope
	chat        wording // the request as a chat completion, once a provider needs that
	session     uint64  // the conversation, as the client named it or as its opening tells; 0 if unknown

	// What was asked and decided.
	level   uint8          // abi.Level*
	policy  string         // name of the policy
	decider string         // whose module decides: the policy's, or its candidate's in a rollout
	rollout *rollout.Run   // of the policy, nil if there is none
	unit    uint64         // by which the rollout tells whose the request is
	model   *catalog.Model // named by the request, or nil
	pinned  string         // provider named by the request, or ""
	wish    *wishes        // about models and providers, nil if there are none
	snap    *policy.Published
	among   []*deployment // the candidates, as they are numbered in snap
	req     policy.Request
	state   *policy.State // the policy's, nil if it keeps none
	needs   uint32        // abi.Grant* bits of what the policy is given
	facts   policy.Facts  // of the round
	shadows []*shadow     // of the policy, of which some sample the request; nil for none
	granted granted       // to them
	plan    policy.Plan
	ran     policy.Ran // what was asked
	failed  error      // why the policy failed and the engine used its own order, or nil

	// What it may cost.
	steps   []policy.Step // of the plan, less those the account cannot pay for
	halted  bool          // the ledger takes no work: only what costs nothing can go on
	holding bool          // a hold is open in the ledger
	hold    storage.Credits
	held    *storage.Batch
	full    uint8                // bits of the model tiers whose budget has no room
	short   *storage.BudgetError // the last budget that had no room, or nil

	// Rounds before the plan that is final; see rounds.go.
	round    uint8
	earlier  []policy.Plan
	kept     *answer // held back for review
	spent    storage.Credits
	cost     costs
	answered int   // number of the candidate whose answer the client gets
	side     *call // the side call of this round, nil if it is none
	parent   *call // of a side call

	// What it has taken of rate limits; see ratelimit.go.
	limits limit.Hold // of the caller's
	trying limit.Hold // of those of the model and the provider that are being tried
	tokens int64      // that its answers have used
	turn   int64      // of those, what is to be settled with trying

	// What happened.
	outcomes   []policy.Outcome // one an attempt
	got        *answer          // of the last attempt that got one
	dispatched time.Time        // of the first attempt
	usage      storage.Usage
	encoded    []byte // the decision, for the log
	settled    bool
	told       dialect.Extra // see extra
	copied     *keptBody     // what is kept of the bodies, nil for nothing
	entered    bool          // it has taken room

	cache  caching
	flight *flight // that it leads; nil if it leads none
	claim  *claim  // of its idempotency key, nil without one

	watch watch
	pulse *pulse // of a stream, nil if it cannot be kept alive
	first answer // of the first attempt, so that most requests need no other

	cut      cut        // of the attempt under way
	mu       sync.Mutex // guards what follows against leave
	left     bool
	stopped  bool    // by the gateway itself, which then counts as left
	attempts []*call // those under way beside this call, see hedge.go
}

// cut is how an attempt is ended from outside, by any goroutine. The zero value is ready.
type cut struct {
	mu     sync.Mutex
	over   bool
	cancel canceller
}

// with registers how to cut what begins now, nil for nothing; false says that it must not begin.
func (k *cut) with(cancel canceller) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cancel = cancel
	return !k.over
}

// off cuts what is under way, and lets nothing begin any more.
func (k *cut) off() { k.now(true) }

// now cuts what is under way; over lets nothing begin any more.
func (k *cut) now(over bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = k.over || over
	if cancel := k.cancel; cancel != nil {
		k.cancel = nil // it may be cut again
		cancel.Cancel()
	}
}

// canceller is what an attempt can be cut by, from any goroutine and at any time.
type canceller interface{ Cancel() }

// maxBeta is the longest list of beta features that is passed on, in bytes.
const maxBeta = 1 << 10

// room makes scratch empty, with room for size bytes if they are many.
func (c *call) room(size int) []byte {
	if size > max(cap(c.scratch), kept.Usual) {
		c.large.Give()
		c.large = kept.Take(size)
		c.scratch = c.large.Bytes
	}
	return c.scratch[:0]
}

// giveRoom gives large memory back; nobody may refer to scratch any more.
func (c *call) giveRoom() {
	c.large.Give()
	if c.large = nil; cap(c.scratch) > kept.Usual {
		c.scratch = nil
	}
}

// begin takes a call for a request and gives the answer its request id.
func (e *Engine) begin(ctx *fasthttp.RequestCtx) *call {
	c := e.calls.Get().(*call)
	c.began = e.Now()
	c.id = newRequestID(c.began)
	c.clientID = clientRequestID(ctx)
	if c.body = ctx.PostBody(); len(c.body) > kept.Most {
		ctx.Request.ReleaseBody(kept.Most) // to the collector, once the call is over
	}
	if beta := ctx.Request.Header.Peek("Anthropic-Beta"); len(beta) <= maxBeta {
		c.beta = string(beta)
	}
	c.usage.Request, c.usage.ClientID = c.id, c.clientID
	shown := c.clientID
	if shown == "" {
		shown = c.id.String()
	}
	setHeader(ctx, "X-Request-Id", shown)
	return c
}

// end gives the call back. Nothing may refer to it any more.
func (e *Engine) end(c *call) {
	e.leave(c)
	c.flight.release()
	c.watch.forget()
	c.giveRoom()
	env, scratch, options, granted, encoded := c.env, c.scratch[:0], c.req.Options[:0], c.granted, c.encoded // memory for the next one
	steps, outcomes, planned, verdicts, explanation := c.steps[:0], c.outcomes[:0], c.plan.Steps[:0], c.plan.Verdicts[:0], c.plan.Explanation[:0]
	*c = call{}
	c.env, c.scratch, c.req.Options, c.granted, c.encoded = env, scratch, options, granted, encoded
	c.steps, c.outcomes, c.plan = steps, outcomes, policy.Plan{Steps: planned, Verdicts: verdicts, Explanation: explanation}
	e.calls.Put(c)
}

// leave notes that the client is gone and cuts the attempts under way, unless the client may come again for the answer or others
// want it. The watcher calls it from its own goroutine.
func (c *call) leave() {
	c.mu.Lock()
	f := c.flight
	c.mu.Unlock()
	if c.claim == nil && !f.goesOn() {
		c.quit()
	}
}

// quit cuts the attempts under way: nobody wants the answer.
func (c *call) quit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutAll()
}

// cutAll ends all attempts under way, for nobody who waits for an answer; c.mu is held.
func (c *call) cutAll() {
	c.left = true
	c.cut.off()
	for _, b := range c.attempts {
		b.cut.off()
	}
}

// cutWith registers how to cut the attempt that begins now; false says that it must not: the client left already.
func (c *call) cutWith(cancel canceller) bool {
	return c.root().cut.with(cancel)
}

func (c *call) clientLeft() bool {
	if c.parent != nil {
		return c.parent.clientLeft()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

func newRequestID(now time.Time) (id storage.RequestID) {
	part := uint64(now.Nanosecond()%1e6) << 16 / 1e6 // of the millisecond, so that ids sort by time within one, too
	binary.BigEndian.PutUint64(id[:8], uint64(now.UnixMilli())<<16|part)
	rand.Read(id[8:]) // never fails: crypto/rand ends the process instead
	return id
}

// clientRequestID is the client's own x-request-id if it is short and harmless, else "".
func clientRequestID(ctx *fasthttp.RequestCtx) string {
	id := ctx.Request.Header.Peek("X-Request-Id")
	if len(id) == 0 || len(id) > 64 {
		return ""
	}
	for _, b := range id {
		if (b < '0' || b > '9') && (b < 'A' || b > 'Z') && (b < 'a' || b > 'z') && b != '-' && b != '_' && b != '.' {
			return ""
		}
	}
	return string(id)
}

// requestIDText is the id for an answer that is about no call.
func requestIDText(ctx *fasthttp.RequestCtx) string {
	if id := clientRequestID(ctx); id != "" {
		return id
	}
	return newRequestID(time.Now()).String()
}

// setHeader sets a header of the answer whose name is written in its canonical form.
func setHeader(ctx *fasthttp.RequestCtx, name, value string) {
	ctx.Response.Header.SetCanonical([]byte(name), []byte(value))
}

func setInt(ctx *fasthttp.RequestCtx, name string, n int64) {
	setHeader(ctx, name, strconv.FormatInt(n, 10))
}
