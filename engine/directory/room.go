package directory

import (
	"slices"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/slab"
)

// room is where accounts and keys are as they were first seen, with what their records say. What a later record says is on its own.
type room struct {
	accounts slab.Values[account]
	states   slab.Values[accountState]
	keys     slab.Values[virtual]
	records  slab.Values[storage.VirtualKey]
	texts    slab.Texts
}

// addAccount adds the account of a stored record, with its provider keys.
func (d *Directory) addAccount(record storage.Account, own map[string]*storage.ProviderKey) {
	t := d.teamOf(record)
	record.ID, record.Disabled = d.room.texts.Copy(record.ID), d.room.texts.Copy(record.Disabled)
	record.Tier, record.DefaultLevel = same(tiers, record.Tier), same(levels, record.DefaultLevel)
	if t != nil {
		record.Team = t.record.Load().ID
	}
	a, state := d.room.accounts.New(), d.room.states.New()
	*state = accountState{record, t, own}
	a.enter(state)
	d.accounts.Put(a)
}

// addKey adds the virtual key of a stored record, and makes it usable unless it is revoked.
func (d *Directory) addKey(record storage.VirtualKey) {
	for _, text := range []*string{&record.ID, &record.Name, &record.Hint, &record.Disabled, &record.Replaces, &record.Spends} {
		*text = d.room.texts.Copy(*text)
	}
	k, kept := d.room.keys.New(), d.room.records.New()
	if a := d.accounts.Get(record.Account); a != nil {
		record.Account = a.state.Load().ID
		k.account, k.older, a.keys = a, a.keys, k
	}
	*kept = record
	k.record.Store(kept)
	k.hash = record.Hash
	d.virtual.Put(k)
	if k.account != nil && record.Revoked.IsZero() {
		d.callers.Put(k)
	}
}

// same is the one of the texts that is the same as text, or text itself.
func same[T ~string](texts []T, text T) T {
	if i := slices.Index(texts, text); i >= 0 {
		return texts[i]
	}
	return text
}
