// Package directory answers who is calling: accounts, their virtual keys and their own provider keys, held in memory for
// the request path and written through to the store for keeps.
//
// Reads take no lock: they load one immutable index through an atomic pointer. Writes are rare; they go to the store
// first and publish a new index only after the store has them.
package directory

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/storage"
)

// Accounts is the part of the store that keeps accounts. CreateAccount writes the account and its opening credits in one
// transaction.
type Accounts interface {
	CreateAccount(a storage.Account, opening storage.Credits) error
	Accounts() ([]storage.Account, error)
}

// Keys is the part of the store that keeps keys.
type Keys interface {
	PutVirtualKey(k storage.VirtualKey) error
	VirtualKeys() ([]storage.VirtualKey, error)
	PutProviderKey(k storage.ProviderKey) error
	DeleteProviderKey(account, provider string) error
	ProviderKeys() ([]storage.ProviderKey, error)
}

// Errors of the directory, beside those of storage.
var (
	// ErrAccountID: an account id is not of the form [a-z0-9][a-z0-9._-]{0,63}.
	ErrAccountID = errors.New("account id must be 1 to 64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit")
	// ErrTier: no such account tier.
	ErrTier = errors.New("tier must be free, starter, professional or enterprise")
	// ErrLevel: no such power level, or custom, which needs a model and so is no default.
	ErrLevel = errors.New("default_power_level must be eco, balanced or precision")
	// ErrProviderKey: a provider key is malformed.
	ErrProviderKey = errors.New("provider key must be 1 to 4096 visible ASCII characters without spaces")
)

var accountID = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Defaults are what a new account gets.
type Defaults struct {
	Credits storage.Credits
	Tier    storage.AccountTier
	Level   string
}

// Caller is what one virtual key stands for. It is immutable.
type Caller struct {
	Account *storage.Account
	KeyID   string
	own     map[string]*storage.ProviderKey // by provider; nil for most accounts
}

// HasOwnKeys tells whether the account holds any provider key.
func (c *Caller) HasOwnKeys() bool { return len(c.own) > 0 }

// OwnKey returns the account's sealed key for a provider, or nil.
func (c *Caller) OwnKey(provider string) *storage.ProviderKey { return c.own[provider] }

// Directory is safe for concurrent use.
type Directory struct {
	accounts Accounts
	keys     Keys
	vault    *vault.Vault
	defaults Defaults
	now      func() time.Time

	mu    sync.Mutex // serialises writers
	index atomic.Pointer[index]
}

type index struct {
	accounts map[string]*storage.Account
	virtual  map[string]storage.VirtualKey // by id
	own      map[string]map[string]*storage.ProviderKey
	callers  map[[32]byte]*Caller // by hash of the virtual key; revoked ones are absent
}

// Open loads the directory from the store.
func Open(accounts Accounts, keys Keys, v *vault.Vault, defaults Defaults, now func() time.Time) (*Directory, error) {
	d := &Directory{accounts: accounts, keys: keys, vault: v, defaults: defaults, now: now}
	list, err := accounts.Accounts()
	if err != nil {
		return nil, fmt.Errorf("loading accounts: %w", err)
	}
	virtual, err := keys.VirtualKeys()
	if err != nil {
		return nil, fmt.Errorf("loading virtual keys: %w", err)
	}
	own, err := keys.ProviderKeys()
	if err != nil {
		return nil, fmt.Errorf("loading provider keys: %w", err)
	}
	ix := &index{map[string]*storage.Account{}, map[string]storage.VirtualKey{}, map[string]map[string]*storage.ProviderKey{}, nil}
	for i := range list {
		ix.accounts[list[i].ID] = &list[i]
	}
	for _, k := range virtual {
		ix.virtual[k.ID] = k
	}
	for i := range own {
		ix.putOwn(&own[i])
	}
	if err := v.Finish(own); err != nil {
		return nil, fmt.Errorf("shredding replaced provider keys: %w", err)
	}
	ix.link()
	d.index.Store(ix)
	return d, nil
}

// Caller finds who a bearer key belongs to.
func (d *Directory) Caller(key []byte) (*Caller, bool) {
	c, ok := d.index.Load().callers[d.vault.Hash(key)]
	return c, ok
}

// CreateAccount adds an account with the opening credits. Empty tier and level take the defaults. Errors: ErrAccountID,
// ErrTier, storage.ErrExists.
func (d *Directory) CreateAccount(id string, tier storage.AccountTier, level string) (storage.Account, error) {
	a := storage.Account{ID: id, Tier: tier, DefaultLevel: level, Created: d.now().UTC()}
	if a.Tier == "" {
		a.Tier = d.defaults.Tier
	}
	if a.DefaultLevel == "" {
		a.DefaultLevel = d.defaults.Level
	}
	switch {
	case !accountID.MatchString(id):
		return a, ErrAccountID
	case !slices.Contains([]storage.AccountTier{storage.TierFree, storage.TierStarter, storage.TierProfessional, storage.TierEnterprise}, a.Tier):
		return a, ErrTier
	case !slices.Contains([]string{"eco", "balanced", "precision"}, a.DefaultLevel):
		return a, ErrLevel
	}
	return a, d.update(func(ix *index) error {
		if ix.accounts[id] != nil {
			return fmt.Errorf("account %s: %w", id, storage.ErrExists)
		}
		ix.accounts[id] = &a
		return d.accounts.CreateAccount(a, d.defaults.Credits)
	})
}

