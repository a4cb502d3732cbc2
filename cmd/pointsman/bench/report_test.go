package bench

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func sampleReport() *Report {
	return &Report{
		Machine:  Machine{Cores: 2, Model: "Some CPU", MemoryGiB: 4, Kernel: "6.1", Go: "go1.26", Filesystem: "ext4"},
		Settings: Settings{Connections: 64, Rate: 1000, Seconds: 5, WarmUpSeconds: 1, Rounds: 3, Starts: 3},
		Targets:  []*Target{{Name: TargetNginx, Version: "1.2", Settings: "plain"}, {Name: "Peer", Version: "-", Missing: "it is not there"}},
		Decision: Decision{Candidates: 47, Decisions: 1000, Generation: 64, Policies: []DecisionCost{{Policy: "eco", PerSecond: 1e6, P50NS: 950, BestNS: 900, P99NS: 12345, NewNS: 10000, Fuel: 4711}}},
		Closed: []Row{
			{Workload: "chat", Target: TargetDirect, RequestsPerSecond: 50000, Unit: "request", UpstreamMicros: 9.5},
			{Workload: "chat", Target: TargetGateway, RequestsPerSecond: 12000, P50MS: 5.25, P99MS: 11, Unit: "request", CPUMicros: 81.25, BestMicros: 80, Ratio: 3, BestRatio: 2.9, UpstreamMicros: 10},
		},
		Open:   []OpenRow{{UpstreamMS: 50, Target: TargetGateway, P50MS: 50.3, P99MS: 52, AddedP50MS: 0.2, AddedP99MS: 1, CPUMicros: 100, Ratio: 2}, {Target: "Peer", Note: "80 requests a second are its most"}},
		Slow:   []Slow{{Target: TargetGateway, Streams: 500, PaceMS: 100, KiB: 40, KiBRatio: 1.25, CPUMicros: 25, CPURatio: 1.1}},
		Growth: []Growth{{Of: "models", Amount: 47, CPUMicros: 60, Ratio: 2, Base: true}, {Of: "models", Amount: 5000, CPUMicros: 63, Ratio: 2.1, Percent: 5}},
	}
}

func TestUpdateMarkdown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.md")
	prose := "# Title\n\n" + sectionBegin + "\nold\n" + sectionEnd + "\n\nafter\n"
	if err := os.WriteFile(path, []byte(prose), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time changes nothing
		if err := sampleReport().UpdateMarkdown(path); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want := "# Title\n\n" + sectionBegin + "\n\n" + sampleReport().markdown() + "\n" + sectionEnd + "\n\nafter\n"
		if string(got) != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("files left behind: %v, %v", entries, err)
	}
}

func TestReplaceSectionRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"none":     "prose",
		"one":      sectionBegin + "\nprose",
		"two":      strings.Repeat(sectionBegin+"\n"+sectionEnd+"\n", 2),
		"reversed": sectionEnd + "\n" + sectionBegin,
	} {
		if got, err := replaceSection(text, "new"); err == nil {
			t.Errorf("%s: became %q", name, got)
		}
	}
}

func TestMarkdownTable(t *testing.T) {
	text := sampleReport().markdown()
	for _, line := range []string{
		"| workload | target | req/s | p50 ms | p99 ms | cpu us | per | x bare | best cpu us | best x bare | upstream cpu us |",
		"|---|---|--:|--:|--:|--:|---|--:|--:|--:|--:|",
		"| chat | upstream itself | 50000 | 0.00 | 0.00 | - | request | - | - | - | 9.5 |",
		"| chat | pointsman full | 12000 | 5.25 | 11.00 | 81.2 | request | 3.00 | 80.0 | 2.90 | 10.0 |",
		"| 50 ms | pointsman full | 50.30 | 52.00 | 0.20 | 1.00 | 100.0 | 2.00 |",
		"| at once | Peer: 80 requests a second are its most | - | - | - | - | - | - |",
		"| pointsman full | 40.0 | 1.25 | 25.0 | 1.10 |",
		"| models | 47 | 60.0 | 2.00 | - |",
		"| models | 5000 | 63.0 | 2.10 | +5.0 % |",
		"| decision of | per second | best p50 ns | p50 ns | p99 ns | new snapshot ns | fuel |",
		"|---|--:|--:|--:|--:|--:|--:|",
		"| eco | 1000000 | 900 | 950 | 12345 | 10000 | 4711 |",
		"| Peer | - | not measured: it is not there |",
		"### Decisions alone: 47 candidates, 1000 decisions of each policy on one goroutine, a new snapshot every 64 of them",
		"- Command: `make bench UPDATE=1`.",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

func TestTextIsAligned(t *testing.T) {
	var b strings.Builder
	if err := sampleReport().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	head := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "WORKLOAD") })
	if head < 0 {
		t.Fatal(b.String())
	}
	for _, line := range lines[head+1 : head+3] {
		if len(line) != len(lines[head]) { // the last column is a number, at its right edge
			t.Errorf("%q is not as long as %q", line, lines[head])
		}
	}
	want := "DECISION OF  PER SECOND  BEST P50 NS  P50 NS  P99 NS  NEW SNAPSHOT NS  FUEL\neco             1000000          900     950   12345            10000  4711\n"
	if !strings.Contains(b.String(), "\n\n"+want) {
		t.Errorf("no table of decisions in\n%s", b.String())
	}
}
