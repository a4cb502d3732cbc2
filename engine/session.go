package engine

import (
	"sync/atomic"
	"time"
)

const (
	// warmFor is how long a provider's prompt cache is taken to hold a conversation: five minutes at the large ones.
	warmFor      = 5 * time.Minute
	sessionSlots = 1 << 14
)

// sessions remembers which candidate answered a session last. It is a table of fixed size in which a session may displace
// another: a hint that is lost costs a provider's cache discount, nothing else. The zero value is ready; safe for
// concurrent use.
type sessions struct {
	slots [sessionSlots]atomic.Pointer[lastAnswer]
}

type lastAnswer struct {
	session   uint64
	candidate int
	until     time.Time
}

// note remembers that a candidate answered a session.
func (s *sessions) note(session uint64, candidate int, now time.Time) {
	if session != 0 {
		s.slots[session%sessionSlots].Store(&lastAnswer{session, candidate, now.Add(warmFor)})
	}
}

// warm is the candidate that answered the session lately, -1 if there is none.
func (s *sessions) warm(session uint64, now time.Time) int {
	if session == 0 {
		return -1
	}
	last := s.slots[session%sessionSlots].Load()
	if last == nil || last.session != session || now.After(last.until) {
		return -1
	}
	return last.candidate
}
