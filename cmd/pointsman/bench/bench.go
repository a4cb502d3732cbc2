// Package bench measures what the gateway costs beside nginx, a bare reverse proxy and other gateways, on loopback, in one run.
//
// Every target is a process, or a tree of them, between the load generator (this process) and an upstream that answers at
// once. What is counted is the CPU time, user and system, of the whole process tree of the target, plugin processes included;
// neither the load generator's nor the upstream's. The targets run in turns, so that the ratio of one to the bare proxy holds
// also on a machine whose speed changes. What a decision and a pair of ledger operations cost is measured first, in this process.
//
// [Run] measures everything, [Check] compares the gateway with a recorded ratio to the bare proxy or with another build, [Soak] loads a gateway for long
// and sees that it stays as it is.
//
// Only Linux tells what is needed, in /proc; all three fail elsewhere.
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
	"strings"
	"time"
)

// Config says what to measure. Every field but DataDir, Peers, Models, CPUProfile, Progress and Version is required.
type Config struct {
	Binary      string        // the pointsman executable
	Version     string        // of it
	Connections int           // of a closed loop, each with one request at a time
	Rate        int           // requests a second of an open loop
	Duration    time.Duration // of one round of one target
	WarmUp      time.Duration // before each
	Rounds      int
	Starts      int      // how often the start is measured
	Workloads   []string // names of Workloads
	Sections    []string // names of Sections
	Grow        []string // names of Growing, of the section growth
	Streams     int      // slow ones at once
	Accounts    int      // of the largest directory that is measured
	LogRows     int      // of the largest usage log that is measured
	DataDir     string   // where the gateway's data goes, in a new directory; "" for the system's temporary directory
	Peers       string   // directory of scripts/bench-setup.sh with other gateways, which are measured too; "": none
	Models      int      // of the gateway that is profiled; 0: as many as in the built-in catalog
	CPUProfile  string   // file for the CPU profile of the section of that name, "" for none
	Progress    io.Writer
}

// Sections of a report, in the order in which they are measured.
func Sections() []string {
	return []string{"decisions", "ledger", "start", "closed", "open", "slow", "growth", "profile"}
}

// Validate says what is wrong with c.
func (c *Config) Validate() error {
	switch {
	case c.Connections < 1 || c.Connections > 10_000:
		return errors.New("connections must be 1 to 10000")
	case c.Rate < 1 || c.Rate > 1_000_000:
		return errors.New("the rate must be 1 to 1000000 requests a second")
	case c.Duration < 10*time.Millisecond || c.Duration > time.Hour || c.WarmUp < 0 || c.WarmUp > time.Hour:
		return errors.New("a round takes 10 ms to 1 h, its warm-up at most 1 h")
	case c.Rounds < 1 || c.Rounds > 1000 || c.Starts < 1 || c.Starts > 1000:
		return errors.New("rounds and starts must be 1 to 1000")
	case c.Streams < 1 || c.Streams > 10_000:
		return errors.New("streams must be 1 to 10000")
	case c.Accounts < 1 || c.Accounts > 10_000_000 || c.LogRows < 0 || c.LogRows > 100_000_000:
		return errors.New("accounts must be 1 to 10000000, log rows 0 to 100000000")
	}
	for _, name := range c.Workloads {
		if !slices.Contains(Workloads(), name) {
			return fmt.Errorf("workload %q is unknown; there are %v", name, Workloads())
		}
	}
	for _, name := range c.Sections {
		if !slices.Contains(Sections(), name) {
			return fmt.Errorf("section %q is unknown; there are %v", name, Sections())
		}
	}
	for _, name := range c.Grow {
		if !slices.Contains(Growing(), name) {
			return fmt.Errorf("%q does not grow; %v do", name, Growing())
		}
	}
	return nil
}

// settle is how long a process is left alone before its memory is read.
const settle = time.Second

// runner is one run of the benchmark.
type runner struct {
	*Config
	dir      string
	sites    int // directories made so far
	report   *Report
	upstream *process
	bare     *standing
}

// standing is a target that runs.
type standing struct {
	*Target
	*process
}

