package engine

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/valyala/fasthttp"
)

// enter takes room for a request, and waits for it if need be, but not longer than its client does. Who waited and was left
// meanwhile is not served.
func (e *Engine) enter(ctx *fasthttp.RequestCtx, c *call) *Fault {
	if fault := c.readTimeout(ctx); fault != nil {
		return fault
	}
	waited, refused := e.Overload.Enter(tierNumber(c.caller.Account.Tier), c.deadline)
	if refused != nil {
		return overloaded(refused)
	}
	c.entered = true
	switch {
	case waited && e.refusing.Load(): // what begins now would not be waited for
		ctx.SetConnectionClose()
		return shuttingDown()
	case waited && peerGone(ctx.Conn()):
		return clientGone
	}
	return nil
}

// leave gives the room back, once.
func (e *Engine) leave(c *call) {
	if c.entered {
		c.entered = false
		e.Overload.Leave()
	}
}

// OverloadHealth is how near the gateway is to its limits.
type OverloadHealth struct {
	Running     int      `json:"running"`
	Limit       int      `json:"limit"`
	Waiting     int      `json:"waiting"`
	Connections int      `json:"connections"`
	Shedding    []string `json:"shedding"` // why requests were refused in the last ten seconds; empty: none was
}

func (e *Engine) overloadHealth() OverloadHealth {
	s, why := e.Overload.Stats(), e.Overload.Shedding()
	if why == nil {
		why = []string{}
	}
	return OverloadHealth{Running: s.Running, Limit: s.Limit, Waiting: s.Waiting, Connections: s.Connections, Shedding: why}
}

func (e *Engine) writeOverloadMetrics(w io.Writer) {
	if e.Overload == nil {
		return
	}
	s := e.Overload.Stats()
	fmt.Fprintf(w, "pointsman_requests_running %d\npointsman_requests_waiting %d\npointsman_requests_limit %d\npointsman_connections %d\n", s.Running, s.Waiting, s.Limit, s.Connections)
	if s.MemoryLimit > 0 {
		fmt.Fprintf(w, "pointsman_memory_used_bytes %d\npointsman_memory_limit_bytes %d\n", s.Memory, s.MemoryLimit)
	}
	for _, reason := range slices.Sorted(maps.Keys(s.Shed)) {
		fmt.Fprintf(w, "pointsman_shed_total{reason=%q} %d\n", reason, s.Shed[reason])
	}
}
