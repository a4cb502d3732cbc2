package badgerdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
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

// BenchmarkLog appends usage and decisions as a gateway does at 8,000 requests a second, and reports the CPU time of the
// whole process and the disk space of one request.
func BenchmarkLog(b *testing.B) {
	for _, accounts := range []int{1, 1000} {
		for _, clientIDs := range []bool{false, true} {
			b.Run(fmt.Sprintf("accounts=%d/clientids=%t", accounts, clientIDs), func(b *testing.B) {
				benchmarkLog(b, accounts, clientIDs)
			})
		}
	}
}

func benchmarkLog(b *testing.B, accounts int, clientIDs bool) {
	const appenders, burst, every = 4, 20, 10 * time.Millisecond
	l := openLog(b, Config{})
	names := make([]string, accounts)
	for i := range names {
		names[i] = fmt.Sprintf("account-%05d", i)
	}
	decision := bytes.Repeat([]byte("a decision's fixed part"), 5)
	var wg sync.WaitGroup
	cpu := cpuTime()
	b.ResetTimer()
	for w := range appenders {
		wg.Go(func() {
			for n := w; n < b.N; {
				for range burst {
					u := usageAt(time.Now(), n, names[rand.IntN(accounts)])
					u.InputTokens, u.OutputTokens, u.Credits = rand.Int64N(1000), rand.Int64N(2000), storage.Credits(rand.Int64N(10_000))
					u.TTFT, u.Latency = rand.N(time.Second), rand.N(10*time.Second)
					if !clientIDs {
						u.ClientID = ""
					}
					// The seed, the credits and the measured times of a decision differ from request to request.
					varying := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, rand.Uint64()), rand.Uint64())
					l.Append(storage.LogRecord{Usage: u, Decision: append(varying, decision...)})
					if n += appenders; n >= b.N {
						return
					}
				}
				time.Sleep(every)
			}
		})
	}
	wg.Wait()
	l.Flush()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N)/1e3, "cpu-us/record")
	l.Close()
	b.ReportMetric(float64(l.size())/float64(b.N), "disk-B/record")
	b.ReportMetric(float64(l.Dropped()), "dropped")
}

// cpuTime is the CPU time this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
