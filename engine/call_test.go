package engine

import (
	"bytes"
	"testing"
)

// TestRoom: a call keeps its buffer for the next request, unless that is large; then others have it meanwhile.
func TestRoom(t *testing.T) {
	c := new(call)
	for _, tc := range []struct{ size, kept int }{
		{100, 100}, {usualBuffer, usualBuffer}, {50, usualBuffer}, {usualBuffer + 1, 0}, {100, 100}, {maxKeptBuffer, 0}, {maxKeptBuffer + 1, 0},
	} {
		b := c.room(tc.size)
		if len(b) != 0 || tc.size > usualBuffer && cap(b) < tc.size {
			t.Fatalf("%d bytes: room for %d behind %d", tc.size, cap(b), len(b))
		}
		c.scratch = append(b, bytes.Repeat([]byte("x"), tc.size)...)
		if again := c.room(tc.size); &again[:1][0] != &c.scratch[0] {
			t.Errorf("%d bytes: another buffer for the next attempt", tc.size)
		}
		c.giveRoom()
		if got := cap(c.scratch); got < tc.kept || (got > 0) != (tc.kept > 0) || got > usualBuffer || c.large != nil {
			t.Errorf("%d bytes: %d are kept, not %d", tc.size, got, tc.kept)
		}
	}
	if l := larges.Get().(*large); cap(l.bytes) > maxKeptBuffer {
		t.Errorf("%d bytes are kept for all", cap(l.bytes))
	}
}