// Accounts lists all accounts by id.
func (d *Directory) Accounts() []storage.Account {
	ix := d.index.Load()
	out := make([]storage.Account, 0, len(ix.accounts))
	for _, id := range slices.Sorted(maps.Keys(ix.accounts)) {
		out = append(out, *ix.accounts[id])
	}
	return out
}

// CreateKey makes a virtual key for an account and returns it with the only copy of its text.
func (d *Directory) CreateKey(account, name string) (storage.VirtualKey, string, error) {
	key := vault.NewVirtualKey()
	k := storage.VirtualKey{
		ID: vault.NewID("key_"), Account: account, Name: name, Hint: "pm-…" + key[len(key)-4:],
		Hash: d.vault.Hash([]byte(key)), Created: d.now().UTC(),
	}
	err := d.update(func(ix *index) error {
		if ix.accounts[account] == nil {
			return fmt.Errorf("account %.64q: %w", account, storage.ErrNotFound)
		}
		ix.virtual[k.ID] = k
		return d.keys.PutVirtualKey(k)
	})
	if err != nil {
		return storage.VirtualKey{}, "", err
	}
	return k, key, nil
}

// Keys lists the virtual keys of an account, or of all when account is empty, oldest first.
func (d *Directory) Keys(account string) []storage.VirtualKey {
	var out []storage.VirtualKey
	for _, k := range d.index.Load().virtual {
		if account == "" || k.Account == account {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b storage.VirtualKey) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return out
}

// RevokeKey ends a virtual key at once. Revoking it again changes nothing.
func (d *Directory) RevokeKey(id string) error {
	return d.update(func(ix *index) error {
		k, ok := ix.virtual[id]
		if !ok {
			return fmt.Errorf("key %.64q: %w", id, storage.ErrNotFound)
		}
		if !k.Revoked.IsZero() {
			return nil
		}
		k.Revoked = d.now().UTC()
		ix.virtual[id] = k
		return d.keys.PutVirtualKey(k)
	})
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
	var old *storage.ProviderKey
	err := d.update(func(ix *index) error {
		if old = ix.own[account][provider]; old != nil {
			k.Version = old.Version + 1
		}
		if err := d.vault.Seal(&k, key, old); err != nil {
			return err
		}
		ix.putOwn(&k)
		if err := d.keys.PutProviderKey(k); err != nil {
			return errors.Join(err, d.vault.Shred(&k))
		}
		return nil
	})
	if err == nil && old != nil {
		err = d.vault.Shred(old)
	}
	return k, err
}

// DeleteOwnKey removes an account's key for a provider for good: nothing can open it afterwards, whatever a copy of the
// store still holds. The key is shredded first: what fails then leaves a record that opens nothing, and can be deleted again. It
// returns the id of the key.
func (d *Directory) DeleteOwnKey(account, provider string) (id string, err error) {
	var old *storage.ProviderKey
	err = d.update(func(ix *index) error {
		if old = ix.own[account][provider]; old == nil {
			return fmt.Errorf("key for provider %.64q: %w", provider, storage.ErrNotFound)
		}
		mine := maps.Clone(ix.own[account])
		delete(mine, provider)
		ix.own[account] = mine
		if err := d.vault.Shred(old); err != nil {
			return err
		}
		return d.keys.DeleteProviderKey(account, provider)
	})
	if err != nil {
		return "", err
	}
	return old.ID, nil
}

// OwnKeys lists an account's provider keys by provider.
func (d *Directory) OwnKeys(account string) []storage.ProviderKey {
	var out []storage.ProviderKey
	mine := d.index.Load().own[account]
	for _, p := range slices.Sorted(maps.Keys(mine)) {
		out = append(out, *mine[p])
	}
	return out
}

// OwnKey returns an account's sealed key for a provider as it is now, or nil.
func (d *Directory) OwnKey(account, provider string) *storage.ProviderKey {
	return d.index.Load().own[account][provider]
}

// Unseal opens an account's own provider key for one call.
func (d *Directory) Unseal(k *storage.ProviderKey) (string, error) { return d.vault.Unseal(k) }

// Still runs fn while nothing in the directory changes, and returns its error: sealed keys in the store and what opens them fit each
// other then.
func (d *Directory) Still(fn func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fn()
}

// update runs change on a copy of the index, which change must also have stored, and publishes it if that went well.
func (d *Directory) update(change func(*index) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.index.Load()
	next := &index{maps.Clone(old.accounts), maps.Clone(old.virtual), maps.Clone(old.own), nil}
	if err := change(next); err != nil {
		return err
	}
	next.link()
	d.index.Store(next)
	return nil
}

// link rebuilds the callers from the other maps.
func (ix *index) link() {
	ix.callers = make(map[[32]byte]*Caller, len(ix.virtual))
	for _, k := range ix.virtual {
		if account := ix.accounts[k.Account]; account != nil && k.Revoked.IsZero() {
			ix.callers[k.Hash] = &Caller{Account: account, KeyID: k.ID, own: ix.own[k.Account]}
		}
	}
}

// putOwn replaces the account's map rather than changing it, for published callers hold the old one.
func (ix *index) putOwn(k *storage.ProviderKey) {
	mine := maps.Clone(ix.own[k.Account])
	if mine == nil {
		mine = map[string]*storage.ProviderKey{}
	}
	mine[k.Provider] = k
	ix.own[k.Account] = mine
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
