package badgerdb

import (
	"runtime"
	"testing"
)

// TestShareProcessors: a single processor is shared, and several are where syncs wait in the kernel; what was is put back.
func TestShareProcessors(t *testing.T) {
	t.Setenv("GOMAXPROCS", "")
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, processors := range []int{1, 2, 4} {
		runtime.GOMAXPROCS(processors)
		want := 2 * processors
		if processors > 1 && syncsByOrder() {
			want = processors
		}
		undo := ShareProcessors()
		if got := runtime.GOMAXPROCS(0); got != want {
			t.Errorf("%d processors have %d places, not %d", processors, got, want)
		}
		if undo(); runtime.GOMAXPROCS(0) != processors {
			t.Errorf("%d processors have %d places afterwards", processors, runtime.GOMAXPROCS(0))
		}
	}
	t.Setenv("GOMAXPROCS", "3")
	runtime.GOMAXPROCS(3)
	if ShareProcessors(); runtime.GOMAXPROCS(0) != 3 {
		t.Errorf("GOMAXPROCS=3 in the environment: %d places", runtime.GOMAXPROCS(0))
	}
}
