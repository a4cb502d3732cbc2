package badgerdb

import (
	"encoding/binary"

	"github.com/pointsman/pointsman/storage"
)

// schema is the version of the ledger's key layout in the package documentation.
const schema = 4

// The first byte of every key in the ledger's database, see the package documentation.
const (
	keySchema      = 'v'
	keyCheckpoint  = 'c'
	keyEntry       = 'e'
	keyHead        = 'h'
	keyRequest     = 'r'
	keyGrant       = 'g'
	keyAccount     = 'a'
	keyVirtualKey  = 'k'
	keyTeam        = 't'
	keyProviderKey = 'p'
	keySpending    = 's'
	keyJournal     = 'j'
)

func appendEntryKey(b []byte, position uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, keyEntry), position)
}

func appendRequestKey(b []byte, id storage.RequestID) []byte {
	return append(append(b, keyRequest), id[:]...)
}

func appendGrantKey(b []byte, account, reference string) []byte {
	b = append(append(b, keyGrant), account...)
	return append(append(b, 0), reference...)
}

func textKey(kind byte, text string) []byte { return append([]byte{kind}, text...) }

func providerKeyKey(account, provider string) []byte {
	return append(append(textKey(keyProviderKey, account), 0), provider...)
}
