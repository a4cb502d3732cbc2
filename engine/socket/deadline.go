package socket

import "time"

// Deadline is what a connection was last told of how long a read, or a write, may wait. Telling takes half a microsecond, and those who wait one after the other want
// times that differ by little, so one that suits is left as it is. The zero value is that of a new connection: for ever. It belongs to whoever reads, or writes.
type Deadline struct{ at time.Time }

// Moves tells whether the connection must be told another one, latest, for a wait that may end at any time from soonest to latest; zero times: never.
func (d *Deadline) Moves(soonest, latest time.Time) bool {
	if d.at.IsZero() == latest.IsZero() && !d.at.Before(soonest) && !d.at.After(latest) {
		return false
	}
	d.at = latest
	return true
}
