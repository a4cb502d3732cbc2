package badgerdb

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// CreateAccount stores the account and its opening grant (0 or more credits) in one commit, and returns once they are on
// disk. A zero Created becomes now. Errors: ErrExists, ErrInvalid (id or amount), ErrHalted, ErrClosed. Safe for concurrent
// use: of two calls with the same id one gets ErrExists.
func (s *Store) CreateAccount(a storage.Account, opening storage.Credits) error {
	if !validAccountID(a.ID) || opening < 0 {
		return fmt.Errorf("creating account %.64q with %s credits: %w", a.ID, opening, storage.ErrInvalid)
	}
	if a.Created.IsZero() {
		a.Created = s.config.Clock()
	}
	a.Created = a.Created.UTC()
	record, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("creating account %s: %w", a.ID, err)
	}
	s.takeRead()
	err = s.durably(func() (*storage.Batch, error) { return s.machine.OpenAccount(a, opening, record) })
	if err != nil {
		return fmt.Errorf("creating account %s: %w", a.ID, err)
	}
	return nil
}

// UpdateAccount replaces an account's record and returns once that is on disk. Its id and time of creation never change, and
// its credits are the ledger's alone. Errors: ErrNotFound, ErrHalted (the disk failed), ErrClosed.
func (s *Store) UpdateAccount(a storage.Account) error {
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	current, err := s.Account(a.ID)
	if err != nil {
		return err
	}
	a.Created = current.Created
	s.takeRead()
	if err := s.put(textKey(keyAccount, a.ID), a); err != nil {
		return fmt.Errorf("updating account %s: %w", a.ID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.machine.Account(a.ID); known != nil { // nil: the start could not list all, which halted the ledger
		known.Overdraft = a.Overdraft
	}
	return nil
}

// Account returns one account's record. It works while the ledger is halted. Errors: ErrNotFound.
func (s *Store) Account(id string) (a storage.Account, err error) {
	view := s.viewNow
	if s.Halted() != nil {
		view = s.view
	}
	if err := view("reading an account", func(txn *badger.Txn) error { return get(txn, textKey(keyAccount, id), &a) }); err != nil {
		return storage.Account{}, fmt.Errorf("account %.64q: %w", id, err)
	}
	return a, nil
}

// Accounts returns every account's record, ordered by id; while the ledger is halted, those that can be read.
func (s *Store) Accounts() ([]storage.Account, error) {
	if records := s.takeRead(); records != nil {
		return records, nil
	}
	if s.Halted() != nil {
		records, _ := s.readAccounts() // what keeps the others from being read is among what it halted for, or follows from it
		return records, nil
	}
	return listNow[storage.Account](s, keyAccount)
}

// CountAccounts is how many accounts there are. A ledger that its start has halted knows none.
func (s *Store) CountAccounts() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	totals, _ := s.machine.Totals()
	return totals.Accounts
}

// takeRead returns the accounts that the start has read, once, and nil after a change: to decode a million takes seconds.
func (s *Store) takeRead() (records []storage.Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	records, s.read = s.read, nil
	return records
}

func (s *Store) readAccounts() ([]storage.Account, error) {
	return list[storage.Account](s.db, []byte{keyAccount})
}

// PutTeam stores a team, replacing the one with the same id. Errors: ErrInvalid (an id that no account could have), ErrHalted (the disk
// failed), ErrClosed.
func (s *Store) PutTeam(t storage.Team) error {
	if !validAccountID(t.ID) {
		return fmt.Errorf("storing team %.64q: %w", t.ID, storage.ErrInvalid)
	}
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	return s.put(textKey(keyTeam, t.ID), t)
}

// DeleteTeam removes a team for good. As with provider keys, a marker takes its place. Errors: ErrNotFound, ErrHalted (the disk
// failed), ErrClosed.
func (s *Store) DeleteTeam(id string) error {
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	var t storage.Team
	err := s.viewNow("reading a team", func(txn *badger.Txn) error { return get(txn, textKey(keyTeam, id), &t) })
	if err == nil && t.ID == "" {
		err = storage.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("team %.64q: %w", id, err)
	}
	return s.put(textKey(keyTeam, id), storage.Team{})
}

// Teams returns all teams, ordered by id.
func (s *Store) Teams() ([]storage.Team, error) {
	teams, err := listNow[storage.Team](s, keyTeam)
	return slices.DeleteFunc(teams, func(t storage.Team) bool { return t.ID == "" }), err
}

// PutVirtualKey stores keys in one commit, replacing those with the same ids. Errors: ErrInvalid (no id), ErrHalted (the disk failed),
// ErrClosed.
func (s *Store) PutVirtualKey(keys ...storage.VirtualKey) error {
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	records := make(map[string]any, len(keys))
	for _, k := range keys {
		if k.ID == "" {
			return fmt.Errorf("storing a virtual key without an id: %w", storage.ErrInvalid)
		}
		records[string(textKey(keyVirtualKey, k.ID))] = k
	}
	return s.putAll(records)
}

// VirtualKeys returns all virtual keys, revoked ones too, ordered by id.
func (s *Store) VirtualKeys() ([]storage.VirtualKey, error) {
	return listNow[storage.VirtualKey](s, keyVirtualKey)
}

// PutProviderKey stores an account's key at a provider in place of the former one. Errors: ErrInvalid (no id,
// account or provider), ErrClosed.
func (s *Store) PutProviderKey(k storage.ProviderKey) error {
	if k.ID == "" || k.Account == "" || k.Provider == "" || strings.Contains(k.Account+k.Provider, "\x00") {
		return fmt.Errorf("storing a provider key of account %.64q at %.64q: %w", k.Account, k.Provider, storage.ErrInvalid)
	}
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	return s.put(providerKeyKey(k.Account, k.Provider), k)
}

// DeleteProviderKey removes an account's key at a provider for good. A marker without key material takes its place, because a
// value that was overwritten cannot come back where deleted ones have. Errors: ErrNotFound, ErrHalted (the disk failed), ErrClosed.
func (s *Store) DeleteProviderKey(account, provider string) error {
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	key := providerKeyKey(account, provider)
	var k storage.ProviderKey
	err := s.viewNow("reading a key", func(txn *badger.Txn) error { return get(txn, key, &k) })
	if err == nil && k.ID == "" {
		err = storage.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("provider key of account %.64q at %.64q: %w", account, provider, err)
	}
	return s.put(key, storage.ProviderKey{Account: account, Provider: provider})
}

// ProviderKeys returns all provider keys, ordered by account and provider.
func (s *Store) ProviderKeys() ([]storage.ProviderKey, error) {
	keys, err := listNow[storage.ProviderKey](s, keyProviderKey)
	return slices.DeleteFunc(keys, func(k storage.ProviderKey) bool { return k.ID == "" }), err
}

// put stores a record as JSON and returns once it is on disk. Errors: ErrLowSpace, ErrHalted, ErrClosed.
func (s *Store) put(key []byte, record any) error {
	return s.putAll(map[string]any{string(key): record})
}

// putAll is put for several records in one commit. One that fails halts the ledger, which goes on in the same journal.
func (s *Store) putAll(records map[string]any) error {
	b := s.newBatch()
	for _, key := range slices.Sorted(maps.Keys(records)) {
		value, err := json.Marshal(records[key])
		if err != nil {
			return fmt.Errorf("encoding %T: %w", records[key], err)
		}
		b.set([]byte(key), value)
	}
	if b.err == nil && (int64(len(b.data)) > s.db.MaxBatchSize()/4*3 || int64(b.sets) > s.db.MaxBatchCount()/4*3) {
		b.err = fmt.Errorf("%d records of %d bytes are too many for one commit", b.sets, len(b.data))
	}
	if b.err != nil {
		return fmt.Errorf("storing records: %w", b.err)
	}
	if err := s.queue(b); err != nil {
		return err
	}
	return b.done.Wait()
}

// queue has a batch without lines committed behind those that are waiting. It works while the ledger is halted, unless the disk has failed.
// Errors: ErrLowSpace, ErrHalted, ErrClosed.
func (s *Store) queue(b *batch) error {
	if !s.config.roomy() {
		return storage.ErrLowSpace
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.unwritable != nil:
		return s.unwritable
	case s.closed:
		return storage.ErrClosed
	}
	if len(s.batch.lines) > 0 {
		s.seal()
	}
	s.sealed = append(s.sealed, b)
	poke(s.wake)
	return nil
}

func get(txn *badger.Txn, key []byte, record any) error {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return storage.ErrNotFound
	}
	if err != nil {
		return err
	}
	return item.Value(func(v []byte) error { return json.Unmarshal(v, record) })
}

