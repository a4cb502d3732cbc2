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
// map operations and no system call.
//
// The rule: a connection is gone when the peer closed or half-closed it or reset it, or sent TLS's alert that it closes.
// Bytes of a next, pipelined request mean that the client is there.
type watcher struct {
	shards [16]watchShard
	stop   chan struct{}
	once   sync.Once
}

type watchShard struct {
	mu      sync.Mutex
	watches map[*watch]struct{}
	calls   int // that were added and not forgotten, also those whose client is gone
}

// watched is what a client waits for.
type watched interface {
	leave() // the client is gone; called once
	stop()  // the gateway stops
}

// watch is one watched request.
type watch struct {
	conn  net.Conn
	call  watched // called from the watcher's goroutines
	pulse *pulse  // nil if there is none
	round bool    // has been there for one interval
	shard *watchShard
}

func newWatcher() *watcher {
	w := &watcher{stop: make(chan struct{})}
	for i := range w.shards {
		w.shards[i].watches = map[*watch]struct{}{}
	}
	go w.run()
	return w
}

// add watches conn until forget, and has p looked at. spread picks the shard.
func (w *watcher) add(conn net.Conn, spread byte, call watched, p *pulse) *watch {
	s := &w.shards[int(spread)%len(w.shards)]
	one := &watch{conn: conn, call: call, pulse: p, shard: s}
	s.mu.Lock()
	s.watches[one] = struct{}{}
	s.calls++
	s.mu.Unlock()
	return one
}

// forget ends a watch, once. After it returned, nothing is called any more.
func (one *watch) forget() {
	one.shard.mu.Lock()
	delete(one.shard.watches, one)
	one.shard.calls--
	one.shard.mu.Unlock()
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
	for one := range s.watches {
		switch {
		case !one.round:
			one.round = true
		case peerGone(one.conn):
			delete(s.watches, one)
			one.call.leave()
		case one.pulse != nil:
			one.pulse.look(now)
		}
	}
}

func (w *watcher) close() { w.once.Do(func() { close(w.stop) }) }
