package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	good := Config{Connections: 1, Rate: 1, Duration: time.Second, Rounds: 1, Starts: 1, Streams: 1, Accounts: 1, Workloads: Workloads(), Sections: Sections(), Grow: Growing()}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no connections":   func(c *Config) { c.Connections = 0 },
		"no rate":          func(c *Config) { c.Rate = 0 },
		"no time":          func(c *Config) { c.Duration = 0 },
		"negative warm-up": func(c *Config) { c.WarmUp = -1 },
		"no rounds":        func(c *Config) { c.Rounds = 0 },
		"no starts":        func(c *Config) { c.Starts = 0 },
		"no streams":       func(c *Config) { c.Streams = 0 },
		"no accounts":      func(c *Config) { c.Accounts = 0 },
		"unknown workload": func(c *Config) { c.Workloads = []string{"chat", "cat"} },
		"unknown growth":   func(c *Config) { c.Grow = []string{"accounts", "tails"} },
		"unknown section":  func(c *Config) { c.Sections = []string{"closed", "clothed"} },
	} {
		c := good
		if change(&c); c.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pointsman-bench-test-")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "pointsman")
	out, err := exec.Command("go", "build", "-o", binary, "github.com/pointsman/pointsman/cmd/pointsman").CombinedOutput()
	if err != nil {
		os.Stderr.Write(out)
	}
	return binary, err
})

// runBinary runs the real binary, built once, and returns what it prints to its standard output and to its error output.
func runBinary(t *testing.T, args ...string) (out, progress string, err error) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the binary")
	}
	if runtime.GOOS != "linux" {
		t.Skip("the benchmark needs Linux's /proc")
	}
	binary, err := binaries()
	if err != nil {
		t.Fatalf("building the binary: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// nothingLeft fails the test if a run has left its directory behind.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "pointsman-bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestRealProcesses runs every section of the benchmark, briefly, with the real binary.
func TestRealProcesses(t *testing.T) {
	dir := t.TempDir()
	out, progress, err := runBinary(t, "bench", "--json", "--duration", "200ms", "--warm-up", "50ms", "--rounds", "1", "--starts", "1",
		"--connections", "8", "--rate", "100", "--streams", "20", "--accounts", "50", "--log-rows", "500", "--data-dir", dir, "--cpu-profile", filepath.Join(dir, "cpu.pprof"))
	if err != nil {
		t.Fatalf("%v\n%s", err, progress)
	}
	var r Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	measured := 0
	for _, target := range r.Targets {
		if target.Missing != "" { // as nginx on a machine that does not have it
			continue
		}
		if measured++; target.Version == "" || target.Settings == "" {
			t.Errorf("%+v", target)
		}
	}
	if want := measured * len(workloads); len(r.Closed) != want {
		t.Errorf("%d rows of closed loops, not %d", len(r.Closed), want)
	}
	for _, row := range r.Closed {
		if row.Requests == 0 || row.RequestsPerSecond == 0 || row.P99MS < row.P50MS {
			t.Errorf("%+v", row)
		}
		if stands := row.Target != TargetDirect; stands != (row.CPUMicros > 0) || stands != (row.BestMicros > 0) {
			t.Errorf("CPU time of %s, %s: %v us", row.Workload, row.Target, row.CPUMicros)
		}
	}
	if want := 2 * measured; len(r.Open) != want {
		t.Errorf("%d rows of open loops, not %d", len(r.Open), want)
	}
	for _, row := range r.Open {
		if row.Note == "" && (row.P50MS < row.UpstreamMS || row.P99MS < row.P50MS) {
			t.Errorf("%+v", row)
		}
	}
	most := 0.0 // so few streams may find room in memory that a process has already
	for _, s := range r.Slow {
		if most = max(most, s.KiB); s.CPUMicros <= 0 {
			t.Errorf("%+v", s)
		}
	}
	if most <= 0 {
		t.Errorf("no process takes memory for slow streams: %+v", r.Slow)
	}
	if len(r.Slow) != measured-1 || len(r.Growth) != 4+3+2+2 || len(r.Ledger) != 4 {
		t.Errorf("%d rows of slow streams, %d of growth, %d of the ledger", len(r.Slow), len(r.Growth), len(r.Ledger))
	}
	for _, g := range r.Growth {
		if g.CPUMicros <= 0 || g.Ratio <= 0 || g.Base != (g.Percent == 0) && g.Base {
			t.Errorf("%+v", g)
		}
	}
	if len(r.Starts) != 1 || r.Starts[0].FreshMS == 0 || r.Starts[0].AgainMS == 0 || r.Starts[0].Idle.Processes < 2 || r.Starts[0].Idle.MiB < 1 || r.Loaded.MiB < 1 {
		t.Errorf("starts %+v, memory after load %+v", r.Starts, r.Loaded)
	}
	if p := r.Profile; p == nil || p.CPUMicros <= 0 || p.Samples == 0 || len(p.Steps) < 5 || len(p.Packages) < 3 {
		t.Errorf("profile %+v", p)
	}
	checkDecisions(t, &r.Decision)
	nothingLeft(t, dir)
}

func checkDecisions(t *testing.T, d *Decision) {
	if d.Candidates != 47 || len(d.Policies) != 4 {
		t.Errorf("decisions %+v", d)
	}
	for _, p := range d.Policies {
		if p.BestNS <= 0 || p.P50NS < p.BestNS || p.P99NS < p.P50NS || p.NewNS < p.P50NS || p.Fuel <= 0 || p.PerSecond <= 0 {
			t.Errorf("decisions of %+v", p)
		}
	}
}

// A gateway that costs more than was recorded fails the check, and one that costs less does not.
func TestCheckRegression(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "baseline.json")
	check := func(ratio string, more ...string) (string, error) {
		if err := os.WriteFile(path, []byte(`{"ratios": {"chat": `+ratio+`}, "margin_percent": 10}`), 0o600); err != nil {
			t.Fatal(err)
		}
		_, said, err := runBinary(t, append([]string{"bench", "check", path, "--rounds", "1", "--duration", "100ms", "--warm-up", "20ms", "--data-dir", dir}, more...)...)
		return said, err
	}
	if said, err := check("0.01"); err == nil || !strings.Contains(said, " times the CPU time of the bare proxy, which is above 0.01: 0.01 and 10 %") {
		t.Errorf("a regression: %v\n%s", err, said)
	}
	if said, err := check("1000"); err != nil {
		t.Errorf("no regression: %v\n%s", err, said)
	}
	binary, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	if said, err := check("1000", "--against", binary, "--update"); err == nil || !strings.Contains(said, "what is recorded is") {
		t.Errorf("recording another build: %v\n%s", err, said)
	}
	said, err := check("1000", "--against", binary)
	found := regexp.MustCompile(`chat: ([0-9.]+) \(between .* the CPU time of the other build`).FindStringSubmatch(said)
	if found == nil {
		t.Fatalf("against itself: %v\n%s", err, said)
	}
	if got, err := strconv.ParseFloat(found[1], 64); err != nil || got < 0.3 || got > 3 { // so short a round does not tell more
		t.Errorf("%v times its own CPU time, %v", got, err)
	}
	if said, err := check("1000", "--update"); err != nil {
		t.Errorf("recording: %v\n%s", err, said)
	}
	var recorded Baseline
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &recorded) != nil || recorded.Ratios["chat"] >= 1000 || recorded.Ratios["chat"] <= 0 || recorded.Percent != 10 || recorded.Since == "" {
		t.Errorf("recorded %s, %v", text, err)
	}
	nothingLeft(t, dir)
}

