package engine

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/envelope"
)

const (
	// warmFor is how long a provider's prompt cache is taken to hold a conversation: five minutes at the large ones.
	warmFor      = 5 * time.Minute
	sessionSlots = 1 << 14
	// maxSessionName is the longest name of a session in a header, in bytes; others are not taken.
	maxSessionName = 256
)

// sessionHeaders may name the conversation; the first goes before the second.
func sessionHeaders() [2]string { return [2]string{"X-Pointsman-Session", "X-Session-Id"} }

// identify finds out which conversation a request belongs to. The client may name it, in the body or in a header; else a later
// turn is told by the opening that all turns repeat. A first turn has no session yet, but is remembered under the one that its
// next turn will have. Two conversations of an account that open alike count as one, which costs nothing: what is warm for one
// of them is warm for the other.
func (c *call) identify(ctx *fasthttp.RequestCtx) {
	for _, header := range sessionHeaders() {
		if name := ctx.Request.Header.Peek(header); c.env.Session == 0 && len(name) > 0 && len(name) <= maxSessionName {
			c.env.Session = envelope.Session(name)
		}
	}
	account := xxhash.Sum64String(c.caller.Account.ID)
	if c.env.Session != 0 {
		c.env.Session = max(1, account^c.env.Session) // others may have a conversation of that name
		c.session = c.env.Session
		return
	}
	opening, later := c.env.Opening(c.body)
	if len(opening) == 0 {
		return
	}
	c.session = max(1, account^xxhash.Sum64(opening))
	if later {
		c.env.Session = c.session
	}
}

// sessions remembers which deployment answered a session last. It is a table of fixed size in which a session may displace
// another: a hint that is lost, or another session's, costs a provider's cache discount, nothing else. The zero value is ready;
// safe for concurrent use.
type sessions struct {
	slots [sessionSlots]atomic.Uint64 // 32 bits of the session, 16 of the deployment's mark, and 16 of the time in seconds
}

// note remembers that a deployment answered a session.
func (s *sessions) note(session uint64, deployment uint16, now time.Time) {
	if session != 0 {
		s.slots[session%sessionSlots].Store(sessionTag(session)<<32 | uint64(deployment)<<16 | uint64(uint16(now.Unix())))
	}
}

// sessionTag is what tells a session from others of its slot.
func sessionTag(session uint64) uint64 { return session / sessionSlots & math.MaxUint32 }

// warm is the mark of the deployment that answered the session lately, 0 if there is none.
func (s *sessions) warm(session uint64, now time.Time) (deployment uint16) {
	last := s.slots[session%sessionSlots].Load()
	ago := time.Duration(uint16(now.Unix())-uint16(last)) * time.Second
	if session == 0 || last>>32 != sessionTag(session) || ago > warmFor {
		return 0
	}
	return uint16(last >> 16)
}
