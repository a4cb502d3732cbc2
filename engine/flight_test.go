package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/engine/cache"
)

// asking is a call for the request of a key.
func asking(key byte) *call { return &call{cache: caching{key: cache.Key{key}}} }

// streaming is a flight whose stream has begun, with its leader's reader and so many others.
func streaming(t testing.TB, s *flights, others int) (f *flight, led *follower, readers []*follower) {
	t.Helper()
	if _, f = s.join(asking(1), true, leastWindow); f == nil {
		t.Fatal("the first one does not lead")
	}
	f.turn(flightStream, func() {})
	for range others {
		readers = append(readers, following(t, s))
	}
	return f, f.lead(), readers
}

func following(t testing.TB, s *flights) *follower {
	t.Helper()
	w, f := s.join(asking(1), false, leastWindow)
	if w == nil || f != nil {
		t.Fatal("there is nobody to follow")
	}
	return w
}

// readAll takes a stream to its end, whatever that is.
func readAll(w *follower) (stream []byte, state flightState, why leaving) {
	for {
		piece, state, why := w.next()
		stream = append(stream, piece...)
		if state >= flightWhole || why != stays {
			return stream, state, why
		}
	}
}

func (s *flights) isEmpty(t *testing.T) {
	t.Helper()
	for i := range s.shards {
		if n := len(s.shards[i].byKey); n > 0 {
			t.Errorf("%d flights are left", n)
		}
	}
	if held, following := s.held.Load(), s.following.Load(); held != 0 || following != 0 {
		t.Errorf("%d bytes are left, and %d who follow", held, following)
	}
}

// Who follows gets every event, in batches of whole ones, also those from before it came.
func TestFlightIsTakenFromItsBeginning(t *testing.T) {
	var s flights
	f, led, readers := streaming(t, &s, 1)
	var want []byte
	for i := range 2000 {
		event := fmt.Appendf(nil, "data: %d %s\n\n", i, bytes.Repeat([]byte("x"), i%50))
		want = append(want, event...)
		f.add(event, 1<<20, 1<<30)
		if i == 1000 {
			readers = append(readers, following(t, &s))
		}
	}
	f.turn(flightWhole, func() {})
	for _, w := range append(readers, led) {
		var got []byte
		for state := flightStream; state == flightStream; {
			var piece []byte
			piece, state, _ = w.next()
			if len(piece) > relayBatch || !bytes.HasSuffix(piece, []byte("\n\n")) || !bytes.HasPrefix(piece, []byte("data: ")) {
				t.Fatalf("a batch of %d bytes: %.40q", len(piece), piece)
			}
			got = append(got, piece...)
		}
		if !bytes.Equal(got, want) || w.passed != 2000 {
			t.Errorf("%d events in %d bytes, want %d", w.passed, len(got), len(want))
		}
		w.Close()
	}
	f.release()
	s.isEmpty(t)
}

// Who is a window behind is waited for for a second, then it gets no more; the others get all.
func TestLaggardsGetNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s flights
		f, led, readers := streaming(t, &s, 2)
		began := time.Now()
		event := bytes.Repeat([]byte("x"), 1000)
		var got []byte
		var all sync.WaitGroup
		all.Go(func() { got, _, _ = readAll(readers[0]) })
		all.Go(func() { readAll(led) })
		for range 1000 {
			f.add(event, 0, 1<<30)
			if held := s.held.Load(); held > leastWindow+1000 {
				t.Fatalf("%d bytes are kept", held)
			}
		}
		f.turn(flightWhole, func() {})
		all.Wait()
		if _, _, why := readers[1].next(); why != tooSlow || len(got) != 1000*len(event) {
			t.Errorf("the slow one: %d; the other got %d bytes", why, len(got))
		}
		if took := time.Since(began); took != laggardTime {
			t.Errorf("it took %s", took)
		}
		for _, w := range append(readers, led) {
			w.Close()
		}
		f.release()
		s.isEmpty(t)
	})
}

// A client that nobody else follows is waited for for as long as it takes, and nobody can follow what is gone already.
func TestSlowReaderAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s flights
		f, led, _ := streaming(t, &s, 0)
		event := bytes.Repeat([]byte("x"), 1000)
		const events = 500
		go func() {
			for range events {
				f.add(event, 0, 1<<30)
			}
			f.turn(flightWhole, func() {})
		}()
		synctest.Wait()
		got := 0
		for state := flightStream; state == flightStream; {
			time.Sleep(time.Hour)
			var piece []byte
			var why leaving
			if piece, state, why = led.next(); why != stays {
				t.Fatalf("it was cut after %d bytes: %d", got, why)
			}
			got += len(piece)
			if w, _ := s.join(asking(1), false, leastWindow); w != nil {
				t.Fatal("another one follows what has no beginning any more")
			}
		}
		if got != events*len(event) {
			t.Errorf("it got %d bytes", got)
		}
		led.Close()
		f.release()
		s.isEmpty(t)
	})
}

