package snapshot

import (
	"fmt"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// State is a state for people: how something is, why, and since when.
type State struct {
	Health uint8 // abi.Health*
	Reason string
	Since  time.Time
	Retry  time.Time // when it may be tried again, if it is kept away from; else zero
}

// State is how deployment i is.
func (l *Live) State(i int) State {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, d := l.now(), l.live[i]
	s := State{Health: d.judge(now), Since: d.since}
	ok, failed := d.window.counts(now)
	_, until, cause, open := d.circuit.Open()
	switch {
	case open && until.After(now):
		s.Retry = until
		s.Reason = fmt.Sprintf("circuit open after %s: %s", times(d.circuit.Failures(), "failure"), policy.FailureName(cause))
	case open:
		s.Reason = "circuit half open: the next request tries it; it was opened by: " + policy.FailureName(cause)
	case s.Health == abi.HealthDegraded:
		s.Reason = fmt.Sprintf("%d of %s in the last 5 minutes failed, the last by: %s", failed, times(int(ok+failed), "attempt"), policy.FailureName(uint8(d.cause.Load())))
	case s.Health == abi.HealthHealthy:
		s.Reason = fmt.Sprintf("%d of %s in the last 5 minutes answered", ok, times(int(ok+failed), "attempt"))
	default:
		s.Reason = "no traffic in the last 5 minutes"
	}
	return s
}

// Window sums up the last five minutes of deployments.
func (l *Live) Window(deployments ...int) Stats {
	var a sums
	now := l.now()
	for _, i := range deployments {
		a.add(&l.live[i].window, now)
	}
	return a.stats()
}

func times(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Broken tells whether the circuit of deployment i is not closed.
func (l *Live) Broken(i int) bool { return l.live[i].circuit.openUntil.Load() != 0 }

// Cause is what the last failure that counts for the circuit of deployment i was, an abi.Failure* code.
func (l *Live) Cause(i int) uint8 { return uint8(l.live[i].circuit.cause.Load()) }
