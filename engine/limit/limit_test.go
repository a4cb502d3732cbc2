package limit

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func origin() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func none() Limits { return Limits{None, None, None} }

func requests(n int64) Limits { return Limits{n, None, None} }

func of(o Owner, l Limits) Claim { return Claim{o, "x", l} }

// arrivals draws the times of requests: bursts, even spacing, random gaps, and gaps around the edges of a minute.
func arrivals(t *rapid.T, n int) []time.Duration {
	gap := rapid.OneOf(
		rapid.Just(time.Duration(0)),
		rapid.Just(time.Nanosecond),
		rapid.Just(600*time.Millisecond),
		rapid.SampledFrom([]time.Duration{59 * time.Second, time.Minute - 1, time.Minute, time.Minute + 1, 30 * time.Second}),
		rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "gap"))
		}),
	)
	at, out := time.Duration(0), make([]time.Duration, 0, n)
	for len(out) < n {
		g, run := gap.Draw(t, "gap"), rapid.IntRange(1, 300).Draw(t, "run")
		if g >= 30*time.Second {
			run = 1
		}
		for range min(run, n-len(out)) {
			at += g
			out = append(out, at)
		}
	}
	return out
}

// P18: of 1,000 requests in any pattern, at most the limit pass within any minute, wherever it begins, and none is refused
// unless so many have passed in the minute before it, but for the part of a group.
func TestEveryMinuteHoldsTheLimit(t *testing.T) {
	for _, c := range []struct{ limit, fewer int64 }{{1, 0}, {7, 0}, {100, 0}, {512, 0}, {700, 1}, {2000, 3}} {
		t.Run(strconv.FormatInt(c.limit, 10), rapid.MakeCheck(func(t *rapid.T) {
			s, claims := NewSet(origin()), []Claim{of(Key, requests(c.limit))}
			var passed []time.Duration
			for _, at := range arrivals(t, max(1000, 3*int(c.limit))) {
				var h Hold
				_, refused := s.Take(origin().Add(at), claims, 1, &h)
				h.Settle(origin().Add(at), 0)
				if refused == nil {
					passed = append(passed, at)
					if i := len(passed) - 1 - int(c.limit); i >= 0 && at-passed[i] < time.Minute {
						t.Fatalf("%d passed between %v and %v", c.limit+1, passed[i], at)
					}
					continue
				}
				if i := len(passed) - int(c.limit-c.fewer); i < 0 || at-passed[i] >= time.Minute {
					t.Fatalf("refused at %v, after %d in all", at, len(passed))
				}
			}
		}))
	}
}

// P18: who comes again exactly when told passes, and not a nanosecond before.
func TestRetryIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewSet(origin())
		claims := []Claim{
			of(Key, Limits{rapid.Int64Range(1, 20).Draw(t, "requests"), None, None}),
			of(Account, Limits{rapid.Int64Range(1, 30).Draw(t, "requests"), rapid.Int64Range(1, 5000).Draw(t, "tokens"), None}),
		}
		now := origin()
		for range rapid.IntRange(1, 80).Draw(t, "requests made") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "gap")))
			tokens := rapid.Int64Range(0, 2000).Draw(t, "tokens")
			var h Hold
			if _, refused := s.Take(now, claims, tokens, &h); refused != nil {
				if refused.Retry <= 0 || refused.Retry > time.Minute {
					t.Fatalf("told to come again after %v", refused.Retry)
				}
				if s.Check(now.Add(refused.Retry-1), claims, tokens) == nil {
					t.Fatalf("%v is too late", refused.Retry)
				}
				now = now.Add(refused.Retry)
				if _, again := s.Take(now, claims, tokens, &h); again != nil {
					t.Fatalf("refused again after %v: %+v", refused.Retry, again)
				}
			}
			h.Settle(now, rapid.Int64Range(0, 3000).Draw(t, "used"))
		}
	})
}

// model is the limits of one owner, kept in the simplest way: a list of everything.
type model struct {
	requests []time.Duration
	tokens   []entry
	running  int64
}

type entry struct {
	at     time.Duration
	amount int64
}

// taken is what was taken of tokens within so long before now.
func (m *model) taken(now, within time.Duration) (sum int64) {
	for _, e := range m.tokens {
		if now-e.at < within {
			sum += e.amount
		}
	}
	return sum
}

func (m *model) passed(now time.Duration) (n int64) {
	for _, at := range m.requests {
		if now-at < time.Minute {
			n++
		}
	}
	return n
}

// open is a request under way in the model.
type open struct {
	hold   *Hold
	at     time.Duration
	claims []Claim
	took   []int64
}

