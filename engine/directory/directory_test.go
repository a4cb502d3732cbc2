package directory

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/storage"
)

// memory is a store that can be told to fail.
type memory struct {
	fail     error
	accounts []storage.Account
	teams    map[string]storage.Team
	virtual  map[string]storage.VirtualKey
	own      map[[2]string]storage.ProviderKey
}

func (m *memory) CreateAccount(a storage.Account, _ storage.Credits) error {
	if m.fail == nil {
		m.accounts = append(m.accounts, a)
	}
	return m.fail
}

func (m *memory) Accounts() ([]storage.Account, error) { return m.accounts, m.fail }

func (m *memory) UpdateAccount(a storage.Account) error {
	if m.fail == nil {
		m.accounts[slices.IndexFunc(m.accounts, func(b storage.Account) bool { return a.ID == b.ID })] = a
	}
	return m.fail
}

func (m *memory) PutTeam(t storage.Team) error {
	if m.fail == nil {
		m.teams[t.ID] = t
	}
	return m.fail
}

func (m *memory) DeleteTeam(id string) error {
	if m.fail == nil {
		delete(m.teams, id)
	}
	return m.fail
}

func (m *memory) Teams() ([]storage.Team, error) { return slices.Collect(maps.Values(m.teams)), m.fail }

func (m *memory) PutVirtualKey(keys ...storage.VirtualKey) error {
	for _, k := range keys {
		if m.fail == nil {
			m.virtual[k.ID] = k
		}
	}
	return m.fail
}

func (m *memory) VirtualKeys() (out []storage.VirtualKey, err error) {
	for _, k := range m.virtual {
		out = append(out, k)
	}
	return out, m.fail
}

func (m *memory) PutProviderKey(k storage.ProviderKey) error {
	if m.fail == nil {
		m.own[[2]string{k.Account, k.Provider}] = k
	}
	return m.fail
}

func (m *memory) DeleteProviderKey(account, provider string) error {
	if m.fail == nil {
		delete(m.own, [2]string{account, provider})
	}
	return m.fail
}

func (m *memory) ProviderKeys() (out []storage.ProviderKey, err error) {
	for _, k := range m.own {
		out = append(out, k)
	}
	return out, m.fail
}