// Run measures and reports. Every process it started has ended when it returns, also after an error or when ctx ends. An
// answer that is not the expected one ends the run with an error.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	r, cleanup, err := begin(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	defer cleanup()
	if r.wants("decisions") {
		r.say("decisions")
		if r.report.Decision, err = measureDecisions(ctx); err != nil { // before anything else runs
			return nil, err
		}
	}
	if r.wants("ledger") {
		if r.report.Ledger, err = r.measureLedger(ctx); err != nil {
			return nil, err
		}
	}
	if r.bare, err = r.startBare(ctx); err != nil {
		return nil, err
	}
	defer r.bare.stop()
	all := targets(&cfg)
	own, running, err := r.startAll(ctx, all)
	for _, t := range running {
		defer t.stop()
	}
	if err != nil {
		return nil, err
	}
	if err := r.compareAll(ctx, running); err != nil {
		return nil, err
	}
	if r.wants("growth") {
		if err := r.measureGrowth(ctx); err != nil {
			return nil, err
		}
	}
	if r.wants("profile") {
		if err := r.measureProfile(ctx); err != nil {
			return nil, err
		}
	}
	if own != nil {
		if err := pause(ctx, settle); err != nil {
			return nil, err
		}
		if r.report.Loaded, err = memoryOf(own.process); err != nil {
			return nil, err
		}
	}
	for _, peer := range peers(&cfg) {
		r.report.Targets = append(r.report.Targets, peer)
		if err := r.measurePeer(ctx, peer); ctx.Err() != nil {
			return nil, ctx.Err()
		} else if err != nil { // what others answer wrongly is a result, too
			text, _, _ := strings.Cut(err.Error(), "\n")
			peer.Settings += "; ended with: " + text
			r.say("%v", err)
		}
	}
	return r.report, nil
}

