package snapshot

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// longestTrust is how long a provider's word that nothing is left keeps requests away. It bounds what a wrong or hostile
// header can do, and a provider that means it says so again.
const longestTrust = time.Minute

// Limits are what a provider's headers said is left of its limits for one key at one deployment. It is immutable.
type Limits struct {
	At    time.Time
	Left  []Left
	Until time.Time // the provider asked for no request before then; zero: it did not
}

// Left is one limit.
type Left struct {
	Tokens    bool  // else requests
	Limit     int64 // 0: not told
	Remaining int64
	Reset     time.Time // when it is whole again; zero: not told
}

// ParseLeft reads the headers of one limit. False means that they do not say what is left, or not in a way one can
// believe.
func ParseLeft(tokens bool, limit, remaining, reset string, now time.Time) (Left, bool) {
	left := Left{Tokens: tokens}
	var ok bool
	if left.Remaining, ok = count(remaining); !ok {
		return Left{}, false
	}
	left.Limit, _ = count(limit)
	if wait, ok := ParseReset(reset, now); ok {
		left.Reset = now.Add(wait)
	}
	return left, true
}

// count reads a number of requests or tokens; some providers send fractions.
func count(text string) (int64, bool) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > 1e15 {
		return 0, false
	}
	return int64(f), true
}

// ParseReset reads when a limit is whole again, from now: seconds, a Unix time in seconds or milliseconds, an RFC 3339 time,
// an HTTP date, or text like Go's durations. Times in the past are 0, those beyond a day a day.
func ParseReset(text string, now time.Time) (time.Duration, bool) {
	wait, day := time.Duration(0), 24*time.Hour
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		switch {
		case math.IsNaN(f) || f < 0 || f > 1e15:
			return 0, false
		case f > 1e12:
			wait = time.UnixMilli(int64(f)).Sub(now)
		case f > 1e9:
			wait = time.Unix(int64(f), 0).Sub(now)
		default:
			wait = time.Duration(min(f, day.Seconds()) * float64(time.Second))
		}
	} else if d, err := time.ParseDuration(text); err == nil {
		wait = d
	} else if t, err := time.Parse(time.RFC3339, text); err == nil {
		wait = t.Sub(now)
	} else if t, err := http.ParseTime(text); err == nil {
		wait = t.Sub(now)
	} else {
		return 0, false
	}
	return min(max(wait, 0), day), true
}

// Ready is when a request with so much input fits; zero if it fits now. A limit that is used up refills steadily until its
// reset, so the wait is the share of it that the request needs; of a limit whose size is not told it is all. What the
// provider asked for itself counts in full. Nothing is believed for longer than a minute.
func (l *Limits) Ready(tokens int64, now time.Time) time.Time {
	ready := l.Until
	for _, left := range l.Left {
		need := int64(1)
		if left.Tokens {
			need = max(tokens, 1)
		}
		if left.Remaining >= need || left.Reset.IsZero() {
			continue
		}
		wait := left.Reset.Sub(l.At)
		if missing := left.Limit - left.Remaining; missing > need-left.Remaining {
			wait = time.Duration(float64(wait) * float64(need-left.Remaining) / float64(missing))
		}
		if at := l.At.Add(wait); at.After(ready) {
			ready = at
		}
	}
	if trusted := l.At.Add(longestTrust); ready.After(trusted) {
		ready = trusted
	}
	if !ready.After(now) {
		return time.Time{}
	}
	return ready
}
