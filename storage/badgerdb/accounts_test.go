package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

func TestAccounts(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Config{Dir: dir})
	created := time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC)
	a := storage.Account{ID: "a", Tier: storage.TierFree, DefaultLevel: "eco", Created: created}
	b := storage.Account{ID: "b", Tier: storage.TierEnterprise, Created: created}
	for _, account := range []storage.Account{b, a} {
		if err := s.CreateAccount(account, 10); err != nil {
			t.Fatal(err)
		}
	}
	five, none := int64(5), int64(0)
	tier := uint8(3)
	a.Tier, a.Team, a.Overdraft, a.Disabled = storage.TierStarter, "red", 7, "unpaid"
	a.Limits = storage.Limits{RequestsPerMinute: &five, Concurrent: &none, Budgets: []storage.Budget{{Period: storage.PeriodDay, Tier: &tier, Credits: 9, Suspend: true}}}
	changed := a
	changed.Created = created.Add(time.Hour)
	if err := s.UpdateAccount(changed); err != nil {
		t.Fatal(err)
	}
	if err := s.UpdateAccount(storage.Account{ID: "c"}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("updating an unknown account gave %v", err)
	}
	check := func() {
		t.Helper()
		list, err := s.Accounts()
		if err != nil || !reflect.DeepEqual(list, []storage.Account{a, b}) {
			t.Errorf("accounts are %+v, %v", list, err)
		}
		if got, err := s.Account("a"); err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("account a is %+v, %v", got, err)
		}
		if _, err := s.Account("c"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("an unknown account gave %v", err)
		}
	}
	check()
	s.Close()
	s = openStore(t, Config{Dir: dir})
	check()
}

func TestVirtualKeys(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Config{Dir: dir})
	now := time.Now().UTC().Round(0)
	one := storage.VirtualKey{ID: "key_1", Account: "a", Name: "ci", Hint: "pm-…wxyz", Hash: [32]byte{1, 2}, Created: now}
	two := storage.VirtualKey{ID: "key_2", Account: "a", Created: now}
	for _, k := range []storage.VirtualKey{two, one} {
		if err := s.PutVirtualKey(k); err != nil {
			t.Fatal(err)
		}
	}
	one.Revoked, one.Scopes = now.Add(time.Minute), storage.Scopes{Models: []string{}, Tiers: []uint8{}, Policies: []string{"eco"}}
	two.Expires, two.Scopes = now.Add(time.Hour), storage.Scopes{Tiers: []uint8{0, 5}}
	if err := s.PutVirtualKey(one, two); err != nil {
		t.Fatal(err)
	}
	if err := s.PutVirtualKey(storage.VirtualKey{}); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("a key without an id gave %v", err)
	}
	for range 2 {
		keys, err := s.VirtualKeys()
		if err != nil || !reflect.DeepEqual(keys, []storage.VirtualKey{one, two}) {
			t.Errorf("keys are %+v, %v", keys, err)
		}
		s.Close()
		s = openStore(t, Config{Dir: dir})
	}
}

// manyKeys are keys in the order of their ids.
func manyKeys(n int) (keys []storage.VirtualKey) {
	created := time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC)
	for i := range n {
		k := storage.VirtualKey{ID: fmt.Sprintf("key_%016x", i), Account: fmt.Sprintf("account-%d", i), Name: "a key", Hint: "pm-…abcd", Created: created}
		binary.BigEndian.PutUint64(k.Hash[:], uint64(i))
		keys = append(keys, k)
	}
	return keys
}

