package badgerdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// emptyJournal is a journal whose segments hold some 30 of the test's records.
func emptyJournal(t *testing.T, dir string) *journal {
	t.Helper()
	if err := createJournal(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(journalFiles(dir)[0], 4096); err != nil {
		t.Fatal(err)
	}
	return reopened(t, dir)
}

func reopened(t *testing.T, dir string) *journal {
	t.Helper()
	j, err := openJournal(dir, 4096)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// testRecord is a record with a number: its value tells which it is.
func testRecord(number uint64) *record { return otherRecord(number, "x") }

// otherRecord is another one with the same number and as many bytes.
func otherRecord(number uint64, x string) *record {
	r := &record{}
	r.reset(1 << 20)
	r.set([]byte("key"), fmt.Appendf(nil, "%d %s", number, strings.Repeat(x, 1+int(number*7%200))))
	return r
}

// replayed are the numbers that replay hands out, each of which has its own body.
func replayed(t *testing.T, j *journal, has, acknowledged uint64) (numbers []uint64, err error) {
	t.Helper()
	err = j.replay(has, acknowledged, func(uint64, []byte) error { return nil }, func(number uint64, body []byte) error {
		one, other := testRecord(number).data[journalHead:], otherRecord(number, "y").data[journalHead:]
		if !bytes.Equal(body, one) && !bytes.Equal(body, other) {
			t.Errorf("record %d has the body %q", number, body)
		}
		numbers = append(numbers, number)
		return nil
	})
	return numbers, err
}

// TestJournalReplay appends, releases and reopens at random: every start finds the records behind those that the database has, all of
// them and in their order, and segments are used again.
func TestJournalReplay(t *testing.T) {
	dir := t.TempDir()
	j := emptyJournal(t, dir)
	has, last := uint64(0), uint64(0)
	if _, err := replayed(t, j, 0, 0); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		for range rand.IntN(60) {
			if err := j.write(testRecord(last + 1)); err != nil {
				t.Fatal(err)
			}
			last++
			if rand.IntN(40) == 0 {
				has = last - uint64(rand.IntN(int(min(last-has, 50))+1))
				j.release(has)
			}
		}
		if err := j.close(false); err != nil {
			t.Fatal(err)
		}
		j = reopened(t, dir)
		numbers, err := replayed(t, j, has, last)
		if err != nil || uint64(len(numbers)) != last-has || len(numbers) > 0 && numbers[0] != has+1 {
			t.Fatalf("after %d of %d: %v, %v", has, last, numbers, err)
		}
	}
	if files := len(journalFiles(dir)); last < 3000 || files > 40 {
		t.Errorf("%d records are in %d segments", last, files)
	}
	if err := j.close(true); err != nil || len(journalFiles(dir)) != 1 {
		t.Errorf("%v are left, %v", journalFiles(dir), err)
	}
}

// TestJournalDamage tears, flips and removes: what is handed out is what was appended, from the first on; what is missing is named if it
// was acknowledged or something follows it.
func TestJournalDamage(t *testing.T) {
	whole := t.TempDir()
	j := emptyJournal(t, whole)
	if _, err := replayed(t, j, 0, 0); err != nil {
		t.Fatal(err)
	}
	const last = 100
	for n := range uint64(last) {
		if err := j.write(testRecord(n + 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(false); err != nil {
		t.Fatal(err)
	}
	harmless := 0
	for range 500 {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		files := journalFiles(dir)
		path := files[rand.IntN(len(files))]
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := rand.IntN(len(data))
		switch rand.IntN(3) {
		case 0:
			data[at] ^= byte(1 + rand.IntN(255))
		case 1:
			data = data[:at]
		case 2:
			clear(data[at:])
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		acknowledged := uint64(rand.IntN(last + 1))
		j := reopened(t, dir)
		numbers, err := replayed(t, j, 0, acknowledged)
		for i, n := range numbers {
			if n != uint64(i)+1 {
				t.Fatalf("%d follows %d", n, i)
			}
		}
		if err == nil && uint64(len(numbers)) < acknowledged {
			t.Fatalf("record %d was acknowledged, there are %d, and nobody says so", acknowledged, len(numbers))
		}
		if err == nil {
			harmless++
			next := uint64(len(numbers)) + 1 // which takes the place of what was torn
			if err := j.write(otherRecord(next, "y")); err != nil {
				t.Fatal(err)
			}
			if err := j.close(false); err != nil {
				t.Fatal(err)
			}
			j = reopened(t, dir)
			if numbers, err := replayed(t, j, 0, next); err != nil || uint64(len(numbers)) != next {
				t.Fatalf("after the next record: %d, %v", len(numbers), err)
			}
		}
		if err := j.close(false); err != nil {
			t.Fatal(err)
		}
	}
	if harmless == 0 || harmless > 475 {
		t.Errorf("of 500 damages %d did no harm", harmless)
	}
}

// TestJournalAfterFailure: records that follow a missing one are not handed out, and the next one's number is behind all that there ever were.
func TestJournalAfterFailure(t *testing.T) {
	dir := t.TempDir()
	j := emptyJournal(t, dir)
	if _, err := replayed(t, j, 0, 0); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(100) {
		if err := j.write(testRecord(n + 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(false); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(journalFiles(dir)[1]); err != nil {
		t.Fatal(err)
	}
	j = reopened(t, dir)
	numbers, err := replayed(t, j, 0, 100)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("lacks records %d to ", len(numbers)+1)) || len(numbers) == 0 {
		t.Errorf("%d records, then: %v", len(numbers), err)
	}
	j.kept = true
	r := testRecord(101)
	if err := j.write(r); err != nil || r.number != 101 {
		t.Errorf("the next is %d, %v", r.number, err)
	}
	before := len(journalFiles(dir))
	if err := j.close(true); err != nil || len(journalFiles(dir)) != before || before < 2 {
		t.Errorf("of %d segments of a journal that lacks records %v are left, %v", before, journalFiles(dir), err)
	}
}

// held is a store whose applier stands still until it is let go.
func held(t *testing.T, config Config) (s *Store, release func()) {
	t.Helper()
	gate, holding := make(chan struct{}), new(atomic.Bool)
	config.at = func(point string) {
		if point == "storing" && holding.Load() {
			<-gate
		}
	}
	s = openStore(t, config)
	if err := s.catchUp(); err != nil {
		t.Fatal(err)
	}
	holding.Store(true)
	return s, func() {
		holding.Store(false)
		close(gate)
	}
}

// TestAcknowledgedBeforeStored: nobody waits for the database, reads wait until it has what was acknowledged before them, and decisions
// know what it does not have yet.
func TestAcknowledgedBeforeStored(t *testing.T) {
	s, release := held(t, Config{Dir: t.TempDir()})
	fund(t, s, "alice", 1000)
	charge(t, s, "alice", 7)
	if _, err := s.Grant(storage.Grant{Account: "alice", Amount: 1, Reference: "again"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Grant(storage.Grant{Account: "alice", Amount: 2, Reference: "again"}); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("a reference that is not stored yet was used again: %v", err)
	}
	if err := s.PutVirtualKey(storage.VirtualKey{ID: "key_1", Account: "alice"}); err != nil {
		t.Fatal(err)
	}
	read := make(chan int)
	go func() {
		lines, _ := s.Entries("alice", 0, 100)
		read <- len(lines)
	}()
	select {
	case <-read:
		t.Error("a reader did not wait")
	case <-time.After(100 * time.Millisecond):
	}
	left := t.TempDir() // as a process that is killed now leaves it
	if err := os.CopyFS(left, os.DirFS(s.config.Dir)); err != nil {
		t.Fatal(err)
	}
	release()
	if n := <-read; n != 4 {
		t.Errorf("%d lines", n)
	}
	after := openStore(t, Config{Dir: left})
	keys, err := after.VirtualKeys()
	balance, balanceErr := after.Balance("alice")
	if err != nil || balanceErr != nil || len(keys) != 1 || balance.Posted != 994 {
		t.Errorf("after a kill: %v, %+v, %v, %v", keys, balance, err, balanceErr)
	}
}

// TestKeysWithoutLedgerLines: the head file knows the records of the journal that hold no line, too.
func TestKeysWithoutLedgerLines(t *testing.T) {
	s, release := held(t, Config{Dir: t.TempDir()})
	defer release()
	if err := s.PutVirtualKey(storage.VirtualKey{ID: "key_1", Account: "alice"}); err != nil {
		t.Fatal(err)
	}
	left := t.TempDir()
	if err := os.CopyFS(left, os.DirFS(s.config.Dir)); err != nil {
		t.Fatal(err)
	}
	path := journalFiles(filepath.Join(left, "ledger"))[0]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[:100])
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Verify(left, t.Output()); err == nil || !strings.Contains(err.Error(), "record 1 was acknowledged") {
		t.Errorf("verify: %v", err)
	}
	after, err := Open(Config{Dir: left})
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	if err := after.Halted(); err == nil || !strings.Contains(err.Error(), "record 1 was acknowledged") {
		t.Errorf("halted: %v", err)
	}
	if err := after.PutVirtualKey(storage.VirtualKey{ID: "key_2"}); err != nil { // keys change while the ledger is halted
		t.Error(err)
	}
	if keys, err := after.VirtualKeys(); err != nil || len(keys) != 1 || keys[0].ID != "key_2" {
		t.Errorf("%v, %v", keys, err)
	}
	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(left)); err != nil {
		t.Fatal(err)
	}
	again, err := Open(Config{Dir: killed})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Halted(); err == nil || !strings.Contains(err.Error(), "lacks records 1 to 1") {
		t.Errorf("halted after a kill: %v", err)
	}
	if keys, err := again.VirtualKeys(); err != nil || len(keys) != 1 || keys[0].ID != "key_2" {
		t.Errorf("after a kill: %v, %v", keys, err)
	}
	for range 2 { // what is missing is not forgotten either, nor what was changed since
		if err := again.PutVirtualKey(storage.VirtualKey{ID: "key_2", Name: "renamed"}); err != nil {
			t.Error(err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
		if again, err = Open(Config{Dir: killed}); err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if err := again.Halted(); err == nil || !strings.Contains(err.Error(), "lacks records 1 to 1") {
			t.Errorf("halted after a stop: %v", err)
		}
		if keys, err := again.VirtualKeys(); err != nil || len(keys) != 1 || keys[0].Name != "renamed" {
			t.Errorf("after a stop: %v, %v", keys, err)
		}
	}
}

// TestSyncsOfTheJournalFollowEachOther: two that want the same segment on disk do not sync it at once, and the second of them learns of the first one's failure.
func TestSyncsOfTheJournalFollowEachOther(t *testing.T) {
	dir := t.TempDir()
	if err := createJournal(dir); err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close(false)
	var syncing, most, synced atomic.Int64
	j.sync = func(*os.File) error {
		most.Store(max(most.Load(), syncing.Add(1)))
		defer syncing.Add(-1)
		time.Sleep(10 * time.Millisecond)
		if synced.Add(1) == 1 {
			return syscall.EIO // told once
		}
		return nil
	}
	var r record
	r.reset(1 << 20)
	r.set([]byte("key"), []byte("value"))
	if err := j.write(&r); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 4)
	for range cap(failed) {
		go func() { failed <- j.flush() }()
	}
	for range cap(failed) {
		if err := <-failed; !errors.Is(err, syscall.EIO) {
			t.Errorf("a flush says %v", err)
		}
	}
	if most.Load() != 1 || synced.Load() != 1 {
		t.Errorf("%d at once, %d in all", most.Load(), synced.Load())
	}
}

// TestFullDiskBehindCommits: what is acknowledged when the disk fills up is in the journal, reads do not wait for room, and a stop does not
// either.
func TestFullDiskBehindCommits(t *testing.T) {
	var full atomic.Bool
	config := Config{Dir: t.TempDir(), free: func(string) (uint64, error) {
		if full.Load() {
			return 0, nil
		}
		return 1 << 40, nil
	}}
	s := openStore(t, config)
	fund(t, s, "alice", 1000)
	if err := s.catchUp(); err != nil {
		t.Fatal(err)
	}
	charge(t, s, "alice", 7)
	full.Store(true)
	if _, err := s.Snapshot(); !errors.Is(err, storage.ErrLowSpace) {
		t.Errorf("a snapshot without what was acknowledged: %v", err)
	}
	if _, err := s.Entries("alice", 0, 10); !errors.Is(err, storage.ErrLowSpace) {
		t.Errorf("entries without what was acknowledged: %v", err)
	}
	if err := s.Halted(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	full.Store(false)
	again := openStore(t, config)
	if b, err := again.Balance("alice"); err != nil || b.Posted != 993 {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestJournalIsBounded: segments are used again when Badger has made tables of what is in them, and a stopped store leaves one.
func TestJournalIsBounded(t *testing.T) {
	config := (&errand{Dir: t.TempDir()}).config()
	s := openStore(t, config)
	fund(t, s, "a", 1<<40)
	files, written := 0, uint64(0)
	for written < 40*firstSegment {
		records := make([]storage.VirtualKey, 20)
		for i := range records {
			records[i] = storage.VirtualKey{ID: fmt.Sprint("key_", i), Name: strings.Repeat("n", 500+rand.IntN(700))}
			written += uint64(len(records[i].Name))
		}
		if err := s.PutVirtualKey(records...); err != nil {
			t.Fatal(err)
		}
		charge(t, s, "a", 1)
		files = max(files, len(journalFiles(filepath.Join(config.Dir, "ledger"))))
	}
	if files > 24 || files < 2 { // of which 16 hold what waits for the database
		t.Errorf("%d MiB were written, and there are up to %d segments", written>>20, files)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left := journalFiles(filepath.Join(config.Dir, "ledger")); len(left) != 1 {
		t.Errorf("%v are left", left)
	}
	if err := Verify(config.Dir, t.Output()); err != nil {
		t.Error(err)
	}
}

// TestSchemas opens ledgers of former programs: with a record of each page, before that with one of each settled request, before that with pages in the database itself, and before
// that with commits in Badger's own log that no table has, and without a journal.
func TestSchemas(t *testing.T) {
	for _, schema := range []uint32{2, 3, 4, 5} {
		t.Run(fmt.Sprint(schema), func(t *testing.T) {
			dir := ofSchema(t, schema)
			if err := Verify(dir, t.Output()); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s := openStore(t, Config{Dir: dir})
				if err := s.Halted(); err != nil {
					t.Fatal(err)
				}
				charge(t, s, "alice", 1)
				keys, err := s.VirtualKeys()
				if err != nil || !strings.Contains(fmt.Sprint(keys), "key_9") {
					t.Errorf("%v, %v", keys, err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if err := Verify(dir, t.Output()); err != nil {
				t.Fatal(err)
			}
			if lastVolume(filepath.Join(dir, "ledger")) == 0 {
				t.Error("new pages are not in volumes")
			}
		})
	}
}

// TestLaterSchema: a ledger of a later program is refused, and left as it is for that one.
func TestLaterSchema(t *testing.T) {
	dir := populated(t)
	set := func(version uint32) {
		editClosed(t, dir, func(txn *badger.Txn) error {
			return txn.Set([]byte{keySchema}, binary.BigEndian.AppendUint32(nil, version))
		})
	}
	verified := func() string {
		var says bytes.Buffer
		if err := Verify(dir, &says); err != nil {
			t.Fatal(err)
		}
		standing, _, _ := strings.Cut(says.String(), ", checked in")
		return standing
	}
	before := verified()
	set(schema + 1)
	want := fmt.Sprintf("schema %d, this program knows %d", schema+1, schema)
	for range 2 {
		if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("opened with %v", err)
		}
	}
	set(schema)
	if after := verified(); after != before {
		t.Errorf("before: %s; after: %s", before, after)
	}
	if err := openStore(t, Config{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
}

// ofSchema is a populated ledger as a program of that schema leaves it.
func ofSchema(t *testing.T, schema uint32) string {
	t.Helper()
	source := populated(t)
	ledgerDir := filepath.Join(source, "ledger")
	if schema == 2 {
		for _, path := range journalFiles(ledgerDir) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	config, err := Config{Dir: source}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	db, err := openDatabase(config, "ledger", func(o badger.Options) badger.Options { return o })
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(func(txn *badger.Txn) error {
		state, err := readValue(txn, []byte{keyJournal})
		if err != nil {
			return err
		}
		if err := errors.Join(
			txn.Set([]byte{keySchema}, binary.BigEndian.AppendUint32(nil, schema)),
			txn.Set(textKey(keyVirtualKey, "key_9"), []byte(`{"id":"key_9"}`)),
		); err != nil {
			return err
		}
		if schema >= 4 {
			err = withoutGroups(txn)
		}
		if schema <= 4 {
			err = errors.Join(err, withoutRuns(txn))
		}
		if err != nil || schema >= 4 {
			return err
		}
		if schema == 2 {
			err = txn.Delete([]byte{keyJournal})
		} else {
			err = txn.Set([]byte{keyJournal}, state[:8])
		}
		pages := map[string][]byte{}
		return errors.Join(err,
			eachKey(txn, []byte{keyEntry}, func(key []byte, item *badger.Item) (err error) {
				pages[string(key)], err = bookOf(db, txn).page(item)
				return err
			}),
			setAll(txn, pages))
	}); err != nil {
		t.Fatal(err)
	}
	for n := lastVolume(ledgerDir); n > 0 && schema < 4; n-- {
		if err := os.Remove(volumePath(ledgerDir, n)); err != nil {
			t.Fatal(err)
		}
	}
	if schema > 2 {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return source
	}
	mark, err := readHeadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	old := append(binary.BigEndian.AppendUint64(nil, mark.position), mark.hash[:]...)
	old = append(binary.BigEndian.AppendUint32(old, crc32.ChecksumIEEE(old)), make([]byte, 2*headSlotSize-headSlotOld)...)
	if err := os.WriteFile(filepath.Join(source, headName), old, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// withoutGroups gives each page a record of its own.
func withoutGroups(txn *badger.Txn) error {
	places := map[string][]byte{}
	return errors.Join(
		eachKey(txn, []byte{keyEntry}, func(key []byte, item *badger.Item) error {
			return item.Value(func(value []byte) error {
				g, _, err := decodeGroup(binary.BigEndian.Uint64(key[1:]), value)
				for _, p := range g.pages {
					place, _ := g.at(p.position)
					places[string(appendEntryKey(nil, p.position))] = place.encode()
				}
				return err
			})
		}),
		setAll(txn, places))
}

// withoutRuns gives each settled request a record of its own.
func withoutRuns(txn *badger.Txn) error {
	records, runs := map[string][]byte{}, [][]byte{}
	err := errors.Join(
		eachSettled(txn, []byte{keyRun}, func(id storage.RequestID, position uint64) {
			records[string(appendRequestKey(nil, id))] = binary.BigEndian.AppendUint64(nil, position)
		}, nil),
		eachKey(txn, []byte{keyRun}, func(key []byte, _ *badger.Item) error {
			runs = append(runs, slices.Clone(key))
			return nil
		}),
		setAll(txn, records))
	for _, key := range runs {
		err = errors.Join(err, txn.Delete(key))
	}
	return err
}

func setAll(txn *badger.Txn, records map[string][]byte) (err error) {
	for key, value := range records {
		err = errors.Join(err, txn.Set([]byte(key), value))
	}
	return err
}

// TestTooLargeForTheTree: a record that Badger would put into its value log, which is not synchronized, is refused, and so are too many.
func TestTooLargeForTheTree(t *testing.T) {
	s := openStore(t, Config{Dir: t.TempDir()})
	if err := s.PutTeam(storage.Team{ID: "t", Name: strings.Repeat("n", int(s.maxValue)-1000)}); err != nil {
		t.Error(err)
	}
	if err := s.PutTeam(storage.Team{ID: "t", Name: strings.Repeat("n", int(s.maxValue))}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a record that is not for the tree: %v", err)
	}
	many := make([]storage.VirtualKey, 100_000)
	for i := range many {
		many[i].ID = fmt.Sprint("key_", i)
	}
	if err := s.PutVirtualKey(many...); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("more than a transaction bears: %v", err)
	}
	if err := s.Halted(); err != nil {
		t.Error(err)
	}
}

// TestStartThatCannotCatchUp: while records of the journal are not in the database for some passing reason no key takes their place, and the next
// start has them.
func TestStartThatCannotCatchUp(t *testing.T) {
	dir := populated(t)
	s, release := held(t, Config{Dir: dir})
	before, err := s.Balance("alice")
	if err != nil {
		t.Fatal(err)
	}
	charge(t, s, "alice", 7)
	left := t.TempDir()
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	release()
	volume := volumePath(filepath.Join(left, "ledger"), 1)
	if err := errors.Join(os.Rename(volume, volume+".aside"), os.Mkdir(volume, 0o700)); err != nil {
		t.Fatal(err)
	}
	halted, err := Open(Config{Dir: left})
	if err != nil {
		t.Fatal(err)
	}
	if err := halted.PutVirtualKey(storage.VirtualKey{ID: "key_1"}); !errors.Is(err, storage.ErrHalted) {
		t.Errorf("a key was stored: %v", err)
	}
	if err := errors.Join(halted.Close(), os.Remove(volume), os.Rename(volume+".aside", volume)); err != nil {
		t.Fatal(err)
	}
	after := openAgain(t, left, journalExt)
	if b, err := after.Balance("alice"); err != nil || b.Posted != before.Posted-7 {
		t.Errorf("%d before a charge of 7, %+v after it, %v", before.Posted, b, err)
	}
}

// Where there is plenty of space it is asked for again only after a while; where there is not, for every commit.
func TestPlentyOfSpace(t *testing.T) {
	asked := map[string]int{}
	free := seldom(func(dir string) (uint64, error) {
		asked[dir]++
		return map[string]uint64{"much": plenty + 1, "little": plenty}[dir], nil
	})
	ask := func(dir string) {
		if _, err := free(dir); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		ask("little")
	}
	for range 100 {
		ask("much")
	}
	if asked["little"] != 100 || asked["much"] > 10 {
		t.Errorf("asked %v", asked)
	}
	before := asked["much"]
	time.Sleep(2 * freshSpace)
	if ask("much"); asked["much"] == before {
		t.Error("not asked again")
	}
}
