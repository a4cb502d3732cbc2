package directory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/storage"
)

// mint gives a key its text, which is returned once and never stored, and what follows from that.
func (d *Directory) mint(k *storage.VirtualKey) (text string) {
	text = vault.NewVirtualKey()
	k.ID, k.Hint, k.Hash = vault.NewID("key_"), "pm-…"+text[len(text)-4:], d.vault.Hash([]byte(text))
	k.Created, k.Revoked = d.now().UTC(), time.Time{}
	return text
}

// CreateKey makes a virtual key as k says for the account it names, and returns it with the only copy of its text. Errors:
// storage.ErrNotFound.
func (d *Directory) CreateKey(k storage.VirtualKey) (storage.VirtualKey, string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.accounts.Get(k.Account) == nil {
		return storage.VirtualKey{}, "", noAccount(k.Account)
	}
	text := d.mint(&k)
	if err := d.store.keys.PutVirtualKey(k); err != nil {
		return storage.VirtualKey{}, "", err
	}
	d.addKey(k)
	return k, text, nil
}

// UpdateKey is UpdateAccount for a virtual key, of which name, expiry, scopes, limits, and whether it is disabled or out of the cache may change.
// Errors: ErrRevoked, storage.ErrNotFound.
func (d *Directory) UpdateKey(id string, change func(*storage.VirtualKey)) (storage.VirtualKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, record, err := d.liveKey(id)
	if err != nil {
		return record, err
	}
	next := record
	change(&next)
	record.Name, record.Expires, record.Disabled, record.Scopes, record.Limits, record.NoCache = next.Name, next.Expires, next.Disabled, next.Scopes, next.Limits, next.NoCache
	if err := d.store.keys.PutVirtualKey(record); err != nil {
		return record, err
	}
	k.record.Store(&record)
	return record, nil
}

// liveKey finds a key that is not revoked.
func (d *Directory) liveKey(id string) (*virtual, storage.VirtualKey, error) {
	k := d.virtual.Get(id)
	if k == nil {
		return nil, storage.VirtualKey{}, noKey(id)
	}
	record := *k.record.Load()
	if !record.Revoked.IsZero() || k.account == nil {
		return nil, record, ErrRevoked
	}
	return k, record, nil
}

// RotateKey makes a key that takes the place of another, with its account, name, scopes, limits and, if that expires, as long a
// life. The old one expires after the overlap. Both spend as one, so that a rotation fills no budget again. Errors:
// ErrRevoked, storage.ErrNotFound.
func (d *Directory) RotateKey(id string, overlap time.Duration) (storage.VirtualKey, string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, old, err := d.liveKey(id)
	if err != nil {
		return storage.VirtualKey{}, "", err
	}
	next := old
	text := d.mint(&next)
	next.Replaces, next.Spends = old.ID, old.SpendsAs()
	if !old.Expires.IsZero() {
		next.Expires = next.Created.Add(old.Expires.Sub(old.Created))
	}
	if end := next.Created.Add(overlap); old.Expires.IsZero() || end.Before(old.Expires) {
		old.Expires = end
	}
	if err := d.store.keys.PutVirtualKey(next, old); err != nil {
		return storage.VirtualKey{}, "", err
	}
	d.addKey(next)
	k.record.Store(&old)
	return next, text, nil
}

// RevokeKey ends a virtual key at once. Revoking it again changes nothing. Errors: storage.ErrNotFound.
func (d *Directory) RevokeKey(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.virtual.Get(id)
	if k == nil {
		return noKey(id)
	}
	record := *k.record.Load()
	if !record.Revoked.IsZero() {
		return nil
	}
	record.Revoked = d.now().UTC()
	if err := d.store.keys.PutVirtualKey(record); err != nil {
		return err
	}
	k.record.Store(&record)
	d.callers.Remove(record.Hash)
	return nil
}

// Key finds a virtual key by its id. Errors: storage.ErrNotFound.
func (d *Directory) Key(id string) (storage.VirtualKey, error) {
	k := d.virtual.Get(id)
	if k == nil {
		return storage.VirtualKey{}, noKey(id)
	}
	return *k.record.Load(), nil
}

// Keys lists the virtual keys of an account, or of all when account is empty, oldest first.
func (d *Directory) Keys(account string) []storage.VirtualKey {
	var out []storage.VirtualKey
	if account == "" {
		for k := range d.virtual.All() {
			out = append(out, *k.record.Load())
		}
	} else if a := d.accounts.Get(account); a != nil {
		d.mu.Lock()
		for k := a.keys; k != nil; k = k.older {
			out = append(out, *k.record.Load())
		}
		d.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b storage.VirtualKey) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return out
}

func noKey(id string) error { return fmt.Errorf("key %.64q: %w", id, storage.ErrNotFound) }

// Suspend disables who spends, of a key all that spend as it does, if it should still be so with the budgets they have now, and tells whether that was
// not done already. Errors: storage.ErrNotFound, storage.ErrInvalid.
func (d *Directory) Suspend(s storage.Spender, still func(budgets []storage.Budget) bool, reason string) (done bool, err error) {
	suspend := func(disabled *string, limits *storage.Limits) {
		if done = *disabled == "" && still(limits.Budgets); done {
			*disabled = reason
		}
	}
	if id, is := strings.CutPrefix(string(s), storage.SpenderAccount); is {
		_, err = d.UpdateAccount(id, func(a *storage.Account) { suspend(&a.Disabled, &a.Limits) })
		return done, err
	}
	if id, is := strings.CutPrefix(string(s), storage.SpenderTeam); is {
		_, err = d.UpdateTeam(id, func(t *storage.Team) { suspend(&t.Disabled, &t.Limits) })
		return done, err
	}
	if id, is := strings.CutPrefix(string(s), storage.SpenderKey); is {
		return d.suspendKeys(id, still, reason)
	}
	return false, fmt.Errorf("spender %.80q: %w", s, storage.ErrInvalid)
}

// suspendKeys disables the keys that spend as one.
func (d *Directory) suspendKeys(id string, still func([]storage.Budget) bool, reason string) (done bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := d.virtual.Get(id)
	if first == nil || first.account == nil {
		return false, noKey(id)
	}
	var keys []*virtual
	var records []storage.VirtualKey
	for k := first.account.keys; k != nil; k = k.older {
		record := *k.record.Load()
		if record.SpendsAs() == id && record.Disabled == "" && record.Revoked.IsZero() && still(record.Limits.Budgets) {
			record.Disabled = reason
			keys, records = append(keys, k), append(records, record)
		}
	}
	if err := d.store.keys.PutVirtualKey(records...); err != nil {
		return false, err
	}
	for i, k := range keys {
		k.record.Store(&records[i])
	}
	return len(keys) > 0, nil
}
