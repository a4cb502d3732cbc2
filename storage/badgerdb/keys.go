package badgerdb

import (
	"encoding/binary"

	"github.com/pointsman/pointsman/storage"
)

// schema is the version of the ledger's key layout in the package documentation.
const schema = 6

// The first byte of every key in the ledger's database, see the package documentation.
const (
	keySchema      = 'v'
	keyCheckpoint  = 'c'
	keyEntry       = 'e'
	keyHead        = 'h'
	keyRequest     = 'r'
	keyRun         = 'q'
	keySettled     = 'd' // in the journal alone, with the request's whole id; the database has runs of them
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

func appendSettledKey(b []byte, id storage.RequestID) []byte {
	return append(append(b, keySettled), id[:]...)
}

func appendGrantKey(b []byte, account, reference string) []byte {
	b = append(append(b, keyGrant), account...)
	return append(append(b, 0), reference...)
}

func textKey(kind byte, text string) []byte { return append([]byte{kind}, text...) }

func providerKeyKey(account, provider string) []byte {
	return append(append(textKey(keyProviderKey, account), 0), provider...)
}
