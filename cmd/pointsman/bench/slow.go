package bench

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Slow is what many slow streams cost in a process that has just started.
type Slow struct {
	Target    string  `json:"target"`
	Streams   int     `json:"streams"`
	PaceMS    float64 `json:"pace_ms"`        // between two chunks of a stream
	KiB       float64 `json:"kib_per_stream"` // of resident memory above what the process had before
	KiBRatio  float64 `json:"kib_ratio_to_bare_proxy"`
	CPUMicros float64 `json:"cpu_micros_per_chunk"` // each chunk comes alone and wakes the process
	CPURatio  float64 `json:"cpu_ratio_to_bare_proxy"`
}

// compareSlow opens slow streams at a fresh process of each target.
func (r *runner) compareSlow(ctx context.Context, group []*standing) error {
	var bare Slow
	for _, t := range group {
		r.say("%d slow streams: %s", r.Streams, t.Name)
		p, err := t.start(ctx, r.newSite(), r.upstream.address)
		if err != nil {
			return err
		}
		s, err := r.slow(ctx, t.Name, p)
		p.stop()
		if err != nil {
			return errors.Join(err, errors.New(t.Name+p.output.excerpt()))
		}
		if t.Name == TargetProxy {
			bare = s
		}
		s.KiBRatio, s.CPURatio = ratio(s.KiB, bare.KiB), ratio(s.CPUMicros, bare.CPUMicros)
		r.report.Slow = append(r.report.Slow, s)
	}
	return nil
}

// pace is the time between two chunks of a slow stream, so that all of them together take three rounds and a bit.
func (r *runner) pace() time.Duration { return max(r.Duration/30, time.Millisecond) }

// slow reads the memory while all streams are open, and the CPU time of them all from beginning to end.
func (r *runner) slow(ctx context.Context, name string, p *process) (s Slow, err error) {
	warm := *r.Config
	warm.Connections, warm.Duration, warm.WarmUp = 4, 300*time.Millisecond, 0
	if _, err := closedLoop(&warm, workloads[2], p).measure(ctx, &warm, p, r.upstream); err != nil { // what is made once is there
		return s, err
	}
	if err := pause(ctx, settle); err != nil {
		return s, err
	}
	before, err := proc.treeRSS(p.pid())
	if err != nil {
		return s, err
	}
	cpu, err := proc.treeCPU(p.pid())
	if err != nil {
		return s, err
	}
	pace := r.pace()
	l := closedLoop(r.Config, slowStream(pace), p)
	l.deadline = time.Now().Add(3 * time.Minute) // the slowest are slower than the upstream
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var streams sync.WaitGroup
	ended := make(chan struct{})
	for range r.Streams {
		streams.Go(func() {
			if err := l.once(ctx); err != nil {
				cancel(err)
			}
		})
	}
	go func() { streams.Wait(); close(ended) }()
	var seen []float64
	length := streamChunks * pace
	began := time.Now()
	for tick := time.NewTicker(pace); ; {
		select {
		case <-tick.C:
			if at := time.Since(began); at > length*3/10 && at < length*8/10 {
				rss, err := proc.treeRSS(p.pid())
				if err != nil {
					return s, err
				}
				seen = append(seen, float64(rss-before)/(1<<10)/float64(r.Streams))
			}
			continue
		case <-ended:
			tick.Stop()
		}
		break
	}
	if cause := context.Cause(ctx); cause != nil {
		return s, cause
	}
	after, err := proc.treeCPU(p.pid())
	return Slow{Target: name, Streams: r.Streams, PaceMS: milliseconds(pace), KiB: median(seen), CPUMicros: perUnit(after-cpu, r.Streams*streamChunks)}, err
}

// once sends one request on a connection of its own.
func (l *load) once(ctx context.Context) error {
	c := &wire{address: l.address, deadline: l.deadline}
	if err := c.dial(ctx); err != nil {
		return err
	}
	defer c.close()
	return c.exchange(ctx, l.workload, l.requests[0])
}
