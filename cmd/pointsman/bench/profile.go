package bench

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Profile is where the CPU time of a request goes in the gateway's own process, in microseconds.
type Profile struct {
	CPUMicros float64 `json:"cpu_micros"` // of a request, in all
	Samples   int     `json:"samples"`
	Steps     []Part  `json:"steps"`    // of the way of a request, and what goes on beside it
	Packages  []Part  `json:"packages"` // in which the time was spent, without what they call
}

// Part is a share of the CPU time of a request.
type Part struct {
	Name   string  `json:"name"`
	Micros float64 `json:"micros"`
}

// step is a part of the gateway's work: all that its functions do and what these call, but for the steps among that.
type step struct {
	name      string
	functions []string // beginnings of their names, without the module
	rest      bool     // only what belongs to no other step
}

// steps of a request in their order, and of what goes on beside it. The innermost function that is named counts, and of its names the longest.
var steps = []step{
	{name: "read the request: gate, head", functions: []string{"engine.(*gate)", fasthttpPath + "(*RequestHeader)", fasthttpPath + "(*Request)"}},
	{name: "authenticate, permit, rate limits", functions: []string{"engine.(*Engine).permit", "engine.(*Engine).takeLimits", "engine.(*Engine).giveBack"}},
	{name: "read the body: envelope", functions: []string{"engine.(*call).read", "engine/envelope."}},
	{name: "resolve the model", functions: []string{"engine.(*Engine).resolve"}},
	{name: "decide: snapshot", functions: []string{"engine/snapshot.(*Live).Current"}},
	{name: "decide: state the facts", functions: []string{"engine.(*Engine).describe"}},
	{name: "decide: policy in Wasm", functions: []string{"policies.", "runtime._ExternalCode"}}, // code without symbols is a policy's
	{name: "decide: rest", functions: []string{"engine.(*Engine).decide"}},
	{name: "reserve credits", functions: []string{"engine.(*Engine).reserve"}},
	{name: "attempt: exchange with the provider", functions: []string{"engine/upstream.", fasthttpPath + "(*Request).Write", fasthttpPath + "(*RequestHeader).AppendBytes"}},
	{name: "attempt: rest", functions: []string{"engine.(*Engine).attempt"}},
	{name: "wait until it is on disk", functions: []string{"storage.(*Batch).Wait"}},
	{name: "price, savings", functions: []string{"engine.(*call).bill", "engine.(*Engine).price", "engine.(*Engine).measure", "engine.(*Engine).dearest"}},
	{name: "settle", functions: []string{"engine.(*Engine).settle"}},
	{name: "usage and decision record, metrics", functions: []string{"engine.(*Engine).finish", "engine.(*metricSet)"}},
	{name: "answer: headers, body", functions: []string{"engine.(*Engine).describeAnswer", "engine.(*Engine).reply", "engine.(*Engine).relay"}},
	{name: "write the answer", functions: []string{"engine.(*gate).Write"}},
	{name: "ledger: commits", functions: []string{"storage/badgerdb.(*Store)", "storage/ledger."}},
	{name: "log: pages", functions: []string{"storage/badgerdb.(*Log)"}},
	{name: "watching for clients that leave", functions: []string{"engine.(*watcher)"}},
	{name: "garbage collector", functions: []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart"}},
	{name: "databases: writes, flushes, compactions", functions: []string{"github.com/dgraph-io/badger"}, rest: true},
	{name: "way of a request: rest", functions: []string{"engine."}, rest: true},
	{name: "server: rest", functions: []string{fasthttpPath}, rest: true},
	{name: startStep, functions: []string{"main."}, rest: true},
}

const (
	schedulerStep = "scheduler, timers, network poller" // stacks without any function above
	startStep     = "start of the process"
	modulePath    = "github.com/pointsman/pointsman/"
	fasthttpPath  = "github.com/valyala/fasthttp."
)

// measureProfile loads a gateway that is profiled, and says where the time went.
func (r *runner) measureProfile(ctx context.Context) error {
	r.say("profile")
	path := r.CPUProfile
	if path == "" {
		path = filepath.Join(r.dir, "cpu.pprof")
	}
	p, _, err := startGateway(ctx, r.Config, &site{dir: r.newSite(), upstream: r.upstream.address, models: r.Models}, path)
	if err != nil {
		return err
	}
	cfg := *r.Config
	cfg.Duration = max(cfg.Duration, min(2*cfg.Duration, 10*time.Second))
	s, err := closedLoop(&cfg, chat, p).measure(ctx, &cfg, p, r.upstream)
	p.stop() // which ends the profile
	if err != nil {
		return fmt.Errorf("profiling: %w%s", err, p.output.excerpt())
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	found, err := readStacks(file)
	if err != nil {
		return fmt.Errorf("reading the profile: %w", err)
	}
	r.report.Profile = found.profile(perUnit(s.cpu, s.requests))
	return nil
}

// profile divides the CPU time of a request as the samples say. The start of the process is left out.
func (s *stacks) profile(micros float64) *Profile {
	bySteps, byPackage := map[string]int64{}, map[string]int64{}
	total := int64(0)
	for _, sample := range s.samples {
		name := s.stepOf(sample)
		if name == startStep {
			continue
		}
		total += sample.nanoseconds
		bySteps[name] += sample.nanoseconds
		byPackage[s.packageOf(sample)] += sample.nanoseconds
	}
	p := &Profile{CPUMicros: micros, Samples: len(s.samples)}
	share := func(n int64) float64 { return micros * float64(n) / float64(max(total, 1)) }
	for _, st := range append(steps[:len(steps)-1:len(steps)-1], step{name: schedulerStep}) {
		if n := bySteps[st.name]; n > 0 {
			p.Steps = append(p.Steps, Part{st.name, share(n)})
		}
	}
	for name, n := range byPackage {
		p.Packages = append(p.Packages, Part{name, share(n)})
	}
	slices.SortFunc(p.Packages, func(a, b Part) int { return cmp.Or(cmp.Compare(b.Micros, a.Micros), cmp.Compare(a.Name, b.Name)) })
	const most = 20
	if len(p.Packages) > most {
		rest := Part{Name: "others"}
		for _, part := range p.Packages[most:] {
			rest.Micros += part.Micros
		}
		p.Packages = append(p.Packages[:most], rest)
	}
	return p
}

// stepOf is the step of the innermost function that belongs to one.
func (s *stacks) stepOf(sample stack) string {
	for _, rest := range []bool{false, true} {
		for _, location := range sample.locations {
			for _, name := range s.names[location] {
				if name := nameStep(strings.TrimPrefix(name, modulePath), rest); name != "" {
					return name
				}
			}
		}
	}
	return schedulerStep
}

// nameStep is the step that a function belongs to, "" if it belongs to none.
func nameStep(function string, rest bool) (name string) {
	longest := 0
	for _, st := range steps {
		for _, prefix := range st.functions {
			if st.rest == rest && len(prefix) > longest && strings.HasPrefix(function, prefix) {
				name, longest = st.name, len(prefix)
			}
		}
	}
	return name
}

// packageOf is the package of the innermost function. System calls are the kernel's, and code without a name is compiled Wasm.
func (s *stacks) packageOf(sample stack) string {
	if len(sample.locations) == 0 || len(s.names[sample.locations[0]]) == 0 {
		return "unknown"
	}
	name := s.names[sample.locations[0]][0]
	if name == "runtime._ExternalCode" {
		return "compiled policies"
	}
	if !strings.Contains(name, ".") {
		return "assembly: comparing and searching bytes"
	}
	path, rest := "", name
	if slash := strings.LastIndexByte(name, '/'); slash >= 0 {
		path, rest = name[:slash+1], name[slash+1:]
	}
	rest, _, _ = strings.Cut(rest, ".")
	switch path = strings.TrimPrefix(path+rest, modulePath); {
	case strings.Contains(path, "runtime/syscall"), strings.HasPrefix(name, "syscall.Syscall"), strings.HasPrefix(name, "syscall.RawSyscall"), name == "runtime.futex", name == "runtime.write1":
		return "kernel: system calls"
	}
	return path
}
