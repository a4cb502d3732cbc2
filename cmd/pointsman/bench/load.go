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

// slack is how much longer than planned a round may take before its connections time out.
const slack = 30 * time.Second

// measure loads the target from all connections, lets it warm up, and counts what happens between two readings of the
// CPU clocks while the load goes on.
func measure(ctx context.Context, cfg *Config, w workload, target, upstream *process) (sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := &load{
		workload: w, address: target.hostPort(), request: w.request(target.hostPort(), target.key),
		deadline: time.Now().Add(cfg.WarmUp + cfg.Duration + slack),
	}
	var workers sync.WaitGroup
	taken := make([][]time.Duration, cfg.Connections)
	for i := range taken {
		workers.Go(func() {
			if err := l.run(ctx, &taken[i]); err != nil {
				cancel(err)
			}
		})
	}
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
		return s, fmt.Errorf("no answer within %s", cfg.Duration)
	}
	slices.Sort(all)
	s.p50, s.p99 = percentile(all, 50), percentile(all, 99)
	return s, nil
}

// load is what the connections of one round share.
type load struct {
	workload workload
	address  string
	request  []byte
	deadline time.Time
	state    atomic.Int32
}

// States of a load.
const (
	warming int32 = iota
	measuring
	stopping
)

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

// run sends one request after another on one connection, and notes how long each took that ended inside the window.
func (l *load) run(ctx context.Context, taken *[]time.Duration) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(l.deadline); err != nil {
		return err
	}
	r := bufio.NewReaderSize(conn, 16<<10)
	var resp fasthttp.Response
	for began := time.Now(); l.state.Load() != stopping; {
		if _, err := conn.Write(l.request); err != nil {
			return fmt.Errorf("sending a request: %w", err)
		}
		if err := resp.ReadLimitBody(r, 1<<20); err != nil {
			return fmt.Errorf("reading an answer: %w", err)
		}
		if err := l.workload.check(resp.StatusCode(), resp.Body()); err != nil {
			return err
		}
		now := time.Now()
		if l.state.Load() == measuring {
			*taken = append(*taken, now.Sub(began))
		}
		began = now
	}
	return nil
}
