package directory

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// made makes an account in a team, with a key, and returns the key's text and id.
func made(t *testing.T, d *Directory) (text, id string) {
	t.Helper()
	_, teamErr := d.CreateTeam(storage.Team{ID: "red"})
	_, accountErr := d.CreateAccount(storage.Account{ID: "alice", Team: "red"})
	k, text, keyErr := d.CreateKey(storage.VirtualKey{Account: "alice", Name: "ci", Scopes: storage.Scopes{Models: []string{"m"}}})
	if err := errors.Join(teamErr, accountErr, keyErr); err != nil {
		t.Fatal(err)
	}
	return text, k.ID
}

func caller(t *testing.T, d *Directory, text string) *Caller {
	t.Helper()
	c, ok := d.Caller([]byte(text))
	if !ok {
		t.Fatal("the key is not known")
	}
	return c
}

func TestChangesReachCallers(t *testing.T) {
	d, _, reopen := open(t)
	text, id := made(t, d)
	before := caller(t, d, text)
	if again := caller(t, d, text); again != before {
		t.Error("the same caller was made twice")
	}
	_, moreErr := d.CreateTeam(storage.Team{ID: "blue"})
	_, teamErr := d.UpdateTeam("blue", func(t *storage.Team) { t.Disabled, t.ID, t.Created = "closed", "green", time.Time{} })
	_, accountErr := d.UpdateAccount("alice", func(a *storage.Account) { a.Team, a.Tier, a.ID = "blue", storage.TierFree, "bob" })
	_, keyErr := d.UpdateKey(id, func(k *storage.VirtualKey) { k.Disabled, k.Account, k.Hash = "lost", "bob", [32]byte{} })
	if err := errors.Join(moreErr, teamErr, accountErr, keyErr); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Directory{d, reopen()} {
		c := caller(t, d, text)
		if c.Team.ID != "blue" || c.Team.Disabled != "closed" || c.Team.Created.IsZero() || c.Account.ID != "alice" || c.Account.Tier != storage.TierFree ||
			c.Key.Disabled != "lost" || c.Key.Account != "alice" {
			t.Errorf("%+v %+v %+v", c.Team, c.Account, c.Key)
		}
		if _, n, err := d.Team("blue"); err != nil || n != 1 {
			t.Errorf("team blue has %d accounts, %v", n, err)
		}
		if _, n, err := d.Team("red"); err != nil || n != 0 {
			t.Errorf("team red has %d accounts, %v", n, err)
		}
	}
	if before.Team.ID != "red" || before.Key.Disabled != "" {
		t.Error("a caller changed under way")
	}
	if err := d.DeleteTeam("blue"); !errors.Is(err, ErrTeamInUse) {
		t.Errorf("a team with accounts was deleted: %v", err)
	}
	if err := d.DeleteTeam("red"); err != nil {
		t.Error(err)
	}
	if _, err := d.UpdateAccount("alice", func(a *storage.Account) { a.Team = "red" }); !errors.Is(err, ErrTeam) {
		t.Errorf("moved to a team that is gone: %v", err)
	}
	if _, err := d.UpdateAccount("alice", func(a *storage.Account) { a.Team = "" }); err != nil || caller(t, d, text).Team != nil {
		t.Errorf("it is still in a team: %v", err)
	}
}

