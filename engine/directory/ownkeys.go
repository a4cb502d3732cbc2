package directory

import (
	"cmp"
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
	for _, mine := range d.index.Load().own {
		total += len(mine)
	}
	return total
}

// CheckOwnKeys opens every own key once. What does not open is in [Directory.UndecryptableKeys] then.
func (d *Directory) CheckOwnKeys() {
	for _, k := range d.ownKeysThat(func(*storage.ProviderKey) bool { return true }) {
		_, _, _ = d.OpenOwnKey(k.Account, k.Provider) // which notes what does not open
	}
}

// RewrapOwnKeys wraps the data keys of up to most own keys anew, under the vault's newest key-encryption key, and returns how
// many it did: fewer than most when no other is left that can be. Requests with these keys go on meanwhile. Each is stored
// before the next is begun, so it may be ended at any point and called again.
func (d *Directory) RewrapOwnKeys(most int) (done int, err error) {
	var replaced []storage.ProviderKey
	updateErr := d.update(func(ix *index) error {
		for _, k := range d.ownKeysThat(d.stale) {
			if done == most {
				return nil
			}
			next, failed := d.vault.Rewrap(&k)
			if errors.Is(failed, vault.ErrSealed) {
				d.note(&k)
				continue
			}
			if failed == nil {
				failed = d.keys.PutProviderKey(next) // if it fails the old share stays, and with it what the store holds
			}
			if failed != nil {
				err = fmt.Errorf("wrapping the key of account %s for provider %s anew: %w", k.Account, k.Provider, failed)
				return nil // those before are stored
			}
			ix.putOwn(&next)
			replaced = append(replaced, k)
			done++
		}
		return nil
	})
	for i := range replaced { // now that nobody finds them any more
		err = errors.Join(err, d.vault.Shred(&replaced[i]))
	}
	return done, errors.Join(updateErr, err)
}

// StaleOwnKeys is how many own keys are not wrapped under the vault's newest key-encryption key and can be.
func (d *Directory) StaleOwnKeys() int { return len(d.ownKeysThat(d.stale)) }

func (d *Directory) stale(k *storage.ProviderKey) bool {
	return !d.vault.Current(k) && !d.Undecryptable(k)
}

// ownKeysThat lists the own keys of all accounts that a condition holds for, by account and provider.
func (d *Directory) ownKeysThat(holds func(*storage.ProviderKey) bool) (keys []storage.ProviderKey) {
	for _, mine := range d.index.Load().own {
		for _, k := range mine {
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
