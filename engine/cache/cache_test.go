package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func keyOf(n int) Key { return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n))) }

var epoch = time.Unix(1_700_000_000, 0)

func entryOf(tenant string, value, size int) *Entry[int] {
	return &Entry[int]{Tenant: Tenant{"a:", tenant}, Account: tenant, Stored: epoch, Expires: epoch.Add(time.Minute), Size: size, Value: value}
}

func TestGet(t *testing.T) {
	c := New[int](1<<20, 1<<10)
	c.Put(keyOf(1), entryOf("a", 7, 100))
	for _, x := range []struct {
		name   string
		key    int
		tenant string
		after  time.Duration
		found  bool
	}{
		{"its own", 1, "a", 0, true},
		{"just before it expires", 1, "a", time.Minute - 1, true},
		{"expired", 1, "a", time.Minute, false},
		{"of another tenant", 1, "b", 0, false},
		{"of no tenant", 1, "", 0, false},
		{"another key", 2, "a", 0, false},
	} {
		e := c.Get(keyOf(x.key), Tenant{"a:", x.tenant}, epoch.Add(x.after))
		if (e != nil) != x.found || e != nil && e.Value != 7 {
			t.Errorf("%s: got %+v", x.name, e)
		}
	}
	if c.Put(keyOf(3), entryOf("a", 1, 1<<10+1)) {
		t.Error("a value above the limit was kept")
	}
}

func TestDrop(t *testing.T) {
	c := New[int](1<<20, 1<<10)
	for n := range 100 {
		c.Put(keyOf(n), entryOf(string(rune('a'+n%2)), n, 10))
	}
	if n := c.Drop(func(e *Entry[int]) bool { return e.Account == "a" }); n != 50 {
		t.Errorf("dropped %d of 50", n)
	}
	if s := c.Stats(); s.Entries != 50 || s.Bytes != 50*(10+overhead) || s.Stored != 100 || s.Evictions != 0 {
		t.Errorf("left: %+v", s)
	}
	if c.Get(keyOf(0), Tenant{"a:", "a"}, epoch) != nil || c.Get(keyOf(1), Tenant{"a:", "b"}, epoch) == nil {
		t.Error("the wrong ones were dropped")
	}
}

// TestBounded does as it pleases with a small cache and holds its books against a recount after every step.
func TestBounded(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const room = 40_000
	c := New[int](room, 4_000)
	for step := range 50_000 {
		k := keyOf(random.IntN(200))
		switch random.IntN(10) {
		case 0:
			last := random.IntN(200)
			c.Drop(func(e *Entry[int]) bool { return e.Value == last })
		case 1, 2, 3, 4:
			e := entryOf("a", random.IntN(200), random.IntN(4_000))
			if !c.Put(k, e) || c.Get(k, Tenant{"a:", "a"}, epoch) != e {
				t.Fatalf("step %d: what was put is not there", step)
			}
		default:
			c.Get(k, Tenant{"a:", "a"}, epoch)
		}
		for i := range c.shards {
			recount(t, &c.shards[i])
		}
		if s := c.Stats(); s.Bytes > room {
			t.Fatalf("step %d: %d bytes of %d", step, s.Bytes, room)
		}
	}
}

// recount follows the order both ways.
func recount(t *testing.T, s *shard[int]) {
	t.Helper()
	bytes, entries, hand := 0, 0, s.hand == nil
	var before *node[int]
	for n := s.oldest; n != nil; before, n = n, n.newer {
		if n.older != before || s.byKey[n.key] != n {
			t.Fatal("the order is broken")
		}
		bytes, entries, hand = bytes+n.bytes(), entries+1, hand || s.hand == n
	}
	if before != s.newest || bytes != s.bytes || entries != len(s.byKey) || !hand {
		t.Fatalf("%d entries with %d bytes, told are %d with %d; the hand is in it: %v", entries, bytes, len(s.byKey), s.bytes, hand)
	}
}

// TestEvictionSparesWhatIsAskedFor lets values that nobody asks for stream past ten that are asked for.
func TestEvictionSparesWhatIsAskedFor(t *testing.T) {
	c := New[int](100*(100+overhead), 1<<20) // one shard
	for n := range 10 {
		c.Put(keyOf(n), entryOf("a", n, 100))
	}
	for n := range 10_000 {
		c.Put(keyOf(100+n), entryOf("a", n, 100))
		if c.Get(keyOf(n%10), Tenant{"a:", "a"}, epoch) == nil {
			t.Fatalf("value %d is gone after %d others", n%10, n+1)
		}
	}
	if s := c.Stats(); s.Entries != 100 || s.Evictions != 9_910 {
		t.Errorf("figures %+v", s)
	}
}

// TestShards has as many as fit the largest value a few times, and never none.
func TestShards(t *testing.T) {
	for _, x := range []struct{ bytes, entry, want int }{
		{256 << 20, 1 << 20, 32}, {256 << 20, 64 << 10, 64}, {1 << 20, 1 << 20, 1}, {16 << 20, 1 << 20, 2},
	} {
		if got := len(New[int](x.bytes, x.entry).shards); got != x.want {
			t.Errorf("%d bytes, values of %d: %d shards, want %d", x.bytes, x.entry, got, x.want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	c := New[int](1<<20, 1<<10)
	var users sync.WaitGroup
	for u := range 8 {
		users.Go(func() {
			random := rand.New(rand.NewPCG(uint64(u), 3))
			for range 5_000 {
				n := random.IntN(4_000)
				if e := c.Get(keyOf(n), Tenant{"a:", "a"}, epoch); e != nil && e.Value != n {
					t.Errorf("asked for %d, got %d", n, e.Value)
				}
				c.Put(keyOf(n), entryOf("a", n, 1_000))
				if random.IntN(1_000) == 0 {
					c.Drop(func(e *Entry[int]) bool { return e.Value%2 == 0 })
					c.Stats()
				}
			}
		})
	}
	users.Wait()
}

func BenchmarkGet(b *testing.B) {
	c := New[int](1<<30, 1<<10)
	const n = 1 << 12
	keys := make([]Key, 2*n)
	for i := range keys {
		if keys[i] = keyOf(i); i < n {
			c.Put(keys[i], entryOf("a", i, 1_000))
		}
	}
	for _, x := range []struct {
		name   string
		from   int
		tenant string
	}{{"hit", 0, "a"}, {"miss", n, "a"}, {"foreign", 0, "b"}} {
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					c.Get(keys[x.from+i%n], Tenant{"a:", x.tenant}, epoch)
				}
			})
		})
	}
}