// The limits of several owners with requests under way do what lists of everything do: all or nothing, and tokens that leave
// with their second, which is at most a second late.
func TestAgainstLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, models := NewSet(origin()), map[name]*model{}
		now, under := time.Duration(0), []open(nil)
		maybe := rapid.Custom(func(t *rapid.T) Limits {
			one := func(most int64) int64 { return rapid.Int64Range(-1, most).Draw(t, "limit") }
			return Limits{one(6), one(3000), one(4)}
		})
		limits := map[name]Limits{}
		for _, n := range []name{{Key, "a"}, {Key, "b"}, {Account, "a"}, {Account, "b"}, {Team, "a"}} {
			limits[n], models[n] = maybe.Draw(t, "limits"), new(model)
		}
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) {
				now += time.Duration(rapid.Int64Range(0, int64(40*time.Second)).Draw(t, "time"))
			},
			"change": func(t *rapid.T) {
				n := name{Key, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "id")}
				limits[n] = maybe.Draw(t, "limits")
			},
			"take": func(t *rapid.T) {
				var claims []Claim
				for _, n := range []name{{Key, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")}, {Account, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "account")}, {Team, "a"}} {
					claims = append(claims, Claim{n.of, n.id, limits[n]})
				}
				tokens := rapid.Int64Range(1, 4000).Draw(t, "tokens")
				o := open{hold: new(Hold), at: now, claims: claims}
				surely, perhaps := false, false // it must be refused; it may be
				for _, c := range claims {
					m, need := models[name{c.Of, c.ID}], min(tokens, c.Tokens)
					full := c.Concurrent != None && m.running >= c.Concurrent || c.Requests != None && m.passed(now) >= c.Requests || c.Tokens == 0
					surely = surely || full || c.Tokens > 0 && m.taken(now, time.Minute)+need > c.Tokens
					perhaps = perhaps || full || c.Tokens > 0 && m.taken(now, time.Minute+time.Second)+need > c.Tokens
					o.took = append(o.took, max(need, 0))
				}
				before, _ := s.Running()
				_, refused := s.Take(origin().Add(now), claims, tokens, o.hold)
				after, _ := s.Running()
				switch {
				case refused == nil && surely, refused != nil && !perhaps:
					t.Fatalf("refused: %+v; must be %v, may be %v", refused, surely, perhaps)
				case refused != nil && (o.hold.Open() || before != after):
					t.Fatal("a refused request took something")
				case refused != nil:
					return
				}
				for i, c := range claims {
					m := models[name{c.Of, c.ID}]
					m.running++
					if c.Requests != None {
						m.requests = append(m.requests, now)
					}
					m.tokens = append(m.tokens, entry{now, o.took[i]})
				}
				under = append(under, o)
			},
			"settle": func(t *rapid.T) {
				if len(under) == 0 {
					return
				}
				i := rapid.IntRange(0, len(under)-1).Draw(t, "which")
				o, used := under[i], rapid.Int64Range(0, 5000).Draw(t, "used")
				under = append(under[:i], under[i+1:]...)
				for range 2 { // the second time does nothing
					o.hold.Settle(origin().Add(now), used)
				}
				for i, c := range o.claims {
					m := models[name{c.Of, c.ID}]
					m.running--
					switch difference := used - o.took[i]; {
					case o.took[i] == 0:
					case difference > 0:
						m.tokens = append(m.tokens, entry{now, difference})
					case now-o.at < time.Minute: // what leaves does so with its second
						m.tokens = append(m.tokens, entry{o.at, difference})
					}
				}
			},
			"": func(t *rapid.T) {
				var running [Owners]int64
				for n, m := range models {
					running[n.of] += m.running
				}
				if got, _ := s.Running(); got != running {
					t.Fatalf("running %v, want %v", got, running)
				}
			},
		})
	})
}

// What is left is what can be taken.
func TestStateTellsWhatIsLeft(t *testing.T) {
	s := NewSet(origin())
	claims := []Claim{of(Key, Limits{5, 1000, None}), of(Account, Limits{3, None, 9}), of(Team, none())}
	var h Hold
	state, refused := s.Take(origin(), claims, 400, &h)
	if want := (State{Level{3, 2, time.Minute}, Level{1000, 600, time.Minute}}); refused != nil || state != want {
		t.Errorf("%+v, %+v", state, refused)
	}
	h.Settle(origin().Add(time.Second), 100)
	state, refused = s.Take(origin().Add(10*time.Second), claims, 901, &h)
	if want := (State{Level{3, 2, 50 * time.Second}, Level{1000, 900, 50 * time.Second}}); state != want {
		t.Errorf("%+v", state)
	}
	if want := (Refusal{Key, "x", Tokens, 1000, 50 * time.Second}); refused == nil || *refused != want || h.Open() {
		t.Errorf("%+v", refused)
	}
}

