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
	records := make([]storage.LogRecord, b.N)
	for i := range records {
		records[i] = loadRecord(i, names[rand.IntN(accounts)], clientIDs)
	}
	load := func(append func(storage.LogRecord)) time.Duration {
		var wg sync.WaitGroup
		cpu := cpuTime()
		for w := range appenders {
			wg.Go(func() {
				for own := records[len(records)*w/appenders : len(records)*(w+1)/appenders]; len(own) > 0; {
					for i := range own[:min(burst, len(own))] {
						now := uint64(time.Now().UnixMilli())
						binary.BigEndian.PutUint32(own[i].Usage.Request[:], uint32(now>>16))
						binary.BigEndian.PutUint16(own[i].Usage.Request[4:], uint16(now))
						append(own[i])
					}
					own = own[min(burst, len(own)):]
					time.Sleep(every)
				}
			})
		}
		wg.Wait()
		return cpuTime() - cpu
	}
	without := load(func(storage.LogRecord) {}) // what the load itself costs, mostly in sleeping
	b.ResetTimer()
	with := load(l.Append)
	cpu := cpuTime()
	l.Flush()
	with += cpuTime() - cpu
	b.StopTimer()
	b.ReportMetric(float64((with-without).Nanoseconds())/float64(b.N)/1e3, "cpu-us/record")
	l.Close()
	b.ReportMetric(float64(l.Size())/float64(b.N), "disk-B/record")
	b.ReportMetric(float64(l.Dropped()), "dropped")
}

// loadRecord is what a gateway logs of a request: what is measured or random differs from request to request.
func loadRecord(n int, account string, clientID bool) storage.LogRecord {
	u := usageAt(time.Now(), n, account)
	u.InputTokens, u.OutputTokens, u.Credits = rand.Int64N(1000), rand.Int64N(2000), storage.Credits(rand.Int64N(10_000))
	u.TTFT, u.Latency = rand.N(time.Second), rand.N(10*time.Second)
	if !clientID {
		u.ClientID = ""
	}
	decision := binary.BigEndian.AppendUint64(nil, rand.Uint64()) // the seed
	decision = binary.AppendUvarint(decision, rand.Uint64N(1<<40))
	return storage.LogRecord{Usage: u, Decision: append(decision, bytes.Repeat([]byte("a decision's fixed part"), 5)...)}
}

// cpuTime is the CPU time this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
