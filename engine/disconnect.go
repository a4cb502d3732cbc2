package engine

import (
	"net"
	"sync"
	"time"
)

// watchInterval is how often the client connections of waiting requests are looked at. A client that leaves is noticed
// within one to two of them.
const watchInterval = 200 * time.Millisecond

// watcher notices clients that leave while their request waits, which fasthttp never tells. One goroutine looks at the
// sockets of all requests older than one interval, without taking a byte from them, so that short requests cost two
// changes of a list and no system call.
//
// The rule: a connection is gone when the peer closed or half-closed it or reset it, or sent TLS's alert that it closes.
// Bytes of a next, pipelined request mean that the client is there.
type watcher struct {
	shards [16]watchShard
	stop   chan struct{}
	once   sync.Once
}

type watchShard struct {
	mu    sync.Mutex
	first *watch
	calls int // in the list
}

// watched is what a client waits for. It is told from other goroutines.
type watched interface {
	leave() // the client is gone; told once
	stop()  // the gateway stops
}

// watch is one watched request, in the list of its shard. The zero value watches nothing.
type watch struct {
	conn           net.Conn
	call           watched
	pulse          *pulse // nil if there is none
	round          bool   // has been there for one interval
	gone           bool   // the client is; the gateway may still have to stop the request
	shard          *watchShard
	previous, next *watch
}

func newWatcher() *watcher {
	w := &watcher{stop: make(chan struct{})}
	go w.run()
	return w
}

// add has one watch conn until forget, and p looked at. spread picks the shard.
func (w *watcher) add(one *watch, conn net.Conn, spread byte, call watched, p *pulse) {
	s := &w.shards[int(spread)%len(w.shards)]
	s.mu.Lock()
	defer s.mu.Unlock()
	*one = watch{conn: conn, call: call, pulse: p, shard: s, next: s.first}
	if s.first != nil {
		s.first.previous = one
	}
	s.first = one
	s.calls++
}

// forget ends a watch, if there is one. After it returned, call is not told anything any more.
func (one *watch) forget() {
	if one.shard == nil {
		return
	}
	one.shard.mu.Lock()
	defer one.shard.mu.Unlock()
	if one.previous != nil {
		one.previous.next = one.next
	} else {
		one.shard.first = one.next
	}
	if one.next != nil {
		one.next.previous = one.previous
	}
	one.shard.calls--
}

func (w *watcher) run() {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case now := <-tick.C:
			for i := range w.shards {
				w.shards[i].look(now)
			}
		}
	}
}

func (s *watchShard) look(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for one := s.first; one != nil; one = one.next {
		switch {
		case one.gone:
		case !one.round:
			one.round = true
		case peerGone(one.conn):
			one.gone = true
			one.call.leave()
		case one.pulse != nil:
			one.pulse.look(now)
		}
	}
}

func (w *watcher) close() { w.once.Do(func() { close(w.stop) }) }
