package directory

import (
	"maps"
	"slices"
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