func open(t *testing.T) (*Directory, *memory, func() *Directory) {
	t.Helper()
	v, err := vault.New(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{teams: map[string]storage.Team{}, virtual: map[string]storage.VirtualKey{}, own: map[[2]string]storage.ProviderKey{}}
	reopen := func() *Directory {
		d, err := Open(m, m, m, v, Defaults{Credits: 1000 * storage.CreditsPerCredit, Tier: storage.TierEnterprise, Level: "balanced"}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return reopen(), m, reopen
}

func TestKeysFindTheirAccountAlsoAfterARestart(t *testing.T) {
	d, _, reopen := open(t)
	if _, err := d.CreateAccount(storage.Account{ID: "alice"}); err != nil {
		t.Fatal(err)
	}
	k, text, err := d.CreateKey(storage.VirtualKey{Account: "alice", Name: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Directory{d, reopen()} {
		c, ok := d.Caller([]byte(text))
		if !ok || c.Account.ID != "alice" || c.KeyID != k.ID || c.Account.DefaultLevel != "balanced" {
			t.Fatalf("%+v, %v", c, ok)
		}
		if _, ok := d.Caller([]byte(text + "x")); ok {
			t.Fatal("another key was accepted")
		}
	}
	if err := d.RevokeKey(k.ID); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Directory{d, reopen()} {
		if _, ok := d.Caller([]byte(text)); ok {
			t.Fatal("a revoked key was accepted")
		}
	}
}

func TestNothingChangesWhenTheStoreFails(t *testing.T) {
	d, m, _ := open(t)
	if _, err := d.CreateAccount(storage.Account{ID: "alice"}); err != nil {
		t.Fatal(err)
	}
	k, text, err := d.CreateKey(storage.VirtualKey{Account: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	m.fail = errors.New("disk on fire")
	if _, err := d.CreateAccount(storage.Account{ID: "bob"}); err == nil {
		t.Error("account created")
	}
	if _, _, err := d.CreateKey(storage.VirtualKey{Account: "alice"}); err == nil {
		t.Error("key created")
	}
	if err := d.RevokeKey(k.ID); err == nil {
		t.Error("key revoked")
	}
	if _, err := d.SetOwnKey("alice", "openai", "sk-1234567890"); err == nil {
		t.Error("own key stored")
	}
	if c, ok := d.Caller([]byte(text)); !ok || c.HasOwnKeys() || len(d.Accounts()) != 1 || len(d.Keys("")) != 1 {
		t.Error("memory changed although the store did not")
	}
}

func TestOwnKeysReachCallersAndLeaveThem(t *testing.T) {
	d, _, _ := open(t)
	d.CreateAccount(storage.Account{ID: "alice"}) //nolint:errcheck // the look-ups below would fail
	_, text, _ := d.CreateKey(storage.VirtualKey{Account: "alice"})
	before, _ := d.Caller([]byte(text))
	first, err := d.SetOwnKey("alice", "openai", "sk-1234567890")
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.SetOwnKey("alice", "openai", "sk-0987654321")
	if err != nil || second.Version != 2 {
		t.Fatalf("version %d, %v", second.Version, err)
	}
	c, _ := d.Caller([]byte(text))
	if before.HasOwnKeys() || c.OwnKey("openai") == nil || c.OwnKey("groq") != nil {
		t.Fatal("own keys are not where they belong")
	}
	if k, key, err := d.OpenOwnKey("alice", "openai"); err != nil || k.ID != second.ID || key.Reveal() != "sk-0987654321" {
		t.Fatalf("%q, %v", key.Reveal(), err)
	}
	if _, err := d.vault.Unseal(&first); err == nil {
		t.Fatal("the replaced key still opens")
	}
	kept := *c.OwnKey("openai") // as a copy of the store would have it
	if id, err := d.DeleteOwnKey("alice", "openai"); err != nil || id != kept.ID {
		t.Fatal(err)
	}
	if _, err := d.vault.Unseal(&kept); err == nil {
		t.Fatal("the deleted key still opens")
	}
	if c, _ := d.Caller([]byte(text)); c.HasOwnKeys() {
		t.Fatal("a deleted key is still there")
	}
	if _, err := d.DeleteOwnKey("alice", "openai"); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("deleting twice: %v", err)
	}
}

func TestBadInputIsNamed(t *testing.T) {
	d, _, _ := open(t)
	for id, want := range map[string]error{"": ErrID, "Alice": ErrID, "a/b": ErrID, "-a": ErrID} {
		if _, err := d.CreateAccount(storage.Account{ID: id}); !errors.Is(err, want) {
			t.Errorf("id %q: %v", id, err)
		}
	}
	if _, err := d.CreateAccount(storage.Account{ID: "a", Tier: "gold"}); !errors.Is(err, ErrTier) {
		t.Errorf("tier: %v", err)
	}
	if _, err := d.CreateAccount(storage.Account{ID: "a", DefaultLevel: "custom"}); !errors.Is(err, ErrLevel) {
		t.Errorf("level: %v", err)
	}
	for _, key := range []string{"", "a b", "a\r\nb", "schlüssel", string(bytes.Repeat([]byte("x"), 5000)), "Bearer sk-1"} {
		if _, err := d.SetOwnKey("a", "openai", key); !errors.Is(err, ErrProviderKey) {
			t.Errorf("key %.20q: %v", key, err)
		}
	}
	if _, _, err := d.CreateKey(storage.VirtualKey{Account: "nobody"}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("key for nobody: %v", err)
	}
}
