package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// procfs is a directory in the layout of Linux's /proc.
type procfs string

const proc procfs = "/proc"

// clockTick is the unit of CPU times in /proc/PID/stat, the same on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// status is what /proc/PID/stat tells of a process.
type status struct {
	parent int
	cpu    time.Duration // user and system, of the process
	ended  time.Duration // of its children that have ended
	rss    int64         // bytes
}

func (p procfs) status(pid int) (status, error) {
	path := filepath.Join(string(p), strconv.Itoa(pid), "stat")
	text, err := os.ReadFile(path)
	if err != nil {
		return status{}, err
	}
	// The second field is the name in parentheses, and may itself hold spaces and parentheses.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 22 {
		return status{}, fmt.Errorf("%s has %d fields after the name", path, len(fields))
	}
	number := func(i int) int64 {
		n, parseErr := strconv.ParseInt(string(fields[i]), 10, 64)
		err = errors.Join(err, parseErr)
		return n
	}
	s := status{
		parent: int(number(1)), cpu: time.Duration(number(11)+number(12)) * clockTick, ended: time.Duration(number(13)+number(14)) * clockTick,
		rss: number(21) * int64(os.Getpagesize()),
	}
	if err != nil {
		return status{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return s, nil
}

// ticks are what the processors together have worked since the system started, and what they had.
type ticks struct{ worked, had int64 }

// since is the share of the time in which they worked, from an earlier look on.
func (t ticks) since(earlier ticks) float64 {
	return float64(t.worked-earlier.worked) / float64(max(t.had-earlier.had, 1))
}

// processors looks at what they have done so far.
func (p procfs) processors() (t ticks, err error) {
	text, err := os.ReadFile(filepath.Join(string(p), "stat"))
	if err != nil {
		return t, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return t, fmt.Errorf("%s/stat begins with %q", p, line)
	}
	for i, field := range fields[1:9] { // user, nice, system, idle, iowait, irq, softirq, steal
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return t, fmt.Errorf("reading %s/stat: %w", p, err)
		}
		t.had += n
		if i != 3 && i != 4 {
			t.worked += n
		}
	}
	return t, nil
}

// all reads the status of every process. One that ends meanwhile is left out.
func (p procfs) all() (map[int]status, error) {
	entries, err := os.ReadDir(string(p))
	if err != nil {
		return nil, err
	}
	found := map[int]status{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		s, err := p.status(pid)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found[pid] = s
	}
	return found, nil
}

// gone says that a process ended while its files were read.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// descendants are root and every process under it, in no order; nothing if root is not there.
func descendants(processes map[int]status, root int) []int {
	if _, ok := processes[root]; !ok {
		return nil
	}
	children := map[int][]int{}
	for pid, s := range processes {
		children[s.parent] = append(children[s.parent], pid)
	}
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree
}

// tree lists a process and its descendants. It fails if the process has ended.
func (p procfs) tree(root int) (pids []int, err error) {
	err = p.walk(root, func(pid int, _ status) { pids = append(pids, pid) })
	return pids, err
}

// treeCPU is the CPU time that a process, its descendants and those of them that have ended took so far.
func (p procfs) treeCPU(root int) (total time.Duration, err error) {
	err = p.walk(root, func(pid int, s status) {
		if exact, err := cpuTimeOf(pid); err == nil && p == proc {
			s.cpu = exact
		}
		total += s.cpu + s.ended
	})
	return total, err
}

// treeRSS is the resident memory of a process and its descendants, in bytes; what they share counts for each.
func (p procfs) treeRSS(root int) (total int64, err error) {
	err = p.walk(root, func(_ int, s status) { total += s.rss })
	return total, err
}

// walk visits a process and its descendants. It fails if the process has ended.
func (p procfs) walk(root int, visit func(pid int, s status)) error {
	processes, err := p.all()
	if err != nil {
		return err
	}
	pids := descendants(processes, root)
	if pids == nil {
		return fmt.Errorf("process %d has ended", root)
	}
	for _, pid := range pids {
		visit(pid, processes[pid])
	}
	return nil
}

// pss is the memory of a process in bytes: private pages, and its share of those it shares with others.
func (p procfs) pss(pid int) (int64, error) {
	path := filepath.Join(string(p), strconv.Itoa(pid), "smaps_rollup")
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading %s: %w", path, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("%s has no Pss line", path)
}

// anonymous is the resident memory of a process that is no file, in bytes; 0 if it is not told.
func (p procfs) anonymous(pid int) int64 {
	text, _ := os.ReadFile(filepath.Join(string(p), strconv.Itoa(pid), "status")) // the process may have ended
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10
		}
	}
	return 0
}
