package badgerdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// BenchmarkLedger runs reserve + settle pairs from many clients that wait until both are on disk, with a key, a team and three
// budgets as requests have them: as many as they can, or at a rate, whose latencies begin when a pair was due. It reports the CPU time of the whole
// process per pair, and how long an acknowledgement takes.
func BenchmarkLedger(b *testing.B) {
	for _, accounts := range []int{1, 10_000} {
		for _, load := range []struct{ clients, rate int }{{64, 0}, {512, 0}, {512, 50_000}} {
			b.Run(fmt.Sprintf("accounts=%d/clients=%d/rate=%d", accounts, load.clients, load.rate), func(b *testing.B) {
				benchmarkLedger(b, accounts, load.clients, load.rate)
			})
		}
	}
}

func benchmarkLedger(b *testing.B, accounts, clients, rate int) {
	defer ShareProcessors()() // as a gateway does
	s := openStore(b, Config{})
	holds := make([]storage.Hold, accounts)
	var wg sync.WaitGroup
	for i := range holds {
		account, key := fmt.Sprintf("account-%05d", i), fmt.Sprintf("key_%016x", i)
		most := storage.Budget{Period: storage.PeriodMonth, Credits: 1 << 40}
		holds[i] = storage.Hold{Account: account, Amount: 1000, Expires: time.Now().Add(time.Hour), Key: key, Team: "team", Caps: []storage.Cap{
			{Spender: storage.SpenderKey + storage.Spender(key), Budget: most},
			{Spender: storage.SpenderAccount + storage.Spender(account), Budget: most},
			{Spender: storage.SpenderTeam + "team", Budget: most},
		}}
		wg.Go(func() { fund(b, s, account, 1<<40) })
	}
	wg.Wait()
	acknowledged := make([]time.Duration, 2*b.N)
	var next atomic.Int64
	cpu := cpuTime()
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	for range clients {
		wg.Go(func() {
			for {
				n := int(next.Add(1))
				if n > b.N {
					return
				}
				h := holds[n%accounts]
				h.Request = storagetest.NewRequest()
				began := time.Now()
				if rate > 0 {
					began = start.Add(time.Duration(n) * time.Second / time.Duration(rate))
					time.Sleep(time.Until(began))
				}
				held, err := s.Reserve(h)
				if err != nil || held.Wait() != nil {
					b.Error(err)
					return
				}
				middle := time.Now()
				_, settled, err := s.Settle(storage.Settlement{Request: h.Request, Charge: 700, Tier: 2, Reason: "ok"})
				if err != nil || settled.Wait() != nil {
					b.Error(err)
					return
				}
				acknowledged[2*n-2], acknowledged[2*n-1] = middle.Sub(began), time.Since(middle)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(acknowledged)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-us/pair")
	b.ReportMetric(float64(acknowledged[len(acknowledged)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(acknowledged[len(acknowledged)*99/100].Microseconds())/1000, "p99-ms")
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
