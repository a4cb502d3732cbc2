package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakeProc writes files of a /proc, given by path and text.
func fakeProc(t *testing.T, files map[string]string) procfs {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return procfs(root)
}

func statLine(pid int, name string, parent, user, system, childUser, childSystem int) string {
	return fmt.Sprintf("%d (%s) S %d %d %d 0 -1 4194560 2134 1 0 0 %d %d %d %d 20 0 9 0 1043 1265102848 3011 18446744073709551615\n",
		pid, name, parent, pid, pid, user, system, childUser, childSystem)
}

func TestTreeCPU(t *testing.T) {
	p := fakeProc(t, map[string]string{
		"1/stat":     statLine(1, "init", 0, 900, 900, 900, 900),
		"10/stat":    statLine(10, "pointsman", 1, 100, 50, 7, 3),
		"11/stat":    statLine(11, "odd) S 1 (name", 10, 20, 10, 0, 0),
		"12/stat":    statLine(12, "deeper", 11, 4, 6, 0, 0),
		"13/stat":    statLine(13, "elsewhere", 1, 5000, 5000, 0, 0),
		"meminfo":    "not a process",
		"14/cmdline": "ended between the listing and the reading",
	})
	cpu, err := p.treeCPU(10)
	if want := 200 * clockTick; err != nil || cpu != want {
		t.Errorf("treeCPU = %v, %v; want %v", cpu, err, want)
	}
	tree, err := p.tree(10)
	if slices.Sort(tree); err != nil || !slices.Equal(tree, []int{10, 11, 12}) {
		t.Errorf("tree = %v, %v", tree, err)
	}
	if _, err := p.treeCPU(99); err == nil {
		t.Error("the CPU time of a process that is not there was read")
	}
}

func TestProcessors(t *testing.T) {
	p := fakeProc(t, map[string]string{"stat": "cpu  100 1 200 5000 70 3 4 20 50 60\ncpu0 1 2 3 4 5 6 7 8 9 10\n"})
	if got, err := p.processors(); err != nil || got != (ticks{worked: 328, had: 5398}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu 1 2 3 4 5 6 7 x 9"} {
		if _, err := fakeProc(t, map[string]string{"stat": text}).processors(); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestMalformedStat(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "short": "10 (x) S 1 2", "letters": strings.Replace(statLine(10, "x", 1, 77, 0, 0, 0), "77", "no", 1)} {
		p := fakeProc(t, map[string]string{"10/stat": text})
		if _, err := p.treeCPU(10); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPSS(t *testing.T) {
	p := fakeProc(t, map[string]string{
		"10/smaps_rollup": "00400000-7ffd rollup\nRss:               21404 kB\nPss:               10240 kB\nPss_Dirty:          9999 kB\n",
		"11/smaps_rollup": "00400000-7ffd rollup\nRss:               21404 kB\n",
	})
	if got, err := p.pss(10); err != nil || got != 10<<20 {
		t.Errorf("pss = %d, %v", got, err)
	}
	if _, err := p.pss(11); err == nil {
		t.Error("a file without Pss was read")
	}
}

func TestOwnProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux's /proc")
	}
	before, err := proc.treeCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < 200*time.Millisecond; {
		if after, err := proc.treeCPU(os.Getpid()); err != nil || after < before {
			t.Fatalf("CPU time went from %v to %v, %v", before, after, err)
		} else if after > before {
			return
		}
	}
	t.Error("200 ms of work took no CPU time")
}

func TestMachine(t *testing.T) {
	p := fakeProc(t, map[string]string{
		"cpuinfo":              "processor\t: 0\nmodel name\t: Some   CPU @ 2.0GHz\nflags: x\n",
		"sys/kernel/osrelease": "6.1.0-test\n",
		"self/mountinfo": "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n" +
			"23 22 0:20 / /tmp rw shared:5 - tmpfs tmpfs rw\n24 22 0:21 / /tmpfoo rw - xfs /dev/b rw\n",
	})
	m := readMachine(p, "/tmp/pointsman-bench-1")
	if m.Model != "Some CPU @ 2.0GHz" || m.Kernel != "6.1.0-test" || m.Filesystem != "tmpfs" || m.Cores < 1 {
		t.Errorf("%+v", m)
	}
	if m := readMachine(p, "/var/x"); m.Filesystem != "ext4" {
		t.Errorf("/var/x is on %s", m.Filesystem)
	}
	if m := readMachine(fakeProc(t, nil), "/tmp"); m.Model != "unknown" || m.Kernel != "unknown" || m.Filesystem != "unknown" {
		t.Errorf("of an empty /proc: %+v", m)
	}
}
