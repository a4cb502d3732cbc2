package bench

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary stand in for the upstream's and the proxy's process.
func TestMain(m *testing.M) {
	if len(os.Args) == 6 && os.Args[1] == "bench" { // bench --part PART --upstream URL
		var err error
		if os.Args[3] == "proxy" {
			err = ServeProxy(os.Stdout, os.Args[5])
		} else {
			err = ServeUpstream(os.Stdout)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// The proxy is measured against itself: all workloads pass through it whole, and its ratio to itself is near 1.
func TestCompare(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the benchmark needs Linux's /proc")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	part := func(name, upstream string) *process {
		p, err := startPart(t.Context(), self, name, upstream)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			p.stop()
			if err := syscall.Kill(p.pid(), 0); err == nil {
				t.Errorf("the %s still runs", name)
			}
		})
		return p
	}
	upstream := part("upstream", "")
	proxy := part("proxy", upstream.address)
	cfg := &Config{Connections: 8, Rate: 200, Duration: 300 * time.Millisecond, WarmUp: 50 * time.Millisecond, Rounds: 2, Progress: t.Output(), Workloads: Workloads()}
	r := &runner{Config: cfg, report: &Report{}, upstream: upstream, bare: &standing{&Target{Name: TargetProxy}, proxy}}
	group := []*standing{{&Target{Name: TargetDirect}, upstream}, r.bare, {&Target{Name: "itself"}, proxy}}
	if err := r.compareClosed(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	for _, row := range r.report.Closed {
		t.Logf("%+v", row)
		if row.Target != TargetDirect && (row.CPUMicros <= 0 || row.Ratio < 0.2 || row.Ratio > 5) {
			t.Errorf("%s, %s: %v us, %v times the proxy", row.Workload, row.Target, row.CPUMicros, row.Ratio)
		}
	}
	if err := r.compareOpen(t.Context(), group, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for _, row := range r.report.Open {
		t.Logf("%+v", row)
		if row.P50MS < 20 || row.Target == TargetDirect && row.AddedP50MS != 0 {
			t.Errorf("%+v", row)
		}
	}
	if len(r.report.Closed) != 9 || len(r.report.Open) != 3 {
		t.Errorf("%d and %d rows", len(r.report.Closed), len(r.report.Open))
	}
}