// TestManyKeys: they are decoded side by side, and are all there, in their order.
func TestManyKeys(t *testing.T) {
	s := openStore(t, Config{Dir: t.TempDir()})
	keys := manyKeys(3000)
	if err := s.PutVirtualKey(keys...); err != nil {
		t.Fatal(err)
	}
	if got, err := s.VirtualKeys(); err != nil || !reflect.DeepEqual(got, keys) {
		t.Errorf("%d keys, %v", len(got), err)
	}
	if err := edit(s, func(txn *badger.Txn) error { return txn.Set([]byte("kkey_0000000000000200"), []byte(`{"id":5}`)) }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.VirtualKeys(); err == nil {
		t.Error("a record that cannot be read was not told of")
	}
}

func BenchmarkVirtualKeys(b *testing.B) {
	s, err := Open(Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for some := range slices.Chunk(manyKeys(100_000), 1000) {
		if err := s.PutVirtualKey(some...); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := s.VirtualKeys(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/100_000, "µs/key")
}

func TestTeams(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Config{Dir: dir})
	red := storage.Team{ID: "red", Name: "The red ones", Created: time.Now().UTC().Round(0), Limits: storage.Limits{Budgets: []storage.Budget{{Period: storage.PeriodMonth}}}}
	for _, team := range []storage.Team{red, {ID: "blue"}} {
		if err := s.PutTeam(team); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutTeam(storage.Team{ID: "Red"}); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("a team with an odd id gave %v", err)
	}
	if err := s.DeleteTeam("blue"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteTeam("blue"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("deleting it again gave %v", err)
	}
	for range 2 {
		if teams, err := s.Teams(); err != nil || !reflect.DeepEqual(teams, []storage.Team{red}) {
			t.Errorf("teams are %+v, %v", teams, err)
		}
		s.Close()
		s = openStore(t, Config{Dir: dir})
	}
}

func TestProviderKeys(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Config{Dir: dir})
	first := storage.ProviderKey{Account: "a", Provider: "openai", ID: "byok_1", Sealed: []byte{1}}
	second := storage.ProviderKey{Account: "a", Provider: "openai", ID: "byok_2", Version: 2, Sealed: []byte{2}}
	other := storage.ProviderKey{Account: "b", Provider: "openai", ID: "byok_3", Sealed: []byte{3}}
	for _, k := range []storage.ProviderKey{first, second, other} {
		if err := s.PutProviderKey(k); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutProviderKey(storage.ProviderKey{Account: "a", ID: "byok_4"}); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("a key without a provider gave %v", err)
	}
	check := func(want ...storage.ProviderKey) {
		t.Helper()
		for range 2 {
			keys, err := s.ProviderKeys()
			if err != nil || !reflect.DeepEqual(keys, want) {
				t.Errorf("keys are %+v, %v; want %+v", keys, err, want)
			}
			s.Close()
			s = openStore(t, Config{Dir: dir})
		}
	}
	check(second, other)
	if err := s.DeleteProviderKey("a", "openai"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteProviderKey("a", "openai"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("deleting it again gave %v", err)
	}
	check(other)
	if err := s.PutProviderKey(first); err != nil {
		t.Fatal(err)
	}
	check(first, other)
	s.Close()
	if err := s.PutProviderKey(first); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("storing into a closed store gave %v", err)
	}
}

// TestReconcileAfterMoreIsRetained: what the log has dropped does not come back when it is to keep its records for longer.
func TestReconcileAfterMoreIsRetained(t *testing.T) {
	dir := t.TempDir()
	clock := startClock(time.Now().Add(-20 * 24 * time.Hour))
	config := func(retain time.Duration) Config { return Config{Dir: dir, Clock: clock.now, Retain: retain} }
	s, l := openStore(t, config(7*24*time.Hour)), openLog(t, config(7*24*time.Hour))
	fund(t, s, "a", 1000)
	log := func() {
		t.Helper()
		l.Append(storage.LogRecord{Usage: storage.Usage{Request: charge(t, s, "a", 5), Account: "a", Outcome: storage.OutcomeOK, Credits: 5, Status: 200}})
		l.Flush()
	}
	log()
	clock.set(clock.now().Add(15 * 24 * time.Hour))
	log()
	if err := errors.Join(s.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, config(7*24*time.Hour)) // which tidies up
	l.Flush()
	for began := time.Now(); len(l.known()) > 1 && time.Since(began) < 10*time.Second; time.Sleep(time.Millisecond) {
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, l = openStore(t, config(30*24*time.Hour)), openLog(t, config(30*24*time.Hour))
	if n, err := Reconcile(s, l); err != nil || n != 0 || len(l.known()) != 1 {
		t.Errorf("%d records were added, %v; the log has the periods %v", n, err, l.known())
	}
}

// TestReconcile: what the ledger charged and the log lost gets a usage record, once.
func TestReconcile(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Config{Dir: dir})
	fund(t, s, "a", 1000)
	logged, lost := charge(t, s, "a", 5), charge(t, s, "a", 7)
	open := storage.Hold{Request: storage.RequestID{1}, Account: "a", Amount: 9, Expires: time.Now().Add(time.Hour)}
	copy(open.Request[:6], lost[:6])
	if _, err := s.Reserve(open); err != nil {
		t.Fatal(err)
	}
	s.Close()

	s = openStore(t, Config{Dir: dir})
	l := openLog(t, Config{Dir: dir})
	l.Append(storage.LogRecord{Usage: storage.Usage{Request: logged, Account: "a", Outcome: storage.OutcomeOK, Credits: 5, Status: 200}})
	for _, want := range []int{2, 0} {
		if n, err := Reconcile(s, l); err != nil || n != want {
			t.Fatalf("%d records were added, %v; want %d", n, err, want)
		}
	}
	for id, want := range map[storage.RequestID]storage.Usage{
		logged:       {Request: logged, Account: "a", Outcome: storage.OutcomeOK, Credits: 5, Status: 200},
		lost:         {Request: lost, Account: "a", Outcome: storage.OutcomeOK, Credits: 7},
		open.Request: {Request: open.Request, Account: "a", Outcome: storage.OutcomeInterrupted},
	} {
		if got, _, err := l.Find("a", id.String()); err != nil || got != want {
			t.Errorf("request %s has %+v, %v; want %+v", id, got, err, want)
		}
	}
}
