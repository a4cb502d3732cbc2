package engine

import (
	"context"
	"errors"
	"time"

	"github.com/valyala/fasthttp"
)

// A gateway that stops passes three states. First it says that it is not ready and serves on, so that a load balancer turns away
// from it before anything is refused. Then it refuses what begins and lets finish what is under way. What is still under way at
// the limit is cut: it ends with an error in its client's dialect, and is settled.

const (
	drainPoll = 10 * time.Millisecond
	// cutTime is how long what is cut may take to tell its client; then its connection is closed.
	cutTime = 500 * time.Millisecond
	// settleTime is how long after that it may take to be settled.
	settleTime = 500 * time.Millisecond
)

// Drain makes the gateway answer that it is not ready, so that no new requests are sent to it. Those that come are served.
func (e *Engine) Drain() { e.draining.Store(true) }

// Finish refuses requests that begin from now on and waits until those under way have been settled. When ctx ends it cuts them. The
// error says that some could not be settled even so.
func (e *Engine) Finish(ctx context.Context) error {
	e.draining.Store(true)
	e.refusing.Store(true)
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	var began time.Time // to cut
	for e.watch.count() > 0 {
		if ctx.Err() != nil {
			if began.IsZero() {
				began = time.Now()
			}
			if time.Since(began) > cutTime+settleTime {
				return errors.New("requests were still under way when the time to finish them ran out")
			}
			e.watch.cut(time.Since(began) > cutTime)
		}
		<-poll.C
	}
	return nil
}

// Close waits until every request under way has been settled, or until ctx ends.
func (e *Engine) Close(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		e.inflight.Wait()
		e.learners.close()
		e.shadowQueue.close()
		close(done)
	}()
	defer e.watch.close()
	e.probing.close()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.New("requests were still under way when the time to finish them ran out")
	}
}

// shuttingDown is what a request gets that a gateway which stops does not begin, or cuts.
func shuttingDown() *Fault {
	return &Fault{
		Status: fasthttp.StatusServiceUnavailable, Type: typeServer, Code: "draining", Message: "the gateway is shutting down", RetryAfter: time.Second,
	}
}

// stop cuts the call because the gateway stops, which cannot wait for it any longer.
func (c *call) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = c.stopped || !c.left // else it was cut for its client
	c.cutAll()
}

// wasStopped tells that the gateway cut the call, rather than its client leaving.
func (c *call) wasStopped() bool {
	c = c.root()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// count is the number of requests under way.
func (w *watcher) count() (n int) {
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		n += s.calls
		s.mu.Unlock()
	}
	return n
}

// cut cuts all requests under way; with close their connections are closed, too, for their clients take nothing.
func (w *watcher) cut(close bool) {
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		for one := s.first; one != nil; one = one.next {
			one.call.stop()
			if close {
				one.conn.Close()
			}
		}
		s.mu.Unlock()
	}
}
