package storagetest

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	c := NewClock()
	for _, by := range []time.Duration{0, time.Hour, -time.Hour, 10 * 365 * 24 * time.Hour, -20 * 365 * 24 * time.Hour} {
		c.Set(0)
		before := c.Now()
		c.Set(by)
		c.Pass(1500 * time.Millisecond)
		after := c.Now()
		if passed := after.Sub(before); passed != 1500*time.Millisecond {
			t.Errorf("set by %v: %v passed", by, passed)
		}
		if shown := after.Round(0).Sub(before.Round(0)); shown != by+1500*time.Millisecond {
			t.Errorf("set by %v: it shows %v more", by, shown)
		}
	}
}
