package directory

import (
	"iter"
	"maps"
	"sync/atomic"
)

// shardCount is how many small maps a large one is made of. With a million entries a write copies some 250 of them.
const shardCount = 1 << 12

// shards is a map that is read without a lock while one writer at a time changes it: a write replaces one of many small maps,
// which are never changed.
type shards[K comparable, V any] struct {
	hash func(K) uint64
	maps [shardCount]atomic.Pointer[map[K]V]
}

func (s *shards[K, V]) shard(key K) *atomic.Pointer[map[K]V] { return &s.maps[s.hash(key)%shardCount] }

func (s *shards[K, V]) get(key K) (v V, ok bool) {
	if m := s.shard(key).Load(); m != nil {
		v, ok = (*m)[key]
	}
	return v, ok
}

func (s *shards[K, V]) put(key K, v V) {
	next := s.copyOf(key)
	next[key] = v
	s.shard(key).Store(&next)
}

func (s *shards[K, V]) remove(key K) {
	next := s.copyOf(key)
	delete(next, key)
	s.shard(key).Store(&next)
}

func (s *shards[K, V]) copyOf(key K) map[K]V {
	if m := s.shard(key).Load(); m != nil {
		return maps.Clone(*m)
	}
	return map[K]V{}
}

// fill is put while nobody reads yet: it changes the small maps in place.
func (s *shards[K, V]) fill(key K, v V) {
	m := s.shard(key).Load()
	if m == nil {
		m = &map[K]V{}
		s.shard(key).Store(m)
	}
	(*m)[key] = v
}

// all goes through the values in no order. What is written meanwhile may or may not be among them.
func (s *shards[K, V]) all() iter.Seq[V] {
	return func(yield func(V) bool) {
		for i := range s.maps {
			m := s.maps[i].Load()
			if m == nil {
				continue
			}
			for _, v := range *m {
				if !yield(v) {
					return
				}
			}
		}
	}
}
