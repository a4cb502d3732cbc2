package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	good := Config{Connections: 1, Duration: time.Second, Rounds: 1, Starts: 1, Workloads: Workloads()}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no connections":   func(c *Config) { c.Connections = 0 },
		"no time":          func(c *Config) { c.Duration = 0 },
		"negative warm-up": func(c *Config) { c.WarmUp = -1 },
		"no rounds":        func(c *Config) { c.Rounds = 0 },
		"no starts":        func(c *Config) { c.Starts = 0 },
		"unknown workload": func(c *Config) { c.Workloads = []string{"chat", "cat"} },
	} {
		c := good
		if change(&c); c.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestRealProcesses runs the whole benchmark, briefly, with the real binary.
func TestRealProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary")
	}
	if runtime.GOOS != "linux" {
		t.Skip("the benchmark needs Linux's /proc")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "pointsman")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/pointsman/pointsman/cmd/pointsman").CombinedOutput(); err != nil {
		t.Fatalf("building the binary: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out, progress bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, "bench", "--json", "--duration", "200ms", "--warm-up", "100ms", "--rounds", "1", "--starts", "1",
		"--connections", "8", "--data-dir", dir, "--cpu-profile", filepath.Join(dir, "cpu.pprof"))
	cmd.Stdout, cmd.Stderr = &out, &progress
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	var r Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	if want := 3 * len(workloads); len(r.Rows) != want {
		t.Errorf("%d rows, not %d", len(r.Rows), want)
	}
	for _, row := range r.Rows {
		if row.Requests == 0 || row.RequestsPerSecond == 0 || row.P99MS < row.P50MS {
			t.Errorf("%+v", row)
		}
		if stands := row.Target != TargetDirect; stands != (row.CPUMicros > 0) {
			t.Errorf("CPU time of %s, %s: %v us", row.Workload, row.Target, row.CPUMicros)
		}
	}
	if r.Start.FreshMS == 0 || r.Start.AgainMS == 0 || r.Memory.Idle.Processes < 2 || r.Memory.Idle.MiB < 1 || r.Memory.Loaded.MiB < 1 {
		t.Errorf("start %+v, memory %+v", r.Start, r.Memory)
	}
	if d := r.Decision; d.Candidates != 47 || len(d.Policies) != 4 {
		t.Errorf("decisions %+v", d)
	}
	for _, p := range r.Decision.Policies {
		if p.P50NS <= 0 || p.P99NS < p.P50NS || p.NewNS < p.P50NS || p.Fuel <= 0 {
			t.Errorf("decisions of %+v", p)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "pointsman-bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A process that ends at once is reported with what it wrote.
func TestBinaryThatFails(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the benchmark needs Linux's /proc")
	}
	cfg := Config{Binary: "/bin/false", Connections: 1, Duration: time.Second, Rounds: 1, Starts: 1, DataDir: t.TempDir()}
	if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "starting the upstream: the process ended") {
		t.Errorf("got %v", err)
	}
}
