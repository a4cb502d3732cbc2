package badgerdb

import (
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// BenchmarkCommitBeside measures how long a settlement takes to be on disk for one of eight customers who ask without a pause: alone,
// beside a proof of the whole ledger at 5 % of a processor, and beside a backup, each repeated for as long as the benchmark runs.
func BenchmarkCommitBeside(b *testing.B) {
	for name, beside := range map[string]func(s *Store) error{
		"nothing": nil,
		"proof":   func(s *Store) error { s.proveNow(); return s.Halted() },
		"backup": func(s *Store) error {
			snapshot, err := s.Snapshot()
			if err != nil {
				return err
			}
			defer snapshot.Close()
			if _, err := snapshot.Copy(io.Discard); err != nil {
				return err
			}
			_, err = snapshot.Prove()
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			s := openStore(b, Config{})
			fund(b, s, "a", 1<<50)
			for range 50_000 {
				settleOne(b, s, false)
			}
			settleOne(b, s, true)
			stop := make(chan struct{})
			var other sync.WaitGroup
			if beside != nil {
				other.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							if err := beside(s); err != nil {
								b.Error(err)
								return
							}
						}
					}
				})
			}
			var mu sync.Mutex
			var waits []time.Duration
			b.SetParallelism(4)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				var mine []time.Duration
				for pb.Next() {
					began := time.Now()
					settleOne(b, s, true)
					mine = append(mine, time.Since(began))
				}
				mu.Lock()
				waits = append(waits, mine...)
				mu.Unlock()
			})
			b.StopTimer()
			close(stop)
			b.Cleanup(other.Wait)
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(waits[len(waits)-1].Microseconds()), "max-µs")
		})
	}
}

// BenchmarkProve measures a proof of a line, without rests.
func BenchmarkProve(b *testing.B) {
	s := openStore(b, Config{VerifyPercent: 100})
	fund(b, s, "a", 1<<50)
	for range b.N/2 + 1 {
		settleOne(b, s, false)
	}
	settleOne(b, s, true)
	b.ResetTimer()
	s.proveNow()
	if err := s.Halted(); err != nil {
		b.Fatal(err)
	}
}

// settleOne holds and settles, and waits for the disk if told to.
func settleOne(b *testing.B, s *Store, wait bool) {
	id := storagetest.NewRequest()
	if _, err := s.Reserve(storage.Hold{Request: id, Account: "a", Amount: 2, Expires: time.Now().Add(time.Hour)}); err != nil {
		b.Fatal(err)
	}
	_, batch, err := s.Settle(storage.Settlement{Request: id, Charge: 1, Reason: "ok"})
	if err == nil && wait {
		err = batch.Wait()
	}
	if err != nil {
		b.Fatal(err)
	}
}
