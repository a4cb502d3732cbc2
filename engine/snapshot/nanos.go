package snapshot

import "time"

// epoch is what the moments of this package are counted from. It never changes.
var epoch = time.Now()

// nanos is a moment in nanoseconds since 1970, as they would have passed if nobody had set the clock since the start: circuits, windows
// and generations are about how much time has passed, and a clock that is set back by a year must not keep a circuit open for
// one. Times without a monotonic reading, as tests make them, are taken as they are.
func nanos(t time.Time) int64 { return epoch.UnixNano() + int64(t.Sub(epoch)) }

// moment is the time of nanos. Its difference to another time of this process is the time that passes between them.
func moment(nanos int64) time.Time { return epoch.Add(time.Duration(nanos - epoch.UnixNano())) }
