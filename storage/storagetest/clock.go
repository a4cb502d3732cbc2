package storagetest

import (
	"sync"
	"time"
	"unsafe"
)

// Clock is a clock that can be set while time passes, as that of a machine can: its times have the hour that it shows and, apart from
// that, a monotonic reading that nothing but [Clock.Pass] moves. It is safe for concurrent use.
type Clock struct {
	mu     sync.Mutex
	base   time.Time
	passed time.Duration
	set    time.Duration
}

// NewClock returns a clock that shows the present time and stands still.
func NewClock() *Clock { return &Clock{base: time.Now()} }

// Now is the time that it shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return step(c.base.Add(c.passed), c.set)
}

// Pass lets time pass.
func (c *Clock) Pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed += d
}

// Set sets it to show so much more than the true time, or less, in whole seconds and at most a century; no time passes.
func (c *Clock) Set(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set = ahead.Truncate(time.Second)
}

// step changes the hour that a time shows and leaves its monotonic reading alone, which package time offers no way to do. A time
// with such a reading begins with 1 bit that says so, 33 bits of seconds since 1885 and 30 bits of nanoseconds.
func step(t time.Time, by time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) //nolint:gosec // the first field of time.Time
	*wall += uint64(int64(by/time.Second)) << 30
	return t
}
