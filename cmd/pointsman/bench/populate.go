package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// callers is how many different keys a load uses at most.
const callers = 4096

// populate makes accounts with a key each in the site's data directory, before the gateway's first start, and remembers the keys of
// some that are spread over all of them.
func (s *site) populate(ctx context.Context, accounts int) (err error) {
	if err := os.MkdirAll(s.dataDir(), 0o700); err != nil {
		return err
	}
	v, err := vault.Open(vault.Config{Dir: s.dataDir(), Fresh: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	store, err := badgerdb.Open(badgerdb.Config{Dir: s.dataDir()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	id := func(i int) string { return fmt.Sprintf("account-%07d", i) }
	err = createAccounts(ctx, store, accounts, func(i int) storage.Account {
		return storage.Account{ID: id(i), Tier: storage.TierEnterprise, DefaultLevel: "balanced"}
	})
	if err != nil {
		return err
	}
	every := max(accounts/callers, 1)
	const batch = 1000
	for first := 0; first < accounts; first += batch {
		var keys []storage.VirtualKey
		for i := first; i < min(first+batch, accounts); i++ {
			key := vault.NewVirtualKey()
			keys = append(keys, storage.VirtualKey{
				ID: vault.NewID("key_"), Account: id(i), Hint: "pm-…" + key[len(key)-4:], Hash: v.Hash([]byte(key)), Created: time.Now().UTC(),
			})
			if i%every == 0 && len(s.keys) < callers {
				s.keys = append(s.keys, key)
			}
		}
		if err := errors.Join(ctx.Err(), store.PutVirtualKey(keys...)); err != nil {
			return err
		}
	}
	return nil
}

// fillLog writes usage of the last 20 days into the site's log, before the gateway's first start.
func (s *site) fillLog(ctx context.Context, rows int) (err error) {
	const days, flushEvery = 20, 4096
	end := time.Now().Add(-time.Minute)
	begin := end.AddDate(0, 0, -days)
	var now atomic.Int64
	now.Store(begin.UnixNano())
	if err := os.MkdirAll(s.dataDir(), 0o700); err != nil {
		return err
	}
	l, err := badgerdb.OpenLog(badgerdb.Config{Dir: s.dataDir(), Clock: func() time.Time { return time.Unix(0, now.Load()) }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	random := rand.New(rand.NewPCG(5, 6))
	for i := range rows {
		at := begin.Add(time.Duration(float64(end.Sub(begin)) * float64(i) / float64(rows)))
		if i%flushEvery == 0 {
			l.Flush()
			if err := ctx.Err(); err != nil {
				return err
			}
			now.Store(at.UnixNano())
		}
		l.Append(madeUp(random, at, i))
	}
	l.Flush()
	if n := l.Dropped(); n > 0 {
		return fmt.Errorf("the log dropped %d of %d records", n, rows)
	}
	return nil
}

// madeUp is the record of a request like those of a busy gateway.
func madeUp(random *rand.Rand, at time.Time, n int) storage.LogRecord {
	u := storage.Usage{
		Account: fmt.Sprintf("account-%04d", random.IntN(200)), Key: fmt.Sprintf("key_%016x", random.IntN(500)), Model: fmt.Sprint("model-", random.IntN(9)),
		Provider: fmt.Sprint("provider-", random.IntN(5)), PowerLevel: "balanced", Policy: "balanced", Endpoint: "chat", Stream: true,
		Outcome: storage.OutcomeOK, Status: 200, Attempts: 1, InputTokens: random.Int64N(4000), OutputTokens: random.Int64N(900),
		Credits: storage.Credits(random.Int64N(90_000)), CostUSD: storage.NanoUSD(random.Int64N(9e6)), PriceVersion: "0123456789abcdef",
		TTFT: time.Duration(100+random.Int64N(900)) * time.Millisecond, Latency: time.Duration(1000+random.Int64N(9000)) * time.Millisecond, Overhead: 61 * time.Microsecond,
	}
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(u.Request[:6], ms[2:])
	binary.BigEndian.PutUint32(u.Request[6:], uint32(n)) // the order within a millisecond
	decision := binary.BigEndian.AppendUint64(nil, random.Uint64())
	return storage.LogRecord{Usage: u, Decision: append(decision, bytes.Repeat([]byte("a decision's fixed part "), 3)...)}
}
