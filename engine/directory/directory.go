// Package directory answers who is calling: accounts, their teams, their virtual keys and their own provider keys, held in
// memory for the request path and written through to the store for keeps.
//
// Looking up a caller takes no lock and allocates nothing. Writes are rare and one at a time: they go to the store first, and
// then change what is affected and nothing else, so that they cost the same with ten accounts and with a million.
package directory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/slab"
)

// Accounts is the part of the store that keeps accounts. CreateAccount writes the account and its opening credits in one
// transaction.
type Accounts interface {
	CreateAccount(a storage.Account, opening storage.Credits) error
	UpdateAccount(a storage.Account) error
	Accounts() ([]storage.Account, error)
}

// Teams is the part of the store that keeps teams.
type Teams interface {
	PutTeam(t storage.Team) error
	DeleteTeam(id string) error
	Teams() ([]storage.Team, error)
}

// Keys is the part of the store that keeps keys. PutVirtualKey writes all of its keys or none.
type Keys interface {
	PutVirtualKey(keys ...storage.VirtualKey) error
	VirtualKeys() ([]storage.VirtualKey, error)
	PutProviderKey(k storage.ProviderKey) error
	DeleteProviderKey(account, provider string) error
	ProviderKeys() ([]storage.ProviderKey, error)
}

// Errors of the directory, beside those of storage.
var (
	// ErrID: the id of an account or a team is not of the form [a-z0-9][a-z0-9._-]{0,63}.
	ErrID = errors.New("id must be 1 to 64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit")
	// ErrTier: no such account tier.
	ErrTier = errors.New("tier must be free, starter, professional or enterprise")
	// ErrLevel: no such power level, or custom, which needs a model and so is no default.
	ErrLevel = errors.New("default_power_level must be eco, balanced or precision")
	// ErrTeam: no such team.
	ErrTeam = errors.New("team must be the id of a team")
	// ErrTeamInUse: a team that has accounts cannot be deleted.
	ErrTeamInUse = errors.New("the team has accounts")
	// ErrRevoked: a key that was revoked cannot be changed.
	ErrRevoked = errors.New("the key is revoked")
	// ErrProviderKey: a provider key is malformed.
	ErrProviderKey = errors.New("provider key must be 1 to 4096 visible ASCII characters without spaces")
)

// Defaults are what a new account gets.
type Defaults struct {
	Credits storage.Credits
	Tier    storage.AccountTier
	Level   string
}

// Caller is what one virtual key stands for. It is immutable: after a change of the key, its account or its team the next
// look-up gives another one.
type Caller struct {
	Account *storage.Account
	Team    *storage.Team // nil: none
	Key     *storage.VirtualKey
	KeyID   string
	Caps    []storage.Cap                   // budgets of the key, the account and the team
	own     map[string]*storage.ProviderKey // by provider; nil for most accounts
}

// SetDefaults changes what accounts get that are created from now on.
func (d *Directory) SetDefaults(defaults Defaults) { d.defaults.Store(&defaults) }

// HasOwnKeys tells whether the account holds any provider key.
func (c *Caller) HasOwnKeys() bool { return len(c.own) > 0 }

// OwnKey returns the account's sealed key for a provider, or nil.
func (c *Caller) OwnKey(provider string) *storage.ProviderKey { return c.own[provider] }

// Directory is safe for concurrent use.
type Directory struct {
	store struct {
		accounts Accounts
		teams    Teams
		keys     Keys
	}
	vault    *vault.Vault
	defaults atomic.Pointer[Defaults]
	now      func() time.Time
	damaged  sync.Map // ids of own keys that were found not to open

	mu       sync.Mutex // serialises writers
	room     room
	accounts *slab.Table[string, account]
	teams    *slab.Table[string, team]
	virtual  *slab.Table[string, virtual]   // by id
	callers  *slab.Table[[32]byte, virtual] // by hash; revoked ones are absent
}

// account is an account with what belongs to it.
type account struct {
	state atomic.Pointer[accountState]
	keys  *virtual // the newest, which leads to the others, revoked ones too; guarded by Directory.mu
}

// accountState is immutable.
type accountState struct {
	storage.Account
	team *team                           // nil: none
	own  map[string]*storage.ProviderKey // by provider
}

type team struct {
	record atomic.Pointer[storage.Team]
	size   atomic.Int64 // accounts
}

// virtual is a virtual key. Its caller is the one that it stood for when it was last looked up.
type virtual struct {
	account *account // nil: there is none
	older   *virtual // of the same account
	hash    [32]byte // as in its record
	record  atomic.Pointer[storage.VirtualKey]
	caller  atomic.Pointer[Caller]
}

// Open loads the directory from the store.
func Open(accounts Accounts, teams Teams, keys Keys, v *vault.Vault, defaults Defaults, now func() time.Time) (*Directory, error) {
	d := &Directory{vault: v, now: now}
	d.SetDefaults(defaults)
	d.store.accounts, d.store.teams, d.store.keys = accounts, teams, keys
	seed := maphash.MakeSeed()
	byName := func(name string) uint64 { return maphash.String(seed, name) }
	d.accounts = slab.NewTable(byName, func(a *account) string { return a.state.Load().ID })
	d.teams = slab.NewTable(byName, func(t *team) string { return t.record.Load().ID })
	d.virtual = slab.NewTable(byName, func(k *virtual) string { return k.record.Load().ID })
	byHash := func(sum [32]byte) uint64 { return binary.LittleEndian.Uint64(sum[:]) }
	d.callers = slab.NewTable(byHash, func(k *virtual) [32]byte { return k.hash })

	groups, err := teams.Teams()
	if err != nil {
		return nil, fmt.Errorf("loading teams: %w", err)
	}
	for _, t := range groups {
		d.teams.Put(newTeam(t))
	}
	own, err := keys.ProviderKeys()
	if err != nil {
		return nil, fmt.Errorf("loading provider keys: %w", err)
	}
	if err := v.Finish(own); err != nil {
		return nil, fmt.Errorf("shredding replaced provider keys: %w", err)
	}
	ownOf := map[string]map[string]*storage.ProviderKey{}
	for i := range own {
		ownOf[own[i].Account] = with(ownOf[own[i].Account], &own[i])
	}
	list, err := accounts.Accounts()
	if err != nil {
		return nil, fmt.Errorf("loading accounts: %w", err)
	}
	for _, record := range list {
		d.addAccount(record, ownOf[record.ID])
	}
	virtual, err := keys.VirtualKeys()
	if err != nil {
		return nil, fmt.Errorf("loading virtual keys: %w", err)
	}
	for _, record := range virtual {
		d.addKey(record)
	}
	d.CheckOwnKeys()
	return d, nil
}

