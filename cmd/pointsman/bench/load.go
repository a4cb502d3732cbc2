package bench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// sample is what one round against one target showed.
type sample struct {
	requests    int
	elapsed     time.Duration
	cpu         time.Duration // of the target's process tree
	upstreamCPU time.Duration
	p50, p99    time.Duration
}

// slack is how much longer than planned a round may take before its connections time out, longest how much longer it lasts for
// a target that answers too little in its time.
const (
	slack   = 2 * time.Minute
	longest = time.Minute
)

// load is what the connections of one round share.
type load struct {
	workload workload
	address  string
	requests [][]byte  // sent in turn
	workers  int       // requests at once
	wires    int       // connections of each worker, used in turn
	schedule *schedule // nil for a closed loop
	deadline time.Time
	state    atomic.Int32
	answered atomic.Int64 // in the window
}

// schedule says when the requests of an open loop are due, whatever became of those before.
type schedule struct {
	start time.Time
	every time.Duration
	skip  int64 // requests of the warm-up
	total int64 // with them
	next  atomic.Int64
}

// States of a load.
const (
	warming int32 = iota
	measuring
	stopping
)

// closedLoop has every connection send its next request when it has the answer to the last one.
func closedLoop(cfg *Config, w workload, target *process) *load {
	return &load{workload: w, address: target.hostPort(), requests: [][]byte{w.request(target)}, workers: cfg.Connections, wires: 1}
}

// openLoop sends at a fixed rate, over as many connections as it may need. What a request takes is counted from the moment
// it was due, so that those are counted whole which had to wait for others.
func openLoop(cfg *Config, w workload, target *process) *load {
	l := closedLoop(cfg, w, target)
	l.workers = openConnections
	every := time.Second / time.Duration(cfg.Rate)
	l.schedule = &schedule{every: every, skip: int64(cfg.WarmUp / every), total: int64((cfg.WarmUp + cfg.Duration) / every)}
	return l
}

// openConnections is how many requests of an open loop may be under way.
const openConnections = 256

// measure runs the load, lets it warm up, and counts what happens between two readings of the CPU clocks while it goes on.
func (l *load) measure(ctx context.Context, cfg *Config, target, upstream *process) (sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.deadline = time.Now().Add(cfg.WarmUp + cfg.Duration + slack)
	var ready, workers sync.WaitGroup
	begin := make(chan struct{})
	taken := make([][]time.Duration, l.workers)
	for i := range taken {
		ready.Add(1)
		workers.Go(func() {
			if err := l.run(ctx, i, &taken[i], func() { ready.Done(); <-begin }); err != nil {
				cancel(err)
			}
		})
	}
	ready.Wait() // with all connections made
	if l.schedule != nil {
		l.schedule.start = time.Now()
	}
	close(begin)
	s, err := l.window(ctx, cfg, target, upstream)
	l.state.Store(stopping)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil { // a worker failed, or the run was interrupted
		return s, cause
	}
	if err != nil {
		return s, err
	}
	all := slices.Concat(taken...)
	if s.requests = len(all); s.requests == 0 {
		return s, fmt.Errorf("no answer within %s", s.elapsed)
	}
	slices.Sort(all)
	s.p50, s.p99 = percentile(all, 50), percentile(all, 99)
	return s, nil
}

// window opens the measurement after the warm-up and closes it after the round.
func (l *load) window(ctx context.Context, cfg *Config, target, upstream *process) (s sample, err error) {
	if err := pause(ctx, cfg.WarmUp); err != nil {
		return s, err
	}
	cpu, err := proc.treeCPU(target.pid())
	if err != nil {
		return s, err
	}
	upstreamCPU, err := proc.treeCPU(upstream.pid())
	if err != nil {
		return s, err
	}
	began := time.Now()
	l.state.Store(measuring)
	if err := pause(ctx, cfg.Duration); err != nil {
		return s, err
	}
	// Requests that are cut by the beginning and the end of the window must be few among those in it.
	for l.schedule == nil && l.answered.Load() < int64(4*l.workers) && time.Since(began) < longest {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return s, err
		}
	}
	l.state.Store(stopping)
	s.elapsed = time.Since(began)
	if s.cpu, err = proc.treeCPU(target.pid()); err != nil {
		return s, err
	}
	if s.upstreamCPU, err = proc.treeCPU(upstream.pid()); err != nil {
		return s, err
	}
	s.cpu, s.upstreamCPU = s.cpu-cpu, s.upstreamCPU-upstreamCPU
	return s, nil
}

