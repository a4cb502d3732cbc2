// Package bench measures what the gateway costs beside a bare reverse proxy, on loopback, in one run.
//
// Four processes take part: the load generator (this one), an upstream that answers at once, a reverse proxy made of
// fasthttp's own client and server, and a real `pointsman serve` with everything on. What is counted is the CPU time,
// user and system, of the whole process tree of the system under test, plugin processes included; neither the load
// generator's nor the upstream's. The bare proxy runs in turns with the gateway, so that the ratio of the two holds also on
// a machine whose speed changes. What a routing decision costs is measured first, in this process.
//
// Only Linux tells what is needed, in /proc; [Run] fails elsewhere.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// Config says what to measure. Every field but DataDir, CPUProfile and Progress is required.
type Config struct {
	Binary      string        // the pointsman executable
	Connections int           // of the load generator, each with one request at a time
	Duration    time.Duration // of one round of one target
	WarmUp      time.Duration // before each
	Rounds      int
	Starts      int      // how often the start is measured
	Workloads   []string // names of Workloads
	DataDir     string   // where the gateway's data goes, in a new directory; "" for the system's temporary directory
	CPUProfile  string   // file for a CPU profile of the gateway, "" for none
	Progress    io.Writer
}

// Validate says what is wrong with c.
func (c *Config) Validate() error {
	switch {
	case c.Connections < 1 || c.Connections > 10_000:
		return errors.New("connections must be 1 to 10000")
	case c.Duration < 10*time.Millisecond || c.Duration > time.Hour || c.WarmUp < 0 || c.WarmUp > time.Hour:
		return errors.New("a round takes 10 ms to 1 h, its warm-up at most 1 h")
	case c.Rounds < 1 || c.Rounds > 1000 || c.Starts < 1 || c.Starts > 1000:
		return errors.New("rounds and starts must be 1 to 1000")
	}
	for _, name := range c.Workloads {
		if !slices.Contains(Workloads(), name) {
			return fmt.Errorf("workload %q is unknown; there are %v", name, Workloads())
		}
	}
	return nil
}

// settle is how long a gateway is left alone before its memory is read.
const settle = time.Second

// Run measures and reports. Every process it started has ended when it returns, also after an error or when ctx ends. An
// answer that is not the expected one ends the run with an error.
func Run(ctx context.Context, cfg Config) (report *Report, err error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("the benchmark reads CPU time and memory from /proc, which %s does not have", runtime.GOOS)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	dir, err := os.MkdirTemp(cfg.DataDir, "pointsman-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	report = &Report{
		Machine: readMachine(proc, dir),
		Settings: Settings{
			Connections: cfg.Connections, Seconds: cfg.Duration.Seconds(), WarmUpSeconds: cfg.WarmUp.Seconds(), Rounds: cfg.Rounds, Starts: cfg.Starts,
		},
	}

	fmt.Fprintln(cfg.Progress, "measuring decisions")
	if report.Decision, err = measureDecisions(ctx); err != nil { // before anything else runs
		return nil, err
	}

	upstream, err := startPart(ctx, cfg.Binary, "upstream", "")
	if err != nil {
		return nil, err
	}
	defer upstream.stop()
	proxy, err := startPart(ctx, cfg.Binary, "proxy", upstream.address)
	if err != nil {
		return nil, err
	}
	defer proxy.stop()

	fmt.Fprintf(cfg.Progress, "measuring %d starts\n", cfg.Starts)
	gateway, err := measureStarts(ctx, &cfg, dir, upstream.address, &report.Start)
	if err != nil {
		return nil, err
	}
	defer gateway.stop()
	if err := pause(ctx, settle); err != nil {
		return nil, err
	}
	if report.Memory.Idle, err = memoryOf(gateway); err != nil {
		return nil, err
	}

	for _, w := range workloads {
		if !slices.Contains(cfg.Workloads, w.name) {
			continue
		}
		rows, err := compare(ctx, &cfg, w, upstream, proxy, gateway)
		if err != nil {
			return nil, err
		}
		report.Rows = append(report.Rows, rows...)
	}

	if err := pause(ctx, settle); err != nil {
		return nil, err
	}
	report.Memory.Loaded, err = memoryOf(gateway)
	return report, err
}

// measureStarts starts the gateway several times, on a fresh data directory and then on the same again. The last one
// stays up and is returned.
func measureStarts(ctx context.Context, cfg *Config, dir, upstream string, into *Start) (*process, error) {
	var fresh, again []float64
	for i := range cfg.Starts {
		last := i == cfg.Starts-1
		s := site{dir: filepath.Join(dir, fmt.Sprint("gateway-", i)), upstream: upstream}
		first, took, err := startGateway(ctx, cfg, &s, "")
		if err != nil {
			return nil, err
		}
		first.stop()
		fresh = append(fresh, milliseconds(took))
		profile := ""
		if last {
			profile = cfg.CPUProfile
		}
		second, took, err := startGateway(ctx, cfg, &s, profile)
		if err != nil {
			return nil, err
		}
		again = append(again, milliseconds(took))
		if last {
			*into = Start{FreshMS: median(fresh), AgainMS: median(again)}
			return second, nil
		}
		second.stop()
	}
	return nil, errors.New("no start was measured")
}

// compare runs one workload against the upstream itself once, then in turns against the bare proxy and the gateway.
func compare(ctx context.Context, cfg *Config, w workload, upstream, proxy, gateway *process) ([]Row, error) {
	targets := []struct {
		name string
		*process
	}{{TargetDirect, upstream}, {TargetProxy, proxy}, {TargetGateway, gateway}}
	samples := map[string][]sample{}
	for round := range cfg.Rounds {
		for _, t := range targets {
			if t.name == TargetDirect && round > 0 {
				continue
			}
			fmt.Fprintf(cfg.Progress, "%s, round %d of %d: %s\n", w.title, round+1, cfg.Rounds, t.name)
			s, err := measure(ctx, cfg, w, t.process, upstream)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w%s", w.title, t.name, err, t.output.excerpt())
			}
			samples[t.name] = append(samples[t.name], s)
		}
	}
	var rows []Row
	for _, t := range targets {
		rows = append(rows, summarize(w, t.name, samples[t.name], samples[TargetProxy]))
	}
	return rows, nil
}

func memoryOf(p *process) (Memory, error) {
	tree, err := proc.tree(p.pid())
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for _, pid := range tree {
		bytes, err := proc.pss(pid)
		if gone(err) {
			continue
		}
		if err != nil {
			return Memory{}, err
		}
		m.Processes++
		m.MiB += float64(bytes) / (1 << 20)
	}
	return m, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
