package badgerdb

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// BenchmarkLedger runs reserve + settle pairs from many clients that wait until both are on disk. It reports the CPU time
// of the whole process per pair.
func BenchmarkLedger(b *testing.B) {
	for _, accounts := range []int{1, 10_000} {
		for _, clients := range []int{64, 512} {
			b.Run(fmt.Sprintf("accounts=%d/clients=%d", accounts, clients), func(b *testing.B) {
				benchmarkLedger(b, accounts, clients)
			})
		}
	}
}

func benchmarkLedger(b *testing.B, accounts, clients int) {
	s := openStore(b, Config{})
	ids := make([]string, accounts)
	var wg sync.WaitGroup
	for i := range ids {
		ids[i] = fmt.Sprintf("account-%05d", i)
		wg.Go(func() { fund(b, s, ids[i], 1<<40) })
	}
	wg.Wait()
	expires := time.Now().Add(time.Hour)
	var next atomic.Int64
	cpu := cpuTime()
	b.ReportAllocs()
	b.ResetTimer()
	for range clients {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				id := storagetest.NewRequest()
				held, err := s.Reserve(storage.Hold{Request: id, Account: ids[n%int64(accounts)], Amount: 1000, Expires: expires})
				if err != nil || held.Wait() != nil {
					b.Error(err)
					return
				}
				_, settled, err := s.Settle(storage.Settlement{Request: id, Charge: 700, Reason: "ok"})
				if err != nil || settled.Wait() != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-us/pair")
}

// cpuTime is the CPU time this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