// begin checks the configuration and starts the upstream; cleanup ends it.
func begin(ctx context.Context, cfg *Config) (r *runner, cleanup func(), err error) {
	if runtime.GOOS != "linux" {
		return nil, nil, fmt.Errorf("the benchmark reads CPU time and memory from /proc, which %s does not have", runtime.GOOS)
	}
	if err := cfg.Validate(); err != nil {
		return nil, nil, err
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	dir, err := os.MkdirTemp(cfg.DataDir, "pointsman-bench-")
	if err != nil {
		return nil, nil, err
	}
	r = &runner{Config: cfg, dir: dir}
	cleanup = func() {
		if r.upstream != nil {
			r.upstream.stop()
		}
		os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	}
	r.report = &Report{
		Machine: readMachine(proc, dir),
		Settings: Settings{
			Connections: cfg.Connections, Rate: cfg.Rate, Seconds: cfg.Duration.Seconds(), WarmUpSeconds: cfg.WarmUp.Seconds(),
			Rounds: cfg.Rounds, Starts: cfg.Starts,
		},
	}
	if r.upstream, err = startPart(ctx, cfg.Binary, "upstream", ""); err != nil {
		cleanup()
		return nil, nil, err
	}
	return r, cleanup, nil
}

// startBare starts a bare proxy.
func (r *runner) startBare(ctx context.Context) (*standing, error) {
	t := bareProxy(r.Config)
	p, err := t.start(ctx, "", r.upstream.address)
	if err != nil {
		return nil, err
	}
	return &standing{t, p}, nil
}

func (r *runner) wants(section string) bool { return slices.Contains(r.Sections, section) }

func (r *runner) say(format string, args ...any) { fmt.Fprintf(r.Progress, format+"\n", args...) }

// newSite is a directory for one gateway or server.
func (r *runner) newSite() string {
	r.sites++
	return filepath.Join(r.dir, fmt.Sprint("site-", r.sites))
}

// startAll starts what is compared with each other, and measures the start of the full gateway on the way, which is own.
func (r *runner) startAll(ctx context.Context, all []*Target) (own *standing, running []*standing, err error) {
	for _, t := range all {
		r.report.Targets = append(r.report.Targets, t)
		if t.Name == TargetDirect || t.Name == TargetProxy || t.Missing != "" {
			continue
		}
		if t.Name == TargetGateway {
			p, err := r.measureStarts(ctx, t)
			if err != nil {
				return own, running, err
			}
			own = &standing{t, p}
			running = append(running, own)
			continue
		}
		p, err := t.start(ctx, r.newSite(), r.upstream.address)
		if err != nil {
			return own, running, err
		}
		running = append(running, &standing{t, p})
	}
	return own, running, nil
}

// compareAll runs the sections that compare targets with each other. The upstream itself and the bare proxy are always among them.
func (r *runner) compareAll(ctx context.Context, running []*standing) error {
	group := append([]*standing{{&Target{Name: TargetDirect}, r.upstream}, r.bare}, running...)
	if r.wants("closed") {
		if err := r.compareClosed(ctx, group); err != nil {
			return err
		}
	}
	if r.wants("open") {
		for _, delay := range []time.Duration{0, upstreamDelay} {
			if err := r.compareOpen(ctx, group, delay); err != nil {
				return err
			}
		}
	}
	if r.wants("slow") {
		return r.compareSlow(ctx, group[1:])
	}
	return nil
}

// compareClosed runs the workloads in closed loops.
func (r *runner) compareClosed(ctx context.Context, group []*standing) error {
	for _, w := range workloads {
		if !slices.Contains(r.Workloads, w.name) {
			continue
		}
		samples, err := r.inTurns(ctx, w.title, r.Rounds, group, func(t *standing) (sample, error) {
			return closedLoop(r.Config, w, t.process).measure(ctx, r.Config, t.process, r.upstream)
		})
		if err != nil {
			return err
		}
		for _, t := range group {
			r.report.Closed = append(r.report.Closed, summarize(w, t.Name, samples[t.Name], samples[TargetProxy]))
		}
	}
	return nil
}

// upstreamDelay is what an upstream takes that is not at once.
const upstreamDelay = 50 * time.Millisecond

// compareOpen sends at a fixed rate.
func (r *runner) compareOpen(ctx context.Context, group []*standing, delay time.Duration) error {
	w := chat.delayed(delay)
	group = slices.DeleteFunc(slices.Clone(group), func(t *standing) bool {
		i := slices.IndexFunc(r.report.Closed, func(row Row) bool { return row.Target == t.Name && row.Workload == chat.title })
		slow := i >= 0 && r.report.Closed[i].RequestsPerSecond < 1.2*float64(r.Rate)
		if slow { // its queue would only grow
			r.report.Open = append(r.report.Open, OpenRow{UpstreamMS: milliseconds(delay), Target: t.Name, Note: fmt.Sprintf("%.0f requests a second are its most", r.report.Closed[i].RequestsPerSecond)})
		}
		return slow
	})
	samples, err := r.inTurns(ctx, fmt.Sprintf("%d requests a second, upstream of %s", r.Rate, delay), r.Rounds, group, func(t *standing) (sample, error) {
		return openLoop(r.Config, w, t.process).measure(ctx, r.Config, t.process, r.upstream)
	})
	if err != nil {
		return err
	}
	for _, t := range group {
		r.report.Open = append(r.report.Open, summarizeOpen(delay, t.Name, samples[t.Name], samples[TargetDirect], samples[TargetProxy]))
	}
	return nil
}

// inTurns measures the targets of a group in rounds, one after the other in each, in every other round from the last to the first: a machine that gets
// slower under load would make it the fault of whoever is last.
func (r *runner) inTurns(ctx context.Context, what string, rounds int, group []*standing, measure func(*standing) (sample, error)) (map[string][]sample, error) {
	samples, group := map[string][]sample{}, slices.Clone(group)
	for round := range rounds {
		for _, t := range group {
			r.say("%s, round %d of %d: %s", what, round+1, rounds, t.Name)
			s, err := measure(t)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w%s", what, t.Name, err, t.output.excerpt())
			}
			samples[t.Name] = append(samples[t.Name], s)
		}
		slices.Reverse(group)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return samples, nil
}

// measureStarts starts the gateway several times, on a fresh data directory and then on the same again. The last one
// stays up and is returned.
func (r *runner) measureStarts(ctx context.Context, t *Target) (*process, error) {
	starts := r.Starts
	if !r.wants("start") {
		starts = 1
	}
	var fresh, again []float64
	for i := range starts {
		r.say("start %d of %d", i+1, starts)
		s := &site{dir: r.newSite(), upstream: r.upstream.address}
		p, took, err := startGateway(ctx, r.Config, s, "")
		if err != nil {
			return nil, err
		}
		p.stop()
		fresh = append(fresh, milliseconds(took))
		if p, took, err = startGateway(ctx, r.Config, s, ""); err != nil {
			return nil, err
		}
		again = append(again, milliseconds(took))
		if i < starts-1 {
			p.stop()
			continue
		}
		if !r.wants("start") {
			return p, nil
		}
		return p, r.noteStart(ctx, Start{Target: t.Name, FreshMS: median(fresh), AgainMS: median(again)}, p)
	}
	return nil, errors.New("no start was measured")
}

// noteStart reads the memory of a process at rest and adds both to the report.
func (r *runner) noteStart(ctx context.Context, s Start, p *process) (err error) {
	if err = pause(ctx, settle); err != nil {
		return err
	}
	s.Idle, err = memoryOf(p)
	r.report.Starts = append(r.report.Starts, s)
	return err
}

// measurePeer measures another gateway in turns with the upstream and the bare proxy.
func (r *runner) measurePeer(ctx context.Context, t *Target) error {
	if t.Missing != "" {
		return nil
	}
	r.say("starting %s", t.Name)
	began := time.Now()
	p, err := t.start(ctx, r.newSite(), r.upstream.address)
	if err != nil {
		return err
	}
	defer p.stop()
	if took := time.Since(began); r.wants("start") {
		if err := r.noteStart(ctx, Start{Target: t.Name, AgainMS: milliseconds(took)}, p); err != nil {
			return err
		}
	}
	return r.compareAll(ctx, []*standing{{t, p}})
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
