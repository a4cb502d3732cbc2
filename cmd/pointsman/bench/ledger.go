package bench

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// Ledger is how many pairs of a hold and its settlement the ledger writes when it does nothing else, in this process. Every
// client waits until both are on disk.
type Ledger struct {
	Accounts  int     `json:"accounts"`
	Clients   int     `json:"clients"`
	PerSecond float64 `json:"pairs_per_second"`
	CPUMicros float64 `json:"cpu_micros_per_pair"` // of the whole process
	P50MS     float64 `json:"p50_ms"`              // until one of the two is on disk
	P99MS     float64 `json:"p99_ms"`
	BestP99MS float64 `json:"best_p99_ms"` // of the round in which it was least
}

func (r *runner) measureLedger(ctx context.Context) (rows []Ledger, err error) {
	defer badgerdb.ShareProcessors()() // as a gateway does
	kinds := []Ledger{{Accounts: 1, Clients: 64}, {Accounts: 1, Clients: 512}, {Accounts: 10_000, Clients: 64}, {Accounts: 10_000, Clients: 512}}
	turns := make([][]Ledger, len(kinds))
	for round := range r.Rounds {
		r.say("ledger %d of %d", round+1, r.Rounds)
		for i, kind := range kinds {
			row, err := ledgerPairs(ctx, filepath.Join(r.newSite(), "data"), kind.Accounts, kind.Clients, r.WarmUp, r.Duration)
			if err != nil {
				return nil, fmt.Errorf("measuring the ledger: %w", err)
			}
			turns[i] = append(turns[i], row)
		}
	}
	for _, of := range turns {
		slices.SortFunc(of, func(a, b Ledger) int { return cmp.Compare(a.P99MS, b.P99MS) })
		row := of[len(of)/2]
		row.BestP99MS = of[0].P99MS
		rows = append(rows, row)
	}
	return rows, nil
}

func ledgerPairs(ctx context.Context, dir string, accounts, clients int, warmUp, lasting time.Duration) (row Ledger, err error) {
	store, err := badgerdb.Open(badgerdb.Config{Dir: dir})
	if err != nil {
		return row, err
	}
	defer store.Close() //nolint:errcheck // its directory is removed
	holds := make([]storage.Hold, accounts)
	for i := range holds {
		account, key := fmt.Sprintf("account-%05d", i), fmt.Sprintf("key_%016x", i)
		most := storage.Budget{Period: storage.PeriodMonth, Credits: 1 << 40}
		holds[i] = storage.Hold{Account: account, Amount: 1000, Expires: time.Now().Add(time.Hour), Key: key, Team: "team", Caps: []storage.Cap{
			{Spender: storage.SpenderKey + storage.Spender(key), Budget: most},
			{Spender: storage.SpenderAccount + storage.Spender(account), Budget: most},
			{Spender: storage.SpenderTeam + "team", Budget: most},
		}}
	}
	if err := createAccounts(ctx, store, accounts, func(i int) storage.Account {
		return storage.Account{ID: holds[i].Account, Tier: storage.TierEnterprise}
	}); err != nil {
		return row, err
	}
	var next atomic.Int64
	taken := make([][]time.Duration, clients)
	pairs := func(until time.Time, taken *[]time.Duration) error {
		began := time.Now()
		for ctx.Err() == nil && began.Before(until) {
			h := holds[int(next.Add(1))%accounts]
			binary.BigEndian.PutUint64(h.Request[:], uint64(began.UnixMilli())<<16) // ids are in the order of time, as the gateway's
			binary.BigEndian.PutUint64(h.Request[8:], rand.Uint64())
			held, err := store.Reserve(h)
			if err == nil {
				err = held.Wait()
			}
			if err != nil {
				return err
			}
			middle := time.Now()
			_, settled, err := store.Settle(storage.Settlement{Request: h.Request, Charge: 700, Tier: 2, Reason: "ok"})
			if err == nil {
				err = settled.Wait()
			}
			if err != nil {
				return err
			}
			end := time.Now()
			*taken = append(*taken, middle.Sub(began), end.Sub(middle))
			began = end
		}
		return ctx.Err()
	}
	began := time.Now()
	if err := together(clients, func(int) error { return pairs(began.Add(warmUp), new([]time.Duration)) }); err != nil {
		return row, err
	}
	cpu, began := ownCPU(), time.Now()
	if err := together(clients, func(i int) error { return pairs(began.Add(lasting), &taken[i]) }); err != nil {
		return row, err
	}
	elapsed, spent := time.Since(began), ownCPU()-cpu
	all := slices.Concat(taken...)
	slices.Sort(all)
	return Ledger{
		Accounts: accounts, Clients: clients, PerSecond: float64(len(all)/2) / elapsed.Seconds(), CPUMicros: perUnit(spent, len(all)/2),
		P50MS: milliseconds(percentile(all, 50)), P99MS: milliseconds(percentile(all, 99)),
	}, nil
}

// createAccounts makes n accounts with more credits than they will use.
func createAccounts(ctx context.Context, store *badgerdb.Store, n int, account func(i int) storage.Account) error {
	var next atomic.Int64
	each := storage.Credits(1_000_000_000_000/max(n, 1000)) * storage.CreditsPerCredit // all together must not overflow
	return together(min(n, 2048), func(int) error {                                    // as many as go into one commit
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := store.CreateAccount(account(i), each); err != nil {
				return err
			}
		}
	})
}

// together runs n goroutines and returns the first error of any.
func together(n int, run func(i int) error) (first error) {
	var once sync.Once
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := run(i); err != nil {
				once.Do(func() { first = err })
			}
		})
	}
	all.Wait()
	return first
}

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) //nolint:errcheck // it cannot fail for the own process
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
