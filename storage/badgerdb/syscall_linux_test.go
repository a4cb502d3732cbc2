package badgerdb

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// callLife is how long a child works whose system calls fail.
	callLife = 1500 * time.Millisecond
	// callMost is how many calls of a thread may succeed before one fails.
	callMost = 500
)

// failing is a system call that fails, and on which of its files; "": on all.
//
// Badger may come to harm by some: a compaction that cannot create a table goes on without it and removes those that it was to
// replace, and a manifest that was written and not synced names a table which is then removed. Nothing of that is silent: the ledger does
// not prove, or does not open, and says why.
type failing struct {
	call, file string
	harms      bool
	told       bool // by what the call hands out (io_event), not by itself
}

// syncs are the calls of syncContent: where the first fails it makes the second.
const syncs = "io_submit,fdatasync"

// failings are the calls by which anything gets onto the disk.
var failings = []failing{
	{call: "msync", harms: true},
	{call: "fsync", harms: true},
	{call: syncs},
	{call: "io_setup"},
	{call: "io_getevents"},
	{call: "io_getevents", told: true},
	{call: "ftruncate", harms: true},
	{call: "openat", harms: true},
	{call: "renameat", harms: true},
	{call: "pwrite64", file: headName},
	{call: "pwrite64", file: "ledger/000001" + journalExt},
	{call: "pwrite64", file: "ledger/000001" + volumeExt},
	{call: "write", file: "ledger/MANIFEST", harms: true},
}

// inject is the strace command that makes calls fail: when is "N", the N-th call of each thread, or "N+", all from it on.
func (f failing) inject(t *testing.T, dir, errno, when string) []string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal("there is no strace; scripts/test-setup.sh installs it")
	default:
		t.Skip("making system calls fail needs strace; scripts/test-setup.sh installs it")
	}
	args := []string{strace, "-f", "-qqq", "-o", "/dev/null", "--seccomp-bpf", "-e", "trace=" + f.call, "-e", "inject=" + f.call + ":" + f.how(errno) + ":when=" + when}
	if f.file != "" {
		args = append(args, "-P", filepath.Join(dir, f.file))
	}
	return args
}

// how is what strace does to a call so that it fails.
func (f failing) how(errno string) string {
	if !f.told {
		return "error=" + errno
	}
	result := binary.LittleEndian.AppendUint64(make([]byte, 16), uint64(-int64(map[string]syscall.Errno{"EIO": syscall.EIO, "ENOSPC": syscall.ENOSPC}[errno])))
	return "poke_exit=@arg4=" + hex.EncodeToString(append(result, make([]byte, 8)...))
}

// TestFailingCalls makes the system calls of a working process fail with an error of the disk and with a full disk, once or from
// some time on. What was acknowledged is there after the restart. A process that goes on after a failure has recovered from it; one
// that cannot is halted, or ends and says why.
func TestFailingCalls(t *testing.T) {
	tries := chaos(t, 1)
	for _, f := range failings {
		for _, errno := range []string{"EIO", "ENOSPC"} {
			name := f.call + " " + errno
			if f.told {
				name += " told"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := punish(t)
				ends := map[string]int{}
				for try := range tries {
					when := fmt.Sprint(1 + rand.IntN(1+callMost*try/tries))
					if try%2 == 0 {
						when += "+"
					}
					first := errand{Dir: p.dir}.send(t, 200*time.Millisecond)
					o := errand{Dir: p.dir, Life: callLife}.send(t, 0, f.inject(t, p.dir, errno, when)...)
					switch {
					case o.code == -1:
						ends["worked on"]++
					case o.code == exitHalted && strings.Contains(o.stderr, "ledger halted"):
						ends["halted"]++
					case o.code == exitOpen && o.stderr != "":
						ends["did not open"]++
					case o.code == exitFailed:
						t.Errorf("%s of call %s: went on without being halted: %.300s", errno, when, o.stderr)
					case o.stderr != "":
						ends["ended"]++
						t.Logf("%s of call %s: %.300s", errno, when, o.stderr)
					default:
						t.Errorf("%s of call %s: ended with %d and said nothing", errno, when, o.code)
					}
					err := p.proves()
					if err == nil && f.harms {
						err = p.logOpens()
					}
					if err != nil && f.harms {
						ends["named at the restart"]++
						t.Logf("%s of call %s: %v", errno, when, err)
						p.dir, p.books = t.TempDir(), openBooks()
						continue
					}
					p.recovered(append(first.acknowledged, o.acknowledged...))
				}
				t.Logf("what became of it: %v", ends)
				p.sum(fmt.Sprintf("a call failing %d times, %d ledgers or logs that the next start named as damaged", tries, ends["named at the restart"]))
			})
		}
	}
}

// TestSkippedSync: when no sync succeeds, nothing may be acknowledged. The same on a store that is told not to sync shows that
// this would be noticed.
func TestSkippedSync(t *testing.T) {
	for _, unsynced := range []bool{false, true} {
		p := punish(t)
		o := errand{Dir: p.dir, Life: callLife, Unsynced: unsynced}.send(t, 0, failing{call: syncs}.inject(t, p.dir, "EIO", "1+")...)
		for life := 4 * callLife; unsynced && len(o.acknowledged) == 0 && life < time.Minute; life *= 2 { // it had no time to work
			o = errand{Dir: t.TempDir(), Life: life, Unsynced: true}.send(t, 0, failing{call: syncs}.inject(t, p.dir, "EIO", "1+")...)
		}
		if noticed := len(o.acknowledged) > 0; noticed != unsynced {
			t.Errorf("unsynced: %t, and %d operations were acknowledged while every sync failed: %s", unsynced, len(o.acknowledged), o.stderr)
		}
	}
}
