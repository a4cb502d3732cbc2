// Package cache keeps values in memory by key, bounded by their bytes and their age.
//
// It is made of shards with a lock each, so that no request waits for all others. A shard that is full evicts by SIEVE: the
// values stand in the order in which they came, a hand goes from the oldest to the newest, spares once those that were asked
// for since it passed, and evicts the first that was not. A look-up thus changes nothing but one bit, and values that are
// never asked for again, which are most answers, leave without displacing those that are.
package cache

import (
	"sync"
	"sync/atomic"
	"time"
)

// Key is what a value is found by: a digest, whose bytes are spread evenly.
type Key [32]byte

// Tenant is whose a value is: of an account, of a key, of a team.
type Tenant struct{ Kind, ID string }

// Entry is a value with what is checked before it is handed out. It must not be changed once it was put.
type Entry[V any] struct {
	Tenant  Tenant
	Account string // for which it was made
	Stored  time.Time
	Expires time.Time
	Size    int // bytes that it takes, beside overhead
	Value   V
}

// overhead is what an entry takes beside its value, in bytes, about.
const overhead = 512

const (
	maxShards       = 64
	entriesPerShard = 4 // of the largest size, that a shard must have room for
)

// Cache keeps values. It is safe for concurrent use.
type Cache[V any] struct {
	maxEntry int
	shards   []shard[V] // a power of two
}

// New returns a cache for so many bytes, none of whose values has more than maxEntry.
func New[V any](maxBytes, maxEntry int) *Cache[V] {
	n := maxShards
	for n > 1 && maxBytes/n < entriesPerShard*(maxEntry+overhead) {
		n /= 2
	}
	c := &Cache[V]{maxEntry: maxEntry, shards: make([]shard[V], n)}
	for i := range c.shards {
		c.shards[i].room = maxBytes / n
		c.shards[i].byKey = map[Key]*node[V]{}
	}
	return c
}

func (c *Cache[V]) shard(k Key) *shard[V] { return &c.shards[int(k[0])&(len(c.shards)-1)] }

// Get finds a value that is the tenant's and has not expired; nil if there is none. One of another tenant costs what none
// costs.
func (c *Cache[V]) Get(k Key, tenant Tenant, now time.Time) *Entry[V] {
	s := c.shard(k)
	s.mu.RLock()
	n := s.byKey[k]
	s.mu.RUnlock()
	if n == nil || n.entry.Tenant != tenant || !now.Before(n.entry.Expires) {
		return nil
	}
	if !n.asked.Load() { // spares the others' processors a write
		n.asked.Store(true)
	}
	return n.entry
}

// Put keeps a value in the place of a former one; false if it is too large.
func (c *Cache[V]) Put(k Key, e *Entry[V]) bool {
	if e.Size > c.maxEntry {
		return false
	}
	c.shard(k).put(k, e)
	return true
}

// Drop removes the values that match, and returns their number.
func (c *Cache[V]) Drop(match func(*Entry[V]) bool) (dropped int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for n := s.oldest; n != nil; {
			next := n.newer
			if match(n.entry) {
				s.remove(n)
				dropped++
			}
			n = next
		}
		s.mu.Unlock()
	}
	return dropped
}

// Stats are the figures of a cache.
type Stats struct {
	Entries   int    `json:"entries"`
	Bytes     int    `json:"bytes"`
	Stored    uint64 `json:"stored"`    // since the start, as are Evictions
	Evictions uint64 `json:"evictions"` // for want of room
}

// Stats adds up the shards.
func (c *Cache[V]) Stats() (sum Stats) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		sum.Entries += len(s.byKey)
		sum.Bytes += s.bytes
		sum.Stored += s.stored
		sum.Evictions += s.evictions
		s.mu.RUnlock()
	}
	return sum
}

// shard is a part of the cache.
type shard[V any] struct {
	room int // in bytes

	mu                sync.RWMutex
	byKey             map[Key]*node[V]
	oldest, newest    *node[V]
	hand              *node[V] // where the next eviction begins; nil: at the oldest
	bytes             int
	stored, evictions uint64
}

// node is an entry in its shard's order.
type node[V any] struct {
	key          Key
	entry        *Entry[V]
	asked        atomic.Bool // since the hand passed
	older, newer *node[V]
}

func (n *node[V]) bytes() int { return n.entry.Size + overhead }

func (s *shard[V]) put(k Key, e *Entry[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.byKey[k]; old != nil {
		s.remove(old)
	}
	n := &node[V]{key: k, entry: e}
	for s.oldest != nil && s.bytes+n.bytes() > s.room {
		s.evict(e.Stored)
	}
	n.older = s.newest
	if n.older != nil {
		n.older.newer = n
	} else {
		s.oldest = n
	}
	s.newest, s.byKey[k] = n, n
	s.bytes += n.bytes()
	s.stored++
}

// evict removes one entry.
func (s *shard[V]) evict(now time.Time) {
	n := s.hand
	for {
		if n == nil {
			n = s.oldest
		}
		if !n.asked.Swap(false) || !now.Before(n.entry.Expires) {
			break
		}
		n = n.newer
	}
	s.hand = n
	s.remove(n)
	s.evictions++
}

// remove takes an entry out.
func (s *shard[V]) remove(n *node[V]) {
	if s.hand == n {
		s.hand = n.newer
	}
	if n.older != nil {
		n.older.newer = n.newer
	} else {
		s.oldest = n.newer
	}
	if n.newer != nil {
		n.newer.older = n.older
	} else {
		s.newest = n.older
	}
	delete(s.byKey, n.key)
	s.bytes -= n.bytes()
}
