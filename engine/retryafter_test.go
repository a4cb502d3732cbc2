package engine

import (
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, test := range []struct {
		seconds, milliseconds string
		want                  time.Duration
	}{
		{"", "", 0},
		{"7", "", 7 * time.Second},
		{"7", "6810", 6810 * time.Millisecond},
		{"7", "soon", 7 * time.Second},
		{"7", "-1", 7 * time.Second},
		{"Fri, 15 Jan 2027 08:00:20 GMT", "", 20 * time.Second},
		{"86400", "", time.Minute},
		{"", "4000000", time.Minute},
		{"junk", "", 0},
	} {
		header := map[string]string{"Retry-After": test.seconds, "Retry-After-Ms": test.milliseconds}
		if got := retryAfter(func(name string) string { return header[name] }, now); got != test.want {
			t.Errorf("%q, %q: %s, want %s", test.seconds, test.milliseconds, got, test.want)
		}
	}
}