// run is one worker: it makes its connections, waits for the beginning, sends one request after another, and notes how long
// each took that belongs to the window.
func (l *load) run(ctx context.Context, worker int, taken *[]time.Duration, ready func()) error {
	wires, err := l.connect(ctx)
	for _, c := range wires {
		defer c.close()
	}
	ready()
	if err != nil {
		return err
	}
	if l.schedule != nil {
		return l.keep(ctx, wires[0], worker, taken)
	}
	began := time.Now()
	for n := worker; l.state.Load() != stopping; n += l.workers {
		c := wires[n/l.workers%len(wires)]
		if err := c.exchange(ctx, l.workload, l.requests[n%len(l.requests)]); err != nil {
			return err
		}
		now := time.Now()
		if l.state.Load() == measuring {
			*taken = append(*taken, now.Sub(began))
			l.answered.Add(1)
		}
		began = now
	}
	return nil
}

// keep sends requests of the schedule over one connection, each when it is due, or late if the last one was not answered by then.
func (l *load) keep(ctx context.Context, c *wire, worker int, taken *[]time.Duration) error {
	clock, err := newAlarm()
	if err != nil {
		return err
	}
	defer clock.close()
	s := l.schedule
	for {
		n := s.next.Add(1) - 1
		if n >= s.total || ctx.Err() != nil {
			return nil
		}
		due := s.start.Add(time.Duration(n) * s.every)
		if err := clock.wait(time.Until(due)); err != nil {
			return err
		}
		if err := c.exchange(ctx, l.workload, l.requests[int(n)%len(l.requests)]); err != nil {
			return err
		}
		if n >= s.skip {
			*taken = append(*taken, time.Since(due))
		}
	}
}

// connect makes the connections of one worker.
func (l *load) connect(ctx context.Context) (wires []*wire, err error) {
	for range l.wires {
		c := &wire{address: l.address, deadline: l.deadline}
		if err := c.dial(ctx); err != nil {
			return wires, err
		}
		wires = append(wires, c)
	}
	return wires, nil
}

// wire is one connection to a target.
type wire struct {
	address  string
	deadline time.Time
	conn     net.Conn
	forget   func() bool // no longer closes conn when the context ends
	reader   *bufio.Reader
	resp     fasthttp.Response
}

func (c *wire) dial(ctx context.Context) (err error) {
	if c.conn, err = new(net.Dialer).DialContext(ctx, "tcp", c.address); err != nil {
		return err
	}
	conn := c.conn
	c.forget = context.AfterFunc(ctx, func() { conn.Close() })
	c.reader = bufio.NewReaderSize(conn, 4<<10)
	return conn.SetDeadline(c.deadline)
}

func (c *wire) close() {
	if c.conn != nil {
		c.forget()
		c.conn.Close()
	}
}

// exchange sends a request and reads and checks its answer.
func (c *wire) exchange(ctx context.Context, w workload, request []byte) error {
	if _, err := c.conn.Write(request); err != nil {
		return fmt.Errorf("sending a request: %w", err)
	}
	if err := c.resp.ReadLimitBody(c.reader, 1<<20); err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	if err := w.check(c.resp.StatusCode(), c.resp.Body()); err != nil {
		return err
	}
	if c.resp.ConnectionClose() {
		c.close()
		return c.dial(ctx)
	}
	return nil
}
