package directory

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pointsman/pointsman/storage"
)

// AppendOwnKeys appends to dst whose keys the caller's requests may be made with: for each of the account's own provider keys its
// provider and its id, which is new at every replacement, each behind a zero byte.
func (c *Caller) AppendOwnKeys(dst []byte) []byte {
	if len(c.own) == 0 {
		return dst
	}
	for _, provider := range slices.Sorted(maps.Keys(c.own)) {
		dst = append(append(dst, 0), provider...)
		dst = append(append(dst, 0), c.own[provider].ID...)
	}
	return dst
}

// SetAccountCaching says whether an account's answers may be kept in the response cache and come from there. Errors:
// storage.ErrNotFound.
func (d *Directory) SetAccountCaching(id string, allowed bool) error {
	return d.update(func(ix *index) error {
		account := ix.accounts[id]
		if account == nil {
			return fmt.Errorf("account %.64q: %w", id, storage.ErrNotFound)
		}
		changed := *account
		changed.NoCache = !allowed
		ix.accounts[id] = &changed
		return d.accounts.UpdateAccount(changed)
	})
}

// SetKeyCaching is SetAccountCaching for the requests with one virtual key.
func (d *Directory) SetKeyCaching(id string, allowed bool) error {
	return d.update(func(ix *index) error {
		k, ok := ix.virtual[id]
		if !ok {
			return fmt.Errorf("key %.64q: %w", id, storage.ErrNotFound)
		}
		k.NoCache = !allowed
		ix.virtual[id] = k
		return d.keys.PutVirtualKey(k)
	})
}