func TestRotation(t *testing.T) {
	d, _, reopen := open(t)
	_, id := made(t, d)
	if _, err := d.UpdateKey(id, func(k *storage.VirtualKey) { k.Expires = k.Created.Add(72 * time.Hour) }); err != nil {
		t.Fatal(err)
	}
	first := id
	for range 2 { // a row of rotations spends as one
		next, text, err := d.RotateKey(id, 24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []*Directory{d, reopen()} {
			old, err := d.Key(id)
			if err != nil || old.Expires.Sub(next.Created) != 24*time.Hour {
				t.Errorf("the old key expires at %v, %v", old.Expires, err)
			}
			c := caller(t, d, text)
			if c.Key.Replaces != id || c.Key.SpendsAs() != first || c.Key.Account != "alice" || c.Key.Name != "ci" ||
				!reflect.DeepEqual(c.Key.Scopes, old.Scopes) || next.Expires.Sub(next.Created) != 72*time.Hour {
				t.Errorf("%+v", c.Key)
			}
		}
		id = next.ID
	}
	for _, want := range []bool{true, false} {
		if done, err := d.Suspend(storage.Spender(storage.SpenderKey+first), always, "used up"); err != nil || done != want {
			t.Fatal(done, err)
		}
	}
	for _, k := range d.Keys("alice") {
		if k.Disabled != "used up" {
			t.Errorf("key %s is not suspended", k.ID)
		}
	}
	if err := d.RevokeKey(id); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.RotateKey(id, 0); !errors.Is(err, ErrRevoked) {
		t.Errorf("a revoked key was rotated: %v", err)
	}
	if _, err := d.UpdateKey(id, func(*storage.VirtualKey) {}); !errors.Is(err, ErrRevoked) {
		t.Errorf("a revoked key was changed: %v", err)
	}
}

func TestSuspendAccountAndTeam(t *testing.T) {
	d, m, _ := open(t)
	text, _ := made(t, d)
	m.fail = errors.New("disk on fire")
	for _, s := range []storage.Spender{"a:alice", "t:red", "k:" + storage.Spender(caller(t, d, text).KeyID)} {
		if _, err := d.Suspend(s, always, "used up"); !errors.Is(err, m.fail) {
			t.Errorf("%s: %v", s, err)
		}
	}
	if c := caller(t, d, text); c.Account.Disabled+c.Team.Disabled+c.Key.Disabled != "" {
		t.Error("memory changed although the store did not")
	}
	m.fail = nil
	for _, want := range []bool{true, false} {
		for _, s := range []storage.Spender{"a:alice", "t:red"} {
			if done, err := d.Suspend(s, always, "used up"); err != nil || done != want {
				t.Fatal(s, done, err)
			}
		}
	}
	if c := caller(t, d, text); c.Account.Disabled != "used up" || c.Team.Disabled != "used up" {
		t.Errorf("%+v %+v", c.Account, c.Team)
	}
	for s, want := range map[storage.Spender]error{"a:bob": storage.ErrNotFound, "t:blue": storage.ErrNotFound, "k:key_1": storage.ErrNotFound, "x": storage.ErrInvalid} {
		if _, err := d.Suspend(s, always, ""); !errors.Is(err, want) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// TestRandomChanges makes many changes and holds every look-up, also of a directory that loads them, to what was changed last.
func TestRandomChanges(t *testing.T) {
	d, _, reopen := open(t)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 3 {
		d.CreateTeam(storage.Team{ID: fmt.Sprintf("t%d", i)}) //nolint:errcheck // the look-ups below would fail
	}
	type key struct{ text, id, account string }
	var keys []key
	teamOf, nameOf, gone := map[string]string{}, map[string]string{}, map[string]bool{}
	for i := range 2000 {
		account, team := fmt.Sprintf("a%d", r.IntN(20)), fmt.Sprintf("t%d", r.IntN(3))
		var err error
		switch _, known := teamOf[account]; {
		case !known:
			_, err = d.CreateAccount(storage.Account{ID: account, Team: team})
			teamOf[account] = team
		case r.IntN(3) == 0:
			_, err = d.UpdateAccount(account, func(a *storage.Account) { a.Team = team })
			teamOf[account] = team
		case r.IntN(2) == 0 || len(keys) == 0:
			k, text, made := d.CreateKey(storage.VirtualKey{Account: account})
			keys, err = append(keys, key{text, k.ID, account}), made
		default:
			k := keys[r.IntN(len(keys))]
			if r.IntN(4) == 0 {
				gone[k.id], err = true, d.RevokeKey(k.id)
			} else if !gone[k.id] {
				nameOf[k.id] = fmt.Sprint(i)
				_, err = d.UpdateKey(k.id, func(v *storage.VirtualKey) { v.Name = nameOf[k.id] })
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if i%100 != 99 {
			continue
		}
		for _, d := range []*Directory{d, reopen()} {
			for _, k := range keys {
				c, ok := d.Caller([]byte(k.text))
				if ok == gone[k.id] || ok && (c.Account.ID != k.account || c.Team.ID != teamOf[k.account] || c.Key.Name != nameOf[k.id]) {
					t.Fatalf("key %+v gave %+v, %v", k, c, ok)
				}
			}
			if n := len(d.Keys("")); n != len(keys) {
				t.Fatalf("%d keys are listed of %d", n, len(keys))
			}
		}
	}
}

// Readers see a change as soon as the write has returned, and never a mixture.
func TestReadersDuringWrites(t *testing.T) {
	d, _, _ := open(t)
	text, id := made(t, d)
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c, ok := d.Caller([]byte(text))
				if !ok || c.KeyID != c.Key.ID || c.Key.ID != id || c.Team == nil {
					t.Error("a mixture")
					return
				}
			}
		})
	}
	for i := range 500 {
		name := fmt.Sprint(i)
		_, teamErr := d.UpdateTeam("red", func(t *storage.Team) { t.Name = name })
		_, keyErr := d.UpdateKey(id, func(k *storage.VirtualKey) { k.Name = name })
		if c := caller(t, d, text); teamErr != nil || keyErr != nil || c.Team.Name != name || c.Key.Name != name {
			t.Fatal("a change did not show", teamErr, keyErr)
		}
	}
	close(done)
	wg.Wait()
}

func always([]storage.Budget) bool { return true }

// Nobody is disabled for a budget that is there no more.
func TestSuspendByBudgetsOfNow(t *testing.T) {
	d, _, _ := open(t)
	text, _ := made(t, d)
	budgets := []storage.Budget{{Period: storage.PeriodDay, Credits: 200, Suspend: true}}
	if _, err := d.UpdateAccount("alice", func(a *storage.Account) { a.Limits.Budgets = budgets }); err != nil {
		t.Fatal(err)
	}
	for _, s := range []storage.Spender{"a:alice", "t:red", "k:" + storage.Spender(caller(t, d, text).KeyID)} {
		seen := 0
		if done, err := d.Suspend(s, func(now []storage.Budget) bool { seen = len(now); return false }, "used up"); err != nil || done {
			t.Errorf("%s: %v, %v", s, done, err)
		}
		if want := map[storage.Spender]int{"a:alice": 1}[s]; seen != want {
			t.Errorf("%s: asked about %d budgets, not %d", s, seen, want)
		}
	}
	if c := caller(t, d, text); c.Account.Disabled+c.Team.Disabled+c.Key.Disabled != "" {
		t.Error("somebody is disabled")
	}
}
