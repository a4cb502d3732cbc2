package bench

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// Machine is where a report was made.
type Machine struct {
	Cores      int     `json:"cores"`
	Model      string  `json:"model"`
	MemoryGiB  int     `json:"memory_gib"`
	Kernel     string  `json:"kernel"`
	Go         string  `json:"go"`
	Filesystem string  `json:"filesystem"` // under the gateway's data
	Load       float64 `json:"load"`       // average of the minute before the run
}

// readMachine asks /proc what it runs on. What it does not say is "unknown" or 0.
func readMachine(p procfs, dataDir string) Machine {
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(string(p), name)) // "" is unknown
		return string(text)
	}
	value := func(file, name string) string {
		for line := range strings.Lines(read(file)) {
			if n, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(n) == name {
				return strings.Join(strings.Fields(value), " ")
			}
		}
		return ""
	}
	known := func(text string) string {
		if text == "" {
			return "unknown"
		}
		return text
	}
	kib, _ := strconv.Atoi(strings.TrimSuffix(value("meminfo", "MemTotal"), " kB"))
	load, _, _ := strings.Cut(read("loadavg"), " ")
	average, _ := strconv.ParseFloat(load, 64)
	return Machine{
		Cores: runtime.NumCPU(), Model: known(value("cpuinfo", "model name")), MemoryGiB: (kib + 1<<19) >> 20, Kernel: known(strings.TrimSpace(read("sys/kernel/osrelease"))),
		Go: runtime.Version(), Filesystem: filesystemOf(read("self/mountinfo"), dataDir), Load: average,
	}
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

// moduleVersion is the version of a module that this binary was built with.
func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version
			}
		}
	}
	return "unknown"
}

// revision is the commit that this binary was built from, "" if it does not know.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	commit := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)] + commit
		case s.Key == "vcs.modified" && s.Value == "true":
			commit += " with changes"
		}
	}
	return commit
}
