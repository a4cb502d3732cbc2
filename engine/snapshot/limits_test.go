package snapshot

import (
	"net/http"
	"testing"
	"time"
)

func TestResetsAreReadInEveryForm(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for text, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, "7.66": 7660 * time.Millisecond, "1s": time.Second, "6m0s": 6 * time.Minute, "120ms": 120 * time.Millisecond,
		"1m30s": 90 * time.Second, "1800000020": 20 * time.Second, "1800000020500": 20500 * time.Millisecond,
		now.Add(30 * time.Second).UTC().Format(time.RFC3339): 30 * time.Second, now.Add(9 * time.Second).UTC().Format(http.TimeFormat): 9 * time.Second, "1700000000": 0, "-5s": 0, "99999999": 24 * time.Hour, "1e9": 24 * time.Hour,
	} {
		if got, ok := ParseReset(text, now); !ok || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "soon", "NaN", "-1", "1e18", "Inf", "5 s", "\x00"} {
		if got, ok := ParseReset(text, now); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestHostileCountsSayNothing(t *testing.T) {
	for _, text := range []string{"", "-1", "1e18", "NaN", "Inf", "null", `"5"`, "5 requests"} {
		if left, ok := ParseLeft(false, "100", text, "1s", time.Unix(0, 0)); ok {
			t.Errorf("%q: %+v", text, left)
		}
	}
	if left, ok := ParseLeft(true, "x", "99.5", "x", time.Unix(0, 0)); !ok || left != (Left{Tokens: true, Remaining: 99}) {
		t.Errorf("%+v, %v", left, ok)
	}
}

func TestReady(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	in := func(d time.Duration) time.Time { return at.Add(d) }
	for name, tc := range map[string]struct {
		limits Limits
		tokens int64
		want   time.Duration // 0: now
	}{
		"nothing said":              {Limits{At: at}, 10, 0},
		"some left":                 {Limits{At: at, Left: []Left{{Remaining: 1, Limit: 10, Reset: in(time.Minute)}}}, 10, 0},
		"none left, size unknown":   {Limits{At: at, Left: []Left{{Reset: in(20 * time.Second)}}}, 10, 20 * time.Second},
		"none left, refills":        {Limits{At: at, Left: []Left{{Limit: 10, Reset: in(20 * time.Second)}}}, 10, 2 * time.Second},
		"none left, no reset":       {Limits{At: at, Left: []Left{{Limit: 10}}}, 10, 0},
		"too few tokens":            {Limits{At: at, Left: []Left{{Tokens: true, Limit: 1000, Remaining: 500, Reset: in(10 * time.Second)}}}, 750, 5 * time.Second},
		"enough tokens":             {Limits{At: at, Left: []Left{{Tokens: true, Limit: 1000, Remaining: 500, Reset: in(10 * time.Second)}}}, 500, 0},
		"more than the limit":       {Limits{At: at, Left: []Left{{Tokens: true, Limit: 1000, Remaining: 500, Reset: in(10 * time.Second)}}}, 5000, 10 * time.Second},
		"asked for, and a limit":    {Limits{At: at, Until: in(9 * time.Second), Left: []Left{{Limit: 10, Reset: in(20 * time.Second)}}}, 10, 9 * time.Second},
		"an hour is not believed":   {Limits{At: at, Left: []Left{{Reset: in(time.Hour)}}}, 10, longestTrust},
		"nor an hour's Retry-After": {Limits{At: at, Until: in(time.Hour)}, 10, longestTrust},
	} {
		want := in(tc.want)
		if tc.want == 0 {
			want = time.Time{}
		}
		if got := tc.limits.Ready(tc.tokens, at); !got.Equal(want) {
			t.Errorf("%s: %v, want %v", name, got.Sub(at), tc.want)
		}
		if got := tc.limits.Ready(tc.tokens, at.Add(longestTrust)); !got.IsZero() {
			t.Errorf("%s: still not ready after the longest wait", name)
		}
	}
}

// FuzzLimits: whatever a provider sends, nothing panics and no wait is longer than the trust.
func FuzzLimits(f *testing.F) {
	f.Add("100", "0", "1m30s", int64(10))
	f.Add("-1", "1e15", "1800000020500", int64(-5))
	f.Add("", "NaN", "9223372036854775807h", int64(1)<<62)
	f.Fuzz(func(t *testing.T, limit, remaining, reset string, tokens int64) {
		now := time.Unix(1_800_000_000, 0)
		left, ok := ParseLeft(true, limit, remaining, reset, now)
		if !ok {
			return
		}
		l := Limits{At: now, Left: []Left{left}}
		if ready := l.Ready(tokens, now); !ready.IsZero() && (ready.Before(now) || ready.After(now.Add(longestTrust))) {
			t.Fatalf("ready %v from now: %+v", ready.Sub(now), left)
		}
	})
}
