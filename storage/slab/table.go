package slab

import (
	"iter"
	"sync/atomic"
)

// Table finds values by a key that each has. Any number of goroutines may look things up while one at a time changes it. A look-up
// takes no lock and goes to one place of the table and to the value, where a map of Go's goes to five, which are in no cache when
// there are millions.
//
// Layout: open addressing with linear probing; at least a quarter of the places are free. A place that was taken stays so, until the
// table has another size.
type Table[K comparable, V any] struct {
	hash   func(K) uint64
	key    func(*V) K
	gone   *V // takes the place of what was removed
	places atomic.Pointer[[]place[V]]
	taken  int // places, of what is gone too
	len    atomic.Int64
}

type place[V any] struct {
	hash  uint64 // of the value's key; written before the value and never again
	value atomic.Pointer[V]
}

// NewTable makes a table. A value's key must stay as it is while the table has the value.
func NewTable[K comparable, V any](hash func(K) uint64, key func(*V) K) *Table[K, V] {
	t := &Table[K, V]{hash: hash, key: key, gone: new(V)}
	t.places.Store(new([]place[V]))
	return t
}

// Get returns the value with the key, nil if there is none.
func (t *Table[K, V]) Get(key K) *V {
	_, v := t.find(key)
	return v
}

func (t *Table[K, V]) find(key K) (*place[V], *V) {
	places := *t.places.Load()
	hash := t.hash(key)
	for i := hash; len(places) > 0; i++ {
		p := &places[i&uint64(len(places)-1)]
		v := p.value.Load()
		if v == nil {
			break
		}
		if p.hash == hash && v != t.gone && t.key(v) == key {
			return p, v
		}
	}
	return nil, nil
}

// Put adds a value, with a key that no other value of the table has.
func (t *Table[K, V]) Put(v *V) {
	places := *t.places.Load()
	if 4*(t.taken+1) > 3*len(places) {
		places = t.resized()
	}
	put(places, t.hash(t.key(v)), v)
	t.taken++
	t.len.Add(1)
}

// resized makes the table anew, with twice as many places as it has values, or up to four times.
func (t *Table[K, V]) resized() []place[V] {
	size := fewest
	for size < 2*(t.Len()+1) {
		size *= 2
	}
	places, before := make([]place[V], size), *t.places.Load()
	for i := range before {
		if v := before[i].value.Load(); v != nil && v != t.gone {
			put(places, before[i].hash, v)
		}
	}
	t.taken = t.Len()
	t.places.Store(&places)
	return places
}

func put[V any](places []place[V], hash uint64, v *V) {
	i := hash & uint64(len(places)-1)
	for places[i].value.Load() != nil {
		i = (i + 1) & uint64(len(places)-1)
	}
	places[i].hash = hash
	places[i].value.Store(v)
}

// Remove takes away the value with the key, if there is one.
func (t *Table[K, V]) Remove(key K) {
	if p, v := t.find(key); v != nil {
		p.value.Store(t.gone)
		t.len.Add(-1)
	}
}

// Len is how many values there are.
func (t *Table[K, V]) Len() int { return int(t.len.Load()) }

// All goes through the values in no order. What is put or removed meanwhile may or may not be among them.
func (t *Table[K, V]) All() iter.Seq[*V] {
	return func(yield func(*V) bool) {
		places := *t.places.Load()
		for i := range places {
			if v := places[i].value.Load(); v != nil && v != t.gone && !yield(v) {
				return
			}
		}
	}
}