func TestZeroNoneAndSmall(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		unit   Unit
		passes bool
	}{
		{"none", none(), 0, true},
		{"no requests", Limits{0, None, None}, Requests, false},
		{"no tokens", Limits{None, 0, None}, Tokens, false},
		{"none at once", Limits{None, None, 0}, Concurrent, false},
		{"all are zero", Limits{0, 0, 0}, Concurrent, false},
		{"fewer tokens than the request needs", Limits{None, 10, None}, 0, true},
		{"the largest", Limits{math.MaxInt64, math.MaxInt64, math.MaxInt64}, 0, true},
	} {
		var h Hold
		s, claims := NewSet(origin()), []Claim{of(Key, c.limits)}
		_, refused := s.Take(origin(), claims, 50, &h)
		if (refused == nil) != c.passes || h.Open() != c.passes || refused != nil && (refused.Unit != c.unit || refused.Limit != 0 || refused.Retry != 0) {
			t.Errorf("%s: %+v", c.name, refused)
		}
		if c.limits.Tokens == 10 && s.Check(origin(), claims, 0) == nil {
			t.Errorf("%s: a limit that is used up has room", c.name)
		}
	}
	if none().Any() || !requests(0).Any() {
		t.Error("Any")
	}
}

// Tokens beyond what was held are owed: they keep others away until they are a minute old.
func TestTokensBeyondTheHoldAreOwed(t *testing.T) {
	s, claims := NewSet(origin()), []Claim{of(Key, Limits{None, 100, None})}
	var h Hold
	s.Take(origin(), claims, 60, &h)
	h.Settle(origin().Add(30*time.Second), 250)
	refused := s.Check(origin().Add(time.Minute), claims, 1)
	if refused == nil || refused.Retry != 30*time.Second {
		t.Errorf("%+v", refused)
	}
	if refused = s.Check(origin().Add(90*time.Second), claims, 100); refused != nil {
		t.Errorf("%+v", refused)
	}
}

// What a long request did not use has left the minute before it ends, and is not given back from what came later.
func TestSettledAfterItsMinute(t *testing.T) {
	s, claims := NewSet(origin()), []Claim{of(Key, Limits{None, 100, None})}
	var long, short Hold
	s.Take(origin(), claims, 100, &long)
	s.Take(origin().Add(time.Minute), claims, 60, &short)
	long.Settle(origin().Add(70*time.Second), 10)
	if state, _ := s.Take(origin().Add(70*time.Second), claims, 100, new(Hold)); state.Tokens != (Level{100, 40, 50 * time.Second}) {
		t.Errorf("%+v", state)
	}
	short.Settle(origin().Add(71*time.Second), 0)
	if state, _ := s.Take(origin().Add(72*time.Second), claims, 1, new(Hold)); state.Tokens != (Level{100, 99, time.Minute}) {
		t.Errorf("%+v", state)
	}
}

// Nothing is taken of a limit of which all was given back.
func TestResetAfterAllIsGivenBack(t *testing.T) {
	s, claims := NewSet(origin()), []Claim{of(Key, Limits{None, 100, 1})}
	var h, other Hold
	s.Take(origin(), claims, 100, &h)
	h.Settle(origin(), 0)
	s.Take(origin(), []Claim{of(Key, none())}, 1, &other)
	if state, _ := s.Take(origin(), claims, 1, new(Hold)); state.Tokens != (Level{100, 100, 0}) {
		t.Errorf("%+v", state)
	}
}

// Requests that come at once, in every order of claims that there is, never exceed what the limits allow, and never wait for
// each other.
func TestAtOnce(t *testing.T) {
	const goroutines, each = 16, 500
	s := NewSet(time.Now())
	var passed, under, most atomic.Int64
	var group sync.WaitGroup
	for g := range goroutines {
		group.Go(func() {
			for i := range each {
				claims := []Claim{
					{Key, strconv.Itoa(g), none()}, {Account, strconv.Itoa((g + i) % 3), requests(math.MaxInt64)}, {Team, "all", Limits{1000, None, 5}},
				}
				var h Hold
				if _, refused := s.Take(time.Now(), claims, 1, &h); refused == nil {
					most.Store(max(most.Load(), under.Add(1)))
					passed.Add(1)
					under.Add(-1)
				}
				h.Settle(time.Now(), 0)
			}
		})
	}
	group.Wait()
	if running, _ := s.Running(); running != [Owners]int64{} || passed.Load() > 1000 || most.Load() > 5 {
		t.Errorf("%v are running, %d passed, %d at once", running, passed.Load(), most.Load())
	}
}