// Caller finds who a bearer key belongs to. Whether it is allowed anything now is for the user of the directory to see: keys
// that are disabled or have expired are found.
func (d *Directory) Caller(key []byte) (*Caller, bool) {
	k := d.callers.Get(d.vault.Hash(key))
	if k == nil {
		return nil, false
	}
	return k.stands(), true
}

// stands is who the key stands for now: the caller of last time unless something changed.
func (k *virtual) stands() *Caller {
	record, a := k.record.Load(), k.account.state.Load()
	var t *storage.Team
	if a.team != nil {
		t = a.team.record.Load()
	}
	if c := k.caller.Load(); c != nil && c.Key == record && c.Account == &a.Account && c.Team == t {
		return c
	}
	c := &Caller{Account: &a.Account, Team: t, Key: record, KeyID: record.ID, own: a.own}
	c.cap(storage.SpenderKey+record.SpendsAs(), record.Limits.Budgets)
	c.cap(storage.SpenderAccount+a.ID, a.Limits.Budgets)
	if t != nil {
		c.cap(storage.SpenderTeam+t.ID, t.Limits.Budgets)
	}
	k.caller.Store(c)
	return c
}

func (c *Caller) cap(spender string, budgets []storage.Budget) {
	for _, b := range budgets {
		c.Caps = append(c.Caps, storage.Cap{Spender: storage.Spender(spender), Budget: b})
	}
}

// SetOwnKey seals and stores an account's key for a provider, in place of a former one, which nothing can open afterwards.
func (d *Directory) SetOwnKey(account, provider, key string) (storage.ProviderKey, error) {
	if !validProviderKey(key) {
		return storage.ProviderKey{}, ErrProviderKey
	}
	k := storage.ProviderKey{Account: account, Provider: provider, ID: vault.NewID("byok_"), Version: 1, Created: d.now().UTC()}
	if len(key) >= 12 {
		k.Hint = key[len(key)-4:]
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.accounts.Get(account)
	if a == nil {
		return k, noAccount(account)
	}
	state := *a.state.Load()
	old := state.own[provider]
	if old != nil {
		k.Version = old.Version + 1
	}
	if err := d.vault.Seal(&k, key, old); err != nil {
		return k, err
	}
	if err := d.store.keys.PutProviderKey(k); err != nil {
		return k, errors.Join(err, d.vault.Shred(&k))
	}
	state.own = with(state.own, &k)
	a.state.Store(&state)
	if old != nil {
		d.damaged.Delete(old.ID)
		return k, d.vault.Shred(old)
	}
	return k, nil
}

// DeleteOwnKey removes an account's key for a provider for good: nothing can open it afterwards, whatever a copy of the
// store still holds. The key is shredded first: what fails then leaves a record that opens nothing, and can be deleted again. It
// returns the id of the key.
func (d *Directory) DeleteOwnKey(account, provider string) (id string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.accounts.Get(account)
	if a == nil {
		return "", noAccount(account)
	}
	state := *a.state.Load()
	old := state.own[provider]
	if old == nil {
		return "", fmt.Errorf("key for provider %.64q: %w", provider, storage.ErrNotFound)
	}
	if err := d.vault.Shred(old); err != nil {
		return "", err
	}
	if err := d.store.keys.DeleteProviderKey(account, provider); err != nil {
		return "", err
	}
	state.own = maps.Clone(state.own)
	delete(state.own, provider)
	a.state.Store(&state)
	d.damaged.Delete(old.ID)
	return old.ID, nil
}

// OwnKeys lists an account's provider keys by provider.
func (d *Directory) OwnKeys(account string) []storage.ProviderKey {
	var out []storage.ProviderKey
	if a := d.accounts.Get(account); a != nil {
		mine := a.state.Load().own
		for _, p := range slices.Sorted(maps.Keys(mine)) {
			out = append(out, *mine[p])
		}
	}
	return out
}

// OwnKey returns an account's sealed key for a provider as it is now, or nil.
func (d *Directory) OwnKey(account, provider string) *storage.ProviderKey {
	if a := d.accounts.Get(account); a != nil {
		return a.state.Load().own[provider]
	}
	return nil
}

// Still runs fn while nothing in the directory changes, and returns its error: sealed keys in the store and what opens them fit each
// other then.
func (d *Directory) Still(fn func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fn()
}

// with is a copy of an account's provider keys with one added or replaced: published callers hold the old ones.
func with(own map[string]*storage.ProviderKey, k *storage.ProviderKey) map[string]*storage.ProviderKey {
	next := maps.Clone(own)
	if next == nil {
		next = map[string]*storage.ProviderKey{}
	}
	next[k.Provider] = k
	return next
}

func validProviderKey(key string) bool {
	if key == "" || len(key) > 4096 {
		return false
	}
	for _, c := range []byte(key) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}