// list decodes all records under a prefix.
func list[T any](db *badger.DB, prefix []byte) (records []T, err error) {
	err = guard("reading records", func() error {
		return db.View(func(txn *badger.Txn) error {
			records, err = listIn[T](txn, prefix)
			return err
		})
	})
	return records, err
}

// listNow decodes all records of a kind, with all that was acknowledged.
func listNow[T any](s *Store, kind byte) (records []T, err error) {
	if err := s.catchUp(); err != nil {
		return nil, err
	}
	return list[T](s.db, []byte{kind})
}

// listIn decodes all records under a prefix, with all processors: a million of them take many times as long to decode as to find.
func listIn[T any](txn *badger.Txn, prefix []byte) (records []T, err error) {
	const most = 1024 // records of a share
	var shares []*share[T]
	work := make(chan *share[T], 2*runtime.GOMAXPROCS(0))
	var decoders sync.WaitGroup
	for range cap(work) / 2 {
		decoders.Go(func() {
			for s := range work {
				s.decode()
			}
		})
	}
	last := new(share[T])
	hand := func() {
		shares = append(shares, last)
		work <- last
		last = new(share[T])
	}
	err = func() error {
		defer close(work) // also when Badger panics
		defer hand()
		return eachKey(txn, prefix, func(_ []byte, item *badger.Item) error {
			if len(last.ends) == most {
				hand()
			}
			return item.Value(last.add)
		})
	}()
	decoders.Wait()
	for _, s := range shares {
		err = cmp.Or(err, s.err)
	}
	lists := make([][]T, len(shares))
	for i, s := range shares {
		lists[i] = s.records
	}
	return slices.Concat(lists...), err
}

// share is some records that are decoded together.
type share[T any] struct {
	text    []byte
	ends    []int // of each in text
	records []T
	err     error
}

func (s *share[T]) add(record []byte) error {
	s.text = append(s.text, record...)
	s.ends = append(s.ends, len(s.text))
	return nil
}

func (s *share[T]) decode() {
	s.records = make([]T, len(s.ends))
	from := 0
	for i, end := range s.ends {
		if err := json.Unmarshal(s.text[from:end], &s.records[i]); err != nil && s.err == nil {
			s.err = err
		}
		from = end
	}
	s.text = nil
}

// validAccountID tells whether the id is [a-z0-9][a-z0-9._-]{0,63}.
func validAccountID(id string) bool {
	for i := range len(id) {
		c := id[i]
		alphanumeric := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alphanumeric && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return id != "" && len(id) <= 64
}
