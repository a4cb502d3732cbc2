package badgerdb

import (
	"os"
	"runtime"
)

// ShareProcessors lets twice as many goroutines run as there are processors, unless the environment says how many (GOMAXPROCS), and returns
// what undoes it. A process that serves calls it once.
//
// A goroutine that waits for the disk, or for a page of a mapped file, keeps one of the runtime's places until the runtime notices, and one
// that makes a table keeps it for 10 ms at a time: with two places and two of those, commits wait. The kernel divides processors more finely.
// Figures are in RATIONALE.md.
func ShareProcessors() (undo func()) {
	if os.Getenv("GOMAXPROCS") != "" {
		return func() {}
	}
	before := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(2 * before)
	return func() { runtime.GOMAXPROCS(before) }
}
