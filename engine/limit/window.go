package limit

import (
	"sort"
	"time"
)

const (
	minute = int64(time.Minute)
	// maxSlots is how many slots a window has at most.
	maxSlots = 512
	// tokenGrain is the time whose tokens share a slot.
	tokenGrain = int64(time.Second)
)

// window is what was taken of one limit in the last minute: a ring of slots, oldest first, each of which leaves a minute after
// the last that joined it. So a window never forgets anything too early, and too late only what shares its slot with something
// younger. Times are nanoseconds of the set's clock. The limiter's lock guards it.
type window struct {
	used    int64 // the sum of the slots
	slots   []slot
	head, n int
}

type slot struct{ at, amount int64 }

// slot is the i-th, the oldest being 0.
func (w *window) slot(i int) *slot { return &w.slots[(w.head+i)&(len(w.slots)-1)] }

// expire lets go of what is a minute old.
func (w *window) expire(now int64) {
	for w.n > 0 && now-w.slot(0).at >= minute {
		w.used -= w.slot(0).amount
		w.head = (w.head + 1) & (len(w.slots) - 1)
		w.n--
	}
}

// add takes an amount. It joins the youngest slot if that one was last joined in the same grain of time, or does not exceed a
// group with it; and where there is no room for another.
func (w *window) add(now, amount, grain, group int64) {
	w.used += amount
	if w.n > 0 {
		if last := w.slot(w.n - 1); last.at/grain == now/grain || last.amount+amount <= group || w.n == maxSlots {
			last.at, last.amount = now, last.amount+amount
			return
		}
	}
	if w.n == len(w.slots) {
		larger := make([]slot, max(4, 2*w.n))
		for i := range w.n {
			larger[i] = *w.slot(i)
		}
		w.slots, w.head = larger, 0
	}
	w.n++
	*w.slot(w.n - 1) = slot{now, amount}
}

// giveBack returns a part of what was taken at a time that is less than a minute ago.
func (w *window) giveBack(at, amount int64) {
	w.used -= amount
	w.slot(sort.Search(w.n, func(i int) bool { return w.slot(i).at >= at })).amount -= amount
	for w.n > 0 && w.slot(w.n-1).amount == 0 { // so that reset tells of what was taken
		w.n--
	}
}

// wait is how long it takes until an amount of at most the limit fits, if nothing else is taken; 0: it fits now.
func (w *window) wait(now, limit, amount int64) time.Duration {
	missing := amount - (limit - w.used)
	for i := 0; missing > 0; i++ {
		missing -= w.slot(i).amount
		if missing <= 0 {
			return time.Duration(w.slot(i).at + minute - now)
		}
	}
	return 0
}

// reset is how long it takes until nothing is taken any more.
func (w *window) reset(now int64) time.Duration {
	if w.n == 0 {
		return 0
	}
	return time.Duration(w.slot(w.n-1).at + minute - now)
}
