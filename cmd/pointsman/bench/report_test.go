package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sampleReport() *Report {
	return &Report{
		Machine:  Machine{Cores: 2, Model: "Some CPU", Kernel: "6.1", Go: "go1.26", Filesystem: "ext4"},
		Settings: Settings{Connections: 64, Seconds: 5, WarmUpSeconds: 1, Rounds: 3, Starts: 3},
		Decision: Decision{Candidates: 47, Decisions: 1000, Generation: 64, Policies: []DecisionCost{{"eco", 950, 12345, 10000, 4711}}},
		Rows: []Row{
			{Workload: "chat", Target: TargetDirect, RequestsPerSecond: 50000, Unit: "request", UpstreamMicros: 9.5},
			{Workload: "chat", Target: TargetGateway, RequestsPerSecond: 12000, P50MS: 5.25, P99MS: 11, Unit: "request", CPUMicros: 81.25, Ratio: 3, UpstreamMicros: 10},
		},
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
		"| workload | target | req/s | p50 ms | p99 ms | cpu us | per | x bare | upstream cpu us |",
		"|---|---|--:|--:|--:|--:|---|--:|--:|",
		"| chat | upstream itself | 50000 | 0.00 | 0.00 | 0 | request | - | 9.5 |",
		"| chat | pointsman | 12000 | 5.25 | 11.00 | 81.2 | request | 3.00 | 10.0 |",
		"| decision of | p50 ns | p99 ns | new snapshot ns | fuel |",
		"|---|--:|--:|--:|--:|",
		"| eco | 950 | 12345 | 10000 | 4711 |",
		"- Decision: 47 candidates, 1000 decisions of each policy on one goroutine, a new snapshot every 64 of them.",
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
	for _, line := range lines[1:3] {
		if len(line) != len(lines[0]) { // the last column is a number, at its right edge
			t.Errorf("%q is not as long as %q", line, lines[0])
		}
	}
	want := "DECISION OF  P50 NS  P99 NS  NEW SNAPSHOT NS  FUEL\neco             950   12345            10000  4711\n"
	if !strings.Contains(b.String(), "\n\n"+want) {
		t.Errorf("no table of decisions in\n%s", b.String())
	}
}
