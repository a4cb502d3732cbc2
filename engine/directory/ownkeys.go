package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
)

// OpenOwnKey opens an account's own key for a provider, as it is now, for one call. Errors: storage.ErrNotFound if there is
// none any more, vault.ErrSealed if it does not open.
func (d *Directory) OpenOwnKey(account, name string) (*storage.ProviderKey, provider.Secret, error) {
	k := d.OwnKey(account, name)
	for k != nil {
		key, err := d.vault.Unseal(k)
		if err == nil {
			return k, key, nil
		}
		now := d.OwnKey(account, name)
		if now == k {
			d.note(k)
			return k, key, err
		}
		k = now // it was replaced or wrapped anew in that moment
	}
	return nil, provider.Secret{}, fmt.Errorf("key for provider %.64q: %w", name, storage.ErrNotFound)
}

// note remembers that a key does not open.
func (d *Directory) note(k *storage.ProviderKey) { d.damaged.Store(k.ID, nil) }

// Undecryptable tells whether an own key was found not to open. Only storing another one mends that.
func (d *Directory) Undecryptable(k *storage.ProviderKey) bool {
	_, found := d.damaged.Load(k.ID)
	return found
}

// UndecryptableKeys lists the own keys that were found not to open, by account and provider.
func (d *Directory) UndecryptableKeys() (keys []storage.ProviderKey) {
	d.damaged.Range(func(any, any) bool {
		keys = d.ownKeysThat(d.Undecryptable)
		return false
	})
	return keys
}

// CountOwnKeys is how many own keys are stored.
func (d *Directory) CountOwnKeys() (total int) {
	for a := range d.accounts.All() {
		total += len(a.state.Load().own)
	}
	return total
}

// CheckOwnKeys opens every own key once. What does not open is in [Directory.UndecryptableKeys] then.
func (d *Directory) CheckOwnKeys() {
	for _, k := range d.ownKeysThat(func(*storage.ProviderKey) bool { return true }) {
		_, _, _ = d.OpenOwnKey(k.Account, k.Provider) // which notes what does not open
	}
}

// StaleOwnKeys lists the own keys that are not wrapped under the vault's newest key-encryption key, and can be.
func (d *Directory) StaleOwnKeys() []storage.ProviderKey {
	d.mu.Lock() // for what was sealed before the newest one was there, and is not here yet
	defer d.mu.Unlock()
	return d.ownKeysThat(func(k *storage.ProviderKey) bool { return !d.vault.Current(k) && !d.Undecryptable(k) })
}

// RewrapOwnKeys wraps the data keys of all own keys anew, under the vault's newest key-encryption key, and calls done after
// each. Requests with these keys go on meanwhile. It may be ended at any point, by ctx or by a crash, and called again.
func (d *Directory) RewrapOwnKeys(ctx context.Context, done func()) error {
	for {
		stale := d.StaleOwnKeys()
		if len(stale) == 0 {
			return nil
		}
		for _, k := range stale {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := d.rewrap(k.Account, k.Provider); err != nil {
				return fmt.Errorf("wrapping the key of account %s for provider %s anew: %w", k.Account, k.Provider, err)
			}
			done()
		}
	}
}

// rewrap wraps one key anew, unless that does not open, or is gone meanwhile.
func (d *Directory) rewrap(account, provider string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.accounts.Get(account)
	if a == nil {
		return nil
	}
	state := *a.state.Load()
	old := state.own[provider]
	if old == nil || d.vault.Current(old) {
		return nil
	}
	next, err := d.vault.Rewrap(old)
	if errors.Is(err, vault.ErrSealed) {
		d.note(old)
		return nil
	}
	if err == nil {
		err = d.store.keys.PutProviderKey(next)
	}
	if err != nil {
		return err // the old share stays, and with it what the store holds
	}
	state.own = with(state.own, &next)
	a.state.Store(&state)
	return d.vault.Shred(old) // now that nobody finds it any more
}

// ownKeysThat lists the own keys of all accounts that a condition holds for, by account and provider.
func (d *Directory) ownKeysThat(holds func(*storage.ProviderKey) bool) (keys []storage.ProviderKey) {
	for a := range d.accounts.All() {
		for _, k := range a.state.Load().own {
			if holds(k) {
				keys = append(keys, *k)
			}
		}
	}
	slices.SortFunc(keys, func(a, b storage.ProviderKey) int {
		return cmp.Or(strings.Compare(a.Account, b.Account), strings.Compare(a.Provider, b.Provider))
	})
	return keys
}
