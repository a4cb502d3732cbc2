package bench

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Machine is where a report was made.
type Machine struct {
	Cores      int    `json:"cores"`
	Model      string `json:"model"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	Filesystem string `json:"filesystem"` // under the gateway's data
}

// readMachine asks /proc what it runs on. What it does not say is "unknown".
func readMachine(p procfs, dataDir string) Machine {
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(string(p), name)) // "" is unknown
		return string(text)
	}
	m := Machine{Cores: runtime.NumCPU(), Model: "unknown", Kernel: strings.TrimSpace(read("sys/kernel/osrelease")), Go: runtime.Version()}
	for line := range strings.Lines(read("cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.Model = strings.Join(strings.Fields(value), " ")
			break
		}
	}
	if m.Kernel == "" {
		m.Kernel = "unknown"
	}
	m.Filesystem = filesystemOf(read("self/mountinfo"), dataDir)
	return m
}

// filesystemOf finds the type of the file system that holds a path: that of the longest mount point above it.
func filesystemOf(mountinfo, path string) string {
	kind, longest := "unknown", 0
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(line, " - ")
		fields, after := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 5 || len(after) < 1 {
			continue
		}
		point := strings.TrimSuffix(fields[4], "/")
		if (path == point || strings.HasPrefix(path, point+"/")) && len(point)+1 > longest {
			kind, longest = after[0], len(point)+1
		}
	}
	return kind
}
