package badgerdb

import (
	"os"
	"runtime"
)

// ShareProcessors lets twice as many goroutines run as there are processors where the kernel takes no orders to synchronize files, or where
// there is one processor only, unless the environment says how many (GOMAXPROCS), and returns what undoes it. A process that serves calls it once.
//
// A goroutine that waits for the disk keeps one of the runtime's places until the runtime notices, and one that makes a table keeps another for
// 10 ms at a time: commits wait for them if there are no more. Where nobody waits for the disk in the kernel, more places than processors cost
// time. Figures are in RATIONALE.md.
func ShareProcessors() (undo func()) {
	before := runtime.GOMAXPROCS(0)
	if os.Getenv("GOMAXPROCS") != "" || before > 1 && syncsByOrder() {
		return func() {}
	}
	runtime.GOMAXPROCS(2 * before)
	return func() { runtime.GOMAXPROCS(before) }
}
