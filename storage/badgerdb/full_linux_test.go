package badgerdb

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts a file system of 96 MiB in memory, which ends with the test: a start wants 48 MiB free, and the journal keeps some 16.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		if os.Geteuid() != 0 && os.Getenv("CI") != "true" {
			t.Skip("mounting a small file system needs root")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestFullDisk fills the disk of a working process to the last byte, at 40 MB a second, and makes room again, time after time. The
// process must neither end nor halt, must stop acknowledging while there is no room, and go on within five seconds after.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t)
	p := punish(t)
	p.dir, p.minFreeMB = filepath.Join(disk, "data"), 32
	child := (&errand{Dir: p.dir, MinFreeMB: p.minFreeMB}).command(t)
	var stderr bytes.Buffer
	child.Stderr = &stderr
	stdout, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	var count atomic.Int64
	var reading sync.WaitGroup
	reading.Go(func() {
		for in := bufio.NewScanner(stdout); in.Scan(); count.Add(1) {
			lines = append(lines, in.Text())
		}
	})
	// grows waits until something more is acknowledged, and returns how long that took.
	grows := func() time.Duration {
		began, before := time.Now(), count.Load()
		for time.Since(began) < 20*time.Second && count.Load() < before+20 {
			time.Sleep(time.Millisecond)
		}
		return time.Since(began)
	}
	grows()
	var slowest time.Duration
	rounds := chaos(t, 3)
	for round := range rounds {
		filler := filepath.Join(disk, "filler")
		if err := fillDisk(filler); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		took := grows()
		if slowest = max(slowest, took); took > 5*time.Second {
			t.Errorf("round %d: %s after there is room again nothing goes on", round, took)
			break
		}
	}
	child.Process.Kill()
	child.Wait()
	reading.Wait()
	if code := child.ProcessState.ExitCode(); code != -1 {
		t.Fatalf("the child ended by itself with %d: %.3000s", code, stderr.String())
	}
	var acknowledged []told
	for _, line := range lines[:len(lines)-1] { // the last may be cut
		acknowledged = append(acknowledged, parseTold(t, line))
	}
	p.recovered(acknowledged)
	p.sum(fmt.Sprintf("the disk was full %d times, work went on %s after at the latest", rounds, slowest.Round(time.Millisecond)))
}

// fillDisk writes until there is no room.
func fillDisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); ; time.Sleep(25 * time.Millisecond) {
		if _, err := f.Write(chunk); err != nil {
			if strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
				return nil
			}
			return err
		}
	}
}
