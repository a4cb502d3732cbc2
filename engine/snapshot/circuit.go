package snapshot

import (
	"sync/atomic"
	"time"
)

const (
	openAfter   = 5 // failures in a row
	firstOpen   = 2 * time.Second
	longestOpen = 60 * time.Second
)

// Circuit is the breaker of a deployment, or of a key. Five failures in a row, or one that says that trying again is
// pointless, open it for 2 seconds, doubling to 60; then one request at a time may try it until one succeeds. The zero
// value is closed. It is safe for concurrent use and takes no lock.
type Circuit struct {
	failures  atomic.Uint32 // in a row
	cause     atomic.Uint32 // abi.Failure* of the last one
	openUntil atomic.Int64  // Unix nanoseconds; 0: closed
	openFor   atomic.Int64  // the last opening's length
	openedAt  atomic.Int64  // when it left the closed state
	trying    atomic.Bool   // a trial is under way
}

// Allows tells whether a request may go through: the circuit is closed, or was open long enough and no trial is under way.
func (c *Circuit) Allows(now time.Time) bool {
	until := c.openUntil.Load()
	return until == 0 || c.due(until, now)
}

// due tells whether the trial of an open circuit may begin. It is apart, so that asking a closed one costs no call.
//
//go:noinline
func (c *Circuit) due(until int64, now time.Time) bool {
	return until <= nanos(now) && !c.trying.Load()
}

// Open tells since when the circuit is not closed, until when nothing goes through, and what opened it (abi.Failure*);
// false if it is closed.
func (c *Circuit) Open() (since, until time.Time, cause uint8, open bool) {
	at := c.openUntil.Load()
	if at == 0 {
		return time.Time{}, time.Time{}, 0, false
	}
	return moment(c.openedAt.Load()), moment(at), uint8(c.cause.Load()), true
}

// Failures is the number of failures in a row.
func (c *Circuit) Failures() int { return int(c.failures.Load()) }

// Start notes that a request goes through. Succeed or Fail must follow unless the outcome says nothing, and after that End if it
// is the trial of an open circuit. Not ok means that it must not go through: another one, that passed Allows at the same time, is
// the trial.
func (c *Circuit) Start() (trial, ok bool) {
	if c.openUntil.Load() == 0 {
		return false, true
	}
	trial = c.trying.CompareAndSwap(false, true)
	return trial, trial
}

// End notes that a trial is over.
func (c *Circuit) End() { c.trying.Store(false) }

// Succeed closes the circuit. It tells whether that changed anything.
func (c *Circuit) Succeed() bool {
	if c.failures.Load() != 0 {
		c.failures.Store(0)
	}
	if c.openUntil.Load() == 0 || c.openUntil.Swap(0) == 0 {
		return false
	}
	c.openFor.Store(0)
	return true
}

// Fail notes a failure; a broken one opens the circuit at once. It tells whether the circuit opened, or stays open for
// longer.
func (c *Circuit) Fail(now time.Time, cause uint8, broken bool) bool {
	c.cause.Store(uint32(cause))
	n, until := c.failures.Add(1), c.openUntil.Load()
	if n < openAfter && !broken && until == 0 {
		return false
	}
	if until > nanos(now) {
		return false // of a request that began before it opened
	}
	length := min(max(2*time.Duration(c.openFor.Load()), firstOpen), longestOpen)
	if until == 0 {
		c.openedAt.Store(nanos(now))
	}
	c.openFor.Store(int64(length))
	c.openUntil.Store(nanos(now.Add(length)))
	return true
}

// Retry ends the wait of an open circuit, so that the next request may try. It tells whether that changed anything.
func (c *Circuit) Retry(now time.Time) bool {
	until := c.openUntil.Load()
	return until > nanos(now) && c.openUntil.CompareAndSwap(until, nanos(now))
}
