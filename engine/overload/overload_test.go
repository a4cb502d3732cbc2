package overload

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// full is a guard whose room is all taken.
func full(t testing.TB, cfg Config) *Guard {
	t.Helper()
	g := New(cfg)
	for range cfg.Requests {
		if waited, shed := g.Enter(0, time.Time{}); waited || shed != nil {
			t.Fatalf("there is room, and it was not given: %v, %v", waited, shed)
		}
	}
	return g
}

// Those who wait are let in by priority, and within one in the order in which they came.
func TestOrderOfTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := full(t, Config{Requests: 2, Queue: 10, Wait: time.Minute})
		var mu sync.Mutex
		var order []string
		for i, class := range []Priority{0, 3, 1, 3, 0, 2} {
			go func() {
				waited, shed := g.Enter(class, time.Time{})
				mu.Lock()
				order = append(order, fmt.Sprintf("%d#%d %v %v", class, i, waited, shed))
				mu.Unlock()
			}()
			synctest.Wait()
		}
		if s := g.Stats(); s.Waiting != 6 || s.Running != 2 {
			t.Errorf("%+v", s)
		}
		for range 6 {
			g.Leave()
			synctest.Wait()
		}
		want := "[3#1 true <nil> 3#3 true <nil> 2#5 true <nil> 1#2 true <nil> 0#0 true <nil> 0#4 true <nil>]"
		if got := fmt.Sprint(order); got != want {
			t.Errorf("the order is %s\nwant         %s", got, want)
		}
		g.Leave()
		g.Leave()
		if s := g.Stats(); s.Waiting != 0 || s.Running != 0 {
			t.Errorf("in the end: %+v", s)
		}
	})
}

// A full queue takes a request of a higher priority in the place of the last one of the lowest, and else refuses at once.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := full(t, Config{Requests: 1, Queue: 2, Wait: time.Minute})
		ends := make([]*Shed, 2)
		for i := range ends {
			go func() { _, ends[i] = g.Enter(1, time.Time{}) }()
			synctest.Wait()
		}
		began := time.Now()
		for _, class := range []Priority{0, 1} {
			if _, shed := g.Enter(class, time.Time{}); shed == nil || shed.Reason != NoRoom || shed.RetryAfter < time.Second {
				t.Errorf("priority %d at a full queue: %+v", class, shed)
			}
		}
		var high *Shed
		go func() { _, high = g.Enter(2, time.Time{}) }()
		synctest.Wait()
		if ends[0] != nil || ends[1] == nil || ends[1].Reason != NoRoom {
			t.Errorf("who was displaced: %v, %v", ends[0], ends[1])
		}
		g.Leave()
		g.Leave()
		synctest.Wait()
		if high != nil || ends[0] != nil || time.Since(began) != 0 {
			t.Errorf("%v, %v after %s", high, ends[0], time.Since(began))
		}
	})
}

// Nobody waits longer than the queue's time or the client's own limit, and that is told by the reason.
func TestWaitsNoLongerThanItsTime(t *testing.T) {
	for name, c := range map[string]struct{ limit, want time.Duration }{
		"the queue's":  {0, time.Second},
		"its own":      {300 * time.Millisecond, 300 * time.Millisecond},
		"a longer one": {time.Hour, time.Second},
		"over already": {-time.Millisecond, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := full(t, Config{Requests: 1, Queue: 2, Wait: time.Second})
			began, deadline := time.Now(), time.Time{}
			if c.limit != 0 {
				deadline = began.Add(c.limit)
			}
			_, shed := g.Enter(0, deadline)
			if took := time.Since(began); shed == nil || took != c.want || (shed.Reason == Waited) != (c.want > 0) {
				t.Errorf("%s: %+v after %s", name, shed, took)
			}
			if s := g.Stats(); s.Waiting != 0 || s.Running != 1 {
				t.Errorf("%s: %+v", name, s)
			}
		})
	}
}

// Once it is known how fast requests are let in, one that would wait longer than it can is refused without waiting.
func TestHopelessIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := full(t, Config{Requests: 1, Queue: 1000, Wait: 10 * time.Second})
		for range 60 { // ten a second are served
			go g.Enter(0, time.Time{}) //nolint:errcheck // what becomes of them does not matter
		}
		synctest.Wait()
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			g.Leave()
			synctest.Wait()
		}
		began := time.Now()
		_, shed := g.Enter(0, began.Add(3*time.Second)) // behind forty
		if took := time.Since(began); shed == nil || shed.Reason != NoRoom || took != 0 {
			t.Errorf("behind 40 with 3 s: %+v after %s", shed, took)
		} else if shed.RetryAfter < 3*time.Second || shed.RetryAfter > 6*time.Second {
			t.Errorf("to come again after %s, want about 4 s", shed.RetryAfter)
		}
		var patient, urgent *Shed
		done := 0
		go func() { _, patient = g.Enter(0, began.Add(8*time.Second)); done++ }()
		go func() { _, urgent = g.Enter(1, began.Add(time.Second)); done++ }() // nobody is before it
		synctest.Wait()
		for range 42 {
			time.Sleep(100 * time.Millisecond)
			g.Leave()
			synctest.Wait()
		}
		if patient != nil || urgent != nil || done != 2 {
			t.Errorf("who had time: %v, %v, %d", patient, urgent, done)
		}
	})
}