// Limiters of which nothing is taken are forgotten, whichever requests come; others never are.
func TestIdleLimitersAreForgotten(t *testing.T) {
	s, now := NewSet(origin()), origin()
	var long Hold
	s.Take(now, []Claim{{Key, "long", Limits{None, None, 1}}}, 1, &long)
	for i := range 5000 {
		var h Hold
		s.Take(now, []Claim{{Key, strconv.Itoa(i), requests(1)}}, 1, &h)
		h.Settle(now, 0)
	}
	for range 3 * len(s.shards) {
		now = now.Add(time.Minute / time.Duration(len(s.shards)))
		s.Check(now, []Claim{{Account, "busy", requests(1)}}, 1)
	}
	if running, limiters := s.Running(); limiters > 2 || running[Key] != 1 {
		t.Errorf("%d limiters, running %v", limiters, running)
	}
	if s.Check(now, []Claim{{Key, "long", Limits{None, None, 1}}}, 1) == nil {
		t.Error("a request under way was forgotten")
	}
}

// A limiter that is forgotten between being found and being locked is not taken from.
func TestForgottenWhileFound(t *testing.T) {
	s := NewSet(origin())
	claims := []Claim{of(Key, requests(1)), of(Account, requests(1))}
	old := s.find(name{Account, "x"})
	for i := range s.shards {
		s.sweep.Store(0)
		s.sweepOne(int64(i))
	}
	if _, limiters := s.Running(); !old.dead || limiters != 0 {
		t.Fatalf("dead %v, %d limiters", old.dead, limiters)
	}
	for i := range s.shards { // it is found once more, as by a request that was faster
		s.shards[i].limiters = map[name]*limiter{{Account, "x"}: old}
	}
	var limiters [MaxClaims]*limiter
	if s.lock(claims, &limiters) || !old.mu.TryLock() || !s.find(name{Key, "x"}).mu.TryLock() {
		t.Error("a dead limiter was locked, or a lock was kept")
	}
}

// Requests may come in another order than their times.
func TestClockThatGoesBack(t *testing.T) {
	s, claims := NewSet(origin()), []Claim{of(Key, Limits{1, 100, None})}
	var h Hold
	s.Take(origin().Add(10*time.Second), claims, 100, &h)
	h.Settle(origin(), 50)
	refused := s.Check(origin().Add(5*time.Second), claims, 50)
	if refused == nil || refused.Unit != Requests || refused.Retry != time.Minute {
		t.Errorf("%+v", refused)
	}
}

// A window stays within its slots, whatever becomes of its limit.
func TestSlotsAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		now := int64(0)
		for range 50 {
			group := 1 + (rapid.Int64Range(1, 100_000).Draw(t, "limit")-1)/maxSlots
			for range rapid.IntRange(1, 200).Draw(t, "requests") {
				now += rapid.Int64Range(0, int64(time.Second)).Draw(t, "gap")
				w.expire(now)
				w.add(now, 1, 1, group)
				w.add(now, rapid.Int64Range(1, 9).Draw(t, "tokens"), tokenGrain, 0)
			}
			sum := int64(0)
			for i := range w.n {
				sum += w.slot(i).amount
			}
			if len(w.slots) > maxSlots || sum != w.used {
				t.Fatalf("%d slots with %d, used %d", len(w.slots), sum, w.used)
			}
		}
	})
}

func benchmarkClaims(id string) []Claim {
	l := Limits{1_000_000_000, 1_000_000_000_000, 1000}
	return []Claim{{Key, id, l}, {Account, id, l}, {Team, "all", l}}
}

// BenchmarkTakeSettle is what a request with limits of its key, account and team pays, each of requests, tokens and
// requests at once: alone, on all processors with limits of their own but for the team's, and at the same ones.
func BenchmarkTakeSettle(b *testing.B) {
	run := func(b *testing.B, s *Set, claims []Claim, next func() bool) {
		for next() {
			var h Hold
			now := time.Now()
			if _, refused := s.Take(now, claims, 1000, &h); refused != nil {
				b.Fatal(refused)
			}
			h.Settle(now, 300)
		}
	}
	b.Run("one key", func(b *testing.B) {
		s := NewSet(time.Now())
		b.ReportAllocs()
		i := 0
		run(b, s, benchmarkClaims("a")[:1], func() bool { i++; return i <= b.N })
	})
	b.Run("key, account and team", func(b *testing.B) {
		s := NewSet(time.Now())
		b.ReportAllocs()
		i := 0
		run(b, s, benchmarkClaims("a"), func() bool { i++; return i <= b.N })
	})
	for _, same := range []bool{false, true} {
		b.Run(fmt.Sprintf("parallel, same=%v", same), func(b *testing.B) {
			s := NewSet(time.Now())
			b.ReportAllocs()
			var id atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				mine := "a"
				claims := benchmarkClaims(mine)
				if !same {
					mine = strconv.FormatInt(id.Add(1), 10)
					claims = benchmarkClaims(mine)[:2]
				}
				run(b, s, claims, pb.Next)
			})
		})
	}
}
