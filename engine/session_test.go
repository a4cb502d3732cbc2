package engine

import (
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/storage"
)

// Conversations of two accounts are two, whatever they are called, and the same one whichever header names it.
func TestNamedSessionsAreAnAccountsOwn(t *testing.T) {
	session := func(account, header string) uint64 {
		c := &call{caller: &directory.Caller{Account: &storage.Account{ID: account}}}
		ctx := new(fasthttp.RequestCtx)
		ctx.Request.Header.Set(header, "customer-42")
		c.identify(ctx)
		if c.session == 0 || c.env.Session != c.session {
			t.Errorf("%s: session %d, and %d for the policy", account, c.session, c.env.Session)
		}
		return c.session
	}
	if a, b := session("a", "X-Session-Id"), session("b", "X-Session-Id"); a == b || a != session("a", "X-Pointsman-Session") {
		t.Errorf("sessions %d and %d", a, b)
	}
}
