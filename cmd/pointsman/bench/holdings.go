package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Holdings are what a gateway's processes hold.
type Holdings struct {
	RSSMiB     float64 `json:"rss_mib"`
	OwnMiB     float64 `json:"own_mib"`       // without pages of files
	GoalMiB    float64 `json:"heap_goal_mib"` // of the heap, at which the collector runs next: by half more than what lived when it ran last
	Parts      Parts   `json:"parts_mib"`     // of OwnMiB
	Goroutines int     `json:"goroutines"`
	Sockets    int     `json:"sockets"`
	Files      int     `json:"files"`  // of the databases
	Others     int     `json:"others"` // descriptors of anything else
}

// Parts are what memory that is no file consists of, in MiB, in the order of partNames. What the runtime has taken and not touched counts as its own, so that the last one
// can be below 0 by that much; how they change is what they are for.
type Parts [6]float64

var partNames = [len(Parts{})]string{
	"the heap, in use", "the heap, free and not given back", "stacks", "the runtime's tables", "plugins", "what is not Go's, as guests' memory",
}

// metricOf finds a value among the metrics of the admin API.
func metricOf(text []byte, name string) (float64, error) {
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("no %s among the metrics: %.200s", name, text)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

// holdings reads what the processes of a gateway hold.
func holdings(p *process, s *site) (h Holdings, err error) {
	gateway := 0.0
	err = proc.walk(p.pid(), func(pid int, s status) {
		own := float64(proc.anonymous(pid)) / (1 << 20)
		if pid == p.pid() {
			gateway = own
		}
		h.RSSMiB += float64(s.rss) / (1 << 20)
		h.OwnMiB += own
	})
	if err != nil {
		return h, err
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid()))
	if err != nil {
		return h, err
	}
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(p.pid()), "fd", e.Name()))
		switch {
		case err != nil: // closed meanwhile
		case strings.HasPrefix(to, "socket:"):
			h.Sockets++
		case strings.HasPrefix(to, s.dataDir()):
			h.Files++
		default:
			h.Others++
		}
	}
	text, err := p.metrics(s.master)
	if err != nil {
		return h, err
	}
	sum := func(names ...string) (total float64) {
		for _, name := range names {
			value, failed := metricOf(text, "go_"+name)
			if failed != nil {
				err = failed
			}
			total += value
		}
		return total
	}
	const mib = 1 << 20
	h.Goroutines = int(sum("goroutines"))
	h.GoalMiB = sum("memstats_next_gc_bytes") / mib
	inUse, stacks := sum("memstats_heap_inuse_bytes")/mib, sum("memstats_stack_sys_bytes")/mib
	free := (sum("memstats_heap_idle_bytes") - sum("memstats_heap_released_bytes")) / mib
	tables := sum("memstats_mspan_sys_bytes", "memstats_mcache_sys_bytes", "memstats_gc_sys_bytes", "memstats_buck_hash_sys_bytes", "memstats_other_sys_bytes") / mib
	h.Parts = Parts{inUse, free, stacks, tables, h.OwnMiB - gateway, gateway - inUse - free - stacks - tables}
	return h, err
}

// each has of each value the one that pick takes.
func (h Holdings) each(o Holdings, pick func(a, b float64) float64) Holdings {
	count := func(a, b int) int { return int(pick(float64(a), float64(b))) }
	picked := Holdings{
		RSSMiB: pick(h.RSSMiB, o.RSSMiB), OwnMiB: pick(h.OwnMiB, o.OwnMiB), GoalMiB: pick(h.GoalMiB, o.GoalMiB),
		Goroutines: count(h.Goroutines, o.Goroutines), Sockets: count(h.Sockets, o.Sockets), Files: count(h.Files, o.Files), Others: count(h.Others, o.Others),
	}
	for i := range picked.Parts {
		picked.Parts[i] = pick(h.Parts[i], o.Parts[i])
	}
	return picked
}
