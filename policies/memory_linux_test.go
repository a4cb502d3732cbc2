package policies

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/policies/hostile"
)

// targetGrowth is what a policy may make the process grow by beyond the memory that it may have itself.
const targetGrowth = 8 << 20

// peak is the most memory that the process has had since the last call, in bytes, measured by the kernel: there is no moment that it
// misses.
func peak(t *testing.T) (bytes int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(line, &bytes); err != nil {
		t.Fatalf("%v in %s", err, status)
	}
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o200); err != nil {
		t.Fatal(err)
	}
	return bytes << 10
}

// TestF21MemoryOfHostilePolicies lets every attack do its worst again and again, faster than a host that suspends it would: whatever it
// takes, at load or at work, in memory, tables, globals or on the stack, the process grows by the memory of one instance and a little.
func TestF21MemoryOfHostilePolicies(t *testing.T) {
	strikes := 2
	if allFaults() {
		strikes = 20
	}
	const limit = DefaultMemoryPages<<16 + targetGrowth
	most, worst := 0, ""
	attacks := hostile.Set()
	if !allFaults() {
		attacks = slices.DeleteFunc(attacks, func(a hostile.Attack) bool { return !strings.Contains(a.Name, "memory") })
	}
	for _, attack := range attacks {
		host := testHost(t, Config{CacheDir: t.TempDir()}) // what compiling takes is another matter
		a := &attacker{Attack: attack, host: host}
		err := a.load()
		host.Unload(a.Name)
		debug.FreeOSMemory()
		peak(t)
		before, act := peak(t), a.load
		if a.When != hostile.AtLoad {
			if err = errors.Join(err, a.load()); err != nil {
				t.Fatal(err)
			}
			act = a.strike
		}
		for range strikes {
			if err := a.check(act()); err != nil {
				t.Error(err)
			}
			host.forgive(a.Name)
		}
		if grown := peak(t) - before; grown > most {
			most, worst = grown, a.Name
		}
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("figure: %d modules, %d times each: the process grew by %.1f MiB at most (%s), of %.1f MiB that it may", len(attacks), strikes,
		float64(most)/(1<<20), worst, float64(limit)/(1<<20))
	if most > limit && !raceEnabled() { // which keeps memory of its own for each byte
		t.Errorf("the process grew by %d bytes under %s, target %d", most, worst, limit)
	}
}

// TestGuestMemory has a guest's memory grow where it is, and end, and gives what the system has no room for from the heap.
func TestGuestMemory(t *testing.T) {
	const most = DefaultMemoryPages << 16
	m := reserve(1<<16, most)
	begin := m.Reallocate(1 << 16)
	begin[0] = 7
	all := m.Reallocate(most)
	if len(all) != most || &all[0] != &begin[0] || all[0] != 7 || all[most-1] != 0 {
		t.Errorf("%d bytes, moved %v", len(all), &all[0] != &begin[0])
	}
	m.Free()
	m = reserve(0, 0)
	if none := m.Reallocate(0); none == nil || len(none) > 0 {
		t.Errorf("no memory is %d bytes", len(none))
	}
	m.Free()
	m = reserve(1<<16, 1<<62)
	if all = m.Reallocate(1 << 16); len(all) != 1<<16 {
		t.Errorf("%d bytes of the heap", len(all))
	}
	all[0] = 7
	if all = m.Reallocate(1 << 17); len(all) != 1<<17 || all[0] != 7 {
		t.Errorf("%d bytes of the heap, of which the first is %d", len(all), all[0])
	}
	m.Free()
}
