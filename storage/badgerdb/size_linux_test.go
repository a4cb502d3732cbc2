package badgerdb

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

const mostMemory = 256 << 20

// ingest is the child of TestSize: it writes so many lines, or none, and prints what the disk and the memory came to.
func (e *errand) ingest() error {
	debug.SetMemoryLimit(mostMemory)
	began, cpu := time.Now(), cpuTime()
	s, err := Open(Config{Dir: e.Dir})
	if err == nil {
		err = s.Halted()
	}
	if err != nil {
		return err
	}
	opened, cpu := time.Since(began), cpuTime()-cpu
	if err := s.CreateAccount(storage.Account{ID: "rich"}, 1<<40); err != nil && e.Lines > 0 {
		return err
	}
	disk := [2]int64{}
	for half := range disk {
		var left atomic.Int64
		left.Store(int64(e.Lines / 4)) // pairs of lines, twice
		var clients sync.WaitGroup
		for c := range 256 {
			clients.Go(func() {
				h := storage.Hold{Account: "rich", Amount: 100, Expires: time.Now().Add(time.Hour), Key: fmt.Sprintf("key_%016x", c), Team: "team"}
				for left.Add(-1) >= 0 {
					h.Request = storagetest.NewRequest()
					_, err := s.Reserve(h)
					var settled *storage.Batch
					if err == nil {
						_, settled, err = s.Settle(storage.Settlement{Request: h.Request, Charge: 70, Reason: "ok"})
					}
					if err != nil || settled.Wait() != nil {
						panic(err)
					}
				}
			})
		}
		clients.Wait()
		if disk[half], err = diskUsed(e.Dir); err != nil {
			return err
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	var peak, own int64 // peak has the tables that are mapped, which the system takes back when it likes
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Sscan(after, &peak)
	_, after, _ = strings.Cut(string(status), "RssAnon:")
	fmt.Sscan(after, &own)
	fmt.Printf("M size %d %d %d %d %d %d %d\n", disk[0], disk[1], own<<10, peak<<10, opened.Milliseconds(), cpu.Milliseconds(), s.entered)
	die()
	return nil
}

// diskUsed is what the files of a directory take on the disk.
func diskUsed(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if os.IsNotExist(err) {
			return nil // compacted meanwhile
		}
		if err == nil {
			sum += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	return sum, err
}

// TestSize writes many lines in a process that may use 256 MiB, kills it, and starts it again. With POINTSMAN_CHAOS there are
// a million.
func TestSize(t *testing.T) {
	lines := 40_000
	if os.Getenv("POINTSMAN_CHAOS") != "" {
		lines = 1_000_000
	}
	dir := t.TempDir()
	run := func(n int) (half, end, own, peak, opened, cpu, entered int64) {
		o := errand{Dir: dir, Lines: n, Size: true}.send(t, 0)
		if o.code != -1 || len(o.acknowledged) != 1 {
			t.Fatalf("the child ended with %d: %s", o.code, o.stderr)
		}
		fmt.Sscan(o.acknowledged[0].rest, &half, &end, &own, &peak, &opened, &cpu, &entered)
		return half, end, own, peak, opened, cpu, entered
	}
	half, end, own, peak, _, _, entered := run(lines)
	_, _, ownAgain, peakAgain, opened, cpu, found := run(0)
	t.Logf("%d lines: disk %d MiB at half, %d MiB in the end, %d bytes a line; memory %d MiB (with mapped tables %d) writing, %d MiB (%d) starting again after the kill, in %d ms (CPU %d)",
		entered, half>>20, end>>20, end/entered, own>>20, peak>>20, ownAgain>>20, peakAgain>>20, opened, cpu)
	if found != entered {
		t.Errorf("%d lines were written, %d are there", entered, found)
	}
	if max(own, ownAgain) > mostMemory || cpu > 5000 || end > 3*max(half, 16<<20) {
		t.Error("too much memory, time or disk")
	}
}
