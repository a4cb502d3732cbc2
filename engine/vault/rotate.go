package vault

import (
	"errors"
	"fmt"

	"github.com/pointsman/pointsman/storage"
)

// Errors of a rotation.
var (
	// ErrRotating: the vault is being rotated to another key-encryption key.
	ErrRotating = errors.New("the vault is being rotated")
	// ErrSameKEK: the vault's key-encryption key is that one already.
	ErrSameKEK = errors.New("the vault's key-encryption key is that one already")
)

// Status says which key-encryption keys a vault needs. None of it is secret.
type Status struct {
	KEK        string // id
	Source     Source
	NextKEK    string // id, "" unless a rotation is under way
	NextSource Source
	Drift      string // how the configuration differs, "" if it does not
}

// Status is the vault's state now.
func (v *Vault) Status() Status {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s := Status{KEK: v.active.id.String(), Source: v.active.source, Drift: v.drift}
	if v.next != nil {
		s.NextKEK, s.NextSource = v.next.id.String(), v.next.source
	}
	return s
}

// Begin begins a rotation to the key-encryption key of a source. From here on records are sealed under the new one, and both
// are needed, also after a restart; the caller has every record that is not [Vault.Current] wrapped anew with [Vault.Rewrap],
// and ends with [Vault.End]. Beginning again to the same key-encryption key changes nothing. Errors: ErrRotating, ErrSameKEK,
// ErrUnreadable.
func (v *Vault) Begin(to Source) error {
	k, err := v.readKEK(to)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.next != nil && v.next.id == k.id:
		k.clear()
		return nil
	case v.next != nil:
		k.clear()
		return fmt.Errorf("%w to the key-encryption key with id %s, from %s", ErrRotating, v.next.id, v.next.source)
	case v.active.id == k.id:
		k.clear()
		return ErrSameKEK
	}
	entry, err := sealPepper(k, v.pepper)
	if err != nil {
		return err
	}
	r := v.ring
	r.Next = &entry
	if err := r.write(v.config.Dir); err != nil {
		return err
	}
	v.ring, v.next = r, k
	return nil
}

// Current tells whether a record is sealed under the newest key-encryption key.
func (v *Vault) Current(k *storage.ProviderKey) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return format(k) == formatKEK && len(k.Sealed) >= headSize && kekID(k.Sealed[sharesEnd:headSize]) == v.newest().id
}

// Rewrap returns a record whose data key is wrapped under the newest key-encryption key, with a new share. Once it is stored
// the caller shreds the one it replaces. The provider key itself is opened only if the record is of an earlier format. Errors:
// ErrSealed, or that the new share could not be written.
func (v *Vault) Rewrap(k *storage.ProviderKey) (storage.ProviderKey, error) {
	next := *k
	if format(k) != formatKEK {
		key, err := v.Unseal(k)
		if err != nil {
			return next, err
		}
		return next, v.Seal(&next, key.Reveal(), k)
	}
	dataKey, err := v.unwrap(k)
	if err != nil {
		return next, err
	}
	defer clear(dataKey)
	return next, v.wrap(&next, k, dataKey, k.Sealed[headSize+wrappedSize:])
}

// End ends a rotation: the former key-encryption key is no longer needed, and its bytes are cleared. Without one it changes
// nothing.
func (v *Vault) End() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.next == nil {
		return nil
	}
	r := ring{Format: ringFormat, Active: *v.ring.Next}
	drift := ""
	if configured := v.configured(); configured != r.Active.Source {
		r.Supersedes = configured
		drift = driftOf(configured, r.Active.Source)
	}
	if err := r.write(v.config.Dir); err != nil {
		return err
	}
	v.active.clear()
	v.ring, v.active, v.next, v.drift = r, v.next, nil, drift
	return nil
}

// driftOf says what is to be changed in the configuration.
func driftOf(configured, active Source) string {
	return fmt.Sprintf("[vault] kek is %q, but the vault was rotated to %q: set kek to that", configured, active)
}