// A stall does not make the guard refuse for ever: what was seen of it is forgotten when nobody waits, and the next one may.
func TestStallIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := full(t, Config{Requests: 1, Queue: 1000, Wait: time.Second})
		go g.Enter(0, time.Time{}) //nolint:errcheck // it waits in vain
		time.Sleep(500 * time.Millisecond)
		if _, shed := g.Enter(0, time.Time{}); shed == nil || shed.Reason != NoRoom { // since nobody was let in for half a second
			t.Errorf("in the stall: %+v", shed)
		}
		served := 0
		for range 10 {
			time.Sleep(time.Second)
			go func() {
				time.Sleep(10 * time.Millisecond)
				g.Leave()
			}()
			if waited, shed := g.Enter(0, time.Time{}); waited && shed == nil {
				served++
				continue
			}
			time.Sleep(10 * time.Millisecond)
			g.Enter(0, time.Time{}) //nolint:errcheck // there is room now
		}
		if served < 7 {
			t.Errorf("%d of 10 were let in when there was room in 10 ms", served)
		}
	})
}

// Nothing is lost of the room, and never more is given than there is, whatever happens at once.
func TestHammerTheGuard(t *testing.T) {
	const limit, clients = 8, 64
	g := New(Config{Requests: limit, Queue: 20, Wait: 2 * time.Millisecond})
	var inside, most, served, refused atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range 500 {
				if _, shed := g.Enter(Priority(rand.IntN(4)), time.Time{}); shed != nil {
					refused.Add(1)
					continue
				}
				n := inside.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				if rand.IntN(4) == 0 {
					time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
				}
				inside.Add(-1)
				served.Add(1)
				g.Leave()
			}
		})
	}
	all.Wait()
	if s := g.Stats(); s.Running != 0 || s.Waiting != 0 || most.Load() > limit {
		t.Errorf("%+v, at most %d at once", s, most.Load())
	}
	if served.Load()+refused.Load() != clients*500 || served.Load() == 0 {
		t.Errorf("%d served and %d refused", served.Load(), refused.Load())
	}
	var counted uint64
	for _, n := range g.Stats().Shed {
		counted += n
	}
	if int64(counted) != refused.Load() {
		t.Errorf("%d refusals are counted, %d happened", counted, refused.Load())
	}
}

// Large bodies are refused before requests are, and what was held can be taken again.
func TestMemoryForBodies(t *testing.T) {
	const limit = 1 << 40 // which this process is far from
	g := New(Config{Memory: limit})
	defer g.Close()
	const body = limit / 10
	held := 0
	for g.Hold(body) == nil {
		held++
	}
	if held != 2 { // each counts four times
		t.Errorf("%d bodies of a tenth fit", held)
	}
	if shed := g.Hold(1); shed != nil {
		t.Errorf("a small one beside them: %+v", shed)
	}
	if _, shed := g.Enter(0, time.Time{}); shed != nil {
		t.Errorf("a request beside them: %+v", shed)
	}
	g.Free(body)
	if shed := g.Hold(body); shed != nil {
		t.Errorf("after one has gone: %+v", shed)
	}
	if why := g.Shedding(); len(why) != 1 || why[0] != "body" {
		t.Errorf("it says %q", why)
	}

	tight := New(Config{Memory: 1 << 20}) // which this process is far beyond
	defer tight.Close()
	if _, shed := tight.Enter(0, time.Time{}); shed == nil || shed.Reason != Memory {
		t.Errorf("without memory: %+v", shed)
	}
}

// What lives is what counts: garbage that Go would collect is none of it.
func TestGarbageIsNotCounted(t *testing.T) {
	runtime.GC()
	r := newReading()
	before, _ := r.read()
	keep := make([][]byte, 0, 64)
	for range 64 {
		keep = append(keep, make([]byte, 1<<20))
	}
	var m memory
	m.limit = 1 << 40
	refuseOnOldFigures := func() { // which asks for a collection
		m.refused.Store(true)
		_, r.collections = r.read()
		r.collected = time.Now().Add(-2 * staleAfter)
		m.look(r)
	}
	refuseOnOldFigures()
	if grown := m.used.Load() - before; grown < 60<<20 {
		t.Errorf("64 MiB that live count as %d", grown)
	}
	clear(keep)
	refuseOnOldFigures()
	if grown := m.used.Load() - before; grown > 16<<20 {
		t.Errorf("64 MiB of garbage count as %d", grown)
	}
}

// An address has so many slow senders, and others are not concerned.
func TestSlowSendersByAddress(t *testing.T) {
	g := New(Config{Senders: 2})
	from := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	for port := range 2 {
		if shed := g.SlowSender(from("192.0.2.1", port)); shed != nil {
			t.Errorf("the first: %+v", shed)
		}
	}
	if shed := g.SlowSender(from("192.0.2.1", 3)); shed == nil || shed.Reason != SlowSender {
		t.Errorf("the third: %+v", shed)
	}
	if shed := g.SlowSender(from("192.0.2.2", 1)); shed != nil {
		t.Errorf("another address: %+v", shed)
	}
	g.SentAll(from("192.0.2.1", 1))
	if shed := g.SlowSender(from("192.0.2.1", 3)); shed != nil {
		t.Errorf("after one has ended: %+v", shed)
	}
}

// BenchmarkEnter is what a request pays while nothing is short.
func BenchmarkEnter(b *testing.B) {
	g := New(Config{Requests: 1 << 20, Queue: 1000, Wait: time.Second, Memory: 1 << 40, Descriptors: 1 << 20})
	defer g.Close()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, shed := g.Enter(3, time.Time{}); shed == nil {
				g.Leave()
			}
		}
	})
}

// BenchmarkRefuse is what it costs to refuse a request without waiting.
func BenchmarkRefuse(b *testing.B) {
	g := full(b, Config{Requests: 1, Wait: time.Second})
	b.ReportAllocs()
	for b.Loop() {
		if _, shed := g.Enter(0, time.Time{}); shed == nil {
			b.Fatal("let in")
		}
	}
}