func TestJudge(t *testing.T) {
	b := Baseline{Ratios: map[string]float64{"chat": 2, "stream": 1}, Percent: 10}
	for _, c := range []struct {
		name         string
		chat, stream float64
		margin       float64
		want         string
	}{
		{"as recorded", 2, 1, 10, ""},
		{"within the margin", 2.19, 1.09, 10, ""},
		{"better", 1, 0.5, 10, ""},
		{"one worse", 2.5, 1, 10, "chat takes 2.500 (between 2.400 and 2.600) times"},
		{"another worse", 2, 1.12, 10, "stream takes 1.120 (between 1.020 and 1.220) times the CPU time of a stub, which is above 1.10"},
		{"beyond a smaller margin", 2, 1.06, 5, "stream takes 1.060"},
		{"within it", 2, 1.04, 5, ""},
		{"not measured", 2, 0, 10, `workload "stream" of the baseline is unknown`},
	} {
		measured := map[string]estimate{"chat": {c.chat, c.chat - 0.1, c.chat + 0.1}}
		if c.stream > 0 {
			measured["stream"] = estimate{c.stream, c.stream - 0.1, c.stream + 0.1}
		}
		if err := b.judge(measured, "a stub", c.margin); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// The recorded ratios are of workloads that there are.
func TestBaseline(t *testing.T) {
	text, err := os.ReadFile("baseline.json")
	if err != nil {
		t.Fatal(err)
	}
	var b Baseline
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	if b.Percent != 10 || b.Ratios["chat"] == 0 || b.Ratios["stream"] == 0 {
		t.Errorf("%s", text)
	}
	for name := range b.Ratios {
		if !slices.Contains(Workloads(), name) {
			t.Errorf("workload %q is unknown", name)
		}
	}
}

// A process that ends at once is reported with what it wrote.
func TestBinaryThatFails(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the benchmark needs Linux's /proc")
	}
	cfg := Config{Binary: "/bin/false", Connections: 1, Rate: 1, Duration: time.Second, Rounds: 1, Starts: 1, Streams: 1, Accounts: 1, DataDir: t.TempDir()}
	if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "starting the upstream: the process ended") {
		t.Errorf("got %v", err)
	}
}
