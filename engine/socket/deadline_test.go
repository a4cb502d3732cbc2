package socket

import (
	"testing"
	"time"
)

// TestDeadlineMoves: a connection has a deadline between those that suit whoever waits, and is told another one only if it has none.
func TestDeadlineMoves(t *testing.T) {
	start := time.Now()
	set := func(waits ...time.Duration) (times int) {
		var d Deadline
		for after := time.Duration(0); after < 10*time.Second; after += 3 * time.Millisecond {
			for _, wait := range waits {
				soonest := start.Add(after + wait)
				latest := soonest.Add(wait / 128)
				moves := d.Moves(soonest, latest)
				if moves {
					times++
				}
				if d.at.Before(soonest) || d.at.After(latest) || moves && d.at != latest {
					t.Fatalf("after %v, a wait of %v ends %v late, told: %t", after, wait, d.at.Sub(soonest), moves)
				}
			}
		}
		return times
	}
	if one, several := set(2*time.Second), set(2*time.Second, time.Minute, 2*time.Second); one > 10*128/2+1 || one < 10 || several <= one {
		t.Errorf("set %d times for one wait, %d for waits that differ", one, several)
	}
	var d Deadline
	for _, step := range []struct {
		soonest, latest time.Time
		moves           bool
	}{
		{time.Time{}, time.Time{}, false},
		{start, start.Add(time.Second), true},
		{start.Add(time.Second), start.Add(2 * time.Second), false},
		{start.Add(-time.Hour), start.Add(-time.Minute), true}, // one that has passed
		{time.Time{}, time.Time{}, true},
		{time.Time{}, time.Time{}, false},
		{start, start, true},
		{start, start, false},
	} {
		if got := d.Moves(step.soonest, step.latest); got != step.moves {
			t.Errorf("%v to %v: %t", step.soonest, step.latest, got)
		}
	}
}
