package directory

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/storage"
)

// BenchmarkMillion looks callers up and writes among a million accounts with a key each. The store costs nothing here.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	v, err := vault.New(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		b.Fatal(err)
	}
	m := &memory{teams: map[string]storage.Team{"red": {ID: "red"}}, virtual: map[string]storage.VirtualKey{}, own: map[[2]string]storage.ProviderKey{}}
	keys := make([][]byte, n)
	for i := range n {
		account, id := fmt.Sprintf("a%d", i), fmt.Sprintf("key_%016x", i)
		keys[i] = fmt.Appendf(nil, "pm-%070d", i)
		m.accounts = append(m.accounts, storage.Account{ID: account, Tier: "free", DefaultLevel: "eco", Team: "red"})
		m.virtual[id] = storage.VirtualKey{ID: id, Account: account, Hash: v.Hash(keys[i])}
	}
	began := time.Now()
	d, err := Open(m, m, m, v, Defaults{Tier: "free", Level: "eco"}, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("opened in %v", time.Since(began))
	find := func(b *testing.B, key []byte) {
		if c, ok := d.Caller(key); !ok || c.Account.ID == "" {
			b.Fatal("not found")
		}
	}
	for _, key := range keys { // who has called before has a caller that is made
		find(b, key)
	}
	b.Run("any key", func(b *testing.B) {
		b.ReportAllocs()
		r := rand.New(rand.NewPCG(1, 2))
		for b.Loop() {
			find(b, keys[r.IntN(n)])
		}
	})
	b.Run("any key in one map", func(b *testing.B) { // to compare with
		plain := make(map[[32]byte]*Caller, n)
		for _, key := range keys {
			plain[v.Hash(key)], _ = d.Caller(key)
		}
		r := rand.New(rand.NewPCG(1, 2))
		for b.Loop() {
			if c := plain[v.Hash(keys[r.IntN(n)])]; c == nil || c.Account.ID == "" {
				b.Fatal("not found")
			}
		}
	})
	b.Run("one key", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			find(b, keys[5])
		}
	})
	b.Run("hash", func(b *testing.B) {
		for b.Loop() {
			v.Hash(keys[5])
		}
	})
	b.Run("garbage collection", func(b *testing.B) { // of which the benchmark's own keys and records, and callers, are a part
		for b.Loop() {
			runtime.GC()
		}
	})
	b.Run("create key", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := d.CreateKey(storage.VirtualKey{Account: "a5"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("update team", func(b *testing.B) {
		for b.Loop() {
			if _, err := d.UpdateTeam("red", func(t *storage.Team) { t.Name = "Red" }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
