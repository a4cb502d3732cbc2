package badgerdb

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

func TestMeasureOpen(t *testing.T) {
	dir := os.Getenv("MEASURE_DIR")
	if dir == "" {
		t.Skip()
	}
	if _, err := os.Stat(dir + "/ledger"); err != nil {
		s := openStore(t, Config{Dir: dir})
		var last *storage.Batch
		for i := range 1000 {
			fund(t, s, fmt.Sprint("account-", i), 1<<40)
		}
		for i := range 500_000 {
			id := storagetest.NewRequest()
			s.Reserve(storage.Hold{Request: id, Account: fmt.Sprint("account-", i%1000), Amount: 1000, Expires: time.Now().Add(time.Hour)})
			_, last, _ = s.Settle(storage.Settlement{Request: id, Charge: 700, Reason: "ok"})
			if i%5000 == 0 {
				last.Wait()
			}
		}
		s.Close()
		rss(t, "after fill")
		return
	}
	rss(t, "start")
	began := time.Now()
	s := openStore(t, Config{Dir: dir})
	t.Log("open", time.Since(began))
	l := openLog(t, Config{Dir: dir})
	t.Log("both", time.Since(began))
	rss(t, "opened")
	time.Sleep(6 * time.Second)
	rss(t, "idle")
	s.Close()
	l.Close()
	began = time.Now()
	if err := Verify(dir, t.Output()); err != nil {
		t.Fatal(err)
	}
	t.Log("verify", time.Since(began))
	_ = io.Discard
}

func rss(t *testing.T, what string) {
	b, _ := os.ReadFile("/proc/self/status")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Log(what, "inuse", m.HeapInuse>>20, "alloc", m.HeapAlloc>>20, "idle", m.HeapIdle>>20, "released", m.HeapReleased>>20, "gcs", m.NumGC, "total", m.TotalAlloc>>20)
	if f, err := os.Create("/tmp/heap." + strings.ReplaceAll(what, " ", "_")); err == nil {
		pprof.WriteHeapProfile(f)
		f.Close()
	}
	for _, line := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") {
			t.Log(what, line)
		}
	}
}
