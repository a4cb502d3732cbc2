package bench

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// A real profile of a busy function is read, and the time is that function's.
func TestReadStacks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cpu.pprof")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		t.Skipf("profiling already: %v", err)
	}
	n := busy(500 * time.Millisecond)
	pprof.StopCPUProfile()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := readStacks(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var all, ours int64
	for _, sample := range s.samples {
		all += sample.nanoseconds
		for _, location := range sample.locations {
			if strings.HasSuffix(strings.Join(s.names[location], " "), "bench.busy") {
				ours += sample.nanoseconds
				break
			}
		}
	}
	if all == 0 || ours*10 < all*5 {
		t.Errorf("%d rounds: %d of %d ns in %d samples are the busy function's", n, ours, all, len(s.samples))
	}
	if _, err := readStacks(bytes.NewReader(text[:len(text)/2])); !errors.Is(err, errProfile) {
		t.Errorf("half a profile: %v", err)
	}
	if _, err := readStacks(strings.NewReader("no profile")); !errors.Is(err, errProfile) {
		t.Errorf("no profile: %v", err)
	}
}

//go:noinline
func busy(lasting time.Duration) (n int) {
	for began := time.Now(); time.Since(began) < lasting; n++ {
	}
	return n
}

func TestProfileShares(t *testing.T) {
	s := &stacks{names: map[uint64][]string{
		1: {"internal/runtime/syscall/linux.Syscall6"}, 2: {modulePath + "engine/upstream.(*Exchange).Do"}, 3: {modulePath + "engine.(*Engine).attempt"},
		4: {modulePath + "engine.(*Engine).serve"}, 5: {fasthttpPath + "(*Server).serveConn"}, 6: {"main.main"}, 7: {"runtime.schedule"},
		8: {modulePath + "engine.cut", modulePath + "engine.(*Engine).option"}, 9: {"memeqbody"}, 10: {modulePath + "engine.(*Engine).describe"}, 11: {"runtime._ExternalCode"},
		12: {modulePath + "engine.(*gate).Write"}, 13: {modulePath + "engine.(*gate).Read"}, 14: {fasthttpPath + "(*Request).Write"},
	}}
	for _, c := range []struct {
		locations    []uint64
		step, within string
	}{
		{[]uint64{1, 2, 3, 4, 5}, "attempt: exchange with the provider", "kernel: system calls"},
		{[]uint64{3, 4, 5}, "attempt: rest", "engine"},
		{[]uint64{9, 8, 10, 4, 5}, "decide: state the facts", "assembly: comparing and searching bytes"},
		{[]uint64{8, 4, 5}, "way of a request: rest", "engine"},
		{[]uint64{1, 12, 5}, "write the answer", "kernel: system calls"},
		{[]uint64{1, 13, 5}, "read the request: gate, head", "kernel: system calls"},
		{[]uint64{9, 14, 2, 3}, "attempt: exchange with the provider", "assembly: comparing and searching bytes"},
		{[]uint64{9, 5}, "server: rest", "assembly: comparing and searching bytes"},
		{[]uint64{7}, schedulerStep, "runtime"},
		{[]uint64{11}, "decide: policy in Wasm", "compiled policies"},
		{[]uint64{1, 6}, startStep, "kernel: system calls"},
	} {
		sample := stack{c.locations, 10}
		if step, within := s.stepOf(sample), s.packageOf(sample); step != c.step || within != c.within {
			t.Errorf("%v: %q in %q, want %q in %q", c.locations, step, within, c.step, c.within)
		}
		s.samples = append(s.samples, sample)
	}
	p := s.profile(100) // of ten samples: the start is left out
	for _, parts := range [][]Part{p.Steps, p.Packages} {
		total := 0.0
		for _, part := range parts {
			total += part.Micros
		}
		if total < 99.99 || total > 100.01 {
			t.Errorf("%v adds up to %v", parts, total)
		}
	}
	if len(p.Steps) != 9 || p.Steps[0].Micros != 10 {
		t.Errorf("%+v", p.Steps)
	}
}