// When all streams together take too much, each keeps little.
func TestStreamsShareTheirRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s flights
		f, led, readers := streaming(t, &s, 1)
		s.held.Add(1 << 20)
		go readAll(led)
		for range 300 {
			f.add(make([]byte, 1000), 1<<20, 1<<20)
		}
		if _, _, why := readers[0].next(); why != tooSlow {
			t.Errorf("who does not read: %d", why)
		}
		f.fail(nil)
		synctest.Wait()
		led.Close()
		readers[0].Close()
		f.release()
		s.held.Add(-1 << 20)
		s.isEmpty(t)
	})
}

// The leader's call is cut when its client and all who followed are gone, in whatever order, and never after it was let go of.
func TestFlightEndsWithItsLast(t *testing.T) {
	for _, leaderFirst := range []bool{true, false} {
		var s flights
		c := asking(1)
		_, f := s.join(c, true, leastWindow)
		c.flight = f
		w := following(t, &s)
		if leaderFirst {
			if c.leave(); c.clientLeft() {
				t.Error("the leader was cut although another one follows")
			}
			w.Close()
		} else {
			if w.Close(); c.clientLeft() {
				t.Error("the leader was cut by one that followed")
			}
			c.leave()
		}
		if !c.clientLeft() {
			t.Error("the leader goes on for nobody")
		}
		if w, leads := s.join(asking(1), true, leastWindow); w != nil || leads == nil {
			t.Error("another one follows what nobody will end")
		} else {
			leads.release()
		}
		f.release()
		s.isEmpty(t)
	}
	var s flights
	c := asking(1)
	_, f := s.join(c, true, leastWindow)
	c.flight = f
	w := following(t, &s)
	c.leave()
	f.release()
	if w.Close(); c.clientLeft() {
		t.Error("a call was cut that is another request's by now")
	}
}

// Tenants are apart even if their keys are the same.
func TestFlightsOfTenantsAreApart(t *testing.T) {
	var s flights
	s.join(asking(1), true, leastWindow)
	other := asking(1)
	other.cache.tenant.ID = "another"
	if w, leads := s.join(other, true, leastWindow); w != nil || leads == nil {
		t.Error("it follows another tenant's")
	}
}

// Whatever readers do at once, each gets the stream or a beginning of it, and nothing is left.
func TestHammerAFlight(t *testing.T) {
	var s flights
	for round := range 30 {
		f, led, readers := streaming(t, &s, 10)
		var want []byte
		events := make([][]byte, 3000)
		for i := range events {
			events[i] = bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 1+rand.IntN(100))
			want = append(want, events[i]...)
		}
		var all sync.WaitGroup
		read := func(w *follower, leaves bool) {
			defer w.Close()
			at := 0
			for {
				piece, state, why := w.next()
				if !bytes.HasPrefix(want[at:], piece) {
					t.Errorf("a wrong piece of %d bytes at %d", len(piece), at)
					return
				}
				switch at += len(piece); {
				case why != stays, leaves && rand.IntN(50) == 0:
					return
				case state == flightWhole:
					if at != len(want) {
						t.Errorf("whole after %d of %d bytes", at, len(want))
					}
					return
				case state == flightOver:
					return
				case rand.IntN(100) == 0:
					time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
				}
			}
		}
		for i, w := range append(readers, led) {
			all.Go(func() { read(w, i%3 == 0) })
		}
		for i := range 10 {
			all.Go(func() {
				time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond)
				if w, _ := s.join(asking(1), false, leastWindow); w != nil {
					if i%4 == 0 {
						w.Cancel()
					}
					read(w, i%2 == 0)
				}
			})
		}
		for _, event := range events {
			f.add(event, 0, 1<<30)
		}
		if round%3 == 0 {
			f.fail(nil)
		} else {
			f.turn(flightWhole, func() {})
		}
		f.release()
		all.Wait()
	}
	s.isEmpty(t)
}

// BenchmarkFollow is what an event of a stream costs its leader and one who follows.
func BenchmarkFollow(b *testing.B) {
	var s flights
	f, led, readers := streaming(b, &s, 1)
	var all sync.WaitGroup
	for _, w := range append(readers, led) {
		all.Go(func() { readAll(w) })
	}
	event := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		f.add(event, 1<<20, 1<<30)
	}
	f.turn(flightWhole, func() {})
	all.Wait()
}
